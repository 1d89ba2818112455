//! The requests of `rootcast hand-back`, which hands all targets back to trust-manager.

use futures::stream::{self, StreamExt};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Error};
use serde_json::json;

use super::connection::Connection;
use super::objects::{ReadFailure, objects};
use crate::api;
use crate::bundle::{ObjectKind, upgrade_managed_fields};

/// The number of objects in a page of a list, and so in memory at a time.
const PAGE: u32 = 500;

/// The number of objects that are written at the same time.
const CONCURRENCY: usize = 8;

/// The number of attempts to write an object that others write, too.
const TRIES: usize = 5;

/// A run of the command, which hands targets back or only finds those that need it.
pub struct HandBack {
    client: Client,
    write: bool,
}

/// The outcome for one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandBackOutcome {
    /// The target needs to be handed back; nothing was written.
    Due,
    /// The target was handed back.
    Done,
    /// The target could not be handed back, for this cause.
    Failed(String),
}

/// A failure of a request of `rootcast hand-back`.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct HandBackError {
    /// Whether the cause is a missing permission.
    pub forbidden: bool,
    message: String,
}

impl HandBack {
    /// Creates a run over a connection. Unless `write` is set nothing is written.
    #[must_use]
    pub fn new(connection: &Connection, write: bool) -> Self {
        Self { client: connection.bounded_client(), write }
    }

    /// Returns the controller that leads now, by the clock of this machine; `None` if none leads.
    ///
    /// # Errors
    /// When the Lease cannot be read.
    pub async fn current_leader(
        &self,
        namespace: &str,
        lease: &str,
        now: Timestamp,
    ) -> Result<Option<String>, HandBackError> {
        let lease = Api::<Lease>::namespaced(self.client.clone(), namespace).get_opt(lease).await?;
        Ok(lease.and_then(|lease| lease.spec).and_then(|spec| holder(spec, now)))
    }

    /// Processes all objects of a kind with the Bundle label, in one namespace or in all, and returns their number.
    ///
    /// Calls `on_outcome` with kind, namespace and name of each that has something to hand back, in the order of the
    /// server's list.
    ///
    /// # Errors
    /// When the objects cannot be listed.
    pub async fn hand_back_all(
        &self,
        kind: ObjectKind,
        namespace: Option<&str>,
        mut on_outcome: impl FnMut(String, HandBackOutcome),
    ) -> Result<usize, HandBackError> {
        let objects = objects::<PartialObjectMeta<DynamicObject>>(&self.client, kind, namespace);
        let mut page = ListParams::default().labels(api::BUNDLE_LABEL).limit(PAGE);
        let mut count = 0;
        loop {
            let list = objects.list(&page).await?;
            count += list.items.len();
            let results = stream::iter(list.items).map(|object| self.hand_back(kind, object.metadata));
            let mut results = results.buffered(CONCURRENCY);
            while let Some(result) = results.next().await {
                if let Some((target, result)) = result {
                    on_outcome(target, result);
                }
            }
            match list.metadata.continue_ {
                Some(token) if !token.is_empty() => page.continue_token = Some(token),
                _ => return Ok(count),
            }
        }
    }

    /// Hands one object back. Returns `None` if there is nothing to do, or the object is gone.
    async fn hand_back(&self, kind: ObjectKind, mut found: ObjectMeta) -> Option<(String, HandBackOutcome)> {
        let name = found.name.clone().unwrap_or_default();
        let namespace = found.namespace.clone().unwrap_or_default();
        let objects = objects::<PartialObjectMeta<DynamicObject>>(&self.client, kind, Some(&namespace));
        let target = format!("{} {namespace}/{name}", kind.as_str());
        for _ in 0..TRIES {
            let managed_fields = upgrade_managed_fields(found.managed_fields.as_deref().unwrap_or_default())?;
            if !self.write {
                return Some((target, HandBackOutcome::Due));
            }
            let metadata = json!({ "resourceVersion": found.resource_version, "managedFields": managed_fields });
            let patch = Patch::Merge(json!({ "metadata": metadata }));
            match objects.patch(&name, &PatchParams::default(), &patch).await {
                Ok(_) => return Some((target, HandBackOutcome::Done)),
                Err(Error::Api(status)) if status.is_not_found() => return None,
                Err(Error::Api(status)) if status.is_conflict() => {}
                Err(error) => return Some((target, HandBackOutcome::Failed(HandBackError::from(error).message))),
            }
            // A list, because the permission to list does not include the one to get.
            let named = ListParams::default().fields(&format!("metadata.name={name}"));
            match objects.list(&named).await {
                Ok(list) => found = list.items.into_iter().next()?.metadata,
                Err(error) => return Some((target, HandBackOutcome::Failed(HandBackError::from(error).message))),
            }
        }
        let cause = format!("others changed it {TRIES} times meanwhile: is a controller running?");
        Some((target, HandBackOutcome::Failed(cause)))
    }
}

/// Returns the holder of a Lease at `now`, if it is held.
pub(super) fn holder(spec: LeaseSpec, now: Timestamp) -> Option<String> {
    let renewed = spec.renew_time?.0;
    let duration = SignedDuration::from_secs(spec.lease_duration_seconds?.into());
    let holds = now.duration_since(renewed) < duration;
    spec.holder_identity.filter(|holder| holds && !holder.is_empty())
}

impl From<Error> for HandBackError {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(status) => Self { forbidden: status.is_forbidden(), message: status.message },
            other => Self { forbidden: false, message: ReadFailure::from(other).to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    use super::*;

    #[test]
    fn a_lease_is_held_while_it_has_a_holder_and_its_time_is_not_over() {
        let renewed = Timestamp::UNIX_EPOCH;
        let spec = |holder: &str| LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            renew_time: Some(MicroTime(renewed)),
            ..LeaseSpec::default()
        };
        let after = |seconds| renewed + SignedDuration::from_secs(seconds);
        let cases = [
            ("held", spec("one"), after(14), Some("one")),
            ("held by somebody whose clock is ahead", spec("one"), after(-3), Some("one")),
            ("over", spec("one"), after(15), None),
            ("released", spec(""), after(1), None),
            ("never held", LeaseSpec::default(), after(1), None),
        ];
        for (name, spec, now, expected) in cases {
            assert_eq!(holder(spec, now).as_deref(), expected, "{name}");
        }
    }
}
