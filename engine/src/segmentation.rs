//! When to stop merging datagrams into UDP GSO sends.
//!
//! `EIO` says that the way out cannot be segmented at all (an IPsec policy; before Linux 6.11 a
//! device without checksum offload): off at once. `EINVAL` and `EMSGSIZE` may be about this one
//! destination, whose path MTU is below the segment size; anybody can have such a path, so one of
//! them must not turn GSO off for everybody. But eight flushes in a row in which nothing else came of it
//! mean that it is the socket, and then GSO only costs a second send each time.

use nix::errno::Errno;

use crate::link::Link;
use crate::outbox::Outbox;

const FRUITLESS_FLUSHES_MAX: u8 = 8;

#[derive(Debug, Clone, Copy, Default)]
struct LinkState {
    sent: bool,
    refused: bool,
    impossible: bool,
    fruitless_flushes: u8,
}

/// Keeps account of GSO sends per link.
#[derive(Debug)]
pub(crate) struct Segmentation {
    links: Box<[LinkState]>,
}

impl Segmentation {
    pub(crate) fn new(links: usize) -> Segmentation {
        Segmentation { links: vec![LinkState::default(); links].into() }
    }

    /// Whether an error means "not as a GSO send", so that the datagrams should go one by one.
    pub(crate) fn is_refusal(error: Errno) -> bool {
        matches!(error, Errno::EIO | Errno::EINVAL | Errno::EMSGSIZE)
    }

    /// A GSO send of this link left.
    pub(crate) fn sent(&mut self, link: Link) {
        self.links[link.index()].sent = true;
    }

    /// A GSO send of this link was refused.
    pub(crate) fn refused(&mut self, link: Link, error: Errno) {
        let state = &mut self.links[link.index()];
        state.refused = true;
        state.impossible |= error == Errno::EIO;
    }

    /// Ends a flush: draws the conclusions.
    pub(crate) fn settle(&mut self, outbox: &mut Outbox) {
        for (index, state) in (0u8..).zip(&mut self.links) {
            if state.sent {
                state.fruitless_flushes = 0;
            } else if state.refused {
                state.fruitless_flushes += 1;
            }
            if state.impossible || state.fruitless_flushes >= FRUITLESS_FLUSHES_MAX {
                outbox.merge(Link(index), false);
                *state = LinkState::default();
            }
            state.sent = false;
            state.refused = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LinkSettings;
    use crate::outbox::OutboxSettings;

    /// Sends left in one flush, errors met in it.
    type Flush = (bool, &'static [Errno]);

    fn merges_after(flushes: &[Flush]) -> bool {
        let mut segmentation = Segmentation::new(1);
        let mut outbox =
            Outbox::new(OutboxSettings::default(), &[LinkSettings::default()]).unwrap();
        for (sent, errors) in flushes {
            if *sent {
                segmentation.sent(Link(0));
            }
            for error in *errors {
                segmentation.refused(Link(0), *error);
            }
            segmentation.settle(&mut outbox);
        }
        let destination = "192.0.2.1:5".parse().unwrap();
        outbox.push(Link(0), destination, &[0; 10]).unwrap();
        outbox.push(Link(0), destination, &[0; 10]).unwrap();
        outbox.runs().len() == 1
    }

    #[test]
    fn what_turns_it_off() {
        const INVALID: Flush = (false, &[Errno::EINVAL, Errno::EMSGSIZE]);
        const GOOD: Flush = (true, &[]);
        let table: &[(&str, Vec<Flush>, bool)] = &[
            ("nothing", vec![], true),
            ("success", vec![GOOD; 100], true),
            ("EIO once", vec![GOOD, (true, &[Errno::EIO])], false),
            ("one narrow path", vec![INVALID; 7], true),
            ("nothing but refusals", vec![INVALID; 8], false),
            (
                "refusals, then success",
                [vec![INVALID; 7], vec![GOOD], vec![INVALID; 7]].concat(),
                true,
            ),
            ("a narrow path among others", vec![(true, &[Errno::EINVAL]); 100], true),
        ];
        for (name, flushes, expected) in table {
            assert_eq!(merges_after(flushes), *expected, "{name}");
        }
    }
}
