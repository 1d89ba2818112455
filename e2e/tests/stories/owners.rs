//! Bundles go, come back and find objects that are there already.

use std::collections::BTreeMap;

use anyhow::Result;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, ResourceExt as _, api::ListParams};
use rootcast_e2e::scenario::{Content, Scenario, Scene, Target, bundle, certificate, pem_key};
use serde_json::{Value, json};

use crate::stage;

#[tokio::test]
async fn all_targets_are_collected_with_their_bundle_and_none_is_written_meanwhile() -> Result<()> {
    for (name, cascade) in [("collected", "background"), ("collected-first", "foreground")] {
        let scenario = Scenario::begin(stage().await, name, &["a", "b", "c"]).await?;
        let synced = both_kinds(&scenario, &["a", "b", "c"]);
        scenario.apply(&manifest(name)).await?;
        scenario.then("the Bundle comes", name, 6, &synced).await?;
        scenario.kubectl(&["delete", "bundle", name, &format!("--cascade={cascade}")], "")?;
        scenario.then(cascade, name, 0, &no_bundle()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn orphaned_targets_stay_untouched_and_the_next_bundle_of_the_name_adopts_them() -> Result<()> {
    let name = "orphaned";
    let scenario = Scenario::begin(stage().await, name, &["a", "b"]).await?;
    let synced = both_kinds(&scenario, &["a", "b"]);
    scenario.apply(&manifest(name)).await?;
    scenario.then("the Bundle comes", name, 4, &synced).await?;
    let before = uids(&scenario, name).await?;
    // It orphans what it has seen, and would collect the rest.
    garbage_collector_has_caught_up(&scenario, name, &synced).await?;
    scenario.count_from_here().await?;

    scenario.kubectl(&["delete", "bundle", name, "--cascade=orphan"], "")?;
    let mut orphaned = Scene { reason: no_bundle().reason, ..synced.clone() };
    for target in orphaned.config_maps.values_mut().chain(orphaned.secrets.values_mut()) {
        target.ours = false;
    }
    scenario.then("the Bundle goes", name, 0, &orphaned).await?;

    scenario.apply(&manifest(name)).await?;
    scenario.then("it comes back", name, 4, &synced).await?;
    assert_eq!(uids(&scenario, name).await?, before, "the objects are the same ones");
    Ok(())
}

#[tokio::test]
async fn after_a_forced_replacement_every_target_is_the_new_bundles() -> Result<()> {
    let name = "replaced";
    let scenario = Scenario::begin(stage().await, name, &["a", "b", "c", "d"]).await?;
    let synced = both_kinds(&scenario, &["a", "b", "c", "d"]);
    scenario.apply(&manifest(name)).await?;
    scenario.then("the Bundle comes", name, 8, &synced).await?;

    scenario.kubectl(&["replace", "--force", "-f", "-"], &manifest(name).to_string())?;
    scenario.becomes("it is replaced", name, &synced).await;
    // The garbage collector may take an object of the old Bundle before it has seen who owns it now; then it is written
    // again.
    garbage_collector_has_caught_up(&scenario, name, &synced).await?;
    scenario.becomes("all are there", name, &synced).await;
    scenario.count_from_here().await?;
    scenario.then("all are there to stay", name, 0, &synced).await?;
    Ok(())
}

#[tokio::test]
async fn an_object_of_the_name_is_adopted_and_handed_back_with_what_is_not_ours() -> Result<()> {
    let name = "adopted";
    let scenario = Scenario::begin(stage().await, name, &["a", "b"]).await?;
    scenario.leave("c").await?;
    let older = &*certificate("rsa");
    let theirs = Content::key("theirs", "text").and("binary", [0, 255]);
    for short in ["a", "c"] {
        let metadata = json!({"name": name, "namespace": scenario.namespace(short), "labels": {"app": "theirs"}});
        let data = json!({"theirs": "text", "ca.pem": older});
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data,
            "binaryData": {"binary": "AP8="}});
        scenario.apply(&object).await?;
    }
    let untouched = Target { content: theirs.clone().and("ca.pem", older), ours: false };
    let ours = pem_key("ca.pem", &["ec"]);
    let mixed = Target { content: theirs.clone().and("ca.pem", anchors()), ours: true };
    let scene = |a: &Target, with_b: bool| {
        let mut scene = scenario.synced(if with_b { &["b"] } else { &[] }, &ours);
        scene.config_maps.insert(scenario.namespace("a"), a.clone());
        scene.config_maps.insert(scenario.namespace("c"), untouched.clone());
        scene
    };
    let config_maps = || Api::<ConfigMap>::namespaced(scenario.client.clone(), &scenario.namespace("a"));

    let mut manifest = manifest(name);
    manifest["spec"]["target"].as_object_mut().expect("a target").remove("secret");
    scenario.apply(&manifest).await?;
    scenario.then("the Bundle comes", name, 2, &scene(&mixed, true)).await?;
    assert_eq!(config_maps().get(name).await?.labels()["app"], "theirs");

    scenario.leave("a").await?;
    let released = Target { content: theirs, ours: false };
    scenario.then("the namespace leaves", name, 1, &scene(&released, true)).await?;
    let found = config_maps().get(name).await?;
    let labels: Vec<_> = found.labels().keys().map(String::as_str).collect();
    assert_eq!((labels, found.annotations().len(), found.owner_references().len()), (vec!["app"], 0, 0));

    scenario.join("a").await?;
    scenario.then("the namespace joins again", name, 1, &scene(&mixed, true)).await?;
    scenario.leave("a").await?;
    scenario.leave("b").await?;
    scenario.then("both leave", name, 2, &scene(&released, false)).await?;
    Ok(())
}

/// The garbage collector takes up its work in order: once it has collected a later Bundle's targets, it has seen all that
/// came before.
async fn garbage_collector_has_caught_up(scenario: &Scenario<'_>, name: &str, synced: &Scene) -> Result<()> {
    let later = format!("{name}-later");
    scenario.apply(&reaching(&later, name)).await?;
    scenario.becomes("a later Bundle comes", &later, synced).await;
    scenario.kubectl(&["delete", "bundle", &later], "")?;
    scenario.becomes("the later Bundle goes", &later, &no_bundle()).await;
    Ok(())
}

fn manifest(name: &str) -> Value {
    reaching(name, name)
}

/// A Bundle with ConfigMaps and Secrets in the namespaces of a scenario.
fn reaching(name: &str, scenario: &str) -> Value {
    let certificate = serde_json::to_string(&certificate("ec")).expect("text");
    bundle(
        name,
        &format!(
            "{{sources: [{{inLine: {certificate}}}], target: {{configMap: {{key: ca.pem}}, secret: {{key: ca.pem}},
               namespaceSelector: {{matchLabels: {{scenario: {scenario}}}}}}}}}"
        ),
    )
}

fn anchors() -> String {
    rootcast_e2e::scenario::anchors(&["ec"]).to_pem()
}

fn both_kinds(scenario: &Scenario<'_>, namespaces: &[&str]) -> Scene {
    let content = pem_key("ca.pem", &["ec"]);
    Scene { secrets: scenario.everywhere(namespaces, &content), ..scenario.synced(namespaces, &content) }
}

fn no_bundle() -> Scene {
    Scene { reason: "no Bundle".to_owned(), config_maps: BTreeMap::new(), secrets: BTreeMap::new() }
}

/// The uids of all objects of the name, by kind and namespace.
async fn uids(scenario: &Scenario<'_>, name: &str) -> Result<BTreeMap<String, String>> {
    let params = ListParams::default().fields(&format!("metadata.name={name}"));
    let uid = |kind: &str, metadata: &kube::core::ObjectMeta| {
        let namespace = metadata.namespace.clone().unwrap_or_default();
        (format!("{kind} {namespace}"), metadata.uid.clone().unwrap_or_default())
    };
    let config_maps = Api::<ConfigMap>::all(scenario.client.clone()).list_metadata(&params).await?;
    let secrets = Api::<Secret>::all(scenario.client.clone()).list_metadata(&params).await?;
    let config_maps = config_maps.iter().map(|found| uid("ConfigMap", &found.metadata));
    Ok(config_maps.chain(secrets.iter().map(|found| uid("Secret", &found.metadata))).collect())
}
