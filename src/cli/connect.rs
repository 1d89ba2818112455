//! The way to the cluster that the flags name.

use anyhow::Context;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use super::args::ClusterArguments;

impl ClusterArguments {
    /// How to reach it.
    pub(super) async fn config(&self) -> anyhow::Result<Config> {
        let Self { kubeconfig, context, impersonate } = self;
        let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
        let mut config = match (kubeconfig, context) {
            (Some(path), _) => {
                let file =
                    Kubeconfig::read_from(path).with_context(|| format!("read kubeconfig {}", path.display()))?;
                Config::from_custom_kubeconfig(file, &options)
                    .await
                    .with_context(|| format!("use kubeconfig {}", path.display()))?
            }
            (None, Some(context)) => {
                Config::from_kubeconfig(&options).await.with_context(|| format!("use context {context}"))?
            }
            (None, None) => {
                Config::infer().await.context("find a cluster: no --kubeconfig, no KUBECONFIG, not in a pod")?
            }
        };
        if let Some(user) = impersonate {
            config.auth_info.impersonate = Some(user.clone());
        }
        Ok(config)
    }
}
