//! What an administrator gets by `helm install --wait`.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt as _};
use rootcast_e2e::{eventually, scenario::certificate};
use serde_json::json;

use crate::stage::{BUNDLE, DEPLOYMENTS, SOON, installed, is_in_order, is_ready, pods, shell, start_pod};

#[tokio::test]
async fn controller_and_injector_run_as_restricted_pods_with_accounts_of_their_own() -> Result<()> {
    let node = installed().await?;
    for (deployment, replicas) in DEPLOYMENTS.into_iter().zip([1, 2]) {
        let pods = pods(&node.client(), deployment).await?.items;
        ensure!(pods.iter().filter(|pod| is_ready(pod)).count() == replicas, "{deployment}: {pods:#?}");
        for pod in &pods {
            let spec = pod.spec.as_ref().expect("a pod has a spec");
            ensure!(spec.service_account_name.as_deref() == Some(deployment), "{}", pod.name_any());
        }
    }
    is_in_order(node).await
}

#[tokio::test]
async fn the_bundle_that_the_chart_brought_reaches_namespaces_old_and_new() -> Result<()> {
    let node = installed().await?;
    node.kubectl_ok(&["create", "namespace", "newcomer"], "")?;
    for namespace in ["default", "kube-system", "newcomer"] {
        let targets = Api::<ConfigMap>::namespaced(node.client(), namespace);
        eventually(&format!("it is in {namespace}"), SOON, async || {
            let data = targets.get(BUNDLE.0).await?.data.unwrap_or_default();
            ensure!(data.get(BUNDLE.1).is_some_and(|pem| pem.trim() == certificate("ec").trim()), "{data:?}");
            Ok(())
        })
        .await;
    }
    is_in_order(node).await
}

#[tokio::test]
async fn a_pod_that_asks_gets_the_bundle_and_one_that_does_not_stays_as_it_is() -> Result<()> {
    let node = installed().await?;
    let labelled = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": "shop",
        "labels": {"inject.rootcast.dev/bundle": BUNDLE.0},
    }});
    node.kubectl_ok(&["apply", "-f", "-"], &labelled.to_string())?;
    for (namespace, pod, annotations) in
        [("shop", "by-label", json!({})), ("default", "by-annotation", json!({"inject.rootcast.dev/bundle": BUNDLE.0}))]
    {
        start_pod(node, namespace, pod, annotations).await?;
        let pem = shell(node, namespace, pod, "cat $SSL_CERT_FILE")?;
        ensure!(pem.trim() == certificate("ec").trim(), "{pod}: {pem}");
    }
    let plain = start_pod(node, "default", "plain", json!({})).await?;
    let spec = plain.spec.expect("a pod has a spec");
    let volumes: Vec<_> = spec.volumes.iter().flatten().filter(|volume| volume.config_map.is_some()).collect();
    ensure!(volumes.is_empty() && shell(node, "default", "plain", "echo $SSL_CERT_FILE")?.trim().is_empty());
    is_in_order(node).await
}
