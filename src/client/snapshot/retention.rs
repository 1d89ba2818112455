//! The reads of what retention depends on: ledgers, and CertificateRequests.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::DynamicObject;

use super::{SnapshotReadError, SnapshotReader, get_opt};
use crate::api::CertificateRequest;
use crate::bundle::{BundleId, CertificateUses, ObjectKind, ledger_name};
use crate::client::connection::Connection;
use crate::client::objects::{ReadFailure, objects, parse};
use crate::client::watch::{ApiCollection, ListPager};
use crate::trust::Anchor;

impl SnapshotReader<'_> {
    /// Reads the data of a Bundle's ledger; `None` if there is none.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn ledger(
        &self,
        bundle: &BundleId,
        trust_namespace: &str,
    ) -> Result<Option<BTreeMap<String, String>>, SnapshotReadError> {
        let ledgers = objects::<DynamicObject>(&self.client, ObjectKind::ConfigMap, Some(trust_namespace));
        let ledger = get_opt("configmaps", &ledgers, &ledger_name(bundle)).await?;
        let ledger = ledger.map(parse::<ConfigMap>).transpose()?;
        Ok(ledger.map(|ledger| ledger.data.unwrap_or_default()))
    }
}

/// Reads from CertificateRequests which of these anchors vouch for certificates in use.
///
/// # Errors
/// When the requests cannot be listed.
pub async fn certificate_uses(
    connection: &Connection,
    anchors: impl IntoIterator<Item = Anchor>,
    now: Timestamp,
) -> Result<CertificateUses, SnapshotReadError> {
    let collection = ApiCollection::objects_of(CertificateRequest::PATH.to_owned());
    let mut pager = ListPager::new(connection, &collection);
    let mut uses = CertificateUses::new(anchors);
    let failed = |error: ReadFailure| SnapshotReadError::of(&error, "list", "certificaterequests.cert-manager.io");
    while let Some(object) = pager.next().await.map_err(|error| failed(ReadFailure::Request(error)))? {
        // One that does not fit the wire types has no certificate.
        if let Ok(request) = serde_json::from_slice(&object) {
            uses.record(&request, now);
        }
    }
    Ok(uses)
}
