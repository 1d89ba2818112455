//! A content of a Bundle that takes the place of the one before, at once or later.
//!
//! While a rollout is held back, targets stay as they were written last. All others get the newest content: those in new
//! namespaces, those that somebody else has changed, and those that the rollout before has not reached.

use std::sync::Arc;

use crate::bundle::{Desired, Diff, ObjectKind, Payload, TargetRef, Unstable};

use super::action::{Order, TargetRequest};
use super::bundle_targets::{BundleTargets, RolloutContext, siblings};
use super::damping::{Budget, Changes};
use super::index::ByteCheck;

/// The rollouts of one Bundle.
#[derive(Default)]
pub(super) struct Rollouts {
    pub(super) changes: Changes,
    /// The content of the latest one.
    content: Option<Arc<Desired>>,
    /// Why the content changed last, in words.
    cause: String,
}

impl BundleTargets {
    /// The Bundle was decided anew: a new content is rolled out, or held back while it changes too often.
    pub(super) fn roll_out(
        &mut self,
        ctx: RolloutContext<'_>,
        desired: Arc<Desired>,
        cause: String,
        budget: &mut Budget,
    ) {
        match self.desired.as_ref().or(self.rollouts.content.as_ref()) {
            None => self.rollouts.changes.record_first(ctx.now),
            // What could not be published may have to be said again.
            Some(before) if has_same_content(before, &desired) => self.pending_report.reported_hold = None,
            Some(_) => {
                self.rollouts.changes.record_change(ctx.now, &budget.damping);
                self.rollouts.cause.clone_from(&cause);
            }
        }
        self.set_cause(|| cause);
        if self.rollouts.changes.due().is_none() || self.rollouts.changes.start(ctx.now, &self.name, budget) {
            self.start(&desired);
        }
        self.set_desired(ctx, Some(desired));
    }

    /// Starts a rollout whose time has come, and forgets changes that were long ago.
    pub(super) fn start_due(&mut self, ctx: RolloutContext<'_>, budget: &mut Budget) {
        let Some(desired) = self.desired.clone() else { return };
        if self.rollouts.changes.start(ctx.now, &self.name, budget) {
            self.start(&desired);
            self.pending_report.on_rollout_started();
            self.set_desired(ctx, Some(desired));
        } else if self.rollouts.changes.expire(ctx.now) {
            self.pending_report.settled = true;
        }
    }

    fn start(&mut self, desired: &Arc<Desired>) {
        let before = self.rollouts.content.replace(desired.clone()).filter(|_| self.desired.is_some());
        for payload in desired.payloads.values().filter(|payload| payload.partial) {
            let same = before.as_ref().and_then(|before| before.payloads.get(&payload.kind));
            if same.is_none_or(|same| same.values != payload.values) {
                self.index.mark_kind_unverified(payload.kind);
            }
        }
    }

    /// The content that the newest one does not take the place of yet.
    pub(super) fn content_while_held(&self) -> Option<&Arc<Desired>> {
        let newest = self.desired.as_ref()?;
        self.rollouts.changes.due()?;
        self.rollouts.content.as_ref().filter(|content| !has_same_content(content, newest))
    }

    /// Whether what a place needs waits for the next rollout.
    pub(super) fn is_held_back(&self, ctx: RolloutContext<'_>, target: &TargetRef, diff: &Diff) -> bool {
        let Some(before) = self.content_while_held().filter(|_| self.tasks.get(target).is_none()) else { return false };
        let had = before.payloads.contains_key(&target.kind);
        match diff {
            // What others changed beside our fields did no harm.
            Diff::Update(_) => self.index.get(target).is_some_and(|entry| match entry.byte_check {
                ByteCheck::Match => true,
                ByteCheck::Unverified => before.diff(target.kind, true, Some(&entry.metadata)).is_none(),
                ByteCheck::Mismatch => false,
            }),
            // A kind of target comes, or goes.
            Diff::Create => !had && siblings(target).any(|sibling| self.index.get(&sibling).is_some()),
            Diff::Release(_) => had && self.reaches(ctx, target),
            Diff::VerifyBytes | Diff::Blocked(_) | Diff::Recreate => false,
        }
    }

    /// How many targets wait for the next rollout.
    pub(super) fn held_back_count(&self, ctx: RolloutContext<'_>) -> usize {
        if self.content_while_held().is_none() {
            return 0;
        }
        let names = ctx.namespaces.iter().map(|(name, _)| name);
        let targets = names.flat_map(|name| ObjectKind::ALL.map(|kind| self.target_ref(kind, name)));
        let is_held_back =
            |target: &TargetRef| self.full_diff(ctx, target).is_some_and(|diff| self.is_held_back(ctx, target, &diff));
        targets.filter(|target| self.is_desired(ctx, target) && is_held_back(target)).count()
    }

    /// Whether an order is part of a rollout, and no heal or new target.
    pub(super) fn is_bulk(&self, order: &Order) -> bool {
        let request = &order.request;
        let urgent = self.tasks.get(&order.target).is_some_and(|task| task.urgent);
        request.carries_content() && *request != TargetRequest::Create && !urgent
    }

    /// How the content changes, if that is too often.
    pub(super) fn unstable(&self, ctx: RolloutContext<'_>) -> Option<Unstable> {
        let changes = &self.rollouts.changes;
        let wait = self.content_while_held().and_then(|_| changes.due()).map(|due| due.saturating_sub(ctx.now));
        changes.waited().then(|| Unstable {
            changes: changes.count(),
            wait,
            over_budget: changes.is_over_budget(),
            cause: self.rollouts.cause.clone(),
        })
    }
}

/// Whether two contents are the same, going by their keys and the hash, which covers all else.
fn has_same_content(one: &Desired, other: &Desired) -> bool {
    let same = |(one, other): (&Payload, &Payload)| {
        one.kind == other.kind && one.hash == other.hash && one.values.keys().eq(other.values.keys())
    };
    one.payloads.len() == other.payloads.len() && one.payloads.values().zip(other.payloads.values()).all(same)
}
