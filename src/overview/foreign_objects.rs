//! Objects of others that stand where targets are to be: which of them have to be looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::bundle::{Desired, ObjectKind, TargetRef};

use super::desired::DesiredTargets;
use super::snapshot::{Snapshot, SnapshotTarget};

impl Snapshot {
    /// Where targets of these Bundles are to be created, by kind and name. There may be objects without the Bundle label.
    #[must_use]
    pub fn targets_to_create(
        &self,
        names: &BTreeSet<String>,
        now: Timestamp,
    ) -> BTreeMap<(ObjectKind, String), Vec<TargetRef>> {
        let mut all = BTreeMap::<_, Vec<_>>::new();
        for (desired_targets, name) in self.desired_targets(names, now) {
            for place in desired_targets.targets_to_create(self) {
                all.entry((place.kind, name.to_owned())).or_default().push(place);
            }
        }
        all
    }

    /// The objects whose content tells whether these Bundles may write them, with what the Bundle wants.
    #[must_use]
    pub fn targets_to_read(&self, names: &BTreeSet<String>, now: Timestamp) -> Vec<(Arc<Desired>, TargetRef)> {
        let mut all = Vec::new();
        for (desired_targets, _) in self.desired_targets(names, now) {
            all.extend(
                desired_targets.targets_to_read(self).into_iter().map(|place| (desired_targets.desired.clone(), place)),
            );
        }
        all
    }

    /// Takes in what was found at a place, or that nothing is there any more.
    pub fn record_target(&mut self, name: &str, place: TargetRef, target: Option<SnapshotTarget>) {
        let targets = self.targets.entry(name.to_owned()).or_default();
        match target {
            Some(target) => drop(targets.insert(place, target)),
            None => drop(targets.remove(&place)),
        }
    }

    fn desired_targets<'a>(
        &'a self,
        names: &'a BTreeSet<String>,
        now: Timestamp,
    ) -> impl Iterator<Item = (DesiredTargets, &'a str)> {
        let intents = names.iter().filter_map(|name| self.inputs.intents.get(name));
        intents.map(move |intent| (DesiredTargets::of(intent, self, now), &*intent.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::fixture::{now, pem};
    use crate::overview::fixture::{corporate, foreign_target, snapshot};

    #[test]
    fn foreign_objects_in_place_of_targets_are_read_once() {
        let names = ["one".to_owned(), "two".to_owned()].into();
        let mut snapshot = snapshot(&[corporate("one"), corporate("two"), corporate("three")], &pem("rsa"));
        snapshot.write("one", &["a", "b"]);
        let place = |namespace: &str| TargetRef {
            kind: ObjectKind::ConfigMap,
            namespace: namespace.into(),
            name: "two".into(),
        };
        let to_create = snapshot.targets_to_create(&names, now());
        let two = (ObjectKind::ConfigMap, "two".to_owned());
        assert_eq!(to_create, [(two, vec![place("a"), place("b")])].into());
        assert!(snapshot.targets_to_read(&names, now()).is_empty());

        snapshot.record_target("two", place("a"), Some(SnapshotTarget { holdings: None, ..foreign_target(true) }));
        let to_read = snapshot.targets_to_read(&names, now());
        assert_eq!(
            to_read.iter().map(|(desired, place)| (&*desired.name, place)).collect::<Vec<_>>(),
            [("two", &place("a"))]
        );
        snapshot.record_target("two", place("a"), Some(foreign_target(true)));
        assert!(snapshot.targets_to_read(&names, now()).is_empty());
        snapshot.record_target("two", place("a"), None);
        assert_eq!(snapshot.targets_to_create(&names, now()), to_create);
    }
}
