//! Many namespaces and one Bundle for them, whose source goes from one generation of content to the next.

use std::{collections::BTreeMap, sync::LazyLock};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, PostParams},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rootcast::{
    api::{BUNDLE_LABEL, Bundle, SYNCED},
    trust::Fingerprint,
};
use rootcast_e2e::{
    ControlPlane, Entry, IDENTITY, Mark, Revision, eventually,
    scenario::{SOON, TRUST_NAMESPACE, apply, bundle, source},
};
use serde_json::{from_value, json};

use crate::stage::Stage;

/// How many generations of content there are.
pub(crate) const GENERATIONS: usize = 24;

/// A certificate for each generation, as targets hold it.
static CONTENTS: LazyLock<Vec<String>> = LazyLock::new(|| (0..GENERATIONS).map(|_| certificate()).collect());

/// A Bundle, its source, and the namespaces that it selects.
pub(crate) struct Crowd<'a> {
    control_plane: &'a ControlPlane,
    client: Client,
    pub(crate) name: String,
    namespaces: Vec<String>,
    began: (Revision, Mark),
}

/// A version of one target that came to be.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) revision: Revision,
    pub(crate) namespace: String,
    pub(crate) generation: usize,
}

/// Everything that came to be, in order.
pub(crate) struct Ledger {
    pub(crate) targets: Vec<Written>,
    /// When the source came to hold each generation.
    pub(crate) source: Vec<Written>,
}

impl<'a> Crowd<'a> {
    /// Gathers so many namespaces and shows them the first generation.
    pub(crate) async fn gather(stage: &Stage<'a>, name: &str, count: usize) -> Result<Self> {
        let namespaces = (0..count).map(|number| format!("{name}-{number}")).collect();
        let crowd = Self::plan(stage.control_plane, name, namespaces).await?;
        for_each(&crowd.namespaces, async |namespace| create(&crowd.client, namespace, name).await).await?;
        crowd.change(0).await?;
        crowd.announce(&format!("{{crowd: {name}}}")).await?;
        crowd.holds(0).await;
        Ok(crowd)
    }

    /// Another Bundle for some of the namespaces of a crowd: those with this label.
    pub(crate) async fn among(&self, name: &str, selector: &str, namespaces: Vec<String>) -> Result<Self> {
        let crowd = Self::plan(self.control_plane, name, namespaces).await?;
        crowd.change(0).await?;
        crowd.announce(selector).await?;
        crowd.holds(0).await;
        Ok(crowd)
    }

    async fn plan(control_plane: &'a ControlPlane, name: &str, namespaces: Vec<String>) -> Result<Self> {
        let began = (control_plane.revision().await?, control_plane.audit().mark().await?);
        Ok(Self { control_plane, client: control_plane.client(), name: name.to_owned(), namespaces, began })
    }

    async fn announce(&self, labels: &str) -> Result<()> {
        let Self { name, .. } = self;
        let spec = format!(
            "{{sources: [{{configMap: {{name: {name}-source, key: k}}}}],
               target: {{configMap: {{key: k}}, namespaceSelector: {{matchLabels: {labels}}}}}}}"
        );
        apply(&self.client, &bundle(name, &spec)).await?;
        Ok(())
    }

    /// One namespace more.
    pub(crate) async fn join(&mut self) -> Result<()> {
        let namespace = format!("{}-{}", self.name, self.namespaces.len());
        create(&self.client, &namespace, &self.name).await?;
        self.namespaces.push(namespace);
        Ok(())
    }

    /// The names of the first of the namespaces.
    pub(crate) fn first(&self, count: usize) -> Vec<String> {
        self.namespaces[..count].to_vec()
    }

    /// Gives the source another generation of content.
    pub(crate) async fn change(&self, generation: usize) -> Result<()> {
        let name = format!("{}-source", self.name);
        apply(&self.client, &source("ConfigMap", &name, &[], &[("k", &CONTENTS[generation])])).await?;
        Ok(())
    }

    /// Waits until so many changes of anything have come to be since `earlier`; fails when a whole rollout has.
    pub(crate) async fn is_under_way(&self, earlier: Revision, changes: usize) -> Result<()> {
        let now = loop {
            let now = self.control_plane.revision().await?.since(earlier);
            if now >= changes {
                break now;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        };
        ensure!(now < self.namespaces.len(), "the rollout is over: {now} changes");
        Ok(())
    }

    /// Waits until all namespaces hold this generation, and the Bundle says so.
    ///
    /// # Panics
    /// If it does not come to this.
    pub(crate) async fn holds(&self, generation: usize) {
        let when = format!("{}: generation {generation} everywhere", self.name);
        eventually(&when, SOON, async || self.holds_now(generation).await).await;
    }

    async fn holds_now(&self, generation: usize) -> Result<()> {
        let ours = ListParams::default().labels(&format!("{BUNDLE_LABEL}={}", self.name));
        let targets = Api::<ConfigMap>::all(self.client.clone()).list(&ours).await?;
        let wanted = BTreeMap::from([("k".to_owned(), CONTENTS[generation].clone())]);
        let right = targets.iter().filter(|target| target.data.as_ref() == Some(&wanted)).count();
        ensure!(right == targets.items.len(), "{right} of {} are right", targets.items.len());
        ensure!(right == self.namespaces.len(), "{right} of {} are there", self.namespaces.len());
        self.synced_since().await?;
        Ok(())
    }

    /// Since when the Bundle has been synced, by the controller's clock.
    pub(crate) async fn synced_since(&self) -> Result<Timestamp> {
        let bundle = Api::<Bundle>::all(self.client.clone()).get(&self.name).await?;
        let mut conditions = bundle.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let synced = conditions.find(|condition| {
            condition.observed_generation == bundle.metadata.generation
                && (&*condition.type_, &*condition.status) == (SYNCED, "True")
        });
        Ok(synced.with_context(|| format!("{:?}", bundle.status))?.last_transition_time.0)
    }

    /// [`Crowd::holds`], and then nothing more to do.
    pub(crate) async fn comes_to_rest(&self, stage: &Stage<'_>, generation: usize) -> Result<()> {
        self.holds(generation).await;
        stage.barrier.sync(&self.client).await?;
        self.holds_now(generation).await
    }

    /// The controller's requests for changes of the targets so far, in the order of their answers; not those that it
    /// was denied, which is for the stage to judge.
    pub(crate) async fn requests(&self) -> Result<Vec<Entry>> {
        let mut writes = self.control_plane.audit().writes_by(IDENTITY, self.began.1).await?;
        writes.retain(|entry| entry.resource == "configmaps" && entry.name == self.name && !entry.is_denied());
        Ok(writes)
    }

    /// Everything that came to be so far.
    ///
    /// # Panics
    /// When old content came in the place of new.
    pub(crate) async fn ledger(&self) -> Result<Ledger> {
        let mut ledger = Ledger { targets: Vec::new(), source: Vec::new() };
        let hashes: Vec<_> = CONTENTS.iter().map(|text| Fingerprint::of(text.as_bytes()).to_string()).collect();
        let source = format!("{}-source", self.name);
        for change in self.control_plane.history(self.began.0).await? {
            if change.namespace == TRUST_NAMESPACE && change.name == source {
                let generation = ledger.source.len();
                ledger.source.push(Written { revision: change.revision, namespace: change.namespace, generation });
            } else if change.name == self.name {
                let hash = change.hash.with_context(|| format!("{} has no hash", change.namespace))?;
                let generation = hashes.iter().position(|known| *known == hash).context("content of no generation")?;
                ledger.targets.push(Written { revision: change.revision, namespace: change.namespace, generation });
            }
        }
        for namespace in &self.namespaces {
            let here = ledger.targets.iter().filter(|written| written.namespace == *namespace);
            let generations: Vec<_> = here.map(|written| written.generation).collect();
            assert!(generations.is_sorted_by(|a, b| a < b), "{namespace}: generations {generations:?}");
        }
        Ok(ledger)
    }

    /// What came to be is what had to be, each once, and so many requests were not worth while, at the most.
    pub(crate) async fn wrote_once_each(&self, generations: usize, in_vain: usize) -> Result<()> {
        let due = self.namespaces.len() * generations;
        let written = self.ledger().await?.targets.len();
        assert_eq!(written, due, "versions of targets");
        let requests = self.requests().await?;
        let done = requests.iter().filter(|request| request.code < 300).count();
        assert!(requests.len() <= due + in_vain, "{} requests, {done} granted, {due} due", requests.len());
        Ok(())
    }
}

async fn create(client: &Client, namespace: &str, crowd: &str) -> Result<()> {
    let object: Namespace = from_value(json!({"metadata": {"name": namespace, "labels": {"crowd": crowd}}}))?;
    let created = Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await?;
    ensure!(created.name_any() == namespace, "another namespace");
    Ok(())
}

async fn for_each(names: &[String], step: impl AsyncFn(&str) -> Result<()>) -> Result<()> {
    stream::iter(names).map(|name| step(name)).buffer_unordered(16).try_collect().await
}

fn certificate() -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    params.self_signed(&key).expect("a certificate").pem().replace('\r', "").trim_end().to_owned()
}
