//! Metrics, by the names that are served (<https://prometheus.io/docs/practices/naming/>).

use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::webhook::{Certificate, Outcome};

/// Bounds of a review's time, in seconds: it takes about a tenth of a millisecond, and the API server waits for 5 s.
const REVIEW_SECONDS: [f64; 8] = [0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.1, 1.0, 5.0];

/// A registry that tells which version this is.
#[must_use]
pub fn registry() -> Registry {
    let mut registry = Registry::with_prefix("rootcast");
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "Version of this program", version);
    registry
}

/// What the injector counts. Clones count together.
#[derive(Clone, Debug)]
pub struct Injector {
    reviews: Family<Review, Counter>,
    seconds: Histogram,
    config_valid: Gauge,
}

/// What distinguishes reviews.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Review {
    outcome: &'static str,
}

impl Injector {
    /// Counts in a registry from now on.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self {
            reviews: Family::default(),
            seconds: Histogram::new(REVIEW_SECONDS),
            config_valid: Gauge::default(),
        };
        registry.register("webhook_reviews", "Reviews of pods by outcome", new.reviews.clone());
        registry.register(
            "webhook_review_duration_seconds",
            "Time from a read review to its answer",
            new.seconds.clone(),
        );
        registry.register(
            "config_last_reload_successful",
            "Whether the configuration file, as it is now, is in use (1) or was refused (0)",
            new.config_valid.clone(),
        );
        new
    }

    /// A review was answered.
    pub fn reviewed(&self, outcome: Outcome, time: Duration) {
        let outcome = match outcome {
            Outcome::Unchanged => "unchanged",
            Outcome::Injected => "injected",
            Outcome::Warned => "warned",
            Outcome::Refused => "refused",
            Outcome::Malformed => "malformed",
            Outcome::Failed => "failed",
        };
        self.reviews.get_or_create(&Review { outcome }).inc();
        self.seconds.observe(time.as_secs_f64());
    }

    /// The configuration file was taken over, or refused.
    pub fn config_is_valid(&self, valid: bool) {
        self.config_valid.set(valid.into());
    }
}

/// When a serving certificate expires.
#[derive(Debug)]
pub struct Expiry(pub Certificate);

impl Collector for Expiry {
    fn encode(&self, mut encoder: DescriptorEncoder) -> std::fmt::Result {
        let Some(at) = self.0.not_after() else { return Ok(()) };
        let metric = encoder.encode_descriptor(
            "webhook_certificate_expiry_timestamp_seconds",
            "When the serving certificate expires, as Unix time",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(at).encode(metric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_the_names_that_dashboards_ask_for() {
        let mut registry = registry();
        let injector = Injector::register(&mut registry);
        injector.reviewed(Outcome::Injected, Duration::from_micros(200));
        injector.config_is_valid(true);
        registry.register_collector(Box::new(Expiry(Certificate::new())));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            concat!("rootcast_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "rootcast_webhook_reviews_total{outcome=\"injected\"} 1",
            "rootcast_webhook_review_duration_seconds_bucket{le=\"0.0003\"} 1",
            "rootcast_config_last_reload_successful 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
