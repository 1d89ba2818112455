//! Single cases: what the properties found, and what they are too coarse for.

use std::collections::BTreeSet;
use std::time::Duration;

use rootcast::bundle::{Labels, ObjectKind, Place};
use rootcast::fanout::{Scope, Standing};

use crate::model::{Field, Key, Part, Verb};
use crate::step::{Edit, Step, ends_well};
use crate::world::{Content, World, key};

const CONFIG_MAPS: Scope = Scope::Targets(ObjectKind::ConfigMap, None);

/// A Bundle with a ConfigMap of one key for every namespace.
fn content(key: &'static [&'static str], value: &'static str) -> Content {
    Content { selective: false, kinds: BTreeSet::from([ObjectKind::ConfigMap]), keys: key, value, label: false }
}

fn decide(key: &'static [&'static str], value: &'static str) -> Step {
    Step::Decide("a", content(key, value))
}

fn edit(edit: Edit) -> Step {
    Step::Edit(Key { kind: ObjectKind::ConfigMap, namespace: "one".to_owned(), name: "a".to_owned() }, edit)
}

fn arrive() -> Step {
    Step::Arrive(0)
}

fn hear_of_namespaces() -> Step {
    Step::Deliver(Scope::Namespaces, 9)
}

#[test]
fn a_change_under_our_own_name_is_undone_once() {
    let edit = || edit(Edit::ValueUnderOurName);
    let first = [hear_of_namespaces(), decide(&["ca.pem"], "x"), arrive(), edit()];
    ends_well(1, &first);
    let [namespaces, decided, arrived, edited] = first;
    let watch_first = [namespaces, decided, arrived, edited, Step::Deliver(CONFIG_MAPS, 9), Step::Answer(0)];
    ends_well(1, &watch_first);
}

#[test]
fn a_renamed_key_whose_old_value_another_manager_holds_as_well_is_left_to_it() {
    ends_well(
        1,
        &[hear_of_namespaces(), decide(&["ca.pem"], "x"), arrive(), edit(Edit::Rival), decide(&["root.pem"], "x")],
    );
}

/// Namespaces enough for a rollout to take its time.
const MANY: [&str; 8] = ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7"];

/// A world with many namespaces, heard of, where so many requests may be on their way.
fn with_many_namespaces(max_in_flight: usize) -> World {
    let mut world = World::new(max_in_flight);
    for name in MANY {
        world.namespace(name, |server| server.set_namespace(name, Labels::new()));
    }
    world.flush();
    world
}

fn first_answers(world: &mut World) {
    world.arrive(0);
    world.answer(0, None);
}

#[test]
fn bundles_take_turns_and_a_single_event_goes_before_all_rollouts() {
    let mut world = with_many_namespaces(2);
    for bundle in ["a", "b", "c"] {
        world.decide(bundle, Some(&content(&["ca.pem"], "x")));
    }
    world.flush();
    world.given.clear();
    for bundle in ["a", "b"] {
        world.decide(bundle, Some(&content(&["ca.pem"], "y")));
    }
    for _ in 0..6 {
        first_answers(&mut world);
    }
    let order = |world: &World| -> String { world.given.iter().map(|((bundle, _), _)| &**bundle).collect() };
    // The first Bundle had all the room before the second was decided.
    assert_eq!(order(&world), "aabababa");
    let place = Place { kind: ObjectKind::ConfigMap, namespace: "n3".into() };
    world.edit(&key("c", &place), "kubectl-edit", Verb::Delete);
    while world.deliver(&CONFIG_MAPS) {}
    first_answers(&mut world);
    assert_eq!(order(&world), "aabababac");
    world.settle();
}

#[test]
fn a_census_counts_what_is_to_be_there_what_is_and_what_cannot_be() {
    let mut world = with_many_namespaces(2);
    world.refusing = ["n2".to_owned(), "n5".to_owned()].into();
    world.decide("a", Some(&content(&["ca.pem"], "x")));
    let standing = |world: &World| world.census().bundles.get("a").copied();
    let begun = Standing { wanted: 8, in_sync: 0, failing: 0 };
    assert_eq!((standing(&world), world.census().in_flight, world.census().queued), (Some(begun), 2, 6));
    world.flush();
    let done = Standing { wanted: 8, in_sync: 6, failing: 2 };
    assert_eq!((standing(&world), world.census().in_flight, world.census().queued), (Some(done), 0, 0));

    // What is let go is not among what is wanted, but may fail.
    world.refusing.insert("n3".to_owned());
    world.decide("a", Some(&Content { selective: true, ..content(&["ca.pem"], "x") }));
    world.flush();
    assert_eq!(standing(&world), Some(Standing { wanted: 0, in_sync: 0, failing: 1 }));

    world.decide("a", None);
    assert_eq!(standing(&world), None, "what is refused is left as it is");
}

#[test]
fn a_fight_has_a_bounded_rate_and_is_spoken_of_once() {
    let mut world = with_many_namespaces(2);
    world.decide("a", Some(&content(&["ca.pem"], "x")));
    world.flush();
    let key = key("a", &Place { kind: ObjectKind::ConfigMap, namespace: "n0".into() });
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

#[test]
fn a_report_names_every_place_that_fails_until_it_recovers_by_itself() {
    let mut world = with_many_namespaces(2);
    world.refusing = ["n2".to_owned(), "n5".to_owned()].into();
    let immutable = key("a", &Place { kind: ObjectKind::ConfigMap, namespace: "n6".into() });
    world.decide("a", Some(&content(&["ca.pem"], "x")));
    world.flush();
    let failing = |world: &World| -> Vec<String> {
        let report = world.bundles["a"].report.as_ref().expect("a report");
        report.failures.iter().map(|(place, cause)| format!("{}: {cause}", place.namespace)).collect()
    };
    assert_eq!(failing(&world), ["n2: refused", "n5: refused"]);

    world.edit(&immutable, "kubectl-edit", Verb::Merge([(Field::whole(Part::Immutable), Some("true".into()))].into()));
    world.flush();
    world.decide("a", Some(&content(&["ca.pem"], "y")));
    world.flush();
    assert_eq!(failing(&world), ["n2: refused", "n5: refused", "n6: immutable"]);

    let given = world.given.len();
    for _ in 0..300 {
        world.pass(Duration::from_secs(1));
        world.flush();
    }
    let retries = world.given.len() - given;
    assert!((16..=24).contains(&retries), "{retries} requests in 5 minutes for two that are refused");

    world.refusing.clear();
    for _ in 0..60 {
        world.pass(Duration::from_secs(1));
        world.flush();
    }
    assert_eq!(failing(&world), ["n6: immutable"]);
    world.edit(&immutable, "kubectl-edit", Verb::Delete);
    world.flush();
    world.pass(Duration::from_secs(10));
    assert_eq!(failing(&world), Vec::<String>::new());
    world.settle();
}

#[test]
fn a_label_that_the_template_has_no_more_is_taken_out_where_objects_are_patched() {
    let with_label = Content { label: true, ..content(&["ca.pem"], "x") };
    let world = ends_well(
        1,
        &[
            Step::ForbidReplacing,
            hear_of_namespaces(),
            Step::Decide("a", with_label),
            arrive(),
            Step::Answer(0),
            decide(&["ca.pem"], "x"),
        ],
    );
    let label = Field::new(Part::Labels, "team");
    assert!(world.server.objects.values().all(|object| !object.fields.contains_key(&label)));
}
