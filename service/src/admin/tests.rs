//! Server and client against each other, and each against a stranger.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::*;

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
enum Request {
    Double { number: u64 },
    Count { to: u64 },
    Forever,
    Sleep,
    Refuse,
}

struct Arithmetic;

impl Handler for Arithmetic {
    type Request = Request;
    type Reply = u64;

    async fn handle(&self, request: Request, stream: &mut Stream<'_>) -> Result<u64, Refusal> {
        match request {
            Request::Double { number } => Ok(number * 2),
            Request::Count { to } => {
                for number in 0..to {
                    stream.next(&number).await?;
                }
                Ok(to)
            }
            Request::Forever => loop {
                stream.next(&0).await?;
                tokio::time::sleep(Duration::from_millis(1)).await;
            },
            Request::Sleep => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                Ok(0)
            }
            Request::Refuse => Err(Refusal("not while draining: `ctl undrain` first".into())),
        }
    }
}

struct Running {
    runtime: Runtime,
    serving: JoinHandle<std::io::Result<()>>,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

fn run(limits: Limits) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.sock");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let place = Place { path: path.clone(), group: None, take_over: false };
    let server = Server::bind(&place, limits).unwrap();
    let serving = runtime.spawn(server.serve(Arc::new(Arithmetic)));
    Running { runtime, serving, path, _folder: folder }
}

fn client(path: &Path) -> Client {
    Client::new(path, "relay", Duration::from_secs(5))
}

/// What a stranger gets for raw bytes.
fn raw(path: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // The server may close before it has taken all.
    let _ = stream.write_all(bytes);
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn a_request_is_answered_and_a_stream_ends() {
    let running = run(Limits::default());
    let client = client(&running.path);
    assert_eq!(client.call::<u64>(&Request::Double { number: 21 }).unwrap(), 42);
    let values: Result<Vec<u64>, _> = client.stream(&Request::Count { to: 3 }).unwrap().collect();
    assert_eq!(values.unwrap(), [0, 1, 2, 3]);
    assert_eq!(client.call::<u64>(&Request::Count { to: 3 }).unwrap(), 3);
    let refused = client.call::<u64>(&Request::Refuse).unwrap_err();
    assert_eq!(refused.to_string(), "not while draining: `ctl undrain` first");
}

#[test]
fn a_person_can_type_it() {
    let running = run(Limits::default());
    let table: [(&[u8], &str); 6] = [
        (b"{\"command\":\"double\",\"number\":4}\n", "{\"ok\":8}\n"),
        (b"{\"command\":\"count\",\"to\":1}\n", "{\"next\":0}\n{\"ok\":1}\n"),
        (
            b"{\"command\":\"duoble\"}\n",
            "{\"error\":\"not a request that is known here: unknown variant",
        ),
        (b"hello\n", "{\"error\":\"not a request that is known here: expected value"),
        (b"\xff\xfe\n", "{\"error\":\"not a request"),
        (b"\n", "{\"error\":\"not a request"),
    ];
    for (request, reply) in table {
        let answer = raw(&running.path, request);
        assert!(answer.starts_with(reply), "{answer}");
    }
}

#[test]
fn a_request_without_end_is_refused() {
    let limits = Limits { request_bytes_max: 1000, ..Limits::default() };
    let running = run(limits);
    let answer = raw(&running.path, &[b'x'; 5000]);
    // The unread rest may reset the connection before the answer is read.
    assert!(answer.is_empty() || answer.contains("at most 1000 bytes"), "{answer}");
    let long = [&[b' '; 969][..], b"{\"command\":\"double\",\"number\":4}\n"].concat();
    assert_eq!(long.len(), 1001, "1000 and the line break");
    assert_eq!(raw(&running.path, &long), "{\"ok\":8}\n");
}

#[test]
fn a_client_that_says_nothing_is_sent_away() {
    let limits = Limits { patience: Duration::from_millis(50), ..Limits::default() };
    let running = run(limits);
    let answer = raw(&running.path, b"{\"command\":");
    assert_eq!(answer, "{\"error\":\"no request came within 50ms\"}\n");
}

#[test]
fn one_client_too_many_is_told_so_and_a_place_becomes_free_again() {
    let running = run(Limits { clients_max: 2, ..Limits::default() });
    let client = client(&running.path);
    let mut streams: Vec<_> =
        (0..2).map(|_| client.stream::<u64>(&Request::Forever).unwrap()).collect();
    for stream in &mut streams {
        stream.next().unwrap().unwrap();
    }
    let refused = client.call::<u64>(&Request::Double { number: 1 }).unwrap_err().to_string();
    assert!(refused.starts_with("2 clients are being answered already"), "{refused}");
    drop(streams);
    let deadline = Instant::now() + Duration::from_secs(5);
    while client.call::<u64>(&Request::Double { number: 1 }).is_err() {
        assert!(Instant::now() < deadline, "a place must become free when its client leaves");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_client_that_does_not_read_is_dropped() {
    let limits =
        Limits { clients_max: 1, patience: Duration::from_millis(50), ..Limits::default() };
    let running = run(limits);
    let mut deaf = UnixStream::connect(&running.path).unwrap();
    deaf.write_all(b"{\"command\":\"count\",\"to\":100000000}\n").unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let deadline = Instant::now() + Duration::from_secs(5);
    while client(&running.path).call::<u64>(&Request::Double { number: 1 }).is_err() {
        assert!(Instant::now() < deadline, "it must give its place up");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn stopping_removes_the_socket_and_cuts_clients_off() {
    let running = run(Limits::default());
    let mut stream = client(&running.path).stream::<u64>(&Request::Forever).unwrap();
    stream.next().unwrap().unwrap();
    running.serving.abort();
    let error = loop {
        if let Err(error) = stream.next().unwrap_or(Err(ClientError::Refused("ended".into()))) {
            break error;
        }
    };
    assert!(matches!(error, ClientError::CutOff), "{error}");
    drop(running.runtime);
    assert!(!running.path.exists());
}

#[test]
fn errors_tell_the_person_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.sock");
    let fail = || client(&path).call::<u64>(&Request::Sleep).unwrap_err().to_string();
    assert!(fail().contains("is the relay running?"), "{}", fail());
    drop(UnixListener::bind(&path).unwrap());
    assert!(fail().contains("nobody answers"), "{}", fail());

    let running = run(Limits::default());
    let hasty = Client::new(&running.path, "relay", Duration::from_millis(20));
    let error = hasty.call::<u64>(&Request::Sleep).unwrap_err().to_string();
    assert!(error.starts_with("no answer within 20ms"), "{error}");
    let error = client(&running.path).call::<String>(&Request::Double { number: 1 });
    assert!(error.unwrap_err().to_string().ends_with("are both of the same version?"));
}
