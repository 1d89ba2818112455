//! Cycles of Bundles that read each other's targets, in which no certificate would ever disappear. Chains are allowed.

use std::collections::BTreeSet;

use super::id::BundleId;
use super::inputs::Inputs;
use super::intent::{Intent, Keys, ObjectSource, Select};
use super::object_kind::ObjectKind;

/// Whether a source of the Bundle names an object that `writer` would write.
pub(super) fn reads_targets(intent: &Intent, writer: &BundleId) -> bool {
    intent.object_sources().any(|source| matches!(&source.select, Select::Named(named) if named == writer.name()))
}

/// Returns the Bundles along a cycle that this Bundle is part of, itself first and last.
pub(super) fn find_cycle(intent: &Intent, inputs: &Inputs) -> Option<Vec<BundleId>> {
    let mut path = vec![intent.id.clone()];
    let mut visited = BTreeSet::new();
    search(intent, &intent.id, intent, inputs, &mut visited, &mut path).then(|| {
        path.push(intent.id.clone());
        path
    })
}

/// Depth-first search for a way back to `goal`; `path` holds the way so far. The Bundle being decided stands for
/// itself: the inputs may hold an older version of it.
fn search(
    from: &Intent,
    goal: &BundleId,
    decided: &Intent,
    inputs: &Inputs,
    visited: &mut BTreeSet<BundleId>,
    path: &mut Vec<BundleId>,
) -> bool {
    for source in from.object_sources() {
        let Select::Named(named) = &source.select else {
            continue;
        };
        let writer = BundleId::Bundle(named.clone());
        let writer = if writer == *goal { Some(decided) } else { inputs.intents.get(&writer) };
        let Some(writer) = writer.filter(|writer| feeds(writer, source, inputs)) else {
            continue;
        };
        if writer.id == *goal {
            return true;
        }
        if visited.insert(writer.id.clone()) {
            path.push(writer.id.clone());
            if search(writer, goal, decided, inputs, visited, path) {
                return true;
            }
            path.pop();
        }
    }
    false
}

/// Whether the Bundle writes, into the trust namespace of the source, PEM that the source reads.
fn feeds(writer: &Intent, source: &ObjectSource, inputs: &Inputs) -> bool {
    let lands = inputs.trust_namespaces.get(&source.namespace).is_none_or(|labels| writer.namespaces.matches(labels))
        && inputs.settings.allows_namespace(&source.namespace)
        && (source.kind == ObjectKind::ConfigMap || inputs.settings.secret_targets);
    lands
        && writer.output.objects.iter().any(|object| {
            object.kind == source.kind
                && match &source.keys {
                    Keys::One(key) => *key == object.pem_key,
                    Keys::All => true,
                }
        })
}
