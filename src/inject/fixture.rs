//! Small pods, and verdicts as lines of text, for the tests of this module.

use serde_json::{Value, json};

use crate::api;
use crate::bundle::{DecisionSettings, FieldError, Intent, Labels, Namespace};

use super::{Injectability, InjectableBundles, InjectionVerdict, PodReview, Policy};

/// The keys and values of a row in a table of tests.
pub(super) type Pairs<'a> = &'a [(&'a str, &'a str)];

/// A pod with these annotations and this spec, as JSON.
pub(super) fn pod(annotations: &Value, spec: &Value) -> String {
    json!({ "metadata": { "annotations": annotations }, "spec": spec }).to_string()
}

/// A namespace with these labels.
pub(super) fn namespace(labels: Pairs<'_>) -> Namespace {
    let labels: Labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Namespace { labels: (&labels).into(), terminating: false, uid: "".into() }
}

/// A Bundle of this spec, as pods can mount it.
pub(super) fn injectability(name: &str, spec: &Value, settings: &DecisionSettings) -> Injectability {
    let bundle: api::Bundle = serde_json::from_value(json!({
        "apiVersion": api::API_VERSION, "kind": api::KIND, "metadata": { "name": name }, "spec": spec,
    }))
    .expect("a Bundle");
    let intent: Result<Intent, Vec<FieldError>> = Intent::parse(&bundle, &"cert-manager".into());
    Injectability::of(intent.as_ref().map_err(Vec::as_slice), settings)
}

/// Bundles of every kind, named by their distinguishing property.
pub(super) fn bundles(settings: DecisionSettings) -> InjectableBundles {
    let source = json!([{ "configMap": { "name": "x", "key": "y" } }]);
    let public = json!([{ "configMap": { "name": "x", "key": "y" } }, { "useDefaultCAs": true }]);
    let key = json!({ "key": "ca.pem" });
    let stores = json!({ "jks": { "key": "k.jks" }, "pkcs12": { "key": "k.p12" } });
    let specs = [
        ("plain", json!({ "sources": public, "target": { "configMap": key } })),
        ("private", json!({ "sources": source, "target": { "configMap": key, "additionalFormats": stores } })),
        ("stores", json!({ "sources": public, "target": { "configMap": key, "additionalFormats": stores } })),
        (
            "pkcs12",
            json!({ "sources": public, "target": { "configMap": key, "additionalFormats": { "pkcs12": { "key": "k.p12" } } } }),
        ),
        ("secret", json!({ "sources": public, "target": { "secret": key } })),
        ("either", json!({ "sources": public, "target": { "secret": { "key": "s.pem" }, "configMap": key } })),
        (
            "picky",
            json!({ "sources": public, "target": { "configMap": key, "namespaceSelector": { "matchLabels": { "env": "prod" } } } }),
        ),
        ("homeless", json!({ "sources": public })),
        ("broken", json!({ "sources": [], "target": { "configMap": key } })),
        ("coredns", json!({ "sources": public, "target": { "configMap": key } })),
        ("my-org.com", json!({ "sources": public, "target": { "configMap": key } })),
    ];
    let by_id = specs.iter().map(|(name, spec)| ((*name).into(), injectability(name, spec, &settings))).collect();
    InjectableBundles { settings, by_id }
}

/// The verdict for a new pod in the namespace `team-a`, as [`verdict_lines`].
pub(super) fn new_pod_lines(pod: &str, policy: &Policy<'_>) -> Vec<String> {
    verdict_lines(&PodReview { namespace: "team-a", pod, old: None }, policy)
}

/// The verdict for a review, one line each: changes (path and value), warnings (after `!`), and the denial.
pub(super) fn verdict_lines(review: &PodReview<'_>, policy: &Policy<'_>) -> Vec<String> {
    let InjectionVerdict { patch, warnings, denial } = review.parse().expect("a pod").inject(policy);
    let patch: Vec<Value> = serde_json::from_str(patch.as_json()).expect("a patch is a list");
    let line = |change: &Value| format!("{} {}", change["path"].as_str().expect("a path"), change["value"]);
    let warnings = warnings.into_iter().map(|warning| format!("! {warning}"));
    let denial = denial.map(|denial| format!("{} {}", denial.code, denial.message));
    patch.iter().map(line).chain(warnings).chain(denial).collect()
}
