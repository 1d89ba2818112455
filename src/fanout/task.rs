//! The targets of one Bundle that something has to be done about.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::bundle::{TargetRef, Wanted};

use super::action::Request;
use super::blame::Trouble;
use super::version::Version;

/// The wait after a first failure; it doubles up to [`RETRY_MAX`] and never ends.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_mins(1);

/// The wait where nothing helps but a change of the object, which is then heard of.
const RETRY_FIXED: Duration = Duration::from_mins(10);

/// How many requests one try takes at most: to find what is there, to take it over, to take out what is stale, and some
/// more for objects that others write at the same time.
const REQUESTS_MAX: u32 = 6;

/// How many failures in a row that may be the cluster's, not the target's, are not spoken of yet.
const PATIENCE: u32 = 4;

/// What is to be done about one target.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) state: State,
    /// Whether it goes before the bulk of a rollout.
    pub(super) urgent: bool,
    /// Whether it has to be looked at before anything is written.
    pub(super) look: bool,
    /// Failures in a row.
    attempts: u32,
    /// Requests in this try that came to nothing, or not to all.
    requests: u32,
    /// Why it fails, in words.
    pub(super) failure: Option<Arc<str>>,
    /// Answers that told of trouble, in a row.
    pub(super) trouble: Option<Trouble>,
}

#[derive(Clone, Debug)]
pub(super) enum State {
    /// It waits for its turn.
    Queued,
    /// An order is out.
    InFlight {
        /// What it is to hold by this order.
        under: Arc<Wanted>,
        /// What was asked for.
        request: Request,
        /// A watch has told meanwhile that it was gone, as of this version.
        gone: Option<Version>,
    },
    /// It is looked at again at this time.
    Waiting(Duration),
    /// As [`State::Waiting`]; what failed is likely to be over by then, and its Bundle is not done before.
    Patient(Duration),
}

/// How a try failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The target's own.
    Target,
    /// The target's own, and nothing helps but a change of it.
    Fixed,
    /// Perhaps only the cluster's, for the moment.
    Passing,
}

impl Task {
    pub(super) fn new(urgent: bool) -> Self {
        Self { state: State::Queued, urgent, look: false, attempts: 0, requests: 0, failure: None, trouble: None }
    }

    /// The same in another state.
    pub(super) fn to(self, state: State) -> Self {
        Self { state, ..self }
    }

    /// The same, and urgent if this is.
    pub(super) fn or_urgent(self, urgent: bool) -> Self {
        Self { urgent: self.urgent | urgent, ..self }
    }

    /// The same, but whether it has to be looked at first.
    pub(super) fn looking(self, look: bool) -> Self {
        Self { look, ..self }
    }

    /// Whether its Bundle is not done before it is.
    fn is_open(&self) -> bool {
        !matches!(self.state, State::Waiting(_))
    }

    fn wakes(&self) -> Option<Duration> {
        match self.state {
            State::Waiting(at) | State::Patient(at) => Some(at),
            State::Queued | State::InFlight { .. } => None,
        }
    }

    /// Whether this try has taken too many requests: the object may be changing all the time.
    pub(super) fn is_exhausted(&self) -> bool {
        self.requests >= REQUESTS_MAX
    }

    /// It takes one more request.
    pub(super) fn again(self, look: bool) -> Self {
        Self { requests: self.requests + 1, look, ..self }
    }

    /// Its namespace is on its way out: it is looked at again only in case that is not so.
    pub(super) fn put_off(mut self, now: Duration) -> Self {
        self.attempts = self.attempts.saturating_add(1);
        self.state = State::Waiting(now + RETRY_MAX);
        self
    }

    /// The same, but not before this time, within the longest wait.
    pub(super) fn not_before(mut self, now: Duration, wait: Option<Duration>) -> Self {
        let earliest = now + wait.unwrap_or_default().min(RETRY_MAX);
        self.state = match self.state {
            State::Waiting(at) => State::Waiting(at.max(earliest)),
            State::Patient(at) => State::Patient(at.max(earliest)),
            State::Queued if wait.is_some() => State::Patient(earliest),
            other => other,
        };
        self
    }

    /// It failed: soon again, and then less and less often, but for ever.
    pub(super) fn failed(mut self, now: Duration, fault: Fault, cause: String) -> Self {
        let wait = match fault {
            Fault::Fixed => RETRY_FIXED,
            Fault::Target | Fault::Passing => RETRY.saturating_mul(1 << self.attempts.min(10)).min(RETRY_MAX),
        };
        self.attempts = self.attempts.saturating_add(1);
        self.requests = 0;
        self.look = false;
        if fault == Fault::Passing && self.attempts < PATIENCE {
            self.state = State::Patient(now + wait);
        } else {
            self.failure = Some(cause.into());
            self.state = State::Waiting(now + wait);
        }
        self
    }
}

/// All tasks of a Bundle.
#[derive(Default)]
pub(super) struct Tasks {
    all: BTreeMap<TargetRef, Task>,
    timers: BTreeSet<(Duration, TargetRef)>,
    /// How many tasks its Bundle has to wait for.
    open: usize,
    /// Whether a target began or ceased to fail, or fails otherwise, since this was last asked.
    pub(super) failures_changed: bool,
}

impl Tasks {
    pub(super) fn get(&self, place: &TargetRef) -> Option<&Task> {
        self.all.get(place)
    }

    /// Puts a task, in place of the one before, or takes it out.
    pub(super) fn set(&mut self, place: &TargetRef, task: Option<Task>) {
        let failure = task.as_ref().and_then(|task| task.failure.clone());
        let wakes = task.as_ref().and_then(Task::wakes);
        self.open += usize::from(task.as_ref().is_some_and(Task::is_open));
        let before = match task {
            Some(task) => self.all.insert(place.clone(), task),
            None => self.all.remove(place),
        };
        if let Some(before) = &before {
            self.open -= usize::from(before.is_open());
            if let Some(at) = before.wakes() {
                self.timers.remove(&(at, place.clone()));
            }
        }
        self.timers.extend(wakes.map(|at| (at, place.clone())));
        self.failures_changed |= before.and_then(|task| task.failure) != failure;
    }

    /// Takes out every task that is not in flight.
    pub(super) fn clear(&mut self) {
        let idle: Vec<_> = self
            .all
            .iter()
            .filter(|(_, task)| !matches!(task.state, State::InFlight { .. }))
            .map(|(place, _)| place.clone())
            .collect();
        for place in idle {
            self.set(&place, None);
        }
    }

    /// Whether nothing can be done now.
    pub(super) fn is_idle(&self) -> bool {
        self.open == 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All tasks, by place.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&TargetRef, &Task)> {
        self.all.iter()
    }

    /// The places of all tasks.
    pub(super) fn places(&self) -> impl Iterator<Item = &TargetRef> {
        self.all.keys()
    }

    /// The places of orders that are out.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = &TargetRef> {
        let out = self.all.iter().filter(|(_, task)| matches!(task.state, State::InFlight { .. }));
        out.map(|(place, _)| place)
    }

    /// The next time at which a task is to be looked at again.
    pub(super) fn wakes(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// A task whose time has come.
    pub(super) fn due(&self, now: Duration) -> Option<TargetRef> {
        self.timers.first().filter(|(at, _)| *at <= now).map(|(_, place)| place.clone())
    }

    /// What fails, sorted by place, with its cause.
    pub(super) fn failures(&self) -> impl Iterator<Item = (&TargetRef, &Arc<str>)> {
        self.all.iter().filter_map(|(place, task)| Some((place, task.failure.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::ObjectKind;

    const S: Duration = Duration::from_secs(1);

    fn place(namespace: &str) -> TargetRef {
        TargetRef { kind: ObjectKind::ConfigMap, namespace: namespace.into() }
    }

    fn task() -> Task {
        Task::new(false)
    }

    /// The waits, in seconds, after so many failures in a row, and after how many of them the Bundle waits no more.
    fn waits(fault: Fault) -> (Vec<u64>, usize) {
        let (mut waits, mut patient) = (Vec::new(), 0);
        let mut task = task();
        for _ in 0..8 {
            task = task.failed(S, fault, "broken".to_owned());
            patient += usize::from(matches!(task.state, State::Patient(_)));
            assert_eq!(task.failure.is_none(), task.is_open(), "what is not waited for is spoken of");
            waits.push(task.wakes().expect("it is tried again").saturating_sub(S).as_secs());
        }
        (waits, patient)
    }

    #[test]
    fn a_failure_is_tried_again_less_and_less_often_and_for_ever() {
        assert_eq!(waits(Fault::Target), (vec![1, 2, 4, 8, 16, 32, 60, 60], 0));
        assert_eq!(waits(Fault::Fixed), (vec![600; 8], 0));
        assert_eq!(waits(Fault::Passing), (vec![1, 2, 4, 8, 16, 32, 60, 60], 3));
    }

    #[test]
    fn a_try_takes_a_few_requests_and_the_next_try_as_many_again() {
        let mut task = task();
        for _ in 0..REQUESTS_MAX {
            assert!(!task.is_exhausted());
            task = task.again(true);
            assert!(task.look && matches!(task.state, State::Queued));
        }
        assert!(task.is_exhausted());
        let task = task.failed(S, Fault::Target, "it changes".to_owned());
        assert!(!task.is_exhausted() && !task.look && matches!(task.state, State::Waiting(_)), "{task:?}");
    }

    #[test]
    fn a_namespace_on_its_way_out_is_no_failure() {
        let task = task().put_off(S);
        assert_eq!(task.wakes(), Some(S + RETRY_MAX));
        assert!(task.failure.is_none() && !task.is_open());
    }

    #[test]
    fn a_bundle_waits_for_what_is_queued_in_flight_or_likely_to_be_over_soon() {
        let mut tasks = Tasks::default();
        tasks.set(&place("one"), Some(task()));
        tasks.set(&place("two"), Some(task().failed(S, Fault::Passing, "broken".to_owned())));
        tasks.set(&place("three"), Some(task().failed(S, Fault::Target, "broken".to_owned())));
        assert!(!tasks.is_idle());
        tasks.set(&place("one"), None);
        assert!(!tasks.is_idle());
        tasks.set(&place("two"), None);
        assert!(tasks.is_idle() && !tasks.is_empty());
        assert_eq!(tasks.failures().map(|(place, _)| place.clone()).collect::<Vec<_>>(), [place("three")]);
    }

    #[test]
    fn each_task_has_one_timer_that_goes_with_it() {
        let mut tasks = Tasks::default();
        let waiting = |at| Some(Task { state: State::Waiting(at), ..task() });
        tasks.set(&place("one"), waiting(5 * S));
        tasks.set(&place("two"), waiting(3 * S));
        tasks.set(&place("one"), waiting(2 * S));
        tasks.set(&place("one"), waiting(2 * S));
        assert_eq!(tasks.wakes(), Some(2 * S));
        assert_eq!(tasks.due(S), None);
        assert_eq!(tasks.due(2 * S), Some(place("one")));
        tasks.set(&place("one"), None);
        tasks.set(&place("two"), Some(task()));
        assert_eq!(tasks.wakes(), None);
    }

    #[test]
    fn whoever_ceases_to_fail_or_fails_otherwise_is_news_and_who_fails_as_before_is_not() {
        let mut tasks = Tasks::default();
        let failing = |cause: &str| Some(task().failed(S, Fault::Target, cause.to_owned()));
        let mut news = |task| {
            tasks.failures_changed = false;
            tasks.set(&place("one"), task);
            tasks.failures_changed
        };
        assert!(!news(Some(task())));
        assert!(news(failing("broken")));
        assert!(!news(failing("broken")));
        assert!(news(failing("refused")));
        assert!(news(None));
    }
}
