//! Single cases: objects of others that have a Bundle's name.

use std::sync::Arc;
use std::time::Duration;

use rootcast::bundle::TargetRef;
use rootcast::fanout::TargetRequest;

use crate::cases::{content, failing, one_of_many, with_many_namespaces};
use crate::model::{Field, Fields, Part, Verb};
use crate::world::{World, key};

#[test]
fn an_object_of_others_is_completed_once_told_once_and_outlives_its_bundle() {
    let mut world = with_many_namespaces(2);
    let place = one_of_many();
    let key = key("a", &place);
    let field = |name| Field::new(Part::Data, name);
    let theirs = Fields::from([(field("ca.pem"), String::new()), (field("theirs"), "theirs".to_owned())]);
    world.edit(&key, "kubectl-create", Verb::Create(theirs));
    world.decide("a", Some(&content(&["ca.pem"], "x")));
    world.settle();
    let holds = |world: &World, name| world.server.objects.get(&key)?.fields.get(&field(name)).cloned();
    let both = |world: &World| (holds(world, "ca.pem"), holds(world, "theirs"));
    assert_eq!(both(&world), (Some("x".to_owned()), Some("theirs".to_owned())));
    assert_eq!(world.completed, [("a".into(), place.clone())]);
    let of_place = |(at, request): &((Arc<str>, TargetRef), TargetRequest)| (at.1 == place).then(|| request.clone());
    let given: Vec<_> = world.given.iter().filter_map(of_place).collect();
    assert!(
        matches!(
            given[..],
            [TargetRequest::Create, TargetRequest::GetMetadata, TargetRequest::GetContent, TargetRequest::Apply { .. }]
        ),
        "{given:?}"
    );

    world.given.clear();
    world.decide("a", Some(&content(&["ca.pem"], "y")));
    world.settle();
    assert_eq!(both(&world), (Some("y".to_owned()), Some("theirs".to_owned())));
    let given: Vec<_> = world.given.iter().filter_map(of_place).collect();
    assert!(matches!(given[..], [TargetRequest::Merge { .. }]), "what is known to be ours is not read: {given:?}");
    assert_eq!(world.completed.len(), 1, "told once");

    world.decide("a", Some(&content(&["theirs"], "y")));
    world.flush();
    assert_eq!(failing(&world).len(), 1, "a key that is named later is judged by its bytes");
    assert_eq!(both(&world), (Some("y".to_owned()), Some("theirs".to_owned())));

    world.delete_bundle("a");
    world.settle();
    let left = &world.server.objects[&key].fields;
    assert_eq!(left, &Fields::from([(field("theirs"), "theirs".to_owned())]), "what is ours is taken out");
    assert_eq!(world.known().1, 0, "nothing is kept of it");
}

#[test]
fn what_a_bundle_completed_is_left_to_the_next_one_of_its_name() {
    let mut world = with_many_namespaces(2);
    let key = key("a", &one_of_many());
    let field = |name| Field::new(Part::Data, name);
    world.edit(&key, "kubectl-create", Verb::Create([(field("theirs"), "theirs".to_owned())].into()));
    world.decide("a", Some(&content(&["ca.pem"], "x")));
    world.settle();
    // The next one is there before anything was handed over.
    world.lead(false);
    world.delete_bundle("a");
    world.lead(true);
    world.decide("a", Some(&content(&["theirs"], "y")));
    world.flush();
    assert_eq!(failing(&world).len(), 1, "it may no more than the one before");
    world.decide("a", Some(&content(&["ca.pem"], "y")));
    world.settle();
    let holds = |name| world.server.objects[&key].fields.get(&field(name)).map(String::as_str);
    assert_eq!((holds("ca.pem"), holds("theirs")), (Some("y"), Some("theirs")));
}

#[test]
fn a_value_of_others_stays_is_named_and_read_once_for_each_version() {
    let mut world = with_many_namespaces(2);
    let key = key("a", &one_of_many());
    let field = Field::new(Part::Data, "ca.pem");
    let theirs = Fields::from([(field.clone(), "theirs".to_owned())]);
    world.edit(&key, "kubectl-create", Verb::Create(theirs));
    world.decide("a", Some(&content(&["ca.pem"], "x")));
    for _ in 0..600 {
        world.flush();
        world.pass(Duration::from_secs(1));
    }
    let [failure] = &failing(&world)[..] else { panic!("{:?}", failing(&world)) };
    for words in ["TargetExists: ConfigMap", "\"ca.pem\"", "\"kubectl-create\"", "rootcast.dev/adopt=a"] {
        assert!(failure.contains(words), "{failure:?} lacks {words:?}");
    }
    assert_eq!(world.server.objects[&key].fields[&field], "theirs");
    let of = |request: fn(&TargetRequest) -> bool| {
        world.given.iter().filter(|(target, given)| target.1 == one_of_many() && request(given)).count()
    };
    assert_eq!(of(|request| matches!(request, TargetRequest::GetContent)), 1);
    assert!(of(|request| matches!(request, TargetRequest::GetMetadata)) <= 20, "less and less often");

    world.decide("a", Some(&content(&["ca.pem"], "y")));
    world.flush();
    let compared = world.given.iter().filter(|(_, request)| matches!(request, TargetRequest::GetContent)).count();
    assert_eq!(compared, 1, "other content is no reason to read it again");

    world.edit(&key, "kubectl-edit", Verb::Merge([(field.clone(), None)].into()));
    for _ in 0..60 {
        world.flush();
        world.pass(Duration::from_secs(1));
    }
    world.settle();
    assert_eq!(world.server.objects[&key].fields[&field], "y");
}
