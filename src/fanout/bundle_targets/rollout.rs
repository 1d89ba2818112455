//! A content of a Bundle that replaces the one before, at once or later.
//!
//! While a rollout is held back, targets stay as they were written last. All others get the newest content: those in
//! new namespaces, those that others have changed, and those that the rollout before has not reached.

use std::sync::Arc;
use std::time::Duration;

use crate::bundle::{Desired, Diff, ObjectKind, TargetRef, Unstable};
use crate::fanout::action::{Order, TargetRequest};
use crate::fanout::context::RolloutContext;
use crate::fanout::damping::Budget;
use crate::fanout::index::ByteCheck;
use crate::fanout::listing::DeferredDecision;

use super::{BundleTargets, siblings};

impl BundleTargets {
    /// Rolls out a content that was decided, or holds it back while the content changes too often, unless it is urgent.
    pub(in crate::fanout) fn roll_out(
        &mut self,
        ctx: RolloutContext<'_>,
        decision: DeferredDecision,
        budget: &mut Budget,
    ) {
        let DeferredDecision { desired, cause, urgent } = decision;
        if self.rollouts.record_content(self.desired.as_ref(), &desired, &cause, ctx.now, budget) {
            // A report that could not be published may have to be repeated.
            self.pending_report.forget_hold();
        }
        self.set_cause(|| cause);
        if urgent {
            self.rollouts.start_at_once(ctx.now, &self.id, budget);
        }
        if self.rollouts.next_start().is_none() || self.rollouts.start_due(ctx.now, &self.id, budget) {
            self.start(&desired);
        }
        self.set_desired(ctx, Some(desired));
    }

    /// Starts the rollout that is due, and forgets changes that were long ago.
    pub(super) fn start_due(&mut self, ctx: RolloutContext<'_>, budget: &mut Budget) {
        let Some(desired) = self.desired.clone() else { return };
        if self.rollouts.start_due(ctx.now, &self.id, budget) {
            self.start(&desired);
            self.pending_report.on_rollout_started();
            self.set_desired(ctx, Some(desired));
        } else if self.rollouts.expire(ctx.now) {
            self.pending_report.on_settled();
        }
    }

    fn start(&mut self, desired: &Arc<Desired>) {
        let before = self.rollouts.replace_content(desired).filter(|_| self.desired.is_some());
        for payload in desired.payloads.values().filter(|payload| payload.partial) {
            let same = before.as_ref().and_then(|before| before.payloads.get(&payload.kind));
            if same.is_none_or(|same| same.values != payload.values) {
                self.index.mark_kind_unverified(payload.kind);
            }
        }
    }

    /// The content that stays in place while the rollout of the newest one is held back.
    pub(super) fn content_while_held(&self) -> Option<&Arc<Desired>> {
        self.rollouts.content_while_held(self.desired.as_ref()?)
    }

    /// The start of the next rollout, if the newest content is held back until then.
    pub(in crate::fanout) fn held_until(&self) -> Option<Duration> {
        self.content_while_held().and_then(|_| self.rollouts.next_start())
    }

    /// Returns whether the diff of a target waits for the next rollout.
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

    /// The number of targets that wait for the next rollout.
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

    /// Returns whether an order is part of a rollout, and no heal or new target.
    pub(in crate::fanout) fn is_bulk(&self, order: &Order) -> bool {
        let request = &order.request;
        let urgent = self.tasks.get(&order.target).is_some_and(|task| task.urgent);
        request.carries_content() && *request != TargetRequest::Create && !urgent
    }

    /// Returns the rate at which the content changes, if that is too often.
    pub(super) fn unstable(&self, ctx: RolloutContext<'_>) -> Option<Unstable> {
        self.rollouts.unstable(ctx.now, self.content_while_held().is_some())
    }
}
