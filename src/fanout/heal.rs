//! How often a target may be healed: at once, unless somebody keeps undoing it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::bundle::Place;

/// How many times in a row a target is healed at once.
const AT_ONCE: u32 = 10;

/// The longest pause between two times.
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// After so much time without an intervention it is forgotten.
const FORGOTTEN: Duration = Duration::from_mins(3);

/// Recent interventions of others, by target.
#[derive(Default)]
pub(super) struct Heals(BTreeMap<Place, Interventions>);

#[derive(Clone, Copy)]
struct Interventions {
    count: u32,
    /// When the target was, or will be, healed of the last one.
    last: Duration,
    /// Whether they were spoken of.
    told: bool,
}

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
    pub(super) fn next(&mut self, place: &Place, now: Duration) -> Turn {
        self.0.retain(|_, known| known.last + FORGOTTEN > now);
        let fresh = Interventions { count: 0, last: now, told: false };
        let known = self.0.entry(place.clone()).or_insert(fresh);
        if known.last > now {
            return Turn { at: known.last, is_fight: false };
        }
        let pause = match known.count.checked_sub(AT_ONCE) {
            None => Duration::ZERO,
            Some(more) => Duration::from_secs(1 << more.min(10)).min(PAUSE_MAX),
        };
        known.last = now.max(known.last + pause);
        known.count = known.count.saturating_add(1);
        Turn { at: known.last, is_fight: known.tell() }
    }

    /// Somebody changes a target faster than it can be healed; whether this is the moment to speak of a fight.
    pub(super) fn lost(&mut self, place: &Place, now: Duration) -> bool {
        let fresh = Interventions { count: 0, last: now, told: false };
        let known = self.0.entry(place.clone()).or_insert(fresh);
        known.count = known.count.max(AT_ONCE) + 1;
        known.tell()
    }

    /// Forgets the targets of a namespace that is gone.
    pub(super) fn forget(&mut self, namespace: &str) {
        self.0.retain(|place, _| *place.namespace != *namespace);
    }
}

impl Interventions {
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
        let place = Place { kind: ObjectKind::ConfigMap, namespace: "a".into() };
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
}
