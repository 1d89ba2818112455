//! What a scenario sees: targets, what the Bundle says of them, and every request of the controller's for them.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::{
    api::{core::v1::ConfigMap, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::ListParams,
    core::{ObjectMeta, PartialObjectMeta},
};
use rootcast::api::{Bundle, SYNCED};
use rootcast_e2e::{ControlPlane, Entry, IDENTITY, Mark, eventually, scenario::Content};

/// How long a change may take to arrive everywhere on a busy machine, when the controller may be pausing after failures.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// How long a rate of writes is measured. A target that fails is tried again after 1, 2, 4, … seconds: at most four times.
pub(crate) const MEASURED: Duration = Duration::from_secs(5);

/// The eyes of one scenario, which counts from here on.
pub(crate) struct Sight<'a> {
    pub(crate) client: Client,
    control_plane: &'a ControlPlane,
    since: Mark,
}

impl<'a> Sight<'a> {
    pub(crate) async fn new(control_plane: &'a ControlPlane) -> Result<Self> {
        Ok(Self { client: control_plane.client(), control_plane, since: control_plane.audit().mark().await? })
    }

    /// Counts requests from now on.
    pub(crate) async fn count_from_here(&mut self) -> Result<()> {
        self.since = self.control_plane.audit().mark().await?;
        Ok(())
    }

    /// Every write of a target that the controller has asked for, granted or not.
    pub(crate) async fn writes(&self, bundle: &str) -> Result<Vec<Entry>> {
        let mut entries = self.control_plane.audit().writes_by(IDENTITY, self.since).await?;
        entries.retain(|entry| entry.resource == "configmaps" && entry.name == bundle);
        Ok(entries)
    }

    /// [`Sight::writes`] by namespace: how many were granted, and how many were not.
    pub(crate) async fn tally(&self, bundle: &str) -> Result<BTreeMap<String, (usize, usize)>> {
        let mut tally = BTreeMap::<_, (usize, usize)>::new();
        for entry in self.writes(bundle).await? {
            let (granted, refused) = tally.entry(entry.namespace).or_default();
            *(if entry.code < 300 { granted } else { refused }) += 1;
        }
        Ok(tally)
    }

    /// The metadata of every ConfigMap of the name, by namespace.
    pub(crate) async fn places(&self, bundle: &str) -> Result<BTreeMap<String, ObjectMeta>> {
        let named = ListParams::default().fields(&format!("metadata.name={bundle}"));
        let list = Api::<ConfigMap>::all(self.client.clone()).list_metadata(&named).await?;
        let place = |found: PartialObjectMeta<ConfigMap>| (found.namespace().unwrap_or_default(), found.metadata);
        Ok(list.into_iter().map(place).collect())
    }

    /// What every ConfigMap of the name holds, by namespace.
    pub(crate) async fn contents(&self, bundle: &str) -> Result<BTreeMap<String, Content>> {
        let named = ListParams::default().fields(&format!("metadata.name={bundle}"));
        let list = Api::<ConfigMap>::all(self.client.clone()).list(&named).await?;
        Ok(list
            .into_iter()
            .map(|found| (found.namespace().unwrap_or_default(), Content::of_config_map(&found)))
            .collect())
    }

    /// Waits until exactly these namespaces hold exactly this.
    pub(crate) async fn becomes(&self, when: &str, bundle: &str, namespaces: &[String], content: &Content) {
        let expected: BTreeMap<_, _> = namespaces.iter().map(|name| (name.clone(), content.clone())).collect();
        eventually(when, PATIENCE, async || {
            let places = self.places(bundle).await?;
            ensure!(places.keys().eq(expected.keys()), "{} places of {}", places.len(), expected.len());
            let found = self.contents(bundle).await?;
            let wrong: Vec<_> = found.iter().filter(|(name, found)| expected.get(*name) != Some(*found)).collect();
            ensure!(wrong.is_empty(), "{} wrong, such as {:?}", wrong.len(), wrong[0]);
            Ok(())
        })
        .await;
    }

    /// The condition `Synced`, if it is about the present spec.
    pub(crate) async fn synced(&self, bundle: &str) -> Result<Condition> {
        let bundle = Api::<Bundle>::all(self.client.clone()).get(bundle).await?;
        let status = bundle.status.unwrap_or_default();
        let found = status.conditions.into_iter().flatten().find(|condition| condition.type_ == SYNCED);
        let found = found.context("no condition Synced yet")?;
        ensure!(found.observed_generation == bundle.metadata.generation, "an older one: {found:?}");
        Ok(found)
    }

    /// Waits until the Bundle is synced.
    pub(crate) async fn is_synced(&self, when: &str, bundle: &str) {
        eventually(when, PATIENCE, async || {
            let found = self.synced(bundle).await?;
            ensure!(found.status == "True", "{found:?}");
            Ok(())
        })
        .await;
    }

    /// Waits until the Bundle says that targets could not be written, with all these words in its message.
    pub(crate) async fn complains(&self, when: &str, bundle: &str, words: &[&str]) {
        eventually(when, PATIENCE, async || {
            let found = self.synced(bundle).await?;
            ensure!(found.status == "False" && found.reason == "SyncConfigMapTargetFailed", "{found:?}");
            let missing: Vec<_> = words.iter().filter(|words| !found.message.contains(**words)).collect();
            ensure!(missing.is_empty(), "{:?} lacks {missing:?}", found.message);
            Ok(())
        })
        .await;
    }

    /// The events of a reason about a Bundle.
    pub(crate) async fn events(&self, bundle: &str, reason: &str) -> Result<Vec<Event>> {
        let of_reason = ListParams::default().fields(&format!("reason={reason}"));
        let events = Api::<Event>::all(self.client.clone()).list(&of_reason).await?;
        let about = |event: &Event| event.regarding.as_ref().is_some_and(|about| about.name.as_deref() == Some(bundle));
        Ok(events.into_iter().filter(about).collect())
    }
}
