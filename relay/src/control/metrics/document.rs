//! `docs/metrics.md`, generated from the declarations, so that the documentation cannot lag behind.

use super::declare;
use crate::core::DropReason;
use service::metrics::{cell, markdown};

const HEAD: &str = "\
<!-- Generated from relay/src/control/metrics and relay/src/core. To renew it:
     RINGWAY_RENEW_DOCS=1 cargo test -p ringway-relay --lib metrics::document -->

# Metrics of the relay

The relay shows them on `http.listen` (default `http://127.0.0.1:9478/metrics`) in the Prometheus text
format. Units are base units: seconds, bytes, ratios of one. Every series is there from the start,
with zero; only those of shards (`relay_peer_…`) come and go with the shards. `worker` is the worker's
number, from 0. Sums over workers are for the scraper to build: `sum without (worker) (…)`.

";

const DROPS: &str = "
## Reasons for drops

The `reason` label of `relay_drops_total`. Nothing is dropped without one of them, and nothing is
logged per packet.

";

/// The text of the page.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str(&markdown(&declare::all()));
    page.push_str(DROPS);
    page.push_str("| reason | meaning |\n|---|---|\n");
    for reason in DropReason::ALL {
        page.push_str(&format!("| `{}` | {} |\n", reason.as_str(), cell(reason.meaning())));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_as_generated() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        if std::env::var_os("RINGWAY_RENEW_DOCS").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap_or_default() == page(),
            "docs/metrics.md is stale; run: \
             RINGWAY_RENEW_DOCS=1 cargo test -p ringway-relay --lib metrics::document"
        );
    }
}
