//! The chapter about pods.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::{Api, api::PostParams};
use rootcast_e2e::{eventually, scenario::SOON};
use serde_json::json;

use crate::stage::{Stage, say, title};

/// A pod that mounts a Bundle because of its namespace's label.
pub(crate) async fn create_a_pod(stage: &Stage<'_>) -> Result<()> {
    title("A pod that trusts");
    say("One label for all pods of a namespace; nothing is said in the pod.");
    if !stage.control_plane.has_controller_manager() {
        create_default_account(stage).await?;
    }
    stage.kubectl("label namespace payments inject.rootcast.dev/bundle=payments")?;
    is_in_effect(stage).await;
    stage.warned("run app --image=busybox --namespace payments")?;
    say("The injector, which the API server asks about new pods, gave it the Bundle's target as a volume,");
    stage.kubectl("get pod app --namespace payments --output jsonpath-as-json={.spec.volumes[?(@.configMap)]}")?;
    say("and variables that lead programs there:");
    stage.kubectl("set env pod/app --namespace payments --list")
}

/// Creates the `ServiceAccount` without which the API server takes no pod: a controller manager would have done so.
async fn create_default_account(stage: &Stage<'_>) -> Result<()> {
    let mut account = ServiceAccount::default();
    account.metadata.name = Some("default".to_owned());
    let accounts = Api::namespaced(stage.client.clone(), "payments");
    accounts.create(&PostParams::default(), &account).await.context("creating ServiceAccount payments/default")?;
    Ok(())
}

/// Waits until the API server knows webhook and label.
async fn is_in_effect(stage: &Stage<'_>) {
    let pods = Api::<Pod>::namespaced(stage.client.clone(), "payments");
    eventually("the injector is asked about pods of payments", SOON, async || {
        let probe =
            json!({"metadata": {"name": "probe"}, "spec": {"containers": [{"name": "app", "image": "busybox"}]}});
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let spec = pods.create(&params, &serde_json::from_value(probe)?).await?.spec.context("a pod has a spec")?;
        let env = spec.containers.into_iter().flat_map(|container| container.env.unwrap_or_default());
        env.into_iter().find(|variable| variable.name == "SSL_CERT_FILE").context("it is not injected")?;
        Ok(())
    })
    .await;
}
