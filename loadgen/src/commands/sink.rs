//! `sink`.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use loadgen::sink::{Progress, Worker, WorkerSettings};
use service::exit::{self, Usage};
use service::keyfile;

use crate::args::Sink;
use crate::{advise, attend};

/// Runs the far end until it is told to stop.
pub(crate) fn run(wanted: &Sink) -> anyhow::Result<ExitCode> {
    if wanted.print_relay_config {
        exit::print(&relay_config(wanted))?;
        return Ok(ExitCode::SUCCESS);
    }
    if wanted.threads.direct_egress && wanted.listen.ip().is_unspecified() {
        return Err(Usage(format!(
            "--direct-egress sends from the address of --listen, and {} is none: write this host's own",
            wanted.listen.ip()
        ))
        .into());
    }
    let keyring = keyfile::load(&wanted.keys)?;
    let mut workers = Vec::new();
    for index in 0..wanted.place.shards {
        let port = wanted.listen.port().checked_add(u16::from(index)).ok_or_else(|| {
            Usage(format!(
                "{} shards do not fit above port {}",
                wanted.place.shards,
                wanted.listen.port()
            ))
        })?;
        let settings = WorkerSettings {
            address: SocketAddr::new(wanted.listen.ip(), port),
            tunnel_mtu: (!wanted.direct).then_some(wanted.tunnel_datagram_bytes.into()),
            engine: wanted.threads.engine,
            direct_egress: wanted.threads.direct_egress,
            index: index.into(),
            cpu: wanted.threads.cpus.get(usize::from(index)).copied(),
        };
        workers.push(Worker::new(&settings, &keyring)?);
    }
    let what = if wanted.direct { "clients" } else { "relays" };
    for worker in &workers {
        advise(&format!("listening for {what} on {}", worker.address()));
    }
    let (stop, progress) = (AtomicBool::new(false), Progress::default());
    let began = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = workers
            .into_iter()
            .map(|worker| scope.spawn(|| worker.run(&stop, &progress)))
            .collect();
        let asked = attend::stop_signal()?;
        let over = |began: &Instant| wanted.duration.is_some_and(|most| began.elapsed() >= most);
        while !asked.load(Ordering::Relaxed)
            && !over(&began)
            && threads.iter().all(|thread| !thread.is_finished())
        {
            std::thread::sleep(Duration::from_millis(50));
        }
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a thread panicked"))?.context("The sink failed")?;
        }
        anyhow::Ok(())
    })?;
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    exit::print(&format!(
        "sent back {} packets, answered {} checks, refused {}, dropped {} in {:.0} s\n",
        count(&progress.packets),
        count(&progress.checks),
        count(&progress.refused),
        count(&progress.drops),
        began.elapsed().as_secs_f64()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The part of a relay's configuration that leads to this sink.
fn relay_config(wanted: &Sink) -> String {
    let (ip, port) = (wanted.listen.ip(), wanted.listen.port());
    let special = if ip.is_loopback() {
        let network = if ip.is_ipv4() { "127.0.0.0/8" } else { "::1/128" };
        format!("allow_special = [\"{network}\"]\n")
    } else {
        String::new()
    };
    let place = wanted.place;
    format!(
        "\n# For ringway-loadgen sink.\n[[clusters]]\nid = {}\nname = \"loadgen\"\n\
         resolve = \"table\"\n{special}\
         transceivers = [{{ id = {}, address = \"{ip}\", port_base = {port}, shards = {} }}]\n",
        place.cluster, place.transceiver, place.shards
    )
}
