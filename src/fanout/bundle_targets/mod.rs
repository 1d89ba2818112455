//! The targets of one Bundle, and the tasks that bring each to its desired state.

mod diff;
mod observe;
mod order;
mod pending_report;
mod rollout;
mod sync;
mod write_result;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::bundle::{BundleId, Desired, Namespace, ObjectKind, TargetRef};

use super::concurrency_limit::Lane;
use super::contention::ContentionBackoff;
use super::context::RolloutContext;
use super::damping::Budget;
use super::index::TargetIndex;
use super::list_scope::ListScope;
use super::listing::{DeferredDecision, TargetListing};
use super::rollouts::Rollouts;
use super::stats::RolloutStats;
use super::task::Tasks;

pub use pending_report::PROGRESS_INTERVAL;
use pending_report::PendingReport;

/// The reason why a target is compared with its desired state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trigger {
    /// The Bundle was decided.
    Decided,
    /// The namespace of the target has changed.
    Namespace,
    /// The target was changed by others.
    Changed,
    /// The wait of the target is over.
    Due,
}

/// The targets of one Bundle.
pub(super) struct BundleTargets {
    id: BundleId,
    /// Whether the Bundle exists.
    exists: bool,
    /// Whether it is known how the Bundle was deleted.
    deletion_known: bool,
    /// The lists that are still to be made of its targets.
    listing: TargetListing,
    index: TargetIndex,
    tasks: Tasks,
    desired: Option<Arc<Desired>>,
    rollouts: Rollouts,
    queues: BTreeMap<Lane, VecDeque<TargetRef>>,
    contention: ContentionBackoff,
    /// The number of namespaces that the Bundle reaches.
    reached: usize,
    pending_report: PendingReport,
}

impl BundleTargets {
    pub(super) fn new(id: BundleId) -> Self {
        Self {
            index: TargetIndex::new(id.name().clone()),
            id,
            exists: false,
            deletion_known: false,
            listing: TargetListing::default(),
            tasks: Tasks::default(),
            desired: None,
            rollouts: Rollouts::default(),
            queues: BTreeMap::new(),
            contention: ContentionBackoff::default(),
            reached: 0,
            pending_report: PendingReport::default(),
        }
    }

    /// The Bundle.
    pub(super) fn id(&self) -> &BundleId {
        &self.id
    }

    /// Returns whether the Bundle exists.
    pub(super) fn exists(&self) -> bool {
        self.exists
    }

    /// Returns whether the Bundle is gone, and it is not known yet how it was deleted.
    pub(super) fn awaits_deletion(&self) -> bool {
        !self.exists && !self.deletion_known
    }

    /// Returns whether the Bundle has a desired state.
    pub(super) fn is_decided(&self) -> bool {
        self.desired.is_some()
    }

    /// The number of targets known.
    pub(super) fn target_count(&self) -> usize {
        self.index.len()
    }

    /// The lists of the Bundle's targets.
    pub(super) fn listing(&mut self) -> &mut TargetListing {
        &mut self.listing
    }

    /// The key of the Bundle's target of a kind in a namespace.
    pub(super) fn target_ref(&self, kind: ObjectKind, namespace: &Arc<str>) -> TargetRef {
        TargetRef { kind, namespace: namespace.clone(), name: self.id.name().clone() }
    }

    /// Returns whether the Bundle is gone and nothing is on its way.
    pub(super) fn can_be_dropped(&self) -> bool {
        !self.exists && self.tasks.is_empty() && (self.deletion_known || self.index.len() == 0)
    }

    /// Handles that the Bundle exists again.
    pub(super) fn on_bundle_added(&mut self, ctx: RolloutContext<'_>) {
        (self.exists, self.deletion_known) = (true, false);
        self.index.clear();
        self.rollouts = Rollouts::default();
        self.set_desired(ctx, None);
    }

    /// Handles that the Bundle is gone: only orders in flight, and the objects of others that it completed, are kept.
    pub(super) fn on_bundle_removed(&mut self, ctx: RolloutContext<'_>) {
        self.exists = false;
        (self.listing, self.rollouts) = (TargetListing::default(), Rollouts::default());
        self.index.keep_completed();
        self.set_desired(ctx, None);
    }

    /// Handles the deletion of the Bundle. With its uid, the objects that it completed are handed over.
    pub(super) fn on_bundle_deleted(&mut self, ctx: RolloutContext<'_>, uid: Option<&str>) {
        self.deletion_known = true;
        match uid {
            Some(uid) => self.set_desired(ctx, Some(Arc::new(Desired::of_deleted(self.id.name(), uid)))),
            None => self.index.clear(),
        }
    }

    /// Returns whether a target waits for an order in a lane.
    pub(super) fn has_work(&self, lane: Lane) -> bool {
        self.queues.get(&lane).is_some_and(|queue| !queue.is_empty())
    }

    /// Defers a decision until the Bundle's targets are known.
    pub(super) fn defer_desired(&mut self, decision: DeferredDecision) {
        let before = self.listing.set_deferred(None);
        let urgent = decision.urgent || before.is_some_and(|before| before.urgent);
        self.listing.set_deferred(Some(DeferredDecision { urgent, ..decision }));
    }

    /// Takes the deferred decision, unless nothing was decided yet and some targets are still to be listed.
    pub(super) fn take_deferred_desired(&mut self, has_ended: impl Fn(&ListScope) -> bool) -> Option<DeferredDecision> {
        if self.desired.is_none() && self.listing.is_pending(has_ended) {
            return None;
        }
        self.listing.set_deferred(None)
    }

    /// Returns whether targets are still to be listed in any scope.
    pub(super) fn is_unlisted(&self) -> bool {
        self.listing.is_pending(|_| true)
    }

    /// Handles that the Bundle is refused: its targets stay as they are.
    pub(super) fn refuse(&mut self, ctx: RolloutContext<'_>, cause: String) {
        self.listing.set_deferred(None);
        self.set_cause(|| cause);
        self.set_desired(ctx, None);
    }

    /// Replaces the desired state.
    fn set_desired(&mut self, ctx: RolloutContext<'_>, desired: Option<Arc<Desired>>) {
        self.queues.clear();
        let before = std::mem::replace(&mut self.desired, desired);
        let Some(desired) = self.desired.clone() else {
            // What a rollout has not reached does not wait for the next one.
            for target in self.tasks.targets() {
                self.index.mark_unverified(target);
            }
            self.tasks.clear();
            self.pending_report = PendingReport::default();
            self.reached = 0;
            return;
        };
        self.pending_report.on_decided(ctx.now);
        for kind in ObjectKind::ALL {
            if before.as_ref().is_none_or(|before| !same_keys(before, &desired, kind)) {
                self.index.forget_holdings(kind);
            }
        }
        let mut targets: BTreeSet<TargetRef> = self.index.targets().chain(self.tasks.targets().cloned()).collect();
        self.reached = 0;
        for (name, namespace) in ctx.namespaces.iter() {
            if desired.reaches(ctx.settings, name, namespace) {
                self.reached += 1;
                targets.extend(desired.payloads.keys().map(|kind| self.target_ref(*kind, name)));
            }
        }
        // What the rollout before has not reached goes first: the last ones must not wait for ever.
        let (behind, others): (Vec<_>, Vec<_>) =
            targets.into_iter().partition(|target| self.tasks.get(target).is_some());
        for target in behind.iter().chain(&others) {
            self.sync_task(ctx, target, Trigger::Decided);
        }
    }

    /// Handles that a namespace was created, changed or deleted.
    pub(super) fn namespace_changed(
        &mut self,
        ctx: RolloutContext<'_>,
        name: &Arc<str>,
        before: Option<&Namespace>,
        verb: &str,
    ) {
        let Some(desired) = self.desired.clone() else { return };
        let now = ctx.namespaces.active(name);
        let reached = |namespace| desired.reaches(ctx.settings, name, namespace);
        let (was, is) = (before.is_some_and(reached), now.is_some_and(reached));
        self.reached = self.reached + usize::from(is) - usize::from(was);
        if now.is_none() {
            self.contention.forget(name);
            self.tasks.set_failures_changed();
        }
        for kind in ObjectKind::ALL {
            let target = self.target_ref(kind, name);
            if self.sync_task(ctx, &target, Trigger::Namespace) {
                self.set_cause(|| format!("namespace {name} {verb}"));
            }
        }
    }

    /// Starts the rollout if it is due, and resumes the tasks that are due.
    pub(super) fn process_due(&mut self, ctx: RolloutContext<'_>, budget: &mut Budget) {
        self.start_due(ctx, budget);
        while let Some(target) = self.tasks.due(ctx.now) {
            self.sync_task(ctx, &target, Trigger::Due);
        }
    }

    /// The next time at which a rollout, task or report is due.
    pub(super) fn next_wakeup(&self) -> Option<Duration> {
        if !self.exists {
            return self.tasks.next_wakeup();
        }
        let rollout = self.desired.as_ref().and_then(|_| self.rollouts.next_wakeup());
        let contested = self.desired.as_ref().and_then(|_| self.contention.next_wakeup());
        [self.tasks.next_wakeup(), self.listing.next_wakeup(), self.next_report_at(), contested, rollout]
            .into_iter()
            .flatten()
            .min()
    }

    /// The number of targets that wait for an order.
    pub(super) fn queued_count(&self) -> usize {
        self.tasks.queued_count()
    }

    /// Counts the targets by state; `None` if the Bundle is refused or not decided yet, and its targets stay as they
    /// are.
    pub(super) fn rollout_stats(&self, ctx: RolloutContext<'_>) -> Option<RolloutStats> {
        let desired = self.reached * self.desired.as_ref()?.payloads.len();
        // A target that is let go has its task, too, but is not among the desired ones.
        let behind = self.tasks.targets().filter(|target| self.is_desired(ctx, target)).count();
        let held = self.unstable(ctx).and_then(|unstable| unstable.wait);
        Some(RolloutStats {
            desired,
            in_sync: desired.saturating_sub(behind + self.held_back_count(ctx)),
            failing: self.failures(ctx).len(),
            held,
        })
    }
}

/// Returns whether targets of a kind have the same keys under two desired states.
fn same_keys(one: &Desired, other: &Desired, kind: ObjectKind) -> bool {
    let keys = |desired: &Desired| desired.payloads.get(&kind).map(|payload| payload.values.keys().cloned().collect());
    let (one, other): (Option<BTreeSet<String>>, _) = (keys(one), keys(other));
    one == other
}

/// The Bundle's targets of other kinds in the same namespace.
fn siblings(target: &TargetRef) -> impl Iterator<Item = TargetRef> + use<> {
    let (kind, target) = (target.kind, target.clone());
    let others = ObjectKind::ALL.into_iter().filter(move |other| *other != kind);
    others.map(move |kind| TargetRef { kind, ..target.clone() })
}
