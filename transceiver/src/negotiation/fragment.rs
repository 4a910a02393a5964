//! `application/trickle-ice-sdpfrag` (RFC 8840), as WHIP clients send it by PATCH.

/// What is longer is no list of a client's candidates.
pub const FRAGMENT_BYTES_MAX: usize = 16 << 10;

/// What a fragment says of the client's ICE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// Its user name.
    pub ufrag: String,
    /// Its password.
    pub pwd: String,
}

/// Why a text is no fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no ICE fragment (RFC 8840): it needs one a=ice-ufrag (4 to 256 characters) and one a=ice-pwd (22 to 256)"
)]
pub struct NoFragment;

impl Fragment {
    /// Reads a fragment. Candidates in it are of no use to an ICE-lite agent and are passed over,
    /// as RFC 9725 section 4.3.1 asks for those that are not understood.
    pub fn parse(body: &[u8]) -> Result<Self, NoFragment> {
        if body.len() > FRAGMENT_BYTES_MAX {
            return Err(NoFragment);
        }
        let body = std::str::from_utf8(body).map_err(|_| NoFragment)?;
        let one = |name: &str, chars: std::ops::RangeInclusive<usize>| {
            let mut values = body.lines().filter_map(|line| line.strip_prefix(name));
            let value = values.next().ok_or(NoFragment)?;
            let is_ice_char =
                |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
            // A section may repeat them, but not change them: all is one bundle.
            let same = values.all(|other| other == value);
            let good = same && chars.contains(&value.len()) && value.bytes().all(is_ice_char);
            good.then(|| value.to_owned()).ok_or(NoFragment)
        };
        Ok(Self { ufrag: one("a=ice-ufrag:", 4..=256)?, pwd: one("a=ice-pwd:", 22..=256)? })
    }

    /// The lines of an answer that belong into a fragment.
    pub fn of_answer(answer: &str) -> String {
        let mut text = String::new();
        for line in answer.lines() {
            let session = line == "a=ice-lite" || line.starts_with("a=ice-options:");
            let section = line.starts_with("m=") || line.starts_with("a=mid:");
            let ice = line.starts_with("a=ice-ufrag:") || line.starts_with("a=ice-pwd:");
            let candidates = line.starts_with("a=candidate:") || line == "a=end-of-candidates";
            if session || section || ice || candidates {
                text.push_str(line);
                text.push_str("\r\n");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PWD: &str = "asd88fgpdd777uzjYhagZg";

    #[test]
    fn fragments_are_read() {
        let candidates = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
                          a=candidate:1 1 udp 1 192.0.2.1 5 typ host\r\n";
        let text = format!("a=ice-ufrag:EsAw\r\na=ice-pwd:{PWD}\r\n{candidates}");
        let fragment = Fragment::parse(text.as_bytes()).unwrap();
        assert_eq!(fragment, Fragment { ufrag: "EsAw".into(), pwd: PWD.into() });
        for (name, text) in [
            ("nothing", String::new()),
            ("no password", "a=ice-ufrag:EsAw\r\n".into()),
            ("a short password", "a=ice-ufrag:EsAw\r\na=ice-pwd:short\r\n".into()),
            ("a space", format!("a=ice-ufrag:Es Aw\r\na=ice-pwd:{PWD}\r\n")),
            ("two names", format!("{text}a=ice-ufrag:Other\r\n")),
            ("too long", format!("{text}{}", "a=x\r\n".repeat(FRAGMENT_BYTES_MAX / 5))),
        ] {
            assert_eq!(Fragment::parse(text.as_bytes()), Err(NoFragment), "{name}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            let _ = Fragment::parse(&bytes);
        }
    }
}
