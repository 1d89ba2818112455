//! What the controller has on its desk of one Bundle: the last decision, what is to be said of it, and when it is looked at
//! again.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::bundle::{self, Decision, Outcome, Progress, Refusal, Report, Seen, Unstable};

/// The longest wait before a Bundle that failed is tried again, and before a date is looked at again.
const RETRY_MAX: Duration = Duration::from_mins(1);
const LOOK_AGAIN_MAX: Duration = Duration::from_hours(1);

/// One Bundle's desk.
#[derive(Default)]
pub(super) struct Desk {
    /// What it came to when it was last decided, and for which generation.
    pub(super) decided: Option<(Arc<Decision>, Option<i64>)>,
    /// Since when what it came to last is on its way to its targets, or is being found out.
    pub(super) changed: Option<Instant>,
    /// Whether its sources are being read.
    pub(super) reading: bool,
    /// Whether something is being published.
    pub(super) publishing: bool,
    /// What is to be published next.
    pub(super) next: Option<Statement>,
    /// When it is looked at again.
    pub(super) timer: Option<Instant>,
    /// Failures in a row to read its sources.
    pub(super) failed: u32,
    /// Failures in a row to publish.
    pub(super) unpublished: u32,
}

/// Something to say of a Bundle, and why, in words.
pub(super) struct Statement {
    pub(super) what: What,
    pub(super) cause: String,
}

/// What to say.
pub(super) enum What {
    /// It cannot be carried out.
    Refused(Box<Refusal>),
    /// How far its rollout is.
    Progress(Progress),
    /// Its rollout is held back.
    Held(Unstable),
    /// What became of it.
    Outcome(Outcome),
}

impl Desk {
    /// Something has to be said; it replaces what was to be said before, but no write is forgotten.
    pub(super) fn state(&mut self, what: What, cause: String) {
        let before = self.next.take();
        self.next = match (what, before) {
            (What::Outcome(mut now), Some(Statement { what: What::Outcome(before), cause })) => {
                now.written += before.written;
                now.rolled_out |= before.rolled_out;
                Some(Statement { what: What::Outcome(now), cause })
            }
            (What::Progress(_), Some(before @ Statement { what: What::Refused(_) | What::Outcome(_), .. })) => {
                Some(before)
            }
            (what, _) => Some(Statement { what, cause }),
        };
    }

    /// The report that says it, after what the Bundle said before; `None` if it no longer holds.
    pub(super) fn report(&self, what: &What, seen: &Seen, now: Timestamp) -> Option<Report> {
        match what {
            What::Refused(refusal) => Some(bundle::refused(refusal, seen, now)),
            What::Progress(progress) => Some(bundle::rolling_out(*progress, seen, now)),
            What::Held(unstable) => Some(bundle::held(unstable, seen, now)),
            What::Outcome(outcome) => {
                let (decision, generation) = self.decided.as_ref()?;
                let seen = Seen { generation: *generation, status: seen.status.clone() };
                Some(bundle::carried_out(decision, outcome, &seen, now))
            }
        }
    }

    /// Looks again soon after a failure, and then less and less often, but for ever.
    pub(super) fn retry(&mut self) {
        self.failed = self.failed.saturating_add(1);
        self.wake(back_off(self.failed));
    }

    /// Publishes again after a failure.
    pub(super) fn retry_publishing(&mut self) {
        self.unpublished = self.unpublished.saturating_add(1);
        self.wake(back_off(self.unpublished));
    }

    /// Looks again at a date, but never too far ahead: clocks are set, machines sleep.
    pub(super) fn look_again(&mut self, at: Option<Timestamp>, now: Timestamp) {
        if let Some(at) = at {
            self.wake(Duration::try_from(at.duration_since(now)).unwrap_or_default().min(LOOK_AGAIN_MAX));
        }
    }

    fn wake(&mut self, delay: Duration) {
        let at = Instant::now() + delay;
        self.timer = Some(self.timer.map_or(at, |before| before.min(at)));
    }
}

/// The wait after this many failures in a row.
fn back_off(failures: u32) -> Duration {
    Duration::from_millis(250).saturating_mul(1 << failures.min(10)).min(RETRY_MAX)
}
