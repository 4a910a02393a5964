//! The client's side, for `ctl`: blocking, because a command line has nothing else to do.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::marker::PhantomData;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Line;

/// A line of an answer is at most this long; a page of flows is far below.
const REPLY_BYTES_MAX: u64 = 64 << 20;

/// Why there is no answer, in words for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing at that path.
    #[error(
        "there is no socket {path}: is the {process} running? (admin.socket in its configuration says where)"
    )]
    Absent {
        /// The path tried.
        path: String,
        /// What should be running.
        process: String,
    },
    /// A socket nobody listens on.
    #[error("nobody answers on {path}: the {process} is not running, or was killed")]
    Dead {
        /// The path tried.
        path: String,
        /// What should be running.
        process: String,
    },
    /// Not allowed.
    #[error(
        "this user may not use {path}: use sudo, or join the group in admin.group of the {process}'s configuration"
    )]
    Forbidden {
        /// The path tried.
        path: String,
        /// What is running.
        process: String,
    },
    /// The process said no.
    #[error("{0}")]
    Refused(String),
    /// The process stopped in the middle.
    #[error(
        "the connection ended before the answer did: the process stopped, or is being replaced"
    )]
    CutOff,
    /// The process does not answer in time.
    #[error("no answer within {}: the process is overloaded or stuck", crate::config::duration::format(*.0))]
    Silent(Duration),
    /// The other side speaks something else.
    #[error("the answer was not understood ({0}): are both of the same version?")]
    Garbled(String),
    /// Anything else.
    #[error("talking to {path} failed: {error}")]
    Broken {
        /// The path.
        path: String,
        /// What happened.
        error: io::Error,
    },
}

/// Where a process listens.
#[derive(Debug, Clone)]
pub struct Client {
    path: PathBuf,
    process: String,
    patience: Duration,
}

impl Client {
    /// A client of the `process` (`relay`) at `path`, which waits `patience` for each line.
    pub fn new(path: &Path, process: &str, patience: Duration) -> Self {
        Self { path: path.to_owned(), process: process.to_owned(), patience }
    }

    /// Asks, and returns the answer. Values that stream are passed over.
    pub fn call<T: DeserializeOwned>(&self, request: &impl Serialize) -> Result<T, ClientError> {
        let mut last = None;
        for value in self.stream(request)? {
            last = Some(value?);
        }
        last.ok_or(ClientError::CutOff)
    }

    /// Asks, and returns each value as it comes, the last one included.
    pub fn stream<T: DeserializeOwned>(
        &self,
        request: &impl Serialize,
    ) -> Result<Replies<T>, ClientError> {
        let mut stream = UnixStream::connect(&self.path).map_err(|error| self.explain(error))?;
        let prepare = |stream: &mut UnixStream| {
            stream.set_read_timeout(Some(self.patience))?;
            stream.set_write_timeout(Some(self.patience))?;
            let mut line = serde_json::to_vec(request)?;
            line.push(b'\n');
            stream.write_all(&line)
        };
        match prepare(&mut stream) {
            Ok(()) => {}
            // A server that is full answers and closes without reading; the answer says so.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) => return Err(self.explain(error)),
        }
        let client = self.clone();
        Ok(Replies { lines: BufReader::new(stream), client, ended: false, value: PhantomData })
    }

    fn explain(&self, error: io::Error) -> ClientError {
        let path = self.path.display().to_string();
        let process = self.process.clone();
        #[expect(clippy::wildcard_enum_match_arm, reason = "the system has many more, all rare")]
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => ClientError::Absent { path, process },
            ErrorKind::ConnectionRefused => ClientError::Dead { path, process },
            ErrorKind::PermissionDenied => ClientError::Forbidden { path, process },
            ErrorKind::WouldBlock | ErrorKind::TimedOut => ClientError::Silent(self.patience),
            ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => ClientError::CutOff,
            _ => ClientError::Broken { path, error },
        }
    }
}

/// The values of an answer. Ends after the last one or the first error.
#[derive(Debug)]
pub struct Replies<T> {
    lines: BufReader<UnixStream>,
    client: Client,
    ended: bool,
    value: PhantomData<T>,
}

impl<T: DeserializeOwned> Replies<T> {
    fn line(&mut self) -> Result<T, ClientError> {
        let mut text = Vec::new();
        let count = (&mut self.lines)
            .take(REPLY_BYTES_MAX)
            .read_until(b'\n', &mut text)
            .map_err(|error| self.client.explain(error))?;
        if count == 0 {
            return Err(ClientError::CutOff);
        }
        if text.last() != Some(&b'\n') {
            return Err(if count as u64 == REPLY_BYTES_MAX {
                ClientError::Garbled("longer than 64 MiB".into())
            } else {
                ClientError::CutOff
            });
        }
        match serde_json::from_slice(&text) {
            Ok(Line::Next(value)) => {
                self.ended = false;
                Ok(value)
            }
            Ok(Line::Ok(value)) => Ok(value),
            Ok(Line::Error(reason)) => Err(ClientError::Refused(reason)),
            Err(error) => Err(ClientError::Garbled(error.to_string())),
        }
    }
}

impl<T: DeserializeOwned> Iterator for Replies<T> {
    type Item = Result<T, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        // Everything is the end, unless the line says that there is more.
        if std::mem::replace(&mut self.ended, true) { None } else { Some(self.line()) }
    }
}
