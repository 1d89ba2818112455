//! The targets of a Bundle that came after all targets had been listed.

use std::sync::Arc;

use kube::core::Status;
use tracing::warn;

use super::{Controller, TaskOutput};
use crate::api;
use crate::bundle::Intent;
use crate::client::connection::{ApiError, Connection};
use crate::client::watch::{self, ListPager, MetadataOnly};
use crate::fanout::{EngineEvent, ListScope, Observed, TargetListResult};

/// Targets by namespace.
pub(super) type ListedTargets = Vec<(String, Observed)>;

impl Controller {
    /// Lists a Bundle's targets.
    pub(super) fn list_targets(&mut self, bundle: Arc<str>, scope: ListScope, number: u64) {
        let connection = self.connection.clone();
        let intent = self.cache.inputs.intents.get(&*bundle).cloned();
        self.tasks.spawn(async move {
            let result = list_bundle_targets(&connection, &bundle, &scope, intent.as_ref()).await;
            TaskOutput::Listed { bundle, scope, number, result }
        });
    }

    /// Takes in what a list brought.
    pub(super) fn on_targets_listed(
        &mut self,
        bundle: Arc<str>,
        scope: ListScope,
        number: u64,
        result: Result<ListedTargets, ApiError>,
    ) {
        let found = match result {
            Ok(targets) => TargetListResult::Targets(targets),
            Err(failure) => {
                warn!(bundle = &*bundle, "targets not listed: {failure}");
                self.note_server_health(&failure);
                match failure {
                    // A continuation that has expired begins anew.
                    ApiError::Refused(status) if !is_transient(&status) => TargetListResult::Refused,
                    _ => TargetListResult::Unavailable,
                }
            }
        };
        self.step(EngineEvent::Listed { bundle, scope, number, result: found });
    }
}

async fn list_bundle_targets(
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
    let mut list = ListPager::new(connection, &watch::targets_of(bundle, *kind, namespace.as_deref()));
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

/// Whether the same list may be had later: the API server is in trouble, or the list took too long.
fn is_transient(status: &Status) -> bool {
    status.code >= 500 || status.code == 410
}
