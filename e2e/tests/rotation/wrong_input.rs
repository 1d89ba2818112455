//! What people get wrong: each mistake ends in a stated condition with its cure, and no target changes by it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use kube::api::{Patch, PatchParams};
use rootcast_e2e::{eventually, scenario::apply};
use serde_json::{Value, json};

use crate::{
    rotating::{Ca, Rotating, SOON, ledger_name},
    stage::{Stage, TEAM},
};

#[tokio::test]
async fn an_annotation_that_is_wrong_is_named_with_its_cure_and_every_target_stays() -> Result<()> {
    let stage = Stage::shared().await;
    let [a, b] = &Ca::all(["A", "B"])?;
    let wrong = Rotating::begin(stage.control_plane, "wrong", 2, "1h", &[a]).await?;
    wrong.is_settled(&[a]).await;
    wrong.publish(&[b]).await?;
    wrong.is_settled(&[a, b]).await;
    stage.barrier.sync(&wrong.client).await?;
    let since = stage.control_plane.revision().await?;
    let digits = &a.sha256()[1..];
    for (key, value, words) in [
        ("rootcast.dev/retain", "3 days", ["3 days", "72h"]),
        ("rootcast.dev/retain", "87601h", ["87601h", "87600h"]),
        ("rootcast.dev/exclude", digits, ["63", "64"]),
        ("rootcast.dev/trust-namespace", "elsewhere", ["elsewhere", "--additional-trust-namespaces"]),
        ("rootcast.dev/deletion-policy", "Keep", ["Keep", "Orphan"]),
        ("rootcast.dev/ledger-lost", "all", ["all", "8"]),
    ] {
        let mut annotations = json!({"rootcast.dev/retain": "1h"});
        annotations[key] = json!(value);
        wrong.annotate(&annotations).await?;
        wrong.says("Synced", "False", "InvalidSpec", &[key, words[0], words[1]]).await;
        wrong.annotate(&json!({"rootcast.dev/retain": "1h"})).await?;
        wrong.says("Synced", "True", "Synced", &[]).await;
    }
    // A later version may know it: it is said, and nothing stops.
    wrong.annotate(&json!({"rootcast.dev/retain": "1h", "rootcast.dev/retian": "1h"})).await?;
    wrong.says("SourcesComplete", "False", "NeedsAttention", &["rootcast.dev/retian"]).await;
    wrong.says("Synced", "True", "Synced", &[]).await;
    stage.barrier.sync(&wrong.client).await?;
    assert_eq!(wrong.contents(since, &[a, b]).await?, BTreeMap::new());
    wrong.holds(&[a, b]).await;
    Ok(())
}

#[tokio::test]
async fn a_ledger_is_no_source_by_name_and_no_selector_reads_one() -> Result<()> {
    let stage = Stage::shared().await;
    let [a, b, x] = &Ca::all(["A", "B", "X"])?;
    let remembering = Rotating::begin(stage.control_plane, "remembering", 1, "1h", &[x]).await?;
    remembering.is_settled(&[x]).await;
    let ledger = ledger_name("remembering");
    let reading = Rotating::begin(stage.control_plane, "reading", 2, "1h", &[a]).await?;
    let since = stage.control_plane.revision().await?;
    let mut manifest = reading.manifest(&json!({"rootcast.dev/retain": "1h"}));
    let sources = manifest["spec"]["sources"].take();
    manifest["spec"]["sources"] = json!([sources[0], {"configMap": {"name": ledger, "key": "certificates.pem"}}]);
    apply(&reading.client, &manifest).await?;
    reading.says("Synced", "False", "InvalidSpec", &[&ledger]).await;

    let selector = json!({"matchLabels": {"read": "all"}});
    let label = json!({"metadata": {"labels": {"read": "all"}}});
    remembering.ledgers().patch(&ledger, &PatchParams::default(), &Patch::Merge(label)).await?;
    manifest["spec"]["sources"] = json!([sources[0], {"configMap": {"selector": selector, "key": "certificates.pem"}}]);
    apply(&reading.client, &manifest).await?;
    reading.says("Synced", "True", "Synced", &[]).await;
    reading.publish(&[a, b]).await?;
    reading.holds(&[a, b]).await;
    assert_eq!(reading.contents(since, &[a, b, x]).await?, reading.each(&["A+B"]));
    Ok(())
}

#[tokio::test]
async fn a_ledger_that_is_edited_while_the_controller_runs_is_written_again_from_memory() -> Result<()> {
    let stage = Stage::shared().await;
    let [a, b, x] = &Ca::all(["A", "B", "X"])?;
    let edited = Rotating::begin(stage.control_plane, "edited", 2, "1h", &[a]).await?;
    edited.is_settled(&[a]).await;
    edited.publish(&[b]).await?;
    edited.is_settled(&[a, b]).await;
    let before = edited.ledger().await?.context("a ledger")?;
    let since = stage.control_plane.revision().await?;
    let smuggled = json!({"sha256": x.sha256(), "subject": "CN=X", "left": "2026-01-01T00:00:00Z"});
    let mut document = before.clone();
    document["certificates"].as_array_mut().context("entries")?.push(smuggled);
    let foreign = |document: &Value| {
        let mut document = document.clone();
        document["uid"] = json!("somebody's");
        document.to_string()
    };
    for data in [
        json!({"ledger.json": "nonsense"}),
        json!({"ledger.json": null}),
        json!({"certificates.pem": x.pem(), "ledger.json": document.to_string()}),
        json!({"ledger.json": foreign(&before)}),
    ] {
        let change = Patch::Merge(json!({"data": data}));
        edited.ledgers().patch(&ledger_name("edited"), &PatchParams::default(), &change).await?;
        eventually("it is as it was", SOON, async || {
            let ledger = edited.ledger().await?;
            ensure!(ledger.as_ref() == Some(&before), "after {data}: {ledger:?}");
            Ok(())
        })
        .await;
    }
    stage.barrier.sync(&edited.client).await?;
    assert_eq!(edited.contents(since, &[a, b, x]).await?, BTreeMap::new());
    edited.says("Synced", "True", "Synced", &[]).await;
    Ok(())
}

#[tokio::test]
async fn a_namesake_of_another_trust_namespace_is_not_read() -> Result<()> {
    let stage = Stage::shared().await;
    let [a, x] = &Ca::all(["A", "X"])?;
    let forged = Rotating::prepare(stage.control_plane, "forged", 1, &[a]).await?;
    let ledger = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": ledger_name("forged"), "namespace": TEAM, "labels": {"rootcast.dev/ledger": "bundle"}},
        "data": {"certificates.pem": x.pem(), "ledger.json": json!({
            "version": 1, "uid": "", "certificates": [{"sha256": x.sha256(), "left": "2026-01-01T00:00:00Z"}],
        }).to_string()},
    });
    apply(&forged.client, &ledger).await?;
    forged.annotate(&json!({"rootcast.dev/retain": "1h"})).await?;
    forged.is_settled(&[a]).await;
    forged.holds(&[a]).await;
    assert_eq!(forged.entry(x).await?, None);
    Ok(())
}
