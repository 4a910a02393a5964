//! Memory: what the relay takes at start, and what the kernel does with pages meanwhile.

use crate::change::knob::Knob;
use crate::facts::sysctl_path;
use crate::finding::{Finding, Scene};

const PAGE_BYTES: u64 = 4096;

/// Whether there is room for what the relay allocates at start.
pub fn memory(scene: &Scene<'_>) -> Vec<Finding> {
    let needs = scene.needs;
    let process = &scene.facts.process;
    // Buffers in the kernel count too: in a cgroup they are charged to it.
    let sockets = (needs.sockets_per_worker() as u64)
        .saturating_mul(needs.config.buffers.receive_socket_bytes.saturating_mul(2));
    let worker = needs.worker_bytes().saturating_add(sockets);
    let wanted = worker.saturating_mul(needs.workers as u64);
    // A relay that runs has taken its share already.
    let free = scene.facts.kernel.memory_available_bytes.filter(|_| process.relay.is_none());
    let limit = [free, process.memory_limit_bytes].into_iter().flatten().min();
    let Some(limit) = limit else {
        return vec![Finding::not_here("no limit, and the relay runs already")];
    };
    let (now, most) = (about(limit), format!("{} for {} workers", about(wanted), needs.workers));
    vec![if wanted <= limit {
        Finding::fine(format!("{now}, needs {most} at most"))
    } else {
        Finding::breaks(now, most)
            .by_hand("raise the memory limit, or lower flows.per_worker, buffers.* or workers")
    }]
}

/// Whether the sockets' buffers fit what the kernel grants to all of UDP.
pub fn udp_memory(scene: &Scene<'_>) -> Vec<Finding> {
    let needs = scene.needs;
    let text = match &scene.facts.kernel.udp_mem {
        Ok(text) => text,
        Err(missing) => return vec![Finding::unknown(missing)],
    };
    let limit_pages: u64 =
        text.split_whitespace().nth(2).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    let limit = limit_pages.saturating_mul(PAGE_BYTES);
    // The kernel doubles what is asked for, for its own book-keeping.
    let sockets = (needs.workers * needs.sockets_per_worker()) as u64;
    let all = needs.config.buffers.receive_socket_bytes.saturating_mul(2).saturating_mul(sockets);
    let drops = scene.facts.losses.udp_memory_drops;
    let now = format!("{} of {} if all fill", about(all), about(limit));
    vec![if all <= limit && drops == 0 {
        Finding::fine(now)
    } else {
        Finding::advice(format!("{now}, {drops} drops"), "below it, no drops").by_hand(
            "lower buffers.receive_socket_bytes; raise net.ipv4.udp_mem only with care: it counts \
             pages of 4 KiB, not bytes",
        )
    }]
}

/// Whether the huge pages that are asked for are there.
pub fn huge_pages(scene: &Scene<'_>) -> Vec<Finding> {
    let needs = scene.needs;
    let kernel = &scene.facts.kernel;
    if !needs.config.buffers.huge_pages {
        return vec![Finding::not_here("buffers.huge_pages is off")];
    }
    let (Some(free), Some(page), Ok(reserved)) =
        (kernel.huge_pages_free, kernel.huge_page_bytes, &kernel.huge_pages)
    else {
        return vec![
            Finding::advice("this kernel has none", "buffers.huge_pages off")
                .by_hand("set buffers.huge_pages = false"),
        ];
    };
    // Each ring is a mapping of its own, rounded up.
    let rings = needs.sockets_per_worker() as u64;
    let ring = needs.ring_bytes() / rings.max(1);
    let wanted = ring.div_ceil(page.max(1)) * rings * needs.workers as u64;
    let now = format!("{free} free of {reserved}");
    if free >= wanted || scene.facts.process.relay.is_some() {
        return vec![Finding::fine(now)];
    }
    let to = super::number(reserved).unwrap_or(0) + (wanted - free);
    vec![
        Finding::advice(now, format!("{wanted} free"))
            .change(Knob::File { path: sysctl_path("vm.nr_hugepages") }, to.to_string()),
    ]
}

/// Whether the kernel merges pages behind everybody's back.
pub fn transparent_huge_pages(scene: &Scene<'_>) -> Vec<Finding> {
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    vec![match &scene.facts.kernel.transparent_huge_pages {
        Ok(text) if text.contains("[always]") => Finding::advice("always", "madvise")
            .change(Knob::File { path: path.to_owned() }, "madvise"),
        Ok(text) => Finding::fine(crate::change::knob::chosen(text)),
        Err(_) => Finding::not_here("this kernel has none"),
    }]
}

/// Whether the kernel moves pages between memory nodes, which stops who uses them.
pub fn numa_balancing(scene: &Scene<'_>) -> Vec<Finding> {
    if scene.facts.processors.nodes.len() < 2 {
        return vec![Finding::not_here("one memory node")];
    }
    vec![match &scene.facts.kernel.numa_balancing {
        Ok(value) if value == "0" => Finding::fine("off"),
        Ok(_) => Finding::advice("on", "off")
            .change(Knob::File { path: sysctl_path("kernel.numa_balancing") }, "0"),
        Err(_) => Finding::not_here("this kernel does not balance"),
    }]
}

/// A size in the unit that suits it, rounded.
fn about(bytes: u64) -> String {
    match bytes {
        0..0x400 => format!("{bytes} B"),
        0x400..0xa0_0000 => format!("{} KiB", bytes >> 10),
        0xa0_0000..0x2_8000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}
