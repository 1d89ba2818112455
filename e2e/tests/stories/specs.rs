//! The Bundle itself changes.

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt as _,
    api::{WatchEvent, WatchParams},
};
use rootcast_e2e::{
    Entry, eventually,
    scenario::{Content, SOON, Scenario, Scene, bundle, certificate, pem_key},
};
use serde_json::json;

use crate::stage;

#[tokio::test]
async fn a_renamed_key_replaces_the_old_one_in_the_same_write() -> Result<()> {
    let name = "renamed";
    let scenario = Scenario::begin(stage().await, name, &["a", "b"]).await?;
    scenario.apply(&bundle(name, &spec(name, "configMap: {key: old.pem}"))).await?;
    scenario.then("the Bundle comes", name, 2, &scenario.synced(&["a", "b"], &pem_key("old.pem", &["ec"]))).await?;

    let config_maps = Api::<ConfigMap>::namespaced(scenario.client.clone(), &scenario.namespace("a"));
    let version = config_maps.get(name).await?.resource_version().context("a stored object")?;
    scenario.apply(&bundle(name, &spec(name, "configMap: {key: new.pem}"))).await?;
    scenario.then("the key is renamed", name, 2, &scenario.synced(&["a", "b"], &pem_key("new.pem", &["ec"]))).await?;

    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut events = config_maps.watch(&params, &version).await?.boxed();
    let first = events.next().await.context("the watch tells of the write")??;
    let WatchEvent::Modified(first) = first else { panic!("{first:?}") };
    assert_eq!(Content::of_config_map(&first), pem_key("new.pem", &["ec"]));
    Ok(())
}

#[tokio::test]
async fn a_target_changes_kind_and_the_old_one_goes_after_the_new_one_came() -> Result<()> {
    let name = "kinds";
    let scenario = Scenario::begin(stage().await, name, &["a", "b"]).await?;
    let content = pem_key("ca.pem", &["ec"]);
    let config_maps = scenario.synced(&["a", "b"], &content);
    let secrets = Scene { secrets: scenario.everywhere(&["a", "b"], &content), ..scenario.synced(&[], &content) };
    let both = Scene { secrets: secrets.secrets.clone(), ..config_maps.clone() };

    scenario.apply(&bundle(name, &spec(name, "configMap: {key: ca.pem}"))).await?;
    scenario.then("ConfigMaps", name, 2, &config_maps).await?;
    scenario.apply(&bundle(name, &spec(name, "secret: {key: ca.pem}"))).await?;
    let writes = scenario.then("Secrets", name, 4, &secrets).await?;
    in_order(&writes, "secrets", "configmaps");
    scenario.apply(&bundle(name, &spec(name, "configMap: {key: ca.pem}"))).await?;
    let writes = scenario.then("ConfigMaps again", name, 4, &config_maps).await?;
    in_order(&writes, "configmaps", "secrets");
    scenario.apply(&bundle(name, &spec(name, "configMap: {key: ca.pem}, secret: {key: ca.pem}"))).await?;
    scenario.then("both", name, 2, &both).await?;
    scenario.apply(&bundle(name, &spec(name, "secret: {key: ca.pem}"))).await?;
    scenario.then("Secrets only", name, 2, &secrets).await?;
    Ok(())
}

/// In every namespace the new object is written before the old one is deleted.
fn in_order(writes: &[Entry], new: &str, old: &str) {
    for deletion in writes.iter().filter(|entry| entry.verb == "delete") {
        let at = writes
            .iter()
            .position(|entry| entry.verb == "create" && entry.resource == new && entry.namespace == deletion.namespace);
        let deleted = writes.iter().position(|entry| entry == deletion);
        assert!(deletion.resource == old && at.is_some() && at < deleted, "{writes:#?}");
    }
}

#[tokio::test]
async fn an_old_target_stays_where_the_new_one_cannot_be_written() -> Result<()> {
    let name = "blocked";
    let scenario = Scenario::begin(stage().await, name, &["a", "b"]).await?;
    let content = pem_key("ca.pem", &["ec"]);
    scenario.apply(&bundle(name, &spec(name, "configMap: {key: ca.pem}"))).await?;
    let config_maps = scenario.synced(&["a", "b"], &content);
    scenario.then("ConfigMaps", name, 2, &config_maps).await?;

    let owner = scenario.join("a").await?;
    let metadata = json!({"name": name, "namespace": scenario.namespace("a"), "ownerReferences": [
        {"apiVersion": "v1", "kind": "Namespace", "name": owner.name_any(), "uid": owner.uid(), "controller": true},
    ]});
    scenario.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata})).await?;
    scenario.apply(&bundle(name, &spec(name, "secret: {key: ca.pem}"))).await?;
    eventually("the other namespace goes on", SOON, async || {
        let scene = scenario.scene(name).await?;
        let switched = scene.config_maps == scenario.everywhere(&["a"], &content)
            && scene.reason == "SyncSecretTargetFailed"
            && scene.secrets[&scenario.namespace("b")].content == content;
        ensure!(switched, "{scene:#?}");
        Ok(())
    })
    .await;
    let condition = scenario.condition(name, "Synced").await?;
    assert!(condition.message.contains("Secret blocked-a/blocked"), "{}", condition.message);

    scenario.edit("Secret", &scenario.namespace("a"), name, &json!({"metadata": {"ownerReferences": null}})).await?;
    let secrets = Scene { secrets: scenario.everywhere(&["a", "b"], &content), ..scenario.synced(&[], &content) };
    scenario.becomes("nobody else owns it any more", name, &secrets).await;
    Ok(())
}

#[tokio::test]
async fn labels_and_annotations_of_the_template_come_change_and_go() -> Result<()> {
    let name = "metadata";
    let scenario = Scenario::begin(stage().await, name, &["a", "b"]).await?;
    let expected = scenario.synced(&["a", "b"], &pem_key("ca.pem", &["ec"]));
    let config_maps = Api::<ConfigMap>::namespaced(scenario.client.clone(), &scenario.namespace("b"));
    scenario.apply(&bundle(name, &spec(name, "configMap: {key: ca.pem}"))).await?;
    scenario.then("no metadata", name, 2, &expected).await?;

    let steps = [
        ("both come", "metadata: {labels: {l: x}, annotations: {a: x}}", [Some("x"), Some("x")]),
        ("the label changes", "metadata: {labels: {l: z}, annotations: {a: x}}", [Some("z"), Some("x")]),
        ("the annotation goes", "metadata: {labels: {l: z}}", [Some("z"), None]),
        ("the label goes", "", [None, None]),
    ];
    for (when, metadata, expected_values) in steps {
        let target = format!("configMap: {{key: ca.pem, {metadata}}}");
        scenario.apply(&bundle(name, &spec(name, &target))).await?;
        eventually(when, SOON, async || {
            let found = config_maps.get_metadata(name).await?;
            let values = [found.labels().get("l"), found.annotations().get("a")];
            ensure!(values.map(|value| value.map(String::as_str)) == expected_values, "{values:?}");
            Ok(())
        })
        .await;
        scenario.then(when, name, 2, &expected).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_bundle_without_a_target_lets_its_targets_go() -> Result<()> {
    let name = "targetless";
    let scenario = Scenario::begin(stage().await, name, &["a", "b"]).await?;
    let content = pem_key("ca.pem", &["ec"]);
    scenario.apply(&bundle(name, &spec(name, "configMap: {key: ca.pem}"))).await?;
    scenario.then("a target", name, 2, &scenario.synced(&["a", "b"], &content)).await?;
    let mut without = bundle(name, &spec(name, "configMap: {key: ca.pem}"));
    without["spec"].as_object_mut().context("a spec")?.remove("target");
    scenario.apply(&without).await?;
    scenario.then("no target", name, 2, &scenario.synced(&[], &content)).await?;
    Ok(())
}

fn spec(scenario: &str, target: &str) -> String {
    let certificate = serde_json::to_string(&certificate("ec")).expect("text");
    format!(
        "{{sources: [{{inLine: {certificate}}}],
           target: {{{target}, namespaceSelector: {{matchLabels: {{scenario: {scenario}}}}}}}}}"
    )
}
