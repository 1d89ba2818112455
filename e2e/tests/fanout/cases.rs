//! Single cases: what the properties found, and what they are too coarse for.

use std::collections::BTreeSet;
use std::time::Duration;

use rootcast::api::BUNDLE_LABEL;
use rootcast::bundle::{BundleId, Labels, ObjectKind, TargetRef};
use rootcast::fanout::{ListScope, RolloutStats};

use crate::model::{Field, Key, Part, Verb};
use crate::step::{Edit, Step, ends_well};
use crate::world::{Content, World, key};

pub(crate) const CONFIG_MAPS: ListScope = ListScope::Targets(ObjectKind::ConfigMap, None);

/// A Bundle with a ConfigMap of one key for every namespace.
pub(crate) fn content(key: &'static [&'static str], value: &'static str) -> Content {
    Content { selective: false, kinds: BTreeSet::from([ObjectKind::ConfigMap]), keys: key, value, label: false }
}

pub(crate) fn decide(key: &'static [&'static str], value: &'static str) -> Step {
    Step::Decide("a", content(key, value))
}

pub(crate) fn edit(edit: Edit) -> Step {
    Step::Edit(Key { kind: ObjectKind::ConfigMap, namespace: "one".to_owned(), name: "a".to_owned() }, edit)
}

pub(crate) fn arrive() -> Step {
    Step::Arrive(0)
}

pub(crate) fn deliver_namespaces() -> Step {
    Step::Deliver(ListScope::Namespaces, 9)
}

#[test]
fn a_change_under_our_own_name_is_undone_once() {
    let edit = || edit(Edit::ValueUnderOurName);
    let first = [deliver_namespaces(), decide(&["ca.pem"], "x"), arrive(), edit()];
    ends_well(1, &first);
    let [namespaces, decided, arrived, edited] = first;
    let watch_first = [namespaces, decided, arrived, edited, Step::Deliver(CONFIG_MAPS, 9), Step::Answer(0)];
    ends_well(1, &watch_first);
}

#[test]
fn a_renamed_key_whose_old_value_another_manager_holds_as_well_is_left_to_it() {
    ends_well(
        1,
        &[deliver_namespaces(), decide(&["ca.pem"], "x"), arrive(), edit(Edit::Rival), decide(&["root.pem"], "x")],
    );
}

#[test]
fn a_label_taken_off_between_a_write_and_a_list_that_lacks_the_target_is_put_back() {
    let relist = || Step::Relist(CONFIG_MAPS);
    let written = || [deliver_namespaces(), decide(&["ca.pem"], "x"), arrive()].to_vec();
    let unlabelled = || edit(Edit::Label);
    let deliver = || Step::Deliver(CONFIG_MAPS, 9);
    let scenarios = [
        ("the answer comes after the list", vec![unlabelled(), relist(), deliver(), Step::Answer(0)]),
        ("it comes before it ends", vec![unlabelled(), relist(), Step::ReadList(CONFIG_MAPS), Step::Answer(0)]),
        ("the list begins before", vec![relist(), unlabelled(), Step::Answer(0), deliver()]),
        ("it is deleted", vec![relist(), edit(Edit::Delete), Step::Answer(0), deliver()]),
        ("the answer is lost", vec![unlabelled(), relist(), deliver(), Step::Lose(0, false)]),
        (
            "it is decided back before the answer to a change",
            vec![
                Step::Answer(0),
                deliver(),
                decide(&["ca.pem"], "y"),
                unlabelled(),
                relist(),
                deliver(),
                decide(&["ca.pem"], "x"),
                arrive(),
                Step::Answer(0),
            ],
        ),
    ];
    for (name, scenario) in scenarios {
        println!("{name}");
        ends_well(1, &[written(), scenario].concat());
    }
}

/// Namespaces enough for a rollout to take its time.
pub(crate) const MANY: [&str; 8] = ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7"];

/// A world with many namespaces, heard of, where so many requests may be on their way.
pub(crate) fn with_many_namespaces(max_in_flight: usize) -> World {
    let mut world = World::new(max_in_flight);
    for name in MANY {
        world.namespace(name, |server| server.set_namespace(name, Labels::new()));
    }
    world.flush();
    world
}

pub(crate) fn first_answers(world: &mut World) {
    world.arrive(0);
    world.answer(0, None);
}

pub(crate) fn one_of_many() -> TargetRef {
    TargetRef { kind: ObjectKind::ConfigMap, namespace: "n3".into(), name: "a".into() }
}

/// What fails, by its last report.
pub(crate) fn failing(world: &World) -> Vec<String> {
    let report = world.bundles["a"].report.as_ref().expect("a report");
    report.failures.iter().map(|(place, cause)| format!("{}: {cause}", place.namespace)).collect()
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
    // The first Bundle had all requests in flight before the second was decided.
    assert_eq!(order(&world), "aabababa");
    let place = TargetRef { kind: ObjectKind::ConfigMap, namespace: "n3".into(), name: "c".into() };
    world.edit(&key("c", &place), "kubectl-edit", Verb::Delete);
    while world.deliver(&CONFIG_MAPS) {}
    first_answers(&mut world);
    assert_eq!(order(&world), "aabababac");
    world.settle();
}

#[test]
fn statistics_count_what_is_to_be_there_what_is_and_what_cannot_be() {
    let mut world = with_many_namespaces(2);
    world.refusing = ["n2".to_owned(), "n5".to_owned()].into();
    world.decide("a", Some(&content(&["ca.pem"], "x")));
    world.answer_lists();
    let stats = |world: &World| world.stats().bundles.get(&BundleId::from("a")).copied();
    let begun = RolloutStats { desired: 8, in_sync: 0, failing: 0, held: None };
    assert_eq!((stats(&world), world.stats().in_flight, world.stats().queued), (Some(begun), 2, 6));
    world.flush();
    let done = RolloutStats { desired: 8, in_sync: 6, failing: 2, held: None };
    assert_eq!((stats(&world), world.stats().in_flight, world.stats().queued), (Some(done), 0, 0));

    // What is let go is not among what is wanted, but may fail.
    world.refusing.insert("n3".to_owned());
    world.decide("a", Some(&Content { selective: true, ..content(&["ca.pem"], "x") }));
    world.flush();
    assert_eq!(stats(&world), Some(RolloutStats { desired: 0, in_sync: 0, failing: 1, held: None }));

    world.decide("a", None);
    assert_eq!(stats(&world), None, "what is refused is left as it is");
}

#[test]
fn a_bundle_that_comes_again_over_targets_that_are_right_asks_for_nothing_but_lists() {
    let mut world = with_many_namespaces(2);
    let wanted = content(&["ca.pem"], "x");
    world.decide("a", Some(&wanted));
    world.settle();
    world.given.clear();
    let before = world.server.objects.clone();

    // Another process, or the same one after a restart, hears of its Bundle only after all targets were listed.
    let mut late = World::new(2);
    late.restore(&world.server);
    late.flush();
    late.decide("a", Some(&wanted));
    assert_eq!(late.pending_lists.len(), 2, "ConfigMaps and Secrets are listed");
    assert_eq!(late.given, [], "nothing is tried before it is known what is there");
    late.settle();
    assert_eq!(late.given, []);
    assert_eq!(late.server.objects, before);
    late.edit(&key("a", &one_of_many()), "kubectl-edit", Verb::Delete);
    late.settle();
    assert_eq!(late.given.len(), 1, "it is healed");
}

#[test]
fn what_is_deleted_while_a_bundles_targets_are_listed_is_written_anew() {
    let mut world = with_many_namespaces(2);
    let wanted = content(&["ca.pem"], "x");
    world.decide("a", Some(&wanted));
    world.settle();
    let mut late = World::new(2);
    late.restore(&world.server);
    late.flush();
    late.decide("a", Some(&wanted));
    for index in 0..2 {
        late.list_arrives(index);
    }
    late.edit(&key("a", &one_of_many()), "kubectl-edit", Verb::Delete);
    while late.deliver(&CONFIG_MAPS) {}
    late.list_answers(0, None);
    late.list_answers(0, None);
    let created: Vec<_> = late.given.iter().map(|((_, place), _)| place.clone()).collect();
    assert_eq!(created, [one_of_many()]);
    late.settle();
}

#[test]
fn of_objects_whose_name_is_no_bundles_nothing_is_kept() {
    let mut world = with_many_namespaces(2);
    world.decide("a", Some(&content(&["ca.pem"], "x")));
    for name in ["b", "c", "d"] {
        let label = Field::new(Part::Labels, BUNDLE_LABEL);
        let labelled = Verb::Create([(label, "a".to_owned())].into());
        world.edit(&key(name, &one_of_many()), "tenant", labelled);
    }
    world.settle();
    assert_eq!(world.known().1, MANY.len());
    world.delete_bundle("a");
    assert_eq!(world.known().1, 0);
}

#[test]
fn after_a_restore_from_a_backup_everything_is_as_wanted_though_versions_are_lower() {
    let mut world = with_many_namespaces(2);
    world.decide("a", Some(&content(&["ca.pem"], "x")));
    world.settle();
    let backup = world.server.clone();
    world.decide("a", Some(&content(&["ca.pem"], "y")));
    world.namespace("late", |server| server.set_namespace("late", Labels::new()));
    world.settle();
    world.edit(&key("a", &one_of_many()), "kubectl-edit", Verb::Delete);
    world.settle();

    world.restore(&backup);
    world.settle();
    let values = |world: &World| {
        let key = Field::new(Part::Data, "ca.pem");
        let objects = world.server.objects.values();
        objects.filter(|object| object.fields.get(&key).is_some_and(|value| value == "y")).count()
    };
    assert_eq!((values(&world), world.known()), (MANY.len(), (MANY.len(), MANY.len())));
    world.edit(&key("a", &one_of_many()), "kubectl-edit", Verb::Delete);
    world.namespace("later", |server| server.set_namespace("later", Labels::new()));
    world.settle();
    assert_eq!(values(&world), MANY.len() + 1, "watches that go on from there are heard");
}

#[test]
fn what_others_made_immutable_or_took_over_is_created_anew_at_once_at_a_bounded_rate() {
    type Attack<'a> = &'a dyn Fn(&World, &Key) -> Verb;
    let immutable = || (Field::whole(Part::Immutable), Some("true".to_owned()));
    let edited = || (Field::new(Part::Data, "ca.pem"), Some("edited".to_owned()));
    let owner = r#"{"apiVersion":"apps/v1","kind":"Deployment","name":"d","uid":"d","controller":true}"#;
    let usurp = |world: &World, key: &Key| {
        let owners = world.server.objects[key].fields.keys().filter(|field| field.part == Part::Owners);
        let former = owners.map(|field| (field.clone(), None)).collect::<Vec<_>>();
        let now = [edited(), (Field::new(Part::Owners, "d"), Some(owner.to_owned()))];
        Verb::Merge(former.into_iter().chain(now).collect())
    };
    let seal = |_: &World, _: &Key| Verb::Merge([immutable(), edited()].into());
    let attacks: [(&str, Attack); 2] = [("immutable", &seal), ("usurped", &usurp)];
    for (name, attack) in attacks {
        for disown in [false, true] {
            let mut world = with_many_namespaces(2);
            world.decide("a", Some(&content(&["ca.pem"], "x")));
            world.flush();
            let key = key("a", &TargetRef { kind: ObjectKind::ConfigMap, namespace: "n3".into(), name: "a".into() });
            let uid = world.server.objects[&key].uid;
            let strike = |world: &mut World| {
                let verb = attack(world, &key);
                world.edit(&key, "mallory", verb);
                if disown {
                    world.edit(&key, "mallory", Verb::Disown);
                }
                world.flush();
            };
            strike(&mut world);
            let healed = &world.server.objects[&key];
            assert_eq!(healed.fields[&Field::new(Part::Data, "ca.pem")], "x", "{name}");
            assert_ne!(healed.uid, uid, "{name}");
            assert_eq!(failing(&world), Vec::<String>::new());
            let given = world.given.len();
            for _ in 0..300 {
                strike(&mut world);
                world.pass(Duration::from_secs(1));
            }
            let requests = world.given.len() - given;
            assert!(requests <= 100, "{name}: {requests} requests in 5 minutes");
            assert_eq!(failing(&world).len(), 1, "{name}: it is contested");
            world.settle();
            assert_eq!(world.server.objects[&key].fields[&Field::new(Part::Data, "ca.pem")], "x", "{name}");
        }
    }
}

#[test]
fn a_report_names_every_place_that_fails_until_it_recovers_by_itself() {
    let mut world = with_many_namespaces(2);
    world.refusing = ["n2".to_owned(), "n5".to_owned()].into();
    let immutable = key("a", &TargetRef { kind: ObjectKind::ConfigMap, namespace: "n6".into(), name: "a".into() });
    world.decide("a", Some(&content(&["ca.pem"], "x")));
    world.flush();
    assert_eq!(failing(&world), ["n2: refused", "n5: refused"]);

    world.edit(&immutable, "kubectl-edit", Verb::Merge([(Field::new(Part::Data, "theirs"), Some("x".into()))].into()));
    world.edit(&immutable, "kubectl-edit", Verb::Merge([(Field::whole(Part::Immutable), Some("true".into()))].into()));
    world.flush();
    world.decide("a", Some(&content(&["ca.pem"], "y")));
    world.flush();
    let of_others =
        "n6: immutable; it is not deleted because it holds key \"theirs\" of field manager \"kubectl-edit\"";
    assert_eq!(failing(&world), ["n2: refused", "n5: refused", of_others]);

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
    assert_eq!(failing(&world), [of_others]);
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
            deliver_namespaces(),
            Step::Decide("a", with_label),
            arrive(),
            Step::Answer(0),
            decide(&["ca.pem"], "x"),
        ],
    );
    let label = Field::new(Part::Labels, "team");
    assert!(world.server.objects.values().all(|object| !object.fields.contains_key(&label)));
}
