//! The contents of one Bundle over time, and when each of them is rolled out.

use std::sync::Arc;
use std::time::Duration;

use crate::bundle::{BundleId, Desired, Payload, Unstable};

use super::damping::{Budget, Changes};

/// The rollouts of one Bundle.
#[derive(Default)]
pub(super) struct Rollouts {
    changes: Changes,
    /// The content of the latest rollout.
    content: Option<Arc<Desired>>,
    /// Whether a target has got another content since: one that the rollout had not reached, that is new or was healed.
    mixed: bool,
    /// The cause of the content's last change, in words.
    cause: String,
}

impl Rollouts {
    /// Records a decided content, with its cause; `before` is the one decided last. Returns whether the content is as
    /// before.
    pub(super) fn record_content(
        &mut self,
        before: Option<&Arc<Desired>>,
        desired: &Desired,
        cause: &str,
        now: Duration,
        budget: &Budget,
    ) -> bool {
        match before.or(self.content.as_ref()) {
            None => self.changes.record_first(now),
            Some(before) if has_same_content(before, desired) => return true,
            Some(_) => {
                self.changes.record_change(now, &budget.damping);
                cause.clone_into(&mut self.cause);
            }
        }
        false
    }

    /// Starts the rollout that is due, unless the budget has it wait; returns whether one starts.
    pub(super) fn start_due(&mut self, now: Duration, bundle: &BundleId, budget: &mut Budget) -> bool {
        self.changes.start(now, bundle, budget)
    }

    /// Starts the rollout that is waited for, if there is one.
    pub(super) fn start_at_once(&mut self, now: Duration, bundle: &BundleId, budget: &mut Budget) {
        if self.changes.due().is_some() {
            self.changes.start_at_once(now, bundle, budget);
        }
    }

    /// Replaces the content of the latest rollout; returns the one before.
    pub(super) fn replace_content(&mut self, desired: &Arc<Desired>) -> Option<Arc<Desired>> {
        self.mixed = false;
        self.content.replace(desired.clone())
    }

    /// Records that a target gets a content.
    pub(super) fn record_write(&mut self, desired: &Desired) {
        self.mixed |= self.content.as_ref().is_some_and(|content| !has_same_content(content, desired));
    }

    /// Forgets changes that were long ago; returns whether any had waited.
    pub(super) fn expire(&mut self, now: Duration) -> bool {
        self.changes.expire(now)
    }

    /// The start of the next rollout, if one is waited for.
    pub(super) fn next_start(&self) -> Option<Duration> {
        self.changes.due()
    }

    /// The next time at which a rollout starts or changes are forgotten.
    pub(super) fn next_wakeup(&self) -> Option<Duration> {
        self.changes.due().or_else(|| self.changes.expires_at())
    }

    /// Returns the content that stays in place while the rollout of the newest one is held back.
    ///
    /// A change that was undone waits only where targets have got another content meanwhile: they must not be written
    /// twice in one rollout.
    pub(super) fn content_while_held(&self, newest: &Desired) -> Option<&Arc<Desired>> {
        self.changes.due()?;
        self.content.as_ref().filter(|content| self.mixed || !has_same_content(content, newest))
    }

    /// Returns the rate at which the content changes, if that is too often; `held` is whether a rollout is held back.
    pub(super) fn unstable(&self, now: Duration, held: bool) -> Option<Unstable> {
        let wait = self.changes.due().filter(|_| held).map(|due| due.saturating_sub(now));
        self.changes.waited().then(|| Unstable {
            changes: self.changes.count(),
            wait,
            over_budget: self.changes.is_over_budget(),
            cause: self.cause.clone(),
        })
    }
}

/// Returns whether two contents are the same, going by their keys and the hash, which covers all else.
fn has_same_content(one: &Desired, other: &Desired) -> bool {
    let same = |(one, other): (&Payload, &Payload)| {
        one.kind == other.kind && one.hash == other.hash && one.values.keys().eq(other.values.keys())
    };
    one.payloads.len() == other.payloads.len() && one.payloads.values().zip(other.payloads.values()).all(same)
}
