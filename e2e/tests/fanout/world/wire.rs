//! Requests on their way: what the server makes of them, and what comes back.

use std::collections::BTreeMap;
use std::time::Duration;

use rootcast::api::{BUNDLE_LABEL, FIELD_MANAGER, KEYS_ANNOTATION};
use rootcast::bundle::BundleId;
use rootcast::fanout::{Comparison, EngineEvent, ListScope, Order, TargetListResult, TargetRequest, WriteResult};

use crate::model::{Call, Failure, Field, Key, Object, Part, Verb};

use super::content::{FOREIGN, fields, holdings, is_replaceable, key, observed, own_fields, sharing};
use super::{Flight, PendingList, World};

impl World {
    /// A request reaches the server.
    pub(crate) fn arrive(&mut self, index: usize) {
        let order = self.flights[index].order.clone();
        let before = self.server.version();
        self.flights[index].answer = Some(self.carry_out(&order));
        // What is deleted to be created anew is written once, by its creation.
        let for_creation = matches!(order.request, TargetRequest::Delete(_)) && self.holds(&order);
        if self.server.version() != before && !for_creation {
            *self.written.entry((order.bundle.name().clone(), order.target)).or_default() += 1;
        }
    }

    /// A list of one Bundle's targets reaches the server.
    pub(crate) fn list_arrives(&mut self, index: usize) {
        let PendingList { bundle, scope, .. } = &self.pending_lists[index];
        let bundle = bundle.name();
        let ListScope::Targets(kind, _) = scope else { panic!("only targets are listed by Bundle") };
        let ours = self.server.objects.iter().filter(|(key, _)| key.kind == *kind && key.name == **bundle);
        let label = Field::new(Part::Labels, BUNDLE_LABEL);
        let ours = ours.filter(|(_, object)| object.fields.get(&label).is_some_and(|value| **value == **bundle));
        let found = ours.map(|(key, object)| (key.namespace.clone(), observed(key, object)));
        self.pending_lists[index].found = Some(TargetListResult::Targets(found.collect()));
    }

    /// All lists that were asked for are answered.
    pub(crate) fn answer_lists(&mut self) {
        while !self.pending_lists.is_empty() {
            self.list_arrives(0);
            self.list_answers(0, None);
        }
    }

    /// The answer to a list reaches us: that of the server, or what became of it on the way.
    pub(crate) fn list_answers(&mut self, index: usize, instead: Option<TargetListResult>) {
        let PendingList { bundle, scope, number, found } = self.pending_lists.remove(index);
        let found = instead.or(found).expect("it has reached the server");
        self.step(EngineEvent::Listed { bundle, scope, number, result: found });
    }

    /// A request that we have given up reaches the server.
    pub(crate) fn arrive_late(&mut self, index: usize) {
        let order = self.abandoned.remove(index);
        let before = self.server.version();
        self.carry_out(&order);
        if self.server.version() != before {
            *self.called_for.entry((order.bundle.name().clone(), order.target)).or_default() += 1;
        }
    }

    /// An answer reaches us: that of the server, or what became of it on the way.
    pub(crate) fn answer(&mut self, index: usize, instead: Option<WriteResult>) {
        let Flight { order, answer, overtaken } = self.flights.remove(index);
        let target = (order.bundle.name().clone(), order.target.clone());
        let asked = order.request.version();
        let answer = match (instead, answer) {
            (Some(WriteResult::Busy(time, cause)), _) => {
                // What a namespace has more than once may be its own trouble; one alone closes for five seconds at most.
                if self.complained.insert(target.1.namespace.clone()) {
                    let wait = time.unwrap_or_default().min(Duration::from_secs(5));
                    self.closed_until = self.closed_until.max(self.now + wait);
                }
                WriteResult::Busy(time, cause)
            }
            (Some(lost), answer) => {
                self.complained.insert(target.1.namespace.clone());
                if answer.is_none() {
                    self.abandoned.push(order);
                }
                lost
            }
            (None, answer) => answer.expect("it has reached the server"),
        };
        match &answer {
            // Of what is no Bundle's nothing is kept.
            _ if !self.bundles[&target.0].exists => {}
            WriteResult::Observed(observed) if !overtaken => {
                let there = observed.metadata.labels.contains_key(BUNDLE_LABEL);
                self.believe(target.clone(), observed.version, there);
            }
            WriteResult::NotFound => {
                let newest = self.believed.entry(target.clone()).or_default().0;
                self.believe(target.clone(), asked.unwrap_or(newest), false);
            }
            _ => {}
        }
        self.step(EngineEvent::OrderDone { bundle: BundleId::Bundle(target.0), target: target.1, result: answer });
    }

    fn carry_out(&mut self, order: &Order) -> WriteResult {
        let Order { bundle, target: place, desired: wanted, request } = order;
        let key = key(bundle.name(), place);
        if request.is_write() && self.refusing.contains(&*place.namespace) {
            return refused("refused", false);
        }
        let content = || fields(wanted, &wanted.payloads[&place.kind]);
        let with = |second_owner: Option<&str>| {
            let shared = second_owner.map(|uid| sharing(&wanted.payloads[&place.kind], &place.namespace, uid));
            shared.unwrap_or_default()
        };
        let verb = match request {
            TargetRequest::Create => Verb::Create(content()),
            TargetRequest::Replace(_) if !self.may_replace => return WriteResult::Forbidden("may not".to_owned()),
            TargetRequest::Replace(_) => Verb::Replace(content()),
            TargetRequest::Merge { stale, former_owner, second_owner, .. } => {
                let shared = with(second_owner.as_deref());
                let mut patch: BTreeMap<_, _> =
                    content().into_iter().chain(shared).map(|(field, value)| (field, Some(value))).collect();
                let owner = former_owner.iter().map(|uid| Field::new(Part::Owners, uid));
                patch.extend(own_fields(stale).chain(owner).map(|field| (field, None)));
                Verb::Merge(patch)
            }
            TargetRequest::Apply { second_owner, .. } => {
                Verb::Apply(content().into_iter().chain(with(second_owner.as_deref())).collect())
            }
            TargetRequest::HandOver(_, own) => {
                let all = own_fields(own).chain([Field::new(Part::Owners, &wanted.uid)]);
                Verb::Merge(all.map(|field| (field, None)).collect())
            }
            TargetRequest::Delete(_) => Verb::Delete,
            TargetRequest::GetMetadata | TargetRequest::GetContent => {
                let Some(object) = self.server.objects.get(&key) else { return WriteResult::NotFound };
                if *request == TargetRequest::GetMetadata {
                    return WriteResult::Observed(observed(&key, object));
                }
                let is_data = |field: &Field| matches!(field.part, Part::Data | Part::BinaryData);
                let same = content()
                    .iter()
                    .filter(|(field, _)| is_data(field))
                    .all(|(field, value)| object.fields.get(field) == Some(value));
                let holdings = holdings(place.kind, object, wanted.payloads.get(&place.kind));
                return WriteResult::Compared(observed(&key, object), Comparison { same, holdings });
            }
        };
        let deletes = matches!(verb, Verb::Delete);
        let before = self.server.objects.get(&key).cloned();
        let guard = request.version().map(|version| version.to_string().parse().expect("a number"));
        match self.server.call(&key, Call { manager: FIELD_MANAGER, version: guard, verb }) {
            Ok(object) if deletes => {
                assert!(!object.fields.contains_key(&Field::new(Part::Data, FOREIGN)), "{key:?} held a key of others");
                assert!(says_it_is_ours(&key, &object) && named_keys(&object).is_none(), "{key:?}: {object:#?}");
                WriteResult::NotFound
            }
            Ok(object) => {
                if let Some(before) = &before {
                    assert_nothing_of_others_is_lost(&key, before, &object);
                }
                WriteResult::Observed(observed(&key, &object))
            }
            Err(Failure::NotFound) => WriteResult::NotFound,
            Err(Failure::Exists) => WriteResult::AlreadyExists,
            Err(Failure::Conflict) => WriteResult::Conflict,
            Err(Failure::NamespaceNotFound | Failure::NamespaceTerminating) => WriteResult::NamespaceGone,
            Err(Failure::Immutable) => refused("immutable", true),
            Err(Failure::TwoControllers) => refused("two controllers", false),
        }
    }

    /// Whether an order is about a target that is to be there, as far as the engine has heard.
    fn holds(&self, order: &Order) -> bool {
        let Order { target: place, desired: wanted, .. } = order;
        let heard = self.heard.get(&*place.namespace);
        wanted.payloads.contains_key(&place.kind)
            && heard.is_some_and(|heard| wanted.reaches(&self.settings, &place.namespace, heard))
    }
}

/// Whether an object has our label, and a hash or fields that we wrote.
fn says_it_is_ours(key: &Key, object: &Object) -> bool {
    observed(key, object).metadata.is_target_of(&key.name)
}

/// The keys that an object names as ours, if it names any.
fn named_keys(object: &Object) -> Option<Vec<&str>> {
    let annotation = object.fields.get(&Field::new(Part::Annotations, KEYS_ANNOTATION));
    annotation.map(|keys| keys.split(',').collect())
}

/// A write of ours changes and takes out nothing but what is ours, empty, or certificates.
fn assert_nothing_of_others_is_lost(key: &Key, before: &Object, after: &Object) {
    let named = named_keys(before);
    let is_ours = |name: &str| says_it_is_ours(key, before) && named.as_ref().is_none_or(|named| named.contains(&name));
    for (field, value) in before.fields.iter().filter(|(field, _)| field.is_content()) {
        let Some(name) = &field.name else { continue };
        let kept = after.fields.get(field) == Some(value);
        let free = is_replaceable(key.kind, field, value) && after.fields.contains_key(field);
        assert!(kept || free || is_ours(name), "{field:?} of {key:?}: {before:#?} became {after:#?}");
    }
}

fn refused(cause: &str, fixed: bool) -> WriteResult {
    WriteResult::Refused { cause: cause.to_owned(), immutable: fixed, retry_after: None }
}
