//! How often a target may be healed: at once, unless somebody keeps undoing it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::bundle::TargetRef;

/// How many times in a row a target is healed at once.
const AT_ONCE: u32 = 10;

/// The longest pause between two times.
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// A fight is over this many times its last pause after the last intervention, within these bounds.
const CALM: u32 = 4;
const CALM_MIN: Duration = Duration::from_secs(10);

/// After so much time without an intervention it is forgotten.
const FORGOTTEN: Duration = Duration::from_mins(3);

/// Recent interventions of others, by target.
#[derive(Default)]
pub(super) struct Heals(BTreeMap<TargetRef, Interventions>);

struct Interventions {
    count: u32,
    /// Who it was, as far as metadata told: a field manager, and a key of the target that it holds.
    rival: Option<Rival>,
    /// Whether the target counts as failing.
    contested: bool,
    /// When the target was, or will be, healed of the last one.
    last: Duration,
    /// Whether they were spoken of.
    told: bool,
}

/// A field manager, and a key that it holds.
pub(super) type Rival = (String, String);

/// When a target may be healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// At this time.
    pub(super) at: Duration,
    /// Whether this is the moment to speak of a fight.
    pub(super) is_fight: bool,
}

impl Heals {
    /// Somebody has changed a target again. While its turn is still to come, it is one intervention.
    pub(super) fn next(&mut self, place: &TargetRef, now: Duration) -> Turn {
        self.0.retain(|_, known| known.last + FORGOTTEN > now || known.contested);
        let known = self.0.entry(place.clone()).or_insert_with(|| Interventions::new(now));
        if known.last + FORGOTTEN <= now {
            *known = Interventions { contested: known.contested, ..Interventions::new(now) };
        }
        if known.last > now {
            return Turn { at: known.last, is_fight: false };
        }
        known.last = now.max(known.last + pause(known.count));
        known.count = known.count.saturating_add(1);
        Turn { at: known.last, is_fight: known.tell() }
    }

    /// Somebody changes a target faster than it can be healed; whether this is the moment to speak of a fight.
    pub(super) fn lost(&mut self, place: &TargetRef, now: Duration) -> bool {
        let known = self.0.entry(place.clone()).or_insert_with(|| Interventions::new(now));
        known.last = known.last.max(now);
        known.count = known.count.max(AT_ONCE) + 1;
        known.tell()
    }

    /// Forgets the targets of a namespace that is gone.
    pub(super) fn forget(&mut self, namespace: &str) {
        self.0.retain(|place, _| *place.namespace != *namespace);
    }

    /// Whether others have changed a target of late.
    pub(super) fn knows(&self, place: &TargetRef) -> bool {
        self.0.contains_key(place)
    }

    /// Who was seen to have changed a target.
    pub(super) fn saw(&mut self, place: &TargetRef, rival: Rival) {
        if let Some(known) = self.0.get_mut(place) {
            known.rival = Some(rival);
        }
    }

    /// Who was last seen to have changed a target.
    pub(super) fn rival(&self, place: &TargetRef) -> Option<&Rival> {
        self.0.get(place)?.rival.as_ref()
    }

    /// Brings up to date which targets others keep changing; whether that has changed.
    pub(super) fn review(&mut self, now: Duration) -> bool {
        let mut news = false;
        for known in self.0.values_mut() {
            let contested = known.contested_until().is_some_and(|until| until > now);
            news |= contested != known.contested;
            known.contested = contested;
        }
        news
    }

    /// The targets that others keep changing, as of the last review.
    pub(super) fn contested(&self) -> impl Iterator<Item = &TargetRef> {
        self.0.iter().filter(|(_, known)| known.contested).map(|(place, _)| place)
    }

    /// When a review finds something new though nothing happens.
    pub(super) fn wakes(&self) -> Option<Duration> {
        self.0.values().filter(|known| known.contested).filter_map(Interventions::contested_until).min()
    }
}

/// The pause after so many interventions.
fn pause(count: u32) -> Duration {
    match count.checked_sub(AT_ONCE) {
        None => Duration::ZERO,
        Some(more) => Duration::from_secs(1 << more.min(10)).min(PAUSE_MAX),
    }
}

impl Interventions {
    fn new(now: Duration) -> Self {
        Self { count: 0, rival: None, contested: false, last: now, told: false }
    }

    /// Until when the target counts as failing, if there is no intervention before.
    fn contested_until(&self) -> Option<Duration> {
        let last = pause(self.count.saturating_sub(1));
        (self.count > AT_ONCE).then(|| self.last + (CALM * last).clamp(CALM_MIN, FORGOTTEN))
    }

    /// Whether it is a fight that was not spoken of yet.
    fn tell(&mut self) -> bool {
        let is_news = self.count > AT_ONCE && !self.told;
        self.told |= is_news;
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::ObjectKind;

    #[test]
    fn it_is_healed_at_once_a_few_times_and_then_less_and_less_often() {
        let place = TargetRef { kind: ObjectKind::ConfigMap, namespace: "a".into() };
        let mut heals = Heals::default();
        let mut now = Duration::from_secs(100);
        let mut pauses = Vec::new();
        let mut fights = 0;
        for _ in 0..19 {
            let Turn { at, is_fight } = heals.next(&place, now);
            pauses.push(at.saturating_sub(now).as_secs());
            fights += usize::from(is_fight);
            now = at;
        }
        assert_eq!(pauses[..10], [0; 10]);
        assert_eq!(pauses[10..], [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(fights, 1, "a fight is spoken of once");
        let next = heals.next(&place, now + Duration::from_secs(1)).at;
        for _ in 0..100 {
            assert_eq!(heals.next(&place, now + Duration::from_secs(2)).at, next, "more of it puts off nothing");
        }
        now = next;
        assert!(
            !heals.lost(&place, now) && Heals::default().lost(&place, now),
            "one that is lost is spoken of at once"
        );
        let later = now + FORGOTTEN;
        assert_eq!(heals.next(&place, later), Turn { at: later, is_fight: false });
    }

    #[test]
    fn a_target_is_contested_from_the_eleventh_time_until_it_has_been_quiet_for_a_while() {
        let place = TargetRef { kind: ObjectKind::ConfigMap, namespace: "a".into() };
        let second = Duration::from_secs(1);
        // After so many times, for so many seconds.
        for (times, calm) in [(10, 0), (11, 10), (12, 10), (13, 16), (16, 128), (17, 180), (30, 180)] {
            let mut heals = Heals::default();
            let mut now = 100 * second;
            for _ in 0..times {
                now = heals.next(&place, now).at;
                heals.review(now);
            }
            assert_eq!(heals.contested().count(), usize::from(calm > 0), "{times}");
            assert_eq!(heals.wakes(), (calm > 0).then(|| now + calm * second), "{times}");
            let end = now + calm * second;
            assert!(calm == 0 || !heals.review(end.saturating_sub(second)), "{times}: not yet");
            assert_eq!(heals.review(end), calm > 0, "{times}: it is over, and that is news");
            assert_eq!((heals.contested().count(), heals.wakes()), (0, None));
        }
    }

    #[test]
    fn who_it_was_is_remembered_of_targets_that_are_changed() {
        let place = TargetRef { kind: ObjectKind::ConfigMap, namespace: "a".into() };
        let rival = || ("rival".to_owned(), "key".to_owned());
        let mut heals = Heals::default();
        heals.saw(&place, rival());
        assert_eq!((heals.knows(&place), heals.rival(&place)), (false, None));
        heals.next(&place, Duration::ZERO);
        heals.saw(&place, rival());
        assert_eq!((heals.knows(&place), heals.rival(&place)), (true, Some(&rival())));
        heals.forget("a");
        assert!(!heals.knows(&place));
    }
}
