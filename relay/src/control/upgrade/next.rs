//! The next process, as the one before sees it.

use super::offer::{FromNext, FromPrevious, Offer, PROTOCOL, hear, say};
use super::{READY_PATIENCE, SERVING_PATIENCE, Upgraded, VARIABLE};
use crate::control::relay::Relay;
use crate::core::{FlowRecord, snapshot};
use engine::handover::{self, Channel, DESCRIPTORS_MAX};
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// How long a process whose end of the channel is closed may take to end.
const END_PATIENCE: Duration = Duration::from_millis(500);

/// What this process was started as, and the next one is: a name, because what runs may be an old file
/// whose name is a new one's.
pub(super) fn program() -> OsString {
    std::env::args_os().next().unwrap_or_else(|| OsString::from("ringway-relay"))
}

/// A process that was started to take over. Unless it does, it is ended when this is dropped.
pub(in crate::control) struct Next {
    child: Option<Child>,
    channel: Channel,
    version: String,
}

impl Next {
    /// Starts the program as this process was started, gives it all sockets, and waits until it is
    /// ready.
    pub(super) fn start(relay: &Relay) -> Result<Self, String> {
        let (channel, theirs) =
            handover::pair().map_err(|error| format!("Failed to make a channel: {error}"))?;
        let (program, words) = (program(), std::env::args_os().skip(1));
        let mut command = Command::new(&program);
        for variable in engine::inherited::VARIABLES {
            command.env_remove(variable);
        }
        let child = command
            .args(words)
            .env(VARIABLE, "1")
            // The watchdog's process is whichever is the main one (man sd_watchdog_enabled).
            .env_remove("WATCHDOG_PID")
            .stdin(theirs)
            .spawn()
            .map_err(|error| format!("Failed to start {}: {error}", program.display()))?;
        // It has their end of the channel too, which then would never close.
        drop(command);
        let mut next = Self { child: Some(child), channel, version: String::new() };
        let sent = next.offer(relay);
        // If it ended at once, that says more than that it did not listen.
        match (next.hear(READY_PATIENCE)?, sent) {
            (FromNext::Ready { version }, Ok(())) => next.version = version,
            (FromNext::Refused { reason }, _) => return Err(reason),
            (FromNext::Serving { .. }, _) => return Err("it served without flows".to_owned()),
            (_, Err(error)) => return Err(format!("Failed to pass the sockets on: {error}")),
        }
        Ok(next)
    }

    pub(super) fn process(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    fn offer(&self, relay: &Relay) -> io::Result<()> {
        let config = relay.config();
        let handed = relay.sockets();
        let descriptors: Vec<_> = handed.iter().map(AsFd::as_fd).collect();
        let offer = Offer {
            protocol: PROTOCOL,
            version: service::build::VERSION.to_owned(),
            workers: relay.fleet().len(),
            listen: config.listen.clone(),
            tunnel: SocketAddr::new(config.tunnel.address, config.tunnel.port_base),
            steer_by_cpu: config.steer_by_cpu,
            http: config.http.listen,
            draining: relay.is_draining(),
            descriptors: descriptors.len(),
        };
        say(&self.channel, &FromPrevious::Offer(offer), &[])?;
        for part in descriptors.chunks(DESCRIPTORS_MAX) {
            say(&self.channel, &FromPrevious::Descriptors, part)?;
        }
        Ok(())
    }

    /// Gives it the flows, and waits until it serves.
    pub(super) fn hand_over(mut self, flows: &[Vec<FlowRecord>]) -> Result<Upgraded, String> {
        let file = handover::file_of("flows", &snapshot::encode(flows))
            .and_then(|file| say(&self.channel, &FromPrevious::Flows, &[file.as_fd()]));
        file.map_err(|error| format!("Failed to pass the flows on: {error}"))?;
        match self.hear(SERVING_PATIENCE)? {
            FromNext::Serving { flows, flows_refused } => {
                let process = self.process();
                // From here on it is nobody's to end.
                self.child = None;
                let version = std::mem::take(&mut self.version);
                Ok(Upgraded { process, version, flows, flows_refused, waited_us: 0 })
            }
            FromNext::Refused { reason } => Err(reason),
            FromNext::Ready { .. } => Err("it said twice that it is ready".to_owned()),
        }
    }

    fn hear(&mut self, patience: Duration) -> Result<FromNext, String> {
        match hear(&self.channel, patience) {
            Ok((said, _)) => Ok(said),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(format!("the next process said nothing for {patience:?}, and was ended"))
            }
            // Which of the two depends on whether it had read what was sent.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
                ) =>
            {
                Err(format!("the next process ended without a word: {}", self.end()))
            }
            Err(error) => Err(format!("the next process is not understood: {error}")),
        }
    }

    /// How a process that closed its end has ended.
    fn end(&mut self) -> String {
        let deadline = Instant::now() + END_PATIENCE;
        let Some(child) = &mut self.child else { return String::new() };
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return format!("{status}; its log may say more"),
                Ok(None) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(None) => return "and it still runs; it was ended".to_owned(),
                Err(error) => return error.to_string(),
            }
        }
    }
}

impl Drop for Next {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself. Waited for, so that nobody else reads the sockets.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
