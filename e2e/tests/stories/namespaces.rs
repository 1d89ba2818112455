//! Namespaces come, change their labels and go.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use rootcast_e2e::{
    eventually,
    scenario::{SOON, Scenario, TRUST_NAMESPACE, bundle, certificate, pem_key, source},
};
use serde_json::json;

use crate::stage;

#[tokio::test]
async fn targets_follow_namespaces_that_come_and_match_or_do_not() -> Result<()> {
    let name = "namespaces";
    let scenario = Scenario::begin(stage().await, name, &["a"]).await?;
    let content = pem_key("ca.pem", &["ec"]);
    scenario.apply(&bundle(name, &inline(name))).await?;
    scenario.then("one namespace", name, 1, &scenario.synced(&["a"], &content)).await?;

    scenario.join("b").await?;
    scenario.then("a namespace is created", name, 1, &scenario.synced(&["a", "b"], &content)).await?;

    scenario.leave("c").await?;
    scenario.then("a namespace without the label", name, 0, &scenario.synced(&["a", "b"], &content)).await?;

    scenario.join("c").await?;
    scenario.then("a namespace gains the label", name, 1, &scenario.synced(&["a", "b", "c"], &content)).await?;

    scenario.leave("a").await?;
    scenario.then("a namespace loses the label", name, 1, &scenario.synced(&["b", "c"], &content)).await?;

    scenario.join("a").await?;
    scenario.then("it gets the label back", name, 1, &scenario.synced(&["a", "b", "c"], &content)).await?;

    scenario
        .edit("Namespace", "", &scenario.namespace("a"), &json!({"metadata": {"labels": {"other": "label"}}}))
        .await?;
    scenario.then("a label that does not matter", name, 0, &scenario.synced(&["a", "b", "c"], &content)).await?;

    scenario.delete("Namespace", "", &scenario.namespace("b")).await?;
    is_gone(&scenario, &scenario.namespace("b")).await;
    scenario.then("a namespace is deleted", name, 0, &scenario.synced(&["a", "c"], &content)).await?;

    scenario.join("b").await?;
    scenario.then("it is created again", name, 1, &scenario.synced(&["a", "b", "c"], &content)).await?;

    let narrower = inline(name).replace("scenario: namespaces", "scenario: namespaces, other: label");
    scenario.apply(&bundle(name, &narrower)).await?;
    scenario.then("the selector gets narrower", name, 2, &scenario.synced(&["a"], &content)).await?;

    scenario.apply(&bundle(name, &inline(name))).await?;
    scenario.then("the selector gets wider", name, 2, &scenario.synced(&["a", "b", "c"], &content)).await?;
    Ok(())
}

#[tokio::test]
async fn a_namespace_on_its_way_out_troubles_nobody() -> Result<()> {
    let name = "terminating";
    let scenario = Scenario::begin(stage().await, name, &["a", "b", "out"]).await?;
    let spec = inline(name).replace("[{inLine", "[{configMap: {name: terminating-source, key: k}}, {inLine");
    let holds = |of: &str| source("ConfigMap", "terminating-source", &[], &[("k", &certificate(of))]);
    scenario.apply(&holds("rsa")).await?;
    scenario.apply(&bundle(name, &spec)).await?;
    let content = pem_key("ca.pem", &["ec", "rsa"]);
    scenario.then("three namespaces", name, 3, &scenario.synced(&["a", "b", "out"], &content)).await?;

    let out = scenario.namespace("out");
    let metadata = json!({"name": "anchor", "namespace": out, "finalizers": ["example.com/held"]});
    scenario.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})).await?;
    scenario.delete("Namespace", "", &out).await?;
    scenario.then("it is terminating", name, 0, &scenario.synced(&["a", "b"], &content)).await?;

    scenario.apply(&holds("p384")).await?;
    let content = pem_key("ca.pem", &["ec", "p384"]);
    scenario.then("the others go on", name, 2, &scenario.synced(&["a", "b"], &content)).await?;

    scenario.edit("ConfigMap", &out, "anchor", &json!({"metadata": {"finalizers": null}})).await?;
    is_gone(&scenario, &out).await;
    scenario.then("it is gone", name, 0, &scenario.synced(&["a", "b"], &content)).await?;
    scenario.delete("ConfigMap", TRUST_NAMESPACE, "terminating-source").await?;
    Ok(())
}

fn inline(scenario: &str) -> String {
    let certificate = serde_json::to_string(&certificate("ec")).expect("text");
    format!(
        "{{sources: [{{inLine: {certificate}}}],
           target: {{configMap: {{key: ca.pem}}, namespaceSelector: {{matchLabels: {{scenario: {scenario}}}}}}}}}"
    )
}

async fn is_gone(scenario: &Scenario<'_>, namespace: &str) {
    let namespaces = Api::<Namespace>::all(scenario.client.clone());
    eventually("the namespace goes", SOON, async || {
        ensure!(namespaces.get_opt(namespace).await?.is_none(), "it is still there");
        Ok(())
    })
    .await;
}
