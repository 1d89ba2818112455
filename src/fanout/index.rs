//! The state of the targets, as slim entries.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::api;
use crate::bundle::{ContentSummary, ObjectKind, ObservedMetadata, TargetRef};

use super::list_scope::ListScope;
use super::observed::Observed;
use super::resource_version::ResourceVersion;

/// The facts that are kept of a target. Targets with equal metadata share it.
#[derive(Clone, Debug)]
pub(super) struct IndexEntry {
    pub(super) version: ResourceVersion,
    pub(super) metadata: Arc<ObservedMetadata>,
    /// The epoch of the last list that showed the target, or during which it was written.
    epoch: u32,
    /// Whether a watch has shown the target since that list began.
    watch_confirmed: bool,
    pub(super) byte_check: ByteCheck,
    /// Whether this version is known to be immutable.
    pub(super) immutable: bool,
    /// A summary of this version's content, if that was read.
    pub(super) holdings: Option<Box<ContentSummary>>,
}

/// The source of a target's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ObservationSource {
    /// A list or watch.
    Watch,
    /// The response to an order.
    Response,
}

/// The known state of a target's bytes; its metadata does not show a change under our own name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteCheck {
    /// The bytes match the metadata.
    Match,
    /// The target has a version that is not known to be ours.
    Unverified,
    /// The bytes do not match the metadata.
    Mismatch,
}

/// The reason why a list lacks a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// The target is gone, or has lost the Bundle label.
    Certain,
    /// As [`Absence::Certain`], or the target was written after the list was read.
    Doubtful,
}

/// The distinct metadata of all targets, to be shared.
#[derive(Default)]
pub(super) struct MetadataInterner {
    interned: HashSet<Arc<ObservedMetadata>>,
    /// The number of values at which those out of use are dropped.
    limit: usize,
}

impl MetadataInterner {
    fn intern(&mut self, metadata: ObservedMetadata) -> Arc<ObservedMetadata> {
        if let Some(known) = self.interned.get(&metadata) {
            return known.clone();
        }
        if self.interned.len() >= self.limit {
            self.interned.retain(|metadata| Arc::strong_count(metadata) > 1);
            self.limit = 64.max(2 * self.interned.len());
        }
        let metadata = Arc::new(metadata);
        self.interned.insert(metadata.clone());
        metadata
    }
}

/// The targets of one Bundle.
pub(super) struct TargetIndex {
    /// Name of the Bundle, and of all its targets.
    name: Arc<str>,
    /// The targets by kind and namespace.
    entries: BTreeMap<(ObjectKind, Arc<str>), IndexEntry>,
}

impl TargetIndex {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self { name, entries: BTreeMap::new() }
    }

    pub(super) fn get(&self, target: &TargetRef) -> Option<&IndexEntry> {
        self.entries.get(&key(target))
    }

    fn get_mut(&mut self, target: &TargetRef) -> Option<&mut IndexEntry> {
        self.entries.get_mut(&key(target))
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Keeps only the targets that hold keys of others beside ours.
    pub(super) fn keep_completed(&mut self) {
        let Self { name, entries } = self;
        entries.retain(|_, entry| entry.metadata.annotated_keys.is_some() && entry.metadata.is_target_of(name));
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = TargetRef> {
        self.entries.keys().map(|key| self.target(key))
    }

    fn target(&self, (kind, namespace): &(ObjectKind, Arc<str>)) -> TargetRef {
        TargetRef { kind: *kind, namespace: namespace.clone(), name: self.name.clone() }
    }

    /// Stores the state of a target, unless a newer one is known; returns `false` for one that is known or older.
    ///
    /// A state from a list, or from a response since it began, is right, whatever was shown before: etcd may have been
    /// restored. `byte_check` is that of a target that was not known before.
    pub(super) fn observe(
        &mut self,
        interner: &mut MetadataInterner,
        target: &TargetRef,
        observed: Observed,
        (epoch, source): (u32, ObservationSource),
        byte_check: ByteCheck,
    ) -> bool {
        let Observed { version, metadata } = observed;
        let from_watch = source == ObservationSource::Watch;
        if let Some(entry) = self.get_mut(target) {
            let since = std::mem::replace(&mut entry.epoch, epoch) == epoch;
            entry.watch_confirmed = from_watch || (since && entry.watch_confirmed);
            if !entry.version.is_replaced_by(version, since, *entry.metadata == metadata) {
                return false;
            }
            entry.version = version;
            if *entry.metadata != metadata {
                entry.metadata = interner.intern(metadata);
            }
            if entry.byte_check == ByteCheck::Match {
                entry.byte_check = ByteCheck::Unverified;
            }
            (entry.immutable, entry.holdings) = (false, None);
        } else {
            self.entries.insert(
                key(target),
                IndexEntry {
                    version,
                    metadata: interner.intern(metadata),
                    epoch,
                    watch_confirmed: from_watch,
                    byte_check,
                    immutable: false,
                    holdings: None,
                },
            );
        }
        true
    }

    /// Sets what is known of a target's bytes, unless the target has a newer version.
    pub(super) fn set_byte_check(&mut self, target: &TargetRef, version: ResourceVersion, byte_check: ByteCheck) {
        if let Some(entry) = self.get_mut(target).filter(|entry| entry.version <= version) {
            entry.byte_check = byte_check;
        }
    }

    /// Marks the bytes of all targets of a kind as unverified, since their metadata do not show a change of them.
    pub(super) fn mark_kind_unverified(&mut self, kind: ObjectKind) {
        let matching = self.of_kind(kind).filter(|entry| entry.byte_check == ByteCheck::Match);
        matching.for_each(|entry| entry.byte_check = ByteCheck::Unverified);
    }

    /// Marks the bytes of a target as unverified.
    pub(super) fn mark_unverified(&mut self, target: &TargetRef) {
        if let Some(entry) = self.get_mut(target).filter(|entry| entry.byte_check == ByteCheck::Match) {
            entry.byte_check = ByteCheck::Unverified;
        }
    }

    /// Marks a version of a target as immutable.
    pub(super) fn mark_immutable(&mut self, target: &TargetRef, version: Option<ResourceVersion>) {
        if let Some(entry) = self.get_mut(target).filter(|entry| Some(entry.version) == version) {
            entry.immutable = true;
        }
    }

    /// Sets what a version of a target holds.
    pub(super) fn set_holdings(&mut self, target: &TargetRef, version: ResourceVersion, holdings: ContentSummary) {
        if let Some(entry) = self.get_mut(target).filter(|entry| entry.version == version) {
            entry.holdings = Some(Box::new(holdings));
        }
    }

    /// Forgets what targets of a kind hold, since other keys are written.
    pub(super) fn forget_holdings(&mut self, kind: ObjectKind) {
        self.of_kind(kind).for_each(|entry| entry.holdings = None);
    }

    /// Removes a target that is gone as of a version; returns `false` if a newer version is known.
    pub(super) fn remove(&mut self, target: &TargetRef, version: ResourceVersion) -> bool {
        let known = self.get(target).is_some_and(|entry| entry.version <= version);
        if known {
            self.entries.remove(&key(target));
        }
        known
    }

    /// Forgets a target that lacks the Bundle label, since no watch shows it; returns whether it does.
    pub(super) fn forget_unlabelled(&mut self, target: &TargetRef) -> bool {
        let labelled = |entry: &IndexEntry| {
            entry.metadata.labels.get(api::BUNDLE_LABEL).is_some_and(|label| **label == *self.name)
        };
        let unlabelled = self.get(target).is_some_and(|entry| !labelled(entry));
        if unlabelled {
            self.entries.remove(&key(target));
        }
        unlabelled
    }

    /// Targets in `scope` that the list of `epoch` does not contain, or that were written since it began. Lists show
    /// only objects with the label.
    pub(super) fn missing(&self, scope: &ListScope, epoch: u32) -> Vec<(TargetRef, Absence)> {
        let missing = self.entries.iter().filter(|((kind, namespace), entry)| {
            scope.covers(*kind, namespace)
                && !entry.is_watch_confirmed(epoch)
                && entry.metadata.labels.contains_key(api::BUNDLE_LABEL)
        });
        let absence = |entry: &IndexEntry| if entry.epoch == epoch { Absence::Doubtful } else { Absence::Certain };
        missing.map(|(key, entry)| (self.target(key), absence(entry))).collect()
    }

    /// Returns whether a watch has shown a target since the list of `epoch` began.
    pub(super) fn is_watch_confirmed(&self, target: &TargetRef, epoch: u32) -> bool {
        self.get(target).is_some_and(|entry| entry.is_watch_confirmed(epoch))
    }

    fn of_kind(&mut self, kind: ObjectKind) -> impl Iterator<Item = &mut IndexEntry> {
        self.entries.iter_mut().filter(move |((of, _), _)| *of == kind).map(|(_, entry)| entry)
    }
}

impl IndexEntry {
    fn is_watch_confirmed(&self, epoch: u32) -> bool {
        self.epoch == epoch && self.watch_confirmed
    }
}

fn key(TargetRef { kind, namespace, .. }: &TargetRef) -> (ObjectKind, Arc<str>) {
    (*kind, namespace.clone())
}

#[cfg(test)]
impl IndexEntry {
    pub(super) fn for_test(version: ResourceVersion, metadata: ObservedMetadata) -> Self {
        Self {
            version,
            metadata: Arc::new(metadata),
            epoch: 0,
            watch_confirmed: true,
            byte_check: ByteCheck::Match,
            immutable: false,
            holdings: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Labels;

    fn target() -> TargetRef {
        TargetRef { kind: ObjectKind::ConfigMap, namespace: "one".into(), name: "b".into() }
    }

    fn version(number: u64) -> ResourceVersion {
        ResourceVersion::parse(&number.to_string())
    }

    fn observed(number: u64, label: &str) -> Observed {
        let labels = Labels::from([(api::BUNDLE_LABEL.to_owned(), label.to_owned())]);
        Observed { version: version(number), metadata: ObservedMetadata { labels, ..ObservedMetadata::default() } }
    }

    /// An index of one target at version 5, shown by the first list.
    fn targets(interner: &mut MetadataInterner) -> TargetIndex {
        let mut targets = TargetIndex::new("b".into());
        assert!(targets.observe(
            interner,
            &target(),
            observed(5, "b"),
            (1, ObservationSource::Watch),
            ByteCheck::Match
        ));
        targets
    }

    #[test]
    fn what_is_older_than_what_is_known_changes_nothing() {
        let mut interner = MetadataInterner::default();
        let mut targets = targets(&mut interner);
        for old in [4, 5] {
            assert!(!targets.observe(
                &mut interner,
                &target(),
                observed(old, "other"),
                (1, ObservationSource::Watch),
                ByteCheck::Unverified
            ));
        }
        assert!(!targets.remove(&target(), version(4)), "it has come again since");
        let entry = targets.get(&target()).expect("there");
        assert_eq!((entry.version, entry.byte_check), (version(5), ByteCheck::Match));
        assert_eq!(*entry.metadata, observed(5, "b").metadata);
        assert!(targets.remove(&target(), version(6)));
        assert!(!targets.remove(&target(), version(6)), "once");
    }

    #[test]
    fn what_a_list_shows_is_right_whatever_was_seen_before_but_not_since_it_began() {
        let mut interner = MetadataInterner::default();
        let mut targets = targets(&mut interner);
        assert!(
            targets.observe(
                &mut interner,
                &target(),
                observed(3, "restored"),
                (2, ObservationSource::Watch),
                ByteCheck::Match
            ),
            "from a backup"
        );
        let entry = targets.get(&target()).expect("there");
        assert_eq!((entry.version, entry.byte_check), (version(3), ByteCheck::Unverified));
        assert!(
            targets.observe(
                &mut interner,
                &target(),
                observed(4, "b"),
                (2, ObservationSource::Watch),
                ByteCheck::Match
            ),
            "a watch goes on from there"
        );
        assert!(
            targets.observe(
                &mut interner,
                &target(),
                observed(9, "written"),
                (3, ObservationSource::Watch),
                ByteCheck::Match
            ),
            "an answer"
        );
        assert!(
            !targets.observe(
                &mut interner,
                &target(),
                observed(4, "b"),
                (3, ObservationSource::Watch),
                ByteCheck::Match
            ),
            "the list was read before"
        );
        assert!(
            !targets.observe(
                &mut interner,
                &target(),
                observed(9, "written"),
                (4, ObservationSource::Watch),
                ByteCheck::Match
            ),
            "nothing is new"
        );
    }

    #[test]
    fn bytes_are_unverified_from_each_new_version_until_they_are_checked() {
        let mut interner = MetadataInterner::default();
        let mut targets = targets(&mut interner);
        let byte_check = |targets: &TargetIndex| targets.get(&target()).expect("there").byte_check;
        assert!(targets.observe(
            &mut interner,
            &target(),
            observed(6, "b"),
            (1, ObservationSource::Watch),
            ByteCheck::Match
        ));
        assert_eq!(byte_check(&targets), ByteCheck::Unverified);
        targets.set_byte_check(&target(), version(5), ByteCheck::Match);
        assert_eq!(byte_check(&targets), ByteCheck::Unverified, "an older version shows nothing of this one");
        targets.set_byte_check(&target(), version(6), ByteCheck::Mismatch);
        assert!(targets.observe(
            &mut interner,
            &target(),
            observed(7, "other"),
            (1, ObservationSource::Watch),
            ByteCheck::Match
        ));
        assert_eq!(byte_check(&targets), ByteCheck::Mismatch, "a change of something else does not mend them");
        targets.set_byte_check(&target(), version(7), ByteCheck::Match);
        assert_eq!(byte_check(&targets), ByteCheck::Match);
    }

    #[test]
    fn what_metadata_does_not_show_is_unverified_by_kind_until_it_is_checked() {
        let mut interner = MetadataInterner::default();
        let mut targets = targets(&mut interner);
        let byte_check = |targets: &TargetIndex| targets.get(&target()).expect("there").byte_check;
        targets.mark_kind_unverified(ObjectKind::Secret);
        assert_eq!(byte_check(&targets), ByteCheck::Match);
        targets.mark_kind_unverified(ObjectKind::ConfigMap);
        assert_eq!(byte_check(&targets), ByteCheck::Unverified);
        targets.set_byte_check(&target(), version(5), ByteCheck::Mismatch);
        targets.mark_kind_unverified(ObjectKind::ConfigMap);
        assert_eq!(byte_check(&targets), ByteCheck::Mismatch, "that they are wrong is known");
    }

    #[test]
    fn a_list_lacks_what_was_neither_seen_nor_written_since_it_began() {
        let scope = |kind, namespace: Option<&str>| ListScope::Targets(kind, namespace.map(str::to_owned));
        let all = scope(ObjectKind::ConfigMap, None);
        let mut interner = MetadataInterner::default();
        let mut targets = targets(&mut interner);
        assert_eq!(targets.missing(&all, 1), []);
        assert_eq!(targets.missing(&all, 2), [(target(), Absence::Certain)]);
        assert_eq!(targets.missing(&scope(ObjectKind::ConfigMap, Some("one")), 2), [(target(), Absence::Certain)]);
        assert_eq!(targets.missing(&scope(ObjectKind::ConfigMap, Some("two")), 2), []);
        assert_eq!(targets.missing(&scope(ObjectKind::Secret, None), 2), []);
        targets.observe(&mut interner, &target(), observed(5, "b"), (2, ObservationSource::Watch), ByteCheck::Match);
        assert_eq!(targets.missing(&all, 2), [], "it is named, if only as it was");
        targets.observe(&mut interner, &target(), observed(6, "b"), (2, ObservationSource::Response), ByteCheck::Match);
        assert_eq!(targets.missing(&all, 2), [], "it was named before");
        targets.observe(&mut interner, &target(), observed(7, "b"), (3, ObservationSource::Response), ByteCheck::Match);
        assert_eq!(targets.missing(&all, 3), [(target(), Absence::Doubtful)], "the list may be older or newer");
    }

    #[test]
    fn only_what_no_watch_delivers_is_forgotten() {
        let mut interner = MetadataInterner::default();
        let mut targets = targets(&mut interner);
        targets.forget_unlabelled(&target());
        assert!(targets.get(&target()).is_some());
        targets.observe(
            &mut interner,
            &target(),
            observed(6, "another"),
            (1, ObservationSource::Watch),
            ByteCheck::Match,
        );
        targets.forget_unlabelled(&target());
        assert!(targets.get(&target()).is_none());
    }

    #[test]
    fn targets_with_equal_metadata_share_it_and_what_is_out_of_use_is_dropped() {
        let mut interner = MetadataInterner::default();
        let one = interner.intern(observed(1, "b").metadata);
        assert!(Arc::ptr_eq(&one, &interner.intern(observed(2, "b").metadata)));
        for number in 0..1000 {
            interner.intern(observed(1, &number.to_string()).metadata);
        }
        assert!(interner.interned.len() <= 64, "{}", interner.interned.len());
        assert!(Arc::ptr_eq(&one, &interner.intern(observed(3, "b").metadata)));
    }
}
