//! The wire types of Distrust. Their doc comments are what `kubectl explain distrust` prints.
//!
//! Reading is forgiving, as it is of Bundles: what an older schema let through still counts as far as it can be read.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// The certificates that nobody is to trust, and why.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "rootcast.dev",
    version = "v1alpha1",
    kind = "Distrust",
    status = "DistrustStatus",
    derive = "PartialEq",
    doc = "A Distrust takes certificates out of every Bundle at once, and keeps them out, whatever source has them. Default CAs are no exception. Deleting it trusts them again.",
    printcolumn = r#"{"name": "Enforced", "type": "string", "jsonPath": ".status.conditions[?(@.type == \"Enforced\")].status",
        "description": "Whether no target holds any of the certificates"}"#,
    printcolumn = r#"{"name": "Status", "type": "string", "jsonPath": ".status.conditions[?(@.type == \"Enforced\")].reason",
        "description": "How far it is enforced"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".spec.reason",
        "description": "Why the certificates are distrusted"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp",
        "description": "When the Distrust was created"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct DistrustSpec {
    /// Why the certificates are distrusted, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// The certificates, each by its own digest or by that of its public key.
    #[schemars(length(min = 1, max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub certificates: Vec<DistrustedCertificate>,
}

/// One certificate, or all certificates of one key: exactly one of its fields is set.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct DistrustedCertificate {
    /// SHA-256 of the certificate, as `openssl x509 -noout -fingerprint -sha256` prints it behind `=`: 64 hexadecimal
    /// digits, in capitals or not, with colons between bytes or without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub sha256: Option<String>,
    /// SHA-256 of the public key, as `openssl x509 -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum` prints
    /// it. A CA that is issued again with the same key stays out, too.
    #[serde(default, rename = "publicKeySHA256", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub public_key_sha256: Option<String>,
}

/// What is true of the Distrust now.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DistrustStatus {
    /// Condition `Enforced`: whether any target of a Bundle holds one of the certificates, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::distrust_conditions")]
    pub conditions: Option<Vec<Condition>>,
}
