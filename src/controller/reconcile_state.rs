//! Work item of one Bundle: last decision, pending status update, and requeue time.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::bundle::{
    self, Decision, Desired, Enforcement, LastStatus, Refusal, Report, RolloutOutcome, RolloutProgress, Unstable,
};
use crate::fanout::ExponentialBackoff;

use super::retention_state::RetentionState;

/// Delays before a Bundle that failed, once and again, is reconciled anew.
const RETRY: ExponentialBackoff = ExponentialBackoff { first: Duration::from_millis(500), max: Duration::from_mins(1) };

/// Maximum delay before a Bundle is reconciled again for a date that is further off.
const REQUEUE_MAX: Duration = Duration::from_hours(1);

/// What the controller keeps of one Bundle beside the cache.
#[derive(Default)]
pub(super) struct ReconcileState {
    /// The last decision, and the generation that it is for; none of a Bundle that is refused.
    pub(super) decided: Option<(Arc<Decision>, Option<i64>)>,
    /// The desired state of the last decision, also of a Bundle that is refused since.
    pub(super) published: Option<Arc<Desired>>,
    /// How far denials are enforced in its targets.
    pub(super) enforcement: Enforcement,
    /// The time of the first change that has not reached all targets.
    pub(super) changed_at: Option<Instant>,
    /// What is remembered of its certificates.
    pub(super) retention: RetentionState,
    /// Whether its sources are being fetched.
    pub(super) fetching: bool,
    /// Whether a report is being published.
    pub(super) publishing: bool,
    /// The next report to publish.
    pub(super) pending: Option<PendingStatus>,
    /// The time of the next reconcile without a change.
    pub(super) requeue_at: Option<Instant>,
    /// Failures in a row to fetch its sources.
    pub(super) fetch_failures: u32,
    /// Failures in a row to read or write its ledger.
    pub(super) ledger_failures: u32,
    /// Failures in a row to publish its status.
    pub(super) publish_failures: u32,
}

/// A status update that waits to be published, and its cause in words.
pub(super) struct PendingStatus {
    pub(super) update: StatusUpdate,
    pub(super) cause: String,
}

/// The content of a status update.
pub(super) enum StatusUpdate {
    /// The Bundle cannot be carried out.
    Refused(Box<Refusal>),
    /// A rollout is under way.
    Progress(RolloutProgress),
    /// The next rollout is held back.
    Held(Unstable),
    /// A rollout has ended.
    Outcome(RolloutOutcome),
}

impl ReconcileState {
    /// Starts a reconcile.
    pub(super) fn begin(&mut self) {
        self.requeue_at = None;
        self.changed_at.get_or_insert_with(Instant::now);
    }

    /// Records a decision; returns the desired state.
    pub(super) fn decided(&mut self, decision: Decision, generation: Option<i64>, now: Timestamp) -> Arc<Desired> {
        (self.fetch_failures, self.ledger_failures) = (0, 0);
        self.schedule_requeue(decision.requeue_at, now);
        let desired = decision.desired.clone();
        self.decided = Some((Arc::new(decision), generation));
        desired
    }

    /// Records why a later decision is not in force.
    pub(super) fn impede(&mut self, refusal: &Refusal) {
        if let Some((decision, _)) = &mut self.decided {
            Arc::make_mut(decision).impediment = Some(refusal.clone());
        }
    }

    /// Takes in whether every target holds what it is to hold, as of this time; returns whether it is news that every
    /// target holds what was decided. While denials alone are carried out that is less.
    pub(super) fn record_outcome(&mut self, placed: bool, now: Timestamp) -> bool {
        self.retention.record_outcome(placed && !self.enforcement.is_overriding(), now)
    }

    /// Drops the last decision.
    pub(super) fn forget_decision(&mut self) {
        self.decided = None;
        self.changed_at = None;
    }

    /// Records a refusal.
    pub(super) fn refused(&mut self, refusal: &Refusal, now: Timestamp) {
        self.forget_decision();
        if refusal.retry {
            self.retry_fetching();
        } else {
            self.fetch_failures = 0;
            self.schedule_requeue(refusal.requeue_at, now);
        }
    }

    /// Replaces the pending update. Counts of writes are added up; progress replaces no refusal and no outcome.
    pub(super) fn enqueue_status(&mut self, update: StatusUpdate, cause: String) {
        let before = self.pending.take();
        self.pending = match (update, before) {
            (StatusUpdate::Outcome(mut now), Some(PendingStatus { update: StatusUpdate::Outcome(before), cause })) => {
                now.written += before.written;
                now.rolled_out |= before.rolled_out;
                Some(PendingStatus { update: StatusUpdate::Outcome(now), cause })
            }
            (
                StatusUpdate::Progress(_),
                Some(before @ PendingStatus { update: StatusUpdate::Refused(_) | StatusUpdate::Outcome(_), .. }),
            ) => Some(before),
            (update, _) => Some(PendingStatus { update, cause }),
        };
    }

    /// Returns the report of an update, given the status last read; `None` if the Bundle is refused meanwhile.
    pub(super) fn report(&self, update: &StatusUpdate, last_status: &LastStatus, now: Timestamp) -> Option<Report> {
        match update {
            StatusUpdate::Refused(refusal) => Some(bundle::report_refusal(refusal, last_status, now)),
            StatusUpdate::Progress(progress) => {
                let decision = self.decided.as_ref().map(|(decision, _)| &**decision);
                Some(bundle::report_progress(*progress, decision, last_status, now))
            }
            StatusUpdate::Held(unstable) => Some(bundle::report_held_rollout(unstable, last_status, now)),
            StatusUpdate::Outcome(outcome) => {
                let (decision, generation) = self.decided.as_ref()?;
                let last_status = LastStatus { generation: *generation, status: last_status.status.clone() };
                Some(bundle::report_outcome(decision, outcome, &last_status, now))
            }
        }
    }

    /// Requeues the Bundle after a failure to fetch its sources, with exponential backoff.
    pub(super) fn retry_fetching(&mut self) {
        self.requeue_after(RETRY.pause(self.fetch_failures));
        self.fetch_failures = self.fetch_failures.saturating_add(1);
    }

    /// Requeues the Bundle after a failure to read or write its ledger, with exponential backoff.
    pub(super) fn retry_ledger(&mut self) {
        self.requeue_after(RETRY.pause(self.ledger_failures));
        self.ledger_failures = self.ledger_failures.saturating_add(1);
    }

    /// Requeues the Bundle after a failure to publish, with exponential backoff.
    pub(super) fn retry_publishing(&mut self) {
        self.requeue_after(RETRY.pause(self.publish_failures));
        self.publish_failures = self.publish_failures.saturating_add(1);
    }

    /// Requeues the Bundle for a date, but not further ahead than [`REQUEUE_MAX`]: clocks are set, machines sleep.
    fn schedule_requeue(&mut self, at: Option<Timestamp>, now: Timestamp) {
        if let Some(at) = at {
            self.requeue_after(Duration::try_from(at.duration_since(now)).unwrap_or_default().min(REQUEUE_MAX));
        }
    }

    fn requeue_after(&mut self, delay: Duration) {
        self.requeue(Instant::now() + delay);
    }

    /// Requeues the Bundle for a time.
    pub(super) fn requeue(&mut self, at: Instant) {
        self.requeue_at = Some(self.requeue_at.map_or(at, |before| before.min(at)));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::bundle::fixture::{anchor, denying, now, plain};
    use crate::bundle::{ContentDigest, Denials, Inputs, Memory, decide};

    #[test]
    fn targets_of_which_only_what_is_denied_was_taken_do_not_hold_what_was_decided() {
        let (inputs, intent, exclude) = (Inputs::default(), plain("b"), BTreeSet::new());
        let desired = decide(&intent, &inputs, now()).expect("a decision").desired;
        let memory = Memory { content: Some(ContentDigest::of(None)), ..Memory::begin([anchor("rsa")], now()) };
        let mut state = ReconcileState::default();
        state.retention.set_recovered(intent.uid, memory, None, None);
        state.enforcement.decided(&Denials::default(), &exclude, &desired);
        let denials = denying("d", &["rsa"]);
        state.enforcement.refused(&denials, Some(&exclude), Some(&desired), &Refusal::invalid_spec(&[]));
        assert!(!state.record_outcome(true, now()));
        assert_eq!(state.retention.placed(), None);
        state.enforcement.decided(&denials, &exclude, &desired);
        assert!(state.record_outcome(true, now()));
    }

    #[test]
    fn a_ledger_that_cannot_be_written_uses_up_no_attempt_to_read_sources() {
        let mut state = ReconcileState::default();
        for _ in 0..5 {
            state.retry_ledger();
        }
        assert_eq!((state.fetch_failures, state.ledger_failures), (0, 5));
        state.retry_fetching();
        assert_eq!((state.fetch_failures, state.ledger_failures), (1, 5));
    }
}
