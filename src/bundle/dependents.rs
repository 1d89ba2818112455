//! Finds the Bundles affected by a change: those that depend on the changed object before or after it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::id::{BundleId, SourceId};
use super::inputs::Inputs;
use super::intent::Intent;
use super::object_kind::ObjectKind;
use super::selector::Labels;
use super::source_cycle::reads_targets;

/// A change of one input of decisions.
#[derive(Clone, Debug)]
pub enum InputChange {
    /// A Bundle was created, changed or deleted.
    Bundle(BundleId),
    /// A trust namespace was created, relabelled or deleted: Bundles may begin or cease to write there.
    TrustNamespace,
    /// It has become known which objects of a kind there are in a trust namespace, or that they may not be read.
    SourceList(ObjectKind, Arc<str>),
    /// A ConfigMap or Secret of a trust namespace was created, changed or deleted.
    Source {
        /// Key of the object.
        object: SourceId,
        /// Labels of the object before, if it existed.
        before: Option<Labels>,
        /// Labels of the object now, if it exists.
        after: Option<Labels>,
    },
    /// Something is distrusted, or no longer: which Bundles have it, or have written it, only their content says.
    Denials,
}

/// Returns all Bundles whose decision may differ after the change.
///
/// The inputs may be those before or after the change: what an object looked like on the other side is part of the
/// change itself. For a Bundle, call it on both sides, since others may have read the targets that it no longer writes.
#[must_use]
pub fn affected_bundles(inputs: &Inputs, change: &InputChange) -> BTreeSet<BundleId> {
    match change {
        InputChange::Bundle(bundle) => readers(inputs, bundle),
        InputChange::TrustNamespace => {
            bundles_where(inputs, |intent| inputs.intents.keys().any(|writer| reads_targets(intent, writer)))
        }
        InputChange::Denials => bundles_where(inputs, |_| true),
        InputChange::SourceList(kind, namespace) => bundles_where(inputs, |intent| {
            intent.object_sources().any(|source| (source.kind, &source.namespace) == (*kind, namespace))
        }),
        InputChange::Source { object, before, after } => {
            let sides = [before, after];
            bundles_where(inputs, |intent| {
                intent.object_sources().any(|source| {
                    sides.iter().any(|labels| labels.as_ref().is_some_and(|labels| source.reads(object, labels)))
                })
            })
        }
    }
}

fn bundles_where(inputs: &Inputs, predicate: impl Fn(&Intent) -> bool) -> BTreeSet<BundleId> {
    inputs.intents.values().filter(|intent| predicate(intent)).map(|intent| intent.id.clone()).collect()
}

/// The Bundle and all that read its targets by name, directly or through others: a cycle through it begins or ends.
fn readers(inputs: &Inputs, bundle: &BundleId) -> BTreeSet<BundleId> {
    let mut reached = BTreeSet::from([bundle.clone()]);
    let mut open = vec![bundle.clone()];
    while let Some(read) = open.pop() {
        for intent in inputs.intents.values().filter(|intent| reads_targets(intent, &read)) {
            if reached.insert(intent.id.clone()) {
                open.push(intent.id.clone());
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::bundle::fixture::{TRUST_NAMESPACE, anchor, intent, labels, now, pem, source_id};
    use crate::bundle::{DeniedCertificates, PackedLabels, decide};

    const NAMES: [&str; 3] = ["one", "two", "three"];

    /// The value of the one label, if it is there.
    type Label = Option<u8>;

    /// One step of a random world: the trust namespace, a source, a Bundle, a Distrust of some certificates, a permission.
    /// Labels are `l=0`, `l=1` or none; contents one of two certificates or garbage.
    #[derive(Clone, Debug)]
    enum Step {
        TrustNamespace(Option<Label>),
        Source(usize, Option<(Label, u8)>),
        Bundle(usize, Option<(u8, u8)>),
        Distrust(usize, Option<Vec<&'static str>>),
        Readable(bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        let label = || prop::option::of(0..2u8);
        prop_oneof![
            prop::option::of(label()).prop_map(Step::TrustNamespace),
            (0..3usize, prop::option::of((label(), 0..3u8))).prop_map(|(name, to)| Step::Source(name, to)),
            (0..3usize, prop::option::of((0..5u8, 0..3u8))).prop_map(|(name, to)| Step::Bundle(name, to)),
            (0..2usize, prop::option::of(prop::sample::subsequence(vec!["rsa", "ec"], 0..=2)))
                .prop_map(|(name, to)| Step::Distrust(name, to)),
            any::<bool>().prop_map(Step::Readable),
        ]
    }

    fn labelled(value: Label) -> Labels {
        value.map(|value| labels(&[("l", &value.to_string())])).unwrap_or_default()
    }

    /// Sources: a selector, or by name an object that is also another Bundle's target. Namespaces: all or a selector.
    fn some_intent(name: &str, source: u8, namespaces: u8) -> Intent {
        let selector = |value: u8| json!({ "matchLabels": { "l": value.to_string() } });
        let source = match source {
            value @ 0..2 => json!({ "selector": selector(value), "includeAllKeys": true }),
            named => json!({ "name": NAMES[usize::from(named - 2)], "includeAllKeys": true }),
        };
        let mut target = json!({ "configMap": { "key": "out" } });
        if namespaces < 2 {
            target["namespaceSelector"] = selector(namespaces);
        }
        intent(name, &json!({ "sources": [{ "configMap": source }], "target": target }))
    }

    fn apply(inputs: Inputs, step: &Step, contents: &[String; 3]) -> (Inputs, InputChange) {
        let mut inputs = inputs;
        match step {
            Step::TrustNamespace(to) => {
                inputs.trust_namespaces =
                    to.map(|to| (TRUST_NAMESPACE.into(), (&labelled(to)).into())).into_iter().collect();
                (inputs, InputChange::TrustNamespace)
            }
            Step::Readable(readable) => {
                let list = (ObjectKind::ConfigMap, Arc::from(TRUST_NAMESPACE));
                inputs.unreadable = (!readable).then(|| (list.clone(), "forbidden".to_owned())).into_iter().collect();
                (inputs, InputChange::SourceList(list.0, list.1))
            }
            Step::Source(name, to) => {
                let name = NAMES[*name];
                let object = source_id(ObjectKind::ConfigMap, name);
                let before = inputs.sources.remove(&object).map(|object| object.labels);
                if let Some((label, content)) = to {
                    inputs = inputs.with_config_map(name, &[], &[("ca", &contents[usize::from(*content)])]);
                    inputs.sources.get_mut(&object).expect("just put there").labels = labelled(*label);
                }
                let after = to.map(|(label, _)| labelled(label));
                (inputs, InputChange::Source { object, before, after })
            }
            Step::Bundle(name, to) => {
                let bundle = BundleId::from(NAMES[*name]);
                inputs.intents.remove(&bundle);
                if let Some((source, namespaces)) = to {
                    let intent = some_intent(bundle.name(), *source, *namespaces);
                    inputs.intents.insert(bundle.clone(), intent);
                }
                (inputs, InputChange::Bundle(bundle))
            }
            Step::Distrust(name, to) => {
                inputs.denials.remove(NAMES[*name]);
                if let Some(certificates) = to {
                    let certificates = certificates.iter().map(|name| anchor(name).fingerprint()).collect();
                    let denied = DeniedCertificates { certificates, ..DeniedCertificates::default() };
                    inputs.denials.insert(NAMES[*name], denied);
                }
                (inputs, InputChange::Denials)
            }
        }
    }

    /// What every Bundle would have done to the cluster.
    fn decisions(inputs: &Inputs) -> BTreeMap<BundleId, Value> {
        let decision = |intent: &Intent| match decide(intent, inputs, now()) {
            Err(refusal) => json!([refusal.reason.as_str(), refusal.message, format!("{:?}", refusal.findings)]),
            Ok(decision) => {
                let hashes: Vec<_> = decision.desired.payloads.values().map(|payload| payload.hash.as_str()).collect();
                json!([decision.desired.namespaces.to_string(), hashes, format!("{:?}", decision.findings)])
            }
        };
        inputs.intents.values().map(|intent| (intent.id.clone(), decision(intent))).collect()
    }

    proptest! {
        #[test]
        fn every_bundle_whose_decision_changes_is_among_the_affected(steps in prop::collection::vec(step(), 1..25)) {
            let contents = [pem("rsa"), pem("ec"), "no PEM".to_owned()];
            let trust_namespaces = [(TRUST_NAMESPACE.into(), PackedLabels::default())].into();
            let mut inputs = Inputs { trust_namespaces, ..Inputs::default() };
            for step in &steps {
                let before = decisions(&inputs);
                let old = inputs.intents.clone();
                let (next, change) = apply(inputs, step, &contents);
                let mut affected = affected_bundles(&next, &change);
                affected.extend(affected_bundles(&Inputs { intents: old, ..Inputs::default() }, &change));
                for (name, now) in decisions(&next) {
                    prop_assert!(before.get(&name) == Some(&now) || affected.contains(&name), "{name} by {step:?}");
                }
                inputs = next;
            }
        }
    }
}
