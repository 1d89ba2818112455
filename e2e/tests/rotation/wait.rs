//! `rootcast wait`: the gate before an issuer is switched.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use kube::api::DeleteParams;
use rootcast_e2e::ControlPlane;
use serde_json::json;

use crate::{
    distrust::{distrust, distrusts},
    policy,
    program::{Told, rootcast},
    rotating::{Ca, Rotating},
    stage::{SETTLE, Stage},
};

/// Waits for a CA of a Bundle.
async fn wait(control_plane: &ControlPlane, bundle: &str, ca: &Ca, until: &str, timeout: &str) -> Result<Told> {
    let bundle = format!("bundle/{bundle}");
    let arguments = ["wait", &bundle, "--certificate", &ca.sha256(), "--for", until, "--timeout", timeout];
    rootcast(control_plane, &arguments).await
}

#[tokio::test]
async fn wait_returns_when_a_ca_has_settled_and_when_another_is_retired_and_not_before() -> Result<()> {
    let stage = Stage::shared().await;
    let [a, b] = &Ca::all(["A", "B"])?;
    let awaited = Rotating::begin(stage.control_plane, "awaited", 3, "2s", &[a]).await?;
    awaited.is_settled(&[a]).await;

    let waiting = wait(stage.control_plane, "awaited", b, "settled", "60s");
    let publishing = async {
        // The certificate is unknown at first.
        tokio::time::sleep(Duration::from_millis(500)).await;
        awaited.publish(&[a, b]).await
    };
    let (settled, published) = tokio::join!(waiting, publishing);
    let returned = Timestamp::now();
    published?;
    let settled = settled?;
    ensure!(settled.code == Some(0), "{settled:?}");
    let everywhere = awaited.entry(b).await?.context("B is remembered")?["everywhere"].take();
    let everywhere: Timestamp = everywhere.as_str().context("B is everywhere")?.parse()?;
    ensure!(returned.duration_since(everywhere).unsigned_abs() >= SETTLE, "{returned}, everywhere since {everywhere}");
    ensure!(returned > everywhere, "{returned}, everywhere since {everywhere}");
    awaited.holds(&[a, b]).await;

    let waiting = wait(stage.control_plane, "awaited", a, "retired", "60s");
    let publishing = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        awaited.publish(&[b]).await
    };
    let (retired, published) = tokio::join!(waiting, publishing);
    published?;
    let targets = awaited.targets().await?;
    let retired = retired?;
    ensure!(retired.code == Some(0), "{retired:?}");
    ensure!(targets.values().all(|target| *target == b.pem()), "a target still holds A");
    Ok(())
}

#[tokio::test]
async fn wait_names_what_fails_and_what_cannot_come_and_says_where_nothing_retains() -> Result<()> {
    let stage = Stage::shared().await;
    let client = stage.control_plane.client();
    let [a, b, stranger] = &Ca::all(["A", "B", "stranger"])?;
    let failing = Rotating::begin(stage.control_plane, "failing", 2, "1h", &[a]).await?;
    failing.is_settled(&[a]).await;
    let frozen = &failing.namespaces[1];
    policy::freeze(stage.control_plane, frozen, "failing").await?;
    failing.publish(&[a, b]).await?;
    failing.says("Settled", "False", "TargetsFailing", &[frozen]).await;
    let told = wait(stage.control_plane, "failing", b, "settled", "3s").await?;
    ensure!(told.code == Some(1) && told.errors.contains(frozen), "{told:?}");
    let told = wait(stage.control_plane, "failing", a, "retired", "1s").await?;
    ensure!(told.code == Some(1) && told.errors.contains("failing-source"), "A is in a source: {told:?}");
    let told = wait(stage.control_plane, "failing", stranger, "retired", "1s").await?;
    ensure!(told.code == Some(0) && told.errors.contains("not in this bundle"), "{told:?}");
    policy::thaw(stage.control_plane, frozen, "failing")?;

    distrust(&client, "incident-4", &[json!({"sha256": stranger.sha256()})]).await?;
    failing.publish(&[a, b, stranger]).await?;
    failing.says("SourcesComplete", "False", "NeedsAttention", &["CN=stranger", "incident-4"]).await;
    let told = wait(stage.control_plane, "failing", stranger, "settled", "60s").await?;
    ensure!(told.code == Some(1) && told.errors.contains("incident-4"), "it never comes: {told:?}");
    distrusts(&client).delete("incident-4", &DeleteParams::default()).await?;

    let plain = Rotating::prepare(stage.control_plane, "plain", 1, &[a]).await?;
    plain.annotate(&json!({})).await?;
    plain.holds(&[a]).await;
    let told = wait(stage.control_plane, "plain", a, "settled", "60s").await?;
    ensure!(told.code == Some(2) && told.errors.contains("rootcast.dev/retain"), "{told:?}");
    let told = wait(stage.control_plane, "nobody", a, "settled", "60s").await?;
    ensure!(told.code == Some(2), "{told:?}");
    Ok(())
}
