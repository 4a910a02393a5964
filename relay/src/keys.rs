//! `keygen` and `decode`: what needs the key file, and no running relay.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Args as ClapArgs;
use relay::control::decode::decode;
use service::{exit, keyfile};
use wire::hint::KeyChar;
use wire::tunnel::TunnelKeyId;

use crate::ctl::show;

/// `keygen`.
#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
pub(crate) struct Keygen {
    /// Make a new keyring in this file. An existing file is never touched.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print one more routing entry with this name, 0-9, A-Z or a-z, to append to a keyring.
    #[arg(long, value_name = "CHARACTER", value_parser = key_char)]
    routing: Option<KeyChar>,
    /// Print one more tunnel entry with this name, a number, to append to a keyring.
    #[arg(long, value_name = "NUMBER", value_parser = tunnel_key_id)]
    tunnel: Option<TunnelKeyId>,
}

pub(crate) const KEYGEN_EXAMPLES: &str = "\
Examples:
  ringway-relay keygen /etc/ringway/keys.toml   A new keyring, once for a deployment
  ringway-relay keygen --routing B >> keys.toml First step of rotating the routing key
  ringway-relay keygen --tunnel 2 >> keys.toml  First step of rotating the tunnel key

Every relay and every transceiver needs the same keyring. docs/operating.md tells how to rotate.";

/// `decode`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Decode {
    /// The ufrag, from the SDP answer (a=ice-ufrag) or before the colon of a USERNAME.
    ufrag: String,
    /// The keyring.
    #[arg(
        long,
        value_name = "FILE",
        env = "RINGWAY_KEYS",
        default_value = "/etc/ringway/keys.toml"
    )]
    keys: PathBuf,
}

pub(crate) const DECODE_EXAMPLES: &str = "\
Examples:
  ringway-relay decode A4kP0vVb2mQxJ8sT1rLw9Zc --keys keys.toml
  ringway-relay ctl decode A4kP0vVb2mQxJ8sT1rLw9Zc   With the keys of the running relay

Exits with 1 if the ufrag was not minted with one of these keys.";

fn key_char(text: &str) -> Result<KeyChar, String> {
    let mut characters = text.chars();
    let name = characters.next().filter(|_| characters.next().is_none());
    name.and_then(KeyChar::new).ok_or_else(|| "must be one of 0-9, A-Z, a-z".to_owned())
}

fn tunnel_key_id(text: &str) -> Result<TunnelKeyId, String> {
    text.parse().map(TunnelKeyId).map_err(|_| "must be a number from 0 to 255".to_owned())
}

/// Makes a keyring, or prints an entry for one.
pub(crate) fn keygen(keygen: &Keygen) -> anyhow::Result<()> {
    if let Some(file) = &keygen.file {
        keyfile::create(file).context("Failed to make a keyring")?;
        advise(&format!(
            "Made {}, mode 0600, with one routing and one tunnel key.\n\
             Next: copy it to every relay and transceiver, by a channel you trust with passwords; \
             name it as `keys` in their configurations.",
            file.display()
        ));
    }
    if let Some(id) = keygen.routing {
        print_entry(&keyfile::fresh_routing_entry(id)?)?;
    }
    if let Some(id) = keygen.tunnel {
        print_entry(&keyfile::fresh_tunnel_entry(id)?)?;
    }
    Ok(())
}

/// Prints an entry behind an empty line, which parts it from what it is appended to.
fn print_entry(entry: &str) -> anyhow::Result<()> {
    // Not put together first: that would leave a copy of the secret that nobody wipes.
    exit::print("\n")?;
    exit::print(entry)?;
    advise(NEXT);
    Ok(())
}

const NEXT: &str = "\
Next: append this entry to the keyring on every relay and transceiver and reload them all \
(ringway-relay ctl reload).\nOnly then make it `use`, and the old one `accept`; see \
docs/operating.md.";

/// On stderr: stdout may go into a keyring.
#[expect(clippy::print_stderr, reason = "advice for the person at the terminal")]
fn advise(text: &str) {
    eprintln!("{text}");
}

/// Shows what a ufrag says.
pub(crate) fn show_ufrag(wanted: &Decode) -> anyhow::Result<()> {
    let keyring = keyfile::load(&wanted.keys)?;
    // Before 1970 every hint is valid; a clock that wrong has other consequences.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let decoded = decode(&keyring, &wanted.ufrag, now).context("Not decodable")?;
    exit::print(&show::decoded(&decoded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_keys() {
        assert_eq!(key_char("B"), Ok(KeyChar::new('B').unwrap()));
        assert_eq!(tunnel_key_id("2"), Ok(TunnelKeyId(2)));
        for text in ["", "BB", "+", "é"] {
            assert!(key_char(text).is_err(), "{text}");
        }
        for text in ["", "-1", "256", "x"] {
            assert!(tunnel_key_id(text).is_err(), "{text}");
        }
    }
}
