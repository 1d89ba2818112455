//! The reads of objects that have the name and namespace of a target.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DynamicObject, ListParams};
use kube::core::PartialObjectMeta;

use super::{SnapshotReadError, SnapshotReader, get_opt};
use crate::bundle::{ContentSummary, Desired, ObjectKind, TargetRef};
use crate::client::objects::{objects, parse};
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
        let objects = objects::<PartialObjectMeta<DynamicObject>>(&self.client, kind, namespace);
        let named = ListParams::default().fields(&format!("metadata.name={name}"));
        let name: Arc<str> = name.into();
        let objects = self.list(kind.resource(), &objects, named).await?;
        let targets = objects.into_iter().map(|PartialObjectMeta { metadata, .. }| {
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
        let objects = objects::<DynamicObject>(&self.client, *kind, Some(namespace));
        let Some(object) = get_opt(kind.resource(), &objects, name).await? else { return Ok(None) };
        let metadata = object.metadata.clone();
        let payload = desired.payloads.get(kind);
        let holdings = match kind {
            ObjectKind::ConfigMap => ContentSummary::of_config_map(&parse::<ConfigMap>(object)?, payload),
            ObjectKind::Secret => ContentSummary::of_secret(&parse::<Secret>(object)?, payload),
        };
        Ok(Some(SnapshotTarget { holdings: Some(holdings), ..SnapshotTarget::read(&metadata) }))
    }
}
