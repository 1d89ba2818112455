//! Reads and writes of ledgers, and reads of the targets that vouch for what they hold.

use std::collections::BTreeMap;

use http::Method;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::core::PartialObjectMeta;
use serde_json::json;

use crate::api;
use crate::bundle::{ObjectKind, TargetRef};
use crate::fanout::ResourceVersion;

use super::api_error::ApiError;
use super::connection::{ApiRequest, Connection, METADATA_ONLY};
use super::request_body;
use super::segmented_body::SegmentedBody;
use super::uri;

/// The ConfigMap of a ledger.
#[derive(Clone, Debug)]
pub(crate) struct LedgerRef {
    /// Namespace of the ConfigMap.
    pub(crate) namespace: String,
    /// Name of the ConfigMap.
    pub(crate) name: String,
}

/// A ledger as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct LedgerObject {
    /// Resource version of the ConfigMap.
    pub(crate) version: ResourceVersion,
    /// Whether the ledger is deleted with its Bundle.
    pub(crate) collected: bool,
    /// Data of the ConfigMap.
    pub(crate) data: BTreeMap<String, String>,
}

/// The Bundle that a ledger is written for.
#[derive(Clone, Debug)]
pub(crate) struct LedgerOwner {
    /// Name of the Bundle.
    pub(crate) name: String,
    /// Uid of the Bundle.
    pub(crate) uid: String,
    /// Whether the ledger is deleted with the Bundle.
    pub(crate) collected: bool,
}

/// Reads a ledger; `None` if there is none.
pub(crate) async fn read_ledger(connection: &Connection, ledger: &LedgerRef) -> Result<Option<LedgerObject>, ApiError> {
    let found: Option<ConfigMap> = get(connection, format!("{}/{}", ledger.collection(), ledger.name)).await?;
    Ok(found.map(|found| LedgerObject {
        version: ResourceVersion::of(&found.metadata),
        collected: found.metadata.owner_references.is_some_and(|owners| !owners.is_empty()),
        data: found.data.unwrap_or_default(),
    }))
}

/// Creates a ledger, or replaces it in exactly this version; returns its version after that.
pub(crate) async fn write_ledger(
    connection: &Connection,
    ledger: &LedgerRef,
    owner: &LedgerOwner,
    version: Option<ResourceVersion>,
    data: &BTreeMap<String, String>,
) -> Result<ResourceVersion, ApiError> {
    let owners = owner
        .collected
        .then(|| json!([{ "apiVersion": api::API_VERSION, "kind": api::KIND, "name": owner.name, "uid": owner.uid }]));
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": ledger.name,
            "namespace": ledger.namespace,
            "labels": { api::LEDGER_LABEL: "bundle" },
            "resourceVersion": version.map(|version| version.to_string()),
            "ownerReferences": owners,
        },
        "data": data,
    });
    let (method, object_path) = match version {
        None => (Method::POST, String::new()),
        Some(_) => (Method::PUT, format!("/{}", ledger.name)),
    };
    let body = connection
        .send(ApiRequest {
            method,
            uri: format!("{}{object_path}?fieldManager={}", ledger.collection(), api::FIELD_MANAGER),
            accept: METADATA_ONLY,
            body: Some(("application/json", SegmentedBody::new(vec![object.to_string().into()]))),
        })
        .await?;
    let PartialObjectMeta { metadata, .. } = serde_json::from_slice::<PartialObjectMeta<ConfigMap>>(&body)
        .map_err(|error| ApiError::Lost(format!("the answer cannot be read: {error}")))?;
    Ok(ResourceVersion::of(&metadata))
}

/// Deletes a ledger in exactly this version. One that is gone is no error.
pub(crate) async fn delete_ledger(
    connection: &Connection,
    ledger: &LedgerRef,
    version: ResourceVersion,
) -> Result<(), ApiError> {
    let request = ApiRequest {
        method: Method::DELETE,
        uri: format!("{}/{}", ledger.collection(), ledger.name),
        accept: METADATA_ONLY,
        body: Some(request_body::delete(version)),
    };
    match connection.send(request).await {
        Err(ApiError::Refused(status)) if status.is_not_found() => Ok(()),
        other => other.map(drop),
    }
}

/// Reads the PEM of a target under a key; `None` if there is none.
pub(crate) async fn read_target_pem(
    connection: &Connection,
    target: &TargetRef,
    key: &str,
) -> Result<Option<String>, ApiError> {
    let TargetRef { kind, namespace, name } = target;
    let uri = format!("{}/{name}", uri::collection(*kind, Some(namespace)));
    Ok(match kind {
        ObjectKind::ConfigMap => {
            let found: Option<ConfigMap> = get(connection, uri).await?;
            found.and_then(|found| found.data?.remove(key))
        }
        ObjectKind::Secret => {
            let found: Option<Secret> = get(connection, uri).await?;
            found.and_then(|found| String::from_utf8(found.data?.remove(key)?.0).ok())
        }
    })
}

async fn get<T: serde::de::DeserializeOwned>(connection: &Connection, uri: String) -> Result<Option<T>, ApiError> {
    let request = ApiRequest { method: Method::GET, uri, accept: "application/json", body: None };
    match connection.send(request).await {
        Ok(body) => serde_json::from_slice(&body)
            .map(Some)
            .map_err(|error| ApiError::Lost(format!("the answer cannot be read: {error}"))),
        Err(ApiError::Refused(status)) if status.is_not_found() => Ok(None),
        Err(failure) => Err(failure),
    }
}

impl LedgerRef {
    fn collection(&self) -> String {
        uri::collection(ObjectKind::ConfigMap, Some(&self.namespace))
    }
}
