//! Attribution of failures: to the API server, or to one target or its namespace.
//!
//! Refusals by admission are recognised by their text. All other failures are attributed to the API server, until the
//! same target or namespace fails again while others succeed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::bundle::TargetRef;

/// The time from which on a request is slow and holds up others.
pub(super) const SLOW_AFTER: Duration = Duration::from_secs(2);

/// The number of failures in a row of its own from which on a target's failure is reported.
const FAILURES_UNTIL_LASTING: u32 = 3;

/// The failures in a row of one target or namespace, and the counts of all when the last one came.
#[derive(Clone, Copy, Debug)]
pub(super) struct FailureStreak {
    /// The number of failures in a row.
    count: u32,
    /// The number of successes of all by then.
    successes: u64,
    /// The number of failures of all by then.
    failures: u64,
    /// Whether the failure is known to be its own.
    own: bool,
}

/// The origin of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureOrigin {
    /// The API server.
    Server {
        /// Whether another namespace failed as well, without a success since.
        confirmed: bool,
    },
    /// The target or its namespace.
    Target {
        /// Whether the failure has lasted, and is to be reported.
        lasting: bool,
    },
}

/// The successes and failures so far.
#[derive(Debug, Default)]
pub(super) struct ResponseHistory {
    successes: u64,
    failures: u64,
    /// Namespaces with a failure, and no success since.
    failing: BTreeMap<Arc<str>, FailureStreak>,
    /// The namespace that failed last, if there was no success since.
    last_failing: Option<Arc<str>>,
    /// Namespaces whose last response took long.
    slow: BTreeSet<Arc<str>>,
}

impl ResponseHistory {
    /// Records a response to a write, good or a refusal, and the time that it took.
    pub(super) fn record_success(&mut self, namespace: &Arc<str>, took: Duration) {
        self.successes += 1;
        self.last_failing = None;
        self.failing.remove(namespace);
        if took < SLOW_AFTER {
            self.slow.remove(namespace);
        } else {
            self.slow.insert(namespace.clone());
        }
    }

    /// Records a failure; `before` is the streak of the target, which is updated. Returns to whom the failure is
    /// attributed.
    pub(super) fn record_failure(&mut self, target: &TargetRef, before: &mut Option<FailureStreak>) -> FailureOrigin {
        let namespace = &target.namespace;
        let all = self.failing.get(namespace);
        let own_of_all = all.is_some_and(|all| all.own || self.successes > all.successes);
        let own = own_of_all
            || before.is_some_and(|before| {
                before.own || self.successes > before.successes || self.failures == before.failures
            });
        let confirmed = self.last_failing.as_ref().is_some_and(|last| last != namespace);
        self.failures += 1;
        let now = |count, own| FailureStreak { count, successes: self.successes, failures: self.failures, own };
        let count = before.map_or(0, |before| before.count) + 1;
        *before = Some(now(count, own));
        self.failing.insert(namespace.clone(), now(1, own_of_all));
        if own {
            return FailureOrigin::Target { lasting: count >= FAILURES_UNTIL_LASTING };
        }
        self.last_failing = Some(namespace.clone());
        FailureOrigin::Server { confirmed }
    }

    /// Records that a request for a namespace takes long.
    pub(super) fn mark_slow(&mut self, namespace: &Arc<str>) {
        self.slow.insert(namespace.clone());
    }

    /// The namespaces whose requests may hold only a share of those in flight.
    pub(super) fn slow_namespaces(&self) -> &BTreeSet<Arc<str>> {
        &self.slow
    }

    /// Forgets a namespace that is gone.
    pub(super) fn forget(&mut self, namespace: &str) {
        self.failing.remove(namespace);
        self.slow.remove(namespace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::ObjectKind;

    fn target(namespace: &str) -> TargetRef {
        TargetRef { kind: ObjectKind::ConfigMap, namespace: namespace.into(), name: "b".into() }
    }

    const SERVER: FailureOrigin = FailureOrigin::Server { confirmed: false };

    /// The origins of so many failures of one target, with what happens between them.
    fn origins(times: usize, mut between: impl FnMut(&mut ResponseHistory)) -> Vec<FailureOrigin> {
        let (mut record, mut streak) = (ResponseHistory::default(), None);
        (0..times)
            .map(|_| {
                let origin = record.record_failure(&target("one"), &mut streak);
                between(&mut record);
                origin
            })
            .collect()
    }

    #[test]
    fn a_failure_that_one_target_has_alone_is_its_own_from_the_second_time() {
        let own = |lasting| FailureOrigin::Target { lasting };
        let expected = [SERVER, own(false), own(true), own(true)];
        assert_eq!(
            origins(4, |record| record.record_success(&"two".into(), SLOW_AFTER / 2)),
            expected,
            "others do well"
        );
        assert_eq!(origins(4, |_| {}), expected, "there are no other requests");
        let both = |record: &mut ResponseHistory| {
            record.record_failure(&target("two"), &mut None);
            record.record_success(&"three".into(), SLOW_AFTER / 2);
        };
        assert_eq!(origins(4, both), expected, "one of several");
    }

    #[test]
    fn failures_that_all_have_are_the_servers() {
        let origins = origins(4, |record| {
            record.record_failure(&target("two"), &mut None);
        });
        assert_eq!(origins[0], SERVER);
        assert_eq!(origins[1..], [FailureOrigin::Server { confirmed: true }; 3]);
    }

    #[test]
    fn failures_of_all_targets_of_a_namespace_are_the_namespaces() {
        let mut record = ResponseHistory::default();
        assert_eq!(record.record_failure(&target("one"), &mut None), SERVER);
        record.record_success(&"two".into(), SLOW_AFTER / 2);
        let expected = FailureOrigin::Target { lasting: false };
        assert_eq!((0..3).map(|_| record.record_failure(&target("one"), &mut None)).collect::<Vec<_>>(), [expected; 3]);
        record.record_success(&"one".into(), SLOW_AFTER / 2);
        assert_eq!(record.record_failure(&target("one"), &mut None), SERVER, "all is well there since");
    }

    #[test]
    fn a_namespace_is_slow_until_an_answer_comes_in_time() {
        let (mut record, one) = (ResponseHistory::default(), Arc::from("one"));
        record.mark_slow(&one);
        assert!(record.slow_namespaces().contains(&one));
        record.record_success(&one, SLOW_AFTER);
        assert!(record.slow_namespaces().contains(&one));
        record.record_success(&one, SLOW_AFTER / 2);
        assert!(record.slow_namespaces().is_empty());
    }
}
