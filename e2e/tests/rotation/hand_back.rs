//! Back to trust-manager in the middle of a rotation.

use anyhow::{Result, ensure};

use crate::{
    program::{Told, rootcast},
    rotating::{Ca, Rotating, pem},
    stage::Stage,
};

#[tokio::test]
async fn hand_back_lists_what_trust_manager_would_drop_until_a_source_holds_it() -> Result<()> {
    let stage = Stage::shared().await;
    let [a, b] = &Ca::all(["A", "B"])?;
    let handed = Rotating::begin(stage.control_plane, "handed", 2, "1h", &[a]).await?;
    handed.is_settled(&[a]).await;
    handed.publish(&[b]).await?;
    handed.holds(&[a, b]).await;
    handed.says("Retiring", "True", "Held", &["CN=A"]).await;

    let told = rootcast(stage.control_plane, &["hand-back"]).await?;
    let drops = dropped(&told, "handed");
    ensure!(drops.len() == 1 && drops[0].contains("CN=A") && drops[0].contains(&a.sha256()[..8]), "{told:?}");
    let leaving = rootcast(stage.control_plane, &["status", "handed", "--leaving", "-o", "pem"]).await?;
    ensure!(leaving.code == Some(0) && leaving.out.contains(a.pem().trim()), "{leaving:?}");
    ensure!(!leaving.out.contains(b.pem().trim()), "{leaving:?}");

    // What trust-manager publishes are the sources.
    let since = stage.control_plane.revision().await?;
    handed.fill(&format!("{}\n{}", b.pem(), leaving.out)).await?;
    handed.says("Retiring", "False", "NothingLeaving", &[]).await;
    let told = rootcast(stage.control_plane, &["hand-back"]).await?;
    ensure!(dropped(&told, "handed").is_empty(), "nothing is leaving: {told:?}");
    ensure!(handed.targets().await?.values().all(|target| *target == pem(&[a, b])));
    ensure!(handed.contents(since, &[a, b]).await?.is_empty(), "no target is written for it");
    Ok(())
}

/// The lines about CAs of a Bundle that trust-manager would drop.
fn dropped<'a>(told: &'a Told, bundle: &str) -> Vec<&'a str> {
    let head = format!("Bundle {bundle}: trust-manager would drop what is in no source any more:");
    let lines = told.out.lines().chain(told.errors.lines()).skip_while(|line| *line != head).skip(1);
    lines.take_while(|line| line.starts_with("  CN=")).collect()
}
