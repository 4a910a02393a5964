//! `ctl status` and `ctl top`: the transceiver on one screen, what is wrong first visible.

use service::show::words::{percent, short, span};
use service::show::{Side, Table};
use transceiver::control::admin::protocol::{Drops, Ended, ShardStatus, Status};

/// Reasons for drops on the screen. The rest is in metrics, and in the JSON.
const DROPS_SHOWN: usize = 8;
/// A shard ticks ten times a second.
const TICK_AGE_MS_ODD: u64 = 2_000;

/// The whole screen.
pub(crate) fn render(status: &Status) -> String {
    let mut text = head(status);
    text.push_str(&shards(status));
    text.push_str(&warnings(&status.shards));
    text.push_str(&drops(&status.drops));
    text.push_str(&ended(&status.ended));
    text
}

/// The status in one line.
pub(crate) fn line(status: &Status) -> String {
    let sum = |of: fn(&ShardStatus) -> f64| short(status.shards.iter().map(of).sum());
    let calls: u32 = status.shards.iter().map(|shard| shard.calls).sum();
    let draining = if status.draining { ", draining" } else { "" };
    format!(
        "calls {calls}, audio packets/s {} in {} out, cores {:.2}{draining}\n",
        sum(|shard| shard.audio_in),
        sum(|shard| shard.audio_out),
        status.shards.iter().map(|shard| shard.busy).sum::<f64>(),
    )
}

fn head(status: &Status) -> String {
    let Status { version, kernel, engine, engine_reason, generation, .. } = status;
    // The reason often begins with the name.
    let engine = match engine_reason.strip_prefix(engine.as_str()) {
        Some(_) => engine_reason.clone(),
        None => format!("{engine}: {engine_reason}"),
    };
    let state = if status.draining { "DRAINING: takes no new calls" } else { "taking new calls" };
    let address = std::net::Ipv4Addr::from(status.transceiver);
    format!(
        "ringway-transceiver {version}, kernel {kernel}, up {}\n\
         cluster {}, transceiver {} (as an address: {address})\n\
         {state}, configuration {generation}\n\
         engine {engine}\n",
        span(status.uptime_seconds),
        status.cluster,
        status.transceiver,
    )
}

fn shards(status: &Status) -> String {
    use Side::Right;
    let mut table = Table::new([
        ("shard", Right),
        ("calls", Right),
        ("connected", Right),
        ("new/s", Right),
        ("audio in pps", Right),
        ("out pps", Right),
        ("in bps", Right),
        ("out bps", Right),
        ("loss", Right),
        ("drops/s", Right),
        ("busy", Right),
        ("relays", Right),
    ]);
    for shard in &status.shards {
        table.row([
            shard.shard.to_string(),
            format!("{}/{}", shard.calls, status.calls_per_shard_max),
            shard.connected.to_string(),
            short(shard.opened),
            short(shard.audio_in),
            short(shard.audio_out),
            short(shard.received_bits),
            short(shard.sent_bits),
            format!("{:.1}%", shard.loss * 100.0),
            short(shard.drops),
            percent(shard.busy),
            shard.relays.to_string(),
        ]);
    }
    format!("\n{}", table.text(""))
}

fn warnings(shards: &[ShardStatus]) -> String {
    let mut text = String::new();
    for shard in shards {
        let number = shard.shard;
        if shard.tick_age_ms > TICK_AGE_MS_ODD {
            let seconds = shard.tick_age_ms / 1_000;
            text.push_str(&format!("! shard {number} has not ticked for {seconds} s\n"));
        }
        if shard.kernel_drops > 0 {
            let drops = shard.kernel_drops;
            text.push_str(&format!(
                "! the kernel dropped {drops} datagrams of shard {number} at a full socket: raise \
                 tunnel.receive_socket_bytes, or give it a core of its own\n"
            ));
        }
        if shard.panics > 0 {
            let panics = shard.panics;
            text.push_str(&format!(
                "! {panics} sessions of shard {number} panicked and were isolated: please report \
                 it, with the log\n"
            ));
        }
    }
    text
}

fn drops(drops: &[Drops]) -> String {
    if drops.is_empty() {
        return "\nnothing was dropped\n".to_owned();
    }
    let mut table = Table::new([
        ("drops/s", Side::Right),
        ("in all", Side::Right),
        ("reason", Side::Left),
        ("meaning", Side::Left),
    ]);
    for drop in drops.iter().take(DROPS_SHOWN) {
        let Drops { reason, meaning, rate, total } = drop;
        table.row([short(*rate), total.to_string(), reason.clone(), meaning.clone()]);
    }
    let more = drops.len().saturating_sub(DROPS_SHOWN);
    let more = if more == 0 { String::new() } else { format!("and {more} more: --json\n") };
    format!("\n{}{more}", table.text(""))
}

fn ended(ended: &[Ended]) -> String {
    if ended.is_empty() {
        return String::new();
    }
    let parts: Vec<_> =
        ended.iter().map(|Ended { reason, total }| format!("{reason} {total}")).collect();
    format!("\ncalls that ended: {}\n", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard() -> ShardStatus {
        ShardStatus {
            shard: 0,
            calls: 3,
            connected: 2,
            opened: 0.5,
            audio_in: 100.0,
            audio_out: 98.0,
            received_bits: 64_000.0,
            sent_bits: 63_000.0,
            drops: 1.0,
            loss: 0.015,
            busy: 0.021,
            wakes: 150.0,
            relays: 2,
            kernel_drops: 0,
            panics: 0,
            tick_age_ms: 40,
        }
    }

    fn sample() -> Status {
        Status {
            version: "0.1.0 (abc)".into(),
            kernel: "6.12.0".into(),
            uptime_seconds: 11_520,
            cluster: 1,
            transceiver: 167_772_161,
            engine: "mmsg".into(),
            engine_reason: "mmsg, as configured".into(),
            generation: 2,
            draining: false,
            calls_per_shard_max: 2_000,
            shards: vec![shard()],
            drops: Vec::new(),
            ended: Vec::new(),
        }
    }

    #[test]
    fn a_quiet_transceiver_on_one_screen() {
        let expected = "\
ringway-transceiver 0.1.0 (abc), kernel 6.12.0, up 3h 12m
cluster 1, transceiver 167772161 (as an address: 10.0.0.1)
taking new calls, configuration 2
engine mmsg, as configured

shard   calls  connected  new/s  audio in pps  out pps  in bps  out bps  loss  drops/s  busy  relays
    0  3/2000          2    0.5           100       98     64k      63k  1.5%        1    2%       2

nothing was dropped
";
        assert_eq!(render(&sample()), expected);
        assert_eq!(line(&sample()), "calls 3, audio packets/s 100 in 98 out, cores 0.02\n");
    }

    #[test]
    fn what_is_wrong_is_seen() {
        let odd = ShardStatus { kernel_drops: 5, panics: 1, tick_age_ms: 7_000, ..shard() };
        let drop = |number: usize| Drops {
            reason: format!("reason_{number}"),
            meaning: "It was.".into(),
            rate: 0.0,
            total: 1,
        };
        let status = Status {
            draining: true,
            shards: vec![odd],
            drops: (0..DROPS_SHOWN + 2).map(drop).collect(),
            ended: vec![Ended { reason: "hung_up".into(), total: 7 }],
            ..sample()
        };
        let text = render(&status);
        for part in [
            "DRAINING",
            "! shard 0 has not ticked for 7 s",
            "dropped 5 datagrams of shard 0",
            "1 sessions of shard 0 panicked",
            "reason_7",
            "and 2 more: --json",
            "calls that ended: hung_up 7",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("reason_8"));
        assert!(line(&status).ends_with(", draining\n"));
    }
}
