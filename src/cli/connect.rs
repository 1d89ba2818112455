//! The way to the cluster that the flags and the environment name.

use anyhow::{Context, bail};
use kube::config::Config;

use crate::cluster::{Connection, Proxy};

use super::args::ClusterArguments;
use super::kubeconfig::Files;
use super::proxy;

/// How to reach a cluster.
pub(super) struct Way {
    pub(super) config: Config,
    pub(super) proxy: Option<Proxy>,
    /// Where that stands.
    pub(super) from: String,
}

impl ClusterArguments {
    /// A connection to it. Nothing is sent yet.
    pub(super) async fn connect(&self) -> anyhow::Result<Connection> {
        self.way().await?.connect()
    }

    /// How to reach it.
    pub(super) async fn way(&self) -> anyhow::Result<Way> {
        let Self { kubeconfig, context, impersonate } = self;
        let files = Files::find(kubeconfig.as_deref(), |name| std::env::var_os(name));
        let mut way = match files.read()? {
            Some(merged) => merged.way(context.as_deref()).await?,
            None if kubeconfig.is_none() && context.is_none() && std::env::var_os(SERVICE_HOST).is_some() => in_pod()?,
            None => bail!(
                "no cluster is named: {}{}: name a kubeconfig by --kubeconfig or KUBECONFIG",
                files.nothing(),
                if kubeconfig.is_none() && context.is_none() { ", and this is no pod" } else { "" }
            ),
        };
        if let Some(user) = impersonate {
            way.config.auth_info.impersonate = Some(user.clone());
        }
        Ok(way)
    }
}

/// The variable that every container of a pod has.
const SERVICE_HOST: &str = "KUBERNETES_SERVICE_HOST";

/// The way that a pod's service account has.
fn in_pod() -> anyhow::Result<Way> {
    let from = format!("the service account of this pod ({SERVICE_HOST} is set)");
    let config = Config::incluster().with_context(|| from.clone())?;
    let proxy = proxy::from_environment(&config.cluster_url, |name| std::env::var(name).ok())?;
    Ok(Way { config, proxy, from })
}

impl Way {
    /// A connection that takes it.
    pub(super) fn connect(self) -> anyhow::Result<Connection> {
        let Self { config, proxy, from } = self;
        Connection::new(&config, proxy).with_context(|| format!("prepare the connection to the cluster by {from}"))
    }
}
