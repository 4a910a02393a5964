//! Ctrl-C: everything is measured in steps of a second or two, and between steps we look.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Whether we were asked to stop. An error from [`Stop::check`] unwinds through all that must be
/// taken down.
#[derive(Debug, Clone)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Listens from now on.
    pub fn listen() -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&asked))
                .context("Failed to listen for signals")?;
        }
        Ok(Self(asked))
    }

    /// Whether we were asked.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error if we were asked.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.is_asked(), "interrupted; the namespaces are removed");
        Ok(())
    }
}
