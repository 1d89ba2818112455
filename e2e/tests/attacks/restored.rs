//! etcd is restored from a backup: versions that were seen come again, with other content.

use std::time::Duration;

use anyhow::{Result, ensure};
use http::Method;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::DeleteParams};
use rootcast_e2e::{
    Controller, Launch, eventually,
    scenario::{SOON, apply, bundle, certificate},
};
use serde_json::json;

use crate::stage::{BUNDLE, NEIGHBOUR, Stage, send_ok};

/// Short terms, so that a takeover takes seconds.
const ELECTION: [&str; 4] = [
    "--leader-elect=true",
    "--leader-election-namespace=cert-manager",
    "--leader-election-lease-duration=6s",
    "--leader-election-renew-deadline=4s",
];

/// How long there is no API server: too long for the leader.
const AWAY: Duration = Duration::from_secs(5);

/// How many writes are undone.
const LOST: usize = 500;

#[tokio::test]
async fn a_standby_goes_on_with_what_a_restored_backup_holds() -> Result<()> {
    let stage = Stage::set().await?;
    stage.site(&ELECTION).await?.end("before the backup").await?;
    let backup = stage.control_plane.backup().await?;

    let mut site = stage.site(&ELECTION).await?;
    let launch = Launch { args: &ELECTION, confined: true, ..Launch::default() };
    let mut standby = Controller::start_with(&stage.control_plane, launch).await?;
    let path = format!("/api/v1/namespaces/{NEIGHBOUR}/configmaps");
    send_ok(&site.client, Method::POST, &path, &json!({"metadata": {"name": "lost"}})).await?;
    for number in 0..LOST {
        let change = json!({"data": {"number": number.to_string()}});
        send_ok(&site.client, Method::PATCH, &format!("{path}/lost"), &change).await?;
    }
    site.serves().await;
    stage.control_plane.restore(&backup, AWAY).await?;
    site.controller.ended().await?;

    let targets = Api::<ConfigMap>::namespaced(site.client.clone(), NEIGHBOUR);
    ensure!(targets.get_opt("lost").await?.is_none(), "the backup holds what was written later");
    site.serves().await;
    targets.delete(BUNDLE, &DeleteParams::default()).await?;
    site.target_becomes_right(NEIGHBOUR).await;
    let spec = format!("{{sources: [{{inLine: {:?}}}], target: {{configMap: {{key: k}}}}}}", certificate("p384"));
    apply(&site.client, &bundle("later", &spec)).await?;
    eventually("a new Bundle is everywhere", SOON, async || targets.get("later").await.map_err(Into::into)).await;
    eventually("its status tells so", SOON, async || {
        let (status, message) = site.synced("later").await?;
        ensure!(status == "True", "{message}");
        Ok(())
    })
    .await;
    eventually("pods are injected", SOON, async || site.injects().await).await;
    standby.is_alive()?;
    site.injector.is_alive()?;
    Ok(())
}
