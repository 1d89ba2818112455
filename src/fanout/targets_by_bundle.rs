//! The targets of all Bundles, and which Bundles have something to do: an event costs no walk over the others.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use crate::bundle::BundleId;

use super::bundle_targets::BundleTargets;
use super::concurrency_limit::Lane;

/// The targets of each Bundle that exists, and of those that are gone while requests are in flight.
#[derive(Default)]
pub(super) struct TargetsByBundle {
    all: BTreeMap<BundleId, BundleTargets>,
    /// The Bundles that may have changed since [`TargetsByBundle::take_changed`].
    changed: BTreeSet<BundleId>,
    /// The Bundles with work, by lane.
    work: BTreeMap<Lane, BTreeSet<BundleId>>,
    timers: BTreeSet<(Duration, BundleId)>,
    /// The timer of each Bundle that has one.
    timer_of: BTreeMap<BundleId, Duration>,
}

impl TargetsByBundle {
    /// The targets of all Bundles, sorted by name.
    pub(super) fn values(&self) -> impl Iterator<Item = &BundleTargets> {
        self.all.values()
    }

    /// The Bundles whose targets meet a condition.
    pub(super) fn ids(&self, condition: impl Fn(&BundleTargets) -> bool) -> Vec<BundleId> {
        self.all.iter().filter(|(_, targets)| condition(targets)).map(|(bundle, _)| bundle.clone()).collect()
    }

    /// The targets of a Bundle.
    pub(super) fn get(&self, bundle: &BundleId) -> Option<&BundleTargets> {
        self.all.get(bundle)
    }

    /// The targets of a Bundle, which are about to change.
    pub(super) fn get_mut(&mut self, bundle: &BundleId) -> Option<&mut BundleTargets> {
        let targets = self.all.get_mut(bundle)?;
        if !self.changed.contains(bundle) {
            self.changed.insert(targets.id().clone());
        }
        Some(targets)
    }

    /// The targets of a Bundle that exists.
    pub(super) fn get_or_insert(&mut self, bundle: &BundleId) -> &mut BundleTargets {
        if !self.all.contains_key(bundle) {
            self.all.insert(bundle.clone(), BundleTargets::new(bundle.clone()));
        }
        self.get_mut(bundle).expect("the Bundle was just inserted")
    }

    /// The Bundles that changed, or whose time has come.
    pub(super) fn due(&self, now: Duration) -> Vec<BundleId> {
        let due = self.timers.iter().take_while(|(at, _)| *at <= now).map(|(_, bundle)| bundle);
        self.changed.iter().chain(due).cloned().collect()
    }

    /// Takes the Bundles that changed.
    pub(super) fn take_changed(&mut self) -> BTreeSet<BundleId> {
        std::mem::take(&mut self.changed)
    }

    /// Returns whether any Bundle has work.
    pub(super) fn has_work(&self) -> bool {
        self.work.values().any(|waiting| !waiting.is_empty())
    }

    /// The next Bundle with work in a lane, in turn after this one.
    pub(super) fn next(&self, lane: Lane, after: &BundleId) -> Option<BundleId> {
        let waiting = self.work.get(&lane)?;
        let rest = (Bound::Excluded(after.clone()), Bound::Unbounded);
        waiting.range(rest).next().or_else(|| waiting.first()).cloned()
    }

    /// The first time at which a Bundle has something to do.
    pub(super) fn next_wakeup(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Updates what the Bundles that changed have to do; drops those that are gone with nothing in flight.
    pub(super) fn reindex(&mut self) {
        for bundle in &std::mem::take(&mut self.changed) {
            self.reindex_one(bundle);
            self.changed.insert(bundle.clone());
        }
    }

    /// Updates what one Bundle has to do.
    pub(super) fn reindex_one(&mut self, bundle: &BundleId) {
        if self.all.get(bundle).is_some_and(BundleTargets::can_be_dropped) {
            self.all.remove(bundle);
        }
        let targets = self.all.get(bundle);
        for lane in Lane::ALL {
            let waiting = self.work.entry(lane).or_default();
            if targets.is_some_and(|targets| targets.has_work(lane)) {
                waiting.insert(bundle.clone());
            } else {
                waiting.remove(bundle);
            }
        }
        let timer = targets.and_then(BundleTargets::next_wakeup);
        let before = match timer {
            Some(at) => self.timer_of.insert(bundle.clone(), at),
            None => self.timer_of.remove(bundle),
        };
        if before != timer {
            if let Some(at) = before {
                self.timers.remove(&(at, bundle.clone()));
            }
            self.timers.extend(timer.map(|at| (at, bundle.clone())));
        }
    }
}
