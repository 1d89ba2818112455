//! The log: one line an event, to standard error.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::text::Lines;

use super::args::LogFormat;

/// Starts it, for the life of the process.
pub(super) fn start(level: LevelFilter, format: LogFormat) {
    // Whoever sent a request says what became of it: the client's own words are for those who look for the reason.
    let client = if level > LevelFilter::INFO { level } else { LevelFilter::OFF };
    let filter = Targets::new().with_default(level).with_target("kube_client", client);
    let log = tracing_subscriber::fmt::layer().with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => registry.with(log.with_ansi(false).with_writer(|| Lines(std::io::stderr()))).init(),
        LogFormat::Json => registry.with(log.with_writer(std::io::stderr).json().flatten_event(true)).init(),
    }
}
