//! Decisions that rest on the texts of others' errors, where neither codes nor reasons distinguish the cases.
//!
//! The texts are those of Kubernetes 1.36: of the API server, its admission plugins and its validation. After a change
//! of such a text the error falls back to the wider class of its HTTP status.

use kube::core::Status;

/// Parts of messages that only the admission of an object gives: a response with one of them shows nothing of the API
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

/// Returns whether the admission of an object refused it, or failed.
pub(super) fn is_admission_refusal(status: &Status) -> bool {
    ADMISSION_MARKERS.iter().any(|part| status.message.contains(part))
}

/// Returns whether a refusal with code 403 is due to missing permissions. Quotas and policies refuse with 403, too.
pub(super) fn is_missing_permission(status: &Status) -> bool {
    status.message.contains("cannot ") && status.message.contains(" resource \"")
}

/// Returns whether a refusal with code 422 is due to `immutable: true` of a ConfigMap or Secret.
pub(super) fn is_immutable(status: &Status) -> bool {
    status.message.contains("field is immutable when `immutable` is set")
}
