//! A CA leaves the sources: it stays, and goes when nothing needs it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use kube::api::DeleteParams;
use rootcast_e2e::{Controller, eventually};
use serde_json::json;

use crate::{
    rotating::{Ca, Rotating, SOON, ledger_name},
    stage::{SETTLES, Stage, alone},
};

#[tokio::test]
async fn a_ca_that_is_replaced_stays_until_its_successor_has_settled_and_then_goes_in_one_write() -> Result<()> {
    const TARGETS: usize = 50;
    let stage = Stage::shared().await;
    let [a, b, c] = &Ca::all(["A", "B", "C"])?;
    let replaced = Rotating::begin(stage.control_plane, "replaced", TARGETS, "5s", &[a]).await?;
    replaced.is_settled(&[a]).await;
    stage.barrier.sync(&replaced.client).await?;
    let all = TARGETS.to_string();

    let (since, mark) = (stage.control_plane.revision().await?, stage.control_plane.audit().mark().await?);
    replaced.publish(&[a, c]).await?;
    replaced.is_settled(&[a, c]).await;
    stage.barrier.sync(&replaced.client).await?;
    assert_eq!(replaced.contents(since, &[a, b, c]).await?, replaced.each(&["A+C"]));
    assert_eq!(replaced.steps(mark).await?, ["ledger", &*all, "ledger"], "a CA is added");

    let (since, mark) = (stage.control_plane.revision().await?, stage.control_plane.audit().mark().await?);
    replaced.publish(&[b, c]).await?;
    replaced.tells("CertificateLeaving", &["CN=A", &a.sha256()]).await;
    replaced.holds(&[b, c]).await;
    replaced.tells("CertificateWithdrawn", &["CN=A", &a.sha256()]).await;
    replaced.forgets(a).await;
    replaced.says("Retiring", "False", "NothingLeaving", &[]).await;
    replaced.is_settled(&[b, c]).await;
    stage.barrier.sync(&replaced.client).await?;

    assert_eq!(replaced.contents(since, &[a, b, c]).await?, replaced.each(&["A+B+C", "B+C"]));
    let steps = replaced.steps(mark).await?;
    assert_eq!(steps, ["ledger", &*all, "ledger", "ledger", &*all, "ledger"], "a CA is replaced");
    replaced.remembered_before_it_wrote(&[a, b, c]).await
}

#[tokio::test]
async fn a_ca_that_returns_is_as_if_it_had_never_left_and_a_deleted_ledger_is_written_again() -> Result<()> {
    let stage = Stage::shared().await;
    let [a, b] = &Ca::all(["A", "B"])?;
    let returning = Rotating::begin(stage.control_plane, "returning", 3, "1h", &[a]).await?;
    returning.is_settled(&[a]).await;
    let everywhere = returning.entry(a).await?.context("it is remembered")?["everywhere"].clone();
    returning.publish(&[b]).await?;
    returning.holds(&[a, b]).await;
    returning.says("Retiring", "True", "Held", &["CN=A", &a.sha256()]).await;
    returning.is_settled(&[a, b]).await;
    let left = returning.leaves(a).await;

    returning.ledgers().delete(&ledger_name("returning"), &DeleteParams::default()).await?;
    assert_eq!(returning.leaves(a).await, left, "it is written again as it was");

    stage.barrier.sync(&returning.client).await?;
    let since = stage.control_plane.revision().await?;
    returning.publish(&[a, b]).await?;
    returning.tells("CertificateReturned", &["CN=A", &a.sha256()]).await;
    returning.says("Retiring", "False", "NothingLeaving", &[]).await;
    let entry = returning.entry(a).await?.context("it is remembered")?;
    assert_eq!((&entry["left"], &entry["everywhere"]), (&json!(null), &everywhere));
    returning.is_settled(&[a, b]).await;
    stage.barrier.sync(&returning.client).await?;
    assert_eq!(returning.contents(since, &[a, b]).await?, BTreeMap::new(), "no target is written");
    Ok(())
}

#[tokio::test]
async fn a_ca_that_was_pasted_by_mistake_goes_at_once_when_it_is_taken_back() -> Result<()> {
    let control_plane = alone().await?;
    let controller = Controller::start(&control_plane, &["--settle=1h"]).await?;
    let [a, wrong] = &Ca::all(["A", "wrong"])?;
    let pasted = Rotating::begin(&control_plane, "pasted", 3, "1h", &[a]).await?;
    let since = control_plane.revision().await?;
    pasted.publish(&[a, wrong]).await?;
    pasted.holds(&[a, wrong]).await;
    pasted.publish(&[a]).await?;
    pasted.holds(&[a]).await;
    pasted.tells("CertificateWithdrawn", &["CN=wrong", &wrong.sha256()]).await;
    pasted.forgets(wrong).await;
    assert_eq!(pasted.contents(since, &[a, wrong]).await?, pasted.each(&["A+wrong", "A"]));
    controller.stop().await?;
    control_plane.finish().await
}

#[tokio::test]
async fn retention_that_is_switched_off_lets_go_once_the_successor_is_everywhere_and_leaves_no_ledger() -> Result<()> {
    let stage = Stage::shared().await;
    let [a, b] = &Ca::all(["A", "B"])?;
    let ending = Rotating::begin(stage.control_plane, "ending", 3, "1h", &[a]).await?;
    ending.is_settled(&[a]).await;
    let since = stage.control_plane.revision().await?;
    ending.publish(&[b]).await?;
    ending.holds(&[a, b]).await;
    ending.annotate(&json!({})).await?;
    ending.holds(&[b]).await;
    assert_eq!(ending.contents(since, &[a, b]).await?, ending.each(&["A+B", "B"]));
    eventually("the ledger is gone", SOON, async || {
        let ledger = ending.ledger().await?;
        ensure!(ledger.is_none(), "{ledger:?}");
        Ok(())
    })
    .await;
    ending.says_nothing_of_retention().await;
    Ok(())
}

#[tokio::test]
async fn by_default_retain_what_says_nothing_retains_and_what_says_0s_does_not() -> Result<()> {
    let control_plane = alone().await?;
    let controller = Controller::start(&control_plane, &[SETTLES, "--default-retain=1h"]).await?;
    let [a, b] = &Ca::all(["A", "B"])?;
    let silent = Rotating::prepare(&control_plane, "silent", 2, &[a]).await?;
    let excepted = Rotating::prepare(&control_plane, "excepted", 2, &[a]).await?;
    silent.annotate(&json!({})).await?;
    excepted.annotate(&json!({"rootcast.dev/retain": "0s"})).await?;
    silent.holds(&[a]).await;
    silent.is_settled(&[a]).await;
    excepted.holds(&[a]).await;
    for rotating in [&silent, &excepted] {
        rotating.publish(&[b]).await?;
    }
    excepted.holds(&[b]).await;
    silent.holds(&[a, b]).await;
    silent.says("Retiring", "True", "Held", &["CN=A"]).await;
    assert_eq!(excepted.ledger().await?, None);
    excepted.says_nothing_of_retention().await;
    controller.stop().await?;
    control_plane.finish().await
}
