//! All workers, as control sees them: threads to give orders to and numbers to read.

use crate::core::{Command, FlowRecord, Recalled, Reply};
use crate::worker::{Desk, Numbers, Order, Question, Reports, Slot, TooManyOrders};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{Notify, oneshot};

/// A worker answers between two batches: within microseconds. One that takes this long is stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a worker gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FleetError {
    /// Its queue is full.
    #[error("worker {0}: {1}")]
    Busy(usize, TooManyOrders),
    /// It did not answer in time.
    #[error("worker {0} did not answer within {ANSWER_TIMEOUT:?}: it is stuck")]
    Stuck(usize),
    /// It has ended.
    #[error("worker {0} has ended")]
    Ended(usize),
}

/// One worker, seen from control.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) desk: Desk,
    pub(super) slot: Arc<Slot>,
    pub(super) reports: Reports,
    pub(super) thread: JoinHandle<io::Result<()>>,
}

/// All workers.
#[derive(Debug)]
pub struct Fleet {
    desks: Vec<Desk>,
    slots: Vec<Arc<Slot>>,
    reports: Vec<Reports>,
    told: Arc<Notify>,
}

impl Fleet {
    /// The workers, and their threads apart: those are joined by whoever started them.
    pub(super) fn new(
        members: Vec<Member>,
        told: Arc<Notify>,
    ) -> (Self, Vec<JoinHandle<io::Result<()>>>) {
        let (desks, slots, reports) = (Vec::new(), Vec::new(), Vec::new());
        let mut fleet = Self { desks, slots, reports, told };
        let mut threads = Vec::new();
        for Member { desk, slot, reports, thread } in members {
            fleet.desks.push(desk);
            fleet.slots.push(slot);
            fleet.reports.push(reports);
            threads.push(thread);
        }
        (fleet, threads)
    }

    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "a relay without workers does not start")]
    pub fn len(&self) -> usize {
        self.desks.len()
    }

    /// What each has published last.
    pub fn numbers(&self) -> Vec<Numbers> {
        self.slots.iter().map(|slot| slot.load()).collect()
    }

    /// What the workers tell without being asked, each its own.
    pub(super) fn reports(&self) -> &[Reports] {
        &self.reports
    }

    /// Waits until any worker may have told something.
    pub(super) async fn told(&self) {
        self.told.notified().await;
    }

    /// Tells a worker of a flow. False if it has too much to do to listen.
    pub(super) fn recall(&self, worker: usize, recalled: Recalled) -> bool {
        self.desks.get(worker).is_some_and(|desk| desk.recall(recalled))
    }

    /// Gives one worker an order. False if it has too much to do to take it.
    pub(super) fn order(&self, worker: usize, order: Order) -> bool {
        self.desks.get(worker).is_some_and(|desk| desk.give(order).is_ok())
    }

    /// Asks one worker's router.
    pub async fn ask(&self, worker: usize, command: Command) -> Result<Reply, FleetError> {
        let reply = self.put(worker, command)?;
        answer(worker, reply).await
    }

    /// Asks all workers' routers the same. Each is asked, whatever becomes of the others: one that
    /// is stuck does not keep the rest from, say, draining.
    pub async fn ask_all(&self, command: Command) -> Result<Vec<Reply>, FleetError> {
        let asked: Vec<_> =
            (0..self.len()).map(|worker| self.put(worker, command.clone())).collect();
        let mut replies = Vec::with_capacity(self.len());
        for (worker, reply) in asked.into_iter().enumerate() {
            replies.push(answer(worker, reply?).await?);
        }
        Ok(replies)
    }

    fn put(&self, worker: usize, command: Command) -> Result<oneshot::Receiver<Reply>, FleetError> {
        let desk = self.desks.get(worker).ok_or(FleetError::Ended(worker))?;
        let (answer, reply) = oneshot::channel();
        let order = Order::Ask(Question { command, answer });
        desk.give(order).map_err(|error| FleetError::Busy(worker, error))?;
        Ok(reply)
    }

    /// Changes every worker's budget for waiting.
    pub(super) fn set_coalesce_us_max(&self, budget_us: u32) -> Result<(), FleetError> {
        for (worker, desk) in self.desks.iter().enumerate() {
            desk.give(Order::CoalesceUsMax(budget_us))
                .map_err(|error| FleetError::Busy(worker, error))?;
        }
        Ok(())
    }

    /// Has every worker stop receiving and stand by; gives the flows of each. Packets wait in the
    /// kernel from then on, so soon either [`Fleet::resume`] or another process must follow.
    pub(super) async fn stand_by(&self) -> Result<Vec<Vec<FlowRecord>>, FleetError> {
        let mut asked = Vec::with_capacity(self.len());
        for (worker, desk) in self.desks.iter().enumerate() {
            let (answer, flows) = oneshot::channel();
            desk.give(Order::StandBy(answer)).map_err(|error| FleetError::Busy(worker, error))?;
            asked.push(flows);
        }
        let mut all = Vec::with_capacity(self.len());
        for (worker, flows) in asked.into_iter().enumerate() {
            all.push(answer(worker, flows).await?);
        }
        Ok(all)
    }

    /// Has workers that stand by go on.
    pub(super) async fn resume(&self) {
        for desk in &self.desks {
            // A queue that is full empties: a worker that stands by answers all the same.
            while desk.give(Order::Resume).is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// Tells every worker to end. One that takes no orders is stuck, and ends with the process.
    pub(super) fn stop(&self) {
        for desk in &self.desks {
            let _ = desk.give(Order::Stop);
        }
    }
}

async fn answer<T>(worker: usize, reply: oneshot::Receiver<T>) -> Result<T, FleetError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, reply).await {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(_)) => Err(FleetError::Ended(worker)),
        Err(_) => Err(FleetError::Stuck(worker)),
    }
}
