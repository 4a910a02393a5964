//! What the kernel allows and how it schedules packet work.

use relay::control::config::Engine;
use service::config::size;

use super::number;
use crate::change::knob::Knob;
use crate::facts::sysctl_path;
use crate::finding::{Finding, Scene};

fn sysctl(name: &str) -> Knob {
    Knob::File { path: sysctl_path(name) }
}

/// Whether the engine that is configured can be used.
pub fn io_uring(scene: &Scene<'_>) -> Vec<Finding> {
    let kernel = &scene.facts.kernel;
    let engine = scene.needs.config.engine;
    let refusal = match (&kernel.io_uring, engine) {
        (_, Engine::Mmsg) => return vec![Finding::fine("not used (engine = \"mmsg\")")],
        (Ok(_), _) => return vec![Finding::fine("works")],
        (Err(refusal), _) => refusal.to_string(),
    };
    let finding = if engine == Engine::Uring {
        Finding::breaks("refused", "works, for engine = \"uring\"")
    } else {
        Finding::advice("refused, so mmsg is used", "works")
    };
    let finding = finding.remark(refusal);
    let sysctl_forbids = kernel.io_uring_disabled.as_deref().is_ok_and(|value| value != "0");
    vec![if sysctl_forbids {
        finding.change(sysctl("kernel.io_uring_disabled"), "0")
    } else {
        finding.by_hand(
            "allow io_uring_setup, io_uring_enter and io_uring_register in the \
                         container's seccomp profile (deploy/seccomp has one)",
        )
    }]
}

/// Whether the kernel lets sockets have the buffers that are configured.
pub fn socket_buffers(scene: &Scene<'_>) -> Vec<Finding> {
    const CAP_NET_ADMIN: u32 = 12;
    let wanted = scene.needs.config.buffers.receive_socket_bytes;
    let now = match &scene.facts.kernel.rmem_max {
        Ok(text) => match number(text) {
            Ok(bytes) => bytes,
            Err(missing) => return vec![Finding::unknown(&missing)],
        },
        Err(missing) => return vec![Finding::unknown(missing)],
    };
    if now >= wanted {
        return vec![Finding::fine(size::format(now))];
    }
    // SO_RCVBUFFORCE.
    let relay = &scene.facts.process;
    if relay.relay.is_some() && relay.capabilities >> CAP_NET_ADMIN & 1 == 1 {
        return vec![Finding::fine(format!("{}, and the relay may exceed it", size::format(now)))];
    }
    let finding = Finding::advice(size::format(now), size::format(wanted));
    vec![
        finding
            .remark("buffers.receive_socket_bytes is clamped to it")
            .change(sysctl("net.core.rmem_max"), wanted.to_string()),
    ]
}

/// Whether the queue between interrupt and stack overflows. Only RPS and virtual links use it.
pub fn softnet_backlog(scene: &Scene<'_>) -> Vec<Finding> {
    const WANTED: u64 = 10_000;
    let drops = scene.facts.losses.backlog_drops;
    let now = match &scene.facts.kernel.backlog {
        Ok(text) => match number(text) {
            Ok(now) => now,
            Err(missing) => return vec![Finding::unknown(&missing)],
        },
        Err(missing) => return vec![Finding::unknown(missing)],
    };
    if drops == 0 {
        return vec![Finding::fine(format!("{now}, no drops"))];
    }
    if now >= WANTED {
        return vec![
            Finding::fine(format!("{now}"))
                .remark(format!("{drops} packets were dropped since the host started: watch it")),
        ];
    }
    vec![
        Finding::advice(format!("{now}, {drops} drops"), WANTED.to_string())
            .change(sysctl("net.core.netdev_max_backlog"), WANTED.to_string()),
    ]
}

/// Whether softirqs are cut short too often: more than once for ten thousand packets.
pub fn softirq_budget(scene: &Scene<'_>) -> Vec<Finding> {
    const PACKETS: u64 = 600;
    const MICROSECONDS: u64 = 8_000;
    let (kernel, losses) = (&scene.facts.kernel, &scene.facts.losses);
    let (packets, microseconds) = match (&kernel.budget, &kernel.budget_usecs) {
        (Ok(packets), Ok(microseconds)) => match (number(packets), number(microseconds)) {
            (Ok(packets), Ok(microseconds)) => (packets, microseconds),
            (Err(missing), _) | (_, Err(missing)) => return vec![Finding::unknown(&missing)],
        },
        (Err(missing), _) | (_, Err(missing)) => return vec![Finding::unknown(missing)],
    };
    let now = format!("{packets} packets, {microseconds} us");
    if losses.squeezed.saturating_mul(10_000) <= losses.processed {
        return vec![Finding::fine(now)];
    }
    let squeezed = format!("cut short {} times", losses.squeezed);
    if packets >= PACKETS && microseconds >= MICROSECONDS {
        return vec![Finding::advice(format!("{now}, {squeezed}"), "seldom").by_hand(
            "spread interrupts over more cores: raising the budget further starves the rest",
        )];
    }
    vec![
        Finding::advice(format!("{now}, {squeezed}"), format!("{PACKETS}, {MICROSECONDS} us"))
            .change(sysctl("net.core.netdev_budget"), packets.max(PACKETS).to_string())
            .change(
                sysctl("net.core.netdev_budget_usecs"),
                microseconds.max(MICROSECONDS).to_string(),
            ),
    ]
}

/// Whether all sockets busy-poll although the relay gains nothing by it.
pub fn busy_poll(scene: &Scene<'_>) -> Vec<Finding> {
    let kernel = &scene.facts.kernel;
    let both =
        [("net.core.busy_poll", &kernel.busy_poll), ("net.core.busy_read", &kernel.busy_read)];
    let mut on = Vec::new();
    for (name, reading) in both {
        match reading {
            Ok(value) if value == "0" => {}
            Ok(value) => on.push((name, value)),
            Err(missing) => return vec![Finding::unknown(missing)],
        }
    }
    if on.is_empty() {
        return vec![Finding::fine("off")];
    }
    let now: Vec<String> = on.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut finding = Finding::advice(now.join(", "), "off");
    for (name, _) in on {
        finding = finding.change(sysctl(name), "0");
    }
    vec![finding]
}

/// Whether reading the clock is a system call or worse.
pub fn clock(scene: &Scene<'_>) -> Vec<Finding> {
    let fast = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"];
    vec![match &scene.facts.kernel.clock {
        Ok(clock) if fast.contains(&clock.as_str()) => Finding::fine(clock),
        Ok(clock) => Finding::advice(clock, "tsc or kvm-clock").by_hand(
            "see /sys/devices/system/clocksource/clocksource0/available_clocksource and the kernel's \
             log for why; a host that found its TSC unstable should not be made to trust it",
        ),
        Err(missing) => Finding::unknown(missing),
    }]
}
