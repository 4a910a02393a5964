//! Reports of calls that have ended: for a while, so that who asks learns why.

use crate::call::{CallId, CallReport};
use std::collections::VecDeque;

const ENDED_MAX: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Ended(VecDeque<CallReport>);

impl Ended {
    pub(super) fn push(&mut self, report: CallReport) {
        if self.0.len() == ENDED_MAX {
            self.0.pop_front();
        }
        self.0.push_back(report);
    }

    pub(super) fn find(&self, id: CallId) -> Option<&CallReport> {
        self.0.iter().rev().find(|report| report.id == id)
    }
}
