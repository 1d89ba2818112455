//! A namespace is created: how soon its target is there, beside one raw create in turn with it.

use std::time::{Duration, Instant};

use anyhow::Result;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::DeleteParams};

use crate::{
    ground::Ground,
    numbers::{median_by, millis_each, ratio},
    raw::{self, Raw},
    report::{Report, Row, cost},
    stage::create,
    tally::Board,
};

const COUNT: usize = 30;

/// At most this many times one raw create.
const GOAL: f64 = 2.0;

/// At most this much CPU of ours for each.
const CPU_GOAL_MILLIS: f64 = 5.0;

pub(crate) async fn namespaces(ground: &mut Ground<'_>, report: &mut Report) -> Result<()> {
    let stage = ground.stage;
    let api = Api::<Namespace>::all(stage.control_plane.client());
    let mut waits = Vec::new();
    let mut creates = Vec::new();
    let raw_namespaces = &stage.namespaces[..COUNT];
    let mut raw = Raw::new(stage.client.clone(), stage.processes, &stage.owner, "raw-single", raw_namespaces);
    let content = ground.subject.content.clone();
    let costs = ground
        .costs(async |ground| {
            for number in 0..COUNT {
                creates.push(raw.write_one(&raw::POST_JSON, &content, number).await?);
                waits.push(one(ground, &api, number).await?);
            }
            Ok(Duration::ZERO)
        })
        .await?;
    let (wait, create) = (median_by(waits, |wait| *wait), median_by(creates, |create| *create));
    let factor = ratio(wait, create);
    let ours = millis_each(costs.used.cpu.controller, COUNT);
    let (writes, reads) = (costs.requests.target_writes, costs.requests.target_reads);
    report.add(Row {
        measure: "namespace created -> its target is there",
        goal: "median at most 2 x one raw create; 1 write, 0 reads of targets, under 5 ms of our CPU",
        measured: format!(
            "{:.1} ms = {factor:.2} x one raw create ({:.1} ms); {COUNT} namespaces: {writes} writes, {reads} reads; {ours:.1} ms of our CPU each",
            millis_each(wait, 1),
            millis_each(create, 1),
        ),
        met: factor <= GOAL && writes == COUNT && reads == 0 && ours < CPU_GOAL_MILLIS,
        cost: cost(&costs.used, COUNT, "namespace"),
        requests: costs.requests.to_string(),
    });
    for number in 0..COUNT {
        raw.write_one(&raw::DELETE, &content, number).await?;
    }
    remove(ground, &api, COUNT).await
}

/// Creates a namespace; how long it takes until its target is there.
pub(crate) async fn one(ground: &Ground<'_>, api: &Api<Namespace>, number: usize) -> Result<Duration> {
    let name = name(number);
    create(api, &name).await?;
    let began = Instant::now();
    let there = ground.subject.tally.until(&name, |board| board.target(&name).is_some()).await?;
    // The event may even come before the answer to the creation.
    Ok(there.saturating_duration_since(began))
}

/// Deletes the first `count` of these namespaces, and waits until all is quiet.
pub(crate) async fn remove(ground: &Ground<'_>, api: &Api<Namespace>, count: usize) -> Result<()> {
    for number in 0..count {
        api.delete(&name(number), &DeleteParams::default()).await?;
    }
    let gone = |board: &Board| (0..count).all(|number| board.target(&name(number)).is_none());
    ground.subject.tally.until("the end of these namespaces", gone).await?;
    ground.settle().await
}

fn name(number: usize) -> String {
    format!("late-{number:02}")
}
