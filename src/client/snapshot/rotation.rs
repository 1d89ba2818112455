//! The reads of `rootcast wait`, of `rootcast status --rotation` and of what `rootcast hand-back` warns of.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams};

use super::{SnapshotReadError, SnapshotReader, get_opt, name};
use crate::api::{self, Bundle};
use crate::bundle::{BundleId, ObjectKind, TargetRef, ledger_of};
use crate::client::objects::{bundles, objects, parse};
use crate::overview::{LedgerState, PodFields, PodUse, RotationSnapshot};

impl SnapshotReader<'_> {
    /// Reads a Bundle and its ledger; `None` if there is no such Bundle. The time of the snapshot is the earlier one of
    /// `now` and of the API server's clock.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub async fn rotation(
        &self,
        bundle: &str,
        trust_namespace: &str,
        now: Timestamp,
    ) -> Result<Option<RotationSnapshot>, SnapshotReadError> {
        let Some(found) = get_opt("bundles", &bundles(&self.client), bundle).await? else { return Ok(None) };
        let found: Bundle = parse(found)?;
        let data = self.ledger(&bundle.into(), trust_namespace).await?;
        let now = self.server_clock.now().map_or(now, |server| server.min(now));
        Ok(Some(RotationSnapshot::of(&found, trust_namespace, data.as_ref(), now)))
    }

    /// Lists the pods that use any of these targets.
    ///
    /// # Errors
    /// When pods cannot be listed.
    pub async fn pod_uses(&self, targets: &BTreeSet<TargetRef>) -> Result<Vec<PodUse>, SnapshotReadError> {
        let pods = Api::<DynamicObject>::all_with(self.client.clone(), &ApiResource::erase::<Pod>(&()));
        let used = |pod: DynamicObject| PodUse::of(&parse::<PodFields>(pod).ok()?, targets);
        self.list_some("pods", &pods, ListParams::default(), used).await
    }

    /// Lists the ledgers of Bundles in a namespace.
    ///
    /// # Errors
    /// When the ledgers cannot be listed.
    pub async fn ledgers(&self, trust_namespace: &str) -> Result<BTreeMap<BundleId, LedgerState>, SnapshotReadError> {
        let ledgers = objects::<DynamicObject>(&self.client, ObjectKind::ConfigMap, Some(trust_namespace));
        let labelled = ListParams::default().labels(&format!("{}=bundle", api::LEDGER_LABEL));
        let read = |ledger: DynamicObject| {
            let bundle = ledger_of(name(&ledger.metadata))?;
            let data = parse::<ConfigMap>(ledger).ok().and_then(|ledger| ledger.data).unwrap_or_default();
            Some((bundle, LedgerState::of(Some(&data), None)))
        };
        Ok(self.list_some("configmaps", &ledgers, labelled, read).await?.into_iter().collect())
    }
}
