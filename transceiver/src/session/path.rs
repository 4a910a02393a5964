//! Which way a session's packets take: where its client was heard, and which of those places it is
//! answered at.

use arrayvec::ArrayVec;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use wire::frame::Client;
use wire::stun::TransactionId;

/// Places that one session remembers. A client has a few: IPv4 and IPv6, Wi-Fi and mobile, each by
/// more than one relay.
pub const PATHS_MAX: usize = 8;
/// Checks that are remembered, to tell a copy from a new one. Clients check every two seconds or so
/// on each path.
const TRANSACTIONS_MAX: usize = 32;
/// A path is silent when nothing came by it for so long: fifty packets of a voice, and longer than
/// the pauses of a client that sends nothing in silence (400 ms).
const SILENCE: Duration = Duration::from_secs(1);

/// One way to a client: the relay worker, and the client as that relay sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// The tunnel address of the relay's worker.
    pub relay: SocketAddr,
    /// Whom the relay is to send to, and from which of its sockets.
    pub client: Client,
}

impl Path {
    /// Whether this is the same client on the same relay. Which of the relay's workers speaks for
    /// it may change at any time.
    pub fn is_same_client(&self, other: &Self) -> bool {
        self.relay.ip() == other.relay.ip() && self.client == other.client
    }
}

/// An authentic check.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check {
    pub(super) transaction: TransactionId,
    /// With USE-CANDIDATE: the client has chosen this path.
    pub(super) nominates: bool,
    pub(super) at: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    path: Path,
    checked_at: Instant,
    heard_at: Instant,
}

/// What a check changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Noted {
    /// Answers take another way from now on.
    pub(super) moved: bool,
    /// Somebody has sent a copy of it from another place.
    pub(super) replayed: bool,
    /// The place that had to make room.
    pub(super) forgotten: Option<Path>,
}

/// The places where a session's client was heard.
#[derive(Debug, Default)]
pub(super) struct Paths {
    known: ArrayVec<Known, PATHS_MAX>,
    /// Which of them is answered at.
    egress: Option<usize>,
    recent: ArrayVec<(TransactionId, usize), TRANSACTIONS_MAX>,
    /// How often `egress` has changed.
    pub(super) changes: u32,
}

impl Paths {
    /// Takes down an authentic check.
    ///
    /// Who holds a copy of a check can send it from anywhere, and it is still authentic. So a
    /// copy never moves the session's media away; it only makes itself known as a place.
    pub(super) fn note(&mut self, path: Path, check: Check) -> Noted {
        let (index, forgotten) = self.index_of(path, check.at);
        let known = &mut self.known[index];
        known.path.relay = path.relay;
        known.heard_at = check.at;
        let mut noted = Noted { forgotten, ..Noted::default() };
        match self.recent.iter().find(|(transaction, _)| *transaction == check.transaction) {
            // The client repeats a check by the same path if the answer was lost.
            Some((_, first)) => noted.replayed = *first != index,
            None => {
                if self.recent.is_full() {
                    self.recent.remove(0);
                }
                self.recent.push((check.transaction, index));
            }
        }
        if !noted.replayed {
            self.known[index].checked_at = check.at;
            noted.moved = self.follow(index, check);
        }
        noted
    }

    /// Decides whether media follows a check.
    fn follow(&mut self, index: usize, check: Check) -> bool {
        let Some(egress) = self.egress else {
            self.egress = Some(index);
            return false;
        };
        if egress == index {
            return false;
        }
        // The client says so; or it has fallen silent where it was, because its address has
        // changed, and it is one of those that do not say so again (Firefox, aiortc).
        let silent = check.at.saturating_duration_since(self.known[egress].heard_at) >= SILENCE;
        if check.nominates || silent {
            self.egress = Some(index);
            self.changes += 1;
            return true;
        }
        false
    }

    /// Something other than a check came from a known place.
    pub(super) fn heard(&mut self, path: Path, now: Instant) {
        if let Some(known) = self.known.iter_mut().find(|known| known.path.is_same_client(&path)) {
            known.heard_at = now;
            known.path.relay = path.relay;
        }
    }

    /// When something last came from a place.
    pub(super) fn heard_at(&self, path: &Path) -> Option<Instant> {
        let known = self.known.iter().find(|known| known.path.is_same_client(path));
        known.map(|known| known.heard_at)
    }

    /// Where all goes but the answers to checks.
    pub(super) fn egress(&self) -> Option<Path> {
        self.egress.map(|index| self.known[index].path)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Path> {
        self.known.iter().map(|known| &known.path)
    }

    fn index_of(&mut self, path: Path, now: Instant) -> (usize, Option<Path>) {
        if let Some(index) = self.known.iter().position(|known| known.path.is_same_client(&path)) {
            return (index, None);
        }
        let new = Known { path, checked_at: now, heard_at: now };
        if !self.known.is_full() {
            self.known.push(new);
            return (self.known.len() - 1, None);
        }
        // The place that was checked longest ago makes room, but never the one in use.
        let oldest = (0..self.known.len())
            .filter(|index| self.egress != Some(*index))
            .min_by_key(|index| self.known[*index].checked_at)
            .unwrap_or_default();
        let forgotten = std::mem::replace(&mut self.known[oldest], new);
        self.recent.retain(|(_, index)| *index != oldest);
        (oldest, Some(forgotten.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::address::Address;
    use wire::frame::{ListenerId, Transport};

    fn path(relay_port: u16, client: u8) -> Path {
        let address = Address::new([192, 0, 2, client].into(), 5000);
        let client = Client { address, listener: ListenerId(0), transport: Transport::Udp };
        Path { relay: ([10, 0, 0, 1], relay_port).into(), client }
    }

    struct Scene {
        paths: Paths,
        now: Instant,
        next: u8,
    }

    impl Scene {
        fn new() -> Self {
            Self { paths: Paths::default(), now: Instant::now(), next: 0 }
        }

        fn check(&mut self, path: Path, nominates: bool) -> Noted {
            self.next += 1;
            self.copy(path, nominates, self.next)
        }

        fn copy(&mut self, path: Path, nominates: bool, number: u8) -> Noted {
            let mut transaction = [0; 12];
            transaction[0] = number;
            self.paths.note(path, Check { transaction, nominates, at: self.now })
        }
    }

    #[test]
    fn the_first_check_is_answered_and_a_nomination_moves() {
        let mut scene = Scene::new();
        assert_eq!(scene.paths.egress(), None);
        assert_eq!(scene.check(path(1, 1), false), Noted::default());
        assert_eq!(scene.paths.egress(), Some(path(1, 1)));
        scene.check(path(1, 2), false);
        assert_eq!(scene.paths.egress(), Some(path(1, 1)), "a backup that was not chosen");
        assert!(scene.check(path(1, 2), true).moved);
        assert_eq!(scene.paths.egress(), Some(path(1, 2)));
        assert!(!scene.check(path(1, 2), true).moved, "already there");
        assert_eq!(scene.paths.changes, 1);
    }

    #[test]
    fn a_check_without_nomination_moves_when_the_old_place_is_silent() {
        let mut scene = Scene::new();
        scene.check(path(1, 1), true);
        scene.now += SILENCE / 2;
        scene.paths.heard(path(1, 1), scene.now);
        scene.now += SILENCE / 2;
        assert!(!scene.check(path(1, 2), false).moved, "media came half a second ago");
        scene.now += SILENCE / 2;
        assert!(scene.check(path(1, 2), false).moved);
    }

    #[test]
    fn a_copied_check_moves_nothing_wherever_it_comes_from() {
        let mut scene = Scene::new();
        scene.check(path(1, 1), true);
        scene.now += 10 * SILENCE;
        let noted = scene.copy(path(1, 66), true, 1);
        assert!(noted.replayed && !noted.moved);
        assert_eq!(scene.paths.egress(), Some(path(1, 1)));
        assert!(!scene.copy(path(1, 1), true, 1).replayed, "the client itself repeats one");
    }

    #[test]
    fn another_worker_of_the_relay_speaks_for_the_same_client() {
        let mut scene = Scene::new();
        scene.check(path(1, 1), true);
        scene.paths.heard(path(2, 1), scene.now);
        assert_eq!(scene.paths.egress(), Some(path(2, 1)));
        assert_eq!(scene.paths.all().count(), 1);
    }

    #[test]
    fn places_are_bounded_and_the_one_in_use_stays() {
        let mut scene = Scene::new();
        scene.check(path(1, 0), true);
        for client in 1..100 {
            scene.now += SILENCE / 100;
            scene.paths.heard(path(1, 0), scene.now);
            let noted = scene.check(path(1, client), false);
            let most = u8::try_from(PATHS_MAX).unwrap();
            let forgotten = (client >= most).then(|| path(1, client - most + 1));
            assert_eq!(noted.forgotten, forgotten, "{client}");
        }
        assert_eq!(scene.paths.all().count(), PATHS_MAX);
        assert_eq!(scene.paths.egress(), Some(path(1, 0)));
    }
}
