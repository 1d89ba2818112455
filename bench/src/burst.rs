//! The source changes many times during a rollout.

use std::time::Duration;

use anyhow::Result;
use tokio::time::interval;

use crate::{
    ground::Ground,
    numbers::seconds,
    report::{Report, Row, cost},
};

const CHANGES: usize = 20;

/// From the first of them to the last.
const WITHIN: Duration = Duration::from_secs(2);

pub(crate) async fn burst(ground: &mut Ground<'_>, report: &mut Report) -> Result<()> {
    let targets = ground.stage.namespaces.len();
    let in_flight = report.in_flight;
    let mut finished = 0;
    let costs = ground
        .costs(async |ground| {
            let began = ground.subject.change().await?;
            let hash = ground.subject.content.hash.clone();
            ground.subject.tally.until("a rollout", |board| board.holding(&hash) > targets / 20).await?;
            let mut pace = interval(WITHIN / u32::try_from(CHANGES)?);
            for _ in 0..CHANGES {
                pace.tick().await;
                let hash = ground.subject.content.hash.clone();
                ground.subject.change().await?;
                finished += ground.subject.tally.holding(&hash);
            }
            Ok(ground.subject.arrived().await? - began)
        })
        .await?;
    let writes = costs.requests.target_writes;
    // Writes that were in flight at a change could not be called back.
    let bound = targets + finished + CHANGES * in_flight;
    report.add(Row {
        measure: "20 source changes within 2 s during a rollout (--max-rollout-pause=0s)",
        goal: "writes at most targets + those already finished at each change; last content everywhere",
        measured: format!(
            "{writes} writes; bound {targets} + {finished} + {CHANGES} x {in_flight} in flight = {bound}; last content everywhere after {:.1} s",
            seconds(costs.used.time)
        ),
        met: writes <= bound,
        cost: cost(&costs.used, writes, "write"),
        requests: costs.requests.to_string(),
    });
    Ok(())
}
