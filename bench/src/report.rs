//! The table of a run, and the file that keeps it.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread::available_parallelism,
};

use anyhow::{Context as _, Result};
use jiff::Zoned;

use crate::{
    numbers::{float, mebibytes, millis_each, seconds},
    process::Used,
    raw::Verb,
    stage::Stage,
};

/// A measure beside its goal.
pub(crate) struct Row {
    pub(crate) measure: &'static str,
    pub(crate) goal: &'static str,
    pub(crate) measured: String,
    pub(crate) met: bool,
    /// CPU time of the API server and of the controller, and what for.
    pub(crate) cost: String,
    pub(crate) requests: String,
}

/// What a way to write costs.
pub(crate) struct RawRow {
    pub(crate) verb: &'static Verb,
    pub(crate) in_flight: usize,
    pub(crate) used: Used,
    pub(crate) count: usize,
}

/// All results of a run.
#[derive(Default)]
pub(crate) struct Report {
    /// Who ran where, a line each.
    pub(crate) circumstances: Vec<String>,
    pub(crate) rows: Vec<Row>,
    pub(crate) raw: Vec<RawRow>,
    /// How many requests the raw writer has in flight.
    pub(crate) in_flight: usize,
}

impl Report {
    /// Notes what it is that runs.
    pub(crate) async fn describe(&mut self, stage: &Stage) -> Result<()> {
        let kubernetes = stage.control_plane.client().apiserver_version().await?.git_version;
        let etcd = first_line(Command::new(stage.processes.etcd_program()?).arg("--version"));
        let model = line_of("/proc/cpuinfo", "model name");
        let memory = memory()?;
        let cores = available_parallelism().context("the number of cores")?;
        let linux = fs::read_to_string("/proc/sys/kernel/osrelease").context("this benchmark needs Linux")?;
        self.circumstances = vec![
            format!("{model}: {cores} cores and {memory}, shared by etcd, API server, rootcast and this benchmark"),
            format!("Kubernetes {kubernetes}, {etcd}, Linux {}", linux.trim()),
            format!("rootcast {}, {}", commit(), first_line(Command::new("rustc").arg("--version"))),
            format!("load average at the start: {}", load()),
        ];
        Ok(())
    }

    /// Takes a row, and shows it: a run is long.
    pub(crate) fn add(&mut self, row: Row) {
        eprintln!("{}: {} ({})", row.measure, row.measured, if row.met { "met" } else { "missed" });
        self.rows.push(row);
    }

    /// Markdown.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        for line in &self.circumstances {
            writeln!(text, "- {line}").expect("a string takes all");
        }
        if !self.rows.is_empty() {
            text += "\n| measure | measured | goal | |\n|---|---|---|---|\n";
        }
        for Row { measure, goal, measured, met, .. } in &self.rows {
            let verdict = if *met { "met" } else { "**missed**" };
            writeln!(text, "| {measure} | {measured} | {goal} | {verdict} |").expect("a string takes all");
        }
        if !self.rows.is_empty() {
            text += "\n| measure | CPU of the API server and of us | our requests, but for watches |\n|---|---|---|\n";
        }
        for Row { measure, cost, requests, .. } in &self.rows {
            writeln!(text, "| {measure} | {cost} | {requests} |").expect("a string takes all");
        }
        if !self.raw.is_empty() {
            text += "\nRaw writer, no logic; CPU per write in ms:\n\n";
            text += "| verb | in flight | s | writes/s | API server | etcd | writer |\n|---|---|---|---|---|---|---|\n";
        }
        for RawRow { verb, in_flight, used, count } in &self.raw {
            let cpu = [used.cpu.api_server, used.cpu.etcd, used.cpu.bench].map(|cpu| millis_each(cpu, *count));
            let [api_server, etcd, bench] = cpu;
            let (verb, time) = (verb.name, seconds(used.time));
            let rate = float(*count) / time;
            writeln!(
                text,
                "| {verb} | {in_flight} | {time:.2} | {rate:.0} | {api_server:.2} | {etcd:.2} | {bench:.2} |"
            )
            .expect("a string takes all");
        }
        text
    }

    /// Keeps it in `bench/results`; an older file stays.
    pub(crate) fn keep(&self, suffix: &str) -> Result<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
        fs::create_dir_all(&folder)?;
        let name = format!("{}-{}-cores{suffix}", Zoned::now().date(), available_parallelism()?);
        let mut names = std::iter::once(name.clone()).chain((2..).map(|number| format!("{name}-{number}")));
        let file = names.find_map(|name| {
            let file = folder.join(format!("{name}.md"));
            (!file.exists()).then_some(file)
        });
        let file = file.context("a name is free")?;
        let title = file.file_stem().map(|stem| stem.display().to_string()).unwrap_or_default();
        fs::write(&file, format!("# Benchmark, {title}\n\n{}", self.render())).context("keeping the results")?;
        Ok(file)
    }
}

/// What each of `count` pieces of work cost.
pub(crate) fn cost(used: &Used, count: usize, what: &str) -> String {
    let [api_server, controller] = [used.cpu.api_server, used.cpu.controller].map(|cpu| millis_each(cpu, count));
    format!("API server {api_server:.1} ms, we {controller:.2} ms per {what}")
}

/// The machine's load average over one minute.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn commit() -> String {
    let repository = env!("CARGO_MANIFEST_DIR");
    let commit = first_line(Command::new("git").args(["-C", repository, "describe", "--always", "--dirty"]));
    format!("{} at {commit}", env!("CARGO_PKG_VERSION"))
}

fn first_line(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or("unknown").to_owned()
}

/// The machine's memory.
fn memory() -> Result<String> {
    let kib: u64 = line_of("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().context("the memory")?;
    Ok(format!("{:.0} GiB", mebibytes(kib * 1024) / 1024.0))
}

/// The rest of the line of a file that begins with `start`.
fn line_of(file: &str, start: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let rest = text.lines().find_map(|line| line.strip_prefix(start));
    rest.unwrap_or("unknown").trim_start_matches([' ', '\t', ':']).to_owned()
}
