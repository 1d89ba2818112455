//! `make bench`: how fast and how thrifty the fan-out is, on a real API server, beside a raw writer without any logic;
//! and how fast the injector answers, beside cainjector.
//!
//! ```text
//! Stage (a control plane, many namespaces) ──▶ Ground (the product, a Bundle) ──▶ update, create, burst, memory, many
//!                                         └──▶ Raw (every verb, no logic)                  └──▶ Report
//!       └──▶ Comparison (two binaries in turn)
//! ```
//!
//! All programs share the cores of one machine, so times depend on it; what counts is the ratio of two times of one run.

mod attacks;
mod burst;
mod compare;
mod create;
mod ground;
mod injector;
mod ledgers;
mod many;
mod material;
mod memory;
mod numbers;
mod object;
mod process;
mod protobuf;
mod raw;
mod report;
mod requests;
mod reviews;
mod stage;
mod subject;
mod tally;
mod update;
mod wire;

use std::{env, process::ExitCode};

use anyhow::{Context as _, Result, bail};

use ground::Ground;
use report::Report;
use rootcast_e2e::Launch;
use stage::Stage;

/// How often what varies is measured; medians are reported.
const ROUNDS: usize = 3;

/// Namespaces, but where there are [`MANY`].
const SOME: usize = 1_000;

/// Many namespaces.
const MANY: usize = 10_000;

/// Bytes of a Bundle: somewhat more than Mozilla's roots.
const LARGE: usize = 220_000;

/// Bytes of a Bundle of a few roots.
const SMALL: usize = 20_000;

/// The parts of a run, in their order.
const PARTS: [&str; 6] = ["update", "namespace", "burst", "memory", "many", "injector"];

/// Parts that run only when they are asked for: the raw writer without the product, the product with ledgers, and under
/// attack.
const EXTRA: [&str; 4] = ["raw", "concurrency", "ledgers", "attacks"];

const USAGE: &str = "\
usage: bench [--in-flight N] [--keep SUFFIX] [PART]... [-- CONTROLLER-FLAG...]
       bench --binary FILE [CONTROLLER-FLAG]... --binary FILE [CONTROLLER-FLAG]...

PART: update, namespace, burst, memory (and restart), many (10,000 namespaces), injector; default: all of these.
      The injector is compared with the cainjector that the environment's CAINJECTOR names, if it does.
      Only when asked for, and without the product: raw (the raw writer), concurrency (with 4 to 32 in flight).
      Only when asked for: ledgers (memory of 100 Bundles with retention; 5 minutes).
      Only when asked for, as root: attacks (what others wait for while somebody attacks; 5 minutes).
--in-flight: concurrent requests of the raw writer (32, as the controller's own default).
--keep: keep the results below bench/results under a name that ends so; a whole run is always kept.
--binary: two programs in turn, five times (10 minutes), the first also against itself; the flags after one's name are
      those of its controller. Both run under this tree's definition and permissions.";

/// What is asked for.
struct Arguments {
    in_flight: usize,
    keep: Option<String>,
    parts: Vec<String>,
    controller: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<_> = env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "--binary") {
        let candidates = match compare::candidates(&words) {
            Ok(candidates) => candidates,
            Err(error) => {
                eprintln!("{error:#}\n{USAGE}");
                return ExitCode::from(2);
            }
        };
        if let Err(error) = compare::compare(&candidates).await {
            panic!("the comparison broke off: {error:#}");
        }
        return ExitCode::SUCCESS;
    }
    let arguments = match arguments(words.into_iter()) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error:#}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = run(&arguments).await {
        panic!("the benchmark broke off: {error:#}");
    }
    ExitCode::SUCCESS
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments> {
    let mut arguments = Arguments { in_flight: 32, keep: None, parts: Vec::new(), controller: Vec::new() };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--in-flight" => arguments.in_flight = words.next().context("--in-flight: a number is missing")?.parse()?,
            "--keep" => arguments.keep = Some(words.next().context("--keep: a suffix is missing")?),
            "--" => arguments.controller.extend(words.by_ref()),
            part if EXTRA.contains(&part) || PARTS.contains(&part) => arguments.parts.push(word),
            _ => bail!("{word}: there is no such part"),
        }
    }
    Ok(arguments)
}

async fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { in_flight, keep, parts, controller } = arguments;
    // One Bundle changes more often than is rolled out at once; the rows say so.
    let args: Vec<_> = ["--max-rollout-pause=0s"].into_iter().chain(controller.iter().map(String::as_str)).collect();
    let launch = Launch { args: &args, ..Launch::default() };
    let wanted = |part: &str| parts.iter().any(|asked| asked == part) || (parts.is_empty() && PARTS.contains(&part));
    let mut report = Report { in_flight: *in_flight, ..Report::default() };
    if ["raw", "concurrency", "update", "namespace", "burst", "memory"].into_iter().any(wanted) {
        let stage = Stage::with_namespaces(SOME).await?;
        report.describe(&stage).await?;
        if wanted("raw") {
            update::raw_only(&stage, &mut report).await?;
        }
        if wanted("concurrency") {
            update::concurrency(&stage, &mut report).await?;
        }
        if ["update", "namespace", "burst", "memory"].into_iter().any(wanted) {
            let mut ground = Ground::begin(&stage, "large", LARGE, launch).await?;
            if wanted("update") {
                update::update(&mut ground, &mut report).await?;
            }
            if wanted("namespace") {
                create::namespaces(&mut ground, &mut report).await?;
            }
            if wanted("burst") {
                burst::burst(&mut ground, &mut report).await?;
            }
            if wanted("memory") {
                ground = memory::memory(ground, &mut report).await?;
            }
            ground.end().await?;
        }
    }
    if wanted("many") {
        many::many(launch, &mut report).await?;
    }
    if wanted("ledgers") {
        ledgers::ledgers(&mut report).await?;
    }
    if wanted("attacks") {
        // What attackers hold would be on the stack of every other part, too.
        Box::pin(attacks::attacks(&mut report)).await?;
    }
    // The last: from then on this program has one core.
    if wanted("injector") {
        let stage = Stage::with_namespaces(0).await?;
        if report.circumstances.is_empty() {
            report.describe(&stage).await?;
        }
        injector::injector(&stage, &mut report).await?;
    }
    report.circumstances.push(format!("load average at the end: {}", report::load()));
    println!("{}", report.render());
    if keep.is_some() || parts.is_empty() {
        let suffix = keep.as_ref().map_or(String::new(), |suffix| format!("-{suffix}"));
        println!("kept as {}", report.keep(&suffix)?.display());
    }
    Ok(())
}
