//! Metrics of the injector, and those of the serving certificate of controller and injector.

use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::webhook::{ReloadableCertificate, ReviewOutcome};

use super::prefixed;

/// The bounds of a review's time, in seconds: most take 0.1 ms, and the API server waits for 5 s.
const REVIEW_SECONDS: [f64; 8] = [0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.1, 1.0, 5.0];

/// Metrics of the injector; clones share them.
#[derive(Clone, Debug)]
pub struct InjectorMetrics {
    reviews: Family<ReviewLabels, Counter>,
    seconds: Histogram,
    config_valid: Gauge,
}

/// The labels that distinguish reviews.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReviewLabels {
    outcome: &'static str,
}

impl InjectorMetrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self {
            reviews: Family::default(),
            seconds: Histogram::new(REVIEW_SECONDS),
            config_valid: Gauge::default(),
        };
        let registry = prefixed(registry);
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

    /// Counts a review by its outcome, with the time that its decision took.
    pub fn reviewed(&self, outcome: ReviewOutcome, time: Duration) {
        let outcome = match outcome {
            ReviewOutcome::Unchanged => "unchanged",
            ReviewOutcome::Injected => "injected",
            ReviewOutcome::Warned => "warned",
            ReviewOutcome::Refused => "refused",
            ReviewOutcome::Malformed => "malformed",
            ReviewOutcome::Failed => "failed",
        };
        self.reviews.get_or_create(&ReviewLabels { outcome }).inc();
        self.seconds.observe(time.as_secs_f64());
    }

    /// Sets whether the configuration file, as it is now, is in use.
    pub fn set_config_valid(&self, valid: bool) {
        self.config_valid.set(valid.into());
    }
}

/// Collector of the validity of a serving certificate.
#[derive(Debug)]
pub struct ServingCertMetrics(ReloadableCertificate);

impl ServingCertMetrics {
    /// Registers the collector; it has no samples while there is no certificate.
    pub fn register(registry: &mut Registry, certificate: &ReloadableCertificate) {
        prefixed(registry).register_collector(Box::new(Self(certificate.clone())));
    }
}

impl Collector for ServingCertMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let Some((start, end)) = self.0.validity() else { return Ok(()) };
        for (name, help, at) in [
            (
                "webhook_certificate_start_timestamp_seconds",
                "When the time of the serving certificate began, as Unix time",
                start,
            ),
            ("webhook_certificate_expiry_timestamp_seconds", "When the serving certificate expires, as Unix time", end),
        ] {
            ConstGauge::new(at).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{assert_served, registry};

    #[test]
    fn metrics_have_the_names_that_dashboards_use() {
        let mut registry = registry();
        let injector = InjectorMetrics::register(&mut registry);
        injector.reviewed(ReviewOutcome::Injected, Duration::from_micros(200));
        injector.set_config_valid(true);
        ServingCertMetrics::register(&mut registry, &ReloadableCertificate::new());
        assert_served(
            &registry,
            &[
                concat!("rootcast_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
                "rootcast_webhook_reviews_total{outcome=\"injected\"} 1",
                "rootcast_webhook_review_duration_seconds_bucket{le=\"0.0003\"} 1",
                "rootcast_config_last_reload_successful 1",
            ],
        );
    }
}
