//! A target as the raw writer sends it: a small head for one namespace and the data that all share.

use bytes::Bytes;
use serde_json::json;

use crate::protobuf;

/// What a target's metadata says beside its namespace, which the path of a request names.
#[derive(Clone, Copy)]
pub(crate) struct Metadata<'a> {
    /// The object's name.
    pub(crate) name: &'a str,
    /// The version that is to be replaced.
    pub(crate) resource_version: Option<&'a str>,
    /// Labels.
    pub(crate) labels: &'a [(&'a str, &'a str)],
    /// Annotations.
    pub(crate) annotations: &'a [(&'a str, &'a str)],
    /// Who controls it.
    pub(crate) owner: &'a Owner,
}

/// A cluster-wide object that controls targets.
pub(crate) struct Owner {
    pub(crate) api_version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// How an object is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    Protobuf,
}

/// The data of a target in one encoding.
#[derive(Clone)]
pub(crate) struct Tail {
    encoding: Encoding,
    pub(crate) bytes: Bytes,
}

impl Tail {
    pub(crate) fn new(encoding: Encoding, key: &str, value: &str) -> Self {
        let bytes = match encoding {
            Encoding::Json => format!(r#""data":{}}}"#, json!({ key: value })).into_bytes(),
            Encoding::Protobuf => protobuf::tail(&[(key, value)]),
        };
        Self { encoding, bytes: bytes.into() }
    }

    /// What comes before it.
    pub(crate) fn head(&self, metadata: &Metadata<'_>) -> Bytes {
        match self.encoding {
            Encoding::Json => json_head(metadata).into(),
            Encoding::Protobuf => protobuf::head(metadata, self.bytes.len()).into(),
        }
    }
}

fn json_head(metadata: &Metadata<'_>) -> Vec<u8> {
    let Metadata { name, resource_version, labels, annotations, owner } = metadata;
    let Owner { api_version, kind, name: owner_name, uid } = owner;
    let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    let (labels, annotations): (serde_json::Map<_, _>, serde_json::Map<_, _>) = (pairs(labels), pairs(annotations));
    let mut meta = json!({
        "name": name,
        "labels": labels,
        "annotations": annotations,
        "ownerReferences": [{
            "apiVersion": api_version, "kind": kind, "name": owner_name, "uid": uid,
            "controller": true, "blockOwnerDeletion": true,
        }],
    });
    if let Some(version) = resource_version {
        meta["resourceVersion"] = json!(version);
    }
    format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{meta},"#).into_bytes()
}
