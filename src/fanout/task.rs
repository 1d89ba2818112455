//! The targets of one Bundle that have to be written, read or let go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::bundle::{Desired, TargetRef};

use super::action::TargetRequest;
use super::backoff::ExponentialBackoff;
use super::failure_origin::FailureStreak;
use super::resource_version::ResourceVersion;

/// The waits after failures in a row, without end.
const RETRY: ExponentialBackoff = ExponentialBackoff { first: Duration::from_secs(1), max: Duration::from_mins(1) };

/// The wait where only a change of the object helps, which its watch then shows.
const RETRY_IMMUTABLE: Duration = Duration::from_mins(10);

/// The most requests of one attempt: to read the object, to take it over, to remove stale fields, and some more for
/// objects that others write at the same time.
const REQUESTS_MAX: u32 = 6;

/// The number of failures in a row, of the cluster rather than the target, at which they are reported.
const ATTEMPTS_BEFORE_REPORT: u32 = 4;

/// The work on one target.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) state: TaskState,
    /// Whether the task goes before the bulk of a rollout.
    pub(super) urgent: bool,
    /// Whether the target has to be read before it is written.
    pub(super) refresh: bool,
    /// Failures in a row.
    attempts: u32,
    /// Requests of this attempt that did not bring the target in sync.
    requests: u32,
    /// The cause of the failure, in words.
    pub(super) failure: Option<Arc<str>>,
    /// Failures in a row that may be of the API server.
    pub(super) failure_streak: Option<FailureStreak>,
}

/// The state of a task.
#[derive(Clone, Debug)]
pub(super) enum TaskState {
    /// The task waits in a queue.
    Queued,
    /// An order is in flight.
    InFlight {
        /// Desired state that the order is for.
        desired: Arc<Desired>,
        /// Request of the order.
        request: TargetRequest,
        /// Version as of which a watch has shown meanwhile that the target was gone.
        deleted_at: Option<ResourceVersion>,
    },
    /// The task is queued at this time.
    Waiting(Duration),
    /// As [`TaskState::Waiting`]; the failure is likely to be over by then, and the Bundle is not done before.
    RetryingSilently(Duration),
}

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TaskFailure {
    /// A failure of the target.
    Target,
    /// A failure of the target that only a change of it ends.
    Immutable,
    /// A failure that may be the cluster's, and over soon.
    Transient,
}

impl Task {
    pub(super) fn new(urgent: bool) -> Self {
        Self {
            state: TaskState::Queued,
            urgent,
            refresh: false,
            attempts: 0,
            requests: 0,
            failure: None,
            failure_streak: None,
        }
    }

    /// Replaces the state.
    pub(super) fn with_state(self, state: TaskState) -> Self {
        Self { state, ..self }
    }

    /// Makes the task urgent if `urgent` is set.
    pub(super) fn or_urgent(self, urgent: bool) -> Self {
        Self { urgent: self.urgent | urgent, ..self }
    }

    /// Sets whether the target has to be read before it is written.
    pub(super) fn with_refresh(self, refresh: bool) -> Self {
        Self { refresh, ..self }
    }

    /// Returns whether the Bundle is not done before this task is.
    fn blocks_report(&self) -> bool {
        !matches!(self.state, TaskState::Waiting(_))
    }

    /// Returns the time at which a task that waits is queued.
    pub(super) fn next_wakeup(&self) -> Option<Duration> {
        match self.state {
            TaskState::Waiting(at) | TaskState::RetryingSilently(at) => Some(at),
            TaskState::Queued | TaskState::InFlight { .. } => None,
        }
    }

    /// Returns whether this attempt has taken too many requests: the object may be changing all the time.
    pub(super) fn is_exhausted(&self) -> bool {
        self.requests >= REQUESTS_MAX
    }

    /// Counts another request of this attempt.
    pub(super) fn retry_now(self, refresh: bool) -> Self {
        Self { requests: self.requests + 1, refresh, ..self }
    }

    /// Defers the task, since its namespace is being deleted; it is retried in case that is not so.
    pub(super) fn defer(mut self, now: Duration) -> Self {
        self.attempts = self.attempts.saturating_add(1);
        self.state = TaskState::Waiting(now + RETRY.max);
        self
    }

    /// Delays the next attempt by a wait at least, up to the longest of [`RETRY`].
    pub(super) fn not_before(mut self, now: Duration, wait: Option<Duration>) -> Self {
        let earliest = now + wait.unwrap_or_default().min(RETRY.max);
        self.state = match self.state {
            TaskState::Waiting(at) => TaskState::Waiting(at.max(earliest)),
            TaskState::RetryingSilently(at) => TaskState::RetryingSilently(at.max(earliest)),
            TaskState::Queued if wait.is_some() => TaskState::RetryingSilently(earliest),
            other => other,
        };
        self
    }

    /// Brings the next attempt forward to a time at the latest.
    pub(super) fn not_after(mut self, latest: Duration) -> Self {
        if let TaskState::Waiting(at) | TaskState::RetryingSilently(at) = &mut self.state {
            *at = latest.min(*at);
        }
        self
    }

    /// Records a failure with its cause; the task is retried soon, then less and less often, but for ever.
    pub(super) fn failed(mut self, now: Duration, kind: TaskFailure, cause: String) -> Self {
        let wait = match kind {
            TaskFailure::Immutable => RETRY_IMMUTABLE,
            TaskFailure::Target | TaskFailure::Transient => RETRY.pause(self.attempts),
        };
        self.attempts = self.attempts.saturating_add(1);
        self.requests = 0;
        self.refresh = false;
        if kind == TaskFailure::Transient && self.attempts < ATTEMPTS_BEFORE_REPORT {
            self.state = TaskState::RetryingSilently(now + wait);
        } else {
            self.failure = Some(cause.into());
            self.state = TaskState::Waiting(now + wait);
        }
        self
    }
}

/// The tasks of one Bundle.
#[derive(Default)]
pub(super) struct Tasks {
    all: BTreeMap<TargetRef, Task>,
    timers: BTreeSet<(Duration, TargetRef)>,
    /// The number of tasks that the Bundle has to wait for.
    blocking: usize,
    /// Whether a target began or ceased to fail, or fails otherwise, since this was last cleared.
    failures_changed: bool,
}

impl Tasks {
    pub(super) fn get(&self, target: &TargetRef) -> Option<&Task> {
        self.all.get(target)
    }

    /// Replaces or removes the task of a target.
    pub(super) fn set(&mut self, target: &TargetRef, task: Option<Task>) {
        let failure = task.as_ref().and_then(|task| task.failure.clone());
        let wakeup = task.as_ref().and_then(Task::next_wakeup);
        self.blocking += usize::from(task.as_ref().is_some_and(Task::blocks_report));
        let before = match task {
            Some(task) => self.all.insert(target.clone(), task),
            None => self.all.remove(target),
        };
        if let Some(before) = &before {
            self.blocking -= usize::from(before.blocks_report());
            if let Some(at) = before.next_wakeup() {
                self.timers.remove(&(at, target.clone()));
            }
        }
        self.timers.extend(wakeup.map(|at| (at, target.clone())));
        self.failures_changed |= before.and_then(|task| task.failure) != failure;
    }

    /// Removes every task that is not in flight.
    pub(super) fn clear(&mut self) {
        let idle: Vec<_> = self
            .all
            .iter()
            .filter(|(_, task)| !matches!(task.state, TaskState::InFlight { .. }))
            .map(|(target, _)| target.clone())
            .collect();
        for target in idle {
            self.set(&target, None);
        }
    }

    /// Returns whether no task can be worked on now.
    pub(super) fn is_idle(&self) -> bool {
        self.blocking == 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The targets of all tasks.
    pub(super) fn targets(&self) -> impl Iterator<Item = &TargetRef> {
        self.all.keys()
    }

    /// The targets of orders in flight.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = &TargetRef> {
        let in_flight = self.all.iter().filter(|(_, task)| matches!(task.state, TaskState::InFlight { .. }));
        in_flight.map(|(target, _)| target)
    }

    /// The number of tasks that wait for an order.
    pub(super) fn queued_count(&self) -> usize {
        self.all.values().filter(|task| matches!(task.state, TaskState::Queued)).count()
    }

    /// Returns whether a target began or ceased to fail, or fails otherwise, since [`Tasks::clear_failures_changed`].
    pub(super) fn failures_changed(&self) -> bool {
        self.failures_changed
    }

    pub(super) fn set_failures_changed(&mut self) {
        self.failures_changed = true;
    }

    pub(super) fn clear_failures_changed(&mut self) {
        self.failures_changed = false;
    }

    /// The next time at which a task is due.
    pub(super) fn next_wakeup(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The target of a task that is due.
    pub(super) fn due(&self, now: Duration) -> Option<TargetRef> {
        self.timers.first().filter(|(at, _)| *at <= now).map(|(_, target)| target.clone())
    }

    /// The failing targets, sorted, with their causes.
    pub(super) fn failures(&self) -> impl Iterator<Item = (&TargetRef, &Arc<str>)> {
        self.all.iter().filter_map(|(target, task)| Some((target, task.failure.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::ObjectKind;

    const S: Duration = Duration::from_secs(1);

    fn target(namespace: &str) -> TargetRef {
        TargetRef { kind: ObjectKind::ConfigMap, namespace: namespace.into(), name: "b".into() }
    }

    fn task() -> Task {
        Task::new(false)
    }

    /// The waits, in seconds, after so many failures in a row, and after how many of them the Bundle waits no more.
    fn waits(kind: TaskFailure) -> (Vec<u64>, usize) {
        let (mut waits, mut silent) = (Vec::new(), 0);
        let mut task = task();
        for _ in 0..8 {
            task = task.failed(S, kind, "broken".to_owned());
            silent += usize::from(matches!(task.state, TaskState::RetryingSilently(_)));
            assert_eq!(task.failure.is_none(), task.blocks_report(), "what is not waited for is reported");
            waits.push(task.next_wakeup().expect("it is tried again").saturating_sub(S).as_secs());
        }
        (waits, silent)
    }

    #[test]
    fn a_failure_is_tried_again_less_and_less_often_and_for_ever() {
        assert_eq!(waits(TaskFailure::Target), (vec![1, 2, 4, 8, 16, 32, 60, 60], 0));
        assert_eq!(waits(TaskFailure::Immutable), (vec![600; 8], 0));
        assert_eq!(waits(TaskFailure::Transient), (vec![1, 2, 4, 8, 16, 32, 60, 60], 3));
    }

    #[test]
    fn a_try_takes_a_few_requests_and_the_next_try_as_many_again() {
        let mut task = task();
        for _ in 0..REQUESTS_MAX {
            assert!(!task.is_exhausted());
            task = task.retry_now(true);
            assert!(task.refresh && matches!(task.state, TaskState::Queued));
        }
        assert!(task.is_exhausted());
        let task = task.failed(S, TaskFailure::Target, "it changes".to_owned());
        assert!(!task.is_exhausted() && !task.refresh && matches!(task.state, TaskState::Waiting(_)), "{task:?}");
    }

    #[test]
    fn a_namespace_on_its_way_out_is_no_failure() {
        let task = task().defer(S);
        assert_eq!(task.next_wakeup(), Some(S + RETRY.max));
        assert!(task.failure.is_none() && !task.blocks_report());
    }

    #[test]
    fn a_bundle_waits_for_what_is_queued_in_flight_or_likely_to_be_over_soon() {
        let mut tasks = Tasks::default();
        tasks.set(&target("one"), Some(task()));
        tasks.set(&target("two"), Some(task().failed(S, TaskFailure::Transient, "broken".to_owned())));
        tasks.set(&target("three"), Some(task().failed(S, TaskFailure::Target, "broken".to_owned())));
        assert!(!tasks.is_idle());
        tasks.set(&target("one"), None);
        assert!(!tasks.is_idle());
        tasks.set(&target("two"), None);
        assert!(tasks.is_idle() && !tasks.is_empty());
        assert_eq!(tasks.failures().map(|(target, _)| target.clone()).collect::<Vec<_>>(), [target("three")]);
    }

    #[test]
    fn each_task_has_one_timer_that_goes_with_it() {
        let mut tasks = Tasks::default();
        let waiting = |at| Some(Task { state: TaskState::Waiting(at), ..task() });
        tasks.set(&target("one"), waiting(5 * S));
        tasks.set(&target("two"), waiting(3 * S));
        tasks.set(&target("one"), waiting(2 * S));
        tasks.set(&target("one"), waiting(2 * S));
        assert_eq!(tasks.next_wakeup(), Some(2 * S));
        assert_eq!(tasks.due(S), None);
        assert_eq!(tasks.due(2 * S), Some(target("one")));
        tasks.set(&target("one"), None);
        tasks.set(&target("two"), Some(task()));
        assert_eq!(tasks.next_wakeup(), None);
    }

    #[test]
    fn whoever_ceases_to_fail_or_fails_otherwise_is_news_and_who_fails_as_before_is_not() {
        let mut tasks = Tasks::default();
        let failing = |cause: &str| Some(task().failed(S, TaskFailure::Target, cause.to_owned()));
        let mut news = |task| {
            tasks.failures_changed = false;
            tasks.set(&target("one"), task);
            tasks.failures_changed
        };
        assert!(!news(Some(task())));
        assert!(news(failing("broken")));
        assert!(!news(failing("broken")));
        assert!(news(failing("refused")));
        assert!(news(None));
    }
}
