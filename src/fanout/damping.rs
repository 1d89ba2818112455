//! Damping of rollouts: when a Bundle whose content keeps changing may rewrite its targets.
//!
//! A first content is no change. The first changes start at once; later ones wait for longer and longer after the start
//! of the rollout before them, and what arrives meanwhile is one change with them. Beside that, one budget of bytes
//! holds for all Bundles that change more than once within [`WINDOW`].

use std::collections::VecDeque;
use std::time::Duration;

use crate::bundle::BundleId;

use super::backoff::ExponentialBackoff;

/// The number of changes that start at once.
const IMMEDIATE_CHANGES: u32 = 3;

/// The pause before the first change that has to wait; it doubles with each further one.
const PAUSE: Duration = Duration::from_secs(1);

/// The time without a change after which the changes before it are forgotten.
const QUIET_PERIOD: Duration = Duration::from_mins(10);

/// The time over which written bytes are added up: API servers compact etcd once in it.
const WINDOW: Duration = Duration::from_mins(5);

/// Bounds on how often content that is there is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damping {
    /// The longest pause between the starts of two rollouts of a Bundle; zero: none, and no budget.
    pub max_pause: Duration,
    /// The bytes of content that repeated rollouts of all Bundles may write in five minutes before further ones wait.
    pub bytes_per_5m: u64,
}

impl Default for Damping {
    fn default() -> Self {
        Self { max_pause: Duration::from_mins(1), bytes_per_5m: 512 << 20 }
    }
}

/// The content changes of one Bundle.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    /// The number of changes since the last quiet time.
    count: u32,
    latest: Option<Duration>,
    /// The start of the latest rollout; `None` before the first content.
    started: Option<Duration>,
    /// The start of the next rollout, while it is waited for.
    due: Option<Duration>,
    /// Whether any had to wait since the last quiet time.
    waited: bool,
    /// Whether the budget has the next one wait.
    over_budget: bool,
}

impl Changes {
    /// Records the first content, which starts at once and is no change.
    pub(super) fn record_first(&mut self, now: Duration) {
        *self = Self { started: Some(now), ..Self::default() };
    }

    /// Records another content: a change of its own, unless a rollout is waited for.
    pub(super) fn record_change(&mut self, now: Duration, damping: &Damping) {
        self.expire(now);
        self.latest = Some(now);
        if self.due.is_some() {
            return;
        }
        self.count = self.count.saturating_add(1);
        let pause = match self.count.checked_sub(IMMEDIATE_CHANGES + 1) {
            None => Duration::ZERO,
            Some(doublings) => ExponentialBackoff { first: PAUSE, max: damping.max_pause }.pause(doublings),
        };
        let due = self.after(pause).max(now);
        self.waited |= due > now;
        self.due = Some(due);
    }

    /// The start of the next rollout, if one is waited for.
    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }

    /// The number of changes since the last quiet time.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Returns whether a rollout waits, or has waited since the last quiet time.
    pub(super) fn waited(&self) -> bool {
        self.waited
    }

    /// Returns whether the budget has the next rollout wait.
    pub(super) fn is_over_budget(&self) -> bool {
        self.over_budget
    }

    /// The time at which it is forgotten that rollouts have waited.
    pub(super) fn expires_at(&self) -> Option<Duration> {
        self.latest.filter(|_| self.waited).map(|latest| latest + QUIET_PERIOD)
    }

    /// Forgets the changes before a quiet time; returns whether any had waited.
    pub(super) fn expire(&mut self, now: Duration) -> bool {
        if self.due.is_some() || self.latest.is_none_or(|latest| now.saturating_sub(latest) < QUIET_PERIOD) {
            return false;
        }
        self.count = 0;
        std::mem::take(&mut self.waited)
    }

    /// Starts the rollout that is due, unless the budget has it wait; returns whether it starts.
    pub(super) fn start(&mut self, now: Duration, bundle: &BundleId, budget: &mut Budget) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        let longest = self.after(budget.damping.max_pause);
        if let Some(free) = budget.wait_until(bundle, now).filter(|_| longest > now) {
            self.due = Some(free.min(longest));
            (self.waited, self.over_budget) = (true, true);
            return false;
        }
        self.start_at_once(now, bundle, budget);
        true
    }

    /// Starts a rollout, however long it would have to wait.
    pub(super) fn start_at_once(&mut self, now: Duration, bundle: &BundleId, budget: &mut Budget) {
        (self.due, self.over_budget) = (None, false);
        self.started = Some(now);
        budget.begin(bundle, now);
    }

    fn after(&self, pause: Duration) -> Duration {
        self.started.unwrap_or_default().saturating_add(pause)
    }
}

/// The bytes written by the rollouts of all Bundles that started within [`WINDOW`].
#[derive(Debug, Default)]
pub(super) struct Budget {
    pub(super) damping: Damping,
    /// Oldest first.
    rollouts: VecDeque<Rollout>,
}

#[derive(Debug)]
struct Rollout {
    bundle: BundleId,
    start: Duration,
    bytes: u64,
    /// Whether it is not its Bundle's first in the window: only these count.
    repeated: bool,
}

impl Budget {
    pub(super) fn new(damping: Damping) -> Self {
        Self { damping, rollouts: VecDeque::new() }
    }

    /// Adds bytes to the latest rollout of a Bundle.
    pub(super) fn wrote(&mut self, bundle: &BundleId, bytes: usize) {
        if let Some(rollout) = self.rollouts.iter_mut().rev().find(|rollout| rollout.bundle == *bundle) {
            rollout.bytes = rollout.bytes.saturating_add(bytes as u64);
        }
    }

    /// The time until which a rollout has to wait, if it has to.
    fn wait_until(&mut self, bundle: &BundleId, now: Duration) -> Option<Duration> {
        self.forget(now);
        let own = self.rollouts.iter().rev().find(|rollout| rollout.bundle == *bundle)?.start;
        let written: u64 = self.rollouts.iter().filter(|rollout| rollout.repeated).map(|rollout| rollout.bytes).sum();
        let mut excess = written.checked_sub(self.damping.bytes_per_5m)?;
        let counted = self.rollouts.iter().filter(|rollout| rollout.repeated);
        let mut free = own;
        for rollout in counted {
            free = rollout.start;
            let Some(left) = excess.checked_sub(rollout.bytes) else { break };
            excess = left;
        }
        Some(free.min(own) + WINDOW)
    }

    fn begin(&mut self, bundle: &BundleId, start: Duration) {
        self.forget(start);
        let repeated = self.rollouts.iter().any(|rollout| rollout.bundle == *bundle);
        self.rollouts.push_back(Rollout { bundle: bundle.clone(), start, bytes: 0, repeated });
    }

    fn forget(&mut self, now: Duration) {
        while self.rollouts.front().is_some_and(|rollout| rollout.start + WINDOW <= now) {
            self.rollouts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    /// The starts, in seconds, of the rollouts of a content that changes at these.
    fn starts(changes: impl IntoIterator<Item = u32>, damping: &Damping, bytes: usize) -> Vec<u64> {
        let (bundle, mut budget, mut state) = (BundleId::from("b"), Budget::new(*damping), Changes::default());
        state.record_first(Duration::ZERO);
        let mut starts = Vec::new();
        let mut run_until = |state: &mut Changes, until: Duration| {
            while let Some(due) = state.due().filter(|due| *due <= until) {
                if state.start(due, &bundle, &mut budget) {
                    budget.wrote(&bundle, bytes);
                    starts.push(due.as_secs());
                }
            }
        };
        for at in changes {
            run_until(&mut state, S * at);
            state.record_change(S * at, damping);
        }
        run_until(&mut state, Duration::MAX);
        starts
    }

    #[test]
    fn three_changes_start_at_once_and_each_further_one_later() {
        let every_second = starts(1..=300, &Damping::default(), 0);
        assert_eq!(every_second[..10], [1, 2, 3, 4, 6, 10, 18, 34, 66, 126]);
        assert_eq!(every_second[10..], [186, 246, 306]);
    }

    #[test]
    fn what_arrives_while_one_waits_is_one_change_and_the_last_one_starts_too() {
        assert_eq!(starts([1, 1, 1, 1, 1, 1], &Damping::default(), 0), [1, 1, 1, 2]);
        assert_eq!(starts([1, 1, 1, 1, 2, 3], &Damping::default(), 0), [1, 1, 1, 2, 4]);
    }

    #[test]
    fn ten_quiet_minutes_forget() {
        let quiet = 10 * 60;
        assert_eq!(starts([1, 2, 3, 4, 4 + quiet, 5 + quiet], &Damping::default(), 0)[4..], [604, 605]);
        assert_eq!(starts([1, 2, 3, 4, 3 + quiet, 3 + quiet], &Damping::default(), 0)[4..], [603, 607]);
    }

    #[test]
    fn what_starts_at_once_is_a_change_all_the_same() {
        let (bundle, mut budget, mut state) =
            (BundleId::from("b"), Budget::new(Damping::default()), Changes::default());
        state.record_first(Duration::ZERO);
        for at in 1..=6 {
            state.record_change(S * at, &budget.damping);
            state.start_at_once(S * at, &bundle, &mut budget);
            assert_eq!(state.due(), None);
        }
        state.record_change(S * 7, &budget.damping);
        assert_eq!(state.due(), Some(S * 14), "the next one waits for those before it");
    }

    #[test]
    fn zero_turns_pauses_and_budget_off() {
        let off = Damping { max_pause: Duration::ZERO, bytes_per_5m: 0 };
        assert_eq!(starts(1..=50, &off, 1 << 30), (1..=50).collect::<Vec<_>>());
    }

    #[test]
    fn over_the_budget_each_start_waits_for_the_longest_pause() {
        let damping = Damping { max_pause: Duration::from_mins(1), bytes_per_5m: 250 };
        // The first of the window does not count; the budget is used up by the third that does.
        assert_eq!(starts(1..=400, &damping, 100)[..6], [1, 2, 3, 4, 64, 124]);
    }

    #[test]
    fn a_bundle_that_changes_once_starts_at_once_whatever_others_write() {
        let damping = Damping { max_pause: Duration::from_mins(1), bytes_per_5m: 100 };
        let mut budget = Budget::new(damping);
        let mut begin = |name: &str, at: Duration| {
            let (bundle, mut changes) = (BundleId::from(name), Changes::default());
            changes.record_first(Duration::ZERO);
            changes.record_change(at, &damping);
            let started = changes.start(at, &bundle, &mut budget);
            budget.wrote(&bundle, 1_000);
            started
        };
        assert!(begin("busy", 5 * S) && begin("busy", 6 * S), "the first does not count");
        assert!(!begin("busy", 7 * S));
        assert!(begin("calm", 8 * S));
        assert!(!begin("calm", 9 * S), "the budget is one for all");
        assert!(begin("busy", 320 * S), "the window has passed");
    }
}
