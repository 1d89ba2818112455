//! The wall clock of the process jumps. It leads all the time: the Lease is renewed by another clock.

use anyhow::{Result, ensure};
use jiff::{SignedDuration, Timestamp};
use rootcast_e2e::Clock;

use crate::{
    crowd::Crowd,
    stage::{Probes, Stage, Way, control_plane},
};

#[tokio::test]
async fn a_clock_that_jumps_by_an_hour_and_back_costs_nothing_and_stops_nothing() -> Result<()> {
    let control_plane = control_plane(&[]).await?;
    let clock = Clock::new(&control_plane)?;
    let stage = Stage::set(&control_plane, Way::Proxied, Some(&clock)).await?;
    let crowd = Crowd::gather(&stage, "hours", 100).await?;
    let probes = Probes::watch(&stage.controller);
    for (generation, hours) in [(1, 1), (2, -1), (3, 0)] {
        clock.jump(SignedDuration::from_hours(hours))?;
        let witness = Crowd::gather(&stage, &format!("witness-{generation}"), 1).await?;
        let ahead = witness.synced_since().await?.duration_since(Timestamp::now());
        ensure!((ahead - SignedDuration::from_hours(hours)).abs() < SignedDuration::from_mins(5), "ahead by {ahead}");
        assert_eq!(crowd.ledger().await?.targets.len(), 100 * generation, "nothing is written for a jump");

        // Now in the middle of a rollout.
        let before = stage.control_plane.revision().await?;
        crowd.change(generation).await?;
        crowd.is_under_way(before, 10).await?;
        clock.jump(SignedDuration::from_hours(-hours))?;
        crowd.comes_to_rest(&stage, generation).await?;
    }
    probes.were_well().await?;
    clock.jump(SignedDuration::ZERO)?;
    crowd.wrote_once_each(4, 0).await?;
    stage.is_in_order().await
}
