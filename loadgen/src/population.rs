//! How many there are: arrivals and departures, each with the time at which it is due.

use crate::flows::Load;
use crate::measure::Nanoseconds;

/// Counts those that are there, and says who comes and goes when.
#[derive(Debug, Default)]
pub struct Population {
    wanted: u32,
    active: u32,
    arrivals: Rhythm,
    departures: Option<Rhythm>,
}

/// Something that happens at regular times.
#[derive(Debug, Clone, Copy, Default)]
struct Rhythm {
    next: Nanoseconds,
    interval: Nanoseconds,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// One more is to begin.
    Arrive {
        /// When that was due.
        due: Nanoseconds,
    },
    /// The oldest is to leave.
    Depart,
}

impl Population {
    /// Sets how many are wanted from now on.
    pub fn set_load(&mut self, load: Load) {
        self.wanted = load.flows;
        let missing = u64::from(load.flows.saturating_sub(self.active));
        let interval = load.spread.checked_div(missing).unwrap_or(0);
        self.arrivals = Rhythm { next: load.from, interval };
        self.departures = (load.churn_interval > 0).then(|| Rhythm {
            next: load.from + load.spread + load.churn_interval,
            interval: load.churn_interval,
        });
    }

    /// The next change that is due. It counts as done.
    pub fn next(&mut self, now: Nanoseconds) -> Option<Change> {
        if self.active > self.wanted {
            self.active -= 1;
            return Some(Change::Depart);
        }
        if let Some(departures) = &mut self.departures
            && departures.next <= now
        {
            departures.next += departures.interval;
            if self.active > 0 {
                self.active -= 1;
                return Some(Change::Depart);
            }
        }
        if self.active < self.wanted && self.arrivals.next <= now {
            let due = self.arrivals.next;
            self.arrivals.next += self.arrivals.interval;
            self.active += 1;
            return Some(Change::Arrive { due });
        }
        if self.active == self.wanted {
            // A place that becomes free later is taken at that time, at once.
            self.arrivals = Rhythm { next: now, interval: 0 };
        }
        None
    }

    /// One has gone without having been told to; another takes its place.
    pub fn lost_one(&mut self, now: Nanoseconds) {
        self.active = self.active.saturating_sub(1);
        if self.arrivals.interval == 0 {
            self.arrivals.next = self.arrivals.next.max(now);
        }
    }

    /// When something is due next.
    #[must_use]
    pub fn next_due(&self) -> Option<Nanoseconds> {
        let surplus = (self.active > self.wanted).then_some(0);
        let arrival = (self.active < self.wanted).then_some(self.arrivals.next);
        let departure = self.departures.map(|departures| departures.next);
        [surplus, arrival, departure].into_iter().flatten().min()
    }

    /// How many there are.
    #[must_use]
    pub const fn active(&self) -> u32 {
        self.active
    }

    /// How many there should be.
    #[must_use]
    pub const fn wanted(&self) -> u32 {
        self.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(population: &mut Population, now: Nanoseconds) -> Vec<Change> {
        std::iter::from_fn(|| population.next(now)).collect()
    }

    #[test]
    fn arrivals_are_spread_and_keep_their_times_however_late_one_asks() {
        let mut population = Population::default();
        population.set_load(Load { flows: 4, from: 100, spread: 40, churn_interval: 0 });
        assert_eq!((changes(&mut population, 99), population.next_due()), (vec![], Some(100)));
        let at = |due| Change::Arrive { due };
        assert_eq!(changes(&mut population, 111), [at(100), at(110)]);
        assert_eq!(changes(&mut population, 1_000), [at(120), at(130)]);
        assert_eq!((population.active(), population.next_due()), (4, None));
        population.lost_one(2_000);
        assert_eq!(changes(&mut population, 2_005), [at(2_000)]);
    }

    #[test]
    fn a_smaller_load_makes_the_surplus_leave_at_once() {
        let mut population = Population::default();
        population.set_load(Load { flows: 3, ..Load::default() });
        assert_eq!(changes(&mut population, 0).len(), 3);
        population.set_load(Load { flows: 1, ..Load::default() });
        assert_eq!(population.next_due(), Some(0));
        assert_eq!(changes(&mut population, 5), [Change::Depart; 2]);
    }

    #[test]
    fn churn_replaces_one_at_a_time() {
        let mut population = Population::default();
        population.set_load(Load { flows: 2, from: 0, spread: 0, churn_interval: 10 });
        assert_eq!(changes(&mut population, 0).len(), 2);
        assert_eq!(population.next_due(), Some(10));
        let replaced = changes(&mut population, 20);
        assert_eq!(replaced.iter().filter(|change| **change == Change::Depart).count(), 2);
        assert_eq!((replaced.len(), population.active()), (4, 2));
    }
}
