//! Objects of others that stand where targets are to be: which of them have to be looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::bundle::{ObjectKind, TargetRef, Wanted};

use super::expectation::Expectation;
use super::snapshot::{Snapshot, Target};

impl Snapshot {
    /// Where targets of these Bundles are to be created, by kind and name. There may be objects without the Bundle label.
    #[must_use]
    pub fn to_create(&self, names: &BTreeSet<String>, now: Timestamp) -> BTreeMap<(ObjectKind, String), Vec<TargetRef>> {
        let mut all = BTreeMap::<_, Vec<_>>::new();
        for (expectation, name) in self.expectations(names, now) {
            for place in expectation.created(self) {
                all.entry((place.kind, name.to_owned())).or_default().push(place);
            }
        }
        all
    }

    /// The objects whose content tells whether these Bundles may write them, with what the Bundle wants.
    #[must_use]
    pub fn unseen(&self, names: &BTreeSet<String>, now: Timestamp) -> Vec<(Arc<Wanted>, TargetRef)> {
        let mut all = Vec::new();
        for (expectation, _) in self.expectations(names, now) {
            all.extend(expectation.unseen(self).into_iter().map(|place| (expectation.wanted.clone(), place)));
        }
        all
    }

    /// Takes in what was found at a place, or that nothing is there any more.
    pub fn found(&mut self, name: &str, place: TargetRef, target: Option<Target>) {
        let targets = self.targets.entry(name.to_owned()).or_default();
        match target {
            Some(target) => drop(targets.insert(place, target)),
            None => drop(targets.remove(&place)),
        }
    }

    fn expectations<'a>(
        &'a self,
        names: &'a BTreeSet<String>,
        now: Timestamp,
    ) -> impl Iterator<Item = (Expectation, &'a str)> {
        let intents = names.iter().filter_map(|name| self.world.intents.get(name));
        intents.map(move |intent| (Expectation::of(intent, self, now), &*intent.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::fixture::{now, pem};
    use crate::survey::fixture::{corporate, snapshot, theirs};

    #[test]
    fn what_stands_where_targets_are_to_be_is_looked_at_once() {
        let names = ["one".to_owned(), "two".to_owned()].into();
        let mut snapshot = snapshot(&[corporate("one"), corporate("two"), corporate("three")], &pem("rsa"));
        snapshot.write("one", &["a", "b"]);
        let place = |namespace: &str| TargetRef { kind: ObjectKind::ConfigMap, namespace: namespace.into() };
        let to_create = snapshot.to_create(&names, now());
        let two = (ObjectKind::ConfigMap, "two".to_owned());
        assert_eq!(to_create, [(two, vec![place("a"), place("b")])].into());
        assert!(snapshot.unseen(&names, now()).is_empty());

        snapshot.found("two", place("a"), Some(Target { holdings: None, ..theirs(true) }));
        let unseen = snapshot.unseen(&names, now());
        assert_eq!(
            unseen.iter().map(|(wanted, place)| (&*wanted.name, place)).collect::<Vec<_>>(),
            [("two", &place("a"))]
        );
        snapshot.found("two", place("a"), Some(theirs(true)));
        assert!(snapshot.unseen(&names, now()).is_empty());
        snapshot.found("two", place("a"), None);
        assert_eq!(snapshot.to_create(&names, now()), to_create);
    }
}
