//! What may happen, and how it has to end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rootcast::api::{BUNDLE_LABEL, FIELD_MANAGER, HASH_ANNOTATION};
use rootcast::bundle::{AdoptionPolicy, AdoptionVerdict, Labels, ObjectKind, ObservedMetadata};
use rootcast::fanout::{ListScope, TargetListResult, TargetRequest, WriteResult};
use serde_json::json;

use crate::model::{Field, Fields, Key, Object, Part, Verb};
use crate::world::{self, Content, FOREIGN, NAMESPACES, World, fields, holdings, observed, scopes};

/// Something that happens.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Decide(&'static str, Content),
    Refuse(&'static str),
    DeleteBundle(&'static str),
    CollectGarbage,
    Namespace(&'static str, OfNamespace),
    Edit(Key, Edit),
    /// A watch delivers some of what it has.
    Deliver(ListScope, usize),
    Relist(ListScope),
    /// The list that a watch has begun reaches the server.
    ReadList(ListScope),
    /// A request reaches the server.
    Arrive(usize),
    /// Its answer reaches us.
    Answer(usize),
    /// A request's answer is lost.
    Lose(usize, bool),
    /// A list of one Bundle's targets reaches the server.
    ListArrives(usize),
    /// Its answer reaches us, or is lost.
    ListAnswers(usize, bool),
    Busy(usize, Option<Duration>),
    /// A request of old reaches the server.
    ArriveLate(usize),
    /// A namespace begins or ceases to refuse writes.
    Policy(&'static str),
    ForbidReplacing,
    Lead(bool),
    Pass(Duration),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum OfNamespace {
    In,
    Out,
    Terminate,
    Finalize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Edit {
    Value,
    ValueAndBack,
    ValueUnderOurName,
    Key,
    Hash,
    Label,
    LabelBack,
    Owner,
    ForeignKey,
    ForeignLabel,
    /// Another manager applies our key.
    Rival,
    ManagedFields,
    Immutable,
    Usurp,
    Delete,
    /// Somebody was here first, with this value of our key and a key of their own.
    Earlier(&'static str),
}

/// What others put beside our content, and where the label was taken from what is ours: we cannot see it any more.
#[derive(Default)]
pub(crate) struct Marks {
    foreign: BTreeSet<(Key, u64)>,
    unlabelled: BTreeSet<Key>,
}

pub(crate) fn play(world: &mut World, marks: &mut Marks, step: &Step) {
    match step {
        Step::Decide(name, content) => world.decide(name, Some(content)),
        Step::Refuse(name) => world.decide(name, None),
        Step::DeleteBundle(name) => world.delete_bundle(name),
        Step::CollectGarbage => {
            world.collect();
        }
        Step::Namespace(name, what) => world.namespace(name, |server| match what {
            OfNamespace::In => server.set_namespace(name, Labels::from([("in".to_owned(), String::new())])),
            OfNamespace::Out => server.set_namespace(name, Labels::new()),
            OfNamespace::Terminate => server.terminate(name),
            OfNamespace::Finalize => server.finalize(name),
        }),
        Step::Edit(key, edit) => play_edit(world, marks, key, *edit),
        Step::Deliver(scope, count) => (0..*count).for_each(|_| {
            world.deliver(scope);
        }),
        Step::Relist(scope) => world.relist(scope),
        Step::ReadList(scope) => world.read_list(scope),
        Step::Arrive(index) => {
            let waiting: Vec<_> = (0..world.flights.len()).filter(|at| world.flights[*at].answer.is_none()).collect();
            if !waiting.is_empty() {
                world.arrive(waiting[index % waiting.len()]);
            }
        }
        Step::Answer(index) => {
            let done: Vec<_> = (0..world.flights.len()).filter(|at| world.flights[*at].answer.is_some()).collect();
            if !done.is_empty() {
                world.answer(done[index % done.len()], None);
            }
        }
        Step::Lose(index, late) if !world.flights.is_empty() => {
            let cause = "no answer".to_owned();
            let answer = if *late { WriteResult::TimedOut(cause) } else { WriteResult::Lost(cause) };
            world.answer(index % world.flights.len(), Some(answer));
        }
        Step::ListArrives(index) => {
            let waiting: Vec<_> =
                (0..world.pending_lists.len()).filter(|at| world.pending_lists[*at].found.is_none()).collect();
            if !waiting.is_empty() {
                world.list_arrives(waiting[index % waiting.len()]);
            }
        }
        Step::ListAnswers(index, lost) => {
            let done: Vec<_> =
                (0..world.pending_lists.len()).filter(|at| world.pending_lists[*at].found.is_some() || *lost).collect();
            if !done.is_empty() {
                world.list_answers(done[index % done.len()], lost.then_some(TargetListResult::Unavailable));
            }
        }
        Step::Busy(index, time) => {
            let waiting: Vec<_> = (0..world.flights.len()).filter(|at| world.flights[*at].answer.is_none()).collect();
            if !waiting.is_empty() {
                world.answer(waiting[index % waiting.len()], Some(WriteResult::Busy(*time, "busy".to_owned())));
            }
        }
        Step::ArriveLate(index) if !world.abandoned.is_empty() => world.arrive_late(index % world.abandoned.len()),
        Step::Lose(..) | Step::ArriveLate(_) => {}
        Step::Policy(name) => {
            if !world.refusing.remove(*name) {
                world.refusing.insert((*name).to_owned());
            }
        }
        Step::ForbidReplacing => world.may_replace = false,
        Step::Lead(leads) => world.lead(*leads),
        Step::Pass(time) => world.pass(*time),
    }
    let objects = &world.server.objects;
    marks.unlabelled.retain(|key| objects.contains_key(key));
}

fn play_edit(world: &mut World, marks: &mut Marks, key: &Key, edit: Edit) {
    const SOMEBODY: &str = "kubectl-edit";
    let object = world.server.objects.get(key).cloned();
    let is_ours =
        |field: &&Field| field.part == Part::Data && field.name.as_deref().is_some_and(|name| name != FOREIGN);
    let ours = object.as_ref().and_then(|object| object.fields.iter().find(|(field, _)| is_ours(field)));
    let data = ours.map_or_else(|| (Field::new(Part::Data, "ca.pem"), String::new()), |(f, v)| (f.clone(), v.clone()));
    let set = |field: Field, value: &str| Verb::Merge([(field, Some(value.to_owned()))].into());
    let drop = |fields: Vec<Field>| Verb::Merge(fields.into_iter().map(|field| (field, None)).collect());
    let owners = || {
        let fields = object.iter().flat_map(|object| object.fields.keys());
        fields.filter(|field| field.part == Part::Owners && field.name.is_some()).cloned().collect::<Vec<_>>()
    };
    let label = Field::new(Part::Labels, BUNDLE_LABEL);
    let verb = match edit {
        Edit::Value => set(data.0, "edited"),
        Edit::ValueAndBack => {
            world.edit(key, SOMEBODY, set(data.0.clone(), "edited"));
            set(data.0, &data.1)
        }
        Edit::ValueUnderOurName => return world.edit(key, FIELD_MANAGER, set(data.0, "edited")),
        Edit::Key => drop(vec![data.0]),
        Edit::Hash => set(Field::new(Part::Annotations, HASH_ANNOTATION), "edited"),
        Edit::Label => {
            if object.is_some() {
                marks.unlabelled.insert(key.clone());
            }
            drop(vec![label])
        }
        Edit::LabelBack => {
            marks.unlabelled.remove(key);
            set(label, &key.name)
        }
        Edit::Owner => drop(owners()),
        Edit::ForeignKey => {
            if let Some(object) = object.filter(|object| !object.fields.contains_key(&Field::whole(Part::Immutable))) {
                marks.foreign.insert((key.clone(), object.uid));
            }
            set(Field::new(Part::Data, FOREIGN), "theirs")
        }
        Edit::ForeignLabel => set(Field::new(Part::Labels, "other"), "x"),
        Edit::Rival => {
            let fields = Fields::from([(Field::new(Part::Data, "ca.pem"), "x".to_owned())]);
            return world.edit(key, "rival", Verb::Apply(fields));
        }
        Edit::ManagedFields => Verb::Disown,
        Edit::Immutable => set(Field::whole(Part::Immutable), "true"),
        Edit::Usurp => {
            let owner =
                json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "d", "controller": true });
            let mut patch: BTreeMap<_, _> = owners().into_iter().map(|field| (field, None)).collect();
            patch.insert(Field::new(Part::Owners, "d"), Some(owner.to_string()));
            Verb::Merge(patch)
        }
        Edit::Delete => Verb::Delete,
        Edit::Earlier(value) => Verb::Create(Fields::from([
            (Field::new(Part::Data, "ca.pem"), value.to_owned()),
            (Field::new(Part::Data, FOREIGN), "theirs".to_owned()),
        ])),
    };
    world.edit(key, SOMEBODY, verb);
}

/// What nothing but a deletion helps against is deleted: what is not recognisably ours, or holds keys of others.
fn cure(world: &mut World) {
    let hopeless = |key: &Key, object: &Object| {
        let has = |part, name: &str| object.fields.get(&Field::new(part, name));
        let stuck = object.fields.contains_key(&Field::whole(Part::Immutable)) || has(Part::Owners, "d").is_some();
        let look = observed(key, object).metadata;
        let is_key = |field: &&Field| matches!(field.part, Part::Data | Part::BinaryData) && field.name.is_some();
        // What is only let go is not created anew.
        let wanted = world.bundles.get(key.name.as_str()).and_then(|bundle| bundle.wanted.as_ref());
        let holds = wanted
            .is_some_and(|wanted| wanted.payloads.contains_key(&key.kind) && world.reaches(wanted, &key.namespace));
        let healed = holds
            && look.is_target_of(&key.name)
            && object.fields.keys().filter(is_key).all(|field| is_ours(world, key, &look, field));
        (stuck && !healed) || is_refused(world, key, object, &look)
    };
    let objects = world.server.objects.iter();
    let keys: Vec<_> = objects.filter(|(key, object)| hopeless(key, object)).map(|(key, _)| key.clone()).collect();
    for key in keys {
        world.edit(&key, "admin", Verb::Delete);
    }
}

/// Whether an object holds what its Bundle may not write over.
fn is_refused(world: &World, key: &Key, object: &Object, look: &ObservedMetadata) -> bool {
    let Some(wanted) = world.bundles.get(key.name.as_str()).and_then(|bundle| bundle.wanted.as_ref()) else {
        return false;
    };
    wanted.payloads.get(&key.kind).is_some_and(|payload| {
        let holdings = holdings(key.kind, object, Some(payload));
        matches!(wanted.may_write(payload, look, Some(&holdings), AdoptionPolicy::Consent), AdoptionVerdict::Refuse(_))
    })
}

/// Whether a key is one that we write or own.
fn is_ours(world: &World, key: &Key, look: &ObservedMetadata, field: &Field) -> bool {
    let wanted = world.bundles.get(key.name.as_str()).and_then(|bundle| bundle.wanted.as_ref());
    let payload = wanted.and_then(|wanted| wanted.payloads.get(&key.kind));
    let name = field.name.as_ref().expect("a key has a name");
    look.own_keys.contains(name) || payload.is_some_and(|payload| payload.values.contains_key(name))
}

/// The world is as the Bundles want it.
fn is_as_wanted(world: &World, marks: &Marks) {
    for (name, bundle) in &world.bundles {
        let Some(wanted) = &bundle.wanted else { continue };
        for kind in ObjectKind::ALL {
            for namespace in NAMESPACES {
                let key = Key { kind, namespace: namespace.to_owned(), name: name.to_string() };
                let found = world.server.objects.get(&key);
                if world.server.namespaces.get(namespace).is_none_or(|space| space.terminating) {
                    continue;
                }
                match wanted.payloads.get(&kind).filter(|_| world.reaches(wanted, namespace)) {
                    Some(payload) => {
                        let found = found.unwrap_or_else(|| panic!("{key:?} is not there"));
                        for (field, value) in fields(wanted, payload) {
                            assert_eq!(found.fields.get(&field), Some(&value), "{field:?} of {key:?}: {found:#?}");
                        }
                        // What is taken by server-side apply keeps labels that an earlier request of another kind set.
                        let applied = world.given.iter().any(|((bundle, place), request)| {
                            world::key(bundle, place) == key && matches!(request, TargetRequest::Apply { .. })
                        });
                        let own = observed(&key, found).metadata.own_labels;
                        let stale =
                            own.iter().find(|name| *name != BUNDLE_LABEL && !payload.labels.contains_key(*name));
                        assert!(applied || stale.is_none(), "{stale:?} of {key:?}: {found:#?}");
                    }
                    None => {
                        if let Some(found) = found.filter(|_| !marks.unlabelled.contains(&key)) {
                            let ours = found.fields.contains_key(&Field::new(Part::Owners, &wanted.uid));
                            assert!(!ours, "{key:?} is still there: {found:#?}");
                        }
                    }
                }
                if let Some(found) = found.filter(|found| marks.foreign.contains(&(key.clone(), found.uid))) {
                    let theirs = found.fields.get(&Field::new(Part::Data, FOREIGN));
                    assert_eq!(theirs.map(String::as_str), Some("theirs"), "{key:?}: {found:#?}");
                }
            }
        }
        let outcome = bundle.report.as_ref().unwrap_or_else(|| panic!("{name} says nothing"));
        assert_eq!(outcome.failures, [], "of {name}");
    }
}

/// Plays the steps and lets the world come to rest: it is as it should be, no event has cost more than one write, and
/// nothing is asked for when nothing changes.
pub(crate) fn ends_well(max_in_flight: usize, steps: &[Step]) -> World {
    let mut world = World::new(max_in_flight);
    let mut marks = Marks::default();
    for name in &NAMESPACES[..2] {
        play(&mut world, &mut marks, &Step::Namespace(name, OfNamespace::In));
    }
    for step in steps {
        play(&mut world, &mut marks, step);
    }
    cure(&mut world);
    world.settle();
    is_as_wanted(&world, &marks);
    for (target, written) in &world.written {
        let called_for = world.called_for.get(target).copied().unwrap_or_default();
        assert!(*written <= called_for, "{target:?}: {written} writes for {called_for} events");
    }
    let given = world.given.len();
    for scope in scopes() {
        world.relist(&scope);
    }
    world.flush();
    world.pass(Duration::from_hours(2));
    assert_eq!(world.given[given..], [], "nothing has changed");
    world
}
