//! Three Bundles in every namespace: how much memory, and what a restart costs.

use std::time::Duration;

use anyhow::Result;
use futures::future::try_join_all;

use crate::{
    LARGE, ROUNDS,
    ground::Ground,
    numbers::{mebibytes, median_by, seconds},
    report::{Report, Row, cost},
    subject::Subject,
};

/// In MiB: idle, and at the peak of a rollout.
const GOAL: [f64; 2] = [16.0, 24.0];

/// How soon a restarted controller is ready.
const READY_GOAL: Duration = Duration::from_secs(2);

/// Memory and restart; returns the ground with the Bundles in place.
pub(crate) async fn memory<'a>(mut ground: Ground<'a>, report: &mut Report) -> Result<Ground<'a>> {
    let stage = ground.stage;
    let mut more = Vec::new();
    for name in ["second", "third"] {
        more.push(Subject::begin(stage, name, LARGE).await?);
    }
    try_join_all(more.iter().map(Subject::arrived)).await?;
    ground.settle().await?;

    let mut restarts = Vec::new();
    for _ in 0..ROUNDS {
        let ready;
        let mark = stage.control_plane.audit().mark().await?;
        (ground, ready) = ground.restart().await?;
        let costs = ground.costs(async |_| Ok(ready)).await?;
        restarts.push((ready, crate::requests::Requests::since(&stage.control_plane, mark).await?, costs.used));
    }
    let writes = restarts.iter().map(|(_, requests, _)| requests.writes()).max().unwrap_or_default();
    let (ready, requests, used) = median_by(restarts, |(ready, ..)| *ready);
    let targets = stage.namespaces.len() * 3;
    report.rows.push(Row {
        measure: "restart, 3,000 targets in sync",
        goal: "0 writes; ready in 2 s",
        measured: format!("{writes} writes; ready in {:.2} s", seconds(ready)),
        met: writes == 0 && ready <= READY_GOAL,
        cost: cost(&used, 1, "restart"),
        requests: requests.to_string(),
    });

    // The controller is fresh: nothing but its start has used memory.
    let before = ground.controller.rss()?;
    let start = ground.controller.peak_rss()?;
    let costs = ground
        .costs(async |ground| {
            let began = ground.subject.change().await?;
            for subject in &mut more {
                subject.change().await?;
            }
            let mut last = ground.subject.arrived().await?;
            for subject in &more {
                last = last.max(subject.arrived().await?);
            }
            Ok(last - began)
        })
        .await?;
    let [before, start, after, peak] =
        [before, start, ground.controller.rss()?, ground.controller.peak_rss()?].map(mebibytes);
    report.rows.push(Row {
        measure: "RSS, 1,000 namespaces x 3 Bundles, idle / peak of a rollout",
        goal: "16 / 24 MiB",
        measured: format!(
            "{:.1} / {peak:.1} MiB (idle {before:.1} before and {after:.1} after the rollout; peak of the start {start:.1})",
            before.max(after)
        ),
        met: before.max(after) <= GOAL[0] && peak <= GOAL[1],
        cost: format!("{:.1} s for all; {}", seconds(costs.used.time), cost(&costs.used, targets, "target")),
        requests: costs.requests.to_string(),
    });
    Ok(ground)
}
