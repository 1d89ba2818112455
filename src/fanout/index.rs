//! What is there: namespaces whole, targets as slim entries.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api;
use crate::bundle::{Holdings, Look, Namespace, ObjectKind, Part, TargetRef};

use super::event::Scope;
use super::version::Version;

/// A target as a watch or an answer shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Its resource version.
    pub version: Version,
    /// How it looks.
    pub look: Look,
}

impl Observed {
    /// Reads an object's metadata. `named`: what the Bundle names of it.
    #[must_use]
    pub fn read(metadata: &ObjectMeta, named: impl Fn(Part, &str) -> bool) -> Self {
        Self { version: Version::of(metadata), look: Look::read(metadata, named) }
    }
}

/// A target as it is kept: targets that look alike share their look.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) version: Version,
    pub(super) look: Arc<Look>,
    /// The last list that it was seen in, or written during.
    epoch: u32,
    /// Whether a watch has told of it since that list began.
    told: bool,
    pub(super) bytes: Bytes,
    /// Whether this version is known to be immutable.
    pub(super) sealed: bool,
    /// What this version holds, if its content was looked at.
    pub(super) holdings: Option<Box<Holdings>>,
}

/// Who tells how a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Witness {
    /// A list or watch.
    Watch,
    /// The answer to a request of ours.
    Answer,
}

/// What is known of a target's bytes, beside its metadata: a change under our own name cannot be seen in those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bytes {
    /// They are as its metadata says.
    Right,
    /// It has a version that is not known to be ours.
    Doubtful,
    /// They are not as its metadata says.
    Wrong,
}

/// Why a list does not name a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// It is gone, or has lost the Bundle label.
    Certain,
    /// As [`Absence::Certain`], or it was written after the list was read.
    Doubtful,
}

/// All looks that are in use.
#[derive(Default)]
pub(super) struct Looks {
    known: HashSet<Arc<Look>>,
    /// How many there may be before those out of use are let go.
    limit: usize,
}

impl Looks {
    fn share(&mut self, look: Look) -> Arc<Look> {
        if let Some(known) = self.known.get(&look) {
            return known.clone();
        }
        if self.known.len() >= self.limit {
            self.known.retain(|look| Arc::strong_count(look) > 1);
            self.limit = 64.max(2 * self.known.len());
        }
        let look = Arc::new(look);
        self.known.insert(look.clone());
        look
    }
}

/// The namespaces that are there.
#[derive(Default)]
pub(super) struct Namespaces {
    known: BTreeMap<Arc<str>, (Namespace, u32)>,
    epoch: u32,
}

impl Namespaces {
    /// A namespace that is there and not on its way out.
    pub(super) fn living(&self, name: &str) -> Option<&Namespace> {
        self.known.get(name).map(|(namespace, _)| namespace).filter(|namespace| !namespace.terminating)
    }

    /// Takes in what a namespace is now; returns what it was, and its shared name.
    pub(super) fn put(&mut self, name: &str, now: Namespace) -> (Arc<str>, Option<Namespace>) {
        let (name, before) = match self.known.get_key_value(name) {
            Some((name, (before, _))) => (name.clone(), Some(before.clone())),
            None => (name.into(), None),
        };
        self.known.insert(name.clone(), (now, self.epoch));
        (name, before)
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<(Arc<str>, Namespace)> {
        self.known.remove_entry(name).map(|(name, (before, _))| (name, before))
    }

    /// The shared name of a namespace; one that is not known (yet) has a name of its own.
    pub(super) fn name(&self, name: &str) -> Arc<str> {
        self.known.get_key_value(name).map_or_else(|| name.into(), |(name, _)| name.clone())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Namespace)> {
        self.known.iter().map(|(name, (namespace, _))| (name, namespace))
    }

    /// A list begins: what it does not name by its end is gone.
    pub(super) fn begin(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// The names that the list which ends now lacks.
    pub(super) fn missing(&self) -> Vec<Arc<str>> {
        let missing = self.known.iter().filter(|(_, (_, epoch))| *epoch != self.epoch);
        missing.map(|(name, _)| name.clone()).collect()
    }
}

/// The targets of one Bundle.
#[derive(Default)]
pub(super) struct Targets(BTreeMap<TargetRef, Entry>);

impl Targets {
    pub(super) fn get(&self, place: &TargetRef) -> Option<&Entry> {
        self.0.get(place)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps only those that hold keys of others beside ours.
    pub(super) fn keep_completed(&mut self, bundle: &str) {
        self.0.retain(|_, entry| entry.look.keys.is_some() && entry.look.is_target_of(bundle));
    }

    pub(super) fn places(&self) -> impl Iterator<Item = &TargetRef> {
        self.0.keys()
    }

    /// Takes in how a target is, unless something newer is known; `false`: it is an echo, or older. What a list shows, or
    /// an answer since it began, is right, whatever was seen before: etcd may have been restored. `bytes` is what is known
    /// of one that was not known before.
    pub(super) fn learn(
        &mut self,
        looks: &mut Looks,
        place: &TargetRef,
        observed: Observed,
        (epoch, witness): (u32, Witness),
        bytes: Bytes,
    ) -> bool {
        let Observed { version, look } = observed;
        let told = witness == Witness::Watch;
        if let Some(entry) = self.0.get_mut(place) {
            let since = std::mem::replace(&mut entry.epoch, epoch) == epoch;
            entry.told = told || (since && entry.told);
            let same = entry.version == version && *entry.look == look;
            if same || (since && entry.version >= version) {
                return false;
            }
            entry.version = version;
            if *entry.look != look {
                entry.look = looks.share(look);
            }
            if entry.bytes == Bytes::Right {
                entry.bytes = Bytes::Doubtful;
            }
            (entry.sealed, entry.holdings) = (false, None);
        } else {
            self.0.insert(
                place.clone(),
                Entry { version, look: looks.share(look), epoch, told, bytes, sealed: false, holdings: None },
            );
        }
        true
    }

    /// What is now known of a target's bytes, unless it has a newer version.
    pub(super) fn inspected(&mut self, place: &TargetRef, version: Version, bytes: Bytes) {
        if let Some(entry) = self.0.get_mut(place).filter(|entry| entry.version <= version) {
            entry.bytes = bytes;
        }
    }

    /// The bytes of targets of this kind have to be looked at, since their metadata does not tell of them.
    pub(super) fn doubt(&mut self, kind: ObjectKind) {
        let right = self.0.iter_mut().filter(|(place, entry)| place.kind == kind && entry.bytes == Bytes::Right);
        right.for_each(|(_, entry)| entry.bytes = Bytes::Doubtful);
    }

    /// The bytes of this target have to be looked at.
    pub(super) fn doubt_one(&mut self, place: &TargetRef) {
        if let Some(entry) = self.0.get_mut(place).filter(|entry| entry.bytes == Bytes::Right) {
            entry.bytes = Bytes::Doubtful;
        }
    }

    /// A target turned out to be immutable, unless it has a newer version.
    pub(super) fn seal(&mut self, place: &TargetRef, version: Option<Version>) {
        if let Some(entry) = self.0.get_mut(place).filter(|entry| Some(entry.version) == version) {
            entry.sealed = true;
        }
    }

    /// What this version of a target holds.
    pub(super) fn holds(&mut self, place: &TargetRef, version: Version, holdings: Holdings) {
        if let Some(entry) = self.0.get_mut(place).filter(|entry| entry.version == version) {
            entry.holdings = Some(Box::new(holdings));
        }
    }

    /// What targets of this kind hold has to be looked at anew, since other keys are written.
    pub(super) fn forget_holdings(&mut self, kind: ObjectKind) {
        self.0.iter_mut().filter(|(place, _)| place.kind == kind).for_each(|(_, entry)| entry.holdings = None);
    }

    /// A target that is gone as of this version; `false` if that is older than what is known.
    pub(super) fn lose(&mut self, place: &TargetRef, version: Version) -> bool {
        let known = self.0.get(place).is_some_and(|entry| entry.version <= version);
        if known {
            self.0.remove(place);
        }
        known
    }

    /// Forgets how a target looks if it lacks the Bundle label, since no watch tells of it; whether it does.
    pub(super) fn forget_unlabelled(&mut self, place: &TargetRef, bundle: &str) -> bool {
        let labelled = |entry: &Entry| entry.look.labels.get(api::BUNDLE_LABEL).is_some_and(|label| label == bundle);
        let unlabelled = self.0.get(place).is_some_and(|entry| !labelled(entry));
        if unlabelled {
            self.0.remove(place);
        }
        unlabelled
    }

    /// The targets in a scope that the list which ends now does not name, and what was written since it began. Of what has no
    /// label no list tells.
    pub(super) fn missing(&self, scope: &Scope, epoch: u32) -> Vec<(TargetRef, Absence)> {
        let missing = self.0.iter().filter(|(place, entry)| {
            scope.covers(place) && !self.is_told(place, epoch) && entry.look.labels.contains_key(api::BUNDLE_LABEL)
        });
        let absence = |entry: &Entry| if entry.epoch == epoch { Absence::Doubtful } else { Absence::Certain };
        missing.map(|(place, entry)| (place.clone(), absence(entry))).collect()
    }

    /// Whether a watch has told of a target since this list began.
    pub(super) fn is_told(&self, place: &TargetRef, epoch: u32) -> bool {
        self.0.get(place).is_some_and(|entry| entry.epoch == epoch && entry.told)
    }
}

#[cfg(test)]
impl Entry {
    pub(super) fn for_test(version: Version, look: Look) -> Self {
        Self { version, look: Arc::new(look), epoch: 0, told: true, bytes: Bytes::Right, sealed: false, holdings: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::{Labels, PackedLabels};

    fn place() -> TargetRef {
        TargetRef { kind: ObjectKind::ConfigMap, namespace: "one".into() }
    }

    fn version(number: u64) -> Version {
        Version::parse(&number.to_string())
    }

    fn observed(number: u64, label: &str) -> Observed {
        let labels = Labels::from([(api::BUNDLE_LABEL.to_owned(), label.to_owned())]);
        Observed { version: version(number), look: Look { labels, ..Look::default() } }
    }

    /// Targets that hold one at version 5, seen in the first list.
    fn targets(looks: &mut Looks) -> Targets {
        let mut targets = Targets::default();
        assert!(targets.learn(looks, &place(), observed(5, "b"), (1, Witness::Watch), Bytes::Right));
        targets
    }

    #[test]
    fn what_is_older_than_what_is_known_changes_nothing() {
        let mut looks = Looks::default();
        let mut targets = targets(&mut looks);
        for old in [4, 5] {
            assert!(!targets.learn(&mut looks, &place(), observed(old, "other"), (1, Witness::Watch), Bytes::Doubtful));
        }
        assert!(!targets.lose(&place(), version(4)), "it has come again since");
        let entry = targets.get(&place()).expect("there");
        assert_eq!((entry.version, entry.bytes), (version(5), Bytes::Right));
        assert_eq!(*entry.look, observed(5, "b").look);
        assert!(targets.lose(&place(), version(6)));
        assert!(!targets.lose(&place(), version(6)), "once");
    }

    #[test]
    fn what_a_list_shows_is_right_whatever_was_seen_before_but_not_since_it_began() {
        let mut looks = Looks::default();
        let mut targets = targets(&mut looks);
        assert!(
            targets.learn(&mut looks, &place(), observed(3, "restored"), (2, Witness::Watch), Bytes::Right),
            "from a backup"
        );
        let entry = targets.get(&place()).expect("there");
        assert_eq!((entry.version, entry.bytes), (version(3), Bytes::Doubtful));
        assert!(
            targets.learn(&mut looks, &place(), observed(4, "b"), (2, Witness::Watch), Bytes::Right),
            "a watch goes on from there"
        );
        assert!(
            targets.learn(&mut looks, &place(), observed(9, "written"), (3, Witness::Watch), Bytes::Right),
            "an answer"
        );
        assert!(
            !targets.learn(&mut looks, &place(), observed(4, "b"), (3, Witness::Watch), Bytes::Right),
            "the list was read before"
        );
        assert!(
            !targets.learn(&mut looks, &place(), observed(9, "written"), (4, Witness::Watch), Bytes::Right),
            "nothing is new"
        );
    }

    #[test]
    fn bytes_are_in_doubt_from_each_new_version_until_they_are_inspected() {
        let mut looks = Looks::default();
        let mut targets = targets(&mut looks);
        let bytes = |targets: &Targets| targets.get(&place()).expect("there").bytes;
        assert!(targets.learn(&mut looks, &place(), observed(6, "b"), (1, Witness::Watch), Bytes::Right));
        assert_eq!(bytes(&targets), Bytes::Doubtful);
        targets.inspected(&place(), version(5), Bytes::Right);
        assert_eq!(bytes(&targets), Bytes::Doubtful, "an older version tells nothing of this one");
        targets.inspected(&place(), version(6), Bytes::Wrong);
        assert!(targets.learn(&mut looks, &place(), observed(7, "other"), (1, Witness::Watch), Bytes::Right));
        assert_eq!(bytes(&targets), Bytes::Wrong, "a change of something else does not mend them");
        targets.inspected(&place(), version(7), Bytes::Right);
        assert_eq!(bytes(&targets), Bytes::Right);
    }

    #[test]
    fn what_metadata_does_not_tell_of_is_doubted_by_kind_until_it_is_inspected() {
        let mut looks = Looks::default();
        let mut targets = targets(&mut looks);
        let bytes = |targets: &Targets| targets.get(&place()).expect("there").bytes;
        targets.doubt(ObjectKind::Secret);
        assert_eq!(bytes(&targets), Bytes::Right);
        targets.doubt(ObjectKind::ConfigMap);
        assert_eq!(bytes(&targets), Bytes::Doubtful);
        targets.inspected(&place(), version(5), Bytes::Wrong);
        targets.doubt(ObjectKind::ConfigMap);
        assert_eq!(bytes(&targets), Bytes::Wrong, "that they are wrong is known");
    }

    #[test]
    fn a_list_lacks_what_was_neither_seen_nor_written_since_it_began() {
        let scope = |kind, namespace: Option<&str>| Scope::Targets(kind, namespace.map(str::to_owned));
        let all = scope(ObjectKind::ConfigMap, None);
        let mut looks = Looks::default();
        let mut targets = targets(&mut looks);
        assert_eq!(targets.missing(&all, 1), []);
        assert_eq!(targets.missing(&all, 2), [(place(), Absence::Certain)]);
        assert_eq!(targets.missing(&scope(ObjectKind::ConfigMap, Some("one")), 2), [(place(), Absence::Certain)]);
        assert_eq!(targets.missing(&scope(ObjectKind::ConfigMap, Some("two")), 2), []);
        assert_eq!(targets.missing(&scope(ObjectKind::Secret, None), 2), []);
        targets.learn(&mut looks, &place(), observed(5, "b"), (2, Witness::Watch), Bytes::Right);
        assert_eq!(targets.missing(&all, 2), [], "it is named, if only as it was");
        targets.learn(&mut looks, &place(), observed(6, "b"), (2, Witness::Answer), Bytes::Right);
        assert_eq!(targets.missing(&all, 2), [], "it was named before");
        targets.learn(&mut looks, &place(), observed(7, "b"), (3, Witness::Answer), Bytes::Right);
        assert_eq!(targets.missing(&all, 3), [(place(), Absence::Doubtful)], "the list may be older or newer");
    }

    #[test]
    fn only_what_no_watch_tells_of_is_forgotten() {
        let mut looks = Looks::default();
        let mut targets = targets(&mut looks);
        targets.forget_unlabelled(&place(), "b");
        assert!(targets.get(&place()).is_some());
        targets.forget_unlabelled(&place(), "another");
        assert!(targets.get(&place()).is_none());
    }

    #[test]
    fn targets_that_look_alike_share_their_look_and_what_is_out_of_use_is_let_go() {
        let mut looks = Looks::default();
        let one = looks.share(observed(1, "b").look);
        assert!(Arc::ptr_eq(&one, &looks.share(observed(2, "b").look)));
        for number in 0..1000 {
            looks.share(observed(1, &number.to_string()).look);
        }
        assert!(looks.known.len() <= 64, "{}", looks.known.len());
        assert!(Arc::ptr_eq(&one, &looks.share(observed(3, "b").look)));
    }

    #[test]
    fn a_list_of_namespaces_lacks_what_it_does_not_name() {
        let namespace = |terminating| Namespace { labels: PackedLabels::default(), terminating, uid: "".into() };
        let mut namespaces = Namespaces::default();
        for (name, terminating) in [("here", false), ("going", true)] {
            assert_eq!(namespaces.put(name, namespace(terminating)).1, None);
        }
        assert!(namespaces.living("here").is_some());
        assert!(namespaces.living("going").is_none());
        namespaces.begin();
        namespaces.put("here", namespace(false));
        assert_eq!(namespaces.missing(), ["going".into()]);
        assert_eq!(namespaces.remove("going").map(|(_, before)| before), Some(namespace(true)));
        assert!(Arc::ptr_eq(&namespaces.name("here"), &namespaces.name("here")));
    }
}
