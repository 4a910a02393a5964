//! Why a call failed: a closed set, so that failures can be counted by cause.

use std::fmt;

/// A cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No socket to be had.
    Socket,
    /// TCP did not connect.
    Connect,
    /// TLS did not come about.
    Tls,
    /// The connection broke, or was no HTTP.
    Http,
    /// No response in time.
    Slow,
    /// 401 or 403.
    Unauthorized,
    /// 404.
    NotFound,
    /// 429.
    RateLimited,
    /// 503.
    Busy,
    /// Another 4xx.
    Refused,
    /// Another 5xx.
    Server,
    /// Any other status.
    Unexpected,
    /// The answer is of no use.
    Answer,
    /// The answer leads to where we may not go.
    NotAuthorized,
    /// The protocol stack gave up.
    Protocol,
    /// No check was answered.
    Ice,
    /// DTLS did not come about.
    Dtls,
    /// Nothing was heard.
    Silent,
    /// Checks were not answered any more.
    Lost,
    /// The server hung up.
    HungUp,
}

impl Failure {
    /// Of a response that is no success.
    #[must_use]
    pub const fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Unauthorized,
            404 => Self::NotFound,
            429 => Self::RateLimited,
            503 => Self::Busy,
            400..=499 => Self::Refused,
            500..=599 => Self::Server,
            _ => Self::Unexpected,
        }
    }

    /// As it is counted.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Socket => "this host: no socket (raise the limit of open files: ulimit -n)",
            Self::Connect => "signaling: cannot connect",
            Self::Tls => "signaling: TLS failed (an unknown certificate? see --ca-file)",
            Self::Http => "signaling: broken connection",
            Self::Slow => "signaling: no response in time",
            Self::Unauthorized => "signaling: not authorized (--token-file)",
            Self::NotFound => "signaling: not found (is --url right?)",
            Self::RateLimited => "signaling: rate limited (429)",
            Self::Busy => "signaling: at capacity or draining (503)",
            Self::Refused => "signaling: refused (4xx)",
            Self::Server => "signaling: server error (5xx)",
            Self::Unexpected => "signaling: unexpected response",
            Self::Answer => "the answer cannot be used",
            Self::NotAuthorized => "the answer leads off this host (see --target-authorized)",
            Self::Protocol => "the client gave up (DTLS or ICE)",
            Self::Ice => "ICE: no check was answered",
            Self::Dtls => "DTLS: not connected in time",
            Self::Silent => "no audio came back (does the model echo?)",
            Self::Lost => "connection lost",
            Self::HungUp => "ended by the server",
        }
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_their_causes() {
        for (status, cause) in [
            (401, Failure::Unauthorized),
            (404, Failure::NotFound),
            (415, Failure::Refused),
            (429, Failure::RateLimited),
            (500, Failure::Server),
            (503, Failure::Busy),
            (302, Failure::Unexpected),
        ] {
            assert_eq!(Failure::of_status(status), cause, "{status}");
        }
    }
}
