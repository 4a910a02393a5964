//! Signaling: the HTTP side of a call. One connection per request, so that what is measured is what
//! a caller who comes for the first time waits for.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::failure::Failure;
use crate::target::Permission;

const CONNECT_TIME: Duration = Duration::from_secs(5);
const RESPONSE_TIME: Duration = Duration::from_secs(10);
const BODY_BYTES_MAX: usize = 64 << 10;
const CALLS_PATH: &str = "/v1/realtime/calls";
/// Parts the form of an offer from its session; never in SDP, whose lines begin with a letter.
const BOUNDARY: &str = "ringway-loadgen-form";

/// Where and how to signal.
#[derive(Debug, Clone)]
pub struct SignalingSettings {
    /// `http://host[:port]` or `https://…`.
    pub url: String,
    /// Bearer token.
    pub token: Option<String>,
    /// The backend to ask for.
    pub model: Option<String>,
    /// Certificates to trust; the system's if it is `None`.
    pub ca_file: Option<std::path::PathBuf>,
}

/// A deployment's signaling, found and permitted.
pub struct Signaling {
    authority: String,
    base: String,
    address: SocketAddr,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    authorization: Option<String>,
    model: Option<String>,
}

/// A call that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The SDP answer.
    pub answer: String,
    /// Where the call is, for hanging up.
    pub location: Option<String>,
    /// Time to connect, TLS included.
    pub connect: Duration,
    /// Time from the request to the whole response.
    pub response: Duration,
}

impl Signaling {
    /// Looks the host up once: a test measures calls, not name servers.
    pub fn new(settings: &SignalingSettings, permission: &Permission) -> anyhow::Result<Self> {
        let url: Uri =
            settings.url.parse().with_context(|| format!("--url {}: is no URL", settings.url))?;
        let scheme = url.scheme_str().unwrap_or_default();
        ensure!(
            matches!(scheme, "http" | "https") && url.host().is_some(),
            "--url {}: write http://HOST or https://HOST",
            settings.url
        );
        let is_tls = scheme == "https";
        let host = url.host().unwrap_or_default();
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let address = resolve(&name, port)?;
        permission
            .check(&name, address.ip())
            .map_err(|refused| service::exit::Usage(refused.to_string()))?;
        let tls = if is_tls {
            let server = ServerName::try_from(name)
                .with_context(|| format!("--url {}: no name for TLS", settings.url))?;
            Some((connector(settings.ca_file.as_deref())?, server))
        } else {
            None
        };
        Ok(Self {
            authority: url.authority().map_or_else(String::new, ToString::to_string),
            base: url.path().trim_end_matches('/').to_owned(),
            address,
            tls,
            authorization: settings.token.as_ref().map(|token| format!("Bearer {token}")),
            model: settings.model.clone().filter(|model| !model.is_empty()),
        })
    }

    /// Offers a call.
    pub async fn offer(&self, offer: &str) -> Result<Answered, Failure> {
        let began = Instant::now();
        let (content_type, body) = self.body(offer);
        let request = self.request(Method::POST, CALLS_PATH, content_type, body);
        let (response, connect) = self.send(request, began).await?;
        let status = response.status().as_u16();
        if status != 201 && status != 200 {
            return Err(Failure::of_status(status));
        }
        let location = response.headers().get(LOCATION);
        let location = location.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX);
        let body = timeout(RESPONSE_TIME, body.collect()).await.map_err(|_| Failure::Slow)?;
        let body = body.map_err(|_| Failure::Http)?.to_bytes();
        let answer = String::from_utf8(body.to_vec()).map_err(|_| Failure::Answer)?;
        Ok(Answered {
            answer,
            location,
            connect,
            response: began.elapsed().saturating_sub(connect),
        })
    }

    /// Hangs up a call that was answered. Best effort: closing its connection says the same.
    pub async fn hang_up(&self, location: &str) {
        // Only on this server, wherever it says that the call is.
        let path = location.parse::<Uri>().map(|uri| uri.path().to_owned()).unwrap_or_default();
        let path = format!("{}/hangup", path.trim_end_matches('/'));
        let path = path.strip_prefix(&self.base).unwrap_or(&path);
        let request = self.request(Method::POST, path, "application/json".into(), String::new());
        let _ = self.send(request, Instant::now()).await;
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    fn body(&self, offer: &str) -> (String, String) {
        let Some(model) = &self.model else {
            return ("application/sdp".to_owned(), offer.to_owned());
        };
        let session = serde_json::json!({ "type": "realtime", "model": model });
        let part = |name: &str, kind: &str, content: &str| {
            format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\
                 Content-Type: {kind}\r\n\r\n{content}\r\n"
            )
        };
        let body = part("sdp", "application/sdp", offer)
            + &part("session", "application/json", &session.to_string())
            + &format!("--{BOUNDARY}--\r\n");
        (format!("multipart/form-data; boundary={BOUNDARY}"), body)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        content_type: String,
        body: String,
    ) -> Option<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, content_type);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.body(Full::new(Bytes::from(body))).ok()
    }

    async fn send(
        &self,
        request: Option<Request<Full<Bytes>>>,
        began: Instant,
    ) -> Result<(Response<Incoming>, Duration), Failure> {
        // Only a token with a line break in it cannot be put into a request.
        let request = request.ok_or(Failure::Unauthorized)?;
        let connecting = TcpStream::connect(self.address);
        let stream = timeout(CONNECT_TIME, connecting).await.map_err(|_| Failure::Connect)?;
        let stream = stream.map_err(|_| Failure::Connect)?;
        // Best effort: it only spares waiting.
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => exchange(stream, request, began.elapsed()).await,
            Some((connector, name)) => {
                let securing = connector.connect(name.clone(), stream);
                let stream = timeout(CONNECT_TIME, securing).await.map_err(|_| Failure::Tls)?;
                let stream = stream.map_err(|_| Failure::Tls)?;
                exchange(stream, request, began.elapsed()).await
            }
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    request: Request<Full<Bytes>>,
    connect: Duration,
) -> Result<(Response<Incoming>, Duration), Failure> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|_| Failure::Http)?;
    // It ends with the response's body, or with the sender.
    tokio::task::spawn_local(connection);
    let sending = sender.send_request(request);
    let response = timeout(RESPONSE_TIME, sending).await.map_err(|_| Failure::Slow)?;
    Ok((response.map_err(|_| Failure::Http)?, connect))
}

fn resolve(name: &str, port: u16) -> anyhow::Result<SocketAddr> {
    if let Ok(ip) = name.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    let found = std::net::ToSocketAddrs::to_socket_addrs(&(name, port))
        .with_context(|| format!("Failed to find {name}"))?;
    let mut all: Vec<SocketAddr> = found.collect();
    // IPv4 first: what every deployment has.
    all.sort_by_key(SocketAddr::is_ipv6);
    all.first().copied().with_context(|| format!("{name} has no address"))
}

fn connector(ca_file: Option<&Path>) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        let name = path.display();
        let certificates = CertificateDer::pem_file_iter(path)
            .with_context(|| format!("--ca-file {name}: cannot be read"))?;
        for certificate in certificates {
            let certificate = certificate.with_context(|| format!("--ca-file {name}: no PEM"))?;
            roots.add(certificate).with_context(|| format!("--ca-file {name}: no certificate"))?;
        }
        ensure!(!roots.is_empty(), "--ca-file {name}: holds no certificate");
    } else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        ensure!(
            !roots.is_empty(),
            "this host has no certificates to trust (install ca-certificates, or use --ca-file)"
        );
    }
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("Failed to set up TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

impl std::fmt::Debug for Signaling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signaling").field("address", &self.address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> SignalingSettings {
        SignalingSettings { url: url.into(), token: None, model: None, ca_file: None }
    }

    #[test]
    fn urls_that_cannot_be_signaled_to_are_explained() {
        let permission = Permission::new(None);
        for (url, part) in [
            ("127.0.0.1:8080", "write http://HOST"),
            ("ftp://127.0.0.1", "write http://HOST"),
            ("http://", "is no URL"),
            ("http://203.0.113.1", "--target-authorized 203.0.113.1"),
        ] {
            let error = Signaling::new(&settings(url), &permission).unwrap_err();
            assert!(format!("{error:#}").contains(part), "{url}: {error:#}");
        }
    }

    #[test]
    fn a_url_becomes_an_address_and_a_path() {
        let permission = Permission::new(None);
        let signaling = Signaling::new(&settings("http://[::1]/edge/"), &permission).unwrap();
        assert_eq!(
            (signaling.address().to_string().as_str(), signaling.base.as_str()),
            ("[::1]:80", "/edge")
        );
        let model = Some("echo".to_owned());
        let with = Signaling::new(
            &SignalingSettings { model, ..settings("http://127.0.0.1:8080") },
            &permission,
        );
        let (kind, body) = with.unwrap().body("v=0\r\n");
        assert!(kind.starts_with("multipart/form-data; boundary="));
        assert!(body.contains("name=\"sdp\"") && body.contains("{\"model\":\"echo\""), "{body}");
    }
}
