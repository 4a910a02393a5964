//! The rules: pure functions over a host's facts and the relay's needs. `items` lists them all.

pub mod cores;
pub mod interrupts;
pub mod kernel;
pub mod memory;
pub mod network;
pub mod nic;
pub mod process;

use crate::finding::{Finding, Scene, State};
use crate::host::Missing;
use crate::items::{ITEMS, Item, Scope};

/// What all rules say, in the order of the items.
#[must_use]
pub fn judge(scene: &Scene<'_>) -> Vec<(&'static Item, Finding)> {
    let says = |item: &'static Item| {
        (item.rule)(scene).into_iter().map(move |finding| (item, mine(item, scene, finding)))
    };
    ITEMS.iter().flat_map(says).collect()
}

/// In a container nothing of the host can be set: the change becomes something to do elsewhere.
fn mine(item: &Item, scene: &Scene<'_>, mut finding: Finding) -> Finding {
    let wishes = scene.wishes();
    let elsewhere = match item.scope {
        Scope::Hardware => !wishes.owns_hardware,
        Scope::Host => !wishes.owns_host,
        Scope::Here => false,
    };
    if !elsewhere || finding.state < State::Advice {
        return finding;
    }
    let lines: Vec<String> =
        finding.changes.drain(..).map(|change| change.knob.act(&change.to).to_string()).collect();
    if let Some(first) = lines.first() {
        let more = match lines.len() {
            1 => String::new(),
            count => format!(", and {} more like it", count - 1),
        };
        finding.by_hand = format!("on the host: {first}{more}");
    }
    finding
}

/// A text as the number that it must be.
fn number(text: &str) -> Result<u64, Missing> {
    text.parse().map_err(|_| Missing::Failed(format!("\"{text}\" is no number")))
}
