//! Many namespaces and one Bundle of their own, whose targets are watched over.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, PostParams},
};
use rootcast::api::{BUNDLE_LABEL, Bundle, SYNCED};
use rootcast_e2e::{
    Entry, IDENTITY, Mark, Node, eventually,
    scenario::{anchors, apply, bundle, certificate, source},
};
use serde_json::{from_value, json};

use crate::stage::SOON;

/// Certificates that the Bundle's source holds, one after the other.
pub(crate) const OLD: &str = "ec";
pub(crate) const NEW: &str = "p384";

/// A Bundle, its source, and the namespaces that it selects.
pub(crate) struct Crowd<'n> {
    node: &'n Node,
    name: String,
    count: usize,
}

/// Version and identity of each target, by namespace.
pub(crate) type Versions = BTreeMap<String, (String, String)>;

impl<'n> Crowd<'n> {
    /// Gathers so many namespaces and waits until all have the old content.
    pub(crate) async fn gather(node: &'n Node, name: &str, count: usize) -> Result<Self> {
        let crowd = Self { node, name: name.to_owned(), count };
        stream::iter((0..count).map(|number| crowd.create(number))).buffer_unordered(8).try_collect::<()>().await?;
        crowd.change(OLD).await?;
        let spec = format!(
            "{{sources: [{{configMap: {{name: {name}-source, key: k}}}}],
               target: {{configMap: {{key: k}}, namespaceSelector: {{matchLabels: {{crowd: {name}}}}}}}}}"
        );
        apply(&node.client(), &bundle(name, &spec)).await?;
        crowd.holds(OLD).await;
        Ok(crowd)
    }

    /// Gives the source this certificate.
    pub(crate) async fn change(&self, to: &str) -> Result<()> {
        let name = format!("{}-source", self.name);
        apply(&self.node.client(), &source("ConfigMap", &name, &[], &[("k", &certificate(to))])).await?;
        Ok(())
    }

    /// Waits until the Bundle is in sync and every namespace has this content.
    pub(crate) async fn holds(&self, certificate: &str) {
        let content = anchors(&[certificate]).to_pem();
        let bundles = Api::<Bundle>::all(self.node.client());
        // A node that has restarted may take a minute and a half, its own pods waiting for each other.
        eventually(&format!("{} holds {certificate}", self.name), SOON * 4, async || {
            let targets = self.targets().await?;
            let right = |one: &&ConfigMap| one.data.as_ref().and_then(|data| data.get("k")) == Some(&content);
            let done = targets.iter().filter(right).count();
            ensure!(done == self.count, "{done} of {} are right", self.count);
            let status = bundles.get(&self.name).await?.status.unwrap_or_default();
            let synced = status.conditions.iter().flatten().find(|one| one.type_ == SYNCED);
            ensure!(synced.is_some_and(|one| one.status == "True"), "{status:?}");
            Ok(())
        })
        .await;
    }

    /// One namespace more; when it has its target, whoever writes has seen all others.
    pub(crate) async fn join(&mut self) -> Result<()> {
        self.create(self.count).await?;
        self.count += 1;
        self.holds(OLD).await;
        Ok(())
    }

    /// Which objects the targets are, at which version.
    pub(crate) async fn versions(&self) -> Result<Versions> {
        let targets = self.targets().await?.into_iter();
        Ok(targets
            .map(|one| {
                (
                    one.namespace().unwrap_or_default(),
                    (one.uid().unwrap_or_default(), one.resource_version().unwrap_or_default()),
                )
            })
            .collect())
    }

    /// Fails unless all targets of that time are still there as they were, and nobody has written any since but those
    /// of namespaces that joined.
    pub(crate) async fn was_left_alone(&self, before: &Versions, since: Mark) -> Result<()> {
        let mut now = self.versions().await?;
        now.retain(|namespace, _| before.contains_key(namespace));
        ensure!(&now == before, "targets have changed from {before:#?} to {now:#?}");
        let mut writes = self.writes(since).await?;
        writes.retain(|entry| before.contains_key(&entry.namespace));
        ensure!(writes.is_empty(), "written in vain: {writes:#?}");
        Ok(())
    }

    /// All writes to targets since then, by whomever.
    pub(crate) async fn writes(&self, since: Mark) -> Result<Vec<Entry>> {
        let mut entries = self.node.audit().since(since).await?;
        entries.retain(|entry| entry.is_write() && entry.resource == "configmaps" && self.is_target(entry));
        let others: Vec<_> = entries.iter().filter(|entry| entry.user != IDENTITY).collect();
        ensure!(others.is_empty(), "somebody else wrote targets: {others:#?}");
        Ok(entries)
    }

    /// Its namespaces are named after it.
    fn is_target(&self, entry: &Entry) -> bool {
        entry.namespace.strip_prefix(&self.name).is_some_and(|rest| rest.starts_with('-')) && {
            // A creation is of a name that the audit log knows from the answer only.
            entry.name.is_empty() || entry.name == self.name
        }
    }

    async fn targets(&self) -> Result<Vec<ConfigMap>> {
        let ours = ListParams::default().labels(&format!("{BUNDLE_LABEL}={}", self.name));
        Ok(Api::<ConfigMap>::all(self.node.client()).list(&ours).await?.items)
    }

    async fn create(&self, number: usize) -> Result<()> {
        let namespace: Namespace = from_value(json!({"metadata": {
            "name": format!("{}-{number}", self.name),
            "labels": {"crowd": self.name},
        }}))?;
        Api::<Namespace>::all(self.node.client()).create(&PostParams::default(), &namespace).await?;
        Ok(())
    }
}
