//! The client's offer, looked over before anything is built for it.

use std::borrow::Cow;
use std::fmt::Write as _;

/// An offer of any browser has less than 10 KB with audio and a data channel.
pub const OFFER_BYTES_MAX: usize = 64 << 10;
/// A call is one audio section and one for data; some clients offer video too.
const SECTIONS_MAX: usize = 16;
/// Attributes of all sections. Browsers with video reach 500.
const LINES_MAX: usize = 2_000;

/// What the client is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Somebody to talk with: audio both ways, and a data channel.
    Call,
    /// Somebody to listen to (WHIP): audio in.
    Ingest,
}

/// Why an offer was refused; the text tells the client what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Too long.
    #[error(
        "the offer has more than {OFFER_BYTES_MAX} bytes; audio and a data channel need less than 10 KB"
    )]
    TooLong,
    /// No text.
    #[error("the offer is no UTF-8 text")]
    NotText,
    /// Something else.
    #[error("this is no SDP: it must begin with `v=0`. Send `pc.localDescription.sdp` as it is")]
    NotSdp,
    /// An attack, or a mistake in a loop.
    #[error(
        "the offer has more than {SECTIONS_MAX} m= sections or {LINES_MAX} lines; offer one for audio and one for data"
    )]
    TooManySections,
    /// Nothing to hear.
    #[error("the offer has no audio: add a track or an audio transceiver before createOffer()")]
    NoAudio,
    /// Nothing to understand.
    #[error("the offer's audio does not include Opus, the one codec there is here")]
    NoOpus,
    /// It would not say anything.
    #[error("the offer's audio is {0}: offer sendrecv or sendonly")]
    WrongDirection(&'static str),
    /// What a strict ingest does not do.
    #[error("{0}")]
    NotForIngest(&'static str),
    /// str0m could not read it.
    #[error("the offer could not be read: {0}")]
    Unreadable(String),
    /// str0m would not take it.
    #[error("the offer cannot be answered: {0}")]
    Unacceptable(String),
    /// A bug of ours.
    #[error("the offer could not be answered, for a reason that is ours; please report it")]
    Internal,
}

impl OfferError {
    /// A short name for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLong => "offer_too_long",
            Self::NotText | Self::NotSdp | Self::Unreadable(_) => "offer_unreadable",
            Self::TooManySections => "offer_too_many_sections",
            Self::NoAudio => "offer_without_audio",
            Self::NoOpus => "offer_without_opus",
            Self::WrongDirection(_) => "offer_direction",
            Self::NotForIngest(_) => "offer_not_for_ingest",
            Self::Unacceptable(_) => "offer_unacceptable",
            Self::Internal => "internal_error",
        }
    }
}

/// An offer that has been looked over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    text: String,
    role: Role,
}

impl Offer {
    /// Looks an offer over.
    pub fn parse(body: &[u8], role: Role) -> Result<Self, OfferError> {
        if body.len() > OFFER_BYTES_MAX {
            return Err(OfferError::TooLong);
        }
        let body = std::str::from_utf8(body).map_err(|_| OfferError::NotText)?;
        if !body.starts_with("v=0") {
            return Err(OfferError::NotSdp);
        }
        let lines = body.lines().count();
        let sections = body.lines().filter(|line| line.starts_with("m=")).count();
        if sections > SECTIONS_MAX || lines > LINES_MAX {
            return Err(OfferError::TooManySections);
        }
        let audio = Section::all(body).find(Section::is_live_audio).ok_or(OfferError::NoAudio)?;
        if !audio.has_opus() {
            return Err(OfferError::NoOpus);
        }
        match (role, audio.direction()) {
            (_, "inactive") => return Err(OfferError::WrongDirection("inactive")),
            (Role::Ingest, "recvonly") => return Err(OfferError::WrongDirection("recvonly")),
            _ => {}
        }
        if role == Role::Ingest {
            check_ingest(body)?;
        }
        Ok(Self { text: rewritten(body, role), role })
    }

    /// The text, as str0m is to see it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the client is to us.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The ICE user name of the client.
    pub fn ufrag(&self) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:"))
    }

    /// The same offer after an ICE restart of the client.
    #[must_use]
    pub fn with_ice(&self, ufrag: &str, pwd: &str) -> Self {
        let mut text = String::with_capacity(self.text.len());
        for line in self.text.lines() {
            let line = if line.starts_with("a=ice-ufrag:") {
                Cow::Owned(format!("a=ice-ufrag:{ufrag}"))
            } else if line.starts_with("a=ice-pwd:") {
                Cow::Owned(format!("a=ice-pwd:{pwd}"))
            } else {
                Cow::Borrowed(line)
            };
            let _ = write!(text, "{line}\r\n");
        }
        Self { text, role: self.role }
    }
}

/// RFC 9725 section 4.2 wants one stream that is sent in one bundle, and single sections must not
/// be refused: so the whole offer is.
fn check_ingest(body: &str) -> Result<(), OfferError> {
    if !body.lines().any(|line| line.starts_with("a=group:BUNDLE")) {
        return Err(OfferError::NotForIngest(
            "WHIP wants all sections in one BUNDLE group (RFC 9725): use bundlePolicy max-bundle",
        ));
    }
    if Section::all(body).filter(|section| section.port() != "0").any(|s| s.kind() != "audio") {
        return Err(OfferError::NotForIngest(
            "this WHIP endpoint takes audio alone: offer neither video nor data",
        ));
    }
    if Section::all(body).count() > 1 {
        return Err(OfferError::NotForIngest("this WHIP endpoint takes one audio stream"));
    }
    Ok(())
}

/// Leaves out the client's candidates: an ICE-lite agent never calls, and learns addresses from the
/// checks that come. So nobody can have us keep or parse a list of them. An ingest only sends.
fn rewritten(body: &str, role: Role) -> String {
    let mut text = String::with_capacity(body.len());
    for line in body.lines() {
        let line = match line {
            _ if line.starts_with("a=candidate:") || line == "a=end-of-candidates" => continue,
            "a=sendrecv" if role == Role::Ingest => "a=sendonly",
            _ => line,
        };
        let _ = write!(text, "{line}\r\n");
    }
    text
}

/// One m= section.
struct Section<'a> {
    header: &'a str,
    /// What is behind the header: up to the next section.
    rest: &'a str,
    session_direction: &'a str,
}

impl<'a> Section<'a> {
    fn all(body: &'a str) -> impl Iterator<Item = Section<'a>> {
        let (session, sections) = match body.find("\nm=") {
            Some(at) => body.split_at(at + 1),
            None => (body, ""),
        };
        let session_direction = direction_in(session).unwrap_or("sendrecv");
        // No split within a line: `m=` counts only at a line's start.
        let mut rest = sections;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let end = rest.find("\nm=").map_or(rest.len(), |at| at + 1);
            let (section, behind) = rest.split_at(end);
            rest = behind;
            let (header, attributes) = section.split_once('\n').unwrap_or((section, ""));
            Some(Section { header: header.trim_end(), rest: attributes, session_direction })
        })
    }

    fn kind(&self) -> &'a str {
        let header = self.header.strip_prefix("m=").unwrap_or_default();
        header.split_whitespace().next().unwrap_or_default()
    }

    fn port(&self) -> &'a str {
        self.header.split_whitespace().nth(1).unwrap_or_default()
    }

    /// Sections that only ride on a bundle have port 0 too.
    fn is_live_audio(&self) -> bool {
        let bundled = self.rest.lines().any(|line| line == "a=bundle-only");
        self.kind() == "audio" && (self.port() != "0" || bundled)
    }

    fn has_opus(&self) -> bool {
        self.rest.lines().filter_map(|line| line.strip_prefix("a=rtpmap:")).any(|map| {
            let codec = map.split_whitespace().nth(1).unwrap_or_default();
            codec.get(..5).is_some_and(|name| name.eq_ignore_ascii_case("opus/"))
        })
    }

    fn direction(&self) -> &'a str {
        direction_in(self.rest).unwrap_or(self.session_direction)
    }
}

fn direction_in(text: &str) -> Option<&str> {
    let names = ["sendrecv", "sendonly", "recvonly", "inactive"];
    text.lines().filter_map(|line| line.strip_prefix("a=")).find(|line| names.contains(line))
}
