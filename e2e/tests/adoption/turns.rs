//! What takes two steps, and names that are protected.

use anyhow::{Context as _, Result, ensure};
use rootcast::api::KEYS_ANNOTATION;
use rootcast_e2e::scenario::anchors;
use serde_json::json;

use crate::stage::{KEY, Stage};

/// A ConfigMap in the namespace of the same name.
fn config_map(name: &str, data: &serde_json::Value) -> serde_json::Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "namespace": name }, "data": data })
}

#[tokio::test]
async fn a_key_that_a_bundle_names_later_takes_no_value_of_others() -> Result<()> {
    let stage = Stage::shared().await;
    for (name, before) in [("renamed", Some(json!({ "database": "postgres" }))), ("renamed-ours", None)] {
        stage.namespace(name).await?;
        if let Some(before) = &before {
            stage.put(&config_map(name, before)).await?;
        }
        stage.write_bundle(name, name, "ConfigMap", KEY).await?;
        stage.says(name, "Synced", &[]).await?;
        if before.is_none() {
            stage.edit("ConfigMap", name, name, &json!({ "data": { "database": "postgres" } })).await?;
        }
        stage.write_bundle(name, name, "ConfigMap", "database").await?;
        stage.says(name, "SyncConfigMapTargetFailed", &["TargetExists", "\"database\""]).await?;
        let found = stage.object("ConfigMap", name, name).await?.context("it is gone")?;
        ensure!(found.data["data"]["database"] == "postgres", "{found:?}");
    }
    Ok(())
}

#[tokio::test]
async fn our_next_write_of_a_target_names_our_keys_where_others_added_theirs() -> Result<()> {
    let stage = Stage::shared().await;
    let name = "added";
    stage.namespace(name).await?;
    stage.write_bundle(name, name, "ConfigMap", KEY).await?;
    stage.says(name, "Synced", &[]).await?;
    stage.edit("ConfigMap", name, name, &json!({ "data": { "database": "postgres", KEY: "evil" } })).await?;
    let keys = async || {
        let found = stage.object("ConfigMap", name, name).await?.context("it is gone")?;
        let annotations = found.metadata.annotations.clone().unwrap_or_default();
        ensure!(annotations.get(KEYS_ANNOTATION).map(String::as_str) == Some(KEY), "{found:?}");
        stage.holds(name, &json!({ KEY: anchors(&["ec"]).to_pem(), "database": "postgres" })).await
    };
    rootcast_e2e::eventually("it is healed", crate::stage::PATIENCE, keys).await;
    stage.delete_bundle(name, &kube::api::DeleteParams::background()).await?;
    stage.garbage_is_collected(name).await?;
    let left = json!({ "database": "postgres" });
    rootcast_e2e::eventually("what is ours is taken out", crate::stage::PATIENCE, async || {
        stage.holds(name, &left).await
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_target_that_was_stripped_of_everything_is_judged_as_a_strangers() -> Result<()> {
    let stage = Stage::shared().await;
    let name = "stripped";
    stage.namespace(name).await?;
    stage.write_bundle(name, name, "ConfigMap", KEY).await?;
    stage.says(name, "Synced", &[]).await?;
    let bare = json!({
        "metadata": { "labels": null, "annotations": null, "ownerReferences": null, "managedFields": [{}] },
        "data": { KEY: "database: postgres", "other": "x" },
    });
    stage.edit("ConfigMap", name, name, &bare).await?;
    stage.says(name, "SyncConfigMapTargetFailed", &["TargetExists", KEY]).await?;
    stage.holds(name, &json!({ KEY: "database: postgres", "other": "x" })).await?;

    stage.edit("ConfigMap", name, name, &json!({ "data": { KEY: null } })).await?;
    stage.says(name, "Synced", &[]).await?;
    stage.holds(name, &json!({ KEY: anchors(&["ec"]).to_pem(), "other": "x" })).await
}

#[tokio::test]
async fn bundles_in_turn_over_one_object_take_no_value_of_others() -> Result<()> {
    let stage = Stage::shared().await;
    let name = "in-turn";
    stage.namespace(name).await?;
    stage.put(&config_map(name, &json!({ "database": "postgres" }))).await?;
    let both = json!({ KEY: anchors(&["ec"]).to_pem(), "database": "postgres" });
    for _ in 0..2 {
        stage.write_bundle(name, name, "ConfigMap", KEY).await?;
        stage.says(name, "Synced", &[]).await?;
        stage.holds(name, &both).await?;
        stage.delete_bundle(name, &kube::api::DeleteParams::orphan()).await?;
        stage.holds(name, &both).await?;
    }
    stage.write_bundle(name, name, "ConfigMap", "database").await?;
    stage.says(name, "SyncConfigMapTargetFailed", &["TargetExists", "\"database\""]).await?;
    stage.holds(name, &both).await
}

#[tokio::test]
async fn an_owner_that_was_taken_off_a_completed_object_comes_back() -> Result<()> {
    let stage = Stage::shared().await;
    let name = "disowned";
    stage.namespace(name).await?;
    stage.put(&config_map(name, &json!({ "database": "postgres" }))).await?;
    stage.write_bundle(name, name, "ConfigMap", KEY).await?;
    stage.says(name, "Synced", &[]).await?;
    let owners = async || {
        let found = stage.object("ConfigMap", name, name).await?.context("it is gone")?;
        Ok::<_, anyhow::Error>(found.metadata.owner_references.unwrap_or_default())
    };
    let both = owners().await?;
    ensure!(both.len() == 2, "{both:?}");
    for left in [&both[..1], &both[1..], &[]] {
        stage.edit("ConfigMap", name, name, &json!({ "metadata": { "ownerReferences": left } })).await?;
        rootcast_e2e::eventually("both are back", crate::stage::PATIENCE, async || {
            let found = owners().await?;
            ensure!(both.iter().all(|owner| found.contains(owner)), "{found:?}");
            Ok(())
        })
        .await;
    }
    Ok(())
}

#[tokio::test]
async fn a_bundle_author_takes_no_name_that_the_cluster_keeps_trust_under() -> Result<()> {
    let stage = Stage::shared().await;
    let name = "extension-apiserver-authentication";
    let before = stage.object("ConfigMap", "kube-system", name).await?;
    stage.write_bundle(name, "kube-system", "ConfigMap", "client-ca-file").await?;
    stage
        .says(name, "InvalidSpec", &["extension API servers", "--allow-names=extension-apiserver-authentication"])
        .await?;
    let after = stage.object("ConfigMap", "kube-system", name).await?;
    ensure!(before == after, "{before:?} became {after:?}");

    stage.namespace("coredns").await?;
    let theirs = stage.put(&config_map("coredns", &json!({ "Corefile": "" }))).await?;
    stage.write_bundle("coredns", "coredns", "ConfigMap", "Corefile").await?;
    stage.says("coredns", "InvalidSpec", &["CoreDNS", "another name"]).await?;
    ensure!(stage.object("ConfigMap", "coredns", "coredns").await? == Some(theirs), "it was touched");
    Ok(())
}
