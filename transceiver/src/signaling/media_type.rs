//! Content types, and other header values of the same shape: a word and its parameters.

/// Offers and answers.
pub(super) const SDP: &str = "application/sdp";
/// A form with an offer in it.
pub(super) const FORM: &str = "multipart/form-data";
/// What WHIP clients send about ICE (RFC 8840).
pub(super) const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// A header's value, taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct MediaType<'a> {
    essence: &'a str,
    parameters: &'a str,
}

impl<'a> MediaType<'a> {
    pub(super) fn parse(value: &'a str) -> Self {
        let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
        Self { essence: essence.trim(), parameters }
    }

    /// Whether it is this one.
    pub(super) const fn is(&self, essence: &str) -> bool {
        self.essence.eq_ignore_ascii_case(essence)
    }

    /// A parameter's value, without quotes. Values with escapes in their quotes are not found:
    /// nobody writes such.
    pub(super) fn parameter(&self, name: &str) -> Option<&'a str> {
        let mut rest = self.parameters;
        while !rest.is_empty() {
            let (key, behind) = rest.split_once('=')?;
            let key = key.trim_start_matches([';', ' ', '\t']).trim_end();
            let (value, behind) = match behind.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => {
                    let end = behind.find(';').unwrap_or(behind.len());
                    let (value, behind) = behind.split_at(end);
                    (value.trim(), behind)
                }
            };
            if key.eq_ignore_ascii_case(name) {
                return (!value.contains('\\')).then_some(value);
            }
            rest = behind.trim_start_matches([';', ' ', '\t']);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn types_and_parameters_are_read() {
        let media_type = MediaType::parse("Application/SDP ; charset=utf-8;a=\"b;=c\"; D = e");
        assert!(media_type.is("application/sdp"));
        assert!(!media_type.is("application/sd"));
        assert_eq!(media_type.parameter("charset"), Some("utf-8"));
        assert_eq!(media_type.parameter("a"), Some("b;=c"));
        assert_eq!(media_type.parameter("d"), Some("e"));
        assert_eq!(media_type.parameter("e"), None);
        assert_eq!(MediaType::parse("x; a=\"b").parameter("a"), None);
        assert_eq!(MediaType::parse("x; a=\"\\\"b\"").parameter("a"), None);
        assert!(MediaType::parse("").is(""));
    }

    proptest! {
        #[test]
        fn nothing_panics_or_loops(value: String, name: String) {
            let _ = MediaType::parse(&value).parameter(&name);
        }
    }
}
