//! A live trust-manager on a real node, replaced by rootcast and back: `make switch`.
//!
//! It takes a checkout of trust-manager's public repository, so it is run where that is at hand. What it sees is recorded
//! in tests/switch, and replayed from there by `tests/switch.rs`.

mod peer;
mod recording;
mod stage;

use anyhow::{Result, ensure};
use rootcast_e2e::{CHART, scenario::certificate};

use crate::{peer::Peer, stage::Stage};

#[tokio::test(flavor = "multi_thread")]
async fn rootcast_takes_the_place_of_trust_manager_and_gives_it_back() -> Result<()> {
    let stage = Stage::set().await?;
    let peer = Peer::prepare(stage.node).await?;

    stage.helm("trust-manager is installed", &["install", peer::NAME, &peer.chart, "--values", "-"])?;
    peer.open_webhook(stage.node).await?;
    stage.populate().await?;
    stage.until_synced("it has written all targets").await;
    stage.record("trust-manager").await?;

    let watched = stage.watch_conditions();
    let ours = ["--reset-then-reuse-values", "--set", "nameOverride=trust-manager"];
    let image = ["--set", "image.repository=rootcast,image.tag=0.1.0"];
    let switch = [&["upgrade", peer::NAME, CHART], &ours[..], &image].concat();
    let mark = stage.mark().await?;
    stage.helm("rootcast's chart takes its place", &switch)?;
    stage.until_ours("and all Bundles have been looked at").await;
    stage.writes_nothing("the switch", mark).await?;
    stage.record("rootcast").await?;

    let mark = stage.mark().await?;
    stage.hand_back("nothing was written, so nothing is to be handed back", 0).await?;
    stage.helm("trust-manager is back", &["rollback", peer::NAME])?;
    peer.open_webhook(stage.node).await?;
    stage.until_theirs("and has looked at all Bundles").await?;
    stage.writes_nothing("the way back", mark).await?;
    stage.record("trust-manager-again").await?;
    watched.end("on both ways")?;

    stage.helm("rootcast comes once more", &switch)?;
    stage.until_ours("and looks at all Bundles").await;
    stage.change_source(&certificate("p384")).await?;
    stage.until_holding("it writes all targets anew", &certificate("p384")).await;
    stage.record("rootcast-wrote").await?;
    stage.hand_back("all targets of that source are handed back", stage::TENANTS).await?;
    stage.record("handed-back").await?;
    stage.helm("trust-manager is back once more", &["rollback", peer::NAME])?;
    peer.open_webhook(stage.node).await?;
    stage.until_theirs("and has looked at all Bundles").await?;
    stage.rename_key().await?;
    stage.until_renamed("it renames a key, and none is left behind").await;
    stage.record("renamed").await?;

    let mark = stage.mark().await?;
    let watched = stage.watch_conditions();
    let image_alone = [&["upgrade", peer::NAME, &peer.chart, "--reuse-values"], &image[..]].concat();
    stage.helm("rootcast's image alone, in trust-manager's own chart", &image_alone)?;
    peer.open_webhook(stage.node).await?;
    stage.until_ours("and all Bundles have been looked at").await;
    stage.writes_nothing("the switch of the image", mark).await?;
    watched.end("under its chart")?;
    let refused = stage.apply_nonsense()?;
    ensure!(refused.contains("trust.cert-manager.io"), "its webhook is answered: {refused}");
    stage.say(&format!("its webhook is answered by rootcast: {refused}"));
    Ok(())
}
