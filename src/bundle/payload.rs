//! Encodes trust anchors into the content of targets.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

use crate::api;
use crate::trust::{self, Anchors, Fingerprint, Profile};

use super::intent::{ObjectOutput, Output};
use super::object_kind::ObjectKind;
use super::reason::Reason;
use super::refusal::Refusal;
use super::selector::Labels;

/// The most bytes that the values of a ConfigMap or Secret may have together
/// (<https://kubernetes.io/docs/concepts/configuration/configmap/>).
pub const SIZE_MAX: usize = 1024 * 1024;

/// The content of a Bundle's target of one kind, the same in every namespace.
#[derive(Clone, Debug)]
pub struct Payload {
    /// Kind of the object.
    pub kind: ObjectKind,
    /// Values by key.
    pub values: BTreeMap<String, PayloadValue>,
    /// Labels of the template, without the Bundle label.
    pub labels: Labels,
    /// Annotations of the template, without the hash.
    pub annotations: Labels,
    /// Value of the hash annotation.
    pub hash: String,
    /// Whether the keystores lack certificates that Java refuses. The hash does not depend on it, so an object of the
    /// same hash may have keystores that hold them.
    pub partial: bool,
}

/// The content of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayloadValue {
    /// PEM.
    Text(Arc<str>),
    /// A keystore.
    Binary(Arc<[u8]>),
}

/// What the targets of a Bundle are to hold.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// Name of the Bundle.
    pub bundle: &'a str,
    /// The certificates; `None` if all are denied.
    pub anchors: Option<&'a Anchors>,
    /// Whether any is denied: then keystores may be empty, since nothing may stay as it is.
    pub denied: bool,
}

/// Encodes a content into every format of the output, once, for each of its objects.
///
/// The PEM of no certificate is a line of comment: programs take an empty text for none, and trust the public CAs.
///
/// # Errors
/// A [`Refusal`] if the values are larger than Kubernetes takes, or if no certificate is left for a keystore.
pub fn encode(output: &Output, content: Content<'_>) -> Result<Vec<Payload>, Refusal> {
    let Output { objects, jks, pkcs12 } = output;
    let Content { bundle, anchors, denied } = content;
    if objects.is_empty() {
        return Ok(Vec::new());
    }
    let none = || format!("# no CA: all are distrusted ({bundle})\n");
    let pem: Arc<str> = anchors.map_or_else(none, Anchors::to_pem).into();
    let mut formats = BTreeMap::new();
    let for_java = anchors.filter(|_| output.has_keystores()).and_then(readable_by_java);
    if output.has_keystores() && for_java.is_none() && !denied {
        return Err(nothing_for_java());
    }
    let count = |anchors: Option<&Anchors>| anchors.map_or(0, Anchors::len);
    let partial = output.has_keystores() && count(for_java.as_ref()) < count(anchors);
    let for_java = for_java.as_ref();
    if let Some(jks) = jks {
        let store = trust::jks::encode(for_java, &jks.password);
        formats.insert(jks.key.clone(), PayloadValue::Binary(store.into()));
    }
    if let Some(pkcs12) = pkcs12 {
        let profile = pkcs12.profile.unwrap_or(Profile::LegacyRc2);
        let store = trust::pkcs12::encode(for_java, &pkcs12.password, profile);
        formats.insert(pkcs12.key.clone(), PayloadValue::Binary(store.into()));
    }
    objects
        .iter()
        .map(|object| {
            let ObjectOutput { kind, pem_key, labels, annotations } = object;
            let mut values = formats.clone();
            values.insert(pem_key.clone(), PayloadValue::Text(pem.clone()));
            check_size(*kind, &values)?;
            Ok(Payload {
                kind: *kind,
                values,
                labels: labels.clone(),
                annotations: annotations.clone(),
                hash: hash(&pem, output, object),
                partial,
            })
        })
        .collect()
}

impl PayloadValue {
    /// Returns the bytes of the value.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

impl Payload {
    /// Returns the number of bytes of all values together.
    #[must_use]
    pub fn size(&self) -> usize {
        self.values.values().map(|value| value.bytes().len()).sum()
    }

    /// Returns the manifest, complete but for the namespace, for the Bundle of this name, with the Bundle of this uid
    /// as its owner.
    #[must_use]
    pub fn manifest<'a>(&'a self, bundle: &'a str, owner_uid: Option<&'a str>) -> Manifest<'a> {
        let Self { kind, values, labels, annotations, hash, partial: _ } = self;
        let plain = |pairs: &'a Labels| pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let owner = |uid| Owner {
            api_version: api::API_VERSION,
            kind: api::KIND,
            name: bundle,
            uid,
            controller: true,
            block_owner_deletion: true,
        };
        let metadata = Metadata {
            name: bundle,
            labels: plain(labels).chain([(api::BUNDLE_LABEL, bundle)]).collect(),
            annotations: plain(annotations).chain([(api::HASH_ANNOTATION, hash.as_str())]).collect(),
            owner_references: owner_uid.map(owner).into_iter().collect(),
        };
        let (mut data, mut binary_data) = (BTreeMap::new(), BTreeMap::new());
        for (key, value) in values {
            match (kind, value) {
                (ObjectKind::ConfigMap, PayloadValue::Text(text)) => data.insert(key.as_str(), Wire::Plain(text)),
                (ObjectKind::ConfigMap, PayloadValue::Binary(bytes)) => {
                    binary_data.insert(key.as_str(), Wire::Base64(bytes))
                }
                (ObjectKind::Secret, value) => data.insert(key.as_str(), Wire::Base64(value.bytes())),
            };
        }
        Manifest { api_version: "v1", kind: kind.as_str(), metadata, data, binary_data }
    }
}

/// A target's manifest. It borrows its content and encodes it while it is written out: a copy in memory of what may be
/// a megabyte, in base64 too, would be most of what the controller needs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    data: BTreeMap<&'a str, Wire<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    binary_data: BTreeMap<&'a str, Wire<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    name: &'a str,
    labels: BTreeMap<&'a str, &'a str>,
    annotations: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    owner_references: Vec<Owner<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Owner<'a> {
    api_version: &'static str,
    kind: &'static str,
    name: &'a str,
    uid: &'a str,
    controller: bool,
    block_owner_deletion: bool,
}

/// A value as JSON carries it.
#[derive(Debug)]
enum Wire<'a> {
    Plain(&'a str),
    Base64(&'a [u8]),
}

impl Serialize for Wire<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(text) => serializer.serialize_str(text),
            Self::Base64(bytes) => serializer.collect_str(&Base64Display::new(bytes, &STANDARD)),
        }
    }
}

/// Returns the certificates for a keystore: Java refuses a keystore that holds one which it refuses.
fn readable_by_java(anchors: &Anchors) -> Option<Anchors> {
    Anchors::collect(anchors.iter().filter(|anchor| anchor.check_for_java().is_ok()).cloned())
}

fn nothing_for_java() -> Refusal {
    Refusal::new(
        Reason::SourceBuildError,
        "Failed to build bundle sources: Java refuses every certificate of the Bundle, so its keystores would be empty (condition SourcesComplete says why): add a certificate that Java reads, or drop the additional formats",
    )
}

fn check_size(kind: ObjectKind, values: &BTreeMap<String, PayloadValue>) -> Result<(), Refusal> {
    let total: usize = values.values().map(|value| value.bytes().len()).sum();
    if total <= SIZE_MAX {
        return Ok(());
    }
    let parts: Vec<_> = values.iter().map(|(key, value)| format!("{key} {}", value.bytes().len())).collect();
    Err(Refusal::new(
        Reason::TargetTooLarge,
        &format!(
            "Bundle does not fit into a {}: {total} bytes ({}) are over the limit of {SIZE_MAX}; drop an additional format or split the sources over several Bundles",
            kind.as_str(),
            parts.join(", ")
        ),
    ))
}

/// The profile as a Bundle spells it.
fn wire_name(profile: Profile) -> &'static str {
    match profile {
        Profile::LegacyRc2 => "LegacyRC2",
        Profile::LegacyDes => "LegacyDES",
        Profile::Modern2023 => "Modern2023",
    }
}

/// The value of the hash annotation: lower-case hex SHA-256 over PEM, passwords, profile and template metadata, plainly
/// concatenated. Fixed by compatibility: another value would rewrite every target of a cluster that switches over.
fn hash(pem: &str, output: &Output, object: &ObjectOutput) -> String {
    let Output { objects: _, jks, pkcs12 } = output;
    let mut text = pem.to_owned();
    if let Some(jks) = jks {
        text += jks.password.reveal();
    }
    if let Some(pkcs12) = pkcs12 {
        text += pkcs12.password.reveal();
        text += pkcs12.profile.map_or("", wire_name);
    }
    for (key, value) in object.annotations.iter().chain(&object.labels) {
        text += key;
        text += value;
    }
    Fingerprint::of(text.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::bundle::fixture::{intent, now, pem, plain};
    use crate::bundle::sources::resolve;
    use crate::bundle::{Inputs, Intent};

    fn encoded(intent: &Intent) -> Vec<Payload> {
        let anchors = resolve(intent, &Inputs::default(), now()).expect("resolved").anchors(|_| false);
        let content = Content { bundle: intent.id.name(), anchors: anchors.as_ref(), denied: false };
        encode(&intent.output, content).expect("fits")
    }

    #[test]
    fn what_does_not_fit_into_an_object_is_refused_with_the_sum_and_its_parts() {
        let values = BTreeMap::from([
            ("a".to_owned(), PayloadValue::Text("x".repeat(SIZE_MAX).into())),
            ("b".to_owned(), PayloadValue::Binary([0; 1].as_slice().into())),
        ]);
        let refusal = check_size(ObjectKind::ConfigMap, &values).expect_err("one byte too many");
        assert_eq!(refusal.reason, Reason::TargetTooLarge);
        assert!(
            refusal.message.contains("1048577 bytes (a 1048576, b 1) are over the limit of 1048576"),
            "{}",
            refusal.message
        );
        let fitting = values.into_iter().take(1).collect();
        assert!(check_size(ObjectKind::ConfigMap, &fitting).is_ok());
    }

    #[test]
    fn without_a_uid_a_manifest_has_no_owner() {
        let intent = plain("b");
        let payload = &encoded(&intent)[0];
        assert!(json!(payload.manifest("b", Some("uid")))["metadata"]["ownerReferences"].is_array());
        assert!(json!(payload.manifest("b", None))["metadata"].get("ownerReferences").is_none());
    }

    #[test]
    fn the_hash_moves_with_password_profile_and_metadata() {
        let hash = |target: Json| {
            let intent = intent("b", &json!({ "sources": [{ "inLine": pem("rsa") }], "target": target }));
            encoded(&intent).remove(0).hash
        };
        let variants = [
            json!({ "configMap": { "key": "k" } }),
            json!({ "configMap": { "key": "k", "metadata": { "labels": { "a": "b" } } } }),
            json!({ "configMap": { "key": "k" }, "additionalFormats": { "jks": { "key": "j", "password": "one" } } }),
            json!({ "configMap": { "key": "k" }, "additionalFormats": { "pkcs12": { "key": "j", "password": "two" } } }),
            json!({ "configMap": { "key": "k" }, "additionalFormats": { "pkcs12": { "key": "j", "password": "two", "profile": "LegacyDES" } } }),
        ];
        let hashes: std::collections::BTreeSet<_> = variants.iter().map(|target| hash(target.clone())).collect();
        assert_eq!(hashes.len(), variants.len());
    }

    #[test]
    fn keystores_lack_what_java_refuses_and_are_never_empty() {
        let stores = json!({ "jks": { "key": "j" }, "pkcs12": { "key": "p" } });
        let target = json!({ "configMap": { "key": "k" }, "additionalFormats": stores });
        let decided = |sources: &str, target: &Json| {
            let intent = intent("b", &json!({ "sources": [{ "inLine": sources }], "target": target }));
            crate::bundle::decide(&intent, &Inputs::default(), now())
        };
        let (good, refused) = (pem("rsa"), pem("nosubject"));
        let with = decided(&format!("{good}{refused}"), &target).expect("a decision");
        let without = decided(&good, &target).expect("a decision");
        let values = |decision: &crate::bundle::Decision| decision.desired.payloads[&ObjectKind::ConfigMap].clone();
        let (with_values, without_values) = (values(&with), values(&without));
        assert!(with_values.partial && !without_values.partial);
        for key in ["j", "p"] {
            assert_eq!(with_values.values[key], without_values.values[key]);
        }
        assert_ne!(with_values.values["k"], without_values.values["k"], "PEM holds it");
        assert!(without.findings.is_empty());
        let message = with.findings[0].to_string();
        assert!(message.starts_with("inline source line 21: ") && message.contains("Java refuses it: "), "{message}");

        let plain = decided(&refused, &json!({ "configMap": { "key": "k" } })).expect("no keystore, no matter");
        assert!(plain.findings.is_empty() && !values(&plain).partial);
        let refusal = decided(&refused, &target).expect_err("no certificate is left for the keystores");
        assert_eq!(refusal.reason, Reason::SourceBuildError);
        assert!(refusal.message.contains("Java refuses every certificate"), "{}", refusal.message);
        assert_eq!(refusal.findings.map(|findings| findings.len()), Some(1));
    }
}
