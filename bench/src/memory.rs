//! Three Bundles in every namespace: how much memory, and what a restart costs.

use std::time::Duration;

use anyhow::Result;
use futures::future::try_join_all;

use crate::{
    LARGE, ROUNDS,
    ground::{Costs, Ground},
    numbers::{mebibytes, median_by, seconds},
    process::Used,
    report::{Report, Row, cost},
    requests::Requests,
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
        let mark = stage.control_plane.audit().mark().await?;
        let start = stage.processes.usage()?;
        let time;
        (ground, time) = ground.restart().await?;
        ground.settle().await?;
        let mut used = Used { time, ..stage.processes.since(&start)? };
        used.cpu.controller = ground.cpu_since_start()?;
        restarts.push(Costs { used, requests: Requests::since(&stage.control_plane, mark).await? });
    }
    let writes = restarts.iter().map(|costs| costs.requests.writes()).max().unwrap_or_default();
    let restart = median_by(restarts, |costs| costs.used.time);
    report.add(Row {
        measure: "restart, 3,000 targets in sync",
        goal: "0 writes; ready in 2 s",
        measured: format!("{writes} writes; ready in {:.2} s", seconds(restart.used.time)),
        met: writes == 0 && restart.used.time <= READY_GOAL,
        cost: cost(&restart.used, 1, "restart"),
        requests: restart.requests.to_string(),
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
    report.add(Row {
        measure: "RSS, 1,000 namespaces x 3 Bundles, idle / peak of a rollout (--max-rollout-pause=0s)",
        goal: "16 / 24 MiB",
        measured: format!(
            "{:.1} / {peak:.1} MiB (idle {before:.1} before and {after:.1} after the rollout; peak of the start {start:.1}); all 3,000 after {:.1} s",
            before.max(after),
            seconds(costs.used.time)
        ),
        met: before.max(after) <= GOAL[0] && peak <= GOAL[1],
        cost: cost(&costs.used, stage.namespaces.len() * 3, "target"),
        requests: costs.requests.to_string(),
    });
    Ok(ground)
}
