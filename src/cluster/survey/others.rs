//! The reads of objects that stand where targets are to be.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde::Deserialize;
use serde_json::Value;

use super::{Bare, METADATA_ONLY, Surveyor, Unseen, WHOLE, encoded, resource};
use crate::bundle::{Holdings, ObjectKind, TargetRef, Wanted};
use crate::survey::Target;

impl Surveyor<'_> {
    /// The objects of a kind and name, in one namespace or in all, whatever their labels.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn named(
        &self,
        kind: ObjectKind,
        name: &str,
        namespace: Option<&str>,
    ) -> Result<BTreeMap<TargetRef, Target>, Unseen> {
        let resource = resource(kind);
        let within = namespace.map_or_else(String::new, |namespace| format!("/namespaces/{namespace}"));
        let path = format!("/api/v1{within}/{resource}");
        let query = format!("fieldSelector=metadata.name%3D{}", encoded(name));
        let objects = self.list::<Bare>(resource, &path, &query, METADATA_ONLY).await?;
        let targets = objects.into_iter().map(|Bare { metadata }| {
            let namespace = metadata.namespace.as_deref().unwrap_or_default().into();
            (TargetRef { kind, namespace }, Target::read(&metadata))
        });
        Ok(targets.collect())
    }

    /// The object that stands where a target is to be, with what it holds; `None` if nothing does.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn held(&self, wanted: &Wanted, place: &TargetRef) -> Result<Option<Target>, Unseen> {
        let TargetRef { kind, namespace } = place;
        let resource = resource(*kind);
        let uri = format!("/api/v1/namespaces/{namespace}/{resource}/{}", wanted.name);
        let object: Value = match self.get(resource, &uri, WHOLE).await {
            Ok(body) => serde_json::from_slice(&body)?,
            Err(Unseen { absent: true, .. }) => return Ok(None),
            Err(unseen) => return Err(unseen),
        };
        let Bare { metadata } = Bare::deserialize(&object)?;
        let payload = wanted.payloads.get(kind);
        let holdings = match kind {
            ObjectKind::ConfigMap => Holdings::of_config_map(&ConfigMap::deserialize(object)?, payload),
            ObjectKind::Secret => Holdings::of_secret(&Secret::deserialize(object)?, payload),
        };
        Ok(Some(Target { holdings: Some(holdings), ..Target::read(&metadata) }))
    }
}
