//! Namespaces come, change their labels and go.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use rootcast_e2e::{
    eventually,
    story::{SOON, Story, TRUST_NAMESPACE, bundle, certificate, pem_key, source},
};
use serde_json::json;

use crate::stage;

#[tokio::test]
async fn targets_follow_namespaces_that_come_and_match_or_do_not() -> Result<()> {
    let name = "namespaces";
    let story = Story::begin(stage().await, name, &["a"]).await?;
    let content = pem_key("ca.pem", &["ec"]);
    story.apply(&bundle(name, &inline(name))).await?;
    story.then("one namespace", name, 1, &story.synced(&["a"], &content)).await?;

    story.join("b").await?;
    story.then("a namespace is created", name, 1, &story.synced(&["a", "b"], &content)).await?;

    story.leave("c").await?;
    story.then("a namespace without the label", name, 0, &story.synced(&["a", "b"], &content)).await?;

    story.join("c").await?;
    story.then("a namespace gains the label", name, 1, &story.synced(&["a", "b", "c"], &content)).await?;

    story.leave("a").await?;
    story.then("a namespace loses the label", name, 1, &story.synced(&["b", "c"], &content)).await?;

    story.join("a").await?;
    story.then("it gets the label back", name, 1, &story.synced(&["a", "b", "c"], &content)).await?;

    story.edit("Namespace", "", &story.namespace("a"), &json!({"metadata": {"labels": {"other": "label"}}})).await?;
    story.then("a label that does not matter", name, 0, &story.synced(&["a", "b", "c"], &content)).await?;

    story.delete("Namespace", "", &story.namespace("b")).await?;
    is_gone(&story, &story.namespace("b")).await;
    story.then("a namespace is deleted", name, 0, &story.synced(&["a", "c"], &content)).await?;

    story.join("b").await?;
    story.then("it is created again", name, 1, &story.synced(&["a", "b", "c"], &content)).await?;

    let narrower = inline(name).replace("story: namespaces", "story: namespaces, other: label");
    story.apply(&bundle(name, &narrower)).await?;
    story.then("the selector gets narrower", name, 2, &story.synced(&["a"], &content)).await?;

    story.apply(&bundle(name, &inline(name))).await?;
    story.then("the selector gets wider", name, 2, &story.synced(&["a", "b", "c"], &content)).await?;
    Ok(())
}

#[tokio::test]
async fn a_namespace_on_its_way_out_troubles_nobody() -> Result<()> {
    let name = "terminating";
    let story = Story::begin(stage().await, name, &["a", "b", "out"]).await?;
    let spec = inline(name).replace("[{inLine", "[{configMap: {name: terminating-source, key: k}}, {inLine");
    let holds = |of: &str| source("ConfigMap", "terminating-source", &[], &[("k", &certificate(of))]);
    story.apply(&holds("rsa")).await?;
    story.apply(&bundle(name, &spec)).await?;
    let content = pem_key("ca.pem", &["ec", "rsa"]);
    story.then("three namespaces", name, 3, &story.synced(&["a", "b", "out"], &content)).await?;

    let out = story.namespace("out");
    let metadata = json!({"name": "anchor", "namespace": out, "finalizers": ["example.com/held"]});
    story.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})).await?;
    story.delete("Namespace", "", &out).await?;
    story.then("it is terminating", name, 0, &story.synced(&["a", "b"], &content)).await?;

    story.apply(&holds("p384")).await?;
    let content = pem_key("ca.pem", &["ec", "p384"]);
    story.then("the others go on", name, 2, &story.synced(&["a", "b"], &content)).await?;

    story.edit("ConfigMap", &out, "anchor", &json!({"metadata": {"finalizers": null}})).await?;
    is_gone(&story, &out).await;
    story.then("it is gone", name, 0, &story.synced(&["a", "b"], &content)).await?;
    story.delete("ConfigMap", TRUST_NAMESPACE, "terminating-source").await?;
    Ok(())
}

fn inline(story: &str) -> String {
    let certificate = serde_json::to_string(&certificate("ec")).expect("text");
    format!(
        "{{sources: [{{inLine: {certificate}}}],
           target: {{configMap: {{key: ca.pem}}, namespaceSelector: {{matchLabels: {{story: {story}}}}}}}}}"
    )
}

async fn is_gone(story: &Story<'_>, namespace: &str) {
    let namespaces = Api::<Namespace>::all(story.client.clone());
    eventually("the namespace goes", SOON, async || {
        ensure!(namespaces.get_opt(namespace).await?.is_none(), "it is still there");
        Ok(())
    })
    .await;
}
