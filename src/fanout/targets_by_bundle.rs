//! The targets of all Bundles, and which Bundles have something to do: an event costs no walk over the others.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::bundle_targets::BundleTargets;
use super::concurrency_limit::Lane;

/// The targets of each Bundle that exists, and of those that are gone while requests are in flight.
#[derive(Default)]
pub(super) struct TargetsByBundle {
    all: BTreeMap<Arc<str>, BundleTargets>,
    /// The Bundles that may have changed since [`TargetsByBundle::take_changed`].
    changed: BTreeSet<Arc<str>>,
    /// The Bundles with work, by lane.
    work: BTreeMap<Lane, BTreeSet<Arc<str>>>,
    timers: BTreeSet<(Duration, Arc<str>)>,
    /// The timer of each Bundle that has one.
    timer_of: BTreeMap<Arc<str>, Duration>,
}

impl TargetsByBundle {
    /// The targets of all Bundles, sorted by name.
    pub(super) fn values(&self) -> impl Iterator<Item = &BundleTargets> {
        self.all.values()
    }

    /// The names of the Bundles whose targets meet a condition.
    pub(super) fn names(&self, condition: impl Fn(&BundleTargets) -> bool) -> Vec<Arc<str>> {
        self.all.iter().filter(|(_, targets)| condition(targets)).map(|(name, _)| name.clone()).collect()
    }

    /// The targets of a Bundle, which are about to change.
    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut BundleTargets> {
        let targets = self.all.get_mut(name)?;
        if !self.changed.contains(name) {
            self.changed.insert(targets.name().clone());
        }
        Some(targets)
    }

    /// The targets of a Bundle that exists.
    pub(super) fn get_or_insert(&mut self, name: &str) -> &mut BundleTargets {
        if !self.all.contains_key(name) {
            let name: Arc<str> = name.into();
            self.all.insert(name.clone(), BundleTargets::new(name));
        }
        self.get_mut(name).expect("the Bundle was just inserted")
    }

    /// The Bundles that changed, or whose time has come.
    pub(super) fn due(&self, now: Duration) -> Vec<Arc<str>> {
        let due = self.timers.iter().take_while(|(at, _)| *at <= now).map(|(_, name)| name);
        self.changed.iter().chain(due).cloned().collect()
    }

    /// Takes the names of the Bundles that changed.
    pub(super) fn take_changed(&mut self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut self.changed)
    }

    /// Whether any Bundle has work.
    pub(super) fn has_work(&self) -> bool {
        self.work.values().any(|waiting| !waiting.is_empty())
    }

    /// The next Bundle with work in a lane, in turn after this one.
    pub(super) fn next(&self, lane: Lane, after: &Arc<str>) -> Option<Arc<str>> {
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
        for name in &std::mem::take(&mut self.changed) {
            self.reindex_one(name);
            self.changed.insert(name.clone());
        }
    }

    /// Updates what one Bundle has to do.
    pub(super) fn reindex_one(&mut self, name: &Arc<str>) {
        if self.all.get(name).is_some_and(BundleTargets::can_be_dropped) {
            self.all.remove(name);
        }
        let targets = self.all.get(name);
        for lane in Lane::ALL {
            let waiting = self.work.entry(lane).or_default();
            if targets.is_some_and(|targets| targets.has_work(lane)) {
                waiting.insert(name.clone());
            } else {
                waiting.remove(name);
            }
        }
        let timer = targets.and_then(BundleTargets::next_wakeup);
        let before = match timer {
            Some(at) => self.timer_of.insert(name.clone(), at),
            None => self.timer_of.remove(name),
        };
        if before != timer {
            if let Some(at) = before {
                self.timers.remove(&(at, name.clone()));
            }
            self.timers.extend(timer.map(|at| (at, name.clone())));
        }
    }
}
