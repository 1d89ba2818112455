//! The controller is killed, or another takes over from it, in the middle of a rotation.

use std::{env, time::Duration};

use anyhow::{Context as _, Result, ensure};
use rootcast_e2e::{
    Controller, Exit, Launch, eventually,
    proxy::{Effect, On, Proxy, Turns},
    scenario::TRUST_NAMESPACE,
};

use crate::{
    rotating::{Ca, Rotating, SOON},
    stage::{SETTLES, alone},
};

/// So many targets make a rotation of 20 writes: the ledger, the targets, the ledger, and all of that once more.
const TARGETS: usize = 8;

/// The writes of a rotation at which the controller is killed, counted from 1, unless `KILL_POINTS` says up to which:
/// before the ledger is written, between two targets, and while the old CA is withdrawn.
const POINTS: [usize; 3] = [1, 5, 15];

/// Longer than any scenario.
const NEVER: Duration = Duration::from_hours(1);

/// Short terms, so that a takeover takes seconds.
const ELECTION: [&str; 5] = [
    SETTLES,
    "--leader-elect=true",
    "--leader-election-namespace=cert-manager",
    "--leader-election-lease-duration=4s",
    "--leader-election-renew-deadline=3s",
];

#[tokio::test]
async fn a_controller_that_is_killed_at_any_write_loses_no_ca_and_its_successor_ends_the_rotation() -> Result<()> {
    let control_plane = alone().await?;
    let proxy = Proxy::start(&control_plane)?;
    let start = async || Controller::start_through(&control_plane, &proxy, &[SETTLES]).await;
    let mut controller = start().await?;
    let mut old = Ca::new("old")?;
    let killed = Rotating::begin(&control_plane, "killed", TARGETS, "2s", &[&old]).await?;
    for point in points()? {
        let new = Ca::new("new")?;
        killed.is_settled(&[&old]).await;
        let since = control_plane.revision().await?;
        let reached = proxy.inject(On::target_writes(), Turns::Nth(point), Effect::Delay(NEVER));
        killed.publish(&[&new]).await?;
        eventually(&format!("write {point}"), SOON, async || {
            ensure!(reached.hits() == 1, "{} writes so far", proxy.count(&On::target_writes()));
            Ok(())
        })
        .await;
        controller.kill().await?;
        drop(reached);
        let mut writes = proxy.exchanges(&On::target_writes());
        let last = writes.iter().rposition(|write| write.faulted).context("a write was held")?;
        let request = writes.swap_remove(last).request;
        println!("killed at write {point}: {} {} in {}", request.verb, request.name, request.namespace);

        controller = start().await?;
        killed.holds(&[&new]).await;
        killed.forgets(&old).await;
        killed.says("Retiring", "False", "NothingLeaving", &[]).await;
        let contents = killed.contents(since, &[&old, &new]).await?;
        assert_eq!(contents, killed.each(&["old+new", "new"]), "killed at write {point}");
        killed.remembered_before_it_wrote(&[&old, &new]).await?;
        old = Ca { name: "old", ..new };
    }
    controller.stop().await?;
    control_plane.finish().await
}

fn points() -> Result<Vec<usize>> {
    match env::var("KILL_POINTS") {
        Ok(last) => Ok((1..=last.parse().context("KILL_POINTS is a number")?).collect()),
        Err(_) => Ok(POINTS.to_vec()),
    }
}

#[tokio::test]
async fn a_plan_of_a_leader_that_stood_still_is_refused_when_it_arrives_and_shrinks_no_target() -> Result<()> {
    let control_plane = alone().await?;
    let proxies = [Proxy::start(&control_plane)?, Proxy::start(&control_plane)?];
    let replica = async |proxy| {
        let launch = Launch { args: &ELECTION, through: Some(proxy), ..Launch::default() };
        Controller::start_with(&control_plane, launch).await
    };
    let mut first = replica(&proxies[0]).await?;
    let [a, b, c] = &Ca::all(["A", "B", "C"])?;
    let contested = Rotating::begin(&control_plane, "contested", 4, "1h", &[a]).await?;
    contested.is_settled(&[a]).await;
    let second = replica(&proxies[1]).await?;

    let since = control_plane.revision().await?;
    let ledger_writes = On::target_writes().namespace(TRUST_NAMESPACE);
    let before = proxies[0].exchanges(&ledger_writes).len();
    let on_its_way = proxies[0].inject(ledger_writes.clone(), Turns::Each, Effect::Stall);
    contested.publish(&[b]).await?;
    eventually("the leader writes the ledger", SOON, async || {
        ensure!(on_its_way.hits() > 0, "not yet");
        Ok(())
    })
    .await;
    first.freeze();
    contested.holds(&[a, b]).await;
    contested.publish(&[b, c]).await?;
    contested.holds(&[a, b, c]).await;

    drop(on_its_way);
    eventually("what the first leader planned arrives, and is refused", SOON, async || {
        let late = &proxies[0].exchanges(&ledger_writes)[before..];
        let codes: Vec<_> = late.iter().map(|write| write.answer.map(|(code, _)| code)).collect();
        ensure!(codes == [Some(409)], "{codes:?}");
        Ok(())
    })
    .await;
    first.thaw();
    assert_eq!(tokio::time::timeout(SOON, first.ended()).await.context("it goes on")??, Exit::Code(1));
    assert_eq!(proxies[0].exchanges(&ledger_writes).len(), before + 1, "it wrote again");
    assert_eq!(contested.contents(since, &[a, b, c]).await?, contested.each(&["A+B", "A+B+C"]));
    contested.remembered_before_it_wrote(&[a, b, c]).await?;
    drop(first);
    second.stop().await?;
    control_plane.finish().await
}
