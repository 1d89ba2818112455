//! Single cases: what the properties found, and what they are too coarse for.

use std::collections::BTreeSet;

use rootcast::bundle::ObjectKind;
use rootcast::fanout::Scope;

use crate::model::Key;
use crate::step::{Edit, Step, ends_well};
use crate::world::Content;

const CONFIG_MAPS: Scope = Scope::Targets(ObjectKind::ConfigMap, None);

/// A Bundle with a ConfigMap of one key for every namespace.
fn content(key: &'static [&'static str], value: &'static str) -> Content {
    Content { selective: false, kinds: BTreeSet::from([ObjectKind::ConfigMap]), keys: key, value }
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
