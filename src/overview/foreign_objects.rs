//! Foreign objects in place of targets: which of them have to be read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::bundle::{BundleId, Desired, ObjectKind, TargetRef};

use super::desired::DesiredTargets;
use super::snapshot::{Snapshot, SnapshotTarget};

impl Snapshot {
    /// Returns the targets of these Bundles to create, by kind and Bundle. Objects without the Bundle label may be
    /// there.
    #[must_use]
    pub fn targets_to_create(
        &self,
        bundles: &BTreeSet<BundleId>,
        now: Timestamp,
    ) -> BTreeMap<(ObjectKind, BundleId), Vec<TargetRef>> {
        let mut all = BTreeMap::<_, Vec<_>>::new();
        for (desired_targets, bundle) in self.desired_targets(bundles, now) {
            for place in desired_targets.targets_to_create(self) {
                all.entry((place.kind, bundle.clone())).or_default().push(place);
            }
        }
        all
    }

    /// Returns the targets whose content decides whether these Bundles may write them, with the desired state.
    #[must_use]
    pub fn targets_to_read(
        &self,
        bundles: &BTreeSet<BundleId>,
        now: Timestamp,
    ) -> Vec<(BundleId, Arc<Desired>, TargetRef)> {
        let mut all = Vec::new();
        for (desired_targets, bundle) in self.desired_targets(bundles, now) {
            let targets = desired_targets.targets_to_read(self).into_iter();
            all.extend(targets.map(|target| (bundle.clone(), desired_targets.desired.clone(), target)));
        }
        all
    }

    /// Records what was read of a target; `None` if it does not exist.
    pub fn record_target(&mut self, bundle: &BundleId, place: TargetRef, target: Option<SnapshotTarget>) {
        let targets = self.targets.entry(bundle.clone()).or_default();
        match target {
            Some(target) => drop(targets.insert(place, target)),
            None => drop(targets.remove(&place)),
        }
    }

    fn desired_targets<'a>(
        &'a self,
        bundles: &'a BTreeSet<BundleId>,
        now: Timestamp,
    ) -> impl Iterator<Item = (DesiredTargets, &'a BundleId)> {
        let intents = bundles.iter().filter_map(|bundle| self.inputs.intents.get(bundle));
        intents.map(move |intent| (DesiredTargets::of(intent, self, now), &intent.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::fixture::{now, pem};
    use crate::overview::fixture::{corporate, foreign_target, snapshot};

    #[test]
    fn foreign_objects_in_place_of_targets_are_read_once() {
        let names = ["one".into(), "two".into()].into();
        let mut snapshot = snapshot(&[corporate("one"), corporate("two"), corporate("three")], &pem("rsa"));
        snapshot.write("one", &["a", "b"]);
        let place = |namespace: &str| TargetRef {
            kind: ObjectKind::ConfigMap,
            namespace: namespace.into(),
            name: "two".into(),
        };
        let to_create = snapshot.targets_to_create(&names, now());
        let two = (ObjectKind::ConfigMap, "two".into());
        assert_eq!(to_create, [(two, vec![place("a"), place("b")])].into());
        assert!(snapshot.targets_to_read(&names, now()).is_empty());

        snapshot.record_target(
            &"two".into(),
            place("a"),
            Some(SnapshotTarget { holdings: None, ..foreign_target(true) }),
        );
        let to_read = snapshot.targets_to_read(&names, now());
        assert_eq!(
            to_read.iter().map(|(bundle, _, place)| (&**bundle.name(), place)).collect::<Vec<_>>(),
            [("two", &place("a"))]
        );
        snapshot.record_target(&"two".into(), place("a"), Some(foreign_target(true)));
        assert!(snapshot.targets_to_read(&names, now()).is_empty());
        snapshot.record_target(&"two".into(), place("a"), None);
        assert_eq!(snapshot.targets_to_create(&names, now()), to_create);
    }
}
