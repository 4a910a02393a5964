//! STUN as far as ICE needs it: a borrowed view of a received message, and an encoder.
//!
//! The view reads nothing twice and copies nothing. One walk over the attributes checks that each
//! lies inside the message and remembers where the few interesting ones are.
//!
//! Specifications: RFC 8489 (STUN), RFC 8445 (ICE).

mod encode;
mod fingerprint;
mod integrity;
mod view;

pub use encode::{Encoder, Full};
pub use integrity::IntegrityError;
pub use view::{Message, StunError};

/// Bytes of the header. RFC 8489 section 5.
pub const HEADER_BYTES: usize = 20;
/// The fixed second word of every header. RFC 8489 section 5.
pub const MAGIC_COOKIE: u32 = 0x2112_A442;
/// The longest USERNAME. RFC 8489 section 14.3: "MUST contain a UTF-8-encoded sequence of fewer
/// than 509 bytes".
pub const USERNAME_BYTES_MAX: usize = 508;

const INTEGRITY_BYTES: usize = 20;
const ATTRIBUTE_HEADER_BYTES: usize = 4;

/// Identifies a request and its response.
pub type TransactionId = [u8; 12];

/// Attribute types. RFC 8489 section 18.3, RFC 8445 section 16.1.
mod attribute {
    pub(super) const USERNAME: u16 = 0x0006;
    pub(super) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(super) const ERROR_CODE: u16 = 0x0009;
    pub(super) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub(super) const PRIORITY: u16 = 0x0024;
    pub(super) const USE_CANDIDATE: u16 = 0x0025;
    pub(super) const FINGERPRINT: u16 = 0x8028;
    pub(super) const ICE_CONTROLLING: u16 = 0x802A;
}

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A connectivity or consent check.
    BindingRequest,
    /// A keep-alive that wants no answer.
    BindingIndication,
    /// The answer to a check.
    BindingSuccess,
    /// The refusal of a check.
    BindingError,
    /// libwebrtc's short repeat of a check it has made before; it carries no USERNAME.
    GoogPing,
    /// Any other class and method: the message's type as it came.
    Other(u16),
}

impl Kind {
    /// From the 14-bit type field.
    ///
    /// ```text
    ///   0                 1
    ///   2  3  4 5 6 7 8 9 0 1 2 3 4 5
    ///  +--+--+-+-+-+-+-+-+-+-+-+-+-+-+
    ///  |M |M |M|M|M|C|M|M|M|C|M|M|M|M|      M: method, C: class (RFC 8489 section 5)
    ///  |11|10|9|8|7|1|6|5|4|0|3|2|1|0|
    ///  +--+--+-+-+-+-+-+-+-+-+-+-+-+-+
    /// ```
    const fn from_bits(bits: u16) -> Self {
        match bits {
            0x0001 => Self::BindingRequest,
            0x0011 => Self::BindingIndication,
            0x0101 => Self::BindingSuccess,
            0x0111 => Self::BindingError,
            0x0200 => Self::GoogPing,
            other => Self::Other(other),
        }
    }

    const fn bits(self) -> u16 {
        match self {
            Self::BindingRequest => 0x0001,
            Self::BindingIndication => 0x0011,
            Self::BindingSuccess => 0x0101,
            Self::BindingError => 0x0111,
            Self::GoogPing => 0x0200,
            Self::Other(bits) => bits & 0x3fff,
        }
    }
}
