//! The process before, as the next one sees it.

use super::offer::{FromNext, FromPrevious, Offer, hear, say};
use super::{READY_PATIENCE, VARIABLE};
use crate::control::config::Config;
use crate::core::{FlowRecord, Restored, snapshot};
use anyhow::{Context as _, Result, bail};
use engine::handover::{self, Channel};
use service::exit::Usage;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How long the process before may take with what it does at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process that offers everything it has.
pub(in crate::control) struct Previous {
    channel: Channel,
    offer: Offer,
    sockets: Vec<OwnedFd>,
    http: Option<OwnedFd>,
}

impl Previous {
    /// The process that has started this one to take over; none if this is an ordinary start.
    pub(in crate::control) fn find() -> Result<Option<Self>> {
        if std::env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let channel = Channel::from_stdin().with_context(|| {
            format!("{VARIABLE} is set, and no relay has started this one: unset it")
        })?;
        let (FromPrevious::Offer(offer), _) = hear(&channel, PATIENCE)? else {
            bail!("the process before offers nothing");
        };
        let mut sockets = Vec::new();
        while sockets.len() < offer.descriptors {
            let (FromPrevious::Descriptors, part) = hear(&channel, PATIENCE)? else {
                bail!("the process before does not pass its sockets on");
            };
            sockets.extend(part);
        }
        let http = sockets.pop();
        Ok(Some(Self { channel, offer, sockets, http }))
    }

    /// Its sockets, if they are those that this process is to have.
    pub(in crate::control) fn sockets(
        &mut self,
        config: &Config,
        workers: usize,
    ) -> Result<Vec<OwnedFd>, Usage> {
        match self.offer.refusal(config, workers) {
            Some(refusal) => Err(Usage(refusal)),
            None => Ok(std::mem::take(&mut self.sockets)),
        }
    }

    /// Its HTTP listener, if it is where this process is to have one.
    pub(in crate::control) fn http(&mut self, config: &Config) -> Option<TcpListener> {
        let http = self.http.take()?;
        (self.offer.http == config.http.listen).then(|| TcpListener::from(http))
    }

    /// Whether it takes no new flows.
    pub(in crate::control) fn is_draining(&self) -> bool {
        self.offer.draining
    }

    /// Says that everything is ready, and waits for the flows. From then on nobody reads the
    /// sockets.
    pub(in crate::control) fn flows(&self) -> Result<Vec<Vec<FlowRecord>>> {
        let version = service::build::VERSION.to_owned();
        say(&self.channel, &FromNext::Ready { version }, &[])?;
        let (FromPrevious::Flows, mut files) = hear(&self.channel, READY_PATIENCE)
            .context("the process before has changed its mind")?
        else {
            bail!("the process before does not pass its flows on");
        };
        let file = files.pop().context("the process before has forgotten its flows")?;
        let flows = snapshot::decode(&handover::bytes_of(file)?)?;
        if flows.len() != self.offer.workers {
            bail!("there are flows of {} workers, not of {}", flows.len(), self.offer.workers);
        }
        Ok(flows)
    }

    /// Says that this process serves. What is given back ends when the process before does.
    pub(in crate::control) fn serving(self, restored: Restored) -> Channel {
        let Restored { taken: flows, refused: flows_refused } = restored;
        // If nobody hears it, the process before has died meanwhile: all the more it is served.
        let _ = say(&self.channel, &FromNext::Serving { flows, flows_refused }, &[]);
        self.channel
    }

    /// Says that this process ends, and why.
    pub(in crate::control) fn refuse(&self, error: &anyhow::Error) {
        let reason = format!("{error:#}");
        // If nobody hears it, the log has it.
        let _ = say(&self.channel, &FromNext::Refused { reason }, &[]);
    }
}
