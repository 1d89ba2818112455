//! A source changes: how soon all targets follow, beside the raw writer in turn with it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use crate::{
    LARGE, ROUNDS,
    ground::Ground,
    material::Material,
    numbers::{mebibytes, median_by, ratio, seconds},
    process::{Used, rss},
    raw::{self, Effect, Raw, Verb},
    report::{RawRow, Report, Row, cost},
    stage::Stage,
};

/// Concurrent requests to compare.
const LEVELS: [usize; 4] = [4, 8, 16, 32];

/// At most this many times the fastest raw writer of JSON.
const GOAL: f64 = 1.15;

/// The raw writers of a stage and what each verb took.
pub(crate) struct Raws<'a> {
    plain: Raw<'a>,
    /// Objects that know only server-side apply.
    applied: Raw<'a>,
    material: Material,
    number: usize,
    in_flight: usize,
    samples: BTreeMap<&'static str, Vec<Used>>,
}

impl<'a> Raws<'a> {
    /// Writers of about `bytes` to each namespace of a stage.
    pub(crate) async fn begin(stage: &'a Stage, bytes: usize, in_flight: usize) -> Result<Self> {
        let raw = |name| Raw::new(stage.client.clone(), stage.processes, &stage.owner, name, &stage.namespaces);
        let (plain, mut applied) = (raw("raw"), raw("raw-applied"));
        let material = Material::of(bytes)?;
        applied.write(&raw::APPLY, &material.content(0)?, in_flight).await?;
        Ok(Self { plain, applied, material, number: 0, in_flight, samples: BTreeMap::new() })
    }

    /// Every verb once.
    pub(crate) async fn round(&mut self, stage: &Stage) -> Result<()> {
        for verb in raw::ROUND {
            self.number += 1;
            let content = self.material.content(self.number)?;
            let raw = if verb.effect == Effect::Apply { &mut self.applied } else { &mut self.plain };
            let used = raw.write(verb, &content, self.in_flight).await?;
            if verb.effect != Effect::Delete {
                raw.verify(&content).await?;
            }
            self.samples.entry(verb.name).or_default().push(used);
            stage.quiet().await?;
        }
        Ok(())
    }

    /// The medians so far.
    pub(crate) fn rows(&self, stage: &Stage) -> Vec<RawRow> {
        // What comes last has its place there.
        let verbs = raw::ROUND
            .iter()
            .enumerate()
            .filter(|(place, verb)| !raw::ROUND[place + 1..].iter().any(|later| later.name == verb.name));
        let row = |verb: &'static Verb| {
            let samples = self.samples.get(verb.name)?.clone();
            let used = median_by(samples, |used| used.time);
            Some(RawRow { verb, in_flight: self.in_flight, used, count: stage.namespaces.len() })
        };
        verbs.filter_map(|(_, verb)| row(verb)).collect()
    }
}

/// The raw writer without the product.
pub(crate) async fn raw_only(stage: &Stage, report: &mut Report) -> Result<()> {
    let mut raws = Raws::begin(stage, LARGE, report.in_flight).await?;
    for _ in 0..ROUNDS {
        raws.round(stage).await?;
    }
    report.raw = raws.rows(stage);
    Ok(())
}

/// The raw writer with more and more requests in flight.
pub(crate) async fn concurrency(stage: &Stage, report: &mut Report) -> Result<()> {
    let mut raw = Raw::new(stage.client.clone(), stage.processes, &stage.owner, "raw", &stage.namespaces);
    let material = Material::of(LARGE)?;
    raw.write(&raw::POST_JSON, &material.content(0)?, LEVELS[0]).await?;
    let mut samples = BTreeMap::<_, Vec<_>>::new();
    let mut number = 0;
    for _ in 0..ROUNDS {
        for in_flight in LEVELS {
            for (place, verb) in [&raw::PUT_PROTOBUF, &raw::STRATEGIC_MERGE].into_iter().enumerate() {
                number += 1;
                let used = raw.write(verb, &material.content(number)?, in_flight).await?;
                let memory = mebibytes(rss(std::process::id())?);
                eprintln!("{} {in_flight}: {:.2} s, writer {memory:.1} MiB", verb.name, seconds(used.time));
                samples.entry((place, in_flight)).or_default().push((verb, used));
                stage.quiet().await?;
            }
        }
    }
    let row = |((_, in_flight), samples): (_, Vec<(&'static Verb, Used)>)| {
        let (verb, used) = median_by(samples, |(_, used)| used.time);
        RawRow { verb, in_flight, used, count: stage.namespaces.len() }
    };
    report.raw.extend(samples.into_iter().map(row));
    Ok(())
}

/// Both in turn.
pub(crate) async fn update(ground: &mut Ground<'_>, report: &mut Report) -> Result<()> {
    let stage = ground.stage;
    let mut raws = Raws::begin(stage, LARGE, report.in_flight).await?;
    let mut rollouts = Vec::new();
    for _ in 0..ROUNDS {
        raws.round(stage).await?;
        rollouts.push(ground.rollout().await?);
    }
    report.raw = raws.rows(stage);
    let fastest = |protobuf: bool| {
        let updates = report.raw.iter().filter(|row| row.verb.is_update() && (protobuf || row.verb.is_json()));
        updates.min_by_key(|row| row.used.time).context("there are updates")
    };
    let (json, any) = (fastest(false)?, fastest(true)?);
    let rollout = median_by(rollouts, |rollout| rollout.used.time);
    let time = rollout.used.time;
    let factor = ratio(time, json.used.time);
    let measured = format!(
        "{:.2} s = {factor:.2} x {} ({:.2} s), {:.2} x {} ({:.2} s); CPU of all programs {:.2} x and {:.2} x",
        seconds(time),
        json.verb.name,
        seconds(json.used.time),
        ratio(time, any.used.time),
        any.verb.name,
        seconds(any.used.time),
        ratio(rollout.used.cpu.of_all(), json.used.cpu.of_all()),
        ratio(rollout.used.cpu.of_all(), any.used.cpu.of_all()),
    );
    report.add(Row {
        measure: "source change -> last of 1,000 targets updated (--max-rollout-pause=0s)",
        goal: "at most 1.15 x the fastest JSON raw writer (below 1.0 with protobuf)",
        measured,
        met: factor <= GOAL,
        cost: cost(&rollout.used, stage.namespaces.len(), "target"),
        requests: rollout.requests.to_string(),
    });
    Ok(())
}
