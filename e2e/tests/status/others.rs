//! Objects of others that stand where targets are to be, and names that no Bundle may have.

use anyhow::{Result, ensure};
use rootcast_e2e::{
    eventually,
    scenario::{SOON, Scenario, bundle, certificate},
};
use serde_json::{Value, json};

use crate::stage::{Stage, rootcast};

/// What the controller, `status` and `diff` say of a value that is not written over.
const FAULT: &str = "holds a value of others under key \"ca.pem\", written by field manager \"somebody\"; it stays as it is, and pods that ask for the Bundle there mount it so";

fn written(name: &str) -> Value {
    let spec = json!({
        "sources": [{ "inLine": certificate("ec") }],
        "target": { "configMap": { "key": "ca.pem" }, "namespaceSelector": { "matchLabels": { "scenario": name } } },
    });
    bundle(name, &spec.to_string())
}

/// A ConfigMap of a Bundle's name, without its label.
fn theirs(name: &str, namespace: &str, data: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "namespace": namespace }, "data": data })
}

impl Stage {
    async fn compare(&self, object: &Value, more: &[&str]) -> Result<crate::stage::Told> {
        rootcast(self.control_plane.kubeconfig(), &[&["diff", "-f", "-"], more].concat(), &object.to_string()).await
    }

    /// Waits until condition `Synced` has this reason; its message.
    async fn says(&self, scenario: &Scenario<'_>, bundle: &str, reason: &str) -> String {
        eventually(&format!("{bundle} is {reason}"), SOON, async || {
            let synced = scenario.condition(bundle, "Synced").await?;
            ensure!(synced.reason == reason, "{synced:?}");
            Ok(synced.message)
        })
        .await
    }
}

#[tokio::test]
async fn a_value_of_others_that_stays_is_told_in_the_controllers_words() -> Result<()> {
    let stage = Stage::shared().await;
    let name = "standing";
    let scenario = Scenario::begin(&stage.barrier, name, &["a", "b", "c"]).await?;
    scenario.apply(&theirs(name, &scenario.namespace("b"), &json!({ "ca.pem": "text" }))).await?;
    scenario.apply(&theirs(name, &scenario.namespace("c"), &json!({ "database": "postgres" }))).await?;

    let cure = format!(
        "delete that key, annotate it with rootcast.dev/adopt={name} to have the value replaced, or give the Bundle another key or name"
    );
    let told = stage.compare(&written(name), &[]).await?;
    assert_eq!(told.code, Some(1), "{told:?}");
    for words in [
        "  created: 1 ConfigMap in standing-a\n".to_owned(),
        "  updated: 1 ConfigMap in standing-c\n".to_owned(),
        format!("  not written: 1 ConfigMap in standing-b: TargetExists: it {FAULT}\n    cure: {cure}\n"),
    ] {
        ensure!(told.out.contains(&words), "no {words:?} in\n{}", told.out);
    }
    let document = stage.compare(&written(name), &["-o", "json"]).await?.document()?;
    let blocked = json!([{ "kind": "ConfigMap", "namespace": "standing-b", "cause": format!("TargetExists: it {FAULT}"), "cure": cure }]);
    assert_eq!(document["bundles"][0]["blocked"], blocked);
    let told = stage.compare(&written(name), &["--adopt=always"]).await?;
    ensure!(told.out.contains("  updated: 2 ConfigMaps in standing-b, standing-c\n"), "{}", told.out);

    scenario.apply(&written(name)).await?;
    let message = stage.says(&scenario, name, "SyncConfigMapTargetFailed").await;
    ensure!(message.contains(&format!("TargetExists: ConfigMap standing-b/standing {FAULT}: {cure}")), "{message}");
    let told = stage.ask(&["status", name]).await?;
    assert_eq!(told.code, Some(1), "{told:?}");
    for words in [
        "Targets: 2 of 3 in sync\n".to_owned(),
        format!("  1 ConfigMap in standing-b: TargetExists: it {FAULT}\n    cure: {cure}\n"),
    ] {
        ensure!(told.out.contains(&words), "no {words:?} in\n{}", told.out);
    }
    let near = stage.ask(&["status", "-n", "standing-b"]).await?;
    ensure!(near.out.contains(&format!("ConfigMap standing-b/standing: TargetExists: it {FAULT}\n")), "{}", near.out);
    let told = stage.compare(&written(name), &[]).await?;
    ensure!(told.out.contains("  not written: 1 ConfigMap in standing-b: TargetExists: "), "{}", told.out);

    let consent = json!({ "metadata": { "annotations": { "rootcast.dev/adopt": name } } });
    scenario.edit("ConfigMap", "standing-b", name, &consent).await?;
    let told = stage.compare(&written(name), &[]).await?;
    ensure!(!told.out.contains("not written"), "{}", told.out);
    Ok(())
}

#[tokio::test]
async fn a_protected_name_is_refused_as_the_controller_refuses_it() -> Result<()> {
    let stage = Stage::shared().await;
    let name = "istio-ca-root-cert";
    let scenario = Scenario::begin(&stage.barrier, name, &["a"]).await?;
    let told = stage.compare(&written(name), &[]).await?;
    assert_eq!(told.code, Some(2), "{told:?}");
    let place = format!("  not written: 1 ConfigMap in {name}-a: InvalidSpec: \"{name}\" is a name that Istio keeps");
    ensure!(told.out.contains(&place), "{}", told.out);

    scenario.apply(&written(name)).await?;
    let message = stage.says(&scenario, name, "InvalidSpec").await;
    let refusal = format!("rootcast: Bundle {name}: its targets would stay as they are: InvalidSpec: {message}\n");
    ensure!(told.errors.contains(&refusal), "no {refusal:?} in {}", told.errors);
    let told = stage.ask(&["status", name]).await?;
    assert_eq!(told.code, Some(1), "{told:?}");
    for words in [
        "Targets: 0 of 1 in sync\n",
        "1 ConfigMap in istio-ca-root-cert-a: InvalidSpec: ",
        "--allow-names=istio-ca-root-cert\n",
    ] {
        ensure!(told.out.contains(words), "no {words:?} in\n{}", told.out);
    }
    let told = stage.compare(&written(name), &["--allow-names=istio-ca-root-cert"]).await?;
    assert_eq!(told.code, Some(1), "{told:?}");
    ensure!(told.out.contains("  created: 1 ConfigMap in istio-ca-root-cert-a\n"), "{}", told.out);
    Ok(())
}

#[tokio::test]
async fn names_that_the_leader_allows_are_known_from_its_pod() -> Result<()> {
    let stage = Stage::shared().await;
    let name = "cluster-info";
    let scenario = Scenario::begin(&stage.barrier, name, &["a"]).await?;
    let told = stage.compare(&written(name), &[]).await?;
    assert_eq!(told.code, Some(1), "{told:?}");
    ensure!(told.out.contains("  created: 1 ConfigMap in cluster-info-a\n"), "{}", told.out);
    scenario.apply(&written(name)).await?;
    stage.says(&scenario, name, "Synced").await;
    let told = stage.ask(&["status", name]).await?;
    assert_eq!(told.code, Some(0), "{told:?}");
    ensure!(told.out.contains("Targets: 1 of 1 in sync\n"), "{}", told.out);
    Ok(())
}
