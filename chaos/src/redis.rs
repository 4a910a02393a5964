//! A Redis beside the first relay, which can be troubled.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::namespaces::Host;

const ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 6379);
const PATIENCE: Duration = Duration::from_secs(10);

/// The server, killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Redis<'a> {
    child: Child,
    host: &'a Host,
}

impl<'a> Redis<'a> {
    pub(crate) fn start(host: &'a Host) -> Result<Self> {
        let mut namespace = std::ffi::OsString::from("--net=");
        namespace.push(host.path());
        let child = Command::new("nsenter")
            .arg(namespace)
            .args(["--", "setpriv", "--pdeathsig", "KILL", "--", "redis-server"])
            .args(["--port", "6379", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("Failed to start nsenter (package util-linux)")?;
        let mut redis = Self { child, host };
        let deadline = Instant::now() + PATIENCE;
        while redis.say("PING").is_err() {
            let ended = redis.child.try_wait()?.is_some();
            ensure!(!ended, "redis-server does not start (package redis-server)");
            ensure!(Instant::now() < deadline, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(redis)
    }

    /// Says a command; the first line of the answer.
    pub(crate) fn say(&self, command: &str) -> Result<String> {
        self.host.run(|| {
            let mut stream = TcpStream::connect(ADDRESS)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            write!(stream, "{command}\r\n")?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line)?;
            Ok(line.trim().to_owned())
        })
    }

    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts again what was killed, empty.
    pub(crate) fn restart(&mut self) -> Result<()> {
        *self = Self::start(self.host)?;
        Ok(())
    }
}

impl Drop for Redis<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
