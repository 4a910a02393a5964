//! Limits of the relay's process, and what it runs on.

use service::config::size;

use crate::finding::{Finding, Scene};

/// Descriptors: sockets, rings, the control thread's connections.
pub fn open_files(scene: &Scene<'_>) -> Vec<Finding> {
    // Connections of the HTTP listener and the admin socket are bounded well below this.
    const OTHERS: u64 = 512;
    let needs = scene.needs;
    let wanted = (needs.workers * (needs.sockets_per_worker() + 3)) as u64 + OTHERS;
    vec![match scene.facts.process.open_files {
        None => Finding::fine("no limit"),
        Some(now) if now >= wanted => Finding::fine(now.to_string()),
        Some(now) => Finding::breaks(now.to_string(), wanted.to_string())
            .by_hand("LimitNOFILE=65536 in the unit (deploy/systemd has it), or ulimit -n 65536"),
    }]
}

/// Locked memory: older kernels count a ring's memory.
pub fn locked_memory(scene: &Scene<'_>) -> Vec<Finding> {
    let text = |bytes: Option<u64>| bytes.map_or_else(|| "no limit".to_owned(), size::format);
    let now = scene.facts.process.locked_bytes;
    let refused = scene.facts.kernel.io_uring.as_ref().err().map(ToString::to_string);
    vec![match refused {
        Some(reason) if reason.contains("RLIMIT_MEMLOCK") => Finding::advice(text(now), "no limit")
            .by_hand(
                "LimitMEMLOCK=infinity in the unit (deploy/systemd has it), or ulimit -l unlimited",
            ),
        _ => Finding::fine(text(now)),
    }]
}

/// Whether system calls are filtered. A filter is good; one that takes io_uring away costs.
pub fn seccomp(scene: &Scene<'_>) -> Vec<Finding> {
    let seen = if scene.facts.process.seccomp { "filtered" } else { "not filtered" };
    let forbidden = scene.facts.kernel.io_uring.as_ref().err().map(ToString::to_string);
    vec![match forbidden {
        Some(reason) if reason.contains("seccomp") => {
            Finding::advice(format!("{seen}, io_uring forbidden"), "io_uring allowed").by_hand(
                "docker run --security-opt seccomp=deploy/seccomp/ringway.json; Kubernetes: \
                 seccompProfile type Localhost, as the Helm chart can",
            )
        }
        _ => Finding::fine(seen),
    }]
}

/// What this is: the profile that fits.
pub fn virtualisation(scene: &Scene<'_>) -> Vec<Finding> {
    let place = &scene.facts.place;
    let mut what = match (&place.container, place.virtual_machine) {
        (Some(kind), _) => format!("container ({kind})"),
        (None, true) => "virtual machine".to_owned(),
        (None, false) => "bare metal".to_owned(),
    };
    if let (None, Some(product)) = (&place.container, &place.product) {
        what.push_str(&format!(", {product}"));
    }
    let fitting = crate::profile::Profile::of(place);
    let finding = Finding::fine(what);
    vec![if scene.profile.wishes().owns_host == fitting.wishes().owns_host {
        finding
    } else {
        finding.remark(format!("the profile {fitting} would fit"))
    }]
}
