//! The targets of a Bundle that came after all targets had been listed.

use std::sync::Arc;

use kube::core::Status;
use tracing::warn;

use super::{Controller, Done};
use crate::api;
use crate::bundle::Intent;
use crate::cluster::connection::{Connection, Failure};
use crate::cluster::watch::{self, Bare, List};
use crate::fanout::{Event, Found, Observed, Scope};

/// Targets by namespace.
pub(super) type Targets = Vec<(String, Observed)>;

impl Controller {
    /// Lists a Bundle's targets.
    pub(super) fn list(&mut self, bundle: Arc<str>, scope: Scope, number: u64) {
        let connection = self.connection.clone();
        let intent = self.state.world.intents.get(&*bundle).cloned();
        self.tasks.spawn(async move {
            let result = targets(&connection, &bundle, &scope, intent.as_ref()).await;
            Done::Listed { bundle, scope, number, result }
        });
    }

    /// Takes in what a list brought.
    pub(super) fn listed(&mut self, bundle: Arc<str>, scope: Scope, number: u64, result: Result<Targets, Failure>) {
        let found = match result {
            Ok(targets) => Found::Targets(targets),
            Err(failure) => {
                warn!(bundle = &*bundle, "targets not listed: {failure}");
                self.heed(&failure);
                match failure {
                    // A continuation that has expired begins anew.
                    Failure::Refused(status) if !is_passing(&status) => Found::Refused,
                    _ => Found::Later,
                }
            }
        };
        self.step(Event::Listed { bundle, scope, number, found });
    }
}

async fn targets(
    connection: &Connection,
    bundle: &str,
    scope: &Scope,
    intent: Option<&Intent>,
) -> Result<Targets, Failure> {
    // A longer name is no label's value, and no Bundle's that is carried out.
    let Scope::Targets(kind, namespace) = scope else { return Ok(Targets::new()) };
    if bundle.len() > api::MAX_NAME {
        return Ok(Targets::new());
    }
    let mut list = List::new(connection, &watch::targets_of(bundle, *kind, namespace.as_deref()));
    let mut targets = Targets::new();
    while let Some(object) = list.next().await? {
        let Bare { metadata } = serde_json::from_slice(&object).map_err(|error| Failure::Lost(error.to_string()))?;
        if metadata.name.as_deref() == Some(bundle) {
            let named = |part, name: &str| intent.is_some_and(|intent| intent.names(*kind, part, name));
            let observed = Observed::read(&metadata, named);
            targets.push((metadata.namespace.unwrap_or_default(), observed));
        }
    }
    Ok(targets)
}

/// Whether the same list may be had later: the API server is in trouble, or the list took too long.
fn is_passing(status: &Status) -> bool {
    status.code >= 500 || status.code == 410
}
