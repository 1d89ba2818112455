//! Ten times as many namespaces.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use http::Method;
use rootcast_e2e::Launch;
use serde_json::json;

use crate::{
    MANY, ROUNDS, SMALL, SOME,
    ground::{Costs, Ground},
    numbers::{float, median_by, millis_each, seconds},
    process::Used,
    raw::{self, Raw},
    report::{Report, Row, cost},
    stage::Stage,
    subject::LABEL,
    tally::{Board, Seen},
    wire,
};

/// Time and CPU per target, at most this many times those of a tenth.
const GOAL: f64 = 1.2;

/// In bytes, of each target more.
const RSS_GOAL: f64 = 1024.0;

/// How many labels are edited, one after the other.
const EDITS: usize = 20;

/// At most this much CPU of ours for each of them.
const CPU_GOAL_MILLIS: f64 = 5.0;

const NAME: &str = "small";

/// Measures a rollout at both sizes, and, if asked to, an edit at the larger one.
pub(crate) async fn many(launch: Launch<'_>, report: &mut Report) -> Result<()> {
    let mut stage = Stage::with_namespaces(SOME).await?;
    if report.circumstances.is_empty() {
        report.describe(&stage).await?;
    }
    let mut ground = Ground::begin(&stage, NAME, SMALL, launch).await?;
    let some = rollouts(&mut ground, report.in_flight).await?;
    ground.end().await?;

    stage.grow(MANY).await?;
    let mut ground = Ground::begin(&stage, NAME, SMALL, launch).await?;
    let many = rollouts(&mut ground, report.in_flight).await?;

    let [small, large] = [(&some, SOME), (&many, MANY)].map(|(size, count)| {
        let Used { time, cpu } = size.costs.used;
        [time, cpu.controller, size.raw].map(|time| millis_each(time, count))
    });
    let factor = |place: usize| large[place] / small[place];
    let rss = float(usize::try_from(many.rss.saturating_sub(some.rss))?) / float(MANY - SOME);
    report.add(Row {
        measure: "10,000 namespaces x 20 KB (--max-rollout-pause=0s)",
        goal: "time and CPU per target at most 1.2 x those at 1,000; at most 1 KB of RSS per target",
        measured: format!(
            "{:.2} s; time {:.2} x ({:.2} ms against {:.2} ms; the raw writer itself {:.2} x), our CPU {:.2} x ({:.3} ms against {:.3} ms), {rss:.0} bytes of RSS",
            seconds(many.costs.used.time),
            factor(0),
            large[0],
            small[0],
            factor(2),
            factor(1),
            large[1],
            small[1],
        ),
        met: factor(0) <= GOAL && factor(1) <= GOAL && rss <= RSS_GOAL,
        cost: cost(&many.costs.used, MANY, "target"),
        requests: many.costs.requests.to_string(),
    });
    edits(&mut ground, report).await?;
    ground.end().await
}

/// What is measured at one number of namespaces.
struct Size {
    /// The median rollout.
    costs: Costs,
    /// The median time of the raw writer's strategic merge patches, in turn with the rollouts.
    raw: Duration,
    /// The controller's memory after all of them.
    rss: u64,
}

async fn rollouts(ground: &mut Ground<'_>, in_flight: usize) -> Result<Size> {
    let stage = ground.stage;
    let mut raw = Raw::new(stage.client.clone(), stage.processes, &stage.owner, "raw", &stage.namespaces);
    raw.write(&raw::POST_JSON, &ground.subject.content, in_flight).await?;
    ground.settle().await?;
    let (mut rollouts, mut raws) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        rollouts.push(ground.rollout().await?);
        raws.push(raw.write(&raw::STRATEGIC_MERGE, &ground.subject.content, in_flight).await?.time);
        ground.settle().await?;
    }
    raw.write(&raw::DELETE, &ground.subject.content, in_flight).await?;
    ground.settle().await?;
    Ok(Size {
        costs: median_by(rollouts, |costs| costs.used.time),
        raw: median_by(raws, |time| *time),
        rss: ground.controller.rss()?,
    })
}

/// Somebody edits a label of one target after the other.
async fn edits(ground: &mut Ground<'_>, report: &mut Report) -> Result<()> {
    let costs = ground
        .costs(async |ground| {
            let stage = ground.stage;
            let mut longest = Duration::ZERO;
            for namespace in stage.namespaces.iter().step_by(MANY / EDITS) {
                let body = json!({"metadata": {"labels": {LABEL.0: "edited"}}}).to_string();
                let uri = format!("/api/v1/namespaces/{namespace}/configmaps/{NAME}?fieldManager=somebody");
                let patch = "application/merge-patch+json";
                let edited = wire::send(&stage.client, Method::PATCH, &uri, patch, None, body.into()).await;
                let edited: u64 = edited.context("editing a label")?.parse()?;
                let began = Instant::now();
                let mended = |board: &Board| {
                    let mended = |seen: &Seen| seen.version > edited && seen.label.as_deref() == Some(LABEL.1);
                    board.target(namespace).is_some_and(mended)
                };
                let mended = ground.subject.tally.until("the mended label", mended).await?;
                longest = longest.max(mended.saturating_duration_since(began));
            }
            Ok(longest)
        })
        .await?;
    let writes = costs.requests.target_writes;
    let ours = millis_each(costs.used.cpu.controller, EDITS);
    report.add(Row {
        measure: "one label edited on a target at 10,000 namespaces",
        goal: "1 write, under 5 ms of our CPU",
        measured: format!(
            "{EDITS} edits: {writes} writes, {ours:.1} ms of our CPU each, mended after at most {:.0} ms",
            millis_each(costs.used.time, 1)
        ),
        met: writes == EDITS && ours < CPU_GOAL_MILLIS,
        cost: cost(&costs.used, EDITS, "edit"),
        requests: costs.requests.to_string(),
    });
    Ok(())
}
