//! `calls`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, anyhow};
use crossbeam::channel::bounded;
use loadgen::calls::signaling::{Signaling, SignalingSettings};
use loadgen::calls::{Worker, WorkerSettings};
use loadgen::conduct::{Threads, conduct};
use loadgen::control::{Control, Share};
use loadgen::plan::Plan;
use loadgen::report::About;
use loadgen::target::Permission;
use loadgen::verdict::Limits;
use service::exit::Usage;

use super::flows::{WINDOWS_MAX, objectives};
use crate::args::Calls;
use crate::attend::Attendant;
use crate::commands;

/// Frames per second of each call.
const FRAMES_PER_SECOND: f64 = 50.0;

/// Runs the test.
pub(crate) fn run(wanted: &Calls) -> anyhow::Result<ExitCode> {
    let settings = wanted.timing.settings(wanted.calls, FRAMES_PER_SECOND, &wanted.safety)?;
    let slo = objectives(settings.mode, wanted.output.slo.as_ref());
    let permission = Permission::new(wanted.safety.target_authorized.clone());
    let signaling = SignalingSettings {
        url: wanted.url.clone(),
        token: token(wanted.token.as_deref(), wanted.token_file.as_deref())?,
        model: Some(wanted.model.clone()),
        ca_file: wanted.ca_file.clone(),
    };
    let signaling = Arc::new(Signaling::new(&signaling, &permission)?);
    let count = wanted.threads.min(wanted.calls);
    let about = About {
        kind: "calls",
        mode: settings.mode,
        target: wanted.url.clone(),
        arguments: commands::arguments(),
        started_at: SystemTime::now(),
        engine: "tokio-uring".to_owned(),
        threads: count,
    };
    let control = Arc::new(Control::default());
    let (sender, receiver) = bounded(WINDOWS_MAX);
    let mut attendant = Attendant::start("calls", &settings, &wanted.output)?;
    let story = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|index| {
                let (signaling, permission) = (Arc::clone(&signaling), permission.clone());
                let share = Share { index, count };
                let worker = Worker::new(WorkerSettings { signaling, permission }, share);
                let (control, sender) = (Arc::clone(&control), sender.clone());
                scope.spawn(move || worker.run(&control, &sender))
            })
            .collect();
        drop(sender);
        let (stop, mut watch) = attendant.watch();
        let all = Threads { control: &control, windows: &receiver, stop };
        let story = conduct(Plan::new(settings), &slo, Limits::CALLS, all, &mut watch);
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a thread panicked"))??;
        }
        story
    })?;
    attendant.end();
    commands::report(&about, &story, &slo, Limits::CALLS, &wanted.output)
}

/// The bearer token, from wherever it is.
pub(crate) fn token(given: Option<&str>, file: Option<&Path>) -> anyhow::Result<Option<String>> {
    let Some(path) = file else { return Ok(given.map(str::to_owned)) };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("Failed to read --token-file {}", path.display()))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(Usage(format!("--token-file {}: is empty", path.display())).into());
    }
    Ok(Some(token.to_owned()))
}
