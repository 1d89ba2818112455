//! Backoff for targets that others keep changing: they are healed at once at first, then less and less often.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::bundle::TargetRef;

use super::backoff::ExponentialBackoff;

/// The number of times in a row that a target is healed at once.
const IMMEDIATE_HEALS: u32 = 10;

/// The pauses between the heals that follow.
const PAUSE: ExponentialBackoff = ExponentialBackoff { first: Duration::from_secs(1), max: Duration::from_mins(1) };

/// A target is no longer contested this many times its last pause after the last intervention, but not before
/// [`CALM_MIN`].
const CALM_FACTOR: u32 = 4;
const CALM_MIN: Duration = Duration::from_secs(10);

/// The time without an intervention after which the earlier ones are forgotten.
const FORGET_AFTER: Duration = Duration::from_mins(3);

/// The recent interventions of others, by target.
#[derive(Default)]
pub(super) struct ContentionBackoff(BTreeMap<TargetRef, Interventions>);

struct Interventions {
    count: u32,
    /// The field manager that was last seen to hold a key of the target, and that key.
    conflicting_manager: Option<ConflictingManager>,
    /// Whether the target counts as failing.
    contested: bool,
    /// The time at which the target was, or will be, healed of the last one.
    last: Duration,
    /// Whether the contention was reported.
    reported: bool,
}

/// A field manager, and a key of the target that it holds.
pub(super) type ConflictingManager = (String, String);

/// The next heal of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NextHeal {
    /// The time of the heal.
    pub(super) at: Duration,
    /// Whether the contention is to be reported now.
    pub(super) is_contested: bool,
}

impl ContentionBackoff {
    /// Records that others have changed a target; changes before its next heal count as one intervention.
    pub(super) fn next_heal(&mut self, target: &TargetRef, now: Duration) -> NextHeal {
        self.0.retain(|_, known| known.last + FORGET_AFTER > now || known.contested);
        let known = self.0.entry(target.clone()).or_insert_with(|| Interventions::new(now));
        if known.last + FORGET_AFTER <= now {
            *known = Interventions { contested: known.contested, ..Interventions::new(now) };
        }
        if known.last > now {
            return NextHeal { at: known.last, is_contested: false };
        }
        known.last = now.max(known.last + pause(known.count));
        known.count = known.count.saturating_add(1);
        NextHeal { at: known.last, is_contested: known.take_unreported() }
    }

    /// Records that others change a target faster than it can be healed; returns whether to report it now.
    pub(super) fn record_loss(&mut self, target: &TargetRef, now: Duration) -> bool {
        let known = self.0.entry(target.clone()).or_insert_with(|| Interventions::new(now));
        known.last = known.last.max(now);
        known.count = known.count.max(IMMEDIATE_HEALS) + 1;
        known.take_unreported()
    }

    /// Forgets the targets of a namespace that is gone.
    pub(super) fn forget(&mut self, namespace: &str) {
        self.0.retain(|target, _| *target.namespace != *namespace);
    }

    /// Returns whether others have changed a target recently.
    pub(super) fn is_tracked(&self, target: &TargetRef) -> bool {
        self.0.contains_key(target)
    }

    /// Sets the field manager that holds a key of a target.
    pub(super) fn set_conflicting_manager(&mut self, target: &TargetRef, manager: ConflictingManager) {
        if let Some(known) = self.0.get_mut(target) {
            known.conflicting_manager = Some(manager);
        }
    }

    /// The field manager that was last seen to hold a key of a target.
    pub(super) fn conflicting_manager(&self, target: &TargetRef) -> Option<&ConflictingManager> {
        self.0.get(target)?.conflicting_manager.as_ref()
    }

    /// Updates which targets are contested; returns whether that has changed.
    pub(super) fn update_contested(&mut self, now: Duration) -> bool {
        let mut changed = false;
        for known in self.0.values_mut() {
            let contested = known.contested_until().is_some_and(|until| until > now);
            changed |= contested != known.contested;
            known.contested = contested;
        }
        changed
    }

    /// The contested targets, as of [`ContentionBackoff::update_contested`].
    pub(super) fn contested(&self) -> impl Iterator<Item = &TargetRef> {
        self.0.iter().filter(|(_, known)| known.contested).map(|(target, _)| target)
    }

    /// The next time at which a target is no longer contested.
    pub(super) fn next_wakeup(&self) -> Option<Duration> {
        self.0.values().filter(|known| known.contested).filter_map(Interventions::contested_until).min()
    }
}

/// The pause after so many interventions.
fn pause(count: u32) -> Duration {
    match count.checked_sub(IMMEDIATE_HEALS) {
        None => Duration::ZERO,
        Some(more) => PAUSE.pause(more),
    }
}

impl Interventions {
    fn new(now: Duration) -> Self {
        Self { count: 0, conflicting_manager: None, contested: false, last: now, reported: false }
    }

    /// The time until which the target counts as failing, unless there is another intervention.
    fn contested_until(&self) -> Option<Duration> {
        let last = pause(self.count.saturating_sub(1));
        (self.count > IMMEDIATE_HEALS).then(|| self.last + (CALM_FACTOR * last).clamp(CALM_MIN, FORGET_AFTER))
    }

    /// Returns whether the target is contested and that was not reported yet; marks it as reported.
    fn take_unreported(&mut self) -> bool {
        let is_news = self.count > IMMEDIATE_HEALS && !self.reported;
        self.reported |= is_news;
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::ObjectKind;

    #[test]
    fn it_is_healed_at_once_a_few_times_and_then_less_and_less_often() {
        let target = TargetRef { kind: ObjectKind::ConfigMap, namespace: "a".into(), name: "b".into() };
        let mut contention = ContentionBackoff::default();
        let mut now = Duration::from_secs(100);
        let mut pauses = Vec::new();
        let mut contested = 0;
        for _ in 0..19 {
            let NextHeal { at, is_contested } = contention.next_heal(&target, now);
            pauses.push(at.saturating_sub(now).as_secs());
            contested += usize::from(is_contested);
            now = at;
        }
        assert_eq!(pauses[..10], [0; 10]);
        assert_eq!(pauses[10..], [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(contested, 1, "contention is reported once");
        let next = contention.next_heal(&target, now + Duration::from_secs(1)).at;
        for _ in 0..100 {
            assert_eq!(
                contention.next_heal(&target, now + Duration::from_secs(2)).at,
                next,
                "further changes delay nothing"
            );
        }
        now = next;
        assert!(
            !contention.record_loss(&target, now) && ContentionBackoff::default().record_loss(&target, now),
            "a lost write is reported at once"
        );
        let later = now + FORGET_AFTER;
        assert_eq!(contention.next_heal(&target, later), NextHeal { at: later, is_contested: false });
    }

    #[test]
    fn a_target_is_contested_from_the_eleventh_time_until_it_has_been_quiet_for_a_while() {
        let target = TargetRef { kind: ObjectKind::ConfigMap, namespace: "a".into(), name: "b".into() };
        let second = Duration::from_secs(1);
        // After so many times, for so many seconds.
        for (times, calm) in [(10, 0), (11, 10), (12, 10), (13, 16), (16, 128), (17, 180), (30, 180)] {
            let mut contention = ContentionBackoff::default();
            let mut now = 100 * second;
            for _ in 0..times {
                now = contention.next_heal(&target, now).at;
                contention.update_contested(now);
            }
            assert_eq!(contention.contested().count(), usize::from(calm > 0), "{times}");
            assert_eq!(contention.next_wakeup(), (calm > 0).then(|| now + calm * second), "{times}");
            let end = now + calm * second;
            assert!(calm == 0 || !contention.update_contested(end.saturating_sub(second)), "{times}: not yet");
            assert_eq!(contention.update_contested(end), calm > 0, "{times}: it is over, and that is news");
            assert_eq!((contention.contested().count(), contention.next_wakeup()), (0, None));
        }
    }

    #[test]
    fn the_conflicting_manager_is_remembered_of_targets_that_are_changed() {
        let target = TargetRef { kind: ObjectKind::ConfigMap, namespace: "a".into(), name: "b".into() };
        let manager = || ("rival".to_owned(), "key".to_owned());
        let mut contention = ContentionBackoff::default();
        contention.set_conflicting_manager(&target, manager());
        assert_eq!((contention.is_tracked(&target), contention.conflicting_manager(&target)), (false, None));
        contention.next_heal(&target, Duration::ZERO);
        contention.set_conflicting_manager(&target, manager());
        assert_eq!((contention.is_tracked(&target), contention.conflicting_manager(&target)), (true, Some(&manager())));
        contention.forget("a");
        assert!(!contention.is_tracked(&target));
    }
}
