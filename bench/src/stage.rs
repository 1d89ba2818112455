//! Where it is measured: a control plane of its own with many namespaces.

use std::time::Instant;

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use rootcast_e2e::{ControlPlane, Options};
use serde_json::json;

use crate::{object::Owner, process::Processes, wire};

/// etcd keeps every version of every object: nothing is compacted during a run.
const ETCD_QUOTA_BYTES: u64 = 32 << 30;

/// How many namespaces are created at a time.
const NAMESPACES_IN_FLIGHT: usize = 32;

/// The label of the namespaces that receive targets.
pub(crate) const SELECTOR: &str = "tenant";

/// A control plane and its namespaces.
pub(crate) struct Stage {
    pub(crate) control_plane: ControlPlane,
    pub(crate) processes: Processes,
    /// The administrator's, as the raw writer uses it.
    pub(crate) client: Client,
    /// Those that are labelled for targets.
    pub(crate) namespaces: Vec<String>,
    /// An object that owns what the raw writer writes.
    pub(crate) owner: Owner,
}

impl Stage {
    /// Starts a control plane with `count` namespaces and waits until it is quiet.
    pub(crate) async fn with_namespaces(count: usize) -> Result<Self> {
        // The audit log is read from marked places on: it must not start anew. What compaction costs would be paid by
        // whoever is measured at that moment.
        let flags = ["--audit-log-maxsize=100000", "--etcd-compaction-interval=0"];
        let flags = flags.map(str::to_owned).to_vec();
        let options =
            Options { etcd_quota_bytes: Some(ETCD_QUOTA_BYTES), api_server_flags: flags, ..Options::default() };
        let control_plane = ControlPlane::start_with(&options).await?;
        let kubeconfig = Kubeconfig::read_from(control_plane.kubeconfig())?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let namespaces = Api::<Namespace>::all(control_plane.client());
        let uid = namespaces.get("kube-system").await?.metadata.uid.context("a namespace has a uid")?;
        let owner = Owner { api_version: "v1", kind: "Namespace", name: "kube-system".to_owned(), uid };
        let mut stage = Self {
            client: wire::client(&config)?,
            processes: Processes::find()?,
            control_plane,
            namespaces: Vec::new(),
            owner,
        };
        stage.grow(count).await?;
        Ok(stage)
    }

    /// Adds namespaces until there are `count`, and waits until it is quiet.
    pub(crate) async fn grow(&mut self, count: usize) -> Result<()> {
        let began = Instant::now();
        let api = Api::<Namespace>::all(self.control_plane.client());
        let new: Vec<_> = (self.namespaces.len()..count).map(|number| format!("tenant-{number:05}")).collect();
        let created = new.iter().map(|name| create(&api, name));
        stream::iter(created).buffer_unordered(NAMESPACES_IN_FLIGHT).try_collect::<()>().await?;
        self.namespaces.extend(new);
        let created = began.elapsed();
        self.quiet().await?;
        eprintln!("{count} namespaces after {created:.1?}, quiet after {:.1?}", began.elapsed());
        Ok(())
    }

    /// Waits until the API server has nothing to do.
    pub(crate) async fn quiet(&self) -> Result<()> {
        self.processes.quiet().await
    }
}

/// Creates a namespace that is labelled for targets.
pub(crate) async fn create(namespaces: &Api<Namespace>, name: &str) -> Result<()> {
    let namespace = serde_json::from_value(json!({"metadata": {"name": name, "labels": {SELECTOR: ""}}}))?;
    namespaces.create(&PostParams::default(), &namespace).await.with_context(|| format!("creating {name}"))?;
    Ok(())
}
