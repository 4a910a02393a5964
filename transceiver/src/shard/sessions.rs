//! A shard's sessions, and the three ways to find one: by ufrag, by client, by name.

use crate::call::CallId;
use crate::session::{Path, Session};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use wire::frame::Client;
use wire::hint::{SessionTag, Ufrag};

/// How long a client must have been silent in one call before its address can be another's. Clients
/// check every six seconds at the latest (RFC 7675 section 5.1), also if they have nothing to say; one
/// that ends a call says so, which frees the address at once.
const ADDRESS_KEPT: Duration = Duration::from_secs(8);

/// A client as one relay sees it. Two relays may see different clients at the same address, behind
/// a NAT that reuses its ports for other destinations.
type Caller = (IpAddr, Client);

#[derive(Default)]
pub(super) struct Sessions {
    all: HashMap<SessionTag, Box<Session>>,
    by_ufrag: HashMap<[u8; wire::hint::UFRAG_CHARS], SessionTag>,
    by_caller: HashMap<Caller, SessionTag>,
    by_id: HashMap<CallId, SessionTag>,
}

fn caller(path: &Path) -> Caller {
    (path.relay.ip(), path.client)
}

impl Sessions {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn contains(&self, tag: SessionTag) -> bool {
        self.all.contains_key(&tag)
    }

    pub(super) fn insert(&mut self, tag: SessionTag, id: CallId, session: Session) {
        self.by_ufrag.insert(*session.credentials().ufrag.as_bytes(), tag);
        self.by_id.insert(id, tag);
        self.all.insert(tag, Box::new(session));
    }

    /// Forgets a session and every way to it.
    pub(super) fn remove(&mut self, tag: SessionTag, id: CallId) -> Option<Box<Session>> {
        let session = self.all.remove(&tag)?;
        self.by_ufrag.remove(session.credentials().ufrag.as_bytes());
        self.by_id.remove(&id);
        for path in session.paths() {
            if self.by_caller.get(&caller(path)) == Some(&tag) {
                self.by_caller.remove(&caller(path));
            }
        }
        Some(session)
    }

    pub(super) fn get(&mut self, tag: SessionTag) -> Option<&mut Session> {
        self.all.get_mut(&tag).map(|session| &mut **session)
    }

    pub(super) fn tags(&self) -> Vec<SessionTag> {
        self.all.keys().copied().collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.all.values().map(|session| &**session)
    }

    pub(super) fn with_id(&self, id: CallId) -> Option<SessionTag> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn with_ufrag(&self, ufrag: &[u8]) -> Option<SessionTag> {
        let ufrag: [u8; wire::hint::UFRAG_CHARS] = ufrag.try_into().ok()?;
        self.by_ufrag.get(&ufrag).copied()
    }

    pub(super) fn with_path(&self, path: &Path) -> Option<SessionTag> {
        self.by_caller.get(&caller(path)).copied()
    }

    /// This client has shown that it belongs to this session. Whoever has a call can show that from
    /// anywhere, with somebody else's address on the packet; so an address stays with the call that
    /// it was heard in, until it has been silent there for a while. False if it stays.
    pub(super) fn bind(&mut self, path: &Path, tag: SessionTag, now: Instant) -> bool {
        let holder = self.with_path(path).filter(|holder| *holder != tag);
        let holder = holder.and_then(|holder| self.all.get(&holder));
        if let Some(heard_at) = holder.and_then(|holder| holder.heard_at(path))
            && now.saturating_duration_since(heard_at) < ADDRESS_KEPT
        {
            return false;
        }
        self.by_caller.insert(caller(path), tag);
        true
    }

    /// The session does not know this place any more.
    pub(super) fn unbind(&mut self, path: &Path, tag: SessionTag) {
        if self.by_caller.get(&caller(path)) == Some(&tag) {
            self.by_caller.remove(&caller(path));
        }
    }

    /// The session has another user name from now on.
    pub(super) fn rename(&mut self, tag: SessionTag, old: &Ufrag, new: &Ufrag) {
        self.by_ufrag.remove(old.as_bytes());
        self.by_ufrag.insert(*new.as_bytes(), tag);
    }

    /// Panics unless every way leads to a session. For tests.
    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn check(&self) {
        assert_eq!(self.by_ufrag.len(), self.all.len());
        assert_eq!(self.by_id.len(), self.all.len());
        for (caller_, tag) in &self.by_caller {
            let session = self.all.get(tag).expect("callers of living sessions only");
            assert!(session.paths().any(|path| caller(path) == *caller_), "{caller_:?}");
        }
    }
}
