//! Bodies of requests. The content, the same for all namespaces, is encoded once and shared; each target adds a small
//! head.
//!
//! Objects are created and replaced in Kubernetes' protobuf form, which costs the API server half as much as JSON
//! (<https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding>); patches are JSON.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value as Json, json};

use crate::api;
use crate::bundle::{Desired, ObjectKind, Payload, PayloadValue};
use crate::fanout::{OwnedFields, ResourceVersion};

use super::protobuf;
use super::segmented_body::SegmentedBody;

/// The media type of patches that keep the fields of others
/// (<https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/>).
const MERGE: &str = "application/strategic-merge-patch+json";

/// The media type of server-side apply.
const APPLY: &str = "application/apply-patch+yaml";

const JSON: &str = "application/json";

/// The content of one kind of a Bundle's targets, encoded on first use.
#[derive(Default)]
pub(super) struct EncodedContent {
    protobuf: OnceCell<Bytes>,
    /// The members of `data` and of `binaryData`, without braces.
    json: OnceCell<[Bytes; 2]>,
}

/// The parts of an object other than its content.
pub(super) struct Head<'a> {
    /// The desired state of the Bundle's targets.
    pub(super) desired: &'a Desired,
    /// The payload of the object's kind.
    pub(super) payload: &'a Payload,
    /// Resource version of the object.
    pub(super) version: ResourceVersion,
    /// Uid of the namespace, where the object holds keys of others: if the Bundle owns the object then the namespace
    /// does, too, and the object outlives its Bundle.
    pub(super) second_owner: Option<&'a str>,
    /// Namespace of the object.
    pub(super) namespace: &'a str,
}

/// A media type and a body of it.
pub(super) type EncodedBody = (&'static str, SegmentedBody);

impl EncodedContent {
    /// Encodes the whole object; `version` is that of an existing object.
    pub(super) fn object(&self, desired: &Desired, payload: &Payload, version: Option<ResourceVersion>) -> EncodedBody {
        let content = self.protobuf.get_or_init(|| protobuf::content(payload).into());
        (protobuf::MEDIA_TYPE, protobuf::object(desired, payload, version, content))
    }

    /// Encodes a strategic merge patch that sets metadata and keys, and removes `stale` fields and the former owner.
    pub(super) fn merge(&self, head: &Head<'_>, stale: &OwnedFields, former_owner: Option<&str>) -> EncodedBody {
        let mut json = head.json(former_owner);
        for (field, names) in [("labels", &stale.labels), ("annotations", &stale.annotations)] {
            for name in names {
                json["metadata"][field][name] = Json::Null;
            }
        }
        (MERGE, self.with_content(head.payload, &json, &stale.keys))
    }

    /// Encodes the manifest for server-side apply.
    pub(super) fn apply(&self, head: &Head<'_>) -> EncodedBody {
        (APPLY, self.with_content(head.payload, &head.json(None), &BTreeSet::new()))
    }

    /// Appends `data` and `binaryData` to an object. A stale key is removed from both, since its field is not known.
    fn with_content(&self, payload: &Payload, head: &Json, stale: &BTreeSet<String>) -> SegmentedBody {
        let members = self.json.get_or_init(|| members(payload));
        let nulls: Vec<_> = stale.iter().map(|key| format!("{}:null", json!(key))).collect();
        let nulls = nulls.join(",");
        let head = head.to_string();
        let mut between = head.strip_suffix('}').expect("an object ends with a brace").to_owned();
        let mut parts = Vec::new();
        for (field, members) in ["data", "binaryData"].into_iter().zip(members) {
            if members.is_empty() && nulls.is_empty() {
                continue;
            }
            let comma = if members.is_empty() || nulls.is_empty() { "" } else { "," };
            parts.push(format!("{between},\"{field}\":{{{nulls}{comma}").into());
            parts.push(members.clone());
            between = String::from("}");
        }
        between.push('}');
        parts.push(between.into());
        SegmentedBody::new(parts)
    }
}

/// Encodes a strategic merge patch that removes the fields and owner references of this controller.
pub(super) fn hand_over(kind: ObjectKind, uid: &str, version: ResourceVersion, own: &OwnedFields) -> EncodedBody {
    let OwnedFields { keys, labels, annotations, namespaces } = own;
    let owners = std::iter::once(uid).chain(namespaces.iter().map(String::as_str));
    let owners: Vec<_> = owners.map(|uid| json!({ "$patch": "delete", "uid": uid })).collect();
    let nulls =
        |names: &BTreeSet<String>| -> Map<_, _> { names.iter().map(|name| (name.clone(), Json::Null)).collect() };
    let mut patch = json!({
        "metadata": {
            "resourceVersion": version.to_string(), "labels": nulls(labels), "annotations": nulls(annotations),
            "ownerReferences": owners,
        },
        "data": nulls(keys),
    });
    if kind == ObjectKind::ConfigMap {
        patch["binaryData"] = nulls(keys).into();
    }
    (MERGE, SegmentedBody::new(vec![patch.to_string().into()]))
}

/// Encodes the options of a deletion of exactly this version.
pub(super) fn delete(version: ResourceVersion) -> EncodedBody {
    let options = json!({
        "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": { "resourceVersion": version.to_string() },
    });
    (JSON, SegmentedBody::new(vec![options.to_string().into()]))
}

impl Head<'_> {
    /// Encodes the head; `former_owner` is the uid of an owner that a strategic merge patch removes.
    fn json(&self, former_owner: Option<&str>) -> Json {
        let Self { desired, payload, version, second_owner, namespace } = self;
        let Payload { kind, values, labels, annotations, hash, partial: _ } = payload;
        let mut labels = labels.clone();
        labels.insert(api::BUNDLE_LABEL.to_owned(), desired.name.clone());
        let mut annotations = annotations.clone();
        annotations.insert(api::HASH_ANNOTATION.to_owned(), hash.clone());
        let mut owners: Vec<_> =
            former_owner.map(|uid| json!({ "$patch": "delete", "uid": uid })).into_iter().collect();
        owners.extend(desired.owner_uid().map(|uid| {
            json!({
                "apiVersion": api::API_VERSION, "kind": api::KIND, "name": desired.name, "uid": uid,
                "controller": true, "blockOwnerDeletion": true,
            })
        }));
        if let Some(uid) = second_owner {
            let keys: Vec<_> = values.keys().map(String::as_str).collect();
            annotations.insert(api::KEYS_ANNOTATION.to_owned(), keys.join(","));
            let owner = json!({ "apiVersion": "v1", "kind": "Namespace", "name": namespace, "uid": uid });
            owners.extend(desired.owner_uid().map(|_| owner));
        }
        let mut head = json!({
            "apiVersion": "v1", "kind": kind.as_str(),
            "metadata": {
                "name": desired.name, "resourceVersion": version.to_string(), "labels": labels,
                "annotations": annotations,
            },
        });
        if !owners.is_empty() {
            head["metadata"]["ownerReferences"] = owners.into();
        }
        head
    }
}

fn members(payload: &Payload) -> [Bytes; 2] {
    let (mut data, mut binary) = (Vec::new(), Vec::new());
    for (key, value) in &payload.values {
        let (members, text) = match (payload.kind, value) {
            (ObjectKind::ConfigMap, PayloadValue::Text(text)) => (&mut data, json!(&**text)),
            (ObjectKind::ConfigMap, PayloadValue::Binary(bytes)) => (&mut binary, json!(STANDARD.encode(bytes))),
            (ObjectKind::Secret, value) => (&mut data, json!(STANDARD.encode(value.bytes()))),
        };
        members.push(format!("{}:{text}", json!(key)));
    }
    [data.join(",").into(), binary.join(",").into()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::fixture::{now, plain};
    use crate::bundle::{DeletionPolicy, Inputs, decide};

    #[test]
    fn the_owners_are_the_bundle_and_beside_keys_of_others_the_namespace_unless_the_bundle_owns_nothing() {
        let decision = decide(&plain("b"), &Inputs::default(), now()).expect("a decision");
        let owning = decision.desired.as_ref().clone();
        let orphaning = Desired { deletion: DeletionPolicy::Orphan, ..owning.clone() };
        let rows = [
            (&owning, None, None, json!(["uid-of-b"])),
            (&owning, Some("older"), Some("n"), json!(["older", "uid-of-b", "n"])),
            (&orphaning, None, None, Json::Null),
            (&orphaning, Some("uid-of-b"), Some("n"), json!(["uid-of-b"])),
        ];
        for (desired, former_owner, second_owner, expected) in rows {
            let payload = &desired.payloads[&ObjectKind::ConfigMap];
            let version = ResourceVersion::parse("7");
            let head = Head { desired, payload, version, second_owner, namespace: "team" }.json(former_owner);
            let owners = head["metadata"].get("ownerReferences").map_or(Json::Null, |owners| {
                owners.as_array().expect("a list").iter().map(|owner| owner["uid"].clone()).collect()
            });
            assert_eq!(owners, expected);
            assert_eq!(head["metadata"]["annotations"].get(api::KEYS_ANNOTATION).is_some(), second_owner.is_some());
        }
    }
}
