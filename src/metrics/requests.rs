//! Metrics of all requests to the API server.

use std::fmt::{self, Write as _};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::prefixed;

/// Counters of requests by the class of their response; clones share them.
#[derive(Clone, Debug, Default)]
pub struct RequestMetrics(Family<RequestLabels, Counter>);

/// The labels that distinguish requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    code: ResponseClass,
}

/// The class of the response to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResponseClass {
    /// A response with this HTTP status.
    Status(u16),
    /// The connection failed.
    Lost,
    /// No response came in time.
    TimedOut,
}

impl RequestMetrics {
    /// Registers the counters.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Requests to the API server by the HTTP status of their answer, or `lost` or `timed_out`";
        prefixed(registry).register("api_requests", help, self.0.clone());
    }

    /// Counts a request.
    pub fn count(&self, code: ResponseClass) {
        self.0.get_or_create(&RequestLabels { code }).inc();
    }
}

impl EncodeLabelValue for ResponseClass {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Status(code) => write!(encoder, "{code}"),
            Self::Lost => encoder.write_str("lost"),
            Self::TimedOut => encoder.write_str("timed_out"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{assert_served, registry};

    #[test]
    fn requests_are_counted_by_what_came_back() {
        let (mut registry, requests) = (registry(), RequestMetrics::default());
        requests.register(&mut registry);
        for code in
            [ResponseClass::Status(429), ResponseClass::Status(429), ResponseClass::Lost, ResponseClass::TimedOut]
        {
            requests.count(code);
        }
        assert_served(
            &registry,
            &[
                "rootcast_api_requests_total{code=\"429\"} 2",
                "rootcast_api_requests_total{code=\"lost\"} 1",
                "rootcast_api_requests_total{code=\"timed_out\"} 1",
            ],
        );
    }
}
