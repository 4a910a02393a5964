//! What a shard counts: one table of fields, names and helps, from which all else follows.
//!
//! Plain numbers with one writer. The thread copies them to its slot, and the exporter names them by
//! [`Counters::series`], which has the same order. Every series is there from the start.

use crate::call::{CallState, EndReason};
use crate::session::{Step, Tally};
use engine::histogram::Histogram;
use wire::demux::PacketClass;
use wire::frame::FrameError;
use wire::tunnel::OpenError;

/// Whether a number only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeriesKind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// One number, as metrics show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    /// Name of the metric.
    pub name: &'static str,
    /// Name and value of its label, if it has one.
    pub label: Option<(&'static str, &'static str)>,
    /// What it counts.
    pub help: &'static str,
    /// Whether it only grows.
    pub kind: SeriesKind,
}

/// One histogram, as metrics show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistogramSeries {
    /// Name of the metric.
    pub name: &'static str,
    /// Name and value of its label, if it has one.
    pub label: Option<(&'static str, &'static str)>,
    /// What it counts.
    pub help: &'static str,
}

macro_rules! counters {
    (
        drops:
        $($(#[doc = $drop_help:literal])+ $drop:ident = $reason:literal,)+
        by label:
        $($(#[doc = $array_help:literal])+
            $array:ident: [$each:ty; $label:literal] $array_kind:ident = $array_name:literal,)+
        single:
        $($(#[doc = $help:literal])+ $field:ident: $kind:ident = $name:literal,)+
    ) => {
        /// All numbers of one shard.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Counters {
            $($(#[doc = $drop_help])+ pub $drop: u64,)+
            $($(#[doc = $array_help])+ pub $array: [u64; <$each>::ALL.len()],)+
            $($(#[doc = $help])+ pub $field: u64,)+
            /// Frames in each tunnel datagram that was sent.
            pub bundle_frames: Histogram,
            /// Microseconds of jitter of audio from clients, as each session measures it.
            pub jitter_us: Histogram,
            /// Microseconds of round trip to clients, as each of them reports it.
            pub round_trip_us: Histogram,
            /// Microseconds from an offer's arrival to each step of setting up.
            pub setup_us: [Histogram; Step::ALL.len()],
        }

        impl Counters {
            /// Numbers, without the histograms.
            pub const LEN: usize = [$($reason),+].len()
                $(+ <$each>::ALL.len())+
                + [$($name),+].len();

            /// All zero.
            pub const fn new() -> Self {
                Self {
                    $($drop: 0,)+
                    $($array: [0; <$each>::ALL.len()],)+
                    $($field: 0,)+
                    bundle_frames: Histogram::new(),
                    jitter_us: Histogram::new(),
                    round_trip_us: Histogram::new(),
                    setup_us: [Histogram::new(); Step::ALL.len()],
                }
            }

            /// Copies the numbers out, in the order of [`Counters::series`].
            pub fn write(&self, out: &mut [u64; Self::LEN]) {
                let numbers = [].iter()
                    $(.chain([&self.$drop]))+
                    $(.chain(&self.$array))+
                    $(.chain([&self.$field]))+;
                for (out, number) in out.iter_mut().zip(numbers) {
                    *out = *number;
                }
            }

            /// What the numbers are.
            pub fn series() -> impl Iterator<Item = Series> {
                let all = [$(Series {
                    name: "transceiver_drops_total",
                    label: Some(("reason", $reason)),
                    help: "Datagrams, packets and frames that went no further.",
                    kind: SeriesKind::Counter,
                }),+].into_iter();
                $(let all = all.chain(<$each>::ALL.iter().map(|each| Series {
                    name: $array_name,
                    label: Some(($label, each.as_str())),
                    help: concat!($($array_help),+).trim_ascii(),
                    kind: SeriesKind::$array_kind,
                }));)+
                all.chain([$(Series {
                    name: $name,
                    label: None,
                    help: concat!($($help),+).trim_ascii(),
                    kind: SeriesKind::$kind,
                }),+])
            }

            /// Every reason for a drop, and what it means.
            pub const DROPS: &[(&str, &str)] =
                &[$(($reason, concat!($($drop_help),+).trim_ascii())),+];
        }
    };
}

counters! {
    drops:
    /// A tunnel datagram was shorter than its header and tag.
    dropped_tunnel_too_short = "tunnel_too_short",
    /// A tunnel datagram of another version or kind: something else is sending here, or a release
    /// too far away.
    dropped_tunnel_unknown = "tunnel_unknown_version_or_kind",
    /// A tunnel datagram was sealed with a key that is not in the keyring.
    dropped_tunnel_unknown_key = "tunnel_unknown_key",
    /// A tunnel datagram was not authentic.
    dropped_tunnel_forged = "tunnel_forged",
    /// A tunnel datagram was a copy of one that was taken, or too old to tell.
    dropped_tunnel_replayed = "tunnel_replayed",
    /// An authentic tunnel datagram had malformed content: a bug, or releases too far apart.
    dropped_tunnel_malformed = "tunnel_malformed",
    /// There are as many relay workers as a shard speaks to.
    dropped_relays_full = "relays_full",
    /// A session wanted to send to a relay worker that has not been heard for long.
    dropped_relay_unknown = "relay_unknown",
    /// A packet was longer than any tunnel datagram.
    dropped_packet_too_long = "packet_too_long",
    /// A sealer had used up its counter.
    dropped_counter_exhausted = "tunnel_counter_exhausted",
    /// A check was no STUN message.
    dropped_check_malformed = "check_malformed",
    /// A check was for no session of this shard: it has ended, or another process had it.
    dropped_check_unknown_session = "check_unknown_session",
    /// A check did not prove that its sender has seen the answer.
    dropped_check_forged = "check_forged",
    /// STUN that is no check: nothing here asks anybody, so nothing is answered.
    dropped_stun_other = "stun_other",
    /// A packet came from a client that belongs to no session: it has ended, or never was.
    dropped_no_session = "no_session",
    /// A packet of no protocol of WebRTC.
    dropped_not_ours = "not_ours",
    /// A session could not make sense of a packet.
    dropped_unreadable = "unreadable",
    /// A session had something to send before its client has shown itself.
    dropped_no_path = "no_path",
    /// A backend's audio found no track to leave by.
    dropped_no_taker = "no_taker",
    /// The outbox was full.
    dropped_outbox_full = "outbox_full",

    by label:
    /// Client packets in the frames of authentic tunnel datagrams.
    packets_received: [PacketClass; "class"] Counter = "transceiver_received_packets_total",
    /// Sessions by how far they are.
    sessions: [CallState; "state"] Gauge = "transceiver_sessions",
    /// Sessions that ended.
    ended: [EndReason; "reason"] Counter = "transceiver_sessions_ended_total",

    single:
    /// Sessions opened.
    opened: Counter = "transceiver_sessions_opened_total",
    /// Sessions whose code panicked and which were isolated. Each is a bug.
    panics: Counter = "transceiver_panics_total",
    /// Offers of live calls answered.
    renegotiations: Counter = "transceiver_renegotiations_total",
    /// Offers of live calls that restarted ICE.
    ice_restarts: Counter = "transceiver_ice_restarts_total",
    /// Authentic checks.
    checks: Counter = "transceiver_checks_total",
    /// Authentic checks that were copies of one seen from elsewhere. They move nothing.
    checks_replayed: Counter = "transceiver_checks_replayed_total",
    /// Authentic checks from an address that stays with another call, whose client was heard there just
    /// now.
    checks_contested: Counter = "transceiver_checks_contested_total",
    /// How often a client's address changed in a call.
    address_changes: Counter = "transceiver_address_changes_total",
    /// Audio packets from clients.
    audio_received: Counter = "transceiver_audio_received_packets_total",
    /// Audio packets from clients that never came, by their sequence numbers.
    audio_lost: Counter = "transceiver_audio_lost_packets_total",
    /// Audio packets to clients.
    audio_sent: Counter = "transceiver_audio_sent_packets_total",
    /// Tunnel datagrams received, whatever became of them.
    tunnel_received_datagrams: Counter = "transceiver_tunnel_received_datagrams_total",
    /// Frames in authentic ones.
    tunnel_received_frames: Counter = "transceiver_tunnel_received_frames_total",
    /// Bytes of tunnel datagrams received.
    tunnel_received_bytes: Counter = "transceiver_tunnel_received_bytes_total",
    /// Tunnel datagrams handed over for sending, pongs not counted.
    tunnel_sent_datagrams: Counter = "transceiver_tunnel_sent_datagrams_total",
    /// Frames in them.
    tunnel_sent_frames: Counter = "transceiver_tunnel_sent_frames_total",
    /// Their bytes.
    tunnel_sent_bytes: Counter = "transceiver_tunnel_sent_bytes_total",
    /// Tunnel datagrams with one packet too long for the tunnel's MTU.
    tunnel_sent_oversize: Counter = "transceiver_tunnel_sent_oversize_total",
    /// Pings of relays answered.
    pings: Counter = "transceiver_tunnel_pings_total",
    /// Clients that relays were told to forget.
    gone_sent: Counter = "transceiver_gone_sent_total",
    /// Relay workers known.
    relays: Gauge = "transceiver_relays",
}

impl Counters {
    /// Where the drops begin and end in the numbers.
    pub const DROPS_LEN: usize = Self::DROPS.len();

    /// Histograms, in the order of [`Counters::write_histograms`].
    pub fn histograms() -> impl Iterator<Item = HistogramSeries> {
        let bundles = HistogramSeries {
            name: "transceiver_bundle_frames",
            label: None,
            help: "Frames in each tunnel datagram that was sent.",
        };
        let jitter = HistogramSeries {
            name: "transceiver_jitter_microseconds",
            label: None,
            help: "Jitter (RFC 3550) of audio from clients, every five seconds of each session.",
        };
        let round_trip = HistogramSeries {
            name: "transceiver_round_trip_microseconds",
            label: None,
            help: "Round trip to clients by their receiver reports, every five seconds of each.",
        };
        let steps = Step::ALL.iter().map(|step| HistogramSeries {
            name: "transceiver_setup_microseconds",
            label: Some(("step", step.as_str())),
            help: "Microseconds from an offer's arrival to each step of setting up.",
        });
        [bundles, jitter, round_trip].into_iter().chain(steps)
    }

    /// How many histograms there are.
    pub const HISTOGRAMS: usize = 3 + Step::ALL.len();

    /// Copies the histograms out.
    pub fn write_histograms(&self, out: &mut [[u64; Histogram::LEN]; Self::HISTOGRAMS]) {
        let all = [&self.bundle_frames, &self.jitter_us, &self.round_trip_us]
            .into_iter()
            .chain(&self.setup_us);
        for (out, histogram) in out.iter_mut().zip(all) {
            histogram.write(out);
        }
    }

    pub(super) const fn on_open_error(&mut self, error: OpenError) {
        *match error {
            OpenError::TooShort => &mut self.dropped_tunnel_too_short,
            OpenError::UnknownVersion | OpenError::UnknownKind => &mut self.dropped_tunnel_unknown,
            OpenError::UnknownKey => &mut self.dropped_tunnel_unknown_key,
            OpenError::Forged => &mut self.dropped_tunnel_forged,
            OpenError::Replayed | OpenError::TooOld => &mut self.dropped_tunnel_replayed,
            OpenError::MalformedEcho
            | OpenError::MalformedFrames(
                FrameError::HeaderCut
                | FrameError::UnknownMeta
                | FrameError::PayloadCut
                | FrameError::PayloadPresence
                | FrameError::None,
            ) => &mut self.dropped_tunnel_malformed,
        } += 1;
    }

    pub(super) fn on_tally(&mut self, tally: Tally) {
        let us =
            |duration: std::time::Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let (counter, more) = match tally {
            Tally::AudioIn => (&mut self.audio_received, 1),
            Tally::AudioLost(lost) => (&mut self.audio_lost, lost),
            Tally::AudioOut => (&mut self.audio_sent, 1),
            Tally::Unreadable => (&mut self.dropped_unreadable, 1),
            Tally::NoPath => (&mut self.dropped_no_path, 1),
            Tally::NoTaker => (&mut self.dropped_no_taker, 1),
            Tally::AddressChange => (&mut self.address_changes, 1),
            Tally::ReplayedCheck => (&mut self.checks_replayed, 1),
            Tally::Jitter(jitter) => return self.jitter_us.record(us(jitter)),
            Tally::RoundTrip(round_trip) => return self.round_trip_us.record(us(round_trip)),
            Tally::Reached(step, after) => return self.setup_us[step as usize].record(us(after)),
        };
        *counter += more;
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_number_has_a_series_of_its_own() {
        assert_eq!(Counters::series().count(), Counters::LEN);
        let names: HashSet<_> =
            Counters::series().map(|series| (series.name, series.label)).collect();
        assert_eq!(names.len(), Counters::LEN);
        assert_eq!(Counters::histograms().count(), Counters::HISTOGRAMS);
        assert!(Counters::series().all(|series| series.help.ends_with('.')));
    }

    #[test]
    fn numbers_are_written_in_the_order_of_the_series() {
        let mut counters = Counters::new();
        counters.panics = 7;
        counters.dropped_no_session = 9;
        counters.ended[EndReason::HungUp as usize] = 3;
        let mut out = [0; Counters::LEN];
        counters.write(&mut out);
        for (series, number) in Counters::series().zip(out) {
            let want = match (series.name, series.label) {
                ("transceiver_panics_total", _) => 7,
                ("transceiver_drops_total", Some((_, "no_session"))) => 9,
                ("transceiver_sessions_ended_total", Some((_, "hung_up"))) => 3,
                _ => 0,
            };
            assert_eq!(number, want, "{series:?}");
        }
    }
}
