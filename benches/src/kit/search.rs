//! The search for the highest rate that is carried with next to no loss. No clock and no packets: it
//! says which rate to try, and is told how that went.

/// How a try went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Carried.
    Carried,
    /// Too much was lost.
    Lost,
    /// The generator could not offer so much.
    NotOffered,
}

/// What stands above the highest rate that was carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The candidate loses packets.
    Candidate,
    /// The generator gives out: the candidate may carry more.
    Generator,
}

/// Steps up by this much until something gives, then halves what lies between.
const STRIDE: f64 = 1.4;
/// Ends when the two sides are as close as this.
const RESOLUTION: f64 = 1.05;
/// On a shared machine one loss may be the machine's.
const TRIES: u32 = 2;
const RATE_MIN: f64 = 1_000.0;
const RATE_MAX: f64 = 2_000_000.0;

/// A search under way.
#[derive(Debug)]
pub struct Search {
    carried: Option<f64>,
    above: Option<(f64, Bound)>,
    next: f64,
    tries: u32,
}

impl Search {
    /// Begins at a rate.
    pub const fn from(rate: f64) -> Self {
        Self { carried: None, above: None, next: rate, tries: 0 }
    }

    /// The rate to try next; `None` when it is found.
    pub fn next(&self) -> Option<f64> {
        let found = match (self.carried, self.above) {
            (Some(carried), Some((above, _))) => above / carried <= RESOLUTION,
            (None, Some((above, _))) => above <= RATE_MIN,
            (Some(carried), None) => carried >= RATE_MAX,
            (None, None) => false,
        };
        (!found).then_some(self.next)
    }

    /// Takes note of how the try at [`Search::next`] went.
    pub fn tell(&mut self, outcome: Outcome) {
        let rate = self.next;
        self.tries += 1;
        match outcome {
            Outcome::Carried => self.carried = Some(rate),
            Outcome::Lost | Outcome::NotOffered if self.tries < TRIES => return,
            Outcome::Lost => self.above = Some((rate, Bound::Candidate)),
            Outcome::NotOffered => self.above = Some((rate, Bound::Generator)),
        }
        self.tries = 0;
        self.next = match (self.carried, self.above) {
            (Some(carried), Some((above, _))) => (carried * above).sqrt(),
            (Some(carried), None) => carried * STRIDE,
            (None, Some((above, _))) => above / 2.0,
            (None, None) => rate,
        };
    }

    /// What stands above the highest rate carried.
    pub fn bound(&self) -> Option<Bound> {
        self.above.map(|(_, bound)| bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(start: f64, mut outcome: impl FnMut(f64) -> Outcome) -> (Option<f64>, usize, Search) {
        let mut search = Search::from(start);
        let mut tries = 0;
        while let Some(rate) = search.next() {
            search.tell(outcome(rate));
            tries += 1;
            assert!(tries < 60, "it ends");
        }
        (search.carried, tries, search)
    }

    #[test]
    fn capacities_are_found_from_both_sides() {
        for capacity in [1_500.0, 25_000.0, 60_000.0, 123_000.0, 700_000.0] {
            let (found, tries, search) =
                search(
                    60_000.0,
                    |rate| {
                        if rate <= capacity { Outcome::Carried } else { Outcome::Lost }
                    },
                );
            let found = found.unwrap();
            assert!(found <= capacity && capacity / found <= RESOLUTION, "{capacity}: {found}");
            assert!(tries <= 24, "{capacity}: {tries}");
            assert_eq!(search.bound(), Some(Bound::Candidate));
        }
    }

    #[test]
    fn one_bad_moment_is_forgiven_and_no_capacity_ends_too() {
        let mut stumbled = false;
        let (found, ..) = search(60_000.0, |rate| {
            if rate > 100_000.0 {
                return Outcome::Lost;
            }
            if !stumbled {
                stumbled = true;
                return Outcome::Lost;
            }
            Outcome::Carried
        });
        assert!(found.unwrap() > 95_000.0, "{found:?}");
        let (found, ..) = search(60_000.0, |_| Outcome::Lost);
        assert_eq!(found, None);
        let (found, ..) = search(60_000.0, |_| Outcome::Carried);
        assert!(found.unwrap() >= RATE_MAX);
    }

    #[test]
    fn a_generator_that_gives_out_is_named() {
        let (found, _, search) =
            search(
                60_000.0,
                |rate| {
                    if rate > 200_000.0 { Outcome::NotOffered } else { Outcome::Carried }
                },
            );
        assert!(found.unwrap() > 190_000.0);
        assert_eq!(search.bound(), Some(Bound::Generator));
    }
}
