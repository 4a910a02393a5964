//! `multipart/form-data` (RFC 7578), as far as opening a call needs it: two parts by name, from a
//! body that is all there. Strict: what could be read in two ways is refused.

use super::failure::Failure;
use super::media_type::MediaType;

/// RFC 2046 section 5.1.1.
const BOUNDARY_CHARS_MAX: usize = 70;
const PART_HEAD_BYTES_MAX: usize = 1_024;

/// The parts of a request for a call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Form<'a> {
    pub(super) sdp: Option<&'a [u8]>,
    pub(super) session: Option<&'a [u8]>,
}

impl<'a> Form<'a> {
    pub(super) fn parse(body: &'a [u8], media_type: &MediaType<'_>) -> Result<Self, Failure> {
        let boundary = media_type.parameter("boundary").filter(|text| is_boundary(text));
        let boundary = boundary.ok_or_else(|| {
            refused("the Content-Type needs a boundary: let your HTTP library set it")
        })?;
        let opening = format!("--{boundary}");
        // The delimiter of all parts but the first includes the line end before it.
        let between = format!("\r\n--{boundary}");
        let mut rest = body
            .strip_prefix(opening.as_bytes())
            .ok_or_else(|| refused("the body does not begin with its boundary"))?;
        let mut form = Self::default();
        loop {
            if rest.starts_with(b"--") {
                return Ok(form);
            }
            rest = rest.strip_prefix(b"\r\n").ok_or_else(truncated)?;
            let (head, behind) = split_at(rest, b"\r\n\r\n").ok_or_else(truncated)?;
            let (content, behind) = split_at(behind, between.as_bytes()).ok_or_else(truncated)?;
            form.add(head, content)?;
            rest = behind;
        }
    }

    fn add(&mut self, head: &[u8], content: &'a [u8]) -> Result<(), Failure> {
        let head = std::str::from_utf8(head).ok().filter(|head| head.len() <= PART_HEAD_BYTES_MAX);
        let name = head.and_then(part_name).ok_or_else(|| {
            refused("every part needs `Content-Disposition: form-data; name=…`: sdp or session")
        })?;
        let place = match name {
            "sdp" => &mut self.sdp,
            "session" => &mut self.session,
            other => {
                let other: String = other.chars().take(64).collect();
                return Err(refused(format!("there is no part `{other}`; send sdp and session")));
            }
        };
        if place.replace(content).is_some() {
            return Err(refused(format!("the part `{name}` comes twice")));
        }
        Ok(())
    }
}

fn refused(message: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Failure::bad("multipart_unreadable", message)
}

fn truncated() -> Failure {
    refused("the body ends within a part, or its lines do not end with CR LF")
}

fn is_boundary(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    (1..=BOUNDARY_CHARS_MAX).contains(&text.len())
        && !text.ends_with(' ')
        && text.bytes().all(allowed)
}

/// What is before and behind the first occurrence.
fn split_at<'a>(bytes: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(separator.len()).position(|window| window == separator)?;
    Some((&bytes[..at], &bytes[at + separator.len()..]))
}

fn part_name(head: &str) -> Option<&str> {
    let mut dispositions = head.split("\r\n").filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-disposition").then_some(value)
    });
    let disposition = MediaType::parse(dispositions.next()?);
    let single = dispositions.next().is_none();
    (single && disposition.is("form-data")).then(|| disposition.parameter("name")).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse<'a>(boundary: &str, body: &'a str) -> Result<Form<'a>, String> {
        let media_type = format!("multipart/form-data; boundary={boundary}");
        Form::parse(body.as_bytes(), &MediaType::parse(&media_type))
            .map_err(|failure| failure.message.into_owned())
    }

    fn part(head: &str, content: &str) -> String {
        format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n")
    }

    #[test]
    fn what_browsers_and_libraries_send_is_read() {
        let sdp = part("name=\"sdp\"", "v=0\r\no=-\r\n");
        let session =
            part("name=\"session\"; filename=\"blob\"\r\nContent-Type: application/json", "{}");
        let form = |sdp: &'static str, session: Option<&'static str>| Form {
            sdp: Some(sdp.as_bytes()),
            session: session.map(str::as_bytes),
        };
        for (name, body, expected) in [
            ("both", format!("{sdp}{session}--b--\r\n"), form("v=0\r\no=-\r\n", Some("{}"))),
            ("the other way", format!("{session}{sdp}--b--"), form("v=0\r\no=-\r\n", Some("{}"))),
            ("sdp alone", format!("{sdp}--b--\r\n"), form("v=0\r\no=-\r\n", None)),
            ("a bare name", format!("{}--b--", part("name=sdp", "x")), form("x", None)),
            ("nothing", "--b--\r\n".to_owned(), Form::default()),
        ] {
            assert_eq!(parse("b", &body), Ok(expected), "{name}");
        }
        assert!(parse("\"b\"", &format!("{sdp}--b--")).is_ok(), "a quoted boundary");
    }

    #[test]
    fn what_is_no_form_says_why() {
        let sdp = part("name=\"sdp\"", "x");
        for (boundary, body, why) in [
            ("", String::new(), "boundary"),
            ("\u{fc}", sdp.clone(), "needs a boundary"),
            ("b", String::new(), "begin"),
            ("b", "v=0\r\n".into(), "begin"),
            ("c", sdp.clone(), "begin"),
            ("b", "--b".into(), "ends within"),
            ("b", sdp.clone(), "ends within"),
            ("b", sdp.replace("\r\n", "\n"), "CR LF"),
            ("b", format!("{sdp}{sdp}--b--"), "comes twice"),
            ("b", format!("{}--b--", part("name=other", "x")), "`other`"),
            ("b", format!("{}--b--", part("filename=sdp", "x")), "Content-Disposition"),
            ("b", "--b\r\nX: y\r\n\r\nx\r\n--b--".into(), "Content-Disposition"),
            (
                "b",
                format!("{}--b--", part(&format!("name={}", "x".repeat(2_000)), "x")),
                "Content-D",
            ),
        ] {
            let error = parse(boundary, &body).unwrap_err();
            assert!(error.contains(why), "{boundary} {body:?}: {error}");
        }
        let long = "b".repeat(BOUNDARY_CHARS_MAX + 1);
        assert!(parse(&long, &format!("--{long}--")).is_err());
    }

    proptest! {
        #[test]
        fn any_content_comes_through(sdp in "[^-]{0,80}", session in "[a-z{}\\r\\n\"-]{0,80}") {
            prop_assume!(!session.contains("--b"));
            let body = format!(
                "{}{}--b--\r\n", part("name=sdp", &sdp), part("name=session", &session)
            );
            let form = parse("b", &body).unwrap();
            prop_assert_eq!(form.sdp, Some(sdp.as_bytes()));
            prop_assert_eq!(form.session, Some(session.as_bytes()));
        }

        #[test]
        fn nothing_panics(boundary: String, body in "(--b|\r\n|Content-Disposition: |form-data; name=sdp|.){0,30}") {
            let _ = parse(&boundary, &body);
            let _ = parse("b", &body);
        }
    }
}
