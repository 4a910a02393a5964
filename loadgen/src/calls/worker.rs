//! A thread of calls.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use engine::{affinity, clock};

use super::beat::Beat;
use super::signaling::Signaling;
use super::task::{self, Clock, Leave, Shared};
use crate::call::Identity;
use crate::control::{Control, Share, WINDOW_INTERVAL, Window, Windows};
use crate::flows::Load;
use crate::measure::{Measurement, Nanoseconds};
use crate::population::{Change, Population};
use crate::target::Permission;

/// How often orders are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// A call that failed keeps its place for so long, so that nobody is hammered.
const BACK_OFF: Duration = Duration::from_secs(2);
/// After this long, calls of a thread that gives up are left to those they are with.
const ABANDON_TIME: Duration = Duration::from_secs(5);
/// Requests that the ring takes at once; more wait in the runtime.
const RING_ENTRIES: u32 = 1024;

/// What a thread of calls needs.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Where calls are signaled.
    pub signaling: Arc<Signaling>,
    /// Whom the answers may lead to.
    pub permission: Permission,
}

/// A thread of calls that is ready to begin.
#[derive(Debug)]
pub struct Worker {
    settings: WorkerSettings,
    share: Share,
}

impl Worker {
    /// One of some threads.
    #[must_use]
    pub const fn new(settings: WorkerSettings, share: Share) -> Self {
        Self { settings, share }
    }

    /// Carries out orders until the last has been: to stop.
    pub fn run(self, control: &Arc<Control>, windows: &Windows) -> anyhow::Result<()> {
        affinity::name_thread(&format!("calls-{}", self.share.index));
        affinity::precise_sleeps();
        let identity = Identity::generate().context("Failed to make a certificate")?;
        tokio_uring::builder().entries(RING_ENTRIES).start(async {
            let beat = Rc::new(Beat::new().context("Failed to make a timer")?);
            let beating = Rc::clone(&beat);
            let beating = tokio_uring::spawn(async move { beating.run().await });
            let shared = Rc::new(Shared {
                signaling: self.settings.signaling,
                identity,
                permission: self.settings.permission,
                window: RefCell::new(Measurement::default()),
                clock: Clock::new(),
                beat,
            });
            let mut supervisor = Supervisor::new(shared, self.share);
            let result = tokio::select! {
                result = supervisor.run(control, windows) => result,
                result = beating => match result {
                    Ok(result) => result.context("The timer failed"),
                    Err(_) => Err(anyhow!("the timer's task panicked")),
                },
            };
            if result.is_err() {
                supervisor.abandon().await;
            }
            result
        })
    }
}

/// Begins and ends calls.
struct Supervisor {
    shared: Rc<Shared>,
    share: Share,
    /// The calls that have not been told to leave, oldest first.
    present: VecDeque<Rc<Leave>>,
    population: Rc<RefCell<Population>>,
    cpu_ns: Nanoseconds,
    window_from: Nanoseconds,
}

impl Supervisor {
    fn new(shared: Rc<Shared>, share: Share) -> Self {
        Self {
            shared,
            share,
            present: VecDeque::new(),
            population: Rc::default(),
            cpu_ns: clock::thread_cpu_ns(),
            window_from: clock::monotonic_ns(),
        }
    }

    async fn run(&mut self, control: &Arc<Control>, windows: &Windows) -> anyhow::Result<()> {
        let (mut epoch, mut stop) = (0, false);
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            looks.tick().await;
            if let Some(order) = control.newer_than(epoch) {
                self.hand_in(epoch, windows)?;
                (epoch, stop) = (order.epoch, order.stop);
                self.population.borrow_mut().set_load(self.share.of(&order));
            }
            self.populate();
            if clock::monotonic_ns() >= self.window_from + WINDOW_INTERVAL {
                self.hand_in(epoch, windows)?;
            }
            // Every call holds a handle; without any, ours is the only one.
            if stop && Rc::strong_count(&self.shared) == 1 {
                return self.hand_in(epoch, windows);
            }
        }
    }

    /// Ends all calls out of turn, as far as they end in a reasonable time.
    async fn abandon(&mut self) {
        self.population.borrow_mut().set_load(Load::default());
        for leave in self.present.drain(..) {
            leave.tell();
        }
        let calls = async {
            while Rc::strong_count(&self.shared) > 1 {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        let _ = tokio::time::timeout(ABANDON_TIME, calls).await;
    }

    fn populate(&mut self) {
        // Those that have ended by themselves are told nothing.
        self.present.retain(|leave| Rc::strong_count(leave) > 1);
        let now = clock::monotonic_ns();
        loop {
            let change = self.population.borrow_mut().next(now);
            match change {
                Some(Change::Arrive { due }) => self.begin(due),
                Some(Change::Depart) => {
                    if let Some(leave) = self.present.pop_front() {
                        leave.tell();
                    }
                }
                None => return,
            }
        }
    }

    fn begin(&mut self, due: Nanoseconds) {
        let leave = Rc::<Leave>::default();
        self.present.push_back(Rc::clone(&leave));
        let (shared, population) = (Rc::clone(&self.shared), Rc::clone(&self.population));
        tokio_uring::spawn(async move {
            let result = task::run(Rc::clone(&shared), Rc::clone(&leave), due).await;
            match result {
                Ok(()) => shared.window.borrow_mut().counts.ended += 1,
                Err(failure) => {
                    shared.window.borrow_mut().failure(failure.as_str());
                    // Who is told to leave while backing off leaves at once.
                    let _ = tokio::time::timeout(BACK_OFF, leave.left()).await;
                    if !leave.is_told() {
                        population.borrow_mut().lost_one(clock::monotonic_ns());
                    }
                }
            }
        });
    }

    fn hand_in(&mut self, epoch: u64, windows: &Windows) -> anyhow::Result<()> {
        let (now, cpu_ns) = (clock::monotonic_ns(), clock::thread_cpu_ns());
        let mut measurement = self.shared.window.take();
        measurement.generator.cpu_ns += cpu_ns.saturating_sub(self.cpu_ns);
        measurement.generator.thread_ns += now.saturating_sub(self.window_from);
        (self.cpu_ns, self.window_from) = (cpu_ns, now);
        let active = self.population.borrow().active();
        let window = Window { worker: self.share.index, epoch, active, measurement };
        windows.send(window).context("nobody takes measurements any more")
    }
}
