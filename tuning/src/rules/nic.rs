//! Network cards: queues, rings, timing, hashing, offloads.

use crate::change::knob::Knob;
use crate::facts::Nic;
use crate::finding::{Finding, Scene};
use crate::host::Missing;

/// Asks of each network card that matters.
fn each(scene: &Scene<'_>, ask: impl Fn(&Nic) -> Finding) -> Vec<Finding> {
    let nics = scene.needs.all_nics(scene.facts);
    if nics.is_empty() {
        return vec![Finding::not_here("no network interface that the relay's packets go by")];
    }
    let finding = |nic: &Nic| {
        // Without `ethtool` nobody can tell; without a card, nobody needs to.
        if nic.driver.is_none() && matches!(nic.features, Err(Missing::Absent(_))) {
            return Finding::not_here("a virtual interface");
        }
        ask(nic)
    };
    nics.into_iter().map(|nic| finding(nic).of(&nic.name)).collect()
}

/// A driver that has no such setting is not at fault.
fn unsupported(missing: &Missing) -> Finding {
    let text = missing.to_string();
    let lacks = ["not supported", "no such device", "bad command"];
    if lacks.iter().any(|word| text.to_lowercase().contains(word)) {
        Finding::not_here("the driver has no such setting")
    } else {
        Finding::unknown(missing)
    }
}

/// A queue for each worker, so that no worker's packets wait behind another core's interrupt.
pub fn queues(scene: &Scene<'_>) -> Vec<Finding> {
    let workers = u32::try_from(scene.needs.workers).unwrap_or(u32::MAX);
    each(scene, |nic| {
        let channels = match &nic.channels {
            Ok(channels) => channels,
            Err(missing) => return unsupported(missing),
        };
        let (kind, count) = if channels.combined.max.is_some_and(|max| max > 0) {
            ("combined", channels.combined)
        } else {
            ("rx", channels.rx)
        };
        let (Some(now), Some(max)) = (count.now, count.max) else {
            return Finding::not_here("the driver does not say how many");
        };
        if now >= workers {
            return Finding::fine(format!("{now} for {workers} workers"));
        }
        if now >= max {
            return Finding::fine(format!("{now}, all it has"))
                .remark(format!("{workers} workers share them"));
        }
        let wanted = workers.min(max);
        Finding::advice(format!("{now} of {max}"), format!("{wanted}, as workers")).change(
            Knob::Channels { nic: nic.name.clone(), kind: kind.to_owned() },
            wanted.to_string(),
        )
    })
}

/// A ring that takes a burst, and no more than the cache likes.
pub fn rings(scene: &Scene<'_>) -> Vec<Finding> {
    const LEAST: u32 = 1024;
    const MOST: u32 = 4096;
    each(scene, |nic| {
        let rings = match &nic.rings {
            Ok(rings) => rings,
            Err(missing) => return unsupported(missing),
        };
        let (Some(now), Some(max)) = (rings.now, rings.max) else {
            return Finding::not_here("the driver does not say how large");
        };
        let wanted = if now > MOST { MOST } else { LEAST.min(max) };
        if (wanted..=MOST).contains(&now) || now == max {
            return Finding::fine(now.to_string());
        }
        Finding::advice(format!("{now} of {max}"), wanted.to_string())
            .change(Knob::Ring { nic: nic.name.clone() }, wanted.to_string())
    })
}

/// Interrupts as soon, or as bundled, as the profile wants them.
pub fn coalescing(scene: &Scene<'_>) -> Vec<Finding> {
    let wishes = scene.wishes();
    let (least, most) = wishes.rx_usecs;
    each(scene, |nic| {
        let found = match &nic.coalescing {
            Ok(found) => found,
            Err(missing) => return unsupported(missing),
        };
        let Some(now) = found.rx_usecs else {
            return Finding::not_here("the driver has no such setting");
        };
        let adaptive = found.adaptive_rx == Some(true);
        let shown = format!("{now} us{}", if adaptive { ", adaptive" } else { "" });
        // What the card chooses by itself changes with other traffic.
        if !adaptive && (least..=most).contains(&now) {
            return Finding::fine(shown);
        }
        let wanted = now.clamp(least, most);
        let knob = |parameter: &str| Knob::Coalescing {
            nic: nic.name.clone(),
            parameter: parameter.to_owned(),
        };
        let mut finding = Finding::advice(shown, format!("{wanted} us"));
        if adaptive {
            finding = finding.change(knob("adaptive-rx"), "off");
        }
        if now != wanted {
            finding = finding.change(knob("rx-usecs"), wanted.to_string());
        }
        finding
    })
}

/// Clients behind one address must not all come by one queue.
pub fn rss_hash(scene: &Scene<'_>) -> Vec<Finding> {
    const ALL: &str = "sdfn";
    let listens = |v4: bool| scene.needs.config.listen.iter().any(|a| a.is_ipv4() == v4);
    each(scene, |nic| {
        let queues = nic.rps.len();
        if queues < 2 {
            return Finding::not_here("one queue");
        }
        let both =
            [("udp4", &nic.hash_ipv4, listens(true)), ("udp6", &nic.hash_ipv6, listens(false))];
        let (mut now, mut wrong) = (Vec::new(), Vec::new());
        for (traffic, hash, _) in both.into_iter().filter(|(_, _, used)| *used) {
            match hash {
                Ok(hash) if hash.is_empty() => {
                    return Finding::not_here("the card does not hash");
                }
                Ok(hash) => {
                    now.push(format!("{traffic} {hash}"));
                    if hash != ALL {
                        wrong.push(traffic);
                    }
                }
                Err(missing) => return unsupported(missing),
            }
        }
        let now = now.join(", ");
        if wrong.is_empty() {
            return Finding::fine(now);
        }
        let mut finding = Finding::advice(now, "addresses and ports (sdfn)");
        for traffic in wrong {
            let knob = Knob::FlowHash { nic: nic.name.clone(), traffic: traffic.to_owned() };
            finding = finding.change(knob, ALL);
        }
        finding
    })
}

/// Offloads that should be on, and those that should not.
pub fn offloads(scene: &Scene<'_>) -> Vec<Finding> {
    let wanted = [
        ("rx-checksumming", true),
        ("tx-checksumming", true),
        ("large-receive-offload", false),
        ("rx-gro-list", false),
        ("rx-udp-gro-forwarding", false),
    ];
    each(scene, |nic| {
        let features = match &nic.features {
            Ok(features) => features,
            Err(missing) => return unsupported(missing),
        };
        let mut wrong = Vec::new();
        for (name, on) in wanted {
            if let Some(feature) = features.get(name)
                && feature.on != on
                && !feature.fixed
            {
                wrong.push((name, on));
            }
        }
        if wrong.is_empty() {
            return Finding::fine("as they should be");
        }
        let word = |on: bool| if on { "on" } else { "off" };
        let list = |flip: bool| {
            let each = wrong.iter().map(|(name, on)| format!("{name} {}", word(*on != flip)));
            each.collect::<Vec<_>>().join(", ")
        };
        let mut finding = Finding::advice(list(true), list(false));
        for (name, on) in &wrong {
            let knob = Knob::Feature { nic: nic.name.clone(), feature: (*name).to_owned() };
            finding = finding.change(knob, word(*on));
        }
        finding
    })
}

/// GRO must not hold packets back.
pub fn irq_deferral(scene: &Scene<'_>) -> Vec<Finding> {
    /// As long as the relay itself waits for fuller batches.
    const NANOSECONDS_MAX: u64 = 100_000;
    each(scene, |nic| {
        let (timeout, defer) = match (&nic.gro_flush_timeout, &nic.defer_hard_irqs) {
            (Ok(timeout), Ok(defer)) => (timeout, defer),
            (Err(_), _) | (_, Err(_)) => {
                return Finding::not_here("this kernel has no such setting");
            }
        };
        let now = format!("{timeout} ns after {defer} empty polls");
        match super::number(timeout) {
            Ok(nanoseconds) if nanoseconds <= NANOSECONDS_MAX => Finding::fine(now),
            Ok(_) => Finding::advice(now, format!("{NANOSECONDS_MAX} ns at most")).change(
                Knob::File { path: nic.file("gro_flush_timeout") },
                NANOSECONDS_MAX.to_string(),
            ),
            Err(missing) => Finding::unknown(&missing),
        }
    })
}
