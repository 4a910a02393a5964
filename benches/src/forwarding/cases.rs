//! What is compared: candidates, directions and loads, and how `--cases` picks among them.

use std::fmt;

use anyhow::{Result, bail};

/// What moves the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Engine {
    /// recvfrom and sendto, one packet a call.
    Naive,
    /// recvmmsg and sendmmsg, without a tunnel.
    Mmsg,
    /// `ringway-relay` on io_uring.
    RelayUring,
    /// `ringway-relay` on recvmmsg and sendmmsg.
    RelayMmsg,
}

impl Engine {
    /// All, in the order of the tables.
    pub(crate) const ALL: [Self; 4] = [Self::Naive, Self::Mmsg, Self::RelayUring, Self::RelayMmsg];

    /// What `--cases` and the tables call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Naive => "naive",
            Self::Mmsg => "mmsg",
            Self::RelayUring => "relay-uring",
            Self::RelayMmsg => "relay-mmsg",
        }
    }

    /// What the relay's configuration calls it.
    pub(crate) const fn relays_name(self) -> &'static str {
        match self {
            Self::RelayMmsg => "mmsg",
            Self::Naive | Self::Mmsg | Self::RelayUring => "uring",
        }
    }

    /// Whether it is the relay rather than one of the small forwarders.
    pub(crate) const fn is_relay(self) -> bool {
        matches!(self, Self::RelayUring | Self::RelayMmsg)
    }
}

/// An engine with its settings: one process under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Candidate {
    /// What moves the packets.
    pub(crate) engine: Engine,
    /// The relay's budget for coalescing; the forwarders have none.
    pub(crate) coalesce_us_max: Option<u32>,
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.coalesce_us_max {
            Some(budget) => write!(f, "{} coalesce {budget}", self.engine.name()),
            None => f.write_str(self.engine.name()),
        }
    }
}

/// Which way the packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Direction {
    /// Client to shard.
    Forward,
    /// Shard to client.
    Reverse,
}

impl Direction {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Forward, Self::Reverse];

    /// What `--cases` and the tables call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Forward => "fwd",
            Self::Reverse => "rev",
        }
    }
}

/// How many packets are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Load {
    /// As many as the generator can, or more than any candidate carries.
    Saturation,
    /// Evenly spaced, thousands a second.
    Paced(u32),
}

impl Load {
    /// All, in the order of the tables.
    pub(crate) const ALL: [Self; 3] = [Self::Saturation, Self::Paced(50), Self::Paced(150)];
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Saturation => f.write_str("saturation"),
            Self::Paced(kpps) => write!(f, "{kpps} kpps"),
        }
    }
}

/// The budgets for coalescing, µs.
const BUDGETS: [u32; 4] = [0, 50, 100, 200];
/// The relay's default.
pub(crate) const BUDGET_US: u32 = 100;
/// How many clients have a flow: the table's size in a cache line, in a cache, and beyond it.
const FLOWS: [u32; 3] = [1, 1_000, 100_000];
/// What is measured of everything.
pub(crate) const FLOWS_USUAL: u32 = 1_000;

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cases {
    /// The processes under test.
    pub(crate) candidates: Vec<Candidate>,
    /// The directions of each.
    pub(crate) directions: Vec<Direction>,
    /// The loads of each direction.
    pub(crate) loads: Vec<Load>,
    /// How many flows.
    pub(crate) flows: Vec<u32>,
    /// Every flow count with everything, because it was asked for.
    crossed: bool,
}

impl Cases {
    /// Picks by words: an engine (`naive`, `mmsg`, `relay-uring`, `relay-mmsg`, or `relay` for
    /// both), a budget (`coalesce-0`, `-50`, `-100`, `-200`), a direction (`fwd`, `rev`), a load
    /// (`saturation`, `50`, `150`) or a number of flows (`flows-1`, `flows-1000`, `flows-100000`).
    /// No word of a kind means all of it.
    pub(crate) fn of(words: &[String]) -> Result<Self> {
        let mut engines = Vec::new();
        let mut budgets = Vec::new();
        let mut directions = Vec::new();
        let mut loads = Vec::new();
        let mut flows = Vec::new();
        for word in words {
            match word.as_str() {
                "naive" => engines.push(Engine::Naive),
                "mmsg" => engines.push(Engine::Mmsg),
                "relay-uring" => engines.push(Engine::RelayUring),
                "relay-mmsg" => engines.push(Engine::RelayMmsg),
                "relay" => engines.extend([Engine::RelayUring, Engine::RelayMmsg]),
                "coalesce-0" => budgets.push(0),
                "coalesce-50" => budgets.push(50),
                "coalesce-100" => budgets.push(100),
                "coalesce-200" => budgets.push(200),
                "flows-1" => flows.push(1),
                "flows-1000" => flows.push(1_000),
                "flows-100000" => flows.push(100_000),
                "fwd" => directions.push(Direction::Forward),
                "rev" => directions.push(Direction::Reverse),
                "saturation" => loads.push(Load::Saturation),
                "50" => loads.push(Load::Paced(50)),
                "150" => loads.push(Load::Paced(150)),
                other => bail!(
                    "--cases does not know \"{other}\"; it knows naive, mmsg, relay-uring, \
                     relay-mmsg, relay, coalesce-0, -50, -100, -200, fwd, rev, saturation, 50, 150, \
                     flows-1, flows-1000, flows-100000"
                ),
            }
        }
        let engines = all_if_none(engines, &Engine::ALL);
        let budgets = all_if_none(budgets, &BUDGETS);
        let mut candidates = Vec::new();
        for engine in engines {
            if engine.is_relay() {
                let with = |&budget| Candidate { engine, coalesce_us_max: Some(budget) };
                candidates.extend(budgets.iter().map(with));
            } else {
                candidates.push(Candidate { engine, coalesce_us_max: None });
            }
        }
        Ok(Self {
            candidates,
            directions: all_if_none(directions, &Direction::ALL),
            loads: all_if_none(loads, &Load::ALL),
            crossed: !flows.is_empty(),
            flows: all_if_none(flows, &FLOWS),
        })
    }

    /// Whether a candidate is measured with so many flows. Unless asked for, other numbers than
    /// the usual one are measured at the relay's default budget only: the flow table knows no budget.
    pub(crate) fn wants(&self, candidate: Candidate, flows: u32) -> bool {
        self.crossed
            || flows == FLOWS_USUAL
            || candidate.coalesce_us_max.is_none_or(|budget| budget == BUDGET_US)
    }
}

fn all_if_none<T: Copy + Ord>(mut picked: Vec<T>, all: &[T]) -> Vec<T> {
    if picked.is_empty() {
        return all.to_vec();
    }
    picked.sort_unstable();
    picked.dedup();
    picked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &str) -> Result<Cases> {
        Cases::of(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn no_words_mean_everything() {
        let cases = of("").unwrap();
        assert_eq!(cases.candidates.len(), 10);
        assert_eq!((cases.directions.len(), cases.loads.len(), cases.flows.len()), (2, 3, 3));
        let few = cases.candidates.iter().filter(|&&candidate| cases.wants(candidate, 1)).count();
        assert_eq!(few, 4, "two forwarders, and two engines at the default budget");
        let asked = of("flows-1").unwrap();
        assert!(asked.candidates.iter().all(|&candidate| asked.wants(candidate, 1)));
    }

    #[test]
    fn words_narrow_their_own_kind_only() {
        let cases = of("relay-uring naive coalesce-100 fwd fwd").unwrap();
        let names: Vec<_> = cases.candidates.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["naive", "relay-uring coalesce 100"]);
        assert_eq!(cases.directions, [Direction::Forward]);
        assert_eq!(cases.loads.len(), 3);
    }

    #[test]
    fn an_unknown_word_is_refused_by_name() {
        assert!(of("naive fast").unwrap_err().to_string().contains("\"fast\""));
    }
}
