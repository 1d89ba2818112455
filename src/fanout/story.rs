//! What there is to tell of a Bundle: how far it is, what became of it, who is in the way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::bundle::{Outcome, TargetRef, Progress};

use super::action::Action;
use super::fleet::{Fleet, Surroundings};

/// A rollout that takes longer than this says how far it is, and then every [`PROGRESS_EVERY`].
const PROGRESS_FIRST: Duration = Duration::from_secs(1);

/// How often a Bundle's status says how far a rollout is, and how often it says anew what fails.
pub const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// What happened since the last report.
#[derive(Default)]
pub(super) struct Story {
    /// What began it, in words.
    cause: Option<String>,
    /// Whether the Bundle was decided anew.
    decided: bool,
    /// How many objects were written or let go.
    written: usize,
    /// When the next progress is due.
    progress: Option<Duration>,
    /// When what fails may be told anew.
    failures: Duration,
    /// The start of a rollout that was said to be held back.
    pub(super) held: Option<Duration>,
    /// Whether the content has not changed for long, after it did so too often.
    pub(super) calmed: bool,
    /// Targets that others keep changing, and that were not spoken of yet.
    pub(super) fights: Vec<TargetRef>,
    /// Objects of others that requests on their way complete.
    pub(super) completing: BTreeSet<TargetRef>,
    /// Objects of others that were completed, and that were not spoken of yet.
    completed: Vec<TargetRef>,
}

impl Story {
    /// A rollout that was held back starts: what it takes is counted from now.
    pub(super) fn begin(&mut self) {
        (self.progress, self.held) = (None, None);
    }

    /// The Bundle is decided anew: what follows is a rollout.
    pub(super) fn decided(&mut self, now: Duration) {
        self.decided = true;
        self.progress.get_or_insert(now + PROGRESS_FIRST);
    }
}

impl Fleet {
    /// Remembers what began the work that is now done.
    pub(super) fn because(&mut self, cause: impl FnOnce() -> String) {
        if self.story.cause.is_none() {
            self.story.cause = Some(cause());
        }
    }

    /// Others have changed a target, since or while it was written; when it may be written again.
    pub(super) fn intervention(&mut self, around: Surroundings<'_>, place: &TargetRef) -> Duration {
        let turn = self.heals.next(place, around.now);
        if turn.is_fight {
            self.story.fights.push(place.clone());
        }
        turn.at
    }

    /// Others change a target faster than it can be written; who, in words.
    pub(super) fn lost_to_others(&mut self, around: Surroundings<'_>, place: &TargetRef) -> String {
        if self.heals.lost(place, around.now) {
            self.story.fights.push(place.clone());
        }
        let TargetRef { kind, namespace } = place;
        let who = self.rival(place).map_or_else(String::new, |(manager, key)| {
            format!(": field manager {manager:?} keeps writing its key {key:?}")
        });
        format!(
            "failed to patch {} {namespace}/{}: it changes faster than it can be written{who}",
            kind.as_str(),
            self.name
        )
    }

    /// Why a target that is healed again and again counts as failing, and the cure.
    fn contested(&self, place: &TargetRef) -> String {
        let TargetRef { kind, namespace } = place;
        let who = self.heals.rival(place).map_or_else(
            || "somebody keeps changing or deleting it".to_owned(),
            |(manager, key)| format!("field manager {manager:?} keeps writing its key {key:?}"),
        );
        format!(
            "failed to patch {} {namespace}/{}: {who}: stop that writer, or have it write another object",
            kind.as_str(),
            self.name
        )
    }

    /// Why an immutable target stays as it is, after what the API server said of it.
    pub(super) fn immutable(&self, place: &TargetRef, cause: String) -> String {
        let payload = self.wanted.as_ref().and_then(|wanted| wanted.payloads.get(&place.kind));
        let is_wanted = |key: &String| payload.is_some_and(|payload| payload.values.contains_key(key));
        let stranger = self.targets.get(place).filter(|entry| entry.look.is_target_of(&self.name));
        match stranger.and_then(|entry| entry.look.stranger(is_wanted)) {
            Some((manager, key)) => {
                format!("{cause}; it is not deleted because it holds key {key:?} of field manager {manager:?}")
            }
            None => cause,
        }
    }

    /// Why a target that was deleted to be created anew is still there, and the cure.
    pub(super) fn kept_by_finalizers(&self, place: &TargetRef) -> String {
        let TargetRef { kind, namespace } = place;
        format!(
            "failed to delete {} {namespace}/{}: others made it immutable or took it over, and its finalizers keep it: remove them, and it is written anew",
            kind.as_str(),
            self.name
        )
    }

    /// What fails, sorted by place, with its cause: what cannot be written, and what others keep changing.
    pub(super) fn failures(&self, around: Surroundings<'_>) -> BTreeMap<TargetRef, String> {
        let contested = self.heals.contested().filter(|place| self.holds(around, place));
        let mut failures: BTreeMap<_, _> = contested.map(|place| (place.clone(), self.contested(place))).collect();
        failures.extend(self.tasks.failures().map(|(place, cause)| (place.clone(), cause.to_string())));
        failures
    }

    /// Why a target that was written is not as it should be.
    pub(super) fn not_as_written(&self, place: &TargetRef) -> String {
        let TargetRef { kind, namespace } = place;
        format!(
            "{} {namespace}/{} was written and is not what was written: a mutating webhook or policy changes it on its way: exempt objects that carry the label {}",
            kind.as_str(),
            self.name,
            crate::api::BUNDLE_LABEL
        )
    }

    /// An object was written; if that completed what was of others, it is to be told.
    pub(super) fn completed(&mut self, place: &TargetRef) {
        if self.story.completing.remove(place) {
            self.story.completed.push(place.clone());
        }
    }

    /// An order of this Bundle changed the cluster.
    pub(super) fn wrote(&mut self) {
        self.story.written += 1;
    }

    /// Who takes keys of a target from us.
    pub(super) fn rival(&self, place: &TargetRef) -> Option<(String, String)> {
        let payload = self.wanted.as_ref()?.payloads.get(&place.kind)?;
        let (manager, key) = self.targets.get(place)?.look.rival(payload.values.keys())?;
        Some((manager.to_owned(), key.to_owned()))
    }

    /// What there is to tell now.
    pub(super) fn tell(&mut self, around: Surroundings<'_>) -> Option<Action> {
        // Of a Bundle that is gone there is nothing to tell.
        if !self.there {
            return None;
        }
        let now = around.now;
        self.tasks.failures_changed |= self.heals.review(now);
        if let Some(place) = self.story.fights.pop() {
            let rival = self.rival(&place).or_else(|| self.heals.rival(&place).cloned());
            return Some(Action::Contested { bundle: self.name.clone(), rival, place });
        }
        if let Some(place) = self.story.completed.pop() {
            return Some(Action::Completed { bundle: self.name.clone(), place });
        }
        let held = self.held_for().and_then(|_| self.rollouts.changes.due());
        if let Some(unstable) = self.unstable(around).filter(|_| held.is_some() && self.story.held != held) {
            self.story.held = held;
            return Some(Action::Held { bundle: self.name.clone(), unstable });
        }
        if !self.tasks.is_idle() {
            // How far it is would be of two contents.
            if held.is_some() {
                return None;
            }
            let due = self.story.progress.filter(|due| *due <= now && self.story.decided)?;
            self.story.progress = Some(due.max(now) + PROGRESS_EVERY);
            return Some(Action::Progress { bundle: self.name.clone(), progress: self.progress() });
        }
        let (decided, written, failures) = (self.story.decided, self.story.written, self.story.failures);
        let failing = self.tasks.failures().next().is_some() || self.heals.contested().next().is_some();
        let told = decided
            || written > 0
            || self.story.calmed
            || (self.tasks.failures_changed && (now >= failures || !failing));
        // What is held back is not written: only what fails is told.
        let told = told && (held.is_none() || (failing && self.tasks.failures_changed && now >= failures));
        if self.wanted.is_none() || !told {
            return None;
        }
        self.tasks.failures_changed = false;
        let story = std::mem::take(&mut self.story);
        self.story.held = held;
        let cause = story.cause.unwrap_or_else(|| "time passed".to_owned());
        self.story.failures = now + PROGRESS_EVERY;
        let outcome = Outcome {
            namespaces: self.reached,
            written,
            rolled_out: decided,
            failures: self.failures(around).into_iter().collect(),
            unstable: self.unstable(around),
        };
        Some(Action::Report { bundle: self.name.clone(), outcome, cause })
    }

    fn progress(&self) -> Progress {
        let behind: BTreeSet<&Arc<str>> = self.tasks.places().map(|place| &place.namespace).collect();
        Progress { done: self.reached.saturating_sub(behind.len()), namespaces: self.reached }
    }

    /// When time alone gives it something to do.
    pub(super) fn wakes(&self) -> Option<Duration> {
        if !self.there {
            return self.tasks.wakes();
        }
        let held = self.held_for().is_some();
        let progress = self.story.progress.filter(|_| self.story.decided && !self.tasks.is_idle() && !held);
        let failing = !held || self.tasks.failures().next().is_some() || self.heals.contested().next().is_some();
        let failures = (self.wanted.is_some() && self.tasks.failures_changed && self.tasks.is_idle() && failing)
            .then_some(self.story.failures);
        let changes = &self.rollouts.changes;
        let rollout = self.wanted.as_ref().and_then(|_| changes.due().or_else(|| changes.quiet()));
        let contested = self.wanted.as_ref().and_then(|_| self.heals.wakes());
        [self.tasks.wakes(), self.listing.wakes(), progress, failures, contested, rollout].into_iter().flatten().min()
    }
}
