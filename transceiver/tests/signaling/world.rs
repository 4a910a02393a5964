//! A transceiver with one shard and a signaling listener, and a client that speaks HTTP by hand, so
//! that it can speak it badly.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use str0m::media::{Direction, MediaKind};
use str0m::{Candidate, Rtc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use transceiver::calls::Calls;
use transceiver::shard::Order;
use transceiver::signaling::{Access, Keys, Server, Settings, Signaling, default_bounds, fuzz};

pub(crate) const OFFER: &str = include_str!("../offers/audio-and-data.sdp");
/// The one API key of [`World::with_keys`].
pub(crate) const KEY: &str = "rk_0123456789abcdef0123";
const CALLS_MAX: u32 = 100;
/// Nothing here takes so long, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) calls: Arc<Calls>,
    pub(crate) signaling: Arc<Signaling>,
}

impl World {
    /// Everybody may do everything.
    pub(crate) async fn open() -> Self {
        Self::new(Settings::new(Access::open())).await
    }

    /// Who has the key may.
    pub(crate) async fn with_keys() -> Self {
        Self::new(Settings::new(keys(KEY))).await
    }

    pub(crate) async fn new(settings: Settings) -> Self {
        Self::bounded(settings, |_| {}, CALLS_MAX).await
    }

    pub(crate) async fn bounded(
        settings: Settings,
        bound: impl FnOnce(&mut service::http::Bounds),
        calls_max: u32,
    ) -> Self {
        let calls = Arc::new(fuzz::desk(calls_max));
        let mut bounds = default_bounds(&settings.proxies);
        bound(&mut bounds);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let server =
            Server::bind_within(address, bounds, settings, Arc::clone(&calls)).await.unwrap();
        let (address, signaling) = (server.local_addr().unwrap(), server.signaling());
        tokio::spawn(server.serve());
        Self { address, calls, signaling }
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Answer {
        let body = body.as_ref();
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            request.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        self.send(&bytes).await
    }

    /// Sends bytes and reads until the server closes.
    pub(crate) async fn send(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("must answer").unwrap();
        Answer::parse(&answer)
    }

    /// Opens a call as anybody.
    pub(crate) async fn call(&self, headers: &[(&str, &str)]) -> Answer {
        let sdp = ("content-type", "application/sdp");
        let headers: Vec<_> = headers.iter().copied().chain([sdp]).collect();
        self.ask("POST", "/v1/realtime/calls", &headers, OFFER).await
    }

    /// A metric's value.
    pub(crate) fn counted(&self, series: &str) -> f64 {
        let mut text = service::metrics::Text::default();
        self.signaling.counters().write(&mut text);
        let text = text.finish();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series} in\n{text}")).parse().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.calls.tell_all(|| Order::Stop);
    }
}

/// Access for one key, by a file as operators write it.
pub(crate) fn keys(key: &str) -> Access {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api-keys");
    std::fs::write(&path, format!("web:{key}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    Access::with_keys(Keys::load(&path).unwrap())
}

/// What a WHIP client offers: one audio stream that it sends.
pub(crate) fn whip_offer() -> String {
    let mut rtc = Rtc::builder().clear_codecs().enable_opus(true, false).build(Instant::now());
    rtc.add_local_candidate(Candidate::host("192.0.2.77:5000".parse().unwrap(), "udp").unwrap());
    let mut change = rtc.sdp_api();
    change.add_media(MediaKind::Audio, Direction::SendOnly, None, None, None);
    change.apply().unwrap().0.to_sdp_string()
}

/// The same offer after an ICE restart.
pub(crate) fn restarted(offer: &str) -> String {
    let line = |line: &str| match line.split_once(':') {
        Some(("a=ice-ufrag", _)) => "a=ice-ufrag:fresh".to_owned(),
        Some(("a=ice-pwd", _)) => "a=ice-pwd:freshfreshfreshfreshfresh".to_owned(),
        _ => line.to_owned(),
    };
    offer.lines().map(|each| line(each) + "\r\n").collect()
}

/// A form as browsers send it.
pub(crate) fn form(parts: &[(&str, &str)]) -> (&'static str, String) {
    let part = |(name, content): &(&str, &str)| {
        format!("--XyZ\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{content}\r\n")
    };
    let body: String = parts.iter().map(part).collect();
    ("multipart/form-data; boundary=XyZ", body + "--XyZ--\r\n")
}

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or("0");
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        };
        Self {
            status: status.parse().unwrap(),
            headers: lines.map(header).collect(),
            body: body.to_owned(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    pub(crate) fn location(&self) -> String {
        assert_eq!(self.status, 201, "{self:?}");
        self.header("location").unwrap().to_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }

    /// The code of an error, which must be a whole one.
    pub(crate) fn code(&self) -> String {
        let json = self.json();
        let error = &json["error"];
        assert!(error["type"].is_string(), "{self:?}");
        assert!(error["message"].as_str().is_some_and(|text| text.len() > 20), "{self:?}");
        assert!(error["param"].is_null(), "{self:?}");
        error["code"].as_str().unwrap().to_owned()
    }

    pub(crate) fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap().to_owned()
    }
}
