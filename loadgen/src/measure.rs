//! What is measured, as plain values: latencies twice over, the fate of every packet, the phases of
//! a set-up, and how well the generator itself kept to its schedule.

mod closed_loop;
mod latency;
mod ledger;
mod measurement;
mod stream;

pub use closed_loop::ClosedLoop;
pub use latency::{Latencies, Summary, histogram, record};
pub use ledger::{Arrival, Ledger, Verdict};
pub(crate) use measurement::share;
pub use measurement::{Counts, Generator, Measurement};
pub use stream::{Echoed, Stream};

/// Nanoseconds of any clock that only goes forwards.
pub type Nanoseconds = u64;

/// A millisecond.
pub const MILLISECOND: Nanoseconds = 1_000_000;
/// A second.
pub const SECOND: Nanoseconds = 1_000_000_000;

/// A duration as nanoseconds.
#[must_use]
pub fn nanoseconds(duration: std::time::Duration) -> Nanoseconds {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds as milliseconds, for people.
#[must_use]
pub fn milliseconds(value: Nanoseconds) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "exact up to 104 days")]
    let value = value as f64;
    value / 1e6
}
