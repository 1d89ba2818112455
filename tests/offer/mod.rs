//! A Bundle with stores in a namespace that names it, and cainjector's operator, for tests of reviews.

use rootcast::api;
use rootcast::bundle::{DecisionSettings, FieldError, Intent, Labels, Namespace};
use rootcast::inject::{BUNDLE, Injectability, InjectableBundles, Operator, Policy};
use serde_json::json;

/// What is offered to the pods of a namespace.
pub(crate) struct Offer {
    bundles: InjectableBundles,
    namespace: Namespace,
}

impl Offer {
    /// Of the Bundle of this name alone.
    pub(crate) fn of(name: &str) -> Self {
        let bundle: api::Bundle = serde_json::from_value(json!({
            "apiVersion": api::API_VERSION, "kind": api::KIND, "metadata": { "name": name },
            "spec": {
                "sources": [{ "useDefaultCAs": true }, { "configMap": { "name": "x", "key": "y" } }],
                "target": { "configMap": { "key": "ca.pem" }, "additionalFormats": { "jks": { "key": "k.jks" } } },
            },
        }))
        .unwrap();
        let intent: Result<Intent, Vec<FieldError>> = Intent::parse(&bundle, "cert-manager");
        let offered = Injectability::of(intent.as_ref().map_err(Vec::as_slice), &DecisionSettings::default());
        let labels: Labels = [(BUNDLE.to_owned(), name.to_owned())].into();
        Self {
            bundles: InjectableBundles {
                settings: DecisionSettings::default(),
                by_name: [(name.to_owned(), offered)].into(),
            },
            namespace: Namespace { labels: (&labels).into(), terminating: false, uid: "".into() },
        }
    }

    /// The policy by which pods get it.
    pub(crate) fn policy(&self) -> Policy<'_> {
        Policy::Native { namespace: &self.namespace, bundles: &self.bundles }
    }
}

/// Cainjector's operator.
pub(crate) fn cainjector() -> Operator {
    Operator { name: "cainjector".to_owned(), domain: "lestak.sh".to_owned() }
}
