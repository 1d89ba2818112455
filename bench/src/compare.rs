//! Two binaries in turn on one stage: what counts is the ratio of two measurements that follow one another, beside the
//! same ratio of one binary to itself.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use rootcast_e2e::{Launch, eventually};

use crate::{
    LARGE, SOME, create,
    ground::Ground,
    injector::{CONNECTIONS, Place, pin},
    numbers::{float, mebibytes, median_by, millis_each, seconds},
    stage::Stage,
};

/// How many pairs.
const PAIRS: usize = 5;

/// How many namespaces are created in each turn.
const NAMESPACES: usize = 10;

/// At most this many times as much, unless one binary beside itself differs by more.
const GOAL: f64 = 1.03;

/// A binary and its controller's flags.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    binary: PathBuf,
    flags: Vec<String>,
}

/// What is measured, each so that less is better.
const MEASURES: [&str; 5] = [
    "fan-out of 220 KB to 1,000 namespaces, s",
    "new namespace, ms",
    "restart, 1,000 targets in sync, s",
    "RSS of the controller after that, MiB",
    "review, CPU core time, µs",
];

/// One value of each measure.
type Sample = [f64; MEASURES.len()];

/// Who is measured in a turn: the first binary, the second, and the first once more.
const TURNS: [usize; 3] = [0, 1, 0];

/// Reads `--binary FILE FLAG... --binary FILE FLAG...`.
pub(crate) fn candidates(words: &[String]) -> Result<[Candidate; 2]> {
    let mut all: Vec<Candidate> = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match (word.as_str(), all.last_mut()) {
            ("--binary", _) => {
                let Some(binary) = words.next() else { bail!("--binary: a file is missing") };
                ensure!(Path::new(binary).is_file(), "--binary {binary}: there is no such file");
                all.push(Candidate { binary: PathBuf::from(binary).canonicalize()?, flags: Vec::new() });
            }
            (_, Some(last)) if word.starts_with('-') => last.flags.push(word.clone()),
            _ => bail!("{word}: neither --binary nor a flag of a binary's"),
        }
    }
    all.try_into().map_err(|all: Vec<_>| anyhow::anyhow!("two binaries are compared, and not {}", all.len()))
}

/// Measures both in turn, and prints what came of it.
pub(crate) async fn compare(candidates: &[Candidate; 2]) -> Result<()> {
    let mut samples = vec![[Sample::default(); TURNS.len()]; PAIRS];
    controllers(candidates, &mut samples).await?;
    injectors(candidates, &mut samples).await?;
    print!("{}", table(candidates, &samples));
    Ok(())
}

async fn controllers(candidates: &[Candidate; 2], samples: &mut [[Sample; TURNS.len()]]) -> Result<()> {
    let stage = Stage::with_namespaces(SOME).await?;
    let flags = candidates.each_ref().map(|one| one.flags.iter().map(String::as_str).collect::<Vec<_>>());
    let launch = |turn: usize| {
        let candidate = TURNS[turn];
        Launch { binary: Some(&candidates[candidate].binary), args: &flags[candidate], ..Launch::default() }
    };
    let namespaces = Api::<Namespace>::all(stage.control_plane.client());
    let mut ground = Ground::begin(&stage, "large", LARGE, launch(0)).await?;
    for (pair, sample) in samples.iter_mut().enumerate() {
        for turn in in_turn(pair) {
            let ready;
            (ground, ready) = ground.restart_as(launch(turn)).await?;
            ground.settle().await?;
            let rollout = ground.rollout().await?.used.time;
            let mut waits = Vec::new();
            for number in 0..NAMESPACES {
                waits.push(create::one(&ground, &namespaces, number).await?);
            }
            create::remove(&ground, &namespaces, NAMESPACES).await?;
            let namespace = millis_each(median_by(waits, |wait| *wait), 1);
            let rss = mebibytes(ground.controller.rss()?);
            sample[turn][..4].copy_from_slice(&[seconds(rollout), namespace, seconds(ready), rss]);
            eprintln!("pair {}, {}: {:.3?}", pair + 1, name(turn), &sample[turn][..4]);
        }
    }
    ground.end().await
}

async fn injectors(candidates: &[Candidate; 2], samples: &mut [[Sample; TURNS.len()]]) -> Result<()> {
    let stage = Stage::with_namespaces(0).await?;
    let control_plane = &stage.control_plane;
    let place = Place::prepare(control_plane).await?;
    let starts = TURNS.map(|candidate| {
        let binary = Some(candidates[candidate].binary.as_path());
        place.start_with(control_plane, Launch { binary, ..Launch::default() })
    });
    let injectors = try_join_all(starts).await?;
    // What goes on in a cluster is no part of this. Reviews come from another core.
    control_plane.freeze();
    control_plane.freeze_etcd();
    pin(std::process::id(), 1)?;
    for injector in &injectors {
        pin(injector.pid(), 0)?;
        let asker = place.asker(injector.port(), "/inject");
        eventually("pods are injected", Duration::from_secs(10), || asker.check()).await;
    }
    for (pair, sample) in samples.iter_mut().enumerate() {
        for turn in in_turn(pair) {
            let rate = place.asker(injectors[turn].port(), "/inject").rate(CONNECTIONS).await?;
            sample[turn][4] = 1e6 / rate;
            eprintln!("pair {}, {}: {rate:.0} reviews/s", pair + 1, name(turn));
        }
    }
    Ok(())
}

/// Each of them is the first as often as the last, as far as that goes.
fn in_turn(pair: usize) -> [usize; TURNS.len()] {
    if pair.is_multiple_of(2) { [0, 1, 2] } else { [2, 1, 0] }
}

fn name(turn: usize) -> &'static str {
    ["A", "B", "A'"][turn]
}

fn table(candidates: &[Candidate; 2], samples: &[[Sample; TURNS.len()]]) -> String {
    let mut text = String::new();
    for (name, Candidate { binary, flags }) in ["A", "B"].iter().zip(candidates) {
        writeln!(text, "- {name}: {} {}", binary.display(), flags.join(" ")).expect("a string takes all");
    }
    text +=
        "\n| measure | A | B | B / A of each pair | median | A' / A of each pair | |\n|---|--:|--:|---|--:|---|---|\n";
    for (place, measure) in MEASURES.iter().enumerate() {
        let mean = |turn: usize| samples.iter().map(|pair| pair[turn][place]).sum::<f64>() / float(samples.len());
        let ratios = |turn: usize| samples.iter().map(|pair| pair[turn][place] / pair[0][place]).collect::<Vec<_>>();
        let (other, itself) = (ratios(1), ratios(2));
        let median = middle(&other);
        // Which of the two comes first is nothing that they can help.
        let spread = itself.iter().map(|ratio| ratio.max(ratio.recip())).fold(0.0, f64::max);
        let verdict = if median <= GOAL {
            "met"
        } else if median <= spread {
            "inside the spread"
        } else {
            "**missed**"
        };
        let list = |ratios: &[f64]| ratios.iter().map(|ratio| format!("{ratio:.3}")).collect::<Vec<_>>().join(" ");
        writeln!(
            text,
            "| {measure} | {:.2} | {:.2} | {} | {median:.3} | {} | {verdict} |",
            mean(0),
            mean(1),
            list(&other),
            list(&itself),
        )
        .expect("a string takes all");
    }
    text
}

fn middle(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_belong_to_the_binary_before_them() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let [a, b] = candidates(&words("--binary /bin/sh --one=1 -v=2 --binary /bin/cat --two")).unwrap();
        assert_eq!((a.flags, b.flags), (words("--one=1 -v=2"), words("--two")));
        for wrong in ["--binary /bin/sh", "--binary", "--binary /bin/sh x --binary /bin/sh", "--binary /nowhere"] {
            assert!(candidates(&words(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_ratio_is_judged_by_the_goal_and_by_the_spread() {
        let sample = |value: f64| [value; MEASURES.len()];
        let one = || Candidate { binary: "x".into(), flags: Vec::new() };
        let told = |b, again| table(&[one(), one()], &[[sample(1.0), sample(b), sample(again)]; PAIRS]);
        assert!(told(1.02, 1.0).contains("| met |"));
        assert!(told(1.05, 1.06).contains("| inside the spread |"));
        assert!(told(1.05, 1.01).contains("| **missed** |"));
    }
}
