//! All Bundles' fleets, and which of them have something to do: an event costs no walk over the others.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::bundle_targets::BundleTargets;
use super::concurrency_limit::Lane;

/// All fleets by name: one for each Bundle that is there, and for those that are gone while requests are in flight.
#[derive(Default)]
pub(super) struct TargetsByBundle {
    all: BTreeMap<Arc<str>, BundleTargets>,
    /// Those that may have changed since [`Fleets::index`] and [`Fleets::take_changed`].
    changed: BTreeSet<Arc<str>>,
    /// Those with work, by its lane.
    work: BTreeMap<Lane, BTreeSet<Arc<str>>>,
    timers: BTreeSet<(Duration, Arc<str>)>,
    /// The timer of each fleet that has one.
    timer_of: BTreeMap<Arc<str>, Duration>,
}

impl TargetsByBundle {
    /// All fleets, sorted by name.
    pub(super) fn values(&self) -> impl Iterator<Item = &BundleTargets> {
        self.all.values()
    }

    /// The names of the fleets that meet a condition.
    pub(super) fn names(&self, condition: impl Fn(&BundleTargets) -> bool) -> Vec<Arc<str>> {
        self.all.values().filter(|bundle_targets| condition(bundle_targets)).map(|fleet| fleet.name.clone()).collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<&BundleTargets> {
        self.all.get(name)
    }

    /// A fleet that is about to change.
    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut BundleTargets> {
        let bundle_targets = self.all.get_mut(name)?;
        if !self.changed.contains(name) {
            self.changed.insert(bundle_targets.name.clone());
        }
        Some(bundle_targets)
    }

    /// The fleet of a Bundle that is there.
    pub(super) fn get_or_insert(&mut self, name: &str) -> &mut BundleTargets {
        if !self.all.contains_key(name) {
            let name: Arc<str> = name.into();
            self.all.insert(name.clone(), BundleTargets::new(name));
        }
        self.get_mut(name).expect("it is there now")
    }

    /// The fleets that changed, or whose time has come.
    pub(super) fn due(&self, now: Duration) -> Vec<Arc<str>> {
        let due = self.timers.iter().take_while(|(at, _)| *at <= now).map(|(_, name)| name);
        self.changed.iter().chain(due).cloned().collect()
    }

    /// Takes the fleets that changed.
    pub(super) fn take_changed(&mut self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut self.changed)
    }

    /// Whether any fleet has work.
    pub(super) fn has_work(&self) -> bool {
        self.work.values().any(|waiting| !waiting.is_empty())
    }

    /// The next fleet with work of a lane after this one, in turn.
    pub(super) fn next(&self, lane: Lane, after: &Arc<str>) -> Option<Arc<str>> {
        let waiting = self.work.get(&lane)?;
        let rest = (Bound::Excluded(after.clone()), Bound::Unbounded);
        waiting.range(rest).next().or_else(|| waiting.first()).cloned()
    }

    /// The first time at which a fleet has something to do.
    pub(super) fn next_wakeup(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Takes in what the fleets that changed have to do now; a Bundle that is gone, with nothing in flight, has no fleet.
    pub(super) fn reindex(&mut self) {
        for name in &std::mem::take(&mut self.changed) {
            self.reindex_one(name);
            self.changed.insert(name.clone());
        }
    }

    /// Takes in what one fleet has to do now.
    pub(super) fn reindex_one(&mut self, name: &Arc<str>) {
        if self.all.get(name).is_some_and(BundleTargets::can_be_dropped) {
            self.all.remove(name);
        }
        let bundle_targets = self.all.get(name);
        for lane in Lane::ALL {
            let waiting = self.work.entry(lane).or_default();
            if bundle_targets.is_some_and(|fleet| fleet.has_work(lane)) {
                waiting.insert(name.clone());
            } else {
                waiting.remove(name);
            }
        }
        let timer = bundle_targets.and_then(BundleTargets::next_wakeup);
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
