//! Watches that end too soon, in the middle of a word, or cannot go on where they ended.

use std::time::Duration;

use anyhow::Result;
use rootcast_e2e::proxy::{Effect, On, Turns};

use crate::{crowd::Crowd, stage::shared};

/// How often watches are cut.
const PERIOD: Duration = Duration::from_secs(1);

#[tokio::test]
async fn with_every_watch_cut_each_second_nothing_is_missed_and_nothing_written_twice() -> Result<()> {
    let stage = shared().await;
    let mut crowd = Crowd::gather(&stage, "cut", 40).await?;
    for generation in 1..=6 {
        crowd.change(generation).await?;
        stage.proxy.cut(&On::watches());
        tokio::time::sleep(PERIOD).await;
    }
    crowd.join().await?;
    stage.proxy.cut(&On::watches());
    crowd.comes_to_rest(&stage, 6).await?;
    let (versions, requests) = (crowd.ledger().await?.targets.len(), crowd.requests().await?.len());
    assert!(requests == versions && versions <= 40 * 7 + 1, "{requests} requests, {versions} versions");
    stage.is_in_order().await
}

#[tokio::test]
async fn with_every_resumed_watch_expired_all_is_listed_anew_and_nothing_written_twice() -> Result<()> {
    let stage = shared().await;
    let crowd = Crowd::gather(&stage, "expired", 40).await?;
    let expired = stage.proxy.inject(On::resumes(), Turns::Each, Effect::expire());
    for generation in 1..=4 {
        crowd.change(generation).await?;
        stage.proxy.cut(&On::watches());
        tokio::time::sleep(PERIOD).await;
    }
    crowd.holds(4).await;
    assert!(expired.hits() > 0, "no watch was resumed");
    drop(expired);
    crowd.comes_to_rest(&stage, 4).await?;
    let (versions, requests) = (crowd.ledger().await?.targets.len(), crowd.requests().await?.len());
    assert!(requests == versions && versions <= 40 * 5, "{requests} requests, {versions} versions");
    stage.is_in_order().await
}

#[tokio::test]
async fn a_watch_that_ends_in_the_middle_of_a_line_is_taken_up_again() -> Result<()> {
    let stage = shared().await;
    let crowd = Crowd::gather(&stage, "torn", 40).await?;
    let torn = stage.proxy.inject(On::watches(), Turns::Each, Effect::CutLine(15));
    stage.proxy.cut(&On::watches());
    crowd.change(1).await?;
    crowd.holds(1).await;
    crowd.change(2).await?;
    crowd.holds(2).await;
    assert!(torn.hits() > 0, "no watch began");
    drop(torn);
    stage.proxy.cut(&On::watches());
    crowd.comes_to_rest(&stage, 2).await?;
    crowd.wrote_once_each(3, 0).await?;
    stage.is_in_order().await
}
