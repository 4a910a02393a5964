//! What a rule has to say.

use serde::Serialize;

use crate::change::knob::Knob;
use crate::facts::Facts;
use crate::host::Missing;
use crate::needs::Needs;
use crate::profile::{Profile, Wishes};

/// All that a rule may look at.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The host.
    pub facts: &'a Facts,
    /// What the relay needs.
    pub needs: &'a Needs,
    /// What is wanted.
    pub profile: Profile,
}

impl Scene<'_> {
    /// What the profile wants.
    #[must_use]
    pub fn wishes(&self) -> Wishes {
        self.profile.wishes()
    }
}

/// How it stands with something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Fine,
    /// There is no such thing on this host, or it does not matter here.
    NotHere,
    /// It cannot be told, and why is said.
    Unknown,
    /// It could be better.
    Advice,
    /// The relay does not work, or not as its configuration says.
    Breaks,
}

/// One thing to set, and to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What.
    pub knob: Knob,
    /// To what.
    pub to: String,
}

/// What a rule says of one thing: a whole item, or one interface of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The interface or whatever the item has several of; empty if it has one.
    pub subject: String,
    /// How it stands.
    pub state: State,
    /// How it is.
    pub now: String,
    /// How it should be.
    pub wanted: String,
    /// A sentence on this host's case; may be empty.
    pub remark: String,
    /// What would make it right.
    pub changes: Vec<Change>,
    /// What a person would do where no change can be made from here.
    pub by_hand: String,
}

impl Finding {
    fn new(state: State, now: String, wanted: String) -> Self {
        let (subject, remark, by_hand) = Default::default();
        Self { subject, state, now, wanted, remark, changes: Vec::new(), by_hand }
    }

    /// As it should be.
    #[must_use]
    pub fn fine(now: impl Into<String>) -> Self {
        let now = now.into();
        Self::new(State::Fine, now.clone(), now)
    }

    /// Not on this host, or of no matter here: why.
    #[must_use]
    pub fn not_here(why: impl Into<String>) -> Self {
        Self::new(State::NotHere, "-".to_owned(), "-".to_owned()).remark(why)
    }

    /// It cannot be told.
    #[must_use]
    pub fn unknown(missing: &Missing) -> Self {
        Self::new(State::Unknown, "?".to_owned(), "-".to_owned()).remark(missing.to_string())
    }

    /// It could be better.
    #[must_use]
    pub fn advice(now: impl Into<String>, wanted: impl Into<String>) -> Self {
        Self::new(State::Advice, now.into(), wanted.into())
    }

    /// It breaks the relay.
    #[must_use]
    pub fn breaks(now: impl Into<String>, wanted: impl Into<String>) -> Self {
        Self::new(State::Breaks, now.into(), wanted.into())
    }

    /// Of what this is said.
    #[must_use]
    pub fn of(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }

    /// A sentence on this host's case.
    #[must_use]
    pub fn remark(mut self, remark: impl Into<String>) -> Self {
        self.remark = remark.into();
        self
    }

    /// What makes it right.
    #[must_use]
    pub fn change(mut self, knob: Knob, to: impl Into<String>) -> Self {
        self.changes.push(Change { knob, to: to.into() });
        self
    }

    /// What a person does.
    #[must_use]
    pub fn by_hand(mut self, text: impl Into<String>) -> Self {
        self.by_hand = text.into();
        self
    }
}
