//! Answers as people read them: one function for each.

use relay::control::admin::protocol::{Flow, Flows, Found, Peers, Traced};
use relay::control::decode::{Decoded, Judgement};
use relay::control::upgrade::Upgraded;
use service::show::words::{date, millis, span};
use service::show::{Side, Table};

use super::dashboard::peers_table;

/// A page of flows, and how to get the next.
pub(crate) fn flows(flows: &Flows) -> String {
    let end = match flows.next {
        Some(next) => format!("more: --from {next}\n"),
        None if flows.flows.is_empty() => return "no flows\n".to_owned(),
        None => String::new(),
    };
    format!("{}{end}", table(&flows.flows))
}

/// Who serves now.
pub(crate) fn upgraded(upgraded: &Upgraded) -> String {
    let Upgraded { process, version, flows, flows_refused, waited_us } = upgraded;
    let refused = match flows_refused {
        0 => String::new(),
        count => format!(
            "\n! {count} flows were not taken over: its configuration has no place for them"
        ),
    };
    format!(
        "upgraded: process {process}, version {version}, serves with {flows} flows\n\
         packets waited {}.{:01} ms and none was dropped by the change{refused}\n",
        waited_us / 1_000,
        waited_us % 1_000 / 100
    )
}

/// The flows of one client.
pub(crate) fn found(found: &Found) -> String {
    table(&found.flows)
}

fn table(flows: &[Flow]) -> String {
    let mut table = Table::new([
        ("client", Side::Left),
        ("listener", Side::Right),
        ("worker", Side::Right),
        ("state", Side::Left),
        ("shard", Side::Left),
        ("tunnel", Side::Left),
        ("session", Side::Left),
        ("idle", Side::Right),
        ("shard silent", Side::Right),
        ("may pass to", Side::Left),
    ]);
    for flow in flows {
        let pending = flow.pending.as_ref();
        let session = |session| format!("{session:#08x}");
        table.row([
            flow.client.to_string(),
            flow.listener.to_string(),
            flow.worker.to_string(),
            flow.state.clone(),
            flow.route.to_string(),
            flow.tunnel.to_string(),
            flow.session.map_or_else(|| "learned".to_owned(), session),
            millis(flow.idle_ms),
            flow.silent_ms.map_or_else(|| "never spoke".to_owned(), millis),
            pending.map_or_else(String::new, |pending| {
                format!("{}, session {}", pending.route, session(pending.session))
            }),
        ]);
    }
    table.text("")
}

/// All shards.
pub(crate) fn peers(peers: &Peers) -> String {
    if peers.peers.is_empty() {
        return "no shards yet: none is listed, and none was needed\n".to_owned();
    }
    peers_table(peers.peers.iter())
}

/// What a ufrag says.
pub(crate) fn decoded(decoded: &Decoded) -> String {
    let Decoded { key, key_state, cluster, transceiver, shard, session, .. } = decoded;
    let address = decoded.transceiver_as_address;
    let (seconds, date) = (decoded.expires_in.unsigned_abs(), date(decoded.expires_at));
    let expiry = match decoded.validity {
        Judgement::Valid => format!("in {}", span(seconds)),
        Judgement::Expired => format!("expired {} ago", span(seconds)),
        Judgement::TooFarAhead => {
            format!(
                "in {}: later than any may, so a clock is wrong, or it is weeks old",
                span(seconds)
            )
        }
    };
    format!(
        "key          {key} (state {key_state})\n\
         cluster      {cluster}\n\
         transceiver  {transceiver} (as an address: {address})\n\
         shard        {shard}\n\
         session      {session:#08x}\n\
         expires      {date}, {expiry}\n"
    )
}

/// What would become of a packet.
pub(crate) fn traced(traced: &Traced) -> String {
    let Traced { worker, listener, packet_bytes, steps, outcome, .. } = traced;
    let mut text = format!(
        "a packet of {packet_bytes} bytes by listener {listener}, asked of worker {worker}\n"
    );
    for step in steps {
        text.push_str(&format!("  - {step}\n"));
    }
    text.push_str(&format!("=> {outcome}\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay::control::admin::protocol::{Cursor, Pending};
    use relay::control::names::NamedRoute;

    fn flow() -> Flow {
        let route =
            NamedRoute { cluster: "voice".into(), transceiver: "10.0.0.2".into(), shard: 1 };
        Flow {
            worker: 0,
            client: ([192, 0, 2, 7], 51_004).into(),
            listener: 0,
            state: "assured".into(),
            route,
            tunnel: ([10, 0, 0, 2], 3_601).into(),
            session: Some(0x4d),
            idle_ms: 20,
            silent_ms: None,
            pending: None,
        }
    }

    #[test]
    fn flows_and_where_to_go_on() {
        let learned = Flow {
            session: None,
            silent_ms: Some(61_000),
            pending: Some(Pending { route: flow().route, session: 5 }),
            ..flow()
        };
        let page =
            Flows { flows: vec![flow(), learned], next: Some(Cursor { worker: 1, slot: 40 }) };
        let expected = "\
client           listener  worker  state    shard             tunnel         session   idle  shard silent  may pass to
192.0.2.7:51004         0       0  assured  voice/10.0.0.2/1  10.0.0.2:3601  0x00004d  0.0s   never spoke
192.0.2.7:51004         0       0  assured  voice/10.0.0.2/1  10.0.0.2:3601  learned   0.0s         1m 1s  voice/10.0.0.2/1, session 0x000005
more: --from 1:40
";
        assert_eq!(flows(&page), expected);
        assert_eq!(flows(&Flows { flows: Vec::new(), next: None }), "no flows\n");
    }

    #[test]
    fn a_ufrag_in_words() {
        let sample = Decoded {
            key: 'A',
            key_state: "use".into(),
            cluster: 4,
            transceiver: 0x0a00_0001,
            transceiver_as_address: [10, 0, 0, 1].into(),
            shard: 2,
            session: 77,
            expires_at: 1_795_243_200,
            expires_in: 11_520,
            validity: Judgement::Valid,
        };
        let expected = "\
key          A (state use)
cluster      4
transceiver  167772161 (as an address: 10.0.0.1)
shard        2
session      0x00004d
expires      2026-11-21 06:40:00 UTC, in 3h 12m
";
        assert_eq!(decoded(&sample), expected);
        let expired = Decoded { expires_in: -300, validity: Judgement::Expired, ..sample };
        assert!(decoded(&expired).ends_with("UTC, expired 5m 0s ago\n"));
    }

    #[test]
    fn a_trace_in_words() {
        let sample = Traced {
            worker: 1,
            listener: 0,
            packet_bytes: 100,
            steps: vec!["the packet is stun".into(), "the client has no flow here".into()],
            outcome: "dropped".into(),
            forwarded: false,
        };
        let expected = "a packet of 100 bytes by listener 0, asked of worker 1\n  - the packet is \
                        stun\n  - the client has no flow here\n=> dropped\n";
        assert_eq!(traced(&sample), expected);
    }
}
