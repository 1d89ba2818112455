//! Who must be decided again after a change: everyone who cares now or cared before it.

use std::collections::BTreeSet;

use super::intent::{Intent, ObjectKind, Select};
use super::selector::Labels;
use super::world::{Settings, Target, World};

/// Something in the cluster became different.
#[derive(Clone, Debug)]
pub enum Change {
    /// A Bundle came, changed or went.
    Bundle(String),
    /// A namespace came, changed or went.
    Namespace {
        /// Its name.
        name: String,
        /// Its labels before, if it was there.
        before: Option<Labels>,
        /// Its labels now, if it is there.
        after: Option<Labels>,
    },
    /// A ConfigMap or Secret of the trust namespace came, changed or went.
    Source {
        /// Its kind.
        kind: ObjectKind,
        /// Its name.
        name: String,
        /// Its labels before, if it was there.
        before: Option<Labels>,
        /// Its labels now, if it is there.
        after: Option<Labels>,
    },
    /// A target came, changed or went.
    Target(Target),
}

/// The names of all Bundles whose decision may differ after the change.
///
/// The world may be the one before or after the change: what an object looked like on the other side is part of the
/// change itself. For a Bundle, call it on both sides, since others may have read the targets that it no longer writes.
#[must_use]
pub fn touch(world: &World, change: &Change) -> BTreeSet<String> {
    match change {
        Change::Bundle(name) => readers(world, name),
        Change::Target(target) => BTreeSet::from([target.name.clone()]),
        Change::Namespace { name, before, after } => {
            names(world, |intent| selects_namespace(&world.settings, intent, name, [before, after]))
        }
        Change::Source { kind, name, before, after } => {
            let sides = [before, after];
            names(world, |intent| {
                intent.object_sources().any(|source| {
                    sides
                        .iter()
                        .any(|labels| labels.as_ref().is_some_and(|labels| reads_or_skips(source, *kind, name, labels)))
                })
            })
        }
    }
}

fn names(world: &World, cares: impl Fn(&Intent) -> bool) -> BTreeSet<String> {
    world.intents.values().filter(|intent| cares(intent)).map(|intent| intent.name.clone()).collect()
}

fn selects_namespace(settings: &Settings, intent: &Intent, name: &str, sides: [&Option<Labels>; 2]) -> bool {
    settings.allows(name) && sides.into_iter().flatten().any(|labels| intent.namespaces.matches(labels))
}

/// A selector source also cares about objects that it skips because they are output: it names them.
fn reads_or_skips(source: &super::ObjectSource, kind: ObjectKind, name: &str, labels: &Labels) -> bool {
    source.kind == kind
        && match &source.select {
            Select::Named(named) => named == name,
            Select::Labelled(selector) => selector.matches(labels),
        }
}

/// The Bundle and all that read its targets by name, directly or through others: a cycle through it begins or ends.
fn readers(world: &World, name: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::from([name.to_owned()]);
    let mut open = vec![name.to_owned()];
    while let Some(read) = open.pop() {
        for intent in world.intents.values().filter(|intent| super::chain::reads_name(intent, &read)) {
            if reached.insert(intent.name.clone()) {
                open.push(intent.name.clone());
            }
        }
    }
    reached
}
