//! `docs/metrics-transceiver.md`, generated from the declarations, so that the documentation cannot
//! lag behind.

use super::declare;
use crate::call::{CallState, EndReason};
use crate::shard::Counters;
use service::metrics::{cell, markdown};

const HEAD: &str = "\
<!-- Generated from transceiver/src/control/metrics, shard/counters and signaling/counters. To renew it:
     RINGWAY_RENEW_DOCS=1 cargo test -p ringway-transceiver --lib metrics::document -->

# Metrics of the transceiver

The transceiver shows them on `http.listen` (default `http://127.0.0.1:9479/metrics`) in the
Prometheus text format. Units are base units: seconds, bytes, ratios of one. Every series is there from
the start, with zero. `shard` is the shard's number, from 0. Sums over shards are for the scraper to
build: `sum without (shard) (…)`.

";

const DROPS: &str = "
## Reasons for drops

The `reason` label of `transceiver_drops_total`. Nothing is dropped without one of them, and nothing
is logged per packet.

";

/// The text of the page.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str(&markdown(&declare::all()));
    page.push_str(DROPS);
    page.push_str("| reason | meaning |\n|---|---|\n");
    for (reason, meaning) in Counters::DROPS {
        page.push_str(&format!("| `{reason}` | {} |\n", cell(meaning)));
    }
    let states = CallState::ALL.map(|state| format!("`{}`", state.as_str())).join(", ");
    let ends = EndReason::ALL.map(|reason| format!("`{}`", reason.as_str())).join(", ");
    page.push_str(&format!(
        "\n## States and ends\n\n`state` of `transceiver_sessions` is one of {states}; `reason` of \
         `transceiver_sessions_ended_total` one of {ends}.\n"
    ));
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_as_generated() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics-transceiver.md");
        if std::env::var_os("RINGWAY_RENEW_DOCS").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap_or_default() == page(),
            "docs/metrics-transceiver.md is stale; run: \
             RINGWAY_RENEW_DOCS=1 cargo test -p ringway-transceiver --lib metrics::document"
        );
    }
}
