//! Ten times as many namespaces.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use http::Method;
use serde_json::json;

use crate::{
    MANY, ROUNDS, SMALL, SOME,
    ground::{Costs, Ground},
    numbers::{float, median_by, millis_each, seconds},
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
pub(crate) async fn many(args: &[&str], report: &mut Report) -> Result<()> {
    let mut stage = Stage::with_namespaces(SOME).await?;
    if report.circumstances.is_empty() {
        report.describe(&stage).await?;
    }
    let mut ground = Ground::begin(&stage, NAME, SMALL, args).await?;
    let (some, some_rss) = rollouts(&mut ground).await?;
    ground.end().await?;

    stage.grow(MANY).await?;
    let mut ground = Ground::begin(&stage, NAME, SMALL, args).await?;
    let (many, many_rss) = rollouts(&mut ground).await?;

    let [time, more_time] = [(&some, SOME), (&many, MANY)].map(|(costs, count)| millis_each(costs.used.time, count));
    let [ours, more_ours] =
        [(&some, SOME), (&many, MANY)].map(|(costs, count)| millis_each(costs.used.cpu.controller, count));
    let rss = (float(usize::try_from(many_rss)?) - float(usize::try_from(some_rss)?)) / float(MANY - SOME);
    let factors = [more_time / time, more_ours / ours];
    report.rows.push(Row {
        measure: "10,000 namespaces x 20 KB",
        goal: "time and CPU per target at most 1.2 x those at 1,000; at most 1 KB of RSS per target",
        measured: format!(
            "{:.2} s; time {:.2} x ({more_time:.2} ms against {time:.2} ms), our CPU {:.2} x ({more_ours:.3} ms against {ours:.3} ms), {rss:.0} bytes of RSS",
            seconds(many.used.time),
            factors[0],
            factors[1],
        ),
        met: factors.iter().all(|factor| *factor <= GOAL) && rss <= RSS_GOAL,
        cost: cost(&many.used, MANY, "target"),
        requests: many.requests.to_string(),
    });
    edits(&mut ground, report).await?;
    ground.end().await
}

/// The median rollout, and the memory in use after all of them.
async fn rollouts(ground: &mut Ground<'_>) -> Result<(Costs, u64)> {
    let mut all = Vec::new();
    for _ in 0..ROUNDS {
        all.push(ground.rollout().await?);
    }
    Ok((median_by(all, |costs| costs.used.time), ground.controller.rss()?))
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
    report.rows.push(Row {
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
