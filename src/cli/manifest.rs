//! Objects of manifests, and the values of ConfigMaps and Secrets among them.

use std::collections::BTreeMap;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

use crate::bundle::ObjectKind;

/// A ConfigMap or Secret of a manifest.
pub(super) struct ManifestObject {
    /// ConfigMap or Secret.
    pub(super) kind: ObjectKind,
    /// The namespace, if the manifest names one.
    pub(super) namespace: Option<String>,
    /// The name; empty if the manifest names none.
    pub(super) name: String,
    /// The values, or why there are none.
    pub(super) values: Result<ManifestValues, UnreadableObjectError>,
}

/// Returns the objects of a document: the document itself, or the items of a list.
pub(super) fn objects(document: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    let kind = document["kind"].as_str().unwrap_or_default();
    if kind.ends_with("List") {
        Box::new(document["items"].as_array().into_iter().flatten().flat_map(objects))
    } else {
        Box::new(std::iter::once(document))
    }
}

/// Returns the kind of an object that certificates may be in; `None` for other objects.
pub(super) fn source_kind(object: &Value) -> Option<ObjectKind> {
    match (object["apiVersion"].as_str()?, object["kind"].as_str()?) {
        ("v1", "ConfigMap") => Some(ObjectKind::ConfigMap),
        ("v1", "Secret") => Some(ObjectKind::Secret),
        _ => None,
    }
}

/// The objects of a manifest.
#[derive(Default)]
pub(super) struct ManifestObjects {
    /// The ConfigMaps and Secrets, in the order of the file.
    pub(super) sources: Vec<ManifestObject>,
    /// Other objects that PEM is in, such as a Bundle, by kind and name.
    pub(super) others: Vec<String>,
}

/// Reads the objects of a file; none if it is no YAML or JSON.
pub(super) fn read_objects(file: &[u8]) -> ManifestObjects {
    // Text that names neither kind is not parsed: trust stores are large.
    let names_kind = |text: &&str| text.contains("ConfigMap") || text.contains("Secret");
    let text = str::from_utf8(file).ok().filter(names_kind);
    let documents: Vec<Value> = text.and_then(|text| serde_saphyr::from_multiple(text).ok()).unwrap_or_default();
    let mut found = ManifestObjects::default();
    for object in documents.iter().flat_map(objects) {
        let metadata = |field: &str| object["metadata"][field].as_str().map(str::to_owned);
        let (namespace, name) = (metadata("namespace"), metadata("name").unwrap_or_default());
        match (source_kind(object), object["kind"].as_str()) {
            (Some(kind), _) => {
                let values = ManifestValues::read(kind, object);
                found.sources.push(ManifestObject { kind, namespace, name, values });
            }
            (None, Some(kind)) if object.to_string().contains("-----BEGIN ") => {
                found.others.push(format!("{kind} {name}"));
            }
            (None, _) => {}
        }
    }
    found
}

/// The values of a ConfigMap or Secret by key, and the errors of those that cannot be decoded.
#[derive(Default)]
pub(super) struct ManifestValues {
    /// Values that could be decoded.
    pub(super) decoded: BTreeMap<String, Vec<u8>>,
    /// Errors of those that could not.
    pub(super) undecodable: BTreeMap<String, String>,
}

impl ManifestValues {
    /// Reads the values of an object. A key of a later field replaces that of an earlier one.
    pub(super) fn read(kind: ObjectKind, object: &Value) -> Result<Self, UnreadableObjectError> {
        type Decode = fn(&str, &'static str) -> Result<Vec<u8>, UndecodableValueError>;
        let plain: Decode = |text, _| Ok(text.as_bytes().to_owned());
        let (fields, instead): ([(&'static str, Decode); 2], _) = match kind {
            ObjectKind::ConfigMap => ([("binaryData", decode), ("data", plain)], "data"),
            ObjectKind::Secret => ([("data", decode), ("stringData", plain)], "stringData"),
        };
        let mut values = Self::default();
        for (field, decode) in fields {
            let pairs = match &object[field] {
                Value::Null => continue,
                Value::Object(pairs) => pairs,
                _ => return Err(UnreadableObjectError::NoMap(field)),
            };
            for (key, value) in pairs {
                let decoded = match value {
                    Value::Null => Ok(Vec::new()),
                    Value::String(text) => decode(text, instead),
                    _ => Err(UndecodableValueError::NoText),
                };
                values.decoded.remove(key);
                values.undecodable.remove(key);
                match decoded {
                    Ok(value) => drop(values.decoded.insert(key.clone(), value)),
                    Err(error) => drop(values.undecodable.insert(key.clone(), error.to_string())),
                }
            }
        }
        Ok(values)
    }
}

/// Decodes base64 as the API server does: line breaks are skipped, and stray bits at the end pass. Errors name the
/// field `instead`, which takes text as it is.
fn decode(text: &str, instead: &'static str) -> Result<Vec<u8>, UndecodableValueError> {
    const BASE64: GeneralPurpose =
        GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));
    let digits: Vec<u8> = text.bytes().filter(|octet| !matches!(octet, b'\r' | b'\n')).collect();
    BASE64.decode(digits).map_err(|_| {
        if text.starts_with("ENC[") {
            UndecodableValueError::EncryptedBySops
        } else {
            UndecodableValueError::NotBase64 { instead }
        }
    })
}

/// The error of an object whose values cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnreadableObjectError {
    /// The metadata has another shape.
    #[error("its metadata: {0}")]
    Metadata(#[from] serde_json::Error),
    /// This field has another shape.
    #[error("its field {0} is no map of keys and values")]
    NoMap(&'static str),
}

/// The error of a single value that cannot be decoded.
#[derive(Debug, thiserror::Error)]
enum UndecodableValueError {
    /// The value is a number, a boolean, a list or a map.
    #[error("it is no text: put it in quotes")]
    NoText,
    /// The value is one of a file that SOPS encrypted.
    #[error("it is encrypted by SOPS: decrypt the file first, with sops --decrypt")]
    EncryptedBySops,
    /// The value is no base64.
    #[error("it is not base64: encode it with base64, or put it under {instead} as it is")]
    NotBase64 {
        /// The field for values that are not encoded.
        instead: &'static str,
    },
}
