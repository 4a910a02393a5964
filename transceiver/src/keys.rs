//! `api-key`: makes a key for those who may call. The keyring that is shared with the relays is
//! made by `ringway-relay keygen`, once for a deployment.

use clap::Args as ClapArgs;
use service::exit;
use transceiver::signaling::fresh_key;

/// `api-key`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ApiKey {
    /// What the key is called, in the file and in logs: letters, digits, `-`, `_` and `.`.
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
}

pub(crate) const API_KEY_EXAMPLES: &str = "\
Examples:
  install -m 600 /dev/null /etc/ringway/api-keys     Make the file, readable by nobody else
  ringway-transceiver api-key web-backend >> /etc/ringway/api-keys
  ringway-transceiver ctl reload                     The key is good from now on

The same file belongs on every transceiver. A server gives browsers no key, but short-lived client
secrets: POST /v1/realtime/client_secrets.";

fn name(text: &str) -> Result<String, String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.is_empty() || text.len() > 64 || !text.bytes().all(good) {
        return Err("must be 1 to 64 characters of a-z, A-Z, 0-9, `-`, `_` and `.`".to_owned());
    }
    Ok(text.to_owned())
}

/// Prints a line for the file of API keys.
pub(crate) fn api_key(wanted: &ApiKey) -> anyhow::Result<()> {
    let key = fresh_key();
    // Not put together first: that would leave a copy of the key that nobody wipes.
    exit::print(&wanted.name)?;
    exit::print(":")?;
    exit::print(&key)?;
    exit::print("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_keys() {
        for text in ["web", "a-b_c.9"] {
            assert_eq!(name(text), Ok(text.to_owned()));
        }
        for text in ["", "a b", "a:b", "é", &"x".repeat(65)] {
            assert!(name(text).is_err(), "{text}");
        }
    }
}
