//! From TOML to a [`Keyring`], with errors that name the line and never quote a secret.

use super::{Keyring, KeyringError, RoutingEntry, State, TunnelEntry};
use crate::credentials::CredentialSecret;
use crate::hint::{KeyChar, RoutingKey};
use crate::tunnel::{TunnelKeyId, TunnelSecret};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::fmt;
use std::ops::Range;
use toml::Spanned;
use zeroize::Zeroizing;

/// More would only slow the search for a tunnel key, and nobody rotates that many at once.
const TUNNEL_ENTRIES_MAX: usize = 16;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    routing: Vec<Spanned<Routing>>,
    #[serde(default)]
    tunnel: Vec<Spanned<Tunnel>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Routing {
    id: Id<KeyChar>,
    state: StateText,
    key: Hex<{ RoutingKey::BYTES }>,
    credential: Hex<{ CredentialSecret::BYTES }>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Tunnel {
    id: Id<TunnelKeyId>,
    state: StateText,
    secret: Hex<{ TunnelSecret::BYTES }>,
}

pub(super) fn parse(text: &str) -> Result<Keyring, KeyringError> {
    let file: File = toml::from_str(text).map_err(|error| KeyringError {
        line: line_of(text, error.span()),
        reason: redact(error.message()),
    })?;

    let mut routing: Vec<RoutingEntry> = Vec::new();
    let mut routing_by_char = [None; KeyChar::COUNT];
    for entry in &file.routing {
        let Routing { id: Id(id), state, key, credential } = entry.get_ref();
        let position = u8::try_from(routing.len()).unwrap_or(u8::MAX);
        if routing_by_char[id.index()].replace(position).is_some() {
            return Err(at(text, entry, format!("there are two routing entries with id \"{id}\"")));
        }
        routing.push(RoutingEntry {
            id: *id,
            state: state.0,
            key: RoutingKey::new(*key.0),
            credential: CredentialSecret::new(*credential.0),
        });
    }

    let mut tunnel: Vec<TunnelEntry> = Vec::new();
    for entry in &file.tunnel {
        let Tunnel { id: Id(id), state, secret } = entry.get_ref();
        if tunnel.iter().any(|other| other.id == *id) {
            return Err(at(text, entry, format!("there are two tunnel entries with id {id}")));
        }
        if tunnel.len() == TUNNEL_ENTRIES_MAX {
            let reason = format!("there are more than {TUNNEL_ENTRIES_MAX} tunnel entries");
            return Err(at(text, entry, reason));
        }
        let secret = TunnelSecret::new(*secret.0);
        tunnel.push(TunnelEntry { id: *id, state: state.0, secret });
    }

    let states = file.routing.iter().map(|entry| (entry.span(), entry.get_ref().state.0));
    let routing_used = the_used_one(text, "routing", states)?;
    let states = file.tunnel.iter().map(|entry| (entry.span(), entry.get_ref().state.0));
    let tunnel_used = the_used_one(text, "tunnel", states)?;
    Ok(Keyring { routing, routing_by_char, routing_used, tunnel, tunnel_used })
}

fn the_used_one(
    text: &str,
    kind: &str,
    states: impl Iterator<Item = (Range<usize>, State)>,
) -> Result<usize, KeyringError> {
    let mut used = None;
    let mut count = 0;
    for (position, (span, state)) in states.enumerate() {
        count += 1;
        if state == State::Use && used.replace(position).is_some() {
            let reason = format!(
                "a second {kind} entry has state = \"use\"; one is used, the others must be \
                 \"accept\""
            );
            return Err(KeyringError { line: line_of(text, Some(span)), reason });
        }
    }
    used.ok_or_else(|| KeyringError {
        line: text.lines().count().max(1),
        reason: if count == 0 {
            format!("there is no [[{kind}]] entry; one with state = \"use\" is needed")
        } else {
            format!("no {kind} entry has state = \"use\"; one must")
        },
    })
}

fn at<T>(text: &str, entry: &Spanned<T>, reason: String) -> KeyringError {
    KeyringError { line: line_of(text, Some(entry.span())), reason }
}

fn line_of(text: &str, span: Option<Range<usize>>) -> usize {
    let start = span.map_or(0, |span| span.start).min(text.len());
    text.as_bytes()[..start].iter().filter(|&&byte| byte == b'\n').count() + 1
}

/// The parser quotes what it does not understand, and that may be a secret in the wrong place. No
/// word of ours is this long.
fn redact(message: &str) -> String {
    const WORD_CHARS_MAX: usize = 15;
    let mut redacted = String::new();
    let mut rest = message;
    while !rest.is_empty() {
        let is_word = |c: char| c.is_alphanumeric();
        let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        redacted.push_str(if word > WORD_CHARS_MAX { "…" } else { &rest[..word] });
        let gap = rest[word..].find(is_word).unwrap_or(rest.len() - word);
        redacted.push_str(&rest[word..word + gap]);
        rest = &rest[word + gap..];
    }
    redacted
}

/// An entry's name, read by the rules of its kind.
struct Id<T>(T);

impl<'de> Deserialize<'de> for Id<KeyChar> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = KeyChar;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("id = one character of 0-9, A-Z, a-z in quotes")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<KeyChar, E> {
                let mut characters = text.chars();
                match (characters.next().and_then(KeyChar::new), characters.next()) {
                    (Some(id), None) => Ok(id),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_str(Text).map(Self)
    }
}

impl<'de> Deserialize<'de> for Id<TunnelKeyId> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer)
            .map(|id| Self(TunnelKeyId(id)))
            .map_err(|_| D::Error::custom("a tunnel entry's id is a whole number from 0 to 255"))
    }
}

#[derive(Clone, Copy)]
struct StateText(State);

impl<'de> Deserialize<'de> for StateText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = State;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("state = \"accept\" or state = \"use\"")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<State, E> {
                match text {
                    "accept" => Ok(State::Accept),
                    "use" => Ok(State::Use),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_str(Text).map(Self)
    }
}

/// Secret bytes in hexadecimal. Its errors tell lengths and positions, never content: whatever was
/// written here by mistake may be a secret all the same.
struct Hex<const N: usize>(Zeroizing<[u8; N]>);

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HexVisitor).map(Self)
    }
}

struct HexVisitor<const N: usize>;

impl<const N: usize> HexVisitor<N> {
    fn refuse<T, E: Error>() -> Result<T, E> {
        Err(E::custom(format_args!("must be {} hex digits in quotes", 2 * N)))
    }
}

impl<const N: usize> Visitor<'_> for HexVisitor<N> {
    type Value = Zeroizing<[u8; N]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hex digits in quotes", 2 * N)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        if text.len() != 2 * N {
            let (want, is) = (2 * N, text.len());
            return Err(E::custom(format_args!("must be {want} hex digits, has {is} characters")));
        }
        let mut bytes = Zeroizing::new([0; N]);
        for (index, digit) in text.bytes().enumerate() {
            let Some(value) = char::from(digit).to_digit(16) else {
                let column = index + 1;
                return Err(E::custom(format_args!("character {column} is no hex digit")));
            };
            let value = value.to_le_bytes()[0];
            bytes[index / 2] |= if index % 2 == 0 { value << 4 } else { value };
        }
        Ok(bytes)
    }

    // The defaults of these would quote the value.
    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Self::refuse()
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Self::refuse()
    }
    fn visit_i128<E: Error>(self, _: i128) -> Result<Self::Value, E> {
        Self::refuse()
    }
    fn visit_u128<E: Error>(self, _: u128) -> Result<Self::Value, E> {
        Self::refuse()
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Self::refuse()
    }
}
