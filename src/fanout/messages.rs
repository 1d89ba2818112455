//! Messages about targets that fail: the cause and the remedy.

use crate::api::BUNDLE_LABEL;
use crate::bundle::{ObservedMetadata, TargetRef};
use crate::text;

use super::contention::ConflictingManager;
use super::request_choice::RequestBlocked;

/// The cause of the failure of a target that others change faster than it can be written.
pub(super) fn lost_write(target: &TargetRef, manager: Option<ConflictingManager>) -> String {
    let who = manager.map_or_else(String::new, |(manager, key)| {
        format!(": field manager {manager:?} keeps writing its key {key:?}")
    });
    format!("failed to patch {target}: it changes faster than it can be written{who}")
}

/// The cause of the failure of a target that is healed again and again.
pub(super) fn contested(target: &TargetRef, manager: Option<&ConflictingManager>) -> String {
    let who = manager.map_or_else(
        || "somebody keeps changing or deleting it".to_owned(),
        |(manager, key)| format!("field manager {manager:?} keeps writing its key {key:?}"),
    );
    format!("failed to patch {target}: {who}: stop that writer, or have it write another object")
}

/// The cause of the failure of an immutable target, after the API server's message. `foreign_key` is a key of others
/// that the target holds, with its field manager.
pub(super) fn immutable(cause: String, foreign_key: Option<(&str, &str)>) -> String {
    match foreign_key {
        Some((manager, key)) => {
            format!("{cause}; it is not deleted because it holds key {key:?} of field manager {manager:?}")
        }
        None => cause,
    }
}

/// The cause of the failure of a target that is still there after it was deleted to be created anew.
pub(super) fn kept_by_finalizers(target: &TargetRef) -> String {
    format!(
        "failed to delete {target}: others made it immutable or took it over, and its finalizers keep it: remove them, and it is written anew"
    )
}

/// The cause of the failure of a target that differs from what was just written.
pub(super) fn mutated(target: &TargetRef) -> String {
    format!(
        "{target} was written and is not what was written: a mutating webhook or policy changes it on its way: exempt objects that carry the label {BUNDLE_LABEL}"
    )
}

/// The cause of the failure of a target that no request may be sent for. `metadata` is what is known of the target.
pub(super) fn blocked(target: &TargetRef, blocked: &RequestBlocked, metadata: Option<&ObservedMetadata>) -> String {
    match blocked {
        RequestBlocked::OtherController(owner) => format!(
            "failed to patch {target}: it is controlled by {} {} ({}): delete that owner, or give the Bundle another name",
            text::object_name(&owner.kind),
            text::quote_object_name(&owner.name),
            text::object_name(&owner.api_version)
        ),
        RequestBlocked::AdoptionRefused(obstacle) => {
            let managers = metadata.map(|metadata| &metadata.foreign_keys);
            let TargetRef { kind, namespace, name } = target;
            obstacle.explain(name, *kind, namespace, |key| managers?.get(key).map(String::as_str))
        }
    }
}
