//! Decisions that rest on the texts of others' errors, since neither codes nor reasons tell the cases apart.
//!
//! The texts are those of Kubernetes' API server and its admission plugins, as of version 1.36. Where one changes, the
//! error is taken for one of the wider class that its HTTP status names.

use kube::core::Status;

/// Parts of messages that only admission of the object at hand gives: a response with one of them is no sign of the API
/// server's health, whatever its code. A webhook chooses the code itself
/// (<https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#response>).
const ADMISSION_MARKERS: [&str; 6] = [
    "admission webhook \"",
    "failed calling webhook",
    "denied request",
    "exceeded quota",
    "status unknown for quota",
    "quota evaluation timed out",
];

/// Returns whether admission of an object refused it, or could not be had.
pub(super) fn is_admission_refusal(status: &Status) -> bool {
    ADMISSION_MARKERS.iter().any(|part| status.message.contains(part))
}

/// Returns whether a refusal with code 403 is one of RBAC: an object of a quota or a policy is refused with 403, too.
pub(super) fn is_missing_permission(status: &Status) -> bool {
    status.message.contains("cannot ") && status.message.contains(" resource \"")
}

/// Returns whether a refusal with code 422 is due to `immutable: true` of a ConfigMap or Secret.
pub(super) fn is_immutable(status: &Status) -> bool {
    status.message.contains("field is immutable when `immutable` is set")
}
