//! The reads of objects that have the name and namespace of a target.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde::Deserialize;
use serde_json::Value;

use super::{METADATA_ONLY, PartialMetadata, SnapshotReadError, SnapshotReader, WHOLE};
use crate::bundle::{ContentSummary, Desired, ObjectKind, TargetRef};
use crate::client::uri::{self, resource};
use crate::overview::SnapshotTarget;

impl SnapshotReader<'_> {
    /// Lists the objects of a kind and name, in one namespace or in all, whatever their labels.
    ///
    /// # Errors
    /// When the objects cannot be listed.
    pub async fn objects_named(
        &self,
        kind: ObjectKind,
        name: &str,
        namespace: Option<&str>,
    ) -> Result<BTreeMap<TargetRef, SnapshotTarget>, SnapshotReadError> {
        let resource = resource(kind);
        let path = uri::collection(kind, namespace);
        let query = format!("fieldSelector=metadata.name%3D{}", uri::encode(name));
        let name: Arc<str> = name.into();
        let objects = self.list::<PartialMetadata>(resource, &path, &query, METADATA_ONLY).await?;
        let targets = objects.into_iter().map(|PartialMetadata { metadata }| {
            let namespace = metadata.namespace.as_deref().unwrap_or_default().into();
            (TargetRef { kind, namespace, name: name.clone() }, SnapshotTarget::read(&metadata))
        });
        Ok(targets.collect())
    }

    /// Reads the object that has the place of a target, with a summary of its content; `None` if there is none.
    ///
    /// # Errors
    /// When the object cannot be read.
    pub async fn object_at(
        &self,
        desired: &Desired,
        target: &TargetRef,
    ) -> Result<Option<SnapshotTarget>, SnapshotReadError> {
        let TargetRef { kind, namespace, name } = target;
        let uri = format!("{}/{name}", uri::collection(*kind, Some(namespace)));
        let object: Value = match self.get(resource(*kind), &uri, WHOLE).await {
            Ok(body) => serde_json::from_slice(&body)?,
            Err(SnapshotReadError { absent: true, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let PartialMetadata { metadata } = PartialMetadata::deserialize(&object)?;
        let payload = desired.payloads.get(kind);
        let holdings = match kind {
            ObjectKind::ConfigMap => ContentSummary::of_config_map(&ConfigMap::deserialize(object)?, payload),
            ObjectKind::Secret => ContentSummary::of_secret(&Secret::deserialize(object)?, payload),
        };
        Ok(Some(SnapshotTarget { holdings: Some(holdings), ..SnapshotTarget::read(&metadata) }))
    }
}
