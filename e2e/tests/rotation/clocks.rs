//! Time: a clock that is wrong withdraws nothing, and what changes all the time comes to rest.

use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::SignedDuration;
use rootcast_e2e::{Clock, Controller, Launch, eventually};

use crate::{
    rotating::{Ca, Rotating, SOON, ledger_name},
    stage::{SETTLE, SETTLES, alone},
};

/// What the Bundle of the first scenario retains for.
const RETAIN: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_clock_that_is_40_days_ahead_or_an_hour_behind_withdraws_nothing() -> Result<()> {
    let control_plane = alone().await?;
    let clock = Clock::new(&control_plane)?;
    let launch = Launch { args: &[SETTLES], clock: Some(&clock), ..Launch::default() };
    let controller = Controller::start_with(&control_plane, launch).await?;
    let [a, b, c] = &Ca::all(["A", "B", "C"])?;
    let skewed = Rotating::begin(&control_plane, "skewed", 3, "2s", &[a]).await?;
    skewed.is_settled(&[a]).await;

    let since = control_plane.revision().await?;
    for (offset, swap, held) in
        [(SignedDuration::from_hours(40 * 24), b, &[a, b][..]), (SignedDuration::from_hours(-1), c, &[a, b, c])]
    {
        clock.jump(offset)?;
        skewed.publish(&[swap]).await?;
        skewed.holds(held).await;
        skewed.says("Retiring", "Unknown", "ClockSkew", &["CN=A"]).await;
        // By either clock all of it would be over.
        tokio::time::sleep(RETAIN + 2 * SETTLE).await;
        skewed.fill(&format!("{}\n# {offset}\n", swap.pem())).await?;
        skewed.says("Retiring", "Unknown", "ClockSkew", &["CN=A"]).await;
        skewed.holds(held).await;
    }
    assert_eq!(skewed.contents(since, &[a, b, c]).await?, skewed.each(&["A+B", "A+B+C"]));

    clock.jump(SignedDuration::ZERO)?;
    skewed.publish(&[c]).await?;
    skewed.holds(&[c]).await;
    skewed.says("Retiring", "False", "NothingLeaving", &[]).await;
    // Which of the two goes first, or whether both do at once, follows from when they left by which clock.
    for (namespace, contents) in skewed.contents(since, &[a, b, c]).await? {
        let [held @ .., last] = &contents[2..] else { panic!("{namespace}: {contents:?}") };
        assert!(last == "C" && held.iter().all(|content| content.ends_with("+C")), "{namespace}: {contents:?}");
    }
    controller.stop().await?;
    control_plane.finish().await
}

#[tokio::test]
async fn thirty_cas_in_a_row_cost_few_rollouts_and_all_but_the_last_are_gone_in_the_end() -> Result<()> {
    const CHANGES: usize = 30;
    const TARGETS: usize = 5;
    let control_plane = alone().await?;
    // So nothing is young, and each of them is retained.
    let controller = Controller::start(&control_plane, &["--settle=0s"]).await?;
    let first = Ca::new("first")?;
    let flapping = Rotating::begin(&control_plane, "flapping", TARGETS, "3s", &[&first]).await?;
    let mark = control_plane.audit().mark().await?;
    let since = control_plane.revision().await?;
    let cas: Vec<_> = (0..CHANGES).map(|_| Ca::new("next")).collect::<Result<_>>()?;
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    for ca in &cas {
        pace.tick().await;
        flapping.publish(&[ca]).await?;
    }
    let last = &cas[CHANGES - 1];
    flapping.holds(&[last]).await;
    flapping.says("Retiring", "False", "NothingLeaving", &[]).await;
    eventually("only the last is remembered", SOON, async || {
        let ledger = flapping.ledger().await?.unwrap_or_default();
        let count = ledger["certificates"].as_array().map_or(0, Vec::len);
        ensure!(count == 1, "{count} are");
        Ok(())
    })
    .await;

    let writes = flapping.writes(mark).await?;
    let (ledger, targets): (Vec<_>, Vec<_>) = writes.iter().partition(|write| write.name == ledger_name("flapping"));
    let rollouts = targets.len() / TARGETS;
    println!("{CHANGES} changes: {rollouts} rollouts, {} writes of the ledger", ledger.len());
    // Three at once, one after each pause of 1, 2, 4, … seconds.
    ensure!(rollouts <= 8, "{rollouts} rollouts");
    ensure!(ledger.len() <= 2 * rollouts, "{} writes of the ledger for {rollouts} rollouts", ledger.len());
    // The first stays until the last but one rollout: it has left first, and nothing goes before its time.
    let contents = flapping.contents(since, &[&first, last]).await?;
    for (namespace, contents) in contents {
        let gone = contents.iter().position(|content| !content.contains("first")).unwrap_or_default();
        ensure!(
            gone > 0 && contents[gone..].iter().all(|content| !content.contains("first")),
            "{namespace}: {contents:?}"
        );
    }
    controller.stop().await?;
    control_plane.finish().await
}
