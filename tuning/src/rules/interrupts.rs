//! Which core takes which packet.

use std::collections::BTreeMap;

use crate::change::knob::Knob;
use crate::cpu_list;
use crate::facts::Nic;
use crate::finding::{Finding, Scene};

/// Each receive queue's interrupt on one core of its own, spread over the workers' cores.
pub fn affinity(scene: &Scene<'_>) -> Vec<Finding> {
    let cpus = &scene.needs.cpus;
    let steered = scene.needs.config.steer_by_cpu;
    let ask = |nic: &&Nic| {
        if nic.interrupts.is_empty() {
            return Finding::not_here("no interrupts of receive queues that are known as such")
                .of(&nic.name);
        }
        if let Some(missing) = nic.interrupts.iter().find_map(|irq| irq.cpus.as_ref().err()) {
            return Finding::unknown(missing).of(&nic.name);
        }
        let mut finding = Finding::advice(placed(nic), "").of(&nic.name);
        let cpus = if steered { cpus.clone() } else { near_first(scene, nic) };
        let targets = nic.interrupts.iter().zip(cpus.iter().cycle());
        for (irq, cpu) in targets.clone() {
            let cpu = cpu.to_string();
            if irq.cpus.as_deref() != Ok(cpu.as_str()) {
                finding = finding.change(Knob::File { path: irq.file() }, cpu);
            }
        }
        let wanted: Vec<u16> = targets.map(|(_, cpu)| *cpu).collect();
        finding.wanted = format!("one each on {}", cpu_list::format_list(&wanted));
        // Without steering, any spread that gives no core two is as good.
        if finding.changes.is_empty() || (!steered && is_spread(nic, &cpus)) {
            return Finding::fine(finding.now).of(&nic.name);
        }
        finding
    };
    scene.needs.all_nics(scene.facts).iter().map(ask).collect()
}

/// The workers' cores, those on the card's memory node first.
fn near_first(scene: &Scene<'_>, nic: &Nic) -> Vec<u16> {
    let processors = &scene.facts.processors;
    let is_near = |cpu: &u16| nic.node.is_none() || processors.node_of(*cpu) == nic.node;
    let (mut near, far): (Vec<u16>, Vec<u16>) = scene.needs.cpus.iter().copied().partition(is_near);
    near.extend(far);
    near
}

fn placed(nic: &Nic) -> String {
    let places = nic.interrupts.iter().map(|irq| irq.cpus.as_deref().unwrap_or("?"));
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for place in places {
        *counts.entry(place).or_default() += 1;
    }
    let all = nic.interrupts.len();
    match counts.iter().next() {
        Some((place, _)) if counts.len() == 1 => format!("{all} on {place}"),
        _ => format!("{all} in {} places", counts.len()),
    }
}

fn is_spread(nic: &Nic, cpus: &[u16]) -> bool {
    let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
    for irq in &nic.interrupts {
        match irq.cpus.as_deref().map(str::parse::<u16>) {
            Ok(Ok(cpu)) if cpus.contains(&cpu) => *counts.entry(cpu).or_default() += 1,
            _ => return false,
        }
    }
    let most = counts.values().max().copied().unwrap_or(0);
    most <= nic.interrupts.len().div_ceil(cpus.len().max(1))
}

/// irqbalance would undo it within seconds.
pub fn irqbalance(scene: &Scene<'_>) -> Vec<Finding> {
    let nics = scene.needs.all_nics(scene.facts);
    let has = nics.iter().any(|nic| nic.interrupts.len() > 1);
    vec![if !scene.facts.irqbalance {
        Finding::fine("does not run")
    } else if !has {
        Finding::fine("runs, and has little to move")
    } else {
        let numbers = nics.iter().flat_map(|nic| &nic.interrupts);
        let bans: Vec<String> = numbers.map(|irq| format!("--banirq={}", irq.number)).collect();
        Finding::advice("runs", "stopped, or kept off these interrupts").by_hand(format!(
            "systemctl disable --now irqbalance, or IRQBALANCE_ARGS=\"{}\" in /etc/default/irqbalance",
            bans.join(" ")
        ))
    }]
}

/// Software spreading costs an interrupt between cores for each packet: off where queues suffice.
pub fn rps(scene: &Scene<'_>) -> Vec<Finding> {
    let workers = scene.needs.workers;
    let ask = |nic: &&Nic| {
        let is_on = |mask: &str| cpu_list::parse_mask(mask).is_some_and(|cpus| !cpus.is_empty());
        let on: Vec<usize> = (0..nic.rps.len())
            .filter(|queue| nic.rps[*queue].as_deref().is_ok_and(is_on))
            .collect();
        if let Some(Err(missing)) = nic.rps.iter().find(|mask| mask.is_err()) {
            return Finding::unknown(missing).of(&nic.name);
        }
        if on.is_empty() {
            return Finding::fine("off").of(&nic.name);
        }
        let now = format!("on for {} of {} queues", on.len(), nic.rps.len());
        if nic.rps.len() < workers && nic.driver.is_some() {
            return Finding::fine(now)
                .of(&nic.name)
                .remark("fewer queues than workers: measure whether it pays");
        }
        on.into_iter().fold(Finding::advice(now, "off").of(&nic.name), |finding, queue| {
            finding.change(Knob::File { path: nic.rps_file(queue) }, "0")
        })
    };
    scene.needs.all_nics(scene.facts).iter().map(ask).collect()
}

/// Each core sends by a queue of its own.
pub fn xps(scene: &Scene<'_>) -> Vec<Finding> {
    let cpus = &scene.needs.cpus;
    let ask = |nic: &&Nic| {
        if nic.xps.len() < 2 || nic.driver.is_none() {
            return Finding::not_here("one queue").of(&nic.name);
        }
        let masks: Option<Vec<Vec<u16>>> = nic
            .xps
            .iter()
            .map(|mask| mask.as_deref().ok().and_then(cpu_list::parse_mask))
            .collect();
        let Some(masks) = masks else {
            return Finding::not_here("the driver has no such setting").of(&nic.name);
        };
        if masks.iter().any(|mask| !mask.is_empty()) {
            return Finding::fine("set").of(&nic.name);
        }
        // Cores of other threads share queues with the workers'.
        let online = &scene.facts.processors.online;
        let others = online.iter().filter(|cpu| !cpus.contains(cpu));
        let order: Vec<u16> = cpus.iter().chain(others).copied().collect();
        let mut finding = Finding::advice("no queue has cores", "one for each core").of(&nic.name);
        for queue in 0..nic.xps.len() {
            let mine: Vec<u16> = order.iter().copied().skip(queue).step_by(nic.xps.len()).collect();
            finding = finding
                .change(Knob::File { path: nic.xps_file(queue) }, cpu_list::format_mask(&mine));
        }
        finding
    };
    scene.needs.all_nics(scene.facts).iter().map(ask).collect()
}

/// Whether `steer_by_cpu` fits the queues.
pub fn steering(scene: &Scene<'_>) -> Vec<Finding> {
    let (needs, facts) = (scene.needs, scene.facts);
    let nics = needs.public_nics(facts);
    let queues: usize = nics.iter().map(|nic| nic.interrupts.len()).max().unwrap_or(0);
    let known = nics.iter().any(|nic| !nic.interrupts.is_empty());
    let shown =
        format!("{}, {queues} queues, {} workers", needs.config.steer_by_cpu, needs.workers);
    vec![if !known || needs.workers < 2 {
        Finding::not_here("one worker, or queues that are not known")
    } else if needs.config.steer_by_cpu && queues < needs.workers {
        Finding::advice(shown, "false, or a queue for each worker")
            .remark("workers on whose core no queue interrupts get few packets or none")
            .by_hand("set steer_by_cpu = false in the relay's configuration")
    } else if !needs.config.steer_by_cpu && queues >= needs.workers {
        let mut finding = Finding::fine(shown);
        finding.remark = "with interrupts on the workers' cores, steer_by_cpu = true saves a hop \
                          between cores"
            .to_owned();
        finding
    } else {
        Finding::fine(shown)
    }]
}
