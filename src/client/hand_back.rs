//! Handing all targets back to trust-manager: the requests of `rootcast hand-back`.

use futures::stream::{self, StreamExt};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, PartialObjectMeta};
use kube::{Api, Client, Error};
use serde_json::json;

use crate::api;
use crate::bundle::{ObjectKind, upgrade_managed_fields};

/// How many objects are asked for, and in memory, at a time.
const PAGE: u32 = 500;

/// How many objects are written at the same time.
const CONCURRENCY: usize = 8;

/// How often one object is tried while others write it, too.
const TRIES: usize = 5;

/// Hands targets back, or looks for those that need it.
pub struct HandBack {
    /// As whom.
    pub client: Client,
    /// Whether to do it; otherwise nothing is written.
    pub write: bool,
}

/// What became of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandBackOutcome {
    /// It would be handed back.
    Due,
    /// It is handed back.
    Done,
    /// It could not be, and this is why.
    Failed(String),
}

/// A request that failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct HandBackError {
    /// Whether for want of permission.
    pub forbidden: bool,
    message: String,
}

impl HandBack {
    /// Goes through all objects of a kind that carry the Bundle label, in one namespace or in all. Tells of each that has
    /// something to hand back, by kind, namespace and name, in the order of the server's list. Returns how many there are.
    ///
    /// # Errors
    /// When the objects cannot be listed.
    pub async fn hand_back_all(
        &self,
        kind: ObjectKind,
        namespace: Option<&str>,
        mut on_outcome: impl FnMut(String, HandBackOutcome),
    ) -> Result<usize, HandBackError> {
        let objects = objects(&self.client, kind, namespace);
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

    /// `None` if there is nothing to do, or the object is gone.
    async fn hand_back(&self, kind: ObjectKind, mut found: ObjectMeta) -> Option<(String, HandBackOutcome)> {
        let name = found.name.clone().unwrap_or_default();
        let namespace = found.namespace.clone().unwrap_or_default();
        let objects = objects(&self.client, kind, Some(&namespace));
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
            // A list, because who may list all may not be allowed to get one.
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

/// Who leads the controllers now, by the clock of this machine; `None` if nobody does, or if there is no such Lease.
///
/// # Errors
/// When the Lease cannot be read.
pub async fn current_leader(
    client: &Client,
    namespace: &str,
    lease: &str,
    now: Timestamp,
) -> Result<Option<String>, HandBackError> {
    let lease = Api::<Lease>::namespaced(client.clone(), namespace).get_opt(lease).await?;
    Ok(lease.and_then(|lease| lease.spec).and_then(|spec| holder(spec, now)))
}

/// Who holds a Lease at this time, if anybody does.
pub(super) fn holder(spec: LeaseSpec, now: Timestamp) -> Option<String> {
    let renewed = spec.renew_time?.0;
    let duration = SignedDuration::from_secs(spec.lease_duration_seconds?.into());
    let holds = now.duration_since(renewed) < duration;
    spec.holder_identity.filter(|holder| holds && !holder.is_empty())
}

fn objects(client: &Client, kind: ObjectKind, namespace: Option<&str>) -> Api<PartialObjectMeta<DynamicObject>> {
    let resource = match kind {
        ObjectKind::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
        ObjectKind::Secret => ApiResource::erase::<Secret>(&()),
    };
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

impl From<Error> for HandBackError {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(status) => Self { forbidden: status.is_forbidden(), message: status.message },
            other => Self { forbidden: false, message: other.to_string() },
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
