//! Ports, connection tracking, and what was lost.

use crate::change::knob::Knob;
use crate::cpu_list;
use crate::facts::{RELAY, sysctl_path};
use crate::finding::{Finding, Scene};

/// Whether the relay can have its ports.
pub fn ports(scene: &Scene<'_>) -> Vec<Finding> {
    const CAP_NET_BIND_SERVICE: u32 = 10;
    let (facts, needs) = (scene.facts, scene.needs);
    let ports = needs.ports();
    let shown = cpu_list::format_list(&ports);
    let taken: Vec<u16> =
        ports.iter().copied().filter(|port| facts.bound_ports.contains(port)).collect();
    if facts.process.relay.is_none() && !taken.is_empty() {
        return vec![
            Finding::breaks(
                format!("UDP {} taken", cpu_list::format_list(&taken)),
                format!("UDP {shown} free"),
            )
            .by_hand(format!("find out who has it: ss -ulpn 'sport = :{}'", taken[0])),
        ];
    }
    let first: u16 = facts
        .kernel
        .unprivileged_ports
        .as_deref()
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1024);
    let privileged: Vec<u16> = ports.iter().copied().filter(|port| *port < first).collect();
    if !privileged.is_empty() && facts.process.capabilities >> CAP_NET_BIND_SERVICE & 1 == 0 {
        return vec![
            Finding::breaks(
                format!("UDP {} needs CAP_NET_BIND_SERVICE", cpu_list::format_list(&privileged)),
                "the capability, or other ports",
            )
            .by_hand("AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit, as deploy/systemd has"),
        ];
    }
    vec![Finding::fine(match facts.process.relay {
        Some(pid) => format!("UDP {shown}, {RELAY} is process {pid}"),
        None => format!("UDP {shown} free"),
    })]
}

/// Whether an outgoing connection may be given one of the relay's ports before the relay starts.
pub fn local_ports(scene: &Scene<'_>) -> Vec<Finding> {
    let kernel = &scene.facts.kernel;
    let range = match &kernel.local_ports {
        Ok(text) => text,
        Err(missing) => return vec![Finding::unknown(missing)],
    };
    let mut ends = range.split_whitespace().filter_map(|end| end.parse::<u16>().ok());
    let (Some(first), Some(last)) = (ends.next(), ends.next()) else {
        let odd = crate::host::Missing::Failed(format!("\"{range}\" is no range of ports"));
        return vec![Finding::unknown(&odd)];
    };
    let reserved = kernel.reserved_ports.clone().unwrap_or_default();
    let mut kept = cpu_list::parse_list(&reserved).unwrap_or_default();
    let ports = scene.needs.ports();
    let open = |port: &u16| (first..=last).contains(port) && !kept.contains(port);
    let exposed: Vec<u16> = ports.iter().copied().filter(open).collect();
    if exposed.is_empty() {
        return vec![Finding::fine(format!("{first}-{last} does not lend the relay's ports"))];
    }
    kept.extend(&exposed);
    let exposed = cpu_list::format_list(&exposed);
    vec![
        Finding::advice(format!("{first}-{last} lends {exposed}"), format!("{exposed} reserved"))
            .change(
                Knob::File { path: sysctl_path("net.ipv4.ip_local_reserved_ports") },
                cpu_list::format_list(&kept),
            ),
    ]
}

/// Whether the kernel tracks the relay's packets as connections.
pub fn conntrack(scene: &Scene<'_>) -> Vec<Finding> {
    let filter = &scene.facts.netfilter;
    let ports = scene.needs.ports();
    let wanted = cpu_list::format_list(&ports);
    let Some(tracked) = filter.tracked else {
        return vec![Finding::fine("the kernel tracks no connections")];
    };
    let rules = match &filter.rules {
        Ok(rules) => rules,
        Err(missing) if tracked > 0 => return vec![Finding::unknown(missing)],
        Err(_) => return vec![Finding::fine("nothing is tracked")],
    };
    let knob = Knob::Notrack;
    let exempt = crate::change::knob::exempt_ports(rules);
    if exempt.as_deref() == Some(wanted.as_str()) {
        return vec![Finding::fine(format!("UDP {wanted} not tracked"))];
    }
    if !filter.is_tracking() {
        return vec![Finding::fine("no rule has connections tracked")];
    }
    let most = filter.tracked_max.map_or_else(String::new, |max| format!(" of {max}"));
    let finding = Finding::advice(
        format!("tracked ({tracked}{most} entries)"),
        format!("UDP {wanted} untracked"),
    );
    // Without tracking, translation stops working for these ports: then it is not ours to end.
    let translations = filter.translations_of(&ports);
    if let Some(rule) = translations.first() {
        return vec![
            finding.remark(format!("a rule translates addresses on these ports: {rule}")).by_hand(
                "give the relay its address without translation first; until then raise \
                      net.netfilter.nf_conntrack_max and watch nf_conntrack_count",
            ),
        ];
    }
    vec![finding.change(knob, wanted)]
}

/// Whether sockets were too slow to be read: more than one datagram of ten thousand.
pub fn udp_losses(scene: &Scene<'_>) -> Vec<Finding> {
    let losses = &scene.facts.losses;
    let (lost, received) = (losses.udp_buffer_drops, losses.udp_received);
    let now = format!("{lost} lost, {received} received");
    vec![if lost.saturating_mul(10_000) <= received.saturating_add(lost) {
        Finding::fine(now)
    } else {
        Finding::advice(now, "fewer than 0.01 %").by_hand(
            "relay_kernel_drops_total tells whether they were the relay's; if they were, see \
             docs/operating.md",
        )
    }]
}

/// Whether the tunnel's datagrams fit its network.
pub fn tunnel_mtu(scene: &Scene<'_>) -> Vec<Finding> {
    let tunnel = &scene.needs.config.tunnel;
    // IP and UDP headers.
    let headers: u32 = if tunnel.address.is_ipv4() { 28 } else { 48 };
    let packet = u32::from(tunnel.mtu) + headers;
    let check = |nic: &&crate::facts::Nic| {
        let mtu = nic.mtu?;
        Some(if packet <= mtu {
            Finding::fine(format!("{packet} of {mtu} bytes")).of(&nic.name)
        } else {
            let fits = mtu.saturating_sub(headers);
            Finding::advice(format!("{packet} bytes, MTU {mtu}"), format!("tunnel.mtu = {fits}"))
                .of(&nic.name)
                .by_hand(format!(
                    "set tunnel.mtu = {fits} in the relay's configuration, or raise the MTU"
                ))
        })
    };
    scene.needs.tunnel_nics(scene.facts).iter().filter_map(check).collect()
}
