//! Flows over all workers: pages of them, and those of one client.

use super::protocol::{ClientAddress, Cursor, Flow, Flows, Found, Pending};
use crate::control::fleet::{Fleet, FleetError};
use crate::control::names::Names;
use crate::core::{Command, FlowInfo, Reply};
use service::admin::Refusal;
use wire::frame::ListenerId;

/// One page, of one worker's flows or of all workers' in their order.
pub(super) async fn page(
    fleet: &Fleet,
    names: &Names,
    only: Option<usize>,
    from: Option<Cursor>,
    limit: u32,
) -> Result<Flows, Refusal> {
    let workers = fleet.len();
    if let Some(worker) = only
        && worker >= workers
    {
        return Err(Refusal(format!("there is no worker {worker}: they are 0 to {}", workers - 1)));
    }
    let start = from.unwrap_or(Cursor { worker: only.unwrap_or(0), slot: 0 });
    if start.worker >= workers || only.is_some_and(|only| only != start.worker) {
        return Err(Refusal(format!("{start} is not where a page of these flows ended")));
    }
    let mut flows: Vec<Flow> = Vec::new();
    let mut at = Some(start);
    while let Some(cursor) = at {
        let room = limit.max(1).saturating_sub(u32::try_from(flows.len()).unwrap_or(u32::MAX));
        if room == 0 {
            return Ok(Flows { flows, next: Some(cursor) });
        }
        let reply = fleet.ask(cursor.worker, Command::Flows(cursor.slot, room)).await;
        let Reply::Flows(page) = reply.map_err(refuse)? else { return Err(mismatch()) };
        flows.extend(page.flows.iter().map(|flow| show(names, cursor.worker, flow)));
        at = after(cursor, page.next, only, workers);
        // A router's page has a limit of its own; the rest is for the next request. An empty one
        // is a stretch of the table without flows.
        if page.next.is_some() && !page.flows.is_empty() {
            break;
        }
    }
    Ok(Flows { flows, next: at })
}

/// Where to go on: in the same worker, or at the beginning of the next.
fn after(at: Cursor, next: Option<u32>, only: Option<usize>, workers: usize) -> Option<Cursor> {
    match next {
        Some(slot) => Some(Cursor { slot, ..at }),
        None if only.is_some() || at.worker + 1 >= workers => None,
        None => Some(Cursor { worker: at.worker + 1, slot: 0 }),
    }
}

/// The flows of one client: by one listener or all, on all workers.
pub(super) async fn find(
    fleet: &Fleet,
    names: &Names,
    listeners: u8,
    address: ClientAddress,
    command: fn(ListenerId, wire::address::Address) -> Command,
) -> Result<Found, Refusal> {
    let listeners = match address.listener {
        Some(listener) => listener..listener.saturating_add(1),
        None => 0..listeners,
    };
    let mut flows = Vec::new();
    for listener in listeners.map(ListenerId) {
        let replies = fleet.ask_all(command(listener, address.client.into())).await;
        for (worker, reply) in replies.map_err(refuse)?.into_iter().enumerate() {
            let Reply::Flow(flow) = reply else { return Err(mismatch()) };
            flows.extend(flow.map(|flow| show(names, worker, &flow)));
        }
    }
    Ok(Found { flows })
}

fn show(names: &Names, worker: usize, flow: &FlowInfo) -> Flow {
    let state = match flow.state {
        crate::core::FlowState::New => "new",
        crate::core::FlowState::Assured => "assured",
    };
    Flow {
        worker,
        client: flow.client.address.into(),
        listener: flow.client.listener.0,
        state: state.to_owned(),
        route: names.route(flow.route),
        tunnel: flow.tunnel.into(),
        session: flow.session.map(wire::hint::SessionTag::value),
        idle_ms: flow.idle_ms,
        silent_ms: flow.silent_ms,
        pending: flow.pending.map(|(route, session)| Pending {
            route: names.route(route),
            session: session.value(),
        }),
    }
}

pub(super) fn refuse(error: FleetError) -> Refusal {
    Refusal(error.to_string())
}

/// A router answers what it is asked; anything else is a mistake of ours.
pub(super) fn mismatch() -> Refusal {
    Refusal("a worker answered another question than it was asked".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_through_all_workers_or_one() {
        let at = |worker, slot| Cursor { worker, slot };
        let table = [
            ("more in this worker", at(0, 0), Some(9), None, Some(at(0, 9))),
            ("then the next worker", at(0, 9), None, None, Some(at(1, 0))),
            ("then the end", at(1, 0), None, None, None),
            ("one worker only", at(0, 9), None, Some(0), None),
            ("one worker, more", at(0, 9), Some(20), Some(0), Some(at(0, 20))),
        ];
        for (name, from, next, only, expected) in table {
            assert_eq!(after(from, next, only, 2), expected, "{name}");
        }
    }
}
