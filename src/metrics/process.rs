//! Metrics of this process.
//!
//! They have the names that all Prometheus clients use
//! (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>). There are none outside of Linux.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// The ticks in a second by which proc(5) counts time; fixed for all programs, whatever the kernel's own are.
const TICKS: f64 = 100.0;

/// Collector of the metrics of this process.
#[derive(Debug)]
pub(super) struct ProcessCollector {
    /// The start of the process, as Unix time.
    started: Option<f64>,
}

impl ProcessCollector {
    /// Returns a collector for this process.
    pub(super) fn new() -> Self {
        Self { started: started() }
    }
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut emit = |name, help, metric: Option<Box<dyn EncodeMetric>>| match metric {
            Some(metric) => metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?),
            None => Ok(()),
        };
        let gauge = |value: f64| Box::new(ConstGauge::new(value)) as Box<dyn EncodeMetric>;
        let cpu = cpu_seconds().map(|seconds| Box::new(ConstCounter::new(seconds)) as Box<dyn EncodeMetric>);
        emit("process_cpu_seconds", "CPU time used by this process, in seconds", cpu)?;
        emit("process_resident_memory_bytes", "Memory that this process has in RAM", resident().map(gauge))?;
        emit("process_open_fds", "Open files and connections", open_files().map(gauge))?;
        emit("process_start_time_seconds", "When this process began, as Unix time", self.started.map(gauge))
    }
}

/// Returns a field of `/proc/self/stat` by its number, from 3 on: those before hold a name with spaces.
fn stat(field: usize) -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(field - 3)?.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    let (user, system) = (stat(14)?, stat(15)?);
    Some((user + system) / TICKS)
}

fn started() -> Option<f64> {
    let boot: f64 = number("/proc/stat", "btime ")?;
    Some(boot + stat(22)? / TICKS)
}

fn resident() -> Option<f64> {
    number("/proc/self/status", "VmRSS:").map(|kibibytes| kibibytes * 1024.0)
}

fn open_files() -> Option<f64> {
    let files = fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is the directory that is being read.
    u32::try_from(files.saturating_sub(1)).ok().map(f64::from)
}

/// Returns the first number on the line of `file` that begins with `line`.
fn number(file: &str, line: &str) -> Option<f64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|found| found.strip_prefix(line))?.split_whitespace().next()?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::metrics::{registry, text};

    #[test]
    fn this_process_began_just_now_and_uses_a_little_of_everything() {
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs_f64();
        let age = now - started().expect("a start");
        assert!((-2.0..3600.0).contains(&age), "{age} s old");
        assert!(cpu_seconds().is_some_and(|seconds| (0.0..3600.0).contains(&seconds)));
        assert!(resident().is_some_and(|bytes| (1e5..1e10).contains(&bytes)));
        assert!(open_files().is_some_and(|files| (3.0..1e5).contains(&files)));
        let text = text(&registry());
        for name in ["cpu_seconds_total", "resident_memory_bytes", "open_fds", "start_time_seconds"] {
            assert!(text.contains(&format!("\nprocess_{name} ")), "{text}");
        }
    }
}
