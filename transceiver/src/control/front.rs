//! Signaling on a thread of its own: answering an offer takes a millisecond of CPU, and neither the
//! shards nor the operator's pages are to wait for it.

use super::config::Config;
use crate::calls::Calls;
use crate::signaling::{
    Access, Keys, KeysError, Origins, Rate, Rates, Server, Settings, Signaling, default_bounds,
};
use anyhow::{Context as _, Result};
use service::exit::{AbortOnPanic, Usage};
use std::sync::Arc;
use std::thread;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// Who may call, as a configuration says.
pub(super) fn access(config: &Config) -> Result<Access, KeysError> {
    if config.signaling.open {
        return Ok(Access::open());
    }
    Keys::load(&config.signaling.api_keys).map(Access::with_keys)
}

/// Signaling's settings for a configuration, and who may call.
pub(super) fn settings(config: &Config, access: Access) -> Result<Settings> {
    let rates = &config.rates;
    let rate = |per_second, burst| Rate { per_second, burst };
    Ok(Settings {
        origins: Origins::parse(&config.signaling.origins).map_err(Usage)?,
        rates: Rates {
            address: rate(rates.address_per_second, rates.address_burst),
            key: rate(rates.key_per_second, rates.key_burst),
            secret: rate(rates.secret_per_second, rates.secret_burst),
        },
        proxies: config.signaling.proxies.clone(),
        page: config.signaling.page,
        ..Settings::new(access)
    })
}

/// Binds the listener and serves from now on, until the process ends.
pub(super) async fn start(
    config: &Config,
    settings: Settings,
    calls: Arc<Calls>,
) -> Result<Arc<Signaling>> {
    let address = config.signaling.listen;
    let mut bounds = default_bounds(&settings.proxies);
    bounds.connections_max = usize::try_from(config.signaling.connections_max)?;
    bounds.connections_per_address_max =
        usize::try_from(config.signaling.connections_per_address_max)?;
    let (bound, is_bound) = oneshot::channel();
    let serve = async move {
        let server = match Server::bind_within(address, bounds, settings, calls).await {
            Ok(server) => server,
            // The receiver waits below.
            Err(error) => return drop(bound.send(Err(error))),
        };
        if bound.send(Ok(server.signaling())).is_ok() {
            server.serve().await;
        }
    };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let thread = thread::Builder::new().name("signaling".to_owned()).spawn(move || {
        let _loud = AbortOnPanic;
        runtime.block_on(serve);
    });
    thread.context("Failed to start the signaling thread")?;
    is_bound.await.context("signaling ended by itself")?
}
