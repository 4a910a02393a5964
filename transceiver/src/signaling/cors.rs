//! Which pages of other origins may use this API from a browser.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// Origins whose pages may read our answers. Our own page needs no permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Every one. Harmless as far as it goes (a page can send no token that it does not have), but
    /// in open mode it lets any page that somebody looks at make calls.
    Any,
    /// These, as browsers write them: `https://app.example`. None, if there are none.
    These(Vec<String>),
}

impl Origins {
    /// Reads what a configuration says: `*` or a list.
    pub fn parse(origins: &[String]) -> Result<Self, String> {
        if origins == ["*"] {
            return Ok(Self::Any);
        }
        for origin in origins {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            let good =
                |host: &str| !host.is_empty() && !host.contains(['/', '*', ' ']) && host.is_ascii();
            if !host.is_some_and(good) {
                return Err(format!(
                    "`{origin}` is no origin: write scheme, host and port only, such as \
                     https://app.example, or \"*\" alone for every one"
                ));
            }
        }
        Ok(Self::These(origins.iter().map(|origin| origin.to_ascii_lowercase()).collect()))
    }

    /// What a browser is told that asks on behalf of an origin.
    fn allowed<'a>(&self, origin: &'a HeaderValue) -> Option<Allowed<'a>> {
        match self {
            Self::Any => Some(Allowed::Any),
            Self::These(origins) => {
                let text = origin.to_str().ok()?;
                let known = origins.iter().any(|known| known == text);
                known.then_some(Allowed::This(origin))
            }
        }
    }
}

enum Allowed<'a> {
    Any,
    This(&'a HeaderValue),
}

/// What a page may read beside the body.
const EXPOSED: &str = "location, etag, link, retry-after, www-authenticate, accept-patch";
const METHODS: &str = "GET, POST, PATCH, DELETE, OPTIONS";
/// What a page may send.
const HEADERS: &str = "authorization, content-type, if-match";
/// How long a browser may remember these, in seconds. Chromium's own limit.
const MAX_AGE: &str = "7200";

/// Adds what a browser must see before it lets a page of another origin have an answer, refusals
/// included: a page can only show an error that it may read.
pub(super) fn allow(
    origins: &Origins,
    origin: Option<&HeaderValue>,
    is_preflight: bool,
    response: &mut HeaderMap,
) {
    let mut set = |name: HeaderName, value: &'static str| {
        response.insert(name, HeaderValue::from_static(value));
    };
    if matches!(origins, Origins::These(origins) if !origins.is_empty()) {
        // RFC 9110 section 12.5.5: caches must not give one origin's answer to another.
        set(header::VARY, "origin");
    }
    let Some(origin) = origin else { return };
    let Some(allowed) = origins.allowed(origin) else { return };
    set(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    if is_preflight {
        set(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        set(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
        set(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    }
    let value = match allowed {
        Allowed::Any => HeaderValue::from_static("*"),
        Allowed::This(origin) => origin.clone(),
    };
    response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed_origin(origins: &Origins, origin: Option<&'static str>) -> Option<String> {
        let mut response = HeaderMap::new();
        let origin = origin.map(HeaderValue::from_static);
        allow(origins, origin.as_ref(), true, &mut response);
        let allowed = response.get(header::ACCESS_CONTROL_ALLOW_ORIGIN)?;
        Some(allowed.to_str().unwrap().to_owned())
    }

    #[test]
    fn only_known_origins_are_let_in() {
        let these = Origins::parse(&["https://app.example".into()]).unwrap();
        let none = Origins::parse(&[]).unwrap();
        let any = Origins::parse(&["*".into()]).unwrap();
        let (known, other) = (Some("https://app.example"), Some("https://app.example.evil"));
        assert_eq!(allowed_origin(&these, known).as_deref(), known);
        assert_eq!(allowed_origin(&these, other), None);
        assert_eq!(allowed_origin(&these, Some("null")), None);
        assert_eq!(allowed_origin(&these, None), None);
        assert_eq!(allowed_origin(&none, known), None);
        assert_eq!(allowed_origin(&any, other).as_deref(), Some("*"));
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for origin in
            ["", "app.example", "https://", "https://a.example/", "https://*.example", "*"]
        {
            let error = Origins::parse(&[origin.into(), "https://b.example".into()]).unwrap_err();
            assert!(error.contains("no origin"), "{origin}: {error}");
        }
    }
}
