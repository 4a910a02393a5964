//! What `redis.url` may say.
//!
//! ```text
//!   redis://[USER@]HOST[:PORT][/DATABASE]                                one server
//!   redis+sentinel://[USER@]HOST:PORT[,HOST:PORT...]/SERVICE[/DATABASE]  a service's master
//!   redis+cluster://[USER@]HOST:PORT[,HOST:PORT...]                      a Cluster's nodes
//! ```
//!
//! With `rediss` for `redis`, all of them by TLS. No problem quotes the URL: what was taken for a
//! part of it may be a password.

use std::net::Ipv6Addr;

/// Sentinels, or nodes of a Cluster to begin with.
const SERVERS_MAX: usize = 32;

const SCHEMES: &str = "must begin with redis:// (one server), redis+sentinel:// or \
                       redis+cluster://, or with rediss for redis in these, for TLS";
const PASSWORD: &str =
    "must not hold a password: put it into a file, and name that in redis.password_file";
const ONE: &str = "names several servers: that is redis+sentinel://HOST:PORT,HOST:PORT/SERVICE or \
                   redis+cluster://HOST:PORT,HOST:PORT";
const SENTINEL: &str =
    "must be redis+sentinel://[USER@]HOST:PORT[,HOST:PORT...]/SERVICE[/DATABASE]";
const CLUSTER: &str = "must be redis+cluster://[USER@]HOST:PORT[,HOST:PORT...]";

/// Which servers hold the flow cache.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RedisUrl<'a> {
    /// One, as the Redis client itself understands it.
    One(&'a str),
    /// Whichever is the master of this service.
    Sentinel { sentinels: Nodes<'a>, service: &'a str, database: u16 },
    /// All nodes that these know.
    Cluster(Nodes<'a>),
}

/// Sentinels, or nodes of a Cluster, and how to reach them and the servers that they know.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Nodes<'a> {
    pub(crate) secure: bool,
    pub(crate) user: Option<&'a str>,
    /// Hosts with their ports: one at least.
    pub(crate) addresses: Vec<(&'a str, u16)>,
}

impl RedisUrl<'_> {
    /// Whether connections are by TLS.
    pub(crate) fn is_secure(&self) -> bool {
        match self {
            Self::One(url) => url.starts_with("rediss"),
            Self::Sentinel { sentinels: nodes, .. } | Self::Cluster(nodes) => nodes.secure,
        }
    }
}

/// Understands a URL, or says what it must be.
pub(crate) fn parse(url: &str) -> Result<RedisUrl<'_>, String> {
    let (scheme, rest) = url.split_once("://").ok_or(SCHEMES)?;
    let (secure, kind) = match scheme.strip_prefix("rediss") {
        Some(kind) => (true, kind),
        None => (false, scheme.strip_prefix("redis").ok_or(SCHEMES)?),
    };
    // A password may hold any character, and so hide its end but not its beginning.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => return Err(PASSWORD.to_owned()),
        Some((user, rest)) => (Some(user), rest),
        None => (None, rest),
    };
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, Some(path)),
        None => (rest, None),
    };
    match kind {
        "" if authority.contains(',') => Err(ONE.to_owned()),
        "" => Ok(RedisUrl::One(url)),
        "+sentinel" => sentinel(secure, user, authority, path)
            .map_err(|problem| format!("{SENTINEL}: {problem}")),
        "+cluster" => cluster(secure, user, authority, path)
            .map_err(|problem| format!("{CLUSTER}: {problem}")),
        _ => Err(SCHEMES.to_owned()),
    }
}

fn sentinel<'a>(
    secure: bool,
    user: Option<&'a str>,
    authority: &'a str,
    path: Option<&'a str>,
) -> Result<RedisUrl<'a>, String> {
    let sentinels = servers(secure, user, authority)?;
    let path = path.unwrap_or_default();
    let (service, database) = match path.split_once('/') {
        Some((service, database)) => (service, Some(database)),
        None => (path, None),
    };
    if service.is_empty() {
        return Err("names no service: the master's name in sentinel.conf, such as mymaster".into());
    }
    if !service.chars().all(|it| it.is_ascii_alphanumeric() || "-_.".contains(it)) {
        return Err("a service's name has letters, digits and -_. only".into());
    }
    let database = match database {
        None => 0,
        Some(text) => number(text).ok_or("the database must be a number, 0..=65535")?,
    };
    Ok(RedisUrl::Sentinel { sentinels, service, database })
}

fn cluster<'a>(
    secure: bool,
    user: Option<&'a str>,
    authority: &'a str,
    path: Option<&'a str>,
) -> Result<RedisUrl<'a>, String> {
    if path.is_some_and(|path| !path.is_empty()) {
        return Err("nothing follows the nodes: a Cluster has database 0 only".into());
    }
    servers(secure, user, authority).map(RedisUrl::Cluster)
}

fn servers<'a>(
    secure: bool,
    user: Option<&'a str>,
    authority: &'a str,
) -> Result<Nodes<'a>, String> {
    let plain = |it: char| it.is_ascii_alphanumeric() || "-_.~".contains(it);
    if user.is_some_and(|user| user.is_empty() || !user.chars().all(plain)) {
        return Err("a user's name has letters, digits and -_.~ only".into());
    }
    let mut addresses = Vec::new();
    for (number, text) in (1..).zip(authority.split(',')) {
        let address = address(text).map_err(|problem| format!("server {number} {problem}"))?;
        if addresses.contains(&address) {
            return Err(format!("server {number} is listed twice"));
        }
        if number > SERVERS_MAX {
            return Err(format!("names more than {SERVERS_MAX} servers"));
        }
        addresses.push(address);
    }
    Ok(Nodes { secure, user, addresses })
}

fn address(text: &str) -> Result<(&str, u16), &'static str> {
    // An IPv6 address has colons of its own.
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => return Err("has no port: write HOST:PORT"),
    };
    let port = number(port).filter(|port| *port > 0).ok_or("has no good port: 1..=65535")?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let (host, sound) = match bracketed {
        Some(host) => (host, host.parse::<Ipv6Addr>().is_ok()),
        None => (host, !host.is_empty() && host.chars().all(is_of_a_name)),
    };
    if sound { Ok((host, port)) } else { Err("is no host name, IPv4 address or [IPv6 address]") }
}

fn is_of_a_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-_.".contains(character)
}

/// Digits, and nothing else that would be taken for a number.
fn number(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nodes<'a>(secure: bool, user: Option<&'a str>, addresses: &[(&'a str, u16)]) -> Nodes<'a> {
        Nodes { secure, user, addresses: addresses.to_vec() }
    }

    #[test]
    fn one_server_is_for_the_client_to_understand() {
        for url in ["redis://h", "rediss://u@h:1/2", "redis://[::1]:6379", "redis://"] {
            let one = parse(url).unwrap();
            assert_eq!(one.is_secure(), url.starts_with("rediss"), "{url}");
            assert_eq!(one, RedisUrl::One(url));
        }
    }

    #[test]
    fn sentinels_and_nodes_are_understood() {
        let two = [("10.0.0.1", 26_379), ("sentinel-2.example", 26_380)];
        let table = [
            (
                "redis+sentinel://10.0.0.1:26379,sentinel-2.example:26380/mymaster",
                RedisUrl::Sentinel {
                    sentinels: nodes(false, None, &two),
                    service: "mymaster",
                    database: 0,
                },
            ),
            (
                "rediss+sentinel://ringway@[fd00::1]:1/my-master_1.eu/15",
                RedisUrl::Sentinel {
                    sentinels: nodes(true, Some("ringway"), &[("fd00::1", 1)]),
                    service: "my-master_1.eu",
                    database: 15,
                },
            ),
            (
                "redis+cluster://a:7000,b:7000,[::1]:7000",
                RedisUrl::Cluster(nodes(false, None, &[("a", 7000), ("b", 7000), ("::1", 7000)])),
            ),
            (
                "rediss+cluster://ring~way@redis_1:65535/",
                RedisUrl::Cluster(nodes(true, Some("ring~way"), &[("redis_1", u16::MAX)])),
            ),
        ];
        for (url, meant) in table {
            assert_eq!(meant.is_secure(), url.starts_with("rediss"), "{url}");
            assert_eq!(parse(url), Ok(meant), "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_the_form_and_without_the_url() {
        let port = "server 1 has no port: write HOST:PORT";
        let bad_port = "server 1 has no good port: 1..=65535";
        let host = "server 1 is no host name, IPv4 address or [IPv6 address]";
        let user = "a user's name has letters, digits and -_.~ only";
        let service = "a service's name has letters, digits and -_. only";
        let database = "the database must be a number, 0..=65535";
        for (rest, problem) in [
            ("", port),
            ("/m", port),
            ("h/m", port),
            ("h:/m", bad_port),
            ("h:0/m", bad_port),
            ("h:65536/m", bad_port),
            ("h:+1/m", bad_port),
            ("h:-1/m", bad_port),
            ("h:1?x=y/m", bad_port),
            (":1/m", host),
            ("h h:1/m", host),
            ("h%41:1/m", host),
            ("::1:1/m", host),
            ("[::1]/m", port),
            ("[::1:1/m", host),
            ("[h]:1/m", host),
            ("[]:1/m", host),
            ("\u{f6}:1/m", host),
            ("h:1,/m", "server 2 has no port: write HOST:PORT"),
            ("h:1,,i:1/m", "server 2 has no port: write HOST:PORT"),
            ("h:1,h:1/m", "server 2 is listed twice"),
            ("@h:1/m", user),
            ("a%20b@h:1/m", user),
            ("a@b@h:1/m", user),
            ("h:1", "names no service"),
            ("h:1/", "names no service"),
            ("h:1//0", "names no service"),
            ("h:1/my master", service),
            ("h:1/m?protocol=resp3", service),
            ("h:1/m#1", service),
            ("h:1/m/", database),
            ("h:1/m/x", database),
            ("h:1/m/+1", database),
            ("h:1/m/65536", database),
            ("h:1/m/1/2", database),
        ] {
            let refused = parse(&format!("redis+sentinel://{rest}")).unwrap_err();
            assert!(refused.starts_with(&format!("{SENTINEL}: {problem}")), "{rest}: {refused}");
        }
        for (rest, problem) in [
            ("h", port),
            ("h:1/0", "nothing follows the nodes: a Cluster has database 0 only"),
            ("h:1?x", bad_port),
            ("u u@h:1", user),
        ] {
            let refused = parse(&format!("rediss+cluster://{rest}")).unwrap_err();
            assert_eq!(refused, format!("{CLUSTER}: {problem}"), "{rest}");
        }
        let many: Vec<_> = (1..=33).map(|port| format!("h:{port}")).collect();
        let refused = parse(&format!("redis+cluster://{}", many.join(","))).unwrap_err();
        assert_eq!(refused, format!("{CLUSTER}: names more than 32 servers"));
    }

    #[test]
    fn other_schemes_lists_and_passwords_are_refused() {
        for url in [
            "",
            "h:6379",
            "http://h",
            "REDIS://h",
            "redis:/h",
            "redis+unix:///run/redis.sock",
            "redis+sentinels://h:1/m",
            "rediss+://h",
            "sentinel://h:1/m",
        ] {
            assert_eq!(parse(url), Err(SCHEMES.to_owned()), "{url}");
        }
        for url in ["redis://a:1,b:1", "rediss://u@a,b/0"] {
            assert_eq!(parse(url), Err(ONE.to_owned()), "{url}");
        }
        for scheme in ["redis", "rediss", "redis+sentinel", "rediss+cluster", "redis+x"] {
            for rest in ["u:secret@h:1/m", ":secret@h:1/m", "u:se/cr@et@h:1", "u:@h:1"] {
                let url = format!("{scheme}://{rest}");
                assert_eq!(parse(&url), Err(PASSWORD.to_owned()), "{url}");
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_of_a_url_is_quoted(kind in "(redis|rediss)(\\+sentinel|\\+cluster)?", rest: String) {
            // Beside words of a problem itself, which are in no random string for long.
            if let Err(problem) = parse(&format!("{kind}://QQQ{rest}")) {
                prop_assert!(!problem.contains("QQQ"), "{problem}");
            }
        }
    }
}
