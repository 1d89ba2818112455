//! Prometheus metrics of controller and injector, and their exposition.
//!
//! Names follow <https://prometheus.io/docs/practices/naming/>. No metric has a label for namespaces: there may be
//! thousands.

mod controller;
mod exposition;
mod injector;
mod process;
mod reconciles;
mod requests;
mod stats_snapshot;
mod watches;

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use controller::{ControllerMetrics, ScrapeHandle, ScrapeRequest, WriteMetrics};
pub use exposition::ExpositionFormat;
pub use injector::{InjectorMetrics, ServingCertMetrics};
pub use reconciles::{ReconcileFailure, ReconcileMetrics, ReconcileResult};
pub use requests::{RequestMetrics, ResponseClass};
pub use stats_snapshot::{BundleStats, ConditionLabels, StatsSnapshot};
pub use watches::{WatchActivity, WatchMetrics};

use process::ProcessCollector;

/// Returns a registry with the metrics of the process and its version.
#[must_use]
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(ProcessCollector::new()));
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    prefixed(&mut registry).register("build", "Version of this program", version);
    registry
}

/// Returns the part of a registry whose names begin with `rootcast_`.
fn prefixed(registry: &mut Registry) -> &mut Registry {
    registry.sub_registry_with_prefix("rootcast")
}

#[cfg(test)]
fn text(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("writes to a String never fail");
    text
}

/// Asserts that each of these lines is served.
#[cfg(test)]
#[track_caller]
fn assert_served(registry: &Registry, lines: &[&str]) {
    let text = text(registry);
    let missing: Vec<_> = lines.iter().filter(|line| !text.lines().any(|served| served == **line)).collect();
    assert!(missing.is_empty(), "{missing:#?} are not in\n{text}");
}
