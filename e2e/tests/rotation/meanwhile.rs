//! A request about a ledger is on its way, or is refused, and something else happens meanwhile.

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use kube::{Api, api::DeleteParams};
use rootcast::api::Bundle;
use rootcast_e2e::{
    eventually,
    proxy::{Effect, Fault, On, Turns},
    scenario::TRUST_NAMESPACE,
};
use serde_json::json;

use crate::{
    distrust::{distrust, distrusts, enforced, is_enforced},
    losses::{LONG_AGO, NAMESAKE, entry, put_ledger},
    rotating::{Ca, Rotating, SOON, ledger_name, pem},
    stage::{SETTLE, Stage},
};

/// Requests about the ledger of a Bundle, by its name.
fn about_ledger(bundle: &str) -> On {
    let path = format!("/api/v1/namespaces/{TRUST_NAMESPACE}/configmaps/{}", ledger_name(bundle));
    On::default().resource("configmaps").path(&path)
}

/// Waits until a fault has happened to so many requests.
async fn hits(fault: &Fault, number: usize) {
    eventually(&format!("{number} requests"), SOON, async || {
        ensure!(fault.hits() >= number, "{} so far", fault.hits());
        Ok(())
    })
    .await;
}

/// Deletes the Bundle. Returns once nobody finds it any more.
async fn delete(bundle: &Rotating<'_>) -> Result<()> {
    let bundles = Api::<Bundle>::all(bundle.client.clone());
    bundles.delete(&bundle.name, &DeleteParams::background()).await?;
    eventually("the Bundle is gone", SOON, async || {
        ensure!(bundles.get_metadata_opt(&bundle.name).await?.is_none(), "not yet");
        Ok(())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_bundle_that_is_deleted_while_its_ledger_is_read_leaves_its_name_to_the_next() -> Result<()> {
    let stage = Stage::shared().await;
    let a = &Ca::new("A")?;
    let freed = Rotating::prepare(stage.control_plane, "freed", 1, &[a]).await?;
    put_ledger(&freed, NAMESAKE, &a.pem(), &[entry(a)]).await?;
    stage.barrier.sync(&freed.client).await?;
    let read = stage.proxy.inject(about_ledger("freed").verbs(&["get"]), Turns::Each, Effect::Stall);
    freed.annotate(&json!({"rootcast.dev/retain": "1h"})).await?;
    hits(&read, 1).await;
    delete(&freed).await?;
    stage.barrier.sync(&freed.client).await?;
    drop(read);
    freed.annotate(&json!({"rootcast.dev/retain": "1h"})).await?;
    freed.holds(&[a]).await;
    freed.is_settled(&[a]).await;
    Ok(())
}

#[tokio::test]
async fn a_ca_that_is_denied_while_the_ledger_is_written_is_in_no_write_after_that() -> Result<()> {
    let stage = Stage::shared().await;
    let client = stage.control_plane.client();
    let [a, b] = &Ca::all(["A", "B"])?;
    let overtaken = Rotating::begin(stage.control_plane, "overtaken", 2, "1h", &[a]).await?;
    overtaken.is_settled(&[a]).await;
    let since = stage.control_plane.revision().await?;
    let written = stage.proxy.inject(about_ledger("overtaken").verbs(&["update"]), Turns::Each, Effect::Stall);
    overtaken.publish(&[a, b]).await?;
    hits(&written, 1).await;
    distrust(&client, "incident-5", &[json!({"sha256": a.sha256()})]).await?;
    eventually("the Distrust is seen, and not enforced", SOON, async || {
        let enforced = enforced(&client, "incident-5").await?;
        ensure!(enforced["reason"] == json!("Pending"), "{enforced}");
        ensure!(enforced["message"].as_str().is_some_and(|text| text.contains("Bundle overtaken")), "{enforced}");
        Ok(())
    })
    .await;
    drop(written);
    is_enforced(&client, "incident-5").await;
    ensure!(overtaken.targets().await?.values().all(|target| *target == b.pem()), "it was said too early");
    assert_eq!(overtaken.contents(since, &[a, b]).await?, overtaken.each(&["B"]));
    overtaken.forgets(a).await;
    distrusts(&client).delete("incident-5", &DeleteParams::default()).await?;
    Ok(())
}

#[tokio::test]
async fn a_bundle_that_is_created_anew_while_the_ledger_is_written_retains_nothing_of_the_one_before() -> Result<()> {
    let stage = Stage::shared().await;
    let [a, b] = &Ca::all(["A", "B"])?;
    let renewed = Rotating::begin(stage.control_plane, "renewed", 2, "1h", &[a]).await?;
    renewed.is_settled(&[a]).await;
    let written = stage.proxy.inject(about_ledger("renewed").verbs(&["update"]), Turns::Each, Effect::Stall);
    renewed.publish(&[b]).await?;
    hits(&written, 1).await;
    delete(&renewed).await?;
    renewed.annotate(&json!({"rootcast.dev/retain": "1h"})).await?;
    stage.barrier.sync(&renewed.client).await?;
    // What has left a Bundle that is younger than this would be gone at once.
    tokio::time::sleep(SETTLE).await;
    let since = stage.control_plane.revision().await?;
    drop(written);
    renewed.is_settled(&[b]).await;
    renewed.holds(&[b]).await;
    assert_eq!(renewed.entry(a).await?, None);
    for (namespace, contents) in renewed.contents(since, &[a, b]).await? {
        ensure!(!contents.contains(&"A+B".to_owned()), "{namespace}: {contents:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_ledger_that_comes_to_be_while_the_first_one_is_written_is_read_before_it_is_replaced() -> Result<()> {
    let stage = Stage::shared().await;
    let [a, b] = &Ca::all(["A", "B"])?;
    let surprised = Rotating::prepare(stage.control_plane, "surprised", 1, &[a]).await?;
    surprised.annotate(&json!({})).await?;
    surprised.holds(&[a]).await;
    let bundle = Api::<Bundle>::all(surprised.client.clone()).get(&surprised.name).await?;
    let created = On::target_writes().verbs(&["create"]).namespace(TRUST_NAMESPACE);
    let written = stage.proxy.inject(created, Turns::Each, Effect::Stall);
    surprised.annotate(&json!({"rootcast.dev/retain": "1h"})).await?;
    hits(&written, 1).await;
    // Others may create ledgers at the same time: this one's is on its way by now.
    stage.barrier.sync(&surprised.client).await?;
    put_ledger(&surprised, &bundle.metadata.uid.context("a uid")?, &a.pem(), &[entry(a)]).await?;
    drop(written);
    surprised.is_settled(&[a]).await;
    let remembered = surprised.entry(a).await?.context("A is remembered")?;
    assert_eq!((&remembered["first"], &remembered["everywhere"]), (&json!(LONG_AGO), &json!(LONG_AGO)));
    surprised.publish(&[b]).await?;
    surprised.holds(&[a, b]).await;
    Ok(())
}

#[tokio::test]
async fn a_ledger_that_may_not_be_read_is_said_to_be_so_and_read_again() -> Result<()> {
    let stage = Stage::shared().await;
    let [a, x] = &Ca::all(["A", "X"])?;
    let barred = Rotating::prepare(stage.control_plane, "barred", 1, &[a]).await?;
    put_ledger(&barred, NAMESAKE, &pem(&[a, x]), &[entry(a), entry(x)]).await?;
    stage.barrier.sync(&barred.client).await?;
    let refused = Effect::refuse(403, "Forbidden");
    let read = stage.proxy.inject(about_ledger("barred").verbs(&["get"]), Turns::First(2), refused);
    barred.annotate(&json!({"rootcast.dev/retain": "1h"})).await?;
    hits(&read, 2).await;
    barred.holds(&[a]).await;
    assert_eq!(read.hits(), 2);
    let log = stage.controller.logs()?;
    let said = log.lines().filter(|line| line.contains("ledger or targets not read") && line.contains("barred"));
    assert_eq!(said.count(), 2);
    Ok(())
}

#[tokio::test]
async fn a_status_of_a_distrust_that_cannot_be_written_is_tried_again_after_a_pause_each_time() -> Result<()> {
    const REFUSED: usize = 2;
    let stage = Stage::shared().await;
    let client = stage.control_plane.client();
    let strangers = Ca::all(["X", "Y"])?;
    let names = ["incident-6", "incident-7"];
    let about = |name: &str| On::writes().path(&format!("/apis/rootcast.dev/v1alpha1/distrusts/{name}/status"));
    let _refused = names.map(|name| {
        let refuse = Effect::refuse(500, "InternalError");
        stage.proxy.inject(about(name), Turns::First(REFUSED), refuse)
    });
    let distrusted = names.iter().zip(&strangers).map(async |(name, stranger)| {
        distrust(&client, name, &[json!({"sha256": stranger.sha256()})]).await?;
        is_enforced(&client, name).await;
        anyhow::Ok(())
    });
    try_join_all(distrusted).await?;
    stage.barrier.sync(&client).await?;
    for name in names {
        let tried = stage.proxy.exchanges(&about(name));
        let pauses: Vec<_> = tried[..=REFUSED].windows(2).map(|pair| pair[1].came - pair[0].came).collect();
        ensure!(pauses.iter().all(|pause| pause.as_millis() >= 400), "{name}: {pauses:?}");
        distrusts(&client).delete(name, &DeleteParams::default()).await?;
    }
    Ok(())
}
