//! How often somebody may ask: a token bucket for each address, API key and client secret, in
//! bounded memory.

use super::access::Caller;
use super::secret::SecretNumber;
use service::http::counted_as;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Callers that are told apart. Whoever comes beyond that shares one bucket with all such.
const CALLERS_MAX: usize = 65_536;
/// Looking for buckets that have filled up again is worth the time this often.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// So many requests a second, and so many at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In the long run. Zero is no limit.
    pub per_second: u32,
    /// At once.
    pub burst: u32,
}

/// How often callers of each kind may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// An address (a /64 for IPv6): of requests in open mode, of failures to authenticate otherwise.
    pub address: Rate,
    /// An API key.
    pub key: Rate,
    /// A client secret.
    pub secret: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            address: Rate { per_second: 50, burst: 200 },
            key: Rate { per_second: 500, burst: 1_000 },
            secret: Rate { per_second: 10, burst: 50 },
        }
    }
}

/// Whose bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Who {
    Address(IpAddr),
    Key(Arc<str>),
    Secret(SecretNumber),
}

/// The kinds of [`Who`], as metrics name them.
pub(super) const KINDS: [&str; 3] = ["address", "key", "secret"];

impl Who {
    pub(super) fn address(address: IpAddr) -> Self {
        Self::Address(counted_as(address))
    }

    /// By what a caller is counted.
    pub(super) fn of(caller: &Caller, address: IpAddr) -> Self {
        match caller {
            Caller::Anybody => Self::address(address),
            Caller::Key(name) => Self::Key(Arc::clone(name)),
            Caller::Secret(secret) => Self::Secret(secret.number),
        }
    }

    /// Its place in [`KINDS`].
    pub(super) const fn kind(&self) -> usize {
        match self {
            Self::Address(_) => 0,
            Self::Key(_) => 1,
            Self::Secret(_) => 2,
        }
    }

    const fn rate(&self, rates: &Rates) -> Rate {
        match self {
            Self::Address(_) => rates.address,
            Self::Key(_) => rates.key,
            Self::Secret(_) => rates.secret,
        }
    }
}

/// All buckets.
#[derive(Debug)]
pub(super) struct Buckets {
    callers_max: usize,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    /// When each bucket will be full again: all there is to know of one (GCRA).
    full_at: HashMap<Who, Instant>,
    /// Of all those for whom there is no room.
    others_full_at: Option<Instant>,
    sweep_at: Option<Instant>,
}

impl Buckets {
    pub(super) fn new() -> Self {
        Self::with_room_for(CALLERS_MAX)
    }

    fn with_room_for(callers_max: usize) -> Self {
        let table = Table { full_at: HashMap::new(), others_full_at: None, sweep_at: None };
        Self { callers_max, table: Mutex::new(table) }
    }

    /// Takes one token, or says how long there will be none.
    pub(super) fn take(&self, who: &Who, rates: &Rates, now: Instant) -> Result<(), Duration> {
        let rate = who.rate(rates);
        if rate.per_second == 0 {
            return Ok(());
        }
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = table.bucket(who, self.callers_max, now);
        let each = Duration::from_secs(1) / rate.per_second;
        let after = (*full_at).max(now) + each;
        match (after - now).checked_sub(each * rate.burst.max(1)) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                *full_at = after;
                Ok(())
            }
        }
    }
}

impl Table {
    fn bucket(&mut self, who: &Who, callers_max: usize, now: Instant) -> &mut Instant {
        let is_full = self.full_at.len() >= callers_max && !self.full_at.contains_key(who);
        if is_full && self.sweep_at.is_none_or(|at| at <= now) {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.sweep_at = Some(now + SWEEP_INTERVAL);
        }
        if self.full_at.len() >= callers_max && !self.full_at.contains_key(who) {
            return self.others_full_at.get_or_insert(now);
        }
        self.full_at.entry(who.clone()).or_insert(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: Rates = Rates {
        address: Rate { per_second: 10, burst: 3 },
        key: Rate { per_second: 0, burst: 0 },
        secret: Rate { per_second: 1, burst: 1 },
    };

    fn address(last: u8) -> Who {
        Who::address(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let buckets = Buckets::new();
        let start = Instant::now();
        let take =
            |who: &Who, ms: u64| buckets.take(who, &RATES, start + Duration::from_millis(ms));
        for _ in 0..3 {
            assert_eq!(take(&address(1), 0), Ok(()));
        }
        assert_eq!(take(&address(1), 0), Err(Duration::from_millis(100)));
        assert_eq!(take(&address(1), 99), Err(Duration::from_millis(1)));
        assert_eq!(take(&address(1), 100), Ok(()));
        assert_eq!(take(&address(2), 100), Ok(()), "another's own bucket");
        let passed = (0..2_000).filter(|ms| take(&address(1), 10_000 + ms).is_ok()).count();
        assert!((22..=23).contains(&passed), "{passed} in two seconds");
        for _ in 0..100 {
            assert_eq!(take(&Who::Key("web".into()), 0), Ok(()), "no limit");
        }
    }

    #[test]
    fn a_flood_of_addresses_shares_one_bucket_and_those_known_keep_theirs() {
        let buckets = Buckets::with_room_for(2);
        let start = Instant::now();
        let take = |last: u8, ms: u64| {
            buckets.take(&address(last), &RATES, start + Duration::from_millis(ms)).is_ok()
        };
        assert!(take(1, 0) && take(2, 0));
        let passed = (3..100).filter(|last| take(*last, 0)).count();
        assert_eq!(passed, 3, "one burst for all the others");
        assert!(take(1, 1), "known before the flood");
        assert_eq!(buckets.table.lock().unwrap().full_at.len(), 2);
        assert!(take(50, 1_500), "idle buckets make room");
    }
}
