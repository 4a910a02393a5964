//! Why a packet went no further: the whole list, closed.
//!
//! Each reason is a counter, a value of the `reason` label in metrics, and a line of the runbook.
//! Nothing is dropped without one, and nothing is logged per packet.

use wire::frame::FrameError;
use wire::hint::{HintError, Validity};
use wire::stun::{IntegrityError, StunError};
use wire::tunnel::OpenError;

macro_rules! drop_reasons {
    ($($(#[doc = $meaning:literal])+ $reason:ident = $label:literal,)+) => {
        /// Why a packet went no further.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[doc = $meaning])+ $reason,)+
        }

        impl DropReason {
            /// Every reason, in the order of the counters.
            pub const ALL: [Self; [$($label),+].len()] = [$(Self::$reason),+];

            /// The value of the `reason` label in metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$reason => $label,)+ }
            }

            /// What it means, for whoever looks at the counter.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$reason => concat!($($meaning),+).trim_ascii(),)+ }
            }
        }
    };
}

drop_reasons! {
    // From a client: before anybody looks at it.
    /// The worker could not keep up with a flood of checks, and had the kernel drop most of them, and
    /// what is no packet of a client's.
    Shed = "shed",

    // From a client: what the packet is.
    /// A client sent a datagram of no bytes.
    Empty = "empty",
    /// The first byte belongs to no protocol that Ringway carries (RFC 7983).
    NotOurs = "not_ours",
    /// A client packet came by a listener that the core was not told of.
    ListenerUnknown = "listener_unknown",
    /// The packet is longer than the configured longest packet.
    PacketTooLong = "packet_too_long",
    /// Shorter than a STUN header.
    StunTooShort = "stun_too_short",
    /// The first byte says STUN, but the first two bits are not zero.
    StunNotStun = "stun_not_stun",
    /// STUN without the magic cookie.
    StunWrongCookie = "stun_wrong_cookie",
    /// STUN whose length field is not a multiple of four.
    StunLengthUnaligned = "stun_length_unaligned",
    /// STUN whose length field and datagram disagree.
    StunLengthMismatch = "stun_length_mismatch",
    /// A STUN attribute reaches beyond the message.
    StunAttributeOverrun = "stun_attribute_overrun",
    /// A STUN attribute has a length that its type cannot have.
    StunAttributeLength = "stun_attribute_length",
    /// STUN with two USERNAMEs: it would be routed by one and authenticated by the other.
    StunTwoUsernames = "stun_two_usernames",
    /// A Binding request whose USERNAME has no colon, so that it names no ufrag.
    UsernameMalformed = "username_malformed",

    // From a client: what its hint says.
    /// The ufrag is not as long as ours are: a check meant for somebody else, or a scanner.
    HintLength = "hint_length",
    /// The ufrag is not the text of a hint.
    HintText = "hint_text",
    /// The ufrag names a routing key that is not in the keyring: retired too early, or not ours.
    HintUnknownKey = "hint_unknown_key",
    /// The ufrag was not minted with the key that it names.
    HintForged = "hint_forged",
    /// The hint's time is over, and there is no flow of its shard for this client.
    HintExpired = "hint_expired",
    /// The hint ends later than any may: a clock is wrong, or a lifetime longer than the relay's.
    HintTooFarAhead = "hint_too_far_ahead",
    /// The hint names a cluster that is not configured.
    ClusterUnknown = "cluster_unknown",
    /// The hint names a transceiver that is not in its cluster.
    TransceiverUnknown = "transceiver_unknown",
    /// The hint names a shard that its transceiver does not have.
    ShardUnknown = "shard_unknown",
    /// The hint names an address at which no transceiver may be: loopback, link-local, multicast.
    TransceiverForbidden = "transceiver_forbidden",
    /// The request has no MESSAGE-INTEGRITY, so it proves nothing.
    IntegrityMissing = "integrity_missing",
    /// The request's MESSAGE-INTEGRITY is wrong: its sender has not seen the SDP answer.
    IntegrityWrong = "integrity_wrong",

    // From a client: admission.
    /// Not STUN with a hint, and nothing is known of this client.
    FlowUnknown = "flow_unknown",
    /// A client's address is not one a client can have.
    ClientAddressForbidden = "client_address_forbidden",
    /// The session has as many client addresses as one may have.
    SessionAddresses = "session_addresses",
    /// The relay is draining and takes no new flows.
    Draining = "draining",
    /// There is no room for another shard, and none that could make room.
    PeersFull = "peers_full",

    // From the tunnel: the datagram.
    /// It came from an address at which no shard can be.
    TunnelStranger = "tunnel_stranger",
    /// Shorter than an empty tunnel datagram.
    TunnelTooShort = "tunnel_too_short",
    /// Another version of the tunnel, or something else altogether.
    TunnelUnknownVersion = "tunnel_unknown_version",
    /// A kind of datagram that this version does not have.
    TunnelUnknownKind = "tunnel_unknown_kind",
    /// Sealed with a key that is not in the keyring.
    TunnelUnknownKey = "tunnel_unknown_key",
    /// Not sealed with the key it names, for the other direction, or changed on the way.
    TunnelForged = "tunnel_forged",
    /// Taken before.
    TunnelReplayed = "tunnel_replayed",
    /// So old that nobody can tell whether it was taken before.
    TunnelTooOld = "tunnel_too_old",
    /// An authentic ping or pong with a token of the wrong length.
    TunnelMalformedEcho = "tunnel_malformed_echo",
    /// An authentic datagram in which a frame's header is cut short.
    FrameHeaderCut = "frame_header_cut",
    /// An authentic datagram in which a frame has unknown bits.
    FrameUnknownMeta = "frame_unknown_meta",
    /// An authentic datagram in which a frame's payload is cut short.
    FramePayloadCut = "frame_payload_cut",
    /// An authentic datagram with a payload where none belongs, or none where one does.
    FramePayloadPresence = "frame_payload_presence",
    /// An authentic datagram without frames.
    FrameNone = "frame_none",

    // From the tunnel: one frame.
    /// The frame wants to leave by TCP, and this listener has none.
    FrameTransport = "frame_transport",
    /// The frame names a listener that does not exist.
    FrameListenerUnknown = "frame_listener_unknown",
    /// The frame's client and its listener are of different address families.
    FrameFamily = "frame_family",
    /// The frame names an address that no client can have: multicast, broadcast, loopback.
    FrameAddressForbidden = "frame_address_forbidden",

    // To the tunnel.
    /// A leg used up its counter; its sealer was replaced, and these frames were lost.
    TunnelCounterExhausted = "tunnel_counter_exhausted",
}

impl From<StunError> for DropReason {
    fn from(error: StunError) -> Self {
        match error {
            StunError::TooShort => Self::StunTooShort,
            StunError::NotStun => Self::StunNotStun,
            StunError::WrongCookie => Self::StunWrongCookie,
            StunError::LengthUnaligned => Self::StunLengthUnaligned,
            StunError::LengthMismatch => Self::StunLengthMismatch,
            StunError::AttributeOverrun => Self::StunAttributeOverrun,
            StunError::TwoUsernames => Self::StunTwoUsernames,
            StunError::AttributeLength => Self::StunAttributeLength,
        }
    }
}

impl From<HintError> for DropReason {
    fn from(error: HintError) -> Self {
        match error {
            HintError::Length => Self::HintLength,
            HintError::Text => Self::HintText,
            HintError::UnknownKey => Self::HintUnknownKey,
            HintError::Forged => Self::HintForged,
        }
    }
}

impl From<IntegrityError> for DropReason {
    fn from(error: IntegrityError) -> Self {
        match error {
            IntegrityError::Missing => Self::IntegrityMissing,
            IntegrityError::Wrong => Self::IntegrityWrong,
        }
    }
}

impl From<OpenError> for DropReason {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::TooShort => Self::TunnelTooShort,
            OpenError::UnknownVersion => Self::TunnelUnknownVersion,
            OpenError::UnknownKind => Self::TunnelUnknownKind,
            OpenError::UnknownKey => Self::TunnelUnknownKey,
            OpenError::Forged => Self::TunnelForged,
            OpenError::Replayed => Self::TunnelReplayed,
            OpenError::TooOld => Self::TunnelTooOld,
            OpenError::MalformedEcho => Self::TunnelMalformedEcho,
            OpenError::MalformedFrames(error) => error.into(),
        }
    }
}

impl From<FrameError> for DropReason {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::HeaderCut => Self::FrameHeaderCut,
            FrameError::UnknownMeta => Self::FrameUnknownMeta,
            FrameError::PayloadCut => Self::FramePayloadCut,
            FrameError::PayloadPresence => Self::FramePayloadPresence,
            FrameError::None => Self::FrameNone,
        }
    }
}

impl DropReason {
    /// Why a hint of this validity makes no flow; `None` if it may.
    pub const fn of_validity(validity: Validity) -> Option<Self> {
        match validity {
            Validity::Valid => None,
            Validity::Expired => Some(Self::HintExpired),
            Validity::TooFarAhead => Some(Self::HintTooFarAhead),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_distinct_and_fit_a_metric_and_every_reason_has_a_meaning() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index, "a reason's number is its counter");
            let label = reason.as_str();
            assert!(label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{label}");
            assert!(reason.meaning().ends_with('.'), "{label}: {}", reason.meaning());
            for other in &DropReason::ALL[index + 1..] {
                assert_ne!(label, other.as_str());
            }
        }
    }
}
