//! Metrics, as programs print them for Prometheus.

use anyhow::{Context as _, Result};

use crate::ControlPlane;

/// All samples of one moment.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<Sample>);

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    /// Such as `name="x",code="200"`.
    labels: String,
    value: f64,
}

impl Samples {
    /// Reads the text format (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels.trim_end_matches('}').to_owned();
            Some(Sample { name: name.to_owned(), labels, value: value.parse().ok()? })
        });
        Self(samples.collect())
    }

    /// The sum over all series of that name that have these labels.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}={value:?}")).collect();
        let all = self.0.iter().filter(|sample| sample.name == name);
        all.filter(|sample| labels.iter().all(|label| has(&sample.labels, label))).map(|sample| sample.value).sum()
    }

    /// Whether there is a series of that name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|sample| sample.name == name)
    }
}

/// Whether a list of labels has this one, and not one whose name ends alike.
fn has(labels: &str, label: &str) -> bool {
    labels.match_indices(label).any(|(at, _)| at == 0 || labels[..at].ends_with(','))
}

impl ControlPlane {
    /// The API server's metrics.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn metrics(&self) -> Result<Samples> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let text = self.client().request_text(request).await.context("reading the API server's metrics")?;
        Ok(Samples::parse(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_name_and_labels() {
        let samples = Samples::parse("# HELP a b\na{x=\"1\",long_x=\"2\"} 3\na{x=\"2\"} 4.5\nb 1e3\n");
        assert!((samples.sum("a", &[]) - 7.5).abs() < 1e-9);
        assert!((samples.sum("a", &[("x", "2")]) - 4.5).abs() < 1e-9);
        assert!((samples.sum("b", &[]) - 1000.0).abs() < 1e-9);
        assert!(samples.has("b") && !samples.has("c"));
    }
}
