//! What the injector tells, and what both tell of the certificates that they serve reviews with.

use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::webhook::{Certificate, Outcome};

use super::ours;

/// Bounds of a review's time, in seconds: it takes about a tenth of a millisecond, and the API server waits for 5 s.
const REVIEW_SECONDS: [f64; 8] = [0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.1, 1.0, 5.0];

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
        let registry = ours(registry);
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

/// When the time of a serving certificate begins and ends.
#[derive(Debug)]
pub struct Validity(Certificate);

impl Validity {
    /// Serves it, as soon as there is a certificate.
    pub fn register(registry: &mut Registry, certificate: &Certificate) {
        ours(registry).register_collector(Box::new(Self(certificate.clone())));
    }
}

impl Collector for Validity {
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
    fn metrics_have_the_names_that_dashboards_ask_for() {
        let mut registry = registry();
        let injector = Injector::register(&mut registry);
        injector.reviewed(Outcome::Injected, Duration::from_micros(200));
        injector.config_is_valid(true);
        Validity::register(&mut registry, &Certificate::new());
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
