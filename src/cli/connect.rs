//! Access to the cluster that the flags and the environment name.

use anyhow::{Context, bail};
use kube::config::Config;

use crate::client::Connection;

use super::args::ClusterArgs;
use super::cluster_access::ClusterAccess;
use super::kubeconfig::KubeconfigFiles;
use super::proxy;

impl ClusterArgs {
    /// Returns a connection to the cluster of these flags. Nothing is sent yet.
    pub(super) async fn connect(&self) -> anyhow::Result<Connection> {
        self.access().await?.connect()
    }

    /// Finds the access to the cluster: from kubeconfig files, or else from the service account of the pod.
    pub(super) async fn access(&self) -> anyhow::Result<ClusterAccess> {
        let Self { kubeconfig, context, impersonate } = self;
        let files = KubeconfigFiles::find(kubeconfig.as_deref(), |name| std::env::var_os(name));
        let mut access = match files.read()? {
            Some(merged) => merged.access(context.as_deref()).await?,
            None if kubeconfig.is_none() && context.is_none() && std::env::var_os(SERVICE_HOST).is_some() => in_pod()?,
            None => bail!(
                "no cluster is named: {}{}: name a kubeconfig by --kubeconfig or KUBECONFIG",
                files.describe_missing(),
                if kubeconfig.is_none() && context.is_none() { ", and this is no pod" } else { "" }
            ),
        };
        if let Some(user) = impersonate {
            access.config.auth_info.impersonate = Some(user.clone());
        }
        Ok(access)
    }
}

/// The environment variable that every container of a pod has.
const SERVICE_HOST: &str = "KUBERNETES_SERVICE_HOST";

/// Returns the access of the pod's service account.
fn in_pod() -> anyhow::Result<ClusterAccess> {
    let origin = format!("the service account of this pod ({SERVICE_HOST} is set)");
    let config = Config::incluster().with_context(|| origin.clone())?;
    let proxy = proxy::from_environment(&config.cluster_url, |name| std::env::var(name).ok())?;
    Ok(ClusterAccess { config, proxy, origin })
}
