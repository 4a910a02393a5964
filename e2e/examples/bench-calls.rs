//! How long a call takes to come about, and what that costs: one call after the other through relay
//! and transceiver on hosts of their own, from the offer's POST to the first audio that comes back.
//! Prints a report in Markdown; `make bench-calls` keeps it.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use e2e::stage::Stage;
use e2e::talker::{Setup, Talker};
use loadgen::call::Identity;
use loadgen::host::Host;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const CALLS: usize = 500;
/// Not measured: the first ones pay for pages and caches.
const WARM_UP: usize = 20;
/// What the programs cost without any call is taken off.
const IDLE: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let Some(stage) = Stage::start() else { return ExitCode::FAILURE };
    let identity = Identity::generate().unwrap();
    for _ in 0..WARM_UP {
        one(&stage, &identity);
    }
    let [idle_relay, idle_transceiver] = cpu_of(&stage, || std::thread::sleep(IDLE)).1;
    let mut setups = Vec::with_capacity(CALLS);
    let (took, [relay, transceiver]) = cpu_of(&stage, || {
        setups.extend((0..CALLS).map(|_| one(&stage, &identity)));
    });

    let host = Host::current();
    println!("# Setting calls up\n");
    println!("- host: {} × {}, kernel {}", host.cpus, host.cpu, host.kernel);
    println!("- {CALLS} calls, one after the other, in {:.1} s", took.as_secs_f64());
    println!(
        "- client: str0m, in this process; offers go through a TCP forwarder that is also in it\n"
    );
    println!("| from POST to | median, ms | p99, ms | worst, ms |\n|---|---:|---:|---:|");
    for (name, times) in [
        ("the answer", sorted_ms(&setups, |setup| setup.answered)),
        ("ICE and DTLS done", sorted_ms(&setups, |setup| setup.connected)),
        ("first audio echoed", sorted_ms(&setups, |setup| setup.first_audio)),
    ] {
        let at = |share: usize| times[(times.len() * share).div_ceil(100).saturating_sub(1)];
        println!("| {name} | {:.1} | {:.1} | {:.1} |", at(50), at(99), at(100));
    }
    println!("\n| CPU of a call (set-up, first frame, hang-up) | ms |\n|---|---:|");
    for (name, cpu, idle) in
        [("transceiver", transceiver, idle_transceiver), ("relay", relay, idle_relay)]
    {
        let own =
            cpu.as_secs_f64() - idle.as_secs_f64() * (took.as_secs_f64() / IDLE.as_secs_f64());
        println!("| {name} | {:.2} |", own * 1e3 / f64::from(u32::try_from(CALLS).unwrap()));
    }
    stage.stop();
    ExitCode::SUCCESS
}

fn one(stage: &Stage, identity: &Identity) -> Setup {
    let (mut talker, setup) = Talker::set_up(stage, identity);
    talker.hang_up(stage);
    setup
}

fn sorted_ms(setups: &[Setup], step: impl Fn(&Setup) -> Duration) -> Vec<f64> {
    let mut times: Vec<f64> = setups.iter().map(|setup| step(setup).as_secs_f64() * 1e3).collect();
    times.sort_by(f64::total_cmp);
    times
}

/// How long something took, and what it cost relay and transceiver.
fn cpu_of(stage: &Stage, work: impl FnOnce()) -> (Duration, [Duration; 2]) {
    let now = || [stage.relay.cpu_time(), stage.transceiver.cpu_time()];
    let (began, before) = (Instant::now(), now());
    work();
    let (took, after) = (began.elapsed(), now());
    (took, [after[0] - before[0], after[1] - before[1]])
}
