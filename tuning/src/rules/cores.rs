//! The cores that workers are pinned to.

use std::collections::BTreeSet;

use crate::change::knob::Knob;
use crate::cpu_list::format_list;
use crate::facts::processors_governor_file;
use crate::finding::{Finding, Scene};

/// Full speed, not the speed of a moment ago.
pub fn governor(scene: &Scene<'_>) -> Vec<Finding> {
    let governors = &scene.facts.processors.governors;
    if governors.is_empty() {
        return vec![Finding::not_here("nothing here governs clock speeds")];
    }
    let slow: Vec<u16> = scene
        .needs
        .cpus
        .iter()
        .copied()
        .filter(|cpu| governors.get(cpu).is_some_and(|governor| governor != "performance"))
        .collect();
    let Some(first) = slow.first() else {
        return vec![Finding::fine("performance")];
    };
    let now = format!("{} on {}", governors[first], format_list(&slow));
    vec![slow.iter().fold(Finding::advice(now, "performance"), |finding, cpu| {
        finding.change(Knob::File { path: processors_governor_file(*cpu) }, "performance")
    })]
}

/// No sleep that takes longer to end than a packet takes to route.
pub fn idle_states(scene: &Scene<'_>) -> Vec<Finding> {
    let idle = &scene.facts.processors.idle;
    let Some(most) = scene.wishes().wake_up_us_max else {
        return vec![Finding::not_here("this profile has no wish here")];
    };
    let cpus = &scene.needs.cpus;
    let deep: Vec<_> = idle
        .iter()
        .filter(|state| cpus.contains(&state.cpu) && state.latency_us > most && !state.disabled)
        .collect();
    if idle.is_empty() {
        return vec![Finding::not_here("this host does not show how cores sleep")];
    }
    if deep.is_empty() {
        return vec![Finding::fine(format!("awake within {most} us"))];
    }
    let longest = deep.iter().map(|state| state.latency_us).max().unwrap_or(0);
    let names: BTreeSet<&str> = deep.iter().map(|state| state.name.as_str()).collect();
    let now = format!("{longest} us ({})", names.into_iter().collect::<Vec<_>>().join(", "));
    let finding = Finding::advice(now, format!("{most} us at most"));
    vec![
        deep.iter().fold(finding, |finding, state| {
            finding.change(Knob::File { path: state.switch() }, "1")
        }),
    ]
}

/// Two workers on the threads of one core get half a core each.
pub fn siblings(scene: &Scene<'_>) -> Vec<Finding> {
    let siblings = &scene.facts.processors.siblings;
    let cpus = &scene.needs.cpus;
    let shared: Vec<u16> = cpus
        .iter()
        .copied()
        .filter(|cpu| {
            let mates = siblings.get(cpu).map(Vec::as_slice).unwrap_or_default();
            mates.iter().any(|mate| mate != cpu && cpus.contains(mate))
        })
        .collect();
    if shared.is_empty() {
        return vec![Finding::fine("a core for each worker")];
    }
    let mut cores: Vec<u16> = Vec::new();
    for cpu in cpus {
        let mates = siblings.get(cpu).map(Vec::as_slice).unwrap_or_default();
        if !mates.iter().any(|mate| cores.contains(mate)) {
            cores.push(*cpu);
        }
    }
    vec![Finding::advice(
        format!("workers on both threads of {} cores", shared.len() / 2),
        "a core for each",
    )
    .by_hand(format!(
        "cpus = \"{}\" in the relay's configuration (or keep both: a second thread is worth about \
         a third of a core)",
        format_list(&cores)
    ))]
}

/// Packets cross between memory nodes at a cost.
pub fn memory_nodes(scene: &Scene<'_>) -> Vec<Finding> {
    let processors = &scene.facts.processors;
    if processors.nodes.len() < 2 {
        return vec![Finding::not_here("one memory node")];
    }
    let cpus = &scene.needs.cpus;
    let ask = |nic: &&crate::facts::Nic| {
        let node = nic.node?;
        let far: Vec<u16> = cpus
            .iter()
            .copied()
            .filter(|cpu| processors.node_of(*cpu).is_some_and(|other| other != node))
            .collect();
        Some(if far.is_empty() {
            Finding::fine(format!("all on node {node}")).of(&nic.name)
        } else {
            let near = processors.nodes.get(&node).map(Vec::as_slice).unwrap_or_default();
            Finding::advice(
                format!("card on node {node}, {} workers elsewhere", far.len()),
                format!("cores of node {node}"),
            )
            .of(&nic.name)
            .by_hand(format!(
                "cpus = \"{}\" in the relay's configuration, or as many of them as you have workers",
                format_list(near)
            ))
        })
    };
    let public = scene.needs.public_nics(scene.facts);
    let findings: Vec<Finding> = public.iter().filter_map(ask).collect();
    if findings.is_empty() { vec![Finding::not_here("no card says where it is")] } else { findings }
}

/// The cores that are configured must be those that the process has.
pub fn cpuset(scene: &Scene<'_>) -> Vec<Finding> {
    let (needs, allowed) = (scene.needs, &scene.facts.process.cpus);
    let wanted = needs.config.cpus.as_slice();
    let missing: Vec<u16> = wanted.iter().copied().filter(|cpu| !allowed.contains(cpu)).collect();
    if allowed.is_empty() {
        let reason = crate::host::Missing::Absent("the list of cores".to_owned());
        return vec![Finding::unknown(&reason)];
    }
    if !missing.is_empty() {
        return vec![
            Finding::advice(
                format!("may use {}", format_list(allowed)),
                format!("also {}", format_list(&missing)),
            )
            .remark("the relay leaves out cores that it may not use")
            .by_hand("widen the cpuset (CPUAffinity= or AllowedCPUs= in a unit), or correct cpus"),
        ];
    }
    if needs.workers > needs.cpus.len() {
        return vec![
            Finding::advice(
                format!("{} workers, {} cores", needs.workers, needs.cpus.len()),
                "a core for each worker",
            )
            .by_hand("lower workers in the relay's configuration, or give it more cores"),
        ];
    }
    vec![Finding::fine(format!("{} workers on {}", needs.workers, format_list(&needs.cpus)))]
}

/// A quota stops all workers for tens of milliseconds when it is used up.
pub fn quota(scene: &Scene<'_>) -> Vec<Finding> {
    let process = &scene.facts.process;
    let Some((quota, period)) = process.cpu_quota else {
        return vec![Finding::fine("none")];
    };
    let cores = quota.saturating_mul(10) / period.max(1);
    let throttled = process.throttled.unwrap_or(0);
    let now = format!("{}.{} cores, stopped {throttled} times", cores / 10, cores % 10);
    let enough = cores >= (needs_tenths(scene.needs.workers)) && throttled == 0;
    vec![if enough {
        Finding::fine(now)
    } else {
        Finding::advice(now, "none, or more cores than workers").by_hand(
            "remove the CPU limit (Kubernetes: keep the request, drop limits.cpu, or use whole \
             cores with the static CPU manager; systemd: no CPUQuota=)",
        )
    }]
}

/// The workers and the control thread, in tenths of cores.
fn needs_tenths(workers: usize) -> u64 {
    (workers as u64 + 1).saturating_mul(10)
}

/// Whether the scheduler keeps other work off the workers' cores. Told, never asked for.
pub fn isolation(scene: &Scene<'_>) -> Vec<Finding> {
    let isolated = &scene.facts.processors.isolated;
    let workers = &scene.needs.cpus;
    if isolated.is_empty() {
        return vec![Finding::not_here("no core is isolated, which is fine for most")];
    }
    let outside: Vec<u16> = workers.iter().copied().filter(|cpu| !isolated.contains(cpu)).collect();
    vec![if outside.is_empty() {
        Finding::fine(format!("{} isolated", format_list(isolated)))
    } else {
        Finding::advice(
            format!("{} isolated, workers on {}", format_list(isolated), format_list(&outside)),
            "workers on isolated cores",
        )
        .by_hand(format!("cpus = \"{}\" in the relay's configuration", format_list(isolated)))
    }]
}
