//! Whose trouble an answer tells of: that of the API server, or that of one target, or its namespace, alone.
//!
//! What admission says of an object is known by its words. All other trouble is the API server's, until the same target or
//! namespace has it again while others do well.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::bundle::TargetRef;

/// A request that takes longer is slow: it stands in the way of others.
pub(super) const SLOW: Duration = Duration::from_secs(2);

/// How often in a row a target has to have trouble of its own before it is spoken of.
const SPOKEN_OF: u32 = 3;

/// How others did when somebody last had trouble.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trouble {
    /// How many times in a row.
    count: u32,
    /// How many answers of all were good by then.
    good: u64,
    /// How many answers of all told of trouble by then.
    bad: u64,
    /// Whether it is known to be its own.
    own: bool,
}

/// Whom an answer is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
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
pub(super) struct Record {
    good: u64,
    bad: u64,
    /// Namespaces that had trouble, and no good answer since.
    troubled: BTreeMap<Arc<str>, Trouble>,
    /// Who had trouble last, if no answer was good since.
    last: Option<Arc<str>>,
    /// Namespaces whose last answer took long.
    slow: BTreeSet<Arc<str>>,
}

impl Record {
    /// A write was answered, well or by admission, after this time.
    pub(super) fn good(&mut self, namespace: &Arc<str>, took: Duration) {
        self.good += 1;
        self.last = None;
        self.troubled.remove(namespace);
        if took < SLOW {
            self.slow.remove(namespace);
        } else {
            self.slow.insert(namespace.clone());
        }
    }

    /// An answer told of trouble; `before` is what the target had before, and is brought up to date.
    pub(super) fn bad(&mut self, place: &TargetRef, before: &mut Option<Trouble>) -> Blame {
        let namespace = &place.namespace;
        let all = self.troubled.get(namespace);
        let own_of_all = all.is_some_and(|all| all.own || self.good > all.good);
        let own =
            own_of_all || before.is_some_and(|before| before.own || self.good > before.good || self.bad == before.bad);
        let confirmed = self.last.as_ref().is_some_and(|last| last != namespace);
        self.bad += 1;
        let now = |count, own| Trouble { count, good: self.good, bad: self.bad, own };
        let count = before.map_or(0, |before| before.count) + 1;
        *before = Some(now(count, own));
        self.troubled.insert(namespace.clone(), now(1, own_of_all));
        if own {
            return Blame::Target { lasting: count >= SPOKEN_OF };
        }
        self.last = Some(namespace.clone());
        Blame::Server { confirmed }
    }

    /// A request about this namespace takes long.
    pub(super) fn takes_long(&mut self, namespace: &Arc<str>) {
        self.slow.insert(namespace.clone());
    }

    /// The namespaces whose requests may hold only a share of the slots.
    pub(super) fn slow(&self) -> &BTreeSet<Arc<str>> {
        &self.slow
    }

    /// Forgets a namespace that is gone.
    pub(super) fn forget(&mut self, namespace: &str) {
        self.troubled.remove(namespace);
        self.slow.remove(namespace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::ObjectKind;

    fn place(namespace: &str) -> TargetRef {
        TargetRef { kind: ObjectKind::ConfigMap, namespace: namespace.into() }
    }

    const SERVER: Blame = Blame::Server { confirmed: false };

    /// The verdicts on so many troubles of one target, with what happens between them.
    fn verdicts(times: usize, mut between: impl FnMut(&mut Record)) -> Vec<Blame> {
        let (mut record, mut trouble) = (Record::default(), None);
        (0..times)
            .map(|_| {
                let blame = record.bad(&place("one"), &mut trouble);
                between(&mut record);
                blame
            })
            .collect()
    }

    #[test]
    fn trouble_that_one_has_alone_is_its_own_from_the_second_time() {
        let own = |lasting| Blame::Target { lasting };
        let expected = [SERVER, own(false), own(true), own(true)];
        assert_eq!(verdicts(4, |record| record.good(&"two".into(), SLOW / 2)), expected, "others do well");
        assert_eq!(verdicts(4, |_| {}), expected, "nobody else asks for anything");
        let both = |record: &mut Record| {
            record.bad(&place("two"), &mut None);
            record.good(&"three".into(), SLOW / 2);
        };
        assert_eq!(verdicts(4, both), expected, "one of several");
    }

    #[test]
    fn trouble_that_all_have_is_the_servers() {
        let verdicts = verdicts(4, |record| {
            record.bad(&place("two"), &mut None);
        });
        assert_eq!(verdicts[0], SERVER);
        assert_eq!(verdicts[1..], [Blame::Server { confirmed: true }; 3]);
    }

    #[test]
    fn trouble_of_all_targets_of_a_namespace_is_the_namespaces() {
        let mut record = Record::default();
        assert_eq!(record.bad(&place("one"), &mut None), SERVER);
        record.good(&"two".into(), SLOW / 2);
        let expected = Blame::Target { lasting: false };
        assert_eq!((0..3).map(|_| record.bad(&place("one"), &mut None)).collect::<Vec<_>>(), [expected; 3]);
        record.good(&"one".into(), SLOW / 2);
        assert_eq!(record.bad(&place("one"), &mut None), SERVER, "all is well there since");
    }

    #[test]
    fn a_namespace_is_slow_until_an_answer_comes_in_time() {
        let (mut record, one) = (Record::default(), Arc::from("one"));
        record.takes_long(&one);
        assert!(record.slow().contains(&one));
        record.good(&one, SLOW);
        assert!(record.slow().contains(&one));
        record.good(&one, SLOW / 2);
        assert!(record.slow().is_empty());
    }
}
