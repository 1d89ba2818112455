//! Formats in which metrics are exposed, and their negotiation.
//!
//! prometheus-client writes only `OpenMetrics`; the text format is converted from it.

use std::fmt::Error;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// A format in which metrics are exposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpositionFormat {
    /// The text format of Prometheus, version 0.0.4 (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
    Text,
    /// `OpenMetrics` 1.0.0 (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
    OpenMetrics,
    /// `OpenMetrics` under the version number of its draft, which some clients request.
    OpenMetricsDraft,
}

/// One element of an `Accept` header (RFC 9110, 12.5.1).
struct MediaRange<'a> {
    media_type: &'a str,
    version: Option<&'a str>,
    quality: f32,
}

impl ExpositionFormat {
    /// All formats; a client without a preference gets the first one.
    const ALL: [Self; 3] = [Self::Text, Self::OpenMetrics, Self::OpenMetricsDraft];

    /// Returns the format that an `Accept` header prefers.
    ///
    /// It is the one of the highest quality; of equals the one that is named most precisely, and then the one that is
    /// named first. Where none is acceptable it is the text format all the same.
    #[must_use]
    pub fn negotiate(header: &str) -> Self {
        let ranges: Vec<_> = header.split(',').filter_map(MediaRange::parse).collect();
        let mut best = (Self::Text, 0.0, (0, 0));
        for format in Self::ALL {
            let precisions = ranges.iter().enumerate().filter_map(|(index, range)| {
                let precision = range.precision(format)?;
                Some((range.quality, (precision, ranges.len() - index)))
            });
            let Some((quality, rank)) = precisions.max_by_key(|(_, rank)| *rank) else { continue };
            if quality > best.1 || (quality > 0.0 && quality >= best.1 && rank > best.2) {
                best = (format, quality, rank);
            }
        }
        best.0
    }

    /// Returns the media type with its parameters.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::OpenMetricsDraft => "application/openmetrics-text; version=0.0.1; charset=utf-8",
        }
    }

    /// Encodes the current metrics of a registry.
    ///
    /// # Errors
    /// When a metric cannot be encoded.
    pub fn write(self, registry: &Registry) -> Result<String, Error> {
        let mut written = String::new();
        encode(&mut written, registry)?;
        Ok(match self {
            Self::Text => text(&written),
            Self::OpenMetrics | Self::OpenMetricsDraft => written,
        })
    }
}

impl<'a> MediaRange<'a> {
    fn parse(element: &'a str) -> Option<Self> {
        let mut parts = element.split(';').map(str::trim);
        let media_type = parts.next().filter(|media_type| !media_type.is_empty())?;
        let mut range = Self { media_type, version: None, quality: 1.0 };
        for (name, value) in parts.filter_map(|parameter| parameter.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim() {
                name if name.eq_ignore_ascii_case("q") => {
                    let quality = value.parse().ok().filter(|quality| (0.0..=1.0).contains(quality));
                    range.quality = quality.unwrap_or(1.0);
                }
                name if name.eq_ignore_ascii_case("version") => range.version = Some(value),
                _ => {}
            }
        }
        Some(range)
    }

    /// Returns how precisely the range names a format; `None` if it does not accept the format.
    fn precision(&self, format: ExpositionFormat) -> Option<u8> {
        let is = |media_type: &str| self.media_type.eq_ignore_ascii_case(media_type);
        let (media_type, family, version) = match format {
            ExpositionFormat::Text => ("text/plain", "text/*", None),
            ExpositionFormat::OpenMetrics => ("application/openmetrics-text", "application/*", Some("1.0.0")),
            ExpositionFormat::OpenMetricsDraft => ("application/openmetrics-text", "application/*", Some("0.0.1")),
        };
        if is(media_type) {
            match (self.version, version) {
                // Versions of the text format differ only in which names may be quoted: ours need no quotes.
                (None, _) | (_, None) => Some(3),
                (asked, version) => (asked == version).then_some(4),
            }
        } else if is(family) {
            Some(2)
        } else {
            is("*/*").then_some(1)
        }
    }
}

/// Converts `OpenMetrics` to the text format, in which a family has the name of its samples, there are fewer kinds, and
/// there are neither units nor an end marker.
fn text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = "";
    for line in open_metrics.lines() {
        let Some(descriptor) = line.strip_prefix("# ") else {
            text.extend([line, "\n"]);
            continue;
        };
        if let Some(rest) = descriptor.strip_prefix("HELP ") {
            help = rest.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some((name, kind)) = descriptor.strip_prefix("TYPE ").and_then(|rest| rest.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "stateset" => ("", "gauge"),
                "unknown" => ("", "untyped"),
                same => ("", same),
            };
            text.extend(["# HELP ", name, suffix, " ", help, "\n# TYPE ", name, suffix, " ", kind, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::metrics::info::Info;
    use prometheus_client::registry::Unit;

    use super::ExpositionFormat::{OpenMetrics, OpenMetricsDraft, Text};
    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_asked_for() {
        const PROMETHEUS_2: &str = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        const PROMETHEUS_3: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        const PROTOBUF_FIRST: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3";
        for (header, format) in [
            ("", Text),
            ("*/*", Text),
            ("text/plain", Text),
            ("text/plain;version=0.0.4", Text),
            ("text/plain; version=1.0.0; escaping=allow-utf-8", Text),
            ("text/*", Text),
            ("text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8", Text),
            ("application/json", Text),
            (",;q=,", Text),
            ("application/openmetrics-text", OpenMetrics),
            ("APPLICATION/OpenMetrics-Text; Version=\"1.0.0\"", OpenMetrics),
            ("application/openmetrics-text;version=0.0.1", OpenMetricsDraft),
            ("application/openmetrics-text;version=0.0.1,text/plain;q=0.5", OpenMetricsDraft),
            ("application/openmetrics-text;version=9.0.0", Text),
            ("application/openmetrics-text, */*", OpenMetrics),
            ("*/*, application/openmetrics-text", OpenMetrics),
            ("application/openmetrics-text, text/plain", OpenMetrics),
            ("text/plain, application/openmetrics-text", Text),
            ("application/openmetrics-text;q=0.3, text/plain;q=0.7", Text),
            ("text/plain;q=0.3, application/openmetrics-text;q=0.7", OpenMetrics),
            ("application/openmetrics-text;q=0, */*", Text),
            ("text/plain;q=0, */*;q=0.1", OpenMetrics),
            ("application/openmetrics-text;q=0", Text),
            ("application/openmetrics-text;q=NaN, text/plain", OpenMetrics),
            ("application/*", OpenMetrics),
            (PROMETHEUS_2, OpenMetrics),
            (PROMETHEUS_3, OpenMetrics),
            (PROTOBUF_FIRST, OpenMetrics),
        ] {
            assert_eq!(ExpositionFormat::negotiate(header), format, "{header}");
        }
    }

    #[test]
    fn the_text_format_has_the_samples_of_open_metrics_under_kinds_of_its_own() {
        let mut registry = Registry::default();
        registry.register("build", "Version", Info::new([("version", "1")]));
        let requests = Family::<Vec<(&str, String)>, Counter>::default();
        requests.get_or_create(&vec![("code", "a\"b\\c\n# EOF".to_owned())]).inc();
        registry.register("requests", "Requests", requests);
        registry.register_with_unit("cpu", "Time", Unit::Seconds, Counter::<u64>::default());
        registry.register("leader", "Whether", Gauge::<i64>::default());
        registry.register("took", "Time", Histogram::new([1.0]));
        let open_metrics = OpenMetrics.write(&registry).expect("a string takes everything");
        assert!(open_metrics.ends_with("# EOF\n"), "{open_metrics}");
        assert_eq!(
            Text.write(&registry).expect("a string takes everything"),
            "\
# HELP build_info Version.
# TYPE build_info gauge
build_info{version=\"1\"} 1
# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{code=\"a\\\"b\\\\c\\n# EOF\"} 1
# HELP cpu_seconds_total Time.
# TYPE cpu_seconds_total counter
cpu_seconds_total 0
# HELP leader Whether.
# TYPE leader gauge
leader 0
# HELP took Time.
# TYPE took histogram
took_sum 0.0
took_count 0
took_bucket{le=\"1.0\"} 0
took_bucket{le=\"+Inf\"} 0
"
        );
        let samples =
            |text: &str| text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(samples(&text(&open_metrics)), samples(&open_metrics));
    }
}
