//! Bundles that read other Bundles' targets: chains are fine, cycles would keep every certificate for ever.

use super::intent::{Intent, Keys, ObjectKind, ObjectSource, Select};
use super::world::World;

/// Whether a source of the Bundle names an object that the Bundle called `name` would write.
pub(super) fn reads_name(intent: &Intent, name: &str) -> bool {
    intent.object_sources().any(|source| matches!(&source.select, Select::Named(named) if named == name))
}

/// The names along a cycle of Bundles that feed each other and that this Bundle is part of, itself first and last.
pub(super) fn cycle(intent: &Intent, world: &World) -> Option<Vec<String>> {
    let mut path = vec![intent.name.clone()];
    let mut seen = std::collections::BTreeSet::new();
    find(intent, &intent.name, intent, world, &mut seen, &mut path).then(|| {
        path.push(intent.name.clone());
        path
    })
}

/// Depth-first search for a way back to `goal`; `path` holds the way so far. The Bundle being decided stands for
/// itself: the world may hold an older version of it.
fn find(
    from: &Intent,
    goal: &str,
    decided: &Intent,
    world: &World,
    seen: &mut std::collections::BTreeSet<String>,
    path: &mut Vec<String>,
) -> bool {
    for source in from.object_sources() {
        let Select::Named(named) = &source.select else {
            continue;
        };
        let writer = if named == goal { Some(decided) } else { world.intents.get(named) };
        let Some(writer) = writer.filter(|writer| feeds(writer, source, world)) else {
            continue;
        };
        if writer.name == goal {
            return true;
        }
        if seen.insert(writer.name.clone()) {
            path.push(writer.name.clone());
            if find(writer, goal, decided, world, seen, path) {
                return true;
            }
            path.pop();
        }
    }
    false
}

/// Whether the Bundle writes, into the trust namespace, PEM that the source reads.
fn feeds(writer: &Intent, source: &ObjectSource, world: &World) -> bool {
    let lands = world.trust_namespace.as_ref().is_none_or(|labels| writer.namespaces.matches(labels))
        && world.settings.allows(&writer.trust_namespace)
        && (source.kind == ObjectKind::ConfigMap || world.settings.secret_targets);
    lands
        && writer.output.objects.iter().any(|object| {
            object.kind == source.kind
                && match &source.keys {
                    Keys::One(key) => *key == object.pem_key,
                    Keys::All => true,
                }
        })
}
