//! The API server or its store goes away in the middle of a rollout, or does without what a newer one has.

use std::time::Duration;

use anyhow::Result;
use rootcast_e2e::{IDENTITY, Mark};

use crate::{
    crowd::Crowd,
    stage::{Probes, Stage, Way, control_plane},
};

/// The most requests that a controller may have under way.
const IN_FLIGHT: usize = 32;

#[tokio::test]
async fn an_api_server_that_is_killed_and_comes_back_goes_on_with_the_rollout() -> Result<()> {
    let control_plane = control_plane(&[]).await?;
    let mut stage = Stage::set(&control_plane, Way::Direct, None).await?;
    let crowd = Crowd::gather(&stage, "killed", 200).await?;
    let probes = Probes::watch(&stage.controller);
    let synced_since = crowd.synced_since().await?;
    let before = control_plane.revision().await?;
    crowd.change(1).await?;
    crowd.is_under_way(before, 10).await?;
    control_plane.kill_api_server().await?;
    // A server that has just started knows no roles yet.
    stage.controller.expect_denials();
    // The controller tries in vain, more than once.
    tokio::time::sleep(Duration::from_secs(3)).await;
    control_plane.restart_api_server().await?;
    crowd.comes_to_rest(&stage, 1).await?;
    probes.were_well().await?;
    assert_eq!(
        crowd.synced_since().await?,
        synced_since,
        "what a server refuses before it knows any role is no outcome"
    );
    assert!(!stage.controller.logs()?.contains("not permitted"), "nor is it a lack of permissions");
    crowd.wrote_once_each(2, 2 * IN_FLIGHT).await
}

#[tokio::test]
async fn without_watch_list_and_with_an_etcd_that_stands_still_for_20_seconds_rollouts_end() -> Result<()> {
    let control_plane = control_plane(&["--feature-gates=WatchList=false"]).await?;
    let stage = Stage::set(&control_plane, Way::Direct, None).await?;
    let crowd = Crowd::gather(&stage, "still", 150).await?;
    let asked = control_plane.audit().since(Mark::default()).await?;
    let asked = asked.iter().filter(|entry| entry.user == IDENTITY && ["list", "watch"].contains(&&*entry.verb));
    assert!(asked.count() <= 30, "watches that cannot be streamed are listed, without end");

    let probes = Probes::watch(&stage.controller);
    let before = control_plane.revision().await?;
    crowd.change(1).await?;
    crowd.is_under_way(before, 10).await?;
    control_plane.freeze_etcd();
    tokio::time::sleep(Duration::from_secs(20)).await;
    control_plane.thaw_etcd();
    crowd.comes_to_rest(&stage, 1).await?;
    probes.were_well().await?;
    crowd.wrote_once_each(2, 4 * IN_FLIGHT).await?;
    stage.is_in_order().await
}
