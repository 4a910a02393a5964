//! Makes the text of a new keyring, or of one more entry for an existing one.

use crate::credentials::CredentialSecret;
use crate::hint::{KeyChar, RoutingKey};
use crate::tunnel::{TunnelKeyId, TunnelSecret};
use std::fmt::Write;
use zeroize::Zeroizing;

/// A text with secrets in it; wiped when dropped.
pub type KeyringText = Zeroizing<String>;

const HEADER: &str = "\
# Ringway keyring. Every relay and every transceiver of a deployment has the same one. Whoever reads
# it can route packets into any session and read the tunnel: keep it mode 0600.
#
# Rotation, each step on all hosts before the next: add a new entry with state \"accept\"; make it
# \"use\" and the old one \"accept\"; remove the old one after the longest call.

";

/// The text of a new keyring with one entry of each kind, both in use. `random` fills a slice with
/// secure random bytes.
pub fn generate<E>(mut random: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<KeyringText, E> {
    let mut text = Zeroizing::new(String::with_capacity(1024));
    text.push_str(HEADER);
    routing_entry(&mut text, FIRST_ROUTING_ID, "use", &mut random)?;
    text.push('\n');
    tunnel_entry(&mut text, FIRST_TUNNEL_ID, "use", &mut random)?;
    Ok(text)
}

/// The text of one more routing entry, in state `accept`: the first step of a rotation.
pub fn fresh_routing_entry<E>(
    id: KeyChar,
    mut random: impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<KeyringText, E> {
    let mut text = Zeroizing::new(String::with_capacity(512));
    routing_entry(&mut text, id, "accept", &mut random)?;
    Ok(text)
}

/// The text of one more tunnel entry, in state `accept`: the first step of a rotation.
pub fn fresh_tunnel_entry<E>(
    id: TunnelKeyId,
    mut random: impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<KeyringText, E> {
    let mut text = Zeroizing::new(String::with_capacity(512));
    tunnel_entry(&mut text, id, "accept", &mut random)?;
    Ok(text)
}

// "A" is the eleventh digit.
const FIRST_ROUTING_ID: KeyChar = KeyChar::from_index(10).expect("10 is below 62");
const FIRST_TUNNEL_ID: TunnelKeyId = TunnelKeyId(1);

fn routing_entry<E>(
    text: &mut String,
    id: KeyChar,
    state: &str,
    random: &mut impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<(), E> {
    let key = hex::<{ RoutingKey::BYTES }, E>(random)?;
    let credential = hex::<{ CredentialSecret::BYTES }, E>(random)?;
    put(text, format_args!("[[routing]]\nid = \"{id}\"\nstate = \"{state}\"\n"));
    put(text, format_args!("key = \"{}\"\n", *key));
    put(text, format_args!("credential = \"{}\"\n", *credential));
    Ok(())
}

fn tunnel_entry<E>(
    text: &mut String,
    id: TunnelKeyId,
    state: &str,
    random: &mut impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<(), E> {
    let secret = hex::<{ TunnelSecret::BYTES }, E>(random)?;
    put(text, format_args!("[[tunnel]]\nid = {id}\nstate = \"{state}\"\n"));
    put(text, format_args!("secret = \"{}\"\n", *secret));
    Ok(())
}

fn hex<const N: usize, E>(
    random: &mut impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<KeyringText, E> {
    let mut bytes = Zeroizing::new([0; N]);
    random(bytes.as_mut())?;
    // All room at once: growing would leave a copy behind that nobody wipes.
    let mut text = Zeroizing::new(String::with_capacity(2 * N));
    for byte in bytes.iter() {
        put(&mut text, format_args!("{byte:02x}"));
    }
    Ok(text)
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a String cannot fail");
}
