//! The controller is down: sources change, and ledgers and targets are lost or written by others. When it starts again,
//! no CA is lost, and none is believed in that only one place knows.

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use rootcast::trust::Fingerprint;
use rootcast_e2e::{ControlPlane, Controller, scenario::apply};
use serde_json::{Value, json};

use crate::{
    rotating::{Ca, KEY, Rotating, ledger_name, pem},
    stage::{SETTLES, alone},
};

/// A day when all of this was over.
pub(crate) const LONG_AGO: &str = "2026-01-01T00:00:00Z";

/// The uid of no Bundle that there is.
pub(crate) const NAMESAKE: &str = "8b1f6f7c-2f3e-4a52-9c43-0d1c1c5f1f0a";

#[tokio::test]
async fn whichever_one_place_is_lost_while_the_controller_is_down_no_ca_is_lost_and_none_is_made_up() -> Result<()> {
    let control_plane = alone().await?;
    let controller = Controller::start(&control_plane, &[SETTLES]).await?;
    let [a, b, x] = &Ca::all(["A", "B", "X"])?;
    let all = [a, b, x];
    let begin = async |name| Rotating::begin(&control_plane, name, 2, "1h", &[a]).await;
    let names = ["swapped", "smuggled", "forgotten", "scribbled", "tampered", "lacking", "lost", "found", "ended"];
    let bundles = try_join_all(names.map(begin)).await?;
    let [swapped, smuggled, leaving @ ..] = &bundles[..] else { unreachable!("one for each name") };
    let [forgotten, scribbled, tampered, lacking, gone @ ..] = leaving else { unreachable!("one for each name") };
    let [lost, found, ended] = gone else { unreachable!("one for each name") };
    for bundle in &bundles {
        bundle.is_settled(&[a]).await;
    }
    for bundle in leaving {
        bundle.publish(&[b]).await?;
    }
    for bundle in leaving {
        bundle.is_settled(&[a, b]).await;
        bundle.says("Retiring", "True", "Held", &["CN=A"]).await;
    }

    controller.stop().await?;
    let down = (control_plane.revision().await?, Timestamp::now());
    swapped.publish(&[b]).await?;
    let backup = ledger_data(found).await?;
    for bundle in [forgotten, tampered].into_iter().chain(gone) {
        delete_ledger(bundle).await?;
    }
    leave_out(lacking, a).await?;
    write_ledger(scribbled, &json!({"ledger.json": "nonsense"})).await?;
    smuggle(smuggled, x).await?;
    tampered.edit(&tampered.namespaces[0], &json!({"data": {KEY: pem(&all)}})).await?;
    for bundle in gone {
        for namespace in &bundle.namespaces {
            bundle.edit(namespace, &json!({"data": {KEY: pem(&[b])}})).await?;
        }
    }
    ended.annotate(&json!({})).await?;
    let namesake = Rotating::prepare(&control_plane, "namesake", 2, &[a]).await?;
    let restored = Rotating::prepare(&control_plane, "restored", 2, &[a]).await?;
    for bundle in [&namesake, &restored] {
        restore(bundle, &[a, x]).await?;
    }
    put_target(&restored, &[a, x]).await?;

    let up = control_plane.revision().await?;
    let controller = Controller::start(&control_plane, &[SETTLES]).await?;
    swapped.holds(&[a, b]).await;
    assert!(swapped.leaves(a).await >= down.1, "it counts as leaving from now on");
    assert_eq!(swapped.contents(down.0, &all).await?, swapped.each(&["A+B"]));

    for bundle in [forgotten, scribbled, tampered, lacking] {
        bundle.leaves(a).await;
        bundle.is_settled(&[b]).await;
        bundle.holds(&[a, b]).await;
    }
    for bundle in [forgotten, scribbled, lacking] {
        assert!(bundle.contents(down.0, &all).await?.is_empty(), "{}: nothing was to be written", bundle.name);
    }
    let healed = tampered.contents(up, &all).await?;
    assert_eq!(healed.into_iter().collect::<Vec<_>>(), [(tampered.namespaces[0].clone(), vec!["A+B".to_owned()])]);

    smuggled.tells("LedgerDiscarded", &["CN=X", &x.sha256()]).await;
    smuggled.forgets(x).await;
    assert!(smuggled.contents(down.0, &all).await?.is_empty());
    namesake.holds(&[a]).await;
    namesake.tells("LedgerDiscarded", &[&ledger_name("namesake")]).await;
    namesake.forgets(x).await;
    assert_eq!(namesake.contents(up, &all).await?, namesake.each(&["A"]));
    restored.holds(&[a, x]).await;
    restored.leaves(x).await;

    // Retention that ends accepts no loss, whether it is switched off before a start or after it.
    ended.says("Retiring", "Unknown", "LedgerLost", &[&a.sha256()]).await;
    lost.says("Retiring", "Unknown", "LedgerLost", &[&a.sha256()]).await;
    lost.annotate(&json!({})).await?;
    for bundle in [lost, ended] {
        bundle.says("Settled", "False", "RollingOut", &["retention is off"]).await;
        bundle.says("Retiring", "Unknown", "LedgerLost", &["rootcast.dev/ledger-lost"]).await;
        assert!(bundle.contents(up, &all).await?.is_empty(), "{}: nothing was to be written", bundle.name);
    }
    lost.annotate(&json!({"rootcast.dev/retain": "1h"})).await?;
    is_lost_until_somebody_accepts_that(&control_plane, lost, [a, b]).await?;
    let digits = &Fingerprint::of(pem(&[a, b]).as_bytes()).to_string()[..8];
    ended.annotate(&json!({"rootcast.dev/ledger-lost": digits})).await?;
    ended.says_nothing_of_retention().await;
    is_known_again_once_its_ledger_is_restored(&control_plane, found, [a, b], &backup).await?;
    for bundle in bundles.iter().chain([&namesake, &restored]) {
        bundle.says("Synced", "True", "Synced", &[]).await;
    }
    controller.stop().await?;
    control_plane.finish().await
}

/// Of a Bundle whose ledger and old CA are gone, no target is rewritten until its annotation accepts this loss.
async fn is_lost_until_somebody_accepts_that(
    control_plane: &ControlPlane,
    lost: &Rotating<'_>,
    [a, b]: [&Ca; 2],
) -> Result<()> {
    let digest = Fingerprint::of(pem(&[a, b]).as_bytes()).to_string();
    let words = [&*digest, &a.sha256(), "rootcast.dev/ledger-lost"];
    lost.says("Retiring", "Unknown", "LedgerLost", &words).await;
    lost.tells("LedgerLost", &[&digest]).await;
    let since = control_plane.revision().await?;
    let newcomer = "lost-newcomer";
    control_plane.namespace(newcomer, &[("rotating", "lost")]).await?;
    let mut everywhere = lost.clone();
    everywhere.namespaces.push(newcomer.to_owned());
    everywhere.holds(&[b]).await;
    // Another loss is not accepted by it.
    lost.annotate(&json!({"rootcast.dev/retain": "1h", "rootcast.dev/ledger-lost": "00000000"})).await?;
    lost.says("Retiring", "Unknown", "LedgerLost", &words).await;
    let written = everywhere.contents(since, &[a, b]).await?;
    assert_eq!(written.into_iter().collect::<Vec<_>>(), [(newcomer.to_owned(), vec!["B".to_owned()])]);

    lost.annotate(&json!({"rootcast.dev/retain": "1h", "rootcast.dev/ledger-lost": digest[..8]})).await?;
    lost.says("Retiring", "False", "NothingLeaving", &[]).await;
    everywhere.is_settled(&[b]).await;
    let c = &Ca::new("C")?;
    lost.publish(&[c]).await?;
    everywhere.holds(&[b, c]).await;
    Ok(())
}

/// Of a Bundle whose ledger comes back from a backup, all is as it was before.
async fn is_known_again_once_its_ledger_is_restored(
    control_plane: &ControlPlane,
    found: &Rotating<'_>,
    [a, b]: [&Ca; 2],
    backup: &Value,
) -> Result<()> {
    found.says("Retiring", "Unknown", "LedgerLost", &[&a.sha256()]).await;
    let since = control_plane.revision().await?;
    put_ledger_data(found, backup).await?;
    found.holds(&[a, b]).await;
    found.says("Retiring", "True", "Held", &["CN=A"]).await;
    found.leaves(a).await;
    assert_eq!(found.contents(since, &[a, b]).await?, found.each(&["A+B"]));
    Ok(())
}

async fn ledger_data(bundle: &Rotating<'_>) -> Result<Value> {
    Ok(json!(bundle.ledgers().get(&ledger_name(&bundle.name)).await?.data.context("a ledger has data")?))
}

async fn delete_ledger(bundle: &Rotating<'_>) -> Result<()> {
    bundle.ledgers().delete(&ledger_name(&bundle.name), &DeleteParams::default()).await?;
    Ok(())
}

/// Somebody changes keys of the ledger.
async fn write_ledger(bundle: &Rotating<'_>, data: &Value) -> Result<()> {
    let change = Patch::Merge(json!({"data": data}));
    bundle.ledgers().patch(&ledger_name(&bundle.name), &PatchParams::default(), &change).await?;
    Ok(())
}

/// Somebody writes a CA into the ledger as if it was leaving.
async fn smuggle(bundle: &Rotating<'_>, ca: &Ca) -> Result<()> {
    let before = ledger_data(bundle).await?;
    let mut document = bundle.ledger().await?.context("a ledger")?;
    document["certificates"].as_array_mut().context("a ledger has certificates")?.push(entry(ca));
    let pem = format!("{}\n{}", before["certificates.pem"].as_str().unwrap_or_default(), ca.pem());
    write_ledger(bundle, &json!({"certificates.pem": pem, "ledger.json": document.to_string()})).await
}

/// Somebody takes a CA out of the ledger.
async fn leave_out(bundle: &Rotating<'_>, ca: &Ca) -> Result<()> {
    let mut document = bundle.ledger().await?.context("a ledger")?;
    let certificates = document["certificates"].as_array_mut().context("a ledger has certificates")?;
    certificates.retain(|entry| entry["sha256"] != json!(ca.sha256()));
    write_ledger(bundle, &json!({"ledger.json": document.to_string()})).await
}

pub(crate) fn entry(ca: &Ca) -> Value {
    json!({"sha256": ca.sha256(), "subject": format!("CN={}", ca.name), "first": LONG_AGO, "everywhere": LONG_AGO,
        "left": Timestamp::now().to_string(), "origins": []})
}

/// A Bundle and a ledger, as a backup has it, of another Bundle of the same name.
async fn restore(bundle: &Rotating<'_>, cas: &[&Ca]) -> Result<()> {
    put_ledger(bundle, NAMESAKE, &pem(cas), &cas.iter().map(|ca| entry(ca)).collect::<Vec<_>>()).await?;
    bundle.annotate(&json!({"rootcast.dev/retain": "1h"})).await
}

/// Somebody creates the ledger of a Bundle with this uid, of this content.
pub(crate) async fn put_ledger(bundle: &Rotating<'_>, uid: &str, pem: &str, entries: &[Value]) -> Result<()> {
    let content = Fingerprint::of(pem.as_bytes()).to_string();
    let document = json!({"version": 1, "uid": uid, "content": content, "certificates": entries});
    put_ledger_data(bundle, &json!({"certificates.pem": pem, "ledger.json": document.to_string()})).await
}

/// Somebody creates the ledger of a Bundle with this data.
async fn put_ledger_data(bundle: &Rotating<'_>, data: &Value) -> Result<()> {
    let ledger = serde_json::from_value(json!({
        "metadata": {"name": ledger_name(&bundle.name), "labels": {"rootcast.dev/ledger": "bundle"}}, "data": data,
    }))?;
    bundle.ledgers().create(&PostParams::default(), &ledger).await?;
    Ok(())
}

/// A target of the Bundle, as a backup has it.
async fn put_target(bundle: &Rotating<'_>, cas: &[&Ca]) -> Result<()> {
    let metadata = json!({
        "name": bundle.name, "namespace": bundle.namespaces[0],
        "labels": {"trust.cert-manager.io/bundle": bundle.name},
    });
    let target = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {KEY: pem(cas)}});
    apply(&bundle.client, &target).await?;
    Ok(())
}
