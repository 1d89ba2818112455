//! The wire types. Their doc comments are what `kubectl explain bundle` prints; their schemars attributes are the schema's limits.
//!
//! Reading is forgiving: an object that an older schema let through still becomes a value here, so that one odd Bundle
//! neither kills a watch nor goes unanswered.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// What to distribute (sources) and where to (target).
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "trust.cert-manager.io",
    version = "v1alpha1",
    kind = "Bundle",
    status = "BundleStatus",
    derive = "PartialEq",
    doc = "A Bundle gathers CA certificates and keeps a copy of them in every selected namespace.",
    printcolumn = r#"{"name": "ConfigMap Target", "type": "string", "jsonPath": ".spec.target.configMap.key",
        "description": "Key of the target ConfigMap that holds the PEM bundle"}"#,
    printcolumn = r#"{"name": "Secret Target", "type": "string", "jsonPath": ".spec.target.secret.key",
        "description": "Key of the target Secret that holds the PEM bundle"}"#,
    printcolumn = r#"{"name": "Synced", "type": "string", "jsonPath": ".status.conditions[?(@.type == \"Synced\")].status",
        "description": "Whether every target holds the bundle"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type == \"Synced\")].reason",
        "description": "Why the targets are, or are not, in sync"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp",
        "description": "When the Bundle was created"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct BundleSpec {
    /// Where the certificates come from. Their union, without duplicates, is what the targets receive.
    #[schemars(length(min = 1, max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub sources: Vec<BundleSource>,
    /// What to write, and into which namespaces. Without it nothing is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<BundleTarget>,
}

/// One source of certificates: exactly one of its fields is set.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct BundleSource {
    /// A `ConfigMap`, or every `ConfigMap` with certain labels, in the trust namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ObjectRefSource>,
    /// A `Secret`, or every `Secret` with certain labels, in the trust namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<ObjectRefSource>,
    /// PEM certificates, written out here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1_048_576))]
    pub in_line: Option<String>,
    /// Whether to add the default CAs that the controller was started with.
    #[serde(default, rename = "useDefaultCAs", skip_serializing_if = "Option::is_none")]
    pub use_default_cas: Option<bool>,
}

/// Which objects of a kind, in the trust namespace, and which of their keys.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename = "SourceObject", rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct ObjectRefSource {
    /// Name of the object. Either this or `selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
    /// Labels of the objects. Either this or `name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub selector: Option<LabelSelector>,
    /// The key whose value holds PEM certificates. Required unless `includeAllKeys` is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
    /// Whether to read every key of the object; false when unset. Excludes `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_all_keys: Option<bool>,
}

/// What is written into each selected namespace: an object with the Bundle's name, as `ConfigMap`, as `Secret` or both.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BundleTarget {
    /// Write a `ConfigMap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<KeyTarget>,
    /// Write a `Secret`. The controller must have been started with Secret targets enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<KeyTarget>,
    /// Trust stores to write beside the PEM bundle, into further keys of the same objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub additional_formats: Option<AdditionalFormats>,
    /// Labels of the namespaces to write to. All namespaces when unset or empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub namespace_selector: Option<LabelSelector>,
}

/// A target object of one kind.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyTarget {
    /// The key that receives the PEM bundle.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// Labels and annotations to put on the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TargetMetadata>,
}

/// Labels and annotations for a target.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1))]
pub struct TargetMetadata {
    /// Annotations to put on the target. Prefixes trust.cert-manager.io/ and trust-manager.io/ are reserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1))]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Labels to put on the target. Prefixes trust.cert-manager.io/ and trust-manager.io/ are reserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1))]
    pub labels: Option<BTreeMap<String, String>>,
}

/// Trust stores other than PEM.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdditionalFormats {
    /// A Java keystore. Deprecated: Java reads PKCS#12 just as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jks: Option<Jks>,
    /// A PKCS#12 trust store, which Java and OpenSSL read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pkcs12: Option<Pkcs12>,
}

/// A Java keystore.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "x-kubernetes-map-type" = "atomic"))]
pub struct Jks {
    /// The key that receives the keystore.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// Password of the keystore. A trust store holds no secrets: it guards against damage, not against readers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), extend("default" = "changeit"))]
    pub password: Option<WirePassword>,
}

/// A PKCS#12 trust store.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "x-kubernetes-map-type" = "atomic"))]
pub struct Pkcs12 {
    /// The key that receives the trust store.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// Password of the trust store. When empty, the store is neither encrypted nor sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 0, max = 128), extend("default" = ""))]
    pub password: Option<WirePassword>,
    /// Algorithms of a store with a password: `LegacyRC2` (when unset; modern OpenSSL and Java refuse it), `LegacyDES` (read nearly
    /// everywhere) or `Modern2023` (strong; OpenSSL 3 and recent Java).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::profile")]
    pub profile: Option<Pkcs12Profile>,
}

/// Algorithms of a PKCS#12 store, by the API's names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Pkcs12Profile {
    /// RC2-40 and 3DES with SHA-1.
    LegacyRC2,
    /// 3DES with SHA-1.
    LegacyDES,
    /// AES-256 with PBKDF2 and HMAC-SHA-256.
    Modern2023,
    /// A word that this version does not know; only an older or newer schema lets it through.
    #[serde(untagged)]
    Unknown(String),
}

/// A keystore's password. Reads and writes as a plain string, and never shows itself in a log.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct WirePassword(String);

impl WirePassword {
    /// The password's text, for the encoder that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for WirePassword {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for WirePassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// What became of a Bundle. Written by the controller.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1))]
pub struct BundleStatus {
    /// What is true of the Bundle now; `Synced` first of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Option<Vec<Condition>>,
    /// Version of the default CAs in the targets, when a source asks for them. Equal versions mean equal certificates.
    #[serde(default, rename = "defaultCAVersion", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub default_ca_version: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_of_another_version_is_kept_and_written_back() {
        for word in ["LegacyRC2", "LegacyDES", "Modern2023", "Modern2031", ""] {
            let read: Pkcs12 = serde_json::from_value(serde_json::json!({"key": "k", "profile": word})).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap()["profile"], word);
            assert_eq!(
                matches!(read.profile, Some(Pkcs12Profile::Unknown(_))),
                !word.contains("Legacy") && word != "Modern2023"
            );
        }
    }

    #[test]
    fn a_password_never_shows_itself() {
        let jks = Jks { key: "k".into(), password: Some("hunter2".into()) };
        assert_eq!(format!("{jks:?}"), r#"Jks { key: "k", password: Some(Password(..)) }"#);
        assert_eq!(serde_json::to_value(&jks).unwrap()["password"], "hunter2");
    }

    #[test]
    fn reading_and_writing_changes_nothing_and_unknown_fields_are_no_obstacle() {
        let mut spec = serde_json::json!({
            "sources": [{"useDefaultCAs": true}, {"inLine": "pem"}, {"secret": {"name": "n", "includeAllKeys": true}}],
            "target": {
                "configMap": {"key": "ca.crt", "metadata": {"labels": {"a": "b"}}},
                "additionalFormats": {"jks": {"key": "j"}, "pkcs12": {"key": "p", "password": "", "profile": "LegacyDES"}},
                "namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}
            }
        });
        let read: BundleSpec = serde_json::from_value(spec.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), spec);
        spec["target"]["future"] = true.into();
        assert_eq!(serde_json::from_value::<BundleSpec>(spec).unwrap(), read);
    }
}
