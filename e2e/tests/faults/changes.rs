//! Content that changes faster than it is rolled out, and Bundles that want to be rolled out at the same time.

use std::time::Duration;

use anyhow::Result;
use rootcast_e2e::{
    IDENTITY,
    proxy::{Effect, On, Turns},
};

use crate::{crowd::Crowd, stage::shared};

/// The most requests that a controller may have under way.
const IN_FLIGHT: usize = 32;

#[tokio::test]
async fn twenty_changes_within_two_seconds_cost_what_was_begun_and_one_write_for_each_target() -> Result<()> {
    const TARGETS: usize = 200;
    let stage = shared().await;
    let crowd = Crowd::gather(&stage, "hasty", TARGETS).await?;
    let slow = stage.proxy.inject(On::target_writes(), Turns::Each, Effect::Delay(Duration::from_millis(250)));
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    for generation in 1..=20 {
        pace.tick().await;
        crowd.change(generation).await?;
    }
    crowd.holds(20).await;
    drop(slow);
    crowd.comes_to_rest(&stage, 20).await?;

    let ledger = crowd.ledger().await?;
    let mut begun = TARGETS;
    for next in &ledger.source[1..] {
        let old = ledger.targets.iter().filter(|written| written.generation + 1 == next.generation);
        let (before, after): (Vec<_>, Vec<_>) = old.partition(|written| written.revision < next.revision);
        // Those under way, and those that began before the controller heard of the change and read it.
        assert!(after.len() <= 2 * IN_FLIGHT, "{} after generation {}", after.len(), next.generation);
        begun += before.len() + after.len();
    }
    let requests = crowd.requests().await?.len();
    println!("{requests} requests for {TARGETS} targets and 20 changes, {begun} begun");
    assert_eq!(requests, ledger.targets.len(), "each request is a new version");
    assert!(requests <= begun, "{requests} requests, {begun} begun");
    stage.is_in_order().await
}

#[tokio::test]
async fn a_small_bundle_does_not_wait_behind_two_with_a_thousand_targets() -> Result<()> {
    const TARGETS: usize = 1000;
    let stage = shared().await;
    let one = Crowd::gather(&stage, "one", TARGETS).await?;
    let other = one.among("other", "{crowd: one}", one.first(TARGETS)).await?;
    let small = Crowd::gather(&stage, "small", 10).await?;
    let mark = stage.control_plane.audit().mark().await?;
    tokio::try_join!(one.change(1), other.change(1))?;
    small.change(1).await?;
    small.holds(1).await;
    one.holds(1).await;
    other.holds(1).await;

    let mut writes = stage.control_plane.audit().writes_by(IDENTITY, mark).await?;
    writes.retain(|entry| entry.resource == "configmaps" && entry.code < 300);
    let is_small = |namespace: &str| namespace.starts_with("small-");
    let last = writes.iter().rposition(|entry| is_small(&entry.namespace)).expect("the small Bundle was written");
    let before = writes[..last].iter().filter(|entry| !is_small(&entry.namespace)).count();
    println!("{before} of {} other targets were written before the small Bundle was done", 2 * TARGETS);
    assert!(before <= 2 * TARGETS / 10, "{before} before the small Bundle");
    for crowd in [one, other, small] {
        crowd.wrote_once_each(2, 0).await?;
    }
    stage.is_in_order().await
}
