//! Handing targets back to trust-manager: from fields that were updated to fields that were applied.
//!
//! We create and update targets by whole requests, so the API server files our fields under an `Update` entry of our
//! manager; trust-manager applies. Both come under one manager's name, but an apply prunes only what the manager's
//! `Apply` entry holds (<https://kubernetes.io/docs/reference/using-api/server-side-apply/>): a key that is renamed
//! after the switch would stay in every target for ever.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use serde_json::{Map, Value};

use crate::api;

/// Returns an object's managed fields with everything that our manager owns in one `Apply` entry; `None` if they are so
/// already.
///
/// Each field keeps its owners. The entries of others, entries of a subresource, and their order stay as they are. The
/// one entry stands where our `Apply` entry or else our first `Update` entry stood, and has its time.
///
/// All our entries must be of one API version, which ConfigMaps and Secrets only have.
#[must_use]
pub fn upgrade_managed_fields(entries: &[ManagedFieldsEntry]) -> Option<Vec<ManagedFieldsEntry>> {
    let first = |operation| entries.iter().position(|entry| is_ours(entry, operation));
    let updated = first("Update")?;
    let position = first("Apply").unwrap_or(updated);
    let is_other = |entry: &ManagedFieldsEntry| !is_ours(entry, "Apply") && !is_ours(entry, "Update");
    let mut fields = Map::new();
    for entry in entries.iter().filter(|entry| !is_other(entry)) {
        if let Some(FieldsV1(Value::Object(more))) = &entry.fields_v1 {
            unite(&mut fields, more);
        }
    }
    let applied = ManagedFieldsEntry {
        operation: Some("Apply".to_owned()),
        fields_v1: Some(FieldsV1(Value::Object(fields))),
        ..entries[position].clone()
    };
    let others =
        |range: &[ManagedFieldsEntry]| range.iter().filter(|entry| is_other(entry)).cloned().collect::<Vec<_>>();
    Some([others(&entries[..position]), vec![applied], others(&entries[position..])].concat())
}

fn is_ours(entry: &ManagedFieldsEntry, operation: &str) -> bool {
    entry.manager.as_deref() == Some(api::FIELD_MANAGER)
        && entry.operation.as_deref() == Some(operation)
        && entry.subresource.as_deref().unwrap_or_default().is_empty()
}

/// Adds the second set of fields to the first. `{}` stands for a field itself, any other object for fields below it,
/// among which `.` is the field itself.
fn unite(fields: &mut Map<String, Value>, more: &Map<String, Value>) {
    for (name, below) in more {
        let Some(here) = fields.get_mut(name) else {
            fields.insert(name.clone(), below.clone());
            continue;
        };
        if let (Value::Object(here), Value::Object(below)) = (here, below) {
            if here.is_empty() != below.is_empty() {
                here.insert(".".to_owned(), Value::Object(Map::new()));
            }
            unite(here, below);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, operation: &str, second: i64, fields: Value) -> ManagedFieldsEntry {
        ManagedFieldsEntry {
            api_version: Some("v1".to_owned()),
            fields_type: Some("FieldsV1".to_owned()),
            fields_v1: Some(FieldsV1(fields)),
            manager: Some(manager.to_owned()),
            operation: Some(operation.to_owned()),
            subresource: None,
            time: Some(Time(jiff::Timestamp::from_second(second).expect("a time"))),
        }
    }

    fn ours(operation: &str, second: i64, fields: Value) -> ManagedFieldsEntry {
        entry(api::FIELD_MANAGER, operation, second, fields)
    }

    #[test]
    fn updated_fields_become_applied_fields() {
        let theirs = || entry("kubectl", "Update", 3, json!({"f:data": {"f:theirs": {}}}));
        let updated = || json!({"f:data": {".": {}, "f:old": {}}});
        let status = ManagedFieldsEntry { subresource: Some("status".to_owned()), ..ours("Update", 9, updated()) };
        let cases = [
            ("nothing there", vec![], None),
            ("theirs only", vec![theirs()], None),
            ("applied only", vec![ours("Apply", 1, json!({"f:data": {"f:new": {}}})), theirs()], None),
            ("of a subresource", vec![status.clone()], None),
            (
                "updated only: in its place, at its time",
                vec![theirs(), ours("Update", 5, updated()), status.clone()],
                Some(vec![theirs(), ours("Apply", 5, updated()), status.clone()]),
            ),
            (
                "both: where the applied stood, at its time",
                vec![ours("Update", 5, updated()), theirs(), ours("Apply", 1, json!({"f:data": {"f:new": {}}}))],
                Some(vec![theirs(), ours("Apply", 1, json!({"f:data": {".": {}, "f:new": {}, "f:old": {}}}))]),
            ),
            (
                "what is left of an update whose keys are gone",
                vec![
                    ours("Apply", 1, json!({"f:data": {"f:new": {}}, "f:immutable": {}})),
                    ours("Update", 5, json!({"f:data": {}, "f:immutable": {}})),
                ],
                Some(vec![ours("Apply", 1, json!({"f:data": {".": {}, "f:new": {}}, "f:immutable": {}}))]),
            ),
            (
                "an entry without fields",
                vec![ManagedFieldsEntry { fields_v1: None, ..ours("Update", 5, Value::Null) }],
                Some(vec![ours("Apply", 5, json!({}))]),
            ),
        ];
        for (name, before, expected) in cases {
            assert_eq!(upgrade_managed_fields(&before), expected, "{name}");
        }
    }

    type Owned = (String, Option<String>, Vec<String>);

    /// Every field below, as a path, that is in a set of fields.
    fn paths(fields: &Value, path: &[String]) -> BTreeSet<Vec<String>> {
        let below = fields.as_object().expect("an object");
        if below.is_empty() && !path.is_empty() {
            return [path.to_vec()].into();
        }
        let path_of =
            |name: &String| if name == "." { path.to_vec() } else { [path, std::slice::from_ref(name)].concat() };
        below.iter().flat_map(|(name, below)| paths(below, &path_of(name))).collect()
    }

    /// Who owns what, whether applied or updated.
    fn owned(entries: &[ManagedFieldsEntry]) -> BTreeSet<Owned> {
        let of = |entry: &ManagedFieldsEntry| {
            let (manager, subresource) = (entry.manager.clone().expect("a manager"), entry.subresource.clone());
            let fields = &entry.fields_v1.as_ref().expect("fields").0;
            paths(fields, &[]).into_iter().map(move |path| (manager.clone(), subresource.clone(), path))
        };
        entries.iter().flat_map(of).collect()
    }

    fn fields() -> impl Strategy<Value = Value> {
        let name = || prop::sample::select(vec!["f:a", "f:b", "f:c", r#"k:{"uid":"u"}"#, r#"v:"x""#]);
        let leaf = Just(json!({})).boxed();
        let set = leaf.prop_recursive(3, 16, 4, move |below| {
            (prop::collection::btree_map(name(), below, 0..4), any::<bool>()).prop_map(|(below, itself)| {
                let mut set: Map<_, _> = below.into_iter().map(|(name, fields)| (name.to_owned(), fields)).collect();
                if itself && !set.is_empty() {
                    set.insert(".".to_owned(), json!({}));
                }
                Value::Object(set)
            })
        });
        prop::collection::btree_map(name(), set, 0..4).prop_map(|set| json!(set))
    }

    fn entries() -> impl Strategy<Value = Vec<ManagedFieldsEntry>> {
        let manager = prop::sample::select(vec![api::FIELD_MANAGER, "kubectl", "before-first-apply"]);
        let operation = prop::sample::select(vec!["Apply", "Update"]);
        let subresource = prop::sample::select(vec![None, None, Some("status".to_owned())]);
        let one = (manager, operation, subresource, 0..99_i64, fields()).prop_map(
            |(manager, operation, subresource, second, fields)| ManagedFieldsEntry {
                subresource,
                ..entry(manager, operation, second, fields)
            },
        );
        prop::collection::vec(one, 0..6)
    }

    proptest! {
        #[test]
        fn every_field_keeps_its_owners_and_ours_end_in_one_applied_entry(before in entries()) {
            let is_other = |entry: &&ManagedFieldsEntry| !is_ours(entry, "Apply") && !is_ours(entry, "Update");
            let Some(after) = upgrade_managed_fields(&before) else {
                prop_assert!(!before.iter().any(|entry| is_ours(entry, "Update")));
                return Ok(());
            };
            prop_assert_eq!(owned(&after), owned(&before));
            prop_assert_eq!(upgrade_managed_fields(&after), None, "a second time");
            prop_assert!(after.iter().filter(is_other).eq(before.iter().filter(is_other)), "others are untouched");
            prop_assert_eq!(after.iter().filter(|entry| is_ours(entry, "Apply")).count(), 1);
            prop_assert_eq!(after.iter().filter(is_other).count() + 1, after.len());
        }
    }
}
