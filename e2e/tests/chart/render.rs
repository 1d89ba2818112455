//! Rendering the chart without a cluster.

use anyhow::{Context as _, Result};
use rootcast_e2e::{CHART, helm_ok};
use serde_json::Value;

/// Of the release, as in docs/install.md.
pub(crate) const NAMESPACE: &str = "cert-manager";

/// What the chart renders for a release and values in YAML. The version of
/// Kubernetes is the one that is tested on, whatever helm was built with.
pub(crate) fn template(release: &str, values: &str) -> Result<String> {
    helm_ok(
        &["template", release, CHART, "--namespace", NAMESPACE, "--kube-version", "1.36.0", "--values", "-"],
        values,
    )
}

/// The objects of a stream of YAML documents.
pub(crate) fn objects(yaml: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).context("reading a stream of YAML documents")?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// An object's kind.
pub(crate) fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap_or_default()
}

/// An object's name.
pub(crate) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}
