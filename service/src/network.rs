//! Addresses as configuration: networks, and which addresses nobody may be sent to by accident.
//! Pure values, no sockets.

mod cidr;
mod special;

pub use cidr::Cidr;
pub use special::{Special, refused};
