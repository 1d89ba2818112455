//! Lists the targets of a Bundle that was created after all targets had been listed, for [`mod@super::roll_out`].

use kube::core::Status;
use tracing::warn;

use crate::api;
use crate::bundle::{BundleId, Intent};
use crate::client::{ApiCollection, ApiError, Connection, ListPager, MetadataOnly};
use crate::fanout::{ListScope, Observed, TargetListResult};

use super::{Controller, TaskOutput};

/// Targets, each with its namespace.
pub(super) type ListedTargets = Vec<(String, Observed)>;

/// Starts to list a Bundle's targets.
pub(super) fn list(controller: &mut Controller, bundle: BundleId, scope: ListScope, number: u64) {
    let connection = controller.connection.clone();
    let intent = controller.cache.inputs().intents.get(&bundle).cloned();
    controller.tasks.spawn(async move {
        let result = list_bundle_targets(&connection, bundle.name(), &scope, intent.as_ref()).await;
        TaskOutput::Listed { bundle, scope, number, result }
    });
}

/// Converts the result of a list for the engine: the targets, or whether the list may be requested again.
pub(super) fn on_listed(
    controller: &mut Controller,
    bundle: &str,
    result: Result<ListedTargets, ApiError>,
) -> TargetListResult {
    let error = match result {
        Ok(targets) => return TargetListResult::Targets(targets),
        Err(error) => error,
    };
    warn!(bundle, "targets not listed: {error}");
    controller.note_server_health(&error);
    match error {
        // A continuation that has expired begins anew.
        ApiError::Refused(status) if !is_transient(&status) => TargetListResult::Refused,
        _ => TargetListResult::Unavailable,
    }
}

/// Lists the targets of a Bundle by the value of their label.
pub(super) async fn list_bundle_targets(
    connection: &Connection,
    bundle: &str,
    scope: &ListScope,
    intent: Option<&Intent>,
) -> Result<ListedTargets, ApiError> {
    // A longer name is no label's value, and no Bundle's that is carried out.
    let ListScope::Targets(kind, namespace) = scope else { return Ok(ListedTargets::new()) };
    if bundle.len() > api::MAX_NAME {
        return Ok(ListedTargets::new());
    }
    let mut list = ListPager::new(connection, &ApiCollection::targets_of(bundle, *kind, namespace.as_deref()));
    let mut targets = ListedTargets::new();
    while let Some(object) = list.next().await? {
        let MetadataOnly { metadata } =
            serde_json::from_slice(&object).map_err(|error| ApiError::Lost(error.to_string()))?;
        if metadata.name.as_deref() == Some(bundle) {
            let named = |part, name: &str| intent.is_some_and(|intent| intent.declares(*kind, part, name));
            let observed = Observed::read(&metadata, named);
            targets.push((metadata.namespace.unwrap_or_default(), observed));
        }
    }
    Ok(targets)
}

/// Whether the same list may succeed later: the API server failed, or the list took so long that it expired.
fn is_transient(status: &Status) -> bool {
    status.code >= 500 || status.code == 410
}
