//! The node with the product on it, installed once for all scenarios.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, ObjectList},
};
use rootcast_e2e::{
    BUSYBOX, CHART, IDENTITY, INJECTOR_IDENTITY, Mark, Node, eventually, image_archive,
    scenario::{TRUST_NAMESPACE, certificate},
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// How long pods may take to start, to go, or to learn of a change.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// The Bundle that the chart brings along, for every namespace, and its key.
pub(crate) const BUNDLE: (&str, &str) = ("corporate", "ca-bundle.pem");

/// The release's Deployments and their accounts.
pub(crate) const DEPLOYMENTS: [&str; 2] = ["rootcast", "rootcast-injector"];

/// The shared node, where a namespace of restricted pods holds a release of the chart with injector and a Bundle.
pub(crate) async fn installed() -> Result<&'static Node> {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let node = Node::shared().await;
    INSTALLED
        .get_or_try_init(|| async {
            node.import(&image_archive()?)?;
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
                "name": TRUST_NAMESPACE,
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            }});
            node.kubectl_ok(&["apply", "-f", "-"], &namespace.to_string())?;
            helm(node, "install", json!({}))
        })
        .await?;
    Ok(node)
}

/// Installs or upgrades the release with these values beside those that it always has, and waits until it is there.
pub(crate) fn helm(node: &Node, verb: &str, values: Value) -> Result<()> {
    let mut all = json!({
        "injector": {"enabled": true},
        "extraObjects": [{
            "apiVersion": "trust.cert-manager.io/v1alpha1",
            "kind": "Bundle",
            "metadata": {"name": BUNDLE.0},
            "spec": {"sources": [{"inLine": certificate("ec")}], "target": {"configMap": {"key": BUNDLE.1}}},
        }],
    });
    let Value::Object(values) = values else { anyhow::bail!("values are an object") };
    all.as_object_mut().expect("an object was written above").extend(values);
    let args = [verb, "rootcast", CHART, "--namespace", TRUST_NAMESPACE, "--wait", "--timeout=3m", "--values", "-"];
    node.helm_ok(&args, &all.to_string())?;
    Ok(())
}

/// The pods of a Deployment of the release.
pub(crate) async fn pods(client: &Client, deployment: &str) -> Result<ObjectList<Pod>> {
    let deployments = Api::<Deployment>::namespaced(client.clone(), TRUST_NAMESPACE);
    let selector = deployments.get(deployment).await?.spec.context("a Deployment has a spec")?.selector;
    let labels: Vec<_> = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
    let pods = Api::<Pod>::namespaced(client.clone(), TRUST_NAMESPACE);
    Ok(pods.list(&ListParams::default().labels(&labels.join(","))).await?)
}

/// Whether the kubelet says that a pod works, and nobody wants it to go.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none() && conditions.any(|one| one.type_ == "Ready" && one.status == "True")
}

/// Starts a pod that sleeps, with these annotations, and waits until it is ready.
pub(crate) async fn start_pod(node: &Node, namespace: &str, name: &str, annotations: Value) -> Result<Pod> {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "main", "image": BUSYBOX}]},
    });
    node.kubectl_ok(&["apply", "--namespace", namespace, "-f", "-"], &pod.to_string())?;
    let pods = Api::<Pod>::namespaced(node.client(), namespace);
    Ok(eventually(&format!("pod {name} is ready"), SOON, async || {
        let pod = pods.get(name).await?;
        ensure!(is_ready(&pod), "{:?}", pod.status);
        Ok(pod)
    })
    .await)
}

/// What a shell command prints in a pod of [`start_pod`].
pub(crate) fn shell(node: &Node, namespace: &str, pod: &str, command: &str) -> Result<String> {
    let output = node.exec(namespace, pod, "main", &["sh", "-c", command])?;
    ensure!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Fails when one of ours was ever refused something for lack of permission, or restarts in vain.
pub(crate) async fn is_in_order(node: &Node) -> Result<()> {
    for identity in [IDENTITY, INJECTOR_IDENTITY] {
        let denied = node.audit().denied(identity, Mark::default()).await?;
        ensure!(denied.is_empty(), "{identity} was denied: {denied:#?}");
    }
    for deployment in DEPLOYMENTS {
        for pod in pods(&node.client(), deployment).await? {
            let name = pod.name_any();
            let log = node.kubectl_ok(&["logs", "--namespace", TRUST_NAMESPACE, &name], "")?;
            ensure!(!log.contains("panicked"), "{name}: {log}");
        }
    }
    Ok(())
}
