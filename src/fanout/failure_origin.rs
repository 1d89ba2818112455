//! Whose trouble an answer tells of: that of the API server, or that of one target, or its namespace, alone.
//!
//! What admission says of an object is known by its words. All other trouble is the API server's, until the same target or
//! namespace has it again while others do well.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::bundle::TargetRef;

/// A request that takes longer is slow: it stands in the way of others.
pub(super) const SLOW_AFTER: Duration = Duration::from_secs(2);

/// How often in a row a target has to have trouble of its own before it is spoken of.
const FAILURES_UNTIL_LASTING: u32 = 3;

/// How others did when somebody last had trouble.
#[derive(Clone, Copy, Debug)]
pub(super) struct FailureStreak {
    /// How many times in a row.
    count: u32,
    /// How many answers of all were good by then.
    successes: u64,
    /// How many answers of all told of trouble by then.
    failures: u64,
    /// Whether it is known to be its own.
    own: bool,
}

/// Whom an answer is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureOrigin {
    /// The API server, whose state this namespace alone has told of so far, or others, too (`confirmed`).
    Server {
        /// Whether others have told of it as well, and nobody of anything else since.
        confirmed: bool,
    },
    /// The target; whether that is to be spoken of.
    Target {
        /// Whether it has lasted.
        lasting: bool,
    },
}

/// What is known of answers so far.
#[derive(Debug, Default)]
pub(super) struct ResponseHistory {
    successes: u64,
    failures: u64,
    /// Namespaces that had trouble, and no good answer since.
    failing: BTreeMap<Arc<str>, FailureStreak>,
    /// Who had trouble last, if no answer was good since.
    last_failing: Option<Arc<str>>,
    /// Namespaces whose last answer took long.
    slow: BTreeSet<Arc<str>>,
}

impl ResponseHistory {
    /// A write was answered, well or by admission, after this time.
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

    /// An answer told of trouble; `before` is what the target had before, and is brought up to date.
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

    /// A request about this namespace takes long.
    pub(super) fn mark_slow(&mut self, namespace: &Arc<str>) {
        self.slow.insert(namespace.clone());
    }

    /// The namespaces whose requests may hold only a share of the slots.
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

    fn place(namespace: &str) -> TargetRef {
        TargetRef { kind: ObjectKind::ConfigMap, namespace: namespace.into(), name: "b".into() }
    }

    const SERVER: FailureOrigin = FailureOrigin::Server { confirmed: false };

    /// The verdicts on so many troubles of one target, with what happens between them.
    fn origins(times: usize, mut between: impl FnMut(&mut ResponseHistory)) -> Vec<FailureOrigin> {
        let (mut record, mut streak) = (ResponseHistory::default(), None);
        (0..times)
            .map(|_| {
                let origin = record.record_failure(&place("one"), &mut streak);
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
        assert_eq!(origins(4, |_| {}), expected, "nobody else asks for anything");
        let both = |record: &mut ResponseHistory| {
            record.record_failure(&place("two"), &mut None);
            record.record_success(&"three".into(), SLOW_AFTER / 2);
        };
        assert_eq!(origins(4, both), expected, "one of several");
    }

    #[test]
    fn failures_that_all_have_are_the_servers() {
        let origins = origins(4, |record| {
            record.record_failure(&place("two"), &mut None);
        });
        assert_eq!(origins[0], SERVER);
        assert_eq!(origins[1..], [FailureOrigin::Server { confirmed: true }; 3]);
    }

    #[test]
    fn failures_of_all_targets_of_a_namespace_are_the_namespaces() {
        let mut record = ResponseHistory::default();
        assert_eq!(record.record_failure(&place("one"), &mut None), SERVER);
        record.record_success(&"two".into(), SLOW_AFTER / 2);
        let expected = FailureOrigin::Target { lasting: false };
        assert_eq!((0..3).map(|_| record.record_failure(&place("one"), &mut None)).collect::<Vec<_>>(), [expected; 3]);
        record.record_success(&"one".into(), SLOW_AFTER / 2);
        assert_eq!(record.record_failure(&place("one"), &mut None), SERVER, "all is well there since");
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
