//! The rules of a Bundle that a schema's limits cannot express, in CEL, so that the API server itself refuses with our words.
//!
//! Rules below the root are forgiven by the server (ratcheting, Kubernetes 1.30) where an update leaves the value they judge unchanged.
//! A rule at the root sees a changed object on every update, and so has to forgive for itself: an object stored under an
//! older schema must still take status patches, labels and its own deletion.
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules>

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;

/// A rule and its place in the schema, written like a field path (`spec.sources[].secret`; the root is empty).
pub(super) struct Placed {
    pub(super) at: &'static str,
    pub(super) rule: ValidationRule,
}

/// All rules, in the order in which they stand in the schema.
pub(super) fn rules() -> Vec<Placed> {
    vec![]
}
