//! Metrics, by the names that are served (<https://prometheus.io/docs/practices/naming/>). None has a namespace for a
//! label: there may be thousands.

mod controller;
mod exposition;
mod injector;
mod process;
mod requests;
mod survey;
mod watches;

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use controller::{Controller, Inquiry, Scrape, Writes};
pub use exposition::Format;
pub use injector::{Injector, Validity};
pub use requests::{CameBack, Requests};
pub use survey::{BundleSurvey, Condition, Survey};
pub use watches::{Hearing, Watches};

use process::Process;

/// A registry that tells which version this is and how its process does.
#[must_use]
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Process::new()));
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    ours(&mut registry).register("build", "Version of this program", version);
    registry
}

/// The part of a registry whose names begin with ours.
fn ours(registry: &mut Registry) -> &mut Registry {
    registry.sub_registry_with_prefix("rootcast")
}

#[cfg(test)]
fn text(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("a string takes everything");
    text
}

/// Fails unless every one of these lines is served.
#[cfg(test)]
#[track_caller]
fn assert_served(registry: &Registry, lines: &[&str]) {
    let text = text(registry);
    let missing: Vec<_> = lines.iter().filter(|line| !text.lines().any(|served| served == **line)).collect();
    assert!(missing.is_empty(), "{missing:#?} are not in\n{text}");
}
