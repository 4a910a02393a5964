//! The front desk: where signaling opens calls and asks about them, whichever shard has them.

use crate::backend::{Backends, Invitation, Unavailable};
use crate::call::{CallId, CallReport};
use crate::ingress::{Ingress, RelayWatch};
use crate::negotiation::{
    Credentials, Fragment, Negotiator, NoCertificate, Offer, OfferError, Renegotiated,
};
use crate::shard::{Desk, NoSuchCall, Opening, Order, Question, Refusal, Reply, TooManyOrders};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use tokio::sync::oneshot;
use wire::hint::{ClusterId, Hint, HintTime, SessionTag, ShardId, TransceiverId};
use wire::keyring::Keyring;

/// What every answer depends on, and may change while calls are going on.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Mints ufrags.
    pub keyring: Arc<Keyring>,
    /// Where the transceiver stands.
    pub cluster: ClusterId,
    /// What relays know it by.
    pub transceiver: TransceiverId,
    /// How long a ufrag makes new flows: the longest call.
    pub hint_lifetime: Duration,
    /// The relays that clients are told, the best one first.
    pub ingress: Arc<[Ingress]>,
    /// Calls that one shard has at most.
    pub calls_per_shard_max: u32,
}

/// A shard, as the front desk sees it.
struct Line {
    desk: Desk,
    /// Calls it has, and those on their way to it. The shard counts down when one ends.
    calls: Arc<AtomicU32>,
    /// Numbers its sessions.
    next_tag: AtomicU32,
}

/// A shard's handles, made where its thread is.
#[derive(Clone)]
pub struct ShardHandles {
    /// Where it is asked.
    pub desk: Desk,
    /// Calls it has. Shared with the shard.
    pub calls: Arc<AtomicU32>,
}

/// A call that somebody wants to begin.
#[derive(Debug)]
pub struct Opened {
    /// Its name.
    pub id: CallId,
    /// The answer to its offer.
    pub answer: String,
}

/// Why a call could not begin.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The offer is at fault.
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// There is no backend of that name.
    #[error("there is no model `{asked}` here; there are: {known}")]
    NoSuchBackend {
        /// What was asked for.
        asked: String,
        /// What there is.
        known: String,
    },
    /// The backend cannot take a call.
    #[error(transparent)]
    Backend(#[from] Unavailable),
    /// No shard takes it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A shard does not answer.
    #[error("a shard does not answer: this transceiver is overloaded or stopping")]
    Silent,
}

/// Why a question about a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AskError {
    /// There is no such call.
    #[error(transparent)]
    NoSuchCall(#[from] NoSuchCall),
    /// The shard does not answer.
    #[error("a shard does not answer: this transceiver is overloaded or stopping")]
    Silent,
}

impl From<TooManyOrders> for AskError {
    fn from(_: TooManyOrders) -> Self {
        Self::Silent
    }
}

/// The front desk. Shared by everything that speaks of calls.
pub struct Calls {
    shards: Vec<Line>,
    negotiator: Negotiator,
    backends: Vec<Box<dyn Backends>>,
    default_backend: usize,
    policy: RwLock<Arc<Policy>>,
    draining: AtomicBool,
    watch: Arc<RelayWatch>,
}

impl Calls {
    /// A desk in front of these shards, which tell the watch what they hear of relays. The first
    /// backend is what clients get that name none.
    pub fn new(
        shards: Vec<ShardHandles>,
        backends: Vec<Box<dyn Backends>>,
        policy: Policy,
        watch: Arc<RelayWatch>,
    ) -> Result<Self, NoCertificate> {
        let line = |handles: ShardHandles| {
            let mut start = [0; 4];
            getrandom::fill(&mut start).expect("the kernel's random source works");
            let ShardHandles { desk, calls } = handles;
            Line { desk, calls, next_tag: AtomicU32::new(u32::from_be_bytes(start)) }
        };
        Ok(Self {
            shards: shards.into_iter().map(line).collect(),
            negotiator: Negotiator::new()?,
            backends,
            default_backend: 0,
            policy: RwLock::new(Arc::new(policy)),
            draining: AtomicBool::new(false),
            watch,
        })
    }

    /// Which backend clients get that name none.
    #[must_use]
    pub fn with_default(mut self, name: &str) -> Self {
        let found = self.backends.iter().position(|backend| backend.name() == name);
        self.default_backend = found.unwrap_or(self.default_backend);
        self
    }

    /// The backends, and whether each is the default.
    pub fn backends(&self) -> impl Iterator<Item = (&dyn Backends, bool)> {
        self.backends
            .iter()
            .enumerate()
            .map(|(place, backend)| (&**backend, place == self.default_backend))
    }

    /// Begins a call: picks a shard, answers the offer, and returns when the shard knows the call.
    /// `received` is when the offer came.
    pub async fn open(
        &self,
        offer: Offer,
        session: Option<serde_json::Value>,
        received: Instant,
    ) -> Result<Opened, OpenError> {
        if self.is_draining() {
            return Err(Refusal::Draining.into());
        }
        let backends = self.backend_for(session.as_ref())?;
        let policy = self.policy();
        let (shard, line, place) = self.reserve(policy.calls_per_shard_max)?;
        let (tag, credentials, expires_at) = line.mint(&policy, shard);
        let id = new_id(shard);
        let now = Instant::now();
        let ingress = self.watch.advertised(&policy.ingress);
        let negotiated = self.negotiator.accept(&offer, &credentials, &ingress, now)?;
        let answer = negotiated.answer.clone();
        let bell = line.desk.board().bell(tag);
        let invitation = Invitation { id, session: session.map(Arc::new), bell, now };
        let opening = Opening {
            id,
            tag,
            credentials,
            expires_at,
            offer,
            negotiated,
            backend: backends.invite(invitation)?,
            backend_name: backends.name(),
            received,
        };
        let (reply, answered) = oneshot::channel();
        let order = Order::Open(Box::new(opening), reply);
        line.desk.give(order).map_err(|TooManyOrders| OpenError::Silent)?;
        // From here on the shard counts it down.
        place.keep();
        let mut unclaimed = Unclaimed { desk: &line.desk, id, claimed: false };
        answered.await.map_err(|_| OpenError::Silent)??;
        unclaimed.claimed = true;
        Ok(Opened { id, answer })
    }

    fn backend_for(&self, session: Option<&serde_json::Value>) -> Result<&dyn Backends, OpenError> {
        let asked =
            session.and_then(|session| session.get("model")).and_then(|model| model.as_str());
        let Some(asked) = asked else { return Ok(&*self.backends[self.default_backend]) };
        let found = self.backends.iter().find(|backend| backend.name() == asked);
        found.map(|backend| &**backend).ok_or_else(|| {
            let known: Vec<_> = self.backends.iter().map(|backend| backend.name()).collect();
            let asked = asked.chars().take(64).collect();
            OpenError::NoSuchBackend { asked, known: known.join(", ") }
        })
    }

    /// The shard with the fewest calls, with a place in it.
    fn reserve(&self, calls_max: u32) -> Result<(ShardId, &Line, Place<'_>), Refusal> {
        let calls = |line: &Line| line.calls.load(Ordering::Relaxed);
        let (index, line) = self
            .shards
            .iter()
            .enumerate()
            .min_by_key(|(_, line)| calls(line))
            .ok_or(Refusal::Full)?;
        let place = Place { calls: &line.calls, kept: false };
        if line.calls.fetch_add(1, Ordering::Relaxed) >= calls_max {
            return Err(Refusal::Full);
        }
        let shard = ShardId(u8::try_from(index).map_err(|_| Refusal::Full)?);
        Ok((shard, line, place))
    }

    /// Answers another offer of a live call.
    pub async fn renegotiate(
        &self,
        id: CallId,
        offer: Offer,
    ) -> Result<Result<Renegotiated, OfferError>, AskError> {
        let credentials = self.fresh_credentials(id)?;
        match self.ask(id, Question::Renegotiate(offer, credentials)).await? {
            Reply::Renegotiated(result) => Ok(result),
            Reply::Report(_) | Reply::HungUp => Err(AskError::Silent),
        }
    }

    /// Answers an ICE restart that comes as a fragment.
    pub async fn restart_ice(
        &self,
        id: CallId,
        fragment: Fragment,
    ) -> Result<Result<Renegotiated, OfferError>, AskError> {
        let credentials = self.fresh_credentials(id)?;
        match self.ask(id, Question::RestartIce(fragment, credentials)).await? {
            Reply::Renegotiated(result) => Ok(result),
            Reply::Report(_) | Reply::HungUp => Err(AskError::Silent),
        }
    }

    fn fresh_credentials(&self, id: CallId) -> Result<Credentials, AskError> {
        let line = self.line(id)?;
        Ok(line.mint(&self.policy(), id.shard()).1)
    }

    /// Ends a call.
    pub async fn hang_up(&self, id: CallId) -> Result<(), AskError> {
        self.ask(id, Question::HangUp).await.map(|_| ())
    }

    /// How a call is.
    pub async fn report(&self, id: CallId) -> Result<Box<CallReport>, AskError> {
        match self.ask(id, Question::Report).await? {
            Reply::Report(report) => Ok(report),
            Reply::HungUp | Reply::Renegotiated(_) => Err(AskError::Silent),
        }
    }

    async fn ask(&self, id: CallId, question: Question) -> Result<Reply, AskError> {
        let (reply, answered) = oneshot::channel();
        self.line(id)?.desk.give(Order::Ask(id, question, reply))?;
        Ok(answered.await.map_err(|_| AskError::Silent)??)
    }

    fn line(&self, id: CallId) -> Result<&Line, NoSuchCall> {
        self.shards.get(usize::from(id.shard().0)).ok_or(NoSuchCall)
    }

    /// Reports of calls on all shards, up to so many of each.
    pub async fn list(&self, each_max: usize) -> Result<Vec<CallReport>, AskError> {
        let mut reports = Vec::new();
        for line in &self.shards {
            let (reply, answered) = oneshot::channel();
            line.desk.give(Order::List(each_max, reply))?;
            reports.extend(answered.await.map_err(|_| AskError::Silent)?);
        }
        Ok(reports)
    }

    /// Calls on each shard.
    pub fn loads(&self) -> Vec<u32> {
        self.shards.iter().map(|line| line.calls.load(Ordering::Relaxed)).collect()
    }

    /// All calls.
    pub fn count(&self) -> u32 {
        self.loads().iter().sum()
    }

    /// Takes no new calls, or takes them again.
    pub fn set_drain(&self, draining: bool) -> Result<(), TooManyOrders> {
        self.draining.store(draining, Ordering::Relaxed);
        self.tell_all(|| Order::Drain(draining))
    }

    /// Whether new calls are refused.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// What answers depend on now.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has answers depend on this from now on, and tells the shards what is theirs of it.
    pub fn set_policy(&self, policy: Policy) -> Result<(), TooManyOrders> {
        self.tell_all(|| Order::Keyring(Arc::clone(&policy.keyring)))?;
        self.tell_all(|| Order::Ingress(Arc::clone(&policy.ingress)))?;
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
        Ok(())
    }

    /// Gives every shard an order.
    pub fn tell_all(&self, order: impl Fn() -> Order) -> Result<(), TooManyOrders> {
        self.shards.iter().try_for_each(|line| line.desk.give(order()))
    }
}

impl Line {
    /// A ufrag and password for a session of this shard, and when the ufrag ends.
    fn mint(&self, policy: &Policy, shard: ShardId) -> (SessionTag, Credentials, u64) {
        let tag = SessionTag::new(self.next_tag.fetch_add(1, Ordering::Relaxed));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let hint = Hint {
            cluster: policy.cluster,
            transceiver: policy.transceiver,
            shard,
            expires: HintTime::after(now, policy.hint_lifetime),
            session: tag,
        };
        let (ufrag, pwd) = policy.keyring.mint(hint);
        let expires_at = now.saturating_add(policy.hint_lifetime).as_secs();
        (tag, Credentials { ufrag, pwd }, expires_at)
    }
}

fn new_id(shard: ShardId) -> CallId {
    let mut random = [0; 14];
    getrandom::fill(&mut random).expect("the kernel's random source works");
    CallId::new(shard, random)
}

/// A call that is being opened: if whoever asked for it goes away, it is ended again.
struct Unclaimed<'a> {
    desk: &'a Desk,
    id: CallId,
    claimed: bool,
}

impl Drop for Unclaimed<'_> {
    fn drop(&mut self) {
        if !self.claimed {
            // If the queue is full, the shard gives the call up when no client comes.
            let _ = self.desk.give(Order::Ask(self.id, Question::HangUp, oneshot::channel().0));
        }
    }
}

/// A place in a shard, given back if the call does not come about.
struct Place<'a> {
    calls: &'a AtomicU32,
    kept: bool,
}

impl Place<'_> {
    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.calls.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
