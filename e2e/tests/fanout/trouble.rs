//! Single cases: fights over targets, and namespaces whose answers are bad or late.

use std::time::Duration;

use rootcast::bundle::{BundleId, Labels, ObjectKind, TargetRef};
use rootcast::fanout::{ListScope, RolloutStats, WriteResult};

use crate::cases::{CONFIG_MAPS, content, failing, first_answers, with_many_namespaces};
use crate::model::{Field, Part, Verb};
use crate::world::{World, key};

#[test]
fn contention_has_a_bounded_rate_and_is_reported_once() {
    let mut world = with_many_namespaces(2);
    world.decide("a", Some(&content(&["ca.pem"], "x")));
    world.flush();
    let key = key("a", &TargetRef { kind: ObjectKind::ConfigMap, namespace: "n0".into(), name: "a".into() });
    let rival = || Verb::Apply([(Field::new(Part::Data, "ca.pem"), "edited".to_owned())].into());
    let given = world.given.len();
    for _ in 0..600 {
        world.edit(&key, "rival", rival());
        world.flush();
        world.pass(Duration::from_secs(1));
        world.flush();
    }
    let heals = world.given.len() - given;
    assert!((15..=30).contains(&heals), "{heals} heals in 10 minutes");
    assert_eq!(world.contested, 1);
    world.settle();
    let value = world.server.objects[&key].fields.get(&Field::new(Part::Data, "ca.pem"));
    assert_eq!(value.map(String::as_str), Some("x"), "it is healed when the fight is over");
}

/// Time passes in so many steps of a second.
pub(crate) fn pass(world: &mut World, seconds: usize) {
    for _ in 0..seconds {
        world.pass(Duration::from_secs(1));
        world.flush();
    }
}

#[test]
fn a_target_that_others_keep_changing_fails_from_the_eleventh_time_until_they_stop() {
    let mut world = with_many_namespaces(2);
    world.decide("a", Some(&content(&["ca.pem"], "x")));
    world.flush();
    let key = key("a", &TargetRef { kind: ObjectKind::ConfigMap, namespace: "n0".into(), name: "a".into() });
    // One takes our key; one, who has an object of this name to publish, puts his own in its place.
    let take = || Verb::Apply([(Field::new(Part::Data, "ca.pem"), "edited".to_owned())].into());
    let replace = || Verb::Replace([(Field::new(Part::Data, "theirs.pem"), "theirs".to_owned())].into());
    for (rival, taken, verb) in [("rival", "ca.pem", take as fn() -> Verb), ("publisher", "theirs.pem", replace)] {
        let fight = |world: &mut World, seconds| {
            for _ in 0..seconds {
                world.edit(&key, rival, verb());
                world.flush();
                pass(world, 1);
            }
        };
        fight(&mut world, 10);
        assert_eq!(failing(&world), Vec::<String>::new(), "ten times are healed and forgotten");
        fight(&mut world, 60);
        let expected = format!(
            "n0: failed to patch ConfigMap n0/a: field manager {rival:?} keeps writing its key {taken:?}: stop that writer, or have it write another object"
        );
        assert_eq!(failing(&world), [expected]);
        assert_eq!(world.stats().bundles[&BundleId::from("a")].failing, 1);
        pass(&mut world, 240);
        assert_eq!(failing(&world), Vec::<String>::new(), "it is over");
        assert_eq!(
            world.stats().bundles[&BundleId::from("a")],
            RolloutStats { desired: 8, in_sync: 8, failing: 0, held: None }
        );
        pass(&mut world, 60);
    }
    world.settle();
}

#[test]
fn trouble_that_one_namespace_has_alone_holds_up_nobody_and_is_named() {
    let busy = |time: Option<u64>| WriteResult::Busy(time.map(Duration::from_secs), "busy".to_owned());
    let answers = [
        ("busy", busy(None)),
        ("busy for a minute", busy(Some(60))),
        ("failed", WriteResult::Failed("failed".to_owned())),
        ("late", WriteResult::TimedOut("late".to_owned())),
        ("lost", WriteResult::Lost("lost".to_owned())),
    ];
    for (name, trouble) in answers {
        let mut world = with_many_namespaces(4);
        world.decide("a", Some(&content(&["ca.pem"], "x")));
        world.answer_lists();
        let mut second = 0;
        // Answers come as soon as there are requests; those about two namespaces are all alike.
        let serve = |world: &mut World| {
            while let Some(flight) = world.flights.first() {
                if ["n2", "n5"].contains(&&*flight.order.target.namespace) {
                    world.answer(0, Some(trouble.clone()));
                } else {
                    first_answers(world);
                }
            }
            while world.deliver(&CONFIG_MAPS) || world.deliver(&ListScope::Namespaces) {}
        };
        while second < 200 {
            serve(&mut world);
            world.pass(Duration::from_secs(1));
            second += 1;
        }
        let named: Vec<_> = failing(&world).iter().map(|failure| failure[..2].to_owned()).collect();
        assert_eq!(named, ["n2", "n5"], "{name}");
        assert!(!world.stats().paused, "{name}");
        // A new namespace is served at once.
        world.namespace("new", |server| server.set_namespace("new", Labels::new()));
        serve(&mut world);
        serve(&mut world);
        let new = key("a", &TargetRef { kind: ObjectKind::ConfigMap, namespace: "new".into(), name: "a".into() });
        assert!(world.server.objects.contains_key(&new), "{name}");
        world.abandoned.clear();
        world.settle();
    }
}

#[test]
fn namespaces_whose_answers_take_long_hold_a_share_of_the_requests_and_others_go_on() {
    let mut world = with_many_namespaces(8);
    let slow = |namespace: &str| namespace != "n7";
    for bundle in ["a", "b", "c"] {
        world.decide(bundle, Some(&content(&["ca.pem"], "x")));
    }
    world.answer_lists();
    let held = |world: &World| world.flights.iter().filter(|flight| slow(&flight.order.target.namespace)).count();
    // Nothing comes back from any but one, until the time is over.
    for second in 0..120 {
        while let Some(index) = world.flights.iter().position(|flight| !slow(&flight.order.target.namespace)) {
            world.arrive(index);
            world.answer(index, None);
        }
        if second % 30 == 29 {
            while held(&world) > 0 {
                world.answer(0, Some(WriteResult::TimedOut("late".to_owned())));
            }
        }
        world.pass(Duration::from_secs(1));
        if second > 32 {
            assert!(held(&world) <= 2, "{} requests that take long after {second} s", held(&world));
        }
    }
    let served = |world: &World, bundle: &str, namespace: &str| {
        let place = TargetRef { kind: ObjectKind::ConfigMap, namespace: namespace.into(), name: bundle.into() };
        world.server.objects.contains_key(&key(bundle, &place))
    };
    assert!(["a", "b", "c"].iter().all(|bundle| served(&world, bundle, "n7")));
    world.settle();
}
