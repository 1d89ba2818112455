//! What there is to tell of a Bundle: how far it is, what became of it, who is in the way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::bundle::{RolloutOutcome, RolloutProgress, TargetRef};

use super::action::Action;
use super::bundle_targets::{BundleTargets, RolloutContext};

/// A rollout that takes longer than this says how far it is, and then every [`PROGRESS_EVERY`].
const PROGRESS_DELAY: Duration = Duration::from_secs(1);

/// How often a Bundle's status says how far a rollout is, and how often it says anew what fails.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// What happened since the last report.
#[derive(Default)]
pub(super) struct PendingReport {
    /// What began it, in words.
    cause: Option<String>,
    /// Whether the Bundle was decided anew.
    decided: bool,
    /// How many objects were written or let go.
    written: usize,
    /// When the next progress is due.
    progress_due: Option<Duration>,
    /// When what fails may be told anew.
    failures_due: Duration,
    /// The start of a rollout that was said to be held back.
    pub(super) reported_hold: Option<Duration>,
    /// Whether the content has not changed for long, after it did so too often.
    pub(super) settled: bool,
    /// Targets that others keep changing, and that were not spoken of yet.
    pub(super) contested: Vec<TargetRef>,
    /// Objects of others that requests on their way complete.
    pub(super) completing: BTreeSet<TargetRef>,
    /// Objects of others that were completed, and that were not spoken of yet.
    completed: Vec<TargetRef>,
}

impl PendingReport {
    /// A rollout that was held back starts: what it takes is counted from now.
    pub(super) fn on_rollout_started(&mut self) {
        (self.progress_due, self.reported_hold) = (None, None);
    }

    /// The Bundle is decided anew: what follows is a rollout.
    pub(super) fn on_decided(&mut self, now: Duration) {
        self.decided = true;
        self.progress_due.get_or_insert(now + PROGRESS_DELAY);
    }
}

impl BundleTargets {
    /// Remembers what began the work that is now done.
    pub(super) fn set_cause(&mut self, cause: impl FnOnce() -> String) {
        if self.pending_report.cause.is_none() {
            self.pending_report.cause = Some(cause());
        }
    }

    /// Others have changed a target, since or while it was written; when it may be written again.
    pub(super) fn next_heal_at(&mut self, ctx: RolloutContext<'_>, target: &TargetRef) -> Duration {
        let heal = self.contention.next_heal(target, ctx.now);
        if heal.is_contested {
            self.pending_report.contested.push(target.clone());
        }
        heal.at
    }

    /// Others change a target faster than it can be written; who, in words.
    pub(super) fn record_lost_write(&mut self, ctx: RolloutContext<'_>, target: &TargetRef) -> String {
        if self.contention.record_loss(target, ctx.now) {
            self.pending_report.contested.push(target.clone());
        }
        let TargetRef { kind, namespace, .. } = target;
        let who = self.conflicting_manager(target).map_or_else(String::new, |(manager, key)| {
            format!(": field manager {manager:?} keeps writing its key {key:?}")
        });
        format!(
            "failed to patch {} {namespace}/{}: it changes faster than it can be written{who}",
            kind.as_str(),
            self.name
        )
    }

    /// Why a target that is healed again and again counts as failing, and the cure.
    fn contested_message(&self, target: &TargetRef) -> String {
        let TargetRef { kind, namespace, .. } = target;
        let who = self.contention.conflicting_manager(target).map_or_else(
            || "somebody keeps changing or deleting it".to_owned(),
            |(manager, key)| format!("field manager {manager:?} keeps writing its key {key:?}"),
        );
        format!(
            "failed to patch {} {namespace}/{}: {who}: stop that writer, or have it write another object",
            kind.as_str(),
            self.name
        )
    }

    /// Why an immutable target stays as it is, after what the API server said of it.
    pub(super) fn immutable_message(&self, target: &TargetRef, cause: String) -> String {
        let payload = self.desired.as_ref().and_then(|wanted| wanted.payloads.get(&target.kind));
        let is_wanted = |key: &String| payload.is_some_and(|payload| payload.values.contains_key(key));
        let entry = self.index.get(target).filter(|entry| entry.metadata.is_target_of(&self.name));
        match entry.and_then(|entry| entry.metadata.extra_foreign_key(is_wanted)) {
            Some((manager, key)) => {
                format!("{cause}; it is not deleted because it holds key {key:?} of field manager {manager:?}")
            }
            None => cause,
        }
    }

    /// Why a target that was deleted to be created anew is still there, and the cure.
    pub(super) fn finalizer_message(&self, target: &TargetRef) -> String {
        let TargetRef { kind, namespace, .. } = target;
        format!(
            "failed to delete {} {namespace}/{}: others made it immutable or took it over, and its finalizers keep it: remove them, and it is written anew",
            kind.as_str(),
            self.name
        )
    }

    /// What fails, sorted by place, with its cause: what cannot be written, and what others keep changing.
    pub(super) fn failures(&self, ctx: RolloutContext<'_>) -> BTreeMap<TargetRef, String> {
        let contested = self.contention.contested().filter(|target| self.is_desired(ctx, target));
        let mut failures: BTreeMap<_, _> =
            contested.map(|target| (target.clone(), self.contested_message(target))).collect();
        failures.extend(self.tasks.failures().map(|(target, cause)| (target.clone(), cause.to_string())));
        failures
    }

    /// Why a target that was written is not as it should be.
    pub(super) fn mutated_message(&self, target: &TargetRef) -> String {
        let TargetRef { kind, namespace, .. } = target;
        format!(
            "{} {namespace}/{} was written and is not what was written: a mutating webhook or policy changes it on its way: exempt objects that carry the label {}",
            kind.as_str(),
            self.name,
            crate::api::BUNDLE_LABEL
        )
    }

    /// An object was written; if that completed what was of others, it is to be told.
    pub(super) fn note_completed(&mut self, target: &TargetRef) {
        if self.pending_report.completing.remove(target) {
            self.pending_report.completed.push(target.clone());
        }
    }

    /// An order of this Bundle changed the cluster.
    pub(super) fn count_write(&mut self) {
        self.pending_report.written += 1;
    }

    /// Who takes keys of a target from us.
    pub(super) fn conflicting_manager(&self, target: &TargetRef) -> Option<(String, String)> {
        let payload = self.desired.as_ref()?.payloads.get(&target.kind)?;
        let (manager, key) = self.index.get(target)?.metadata.conflicting_manager(payload.values.keys())?;
        Some((manager.to_owned(), key.to_owned()))
    }

    /// What there is to tell now.
    pub(super) fn next_report(&mut self, ctx: RolloutContext<'_>) -> Option<Action> {
        // Of a Bundle that is gone there is nothing to tell.
        if !self.exists {
            return None;
        }
        let now = ctx.now;
        self.tasks.failures_changed |= self.contention.update_contested(now);
        if let Some(target) = self.pending_report.contested.pop() {
            let conflicting_manager =
                self.conflicting_manager(&target).or_else(|| self.contention.conflicting_manager(&target).cloned());
            return Some(Action::Contested { bundle: self.name.clone(), conflicting_manager, target });
        }
        if let Some(target) = self.pending_report.completed.pop() {
            return Some(Action::Completed { bundle: self.name.clone(), target });
        }
        let held = self.content_while_held().and_then(|_| self.rollouts.changes.due());
        if let Some(unstable) =
            self.unstable(ctx).filter(|_| held.is_some() && self.pending_report.reported_hold != held)
        {
            self.pending_report.reported_hold = held;
            return Some(Action::Held { bundle: self.name.clone(), unstable });
        }
        if !self.tasks.is_idle() {
            // How far it is would be of two contents.
            if held.is_some() {
                return None;
            }
            let due = self.pending_report.progress_due.filter(|due| *due <= now && self.pending_report.decided)?;
            self.pending_report.progress_due = Some(due.max(now) + PROGRESS_INTERVAL);
            return Some(Action::Progress { bundle: self.name.clone(), progress: self.progress() });
        }
        let (decided, written, failures_due) =
            (self.pending_report.decided, self.pending_report.written, self.pending_report.failures_due);
        let failing = self.tasks.failures().next().is_some() || self.contention.contested().next().is_some();
        let is_due = decided
            || written > 0
            || self.pending_report.settled
            || (self.tasks.failures_changed && (now >= failures_due || !failing));
        // What is held back is not written: only what fails is told.
        let is_due = is_due && (held.is_none() || (failing && self.tasks.failures_changed && now >= failures_due));
        if self.desired.is_none() || !is_due {
            return None;
        }
        self.tasks.failures_changed = false;
        let report = std::mem::take(&mut self.pending_report);
        self.pending_report.reported_hold = held;
        let cause = report.cause.unwrap_or_else(|| "time passed".to_owned());
        self.pending_report.failures_due = now + PROGRESS_INTERVAL;
        let outcome = RolloutOutcome {
            namespaces: self.reached,
            written,
            rolled_out: decided,
            failures: self.failures(ctx).into_iter().collect(),
            unstable: self.unstable(ctx),
        };
        Some(Action::Report { bundle: self.name.clone(), outcome, cause })
    }

    fn progress(&self) -> RolloutProgress {
        let behind: BTreeSet<&Arc<str>> = self.tasks.targets().map(|target| &target.namespace).collect();
        RolloutProgress { done: self.reached.saturating_sub(behind.len()), namespaces: self.reached }
    }

    /// When time alone gives it something to do.
    pub(super) fn next_wakeup(&self) -> Option<Duration> {
        if !self.exists {
            return self.tasks.next_wakeup();
        }
        let held = self.content_while_held().is_some();
        let progress =
            self.pending_report.progress_due.filter(|_| self.pending_report.decided && !self.tasks.is_idle() && !held);
        let failing = !held || self.tasks.failures().next().is_some() || self.contention.contested().next().is_some();
        let failures = (self.desired.is_some() && self.tasks.failures_changed && self.tasks.is_idle() && failing)
            .then_some(self.pending_report.failures_due);
        let changes = &self.rollouts.changes;
        let rollout = self.desired.as_ref().and_then(|_| changes.due().or_else(|| changes.expires_at()));
        let contested = self.desired.as_ref().and_then(|_| self.contention.next_wakeup());
        [self.tasks.next_wakeup(), self.listing.next_wakeup(), progress, failures, contested, rollout]
            .into_iter()
            .flatten()
            .min()
    }
}
