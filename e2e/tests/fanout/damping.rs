//! Contents that change too often, and when they reach which targets.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rootcast::bundle::{BundleId, Labels, ObjectKind, TargetRef};
use rootcast::fanout::{Damping, ListScope, WriteLimits};

use crate::model::{Field, Fields, Part, Verb};
use crate::world::{Content, World, key};

const S: Duration = Duration::from_secs(1);

const CONFIG_MAPS: ListScope = ListScope::Targets(ObjectKind::ConfigMap, None);

fn content(value: &'static str) -> Content {
    let kinds = BTreeSet::from([ObjectKind::ConfigMap]);
    Content { selective: false, kinds, keys: &["ca.pem"], value, label: false }
}

/// A world with four namespaces, where so many requests may be on their way.
fn world(limits: WriteLimits) -> World {
    let mut world = World::with(limits);
    for name in ["n0", "n1", "n2", "n3"] {
        world.namespace(name, |server| server.set_namespace(name, Labels::new()));
    }
    world.flush();
    world
}

fn change(world: &mut World, bundle: &'static str, value: &'static str) {
    world.decide(bundle, Some(&content(value)));
    world.flush();
}

/// A Bundle whose rollout of `d` has reached two of four targets.
fn in_the_middle_of_a_rollout() -> World {
    let mut world = world(WriteLimits { max_concurrent_writes: 1, ..WriteLimits::default() });
    for value in ["a", "b", "c"] {
        change(&mut world, "a", value);
    }
    world.decide("a", Some(&content("d")));
    world.arrive(0);
    world.answer(0, None);
    world.arrive(0);
    world
}

/// A Bundle whose fourth change is held back: its targets hold `d`, and `e` is to come.
fn held() -> World {
    let mut world = world(WriteLimits::default());
    for value in ["a", "b", "c", "d"] {
        change(&mut world, "a", value);
        assert_eq!(values(&world, "a"), [value; 4], "it starts at once");
    }
    assert_eq!(world.held, []);
    change(&mut world, "a", "e");
    assert_eq!(values(&world, "a"), ["d"; 4], "it waits");
    world
}

fn place(namespace: &str) -> TargetRef {
    TargetRef { kind: ObjectKind::ConfigMap, namespace: namespace.into(), name: "a".into() }
}

/// The values of a Bundle's targets, by namespace.
fn values<'a>(world: &'a World, bundle: &str) -> Vec<&'a str> {
    let names = world.server.namespaces.keys();
    let targets = names.filter_map(|name| world.server.objects.get(&key(&Arc::from(bundle), &place(name))));
    targets.filter_map(|target| target.fields.get(&Field::new(Part::Data, "ca.pem"))).map(String::as_str).collect()
}

fn waits(world: &World, bundle: &str) -> Option<Duration> {
    world.stats().bundles[&BundleId::from(bundle)].held
}

#[test]
fn a_fourth_change_waits_and_the_newest_content_wins() {
    let mut world = held();
    assert_eq!(waits(&world, "a"), Some(S));
    let stats = world.stats().bundles[&BundleId::from("a")];
    assert_eq!((stats.desired, stats.in_sync), (4, 0), "what waits is not in sync");
    let told = |world: &World| world.held.iter().map(|(_, told)| (told.changes, told.wait)).collect::<Vec<_>>();
    assert_eq!(told(&world), [(4, Some(S))]);
    assert!(world.bundles["a"].report.is_none(), "what is not written is not reported");
    change(&mut world, "a", "f");
    assert_eq!(told(&world), [(4, Some(S))], "it is one change, and said once");
    world.pass(S);
    world.flush();
    assert_eq!(values(&world, "a"), ["f"; 4]);
    let report = world.bundles["a"].report.clone().expect("it is reported");
    assert_eq!(
        (report.written, report.unstable.map(|unstable| (unstable.changes, unstable.wait))),
        (4, Some((4, None)))
    );

    change(&mut world, "a", "g");
    assert_eq!(waits(&world, "a"), Some(2 * S), "each further change waits twice as long");
    world.pass(2 * S);
    world.flush();
    world.pass(597 * S);
    change(&mut world, "a", "h");
    assert_eq!(values(&world, "a"), ["h"; 4], "after a pause it starts at once");
    world.pass(600 * S);
    world.flush();
    let report = world.bundles["a"].report.clone().expect("it is reported");
    assert_eq!((report.written, report.unstable), (0, None), "ten quiet minutes are reported");
    for value in ["a", "b", "c"] {
        change(&mut world, "a", value);
        assert_eq!(values(&world, "a"), [value; 4], "and forgotten");
    }
    world.settle();
}

#[test]
fn new_namespaces_and_heals_get_the_newest_content_at_once() {
    let mut world = held();
    world.namespace("n4", |server| server.set_namespace("n4", Labels::new()));
    world.flush();
    assert_eq!(values(&world, "a"), ["d", "d", "d", "d", "e"]);
    let target = |name| key(&Arc::from("a"), &place(name));
    world.edit(&target("n0"), "kubectl-edit", Verb::Delete);
    let edited = Fields::from([(Field::new(Part::Data, "ca.pem"), "edited".to_owned())]);
    world.edit(&target("n1"), "rival", Verb::Apply(edited));
    let relabelled = || Labels::from([("team".to_owned(), "a".to_owned())]);
    world.namespace("n2", |server| server.set_namespace("n2", relabelled()));
    world.flush();
    assert_eq!(values(&world, "a"), ["e", "e", "d", "d", "e"], "a namespace whose labels do not matter waits");
    world.relist(&CONFIG_MAPS);
    world.flush();
    assert_eq!(values(&world, "a"), ["e", "e", "d", "d", "e"], "a list is no change");
    change(&mut world, "a", "f");
    assert_eq!(values(&world, "a"), ["e", "e", "d", "d", "e"], "they get it once, and then wait as all do");
    change(&mut world, "a", "e");
    let before = world.given.len();
    world.settle();
    assert_eq!(values(&world, "a"), ["e"; 5]);
    assert_eq!(world.given.len() - before, 2, "what has the newest content is not written again");
}

#[test]
fn what_a_started_rollout_has_not_reached_goes_on_with_the_newest_content() {
    let mut world = in_the_middle_of_a_rollout();
    world.decide("a", Some(&content("e")));
    world.flush();
    assert_eq!(values(&world, "a"), ["d", "d", "e", "e"], "what was on its way is not written twice");
    change(&mut world, "a", "f");
    assert_eq!(values(&world, "a"), ["d", "d", "e", "e"], "and what has got a newer content waits");
    change(&mut world, "a", "e");
    world.settle();
    assert_eq!(values(&world, "a"), ["e"; 4]);
}

#[test]
fn a_content_that_comes_back_while_a_rollout_waits_is_not_written_over_what_got_a_newer_one() {
    let mut world = in_the_middle_of_a_rollout();
    change(&mut world, "a", "e");
    assert_eq!(values(&world, "a"), ["d", "d", "e", "e"]);
    let before = world.given.len();
    for value in ["d", "e", "d"] {
        change(&mut world, "a", value);
        assert_eq!(values(&world, "a"), ["d", "d", "e", "e"], "one write for each rollout");
        assert_eq!(waits(&world, "a"), Some(S), "and it is not said to be in sync");
    }
    world.settle();
    assert_eq!(values(&world, "a"), ["d"; 4]);
    assert_eq!(world.given.len() - before, 2);
}

#[test]
fn a_change_that_is_undone_before_it_starts_costs_nothing() {
    let mut world = held();
    let before = world.given.len();
    change(&mut world, "a", "d");
    assert_eq!(waits(&world, "a"), None);
    let report = world.bundles["a"].report.clone().expect("all is as it should be");
    assert_eq!((report.written, report.failures), (0, vec![]));
    world.settle();
    assert_eq!(world.given.len(), before);
}

#[test]
fn a_refusal_stops_a_rollout_that_is_held_back_and_its_end_lets_it_go_on() {
    let mut world = held();
    world.decide("a", None);
    world.pass(5 * S);
    world.flush();
    assert_eq!(values(&world, "a"), ["d"; 4]);
    change(&mut world, "a", "e");
    assert_eq!(values(&world, "a"), ["e"; 4], "its time has come meanwhile");
    world.settle();
}

#[test]
fn a_bundle_that_is_deleted_and_made_anew_has_a_first_content() {
    let mut world = held();
    world.delete_bundle("a");
    world.settle();
    change(&mut world, "a", "f");
    assert_eq!(values(&world, "a"), ["f"; 4]);
    change(&mut world, "a", "g");
    assert_eq!(values(&world, "a"), ["g"; 4]);
    world.settle();
}

#[test]
fn another_kind_of_target_is_a_change_and_other_namespaces_are_none() {
    let mut world = held();
    let both = Content { kinds: ObjectKind::ALL.into(), ..content("d") };
    world.decide("a", Some(&both));
    world.flush();
    let secrets = |world: &World| world.server.objects.keys().filter(|key| key.kind == ObjectKind::Secret).count();
    assert_eq!((values(&world, "a"), secrets(&world)), (vec!["d"; 4], 0));
    world.settle();
    assert_eq!(secrets(&world), 4);
    world.decide("a", Some(&Content { selective: true, ..content("x") }));
    world.flush();
    assert_eq!((values(&world, "a"), secrets(&world)), (vec![], 0), "what is let go is so at once");
    world.settle();
}

#[test]
fn without_a_pause_every_change_starts_at_once() {
    let damping = Damping { max_pause: Duration::ZERO, bytes_per_5m: 0 };
    let mut world = world(WriteLimits { damping, ..WriteLimits::default() });
    for value in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        change(&mut world, "a", value);
        assert_eq!(values(&world, "a"), [value; 4]);
    }
    assert_eq!(world.held, []);
}

#[test]
fn one_budget_holds_for_all_bundles_that_change_again() {
    // As much as one rollout: four targets of one byte.
    let damping = Damping { bytes_per_5m: 4, ..Damping::default() };
    let mut world = world(WriteLimits { damping, ..WriteLimits::default() });
    for bundle in ["a", "b", "c"] {
        change(&mut world, bundle, "a");
    }
    // The first change of a Bundle does not count; the second uses up the budget.
    for value in ["b", "c"] {
        change(&mut world, "a", value);
    }
    change(&mut world, "b", "b");
    assert_eq!((values(&world, "a"), values(&world, "b")), (vec!["c"; 4], vec!["b"; 4]));
    world.pass(S);
    for bundle in ["a", "b"] {
        change(&mut world, bundle, "d");
        assert_eq!(waits(&world, bundle), Some(59 * S), "of {bundle}");
    }
    world.namespace("n4", |server| server.set_namespace("n4", Labels::new()));
    change(&mut world, "c", "b");
    assert_eq!(values(&world, "a"), ["c", "c", "c", "c", "d"]);
    assert_eq!(values(&world, "c"), ["b"; 5], "who has not changed for long need not wait");
    world.pass(59 * S);
    world.flush();
    assert_eq!((values(&world, "a"), values(&world, "b")), (vec!["d"; 5], vec!["d"; 5]), "it is the longest pause");
    world.settle();
}

#[test]
fn what_a_refusal_cut_off_does_not_wait_for_the_next_rollout() {
    let mut world = world(WriteLimits { max_concurrent_writes: 1, ..WriteLimits::default() });
    for value in ["a", "b", "c"] {
        change(&mut world, "a", value);
    }
    world.decide("a", Some(&content("d")));
    for _ in 0..2 {
        world.arrive(0);
        world.answer(0, None);
    }
    world.decide("a", None);
    world.flush();
    change(&mut world, "a", "e");
    let found = values(&world, "a");
    assert_eq!(found.iter().filter(|value| **value == "c").count(), 0, "{found:?}");
    assert_eq!(found[..2], ["d"; 2], "what had it waits");
    world.settle();
}

#[test]
fn a_rollout_begins_where_the_one_before_ended() {
    let mut world = world(WriteLimits { max_concurrent_writes: 1, ..WriteLimits::default() });
    for value in ["a", "b"] {
        change(&mut world, "a", value);
    }
    world.given.clear();
    for value in ["c", "d"] {
        world.decide("a", Some(&content(value)));
        for _ in 0..2 {
            world.arrive(0);
            world.answer(0, None);
        }
    }
    world.flush();
    let order: Vec<_> = world.given.iter().map(|((_, place), _)| &*place.namespace).collect();
    assert_eq!(order, ["n0", "n1", "n2", "n3", "n0", "n1", "n2"], "n2 was on its way");
    world.settle();
}

#[test]
fn what_fails_is_tried_at_its_own_time_and_told_while_a_rollout_is_held_back() {
    let mut world = held();
    for (value, wait) in [("f", 1), ("g", 2), ("h", 4)] {
        world.pass(S * wait);
        world.flush();
        change(&mut world, "a", value);
    }
    world.refusing.insert("n4".to_owned());
    world.namespace("n4", |server| server.set_namespace("n4", Labels::new()));
    world.flush();
    world.pass(5 * S);
    world.flush();
    assert_eq!(waits(&world, "a"), Some(3 * S));
    let tries = |world: &World| world.given.iter().filter(|((_, place), _)| &*place.namespace == "n4").count();
    let before = tries(&world);
    let report = world.bundles["a"].report.clone();
    assert!(report.is_some_and(|report| report.failures.len() == 1), "it is told");
    for value in ["i", "j", "k"] {
        change(&mut world, "a", value);
    }
    assert_eq!(tries(&world), before, "a change is no reason to try again");
    world.settle();
}

#[test]
fn a_new_namespace_gets_the_newest_kind_at_once_and_a_harmless_change_by_others_waits() {
    let mut world = held();
    let secret = Content { kinds: BTreeSet::from([ObjectKind::Secret]), ..content("e") };
    world.decide("a", Some(&secret));
    world.namespace("n4", |server| server.set_namespace("n4", Labels::new()));
    world.flush();
    let kinds = |name: &str| {
        let keys = world.server.objects.keys().filter(|key| key.namespace == name);
        keys.map(|key| key.kind).collect::<Vec<_>>()
    };
    assert_eq!((kinds("n3"), kinds("n4")), (vec![ObjectKind::ConfigMap], vec![ObjectKind::Secret]));
    world.settle();

    let mut world = held();
    let label = [(Field::new(Part::Labels, "other"), Some("x".to_owned()))].into();
    world.edit(&key("a", &place("n0")), "labeller", Verb::Merge(label));
    world.flush();
    assert_eq!(values(&world, "a"), ["d"; 4]);
    world.settle();
    assert_eq!(values(&world, "a"), ["e"; 4]);
}
