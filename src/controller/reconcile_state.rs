//! What the controller has on its desk of one Bundle: the last decision, what is to be said of it, and when it is looked at
//! again.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::bundle::{self, Decision, LastStatus, Refusal, Report, RolloutOutcome, RolloutProgress, Unstable};

/// The longest wait before a Bundle that failed is tried again, and before a date is looked at again.
const RETRY_MAX: Duration = Duration::from_mins(1);
const REQUEUE_MAX: Duration = Duration::from_hours(1);

/// One Bundle's desk.
#[derive(Default)]
pub(super) struct ReconcileState {
    /// What it came to when it was last decided, and for which generation.
    pub(super) decided: Option<(Arc<Decision>, Option<i64>)>,
    /// Since when what it came to last is on its way to its targets, or is being found out.
    pub(super) changed_at: Option<Instant>,
    /// Whether its sources are being read.
    pub(super) reading: bool,
    /// Whether something is being published.
    pub(super) publishing: bool,
    /// What is to be published next.
    pub(super) pending: Option<PendingStatus>,
    /// When it is looked at again.
    pub(super) requeue_at: Option<Instant>,
    /// Failures in a row to read its sources.
    pub(super) read_failures: u32,
    /// Failures in a row to publish.
    pub(super) publish_failures: u32,
}

/// Something to say of a Bundle, and why, in words.
pub(super) struct PendingStatus {
    pub(super) update: StatusUpdate,
    pub(super) cause: String,
}

/// What to say.
pub(super) enum StatusUpdate {
    /// It cannot be carried out.
    Refused(Box<Refusal>),
    /// How far its rollout is.
    Progress(RolloutProgress),
    /// Its rollout is held back.
    Held(Unstable),
    /// What became of it.
    Outcome(RolloutOutcome),
}

impl ReconcileState {
    /// Something has to be said; it replaces what was to be said before, but no write is forgotten.
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

    /// The report that says it, after what the Bundle said before; `None` if it no longer holds.
    pub(super) fn report(&self, update: &StatusUpdate, last_status: &LastStatus, now: Timestamp) -> Option<Report> {
        match update {
            StatusUpdate::Refused(refusal) => Some(bundle::report_refusal(refusal, last_status, now)),
            StatusUpdate::Progress(progress) => Some(bundle::report_progress(*progress, last_status, now)),
            StatusUpdate::Held(unstable) => Some(bundle::report_held_rollout(unstable, last_status, now)),
            StatusUpdate::Outcome(outcome) => {
                let (decision, generation) = self.decided.as_ref()?;
                let last_status = LastStatus { generation: *generation, status: last_status.status.clone() };
                Some(bundle::report_outcome(decision, outcome, &last_status, now))
            }
        }
    }

    /// Looks again soon after a failure, and then less and less often, but for ever.
    pub(super) fn retry(&mut self) {
        self.read_failures = self.read_failures.saturating_add(1);
        self.requeue_after(retry_delay(self.read_failures));
    }

    /// Publishes again after a failure.
    pub(super) fn retry_publishing(&mut self) {
        self.publish_failures = self.publish_failures.saturating_add(1);
        self.requeue_after(retry_delay(self.publish_failures));
    }

    /// Looks again at a date, but never too far ahead: clocks are set, machines sleep.
    pub(super) fn schedule_requeue(&mut self, at: Option<Timestamp>, now: Timestamp) {
        if let Some(at) = at {
            self.requeue_after(Duration::try_from(at.duration_since(now)).unwrap_or_default().min(REQUEUE_MAX));
        }
    }

    fn requeue_after(&mut self, delay: Duration) {
        let at = Instant::now() + delay;
        self.requeue_at = Some(self.requeue_at.map_or(at, |before| before.min(at)));
    }
}

/// The wait after this many failures in a row.
fn retry_delay(failures: u32) -> Duration {
    Duration::from_millis(250).saturating_mul(1 << failures.min(10)).min(RETRY_MAX)
}
