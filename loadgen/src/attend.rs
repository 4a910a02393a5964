//! What goes on beside a test: the progress line, the metrics, and Ctrl-C.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use loadgen::conduct::Moment;
use loadgen::measure::{Measurement, milliseconds};
use loadgen::plan::{Mode, Plan, Settings};
use loadgen::report::prometheus;
use loadgen::slo::percent;
use service::config::duration;
use service::http::{Health, Pages, Server};
use service::signal::Signals;

use crate::advise;
use crate::args::Output;

/// Watches a test.
pub(crate) struct Attendant {
    kind: &'static str,
    stop: Arc<AtomicBool>,
    page: Arc<Page>,
    shows_progress: bool,
    expected: Duration,
    is_open_ended: bool,
}

/// What /metrics shows.
#[derive(Default)]
struct Page(Mutex<String>);

impl Pages for Page {
    fn metrics(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    fn live(&self) -> Health {
        Ok(())
    }
    fn ready(&self) -> Health {
        Ok(())
    }
}

impl Attendant {
    /// Begins to watch: from here on, Ctrl-C ends the test and not the program.
    pub(crate) fn start(
        kind: &'static str,
        settings: &Settings,
        output: &Output,
    ) -> anyhow::Result<Self> {
        let page = Arc::new(Page::default());
        let server = output.prometheus.map(|address| (address, Arc::clone(&page)));
        let stop = beside(server)?;
        Ok(Self {
            kind,
            stop,
            page,
            shows_progress: !output.quiet && std::io::stderr().is_terminal(),
            expected: Plan::new(settings.clone()).duration_max(),
            is_open_ended: matches!(settings.mode, Mode::Sweep | Mode::Search),
        })
    }

    /// What stops the test, and what is to be shown every second of it.
    pub(crate) fn watch(&mut self) -> (&AtomicBool, impl FnMut(&Moment, &Measurement)) {
        let Self { kind, stop, page, shows_progress, expected, is_open_ended } = self;
        let show = move |moment: &Moment, total: &Measurement| {
            let text = prometheus::render(kind, moment, total);
            *page.0.lock().unwrap_or_else(PoisonError::into_inner) = text;
            if *shows_progress {
                let of = if *is_open_ended { "at most " } else { "" };
                let line = line(kind, moment, &format!("{of}{}", duration::format(*expected)));
                // The rest of the line before is wiped; it stays on one line of a usual terminal.
                let _ = write!(std::io::stderr(), "\r{line:.110}\x1b[K");
            }
        };
        (stop, show)
    }

    /// Ends the progress line.
    pub(crate) fn end(&self) {
        if self.shows_progress {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(kind: &str, moment: &Moment, expected: &str) -> String {
    let time = |value: Option<u64>| {
        value.map_or_else(|| "–".to_owned(), |value| format!("{:.2} ms", milliseconds(value)))
    };
    format!(
        "{:.0} s of {expected} [{}] {} {kind}, {}/s, p50 {}, p99 {}, loss {}, failed {}",
        moment.elapsed.as_secs_f64(),
        moment.step,
        moment.active,
        moment.sent,
        time(moment.p50),
        time(moment.p99),
        percent(moment.loss),
        moment.failed
    )
}

/// Set when somebody asks the program to stop.
pub(crate) fn stop_signal() -> anyhow::Result<Arc<AtomicBool>> {
    beside(None)
}

/// A thread for signals and metrics. It ends with the process.
fn beside(server: Option<(std::net::SocketAddr, Arc<Page>)>) -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let (ready, is_ready) = std::sync::mpsc::channel();
    let asked = Arc::clone(&stop);
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match runtime.context("Failed to start a runtime") {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(error))),
        };
        runtime.block_on(async move {
            let begun = begin(server).await;
            let mut signals = match begun {
                Ok(signals) => {
                    let _ = ready.send(Ok(()));
                    signals
                }
                Err(error) => return drop(ready.send(Err(error))),
            };
            loop {
                signals.next().await;
                if asked.swap(true, Ordering::Relaxed) {
                    // Asked twice: at once.
                    advise("stopped without a report");
                    std::process::exit(1);
                }
            }
        });
    };
    std::thread::Builder::new()
        .name("attendant".into())
        .spawn(work)
        .context("Failed to start a thread")?;
    is_ready.recv().context("the attendant ended")??;
    Ok(stop)
}

async fn begin(server: Option<(std::net::SocketAddr, Arc<Page>)>) -> anyhow::Result<Signals> {
    let signals = Signals::listen().context("Failed to listen for signals")?;
    if let Some((address, page)) = server {
        let server = Server::bind(address).await.context("--prometheus")?;
        tokio::spawn(server.serve(page));
    }
    Ok(signals)
}
