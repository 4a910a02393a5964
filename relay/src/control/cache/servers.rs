//! Who holds the flow cache: one server, whichever Sentinels name as the master, or the nodes of a
//! Cluster. Beyond this file it is all one.

mod sentinels;

use crate::control::config::Redis as Settings;
use crate::control::config::redis_url::{self, Nodes, RedisUrl};
use anyhow::{Context as _, Result};
use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo as _, Pipeline, RedisError,
    RedisResult, TlsCertificates, TlsMode, Value,
};
use sentinels::Sentinels;
use std::time::Duration;
use tokio::time::timeout;

/// How often a node of a Cluster is asked again, or another one that it names.
const RETRIES: u32 = 2;
/// How long before that, at most.
const RETRY_WAIT_MS_MAX: u64 = 50;

/// The replies to a batch, each by itself.
pub(super) type Replies = Vec<RedisResult<Value>>;

/// Where connections lead.
pub(in crate::control) enum Servers {
    One(Client),
    Sentinel(Sentinels),
    Cluster(Box<ClusterClient>),
}

/// A connection that batches of commands go by, of which many may be under way.
#[derive(Clone)]
pub(super) enum Connection {
    /// To one server, whoever named it.
    Server(MultiplexedConnection),
    /// To all nodes of a Cluster.
    Nodes(ClusterConnection),
}

/// What is in files beside the URL.
struct Secrets {
    password: Option<String>,
    /// Only for TLS.
    certificates: Option<TlsCertificates>,
}

impl Servers {
    /// Checks the settings, and reads the password and the authority from their files.
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        let url = redis_url::parse(&settings.url).map_err(anyhow::Error::msg);
        let url = url.context("redis.url")?;
        let secrets = Secrets::read(settings, url.is_secure())?;
        match url {
            RedisUrl::One(url) => client(url, secrets).map(Self::One),
            RedisUrl::Sentinel { sentinels, service, database } => {
                let sentinels = Sentinels::new(&sentinels, service, database, secrets);
                sentinels.map(Self::Sentinel)
            }
            RedisUrl::Cluster(nodes) => {
                cluster(&nodes, secrets, settings.timeout).map(Box::new).map(Self::Cluster)
            }
        }
        .context("redis.url, redis.ca_file")
    }

    /// Connects: to the master that is one now, or to all nodes that there are now.
    pub(super) async fn connect(&self, patience: Duration) -> RedisResult<Connection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(patience))
            .set_response_timeout(Some(patience));
        match self {
            Self::One(client) => {
                let made = client.get_multiplexed_async_connection_with_config(&config);
                in_time(patience, made).await.map(Connection::Server)
            }
            Self::Sentinel(sentinels) => {
                let made = async {
                    let master = sentinels.master().await?;
                    master.get_multiplexed_async_connection_with_config(&config).await
                };
                // Three connections, one after the other: to a Sentinel, and twice to the master,
                // who is asked first whether it is one.
                in_time(patience * 3, made).await.map(Connection::Server)
            }
            // To those that are listed, and then to all.
            Self::Cluster(client) => {
                in_time(patience * 2, client.get_async_connection()).await.map(Connection::Nodes)
            }
        }
    }
}

impl Connection {
    /// Asks, and waits as long as that may take. Fails if nobody answers at all.
    pub(super) async fn ask(
        &mut self,
        batch: &Pipeline,
        patience: Duration,
    ) -> RedisResult<Replies> {
        let nodes = match self {
            Self::Server(server) => return in_time(patience, batch.query_async(server)).await,
            Self::Nodes(nodes) => nodes,
        };
        // What is for several nodes is no pipeline; and each answers, or does not, for itself.
        let asked = batch.cmd_iter().map(|command| {
            let mut nodes = nodes.clone();
            async move { in_time(patience, command.query_async::<Value>(&mut nodes)).await }
        });
        let replies: Replies = join_all(asked).await;
        if replies.iter().any(is_answer) {
            return Ok(replies);
        }
        // All of it may have been for the one node that is gone.
        let anyone = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
        let reply = in_time(patience, nodes.route_command(redis::cmd("PING"), anyone)).await;
        if is_answer(&reply) { Ok(replies) } else { reply.map(|_| replies) }
    }
}

/// Whether the node of a Cluster that this was for is gone, or others say that it is.
pub(super) fn is_out_of_reach(reply: &RedisResult<Value>) -> bool {
    let error = reply.as_ref().err();
    error.is_some_and(|error| error.code().is_none() || error.is_cluster_error())
}

/// Whether a server said this, be it no.
fn is_answer(reply: &RedisResult<Value>) -> bool {
    reply.as_ref().err().is_none_or(|error| error.code().is_some())
}

/// Whether a server says that it is not the master, or not any more.
pub(super) fn is_demoted(reply: &RedisResult<Value>) -> bool {
    let code = reply.as_ref().err().and_then(RedisError::code);
    // The last one is an old master's that its replicas have left.
    matches!(code, Some("READONLY" | "MASTERDOWN" | "NOREPLICAS"))
}

async fn in_time<T>(
    patience: Duration,
    work: impl Future<Output = RedisResult<T>>,
) -> RedisResult<T> {
    timeout(patience, work).await.unwrap_or_else(|_| {
        let message = format!("no answer within {patience:?}");
        Err(std::io::Error::new(std::io::ErrorKind::TimedOut, message).into())
    })
}

impl Secrets {
    fn read(settings: &Settings, secure: bool) -> Result<Self> {
        let password = match &settings.password_file {
            None => None,
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("redis.password_file {}", file.display()))?;
                Some(text.trim_end().to_owned())
            }
        };
        if !secure {
            return Ok(Self { password, certificates: None });
        }
        super::prepare_tls()?;
        let root_cert = match &settings.ca_file {
            None => None,
            Some(file) => {
                let bytes = std::fs::read(file);
                Some(bytes.with_context(|| format!("redis.ca_file {}", file.display()))?)
            }
        };
        let certificates = Some(TlsCertificates { client_tls: None, root_cert });
        Ok(Self { password, certificates })
    }
}

fn client(url: &str, secrets: Secrets) -> Result<Client> {
    let mut info = url.into_connection_info()?;
    if let Some(password) = &secrets.password {
        let redis = info.redis_settings().clone().set_password(password);
        info = info.set_redis_settings(redis);
    }
    Ok(match secrets.certificates {
        Some(certificates) => Client::build_with_tls(info, certificates)?,
        None => Client::open(info)?,
    })
}

fn cluster(nodes: &Nodes<'_>, secrets: Secrets, patience: Duration) -> Result<ClusterClient> {
    // While it connects to a node that does not even refuse, it hands out nobody's replies: so that
    // must not take long.
    let mut builder = ClusterClientBuilder::new(addresses(nodes))
        .connection_timeout(patience / 4)
        .response_timeout(patience / 2)
        .overall_response_timeout(None)
        .retries(RETRIES)
        .min_retry_wait(1)
        .max_retry_wait(RETRY_WAIT_MS_MAX);
    if let Some(user) = nodes.user {
        builder = builder.username(user);
    }
    if let Some(password) = &secrets.password {
        builder = builder.password(password);
    }
    if let Some(certificates) = secrets.certificates {
        builder = builder.tls(TlsMode::Secure).certs(certificates);
    }
    Ok(builder.build()?)
}

fn addresses(nodes: &Nodes<'_>) -> Vec<ConnectionAddr> {
    let address = |&(host, port): &(&str, u16)| {
        let host = host.to_owned();
        if nodes.secure {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        }
    };
    nodes.addresses.iter().map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const URLS: [&str; 6] = [
        "redis://h:1",
        "rediss://h:1/2",
        "redis+sentinel://h:1,i:1/m/2",
        "rediss+sentinel://u@[::1]:1/m",
        "redis+cluster://u@h:1,i:1",
        "rediss+cluster://h:1",
    ];

    fn settings(url: &str) -> Settings {
        Settings { url: url.to_owned(), ..Settings::default() }
    }

    #[test]
    fn what_a_url_names_is_what_connections_lead_to() {
        for url in URLS {
            let servers = Servers::new(&settings(url)).unwrap();
            let matches = match servers {
                Servers::One(_) => !url.contains('+'),
                Servers::Sentinel(_) => url.contains("+sentinel:"),
                Servers::Cluster(_) => url.contains("+cluster:"),
            };
            assert!(matches, "{url}");
        }
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let (missing, garbage) = (folder.path().join("missing"), folder.path().join("garbage"));
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&garbage, pem).unwrap();
        for url in URLS {
            let no_password = Settings { password_file: Some(missing.clone()), ..settings(url) };
            let no_authority = Settings { ca_file: Some(garbage.clone()), ..settings(url) };
            let secure = url.starts_with("rediss");
            for (settings, key, refused) in [
                (no_password, "redis.password_file", true),
                (no_authority, "redis.ca_file", secure),
            ] {
                let made = Servers::new(&settings);
                assert_eq!(made.is_err(), refused, "{url} {key}");
                if let Err(error) = made {
                    assert!(format!("{error:#}").contains(key), "{url}: {error:#}");
                }
            }
        }
    }

    #[test]
    fn replies_are_told_apart_by_who_speaks_and_what_it_says() {
        let said = |text: &str| {
            let reply = redis::parse_redis_value(format!("{text}\r\n").as_bytes());
            reply.and_then(Value::extract_error)
        };
        let table = [
            ("+OK", false, false),
            ("-READONLY You can't write against a read only replica.", true, false),
            ("-MASTERDOWN Link with MASTER is down", true, false),
            ("-NOREPLICAS Not enough good replicas to write.", true, false),
            ("-OOM command not allowed", false, false),
            ("-WRONGTYPE Operation against a key", false, false),
            ("-MOVED 1 127.0.0.1:7001", false, true),
            ("-CLUSTERDOWN Hash slot not served", false, true),
        ];
        for (text, demoted, out_of_reach) in table {
            let reply = said(text);
            assert!(is_answer(&reply), "{text}");
            assert_eq!(is_demoted(&reply), demoted, "{text}");
            assert_eq!(is_out_of_reach(&reply), out_of_reach, "{text}");
        }
        let broken: RedisResult<Value> =
            Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe).into());
        assert!(!is_answer(&broken));
        assert!(is_out_of_reach(&broken));
        assert!(!is_demoted(&broken));
    }
}
