//! Pending report on a Bundle: progress and outcome of its rollout, contested and completed targets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::bundle::{RolloutOutcome, RolloutProgress, TargetRef};
use crate::fanout::action::Action;
use crate::fanout::context::RolloutContext;
use crate::fanout::messages;

use super::BundleTargets;

/// The time after which the progress of a rollout is reported, and then every [`PROGRESS_INTERVAL`].
const PROGRESS_DELAY: Duration = Duration::from_secs(1);

/// The interval at which the progress of a rollout is reported, and the least time between two reports of failures.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// The events since the last report.
#[derive(Default)]
pub(super) struct PendingReport {
    /// The event that began the work, in words.
    cause: Option<String>,
    /// Whether the Bundle was decided since.
    decided: bool,
    /// The number of objects written or let go.
    written: usize,
    /// The time of the next progress report.
    progress_due: Option<Duration>,
    /// The earliest time of the next report of failures.
    failures_due: Duration,
    /// The start of the rollout that was last reported as held back.
    reported_hold: Option<Duration>,
    /// Whether the content has not changed for long, after it did so too often.
    settled: bool,
    /// Targets that others keep changing and that were not reported yet.
    contested: Vec<TargetRef>,
    /// Objects of others that requests in flight complete.
    completing: BTreeSet<TargetRef>,
    /// Objects of others that were completed, and that were not reported yet.
    completed: Vec<TargetRef>,
}

impl PendingReport {
    /// Records that a rollout that was held back starts: its progress is due anew.
    pub(super) fn on_rollout_started(&mut self) {
        (self.progress_due, self.reported_hold) = (None, None);
    }

    /// Forgets that a rollout was reported as held back.
    pub(super) fn forget_hold(&mut self) {
        self.reported_hold = None;
    }

    /// Records that the content has not changed for long.
    pub(super) fn on_settled(&mut self) {
        self.settled = true;
    }

    /// Records that a request in flight completes an object of others.
    pub(super) fn on_completing(&mut self, target: &TargetRef) {
        self.completing.insert(target.clone());
    }

    /// Records that the Bundle was decided: a rollout follows.
    pub(super) fn on_decided(&mut self, now: Duration) {
        self.decided = true;
        self.progress_due.get_or_insert(now + PROGRESS_DELAY);
    }
}

impl BundleTargets {
    /// Records the event that began the work since the last report, unless one is known.
    pub(super) fn set_cause(&mut self, cause: impl FnOnce() -> String) {
        if self.pending_report.cause.is_none() {
            self.pending_report.cause = Some(cause());
        }
    }

    /// Records that others have changed a target; returns when it may be written again.
    pub(super) fn next_heal_at(&mut self, ctx: RolloutContext<'_>, target: &TargetRef) -> Duration {
        let heal = self.contention.next_heal(target, ctx.now);
        if heal.is_contested {
            self.pending_report.contested.push(target.clone());
        }
        heal.at
    }

    /// Records that others change a target faster than it can be written; returns the cause of the failure.
    pub(super) fn record_lost_write(&mut self, ctx: RolloutContext<'_>, target: &TargetRef) -> String {
        if self.contention.record_loss(target, ctx.now) {
            self.pending_report.contested.push(target.clone());
        }
        messages::lost_write(target, self.conflicting_manager(target))
    }

    /// The cause of the failure of an immutable target, after the API server's message.
    pub(super) fn immutable_message(&self, target: &TargetRef, cause: String) -> String {
        let payload = self.desired.as_ref().and_then(|desired| desired.payloads.get(&target.kind));
        let is_desired = |key: &String| payload.is_some_and(|payload| payload.values.contains_key(key));
        let entry = self.index.get(target).filter(|entry| entry.metadata.is_target_of(self.id.name()));
        messages::immutable(cause, entry.and_then(|entry| entry.metadata.extra_foreign_key(is_desired)))
    }

    /// The failing targets with their causes: those that cannot be written, and those that others keep changing.
    pub(super) fn failures(&self, ctx: RolloutContext<'_>) -> BTreeMap<TargetRef, String> {
        let contested = self.contention.contested().filter(|target| self.is_desired(ctx, target));
        let message = |target: &TargetRef| messages::contested(target, self.contention.conflicting_manager(target));
        let mut failures: BTreeMap<_, _> = contested.map(|target| (target.clone(), message(target))).collect();
        failures.extend(self.tasks.failures().map(|(target, cause)| (target.clone(), cause.to_string())));
        failures
    }

    /// Records that a target was written; if that completed an object of others, it is to be reported.
    pub(super) fn note_completed(&mut self, target: &TargetRef) {
        if self.pending_report.completing.remove(target) {
            self.pending_report.completed.push(target.clone());
        }
    }

    /// Counts an order that changed the cluster.
    pub(super) fn count_write(&mut self) {
        self.pending_report.written += 1;
    }

    /// The field manager that holds keys of a target that are ours, and one of these keys.
    pub(super) fn conflicting_manager(&self, target: &TargetRef) -> Option<(String, String)> {
        let payload = self.desired.as_ref()?.payloads.get(&target.kind)?;
        let (manager, key) = self.index.get(target)?.metadata.conflicting_manager(payload.values.keys())?;
        Some((manager.to_owned(), key.to_owned()))
    }

    /// The next report that is due.
    pub(in crate::fanout) fn next_report(&mut self, ctx: RolloutContext<'_>) -> Option<Action> {
        // Nothing is reported of a Bundle that is gone.
        if !self.exists {
            return None;
        }
        let now = ctx.now;
        if self.contention.update_contested(now) {
            self.tasks.set_failures_changed();
        }
        if let Some(target) = self.pending_report.contested.pop() {
            let conflicting_manager =
                self.conflicting_manager(&target).or_else(|| self.contention.conflicting_manager(&target).cloned());
            return Some(Action::Contested { bundle: self.id.clone(), conflicting_manager, target });
        }
        if let Some(target) = self.pending_report.completed.pop() {
            return Some(Action::Completed { bundle: self.id.clone(), target });
        }
        let held = self.held_until();
        if let Some(unstable) =
            self.unstable(ctx).filter(|_| held.is_some() && self.pending_report.reported_hold != held)
        {
            self.pending_report.reported_hold = held;
            return Some(Action::Held { bundle: self.id.clone(), unstable });
        }
        if !self.tasks.is_idle() {
            // The progress would be that of two contents.
            if held.is_some() {
                return None;
            }
            let due = self.pending_report.progress_due.filter(|due| *due <= now && self.pending_report.decided)?;
            self.pending_report.progress_due = Some(due.max(now) + PROGRESS_INTERVAL);
            return Some(Action::Progress { bundle: self.id.clone(), progress: self.progress() });
        }
        let (decided, written, failures_due) =
            (self.pending_report.decided, self.pending_report.written, self.pending_report.failures_due);
        let failing = self.has_failures();
        let is_due = decided
            || written > 0
            || self.pending_report.settled
            || (self.tasks.failures_changed() && (now >= failures_due || !failing));
        // What is held back is not written: only failures are reported.
        let is_due = is_due && (held.is_none() || (failing && self.tasks.failures_changed() && now >= failures_due));
        if self.desired.is_none() || !is_due {
            return None;
        }
        self.tasks.clear_failures_changed();
        let report = std::mem::take(&mut self.pending_report);
        self.pending_report.reported_hold = held;
        let cause = report.cause.unwrap_or_else(|| "time passed".to_owned());
        self.pending_report.failures_due = now + PROGRESS_INTERVAL;
        let outcome = RolloutOutcome {
            namespaces: self.reached,
            written,
            rolled_out: decided,
            failures: self.failures(ctx).into_iter().collect(),
            placed: held.is_none() && !self.is_behind(),
            unstable: self.unstable(ctx),
        };
        Some(Action::Report { bundle: self.id.clone(), outcome, cause })
    }

    fn progress(&self) -> RolloutProgress {
        let behind: BTreeSet<&Arc<str>> = self.tasks.targets().map(|target| &target.namespace).collect();
        RolloutProgress { done: self.reached.saturating_sub(behind.len()), namespaces: self.reached }
    }

    /// The next time at which a report is due though nothing happens.
    pub(super) fn next_report_at(&self) -> Option<Duration> {
        let held = self.content_while_held().is_some();
        let progress =
            self.pending_report.progress_due.filter(|_| self.pending_report.decided && !self.tasks.is_idle() && !held);
        let failing = !held || self.has_failures();
        let failures = (self.desired.is_some() && self.tasks.failures_changed() && self.tasks.is_idle() && failing)
            .then_some(self.pending_report.failures_due);
        [progress, failures].into_iter().flatten().min()
    }

    /// Returns whether a target that lies somewhere is not as desired.
    fn is_behind(&self) -> bool {
        let lies = |target: &TargetRef| {
            self.index.get(target).is_some_and(|entry| entry.metadata.is_target_of(self.id.name()))
        };
        self.tasks.targets().chain(self.contention.contested()).any(lies)
    }

    fn has_failures(&self) -> bool {
        self.tasks.failures().next().is_some() || self.contention.contested().next().is_some()
    }
}
