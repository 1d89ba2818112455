//! A content of a Bundle that takes the place of the one before, at once or later.
//!
//! While a rollout is held back, targets stay as they were written last. All others get the newest content: those in new
//! namespaces, those that somebody else has changed, and those that the rollout before has not reached.

use std::sync::Arc;

use crate::bundle::{Need, ObjectKind, Payload, TargetRef, Unstable, Wanted};

use super::action::{Order, Request};
use super::damping::{Budget, Changes};
use super::fleet::{Fleet, Surroundings, siblings};
use super::index::Bytes;

/// The rollouts of one Bundle.
#[derive(Default)]
pub(super) struct Rollouts {
    pub(super) changes: Changes,
    /// The content of the latest one.
    content: Option<Arc<Wanted>>,
    /// Why the content changed last, in words.
    cause: String,
}

impl Fleet {
    /// The Bundle was decided anew: a new content is rolled out, or held back while it changes too often.
    pub(super) fn roll_out(
        &mut self,
        around: Surroundings<'_>,
        wanted: Arc<Wanted>,
        cause: String,
        budget: &mut Budget,
    ) {
        match self.wanted.as_ref().or(self.rollouts.content.as_ref()) {
            None => self.rollouts.changes.first(around.now),
            // What could not be published may have to be said again.
            Some(before) if has_same_content(before, &wanted) => self.story.held = None,
            Some(_) => {
                self.rollouts.changes.changed(around.now, &budget.damping);
                self.rollouts.cause.clone_from(&cause);
            }
        }
        self.because(|| cause);
        if self.rollouts.changes.due().is_none() || self.rollouts.changes.start(around.now, &self.name, budget) {
            self.start(&wanted);
        }
        self.decide(around, Some(wanted));
    }

    /// Starts a rollout whose time has come, and forgets changes that were long ago.
    pub(super) fn take_time(&mut self, around: Surroundings<'_>, budget: &mut Budget) {
        let Some(wanted) = self.wanted.clone() else { return };
        if self.rollouts.changes.start(around.now, &self.name, budget) {
            self.start(&wanted);
            self.story.begin();
            self.decide(around, Some(wanted));
        } else if self.rollouts.changes.calm(around.now) {
            self.story.calmed = true;
        }
    }

    fn start(&mut self, wanted: &Arc<Wanted>) {
        let before = self.rollouts.content.replace(wanted.clone()).filter(|_| self.wanted.is_some());
        for payload in wanted.payloads.values().filter(|payload| payload.partial) {
            let same = before.as_ref().and_then(|before| before.payloads.get(&payload.kind));
            if same.is_none_or(|same| same.values != payload.values) {
                self.targets.doubt(payload.kind);
            }
        }
    }

    /// The content that the newest one does not take the place of yet.
    pub(super) fn held_for(&self) -> Option<&Arc<Wanted>> {
        let newest = self.wanted.as_ref()?;
        self.rollouts.changes.due()?;
        self.rollouts.content.as_ref().filter(|content| !has_same_content(content, newest))
    }

    /// Whether what a place needs waits for the next rollout.
    pub(super) fn waits(&self, around: Surroundings<'_>, place: &TargetRef, need: &Need) -> bool {
        let Some(before) = self.held_for().filter(|_| self.tasks.get(place).is_none()) else { return false };
        let had = before.payloads.contains_key(&place.kind);
        match need {
            // What others changed beside our fields did no harm.
            Need::Update(_) => self.targets.get(place).is_some_and(|entry| match entry.bytes {
                Bytes::Right => true,
                Bytes::Doubtful => before.judge(place.kind, true, Some(&entry.look)).is_none(),
                Bytes::Wrong => false,
            }),
            // A kind of target comes, or goes.
            Need::Create => !had && siblings(place).any(|sibling| self.targets.get(&sibling).is_some()),
            Need::Release(_) => had && self.reaches(around, place),
            Need::Inspect | Need::Yield(_) | Need::Recreate => false,
        }
    }

    /// How many targets wait for the next rollout.
    pub(super) fn waiting(&self, around: Surroundings<'_>) -> usize {
        if self.held_for().is_none() {
            return 0;
        }
        let names = around.namespaces.iter().map(|(name, _)| name);
        let places = names.flat_map(|name| ObjectKind::ALL.map(|kind| TargetRef { kind, namespace: name.clone() }));
        let waits =
            |place: &TargetRef| self.need_in_time(around, place).is_some_and(|need| self.waits(around, place, &need));
        places.filter(|place| self.holds(around, place) && waits(place)).count()
    }

    /// Whether an order is part of a rollout, and no heal or new target.
    pub(super) fn is_bulk(&self, order: &Order) -> bool {
        let request = &order.request;
        let urgent = self.tasks.get(&order.place).is_some_and(|task| task.urgent);
        request.carries_content() && *request != Request::Create && !urgent
    }

    /// How the content changes, if that is too often.
    pub(super) fn unstable(&self, around: Surroundings<'_>) -> Option<Unstable> {
        let changes = &self.rollouts.changes;
        let wait = self.held_for().and_then(|_| changes.due()).map(|due| due.saturating_sub(around.now));
        changes.waited().then(|| Unstable {
            changes: changes.count(),
            wait,
            over_budget: changes.is_over_budget(),
            cause: self.rollouts.cause.clone(),
        })
    }
}

/// Whether two contents are the same, going by their keys and the hash, which covers all else.
fn has_same_content(one: &Wanted, other: &Wanted) -> bool {
    let same = |(one, other): (&Payload, &Payload)| {
        one.kind == other.kind && one.hash == other.hash && one.values.keys().eq(other.values.keys())
    };
    one.payloads.len() == other.payloads.len() && one.payloads.values().zip(other.payloads.values()).all(same)
}
