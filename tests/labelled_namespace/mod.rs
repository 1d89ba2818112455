//! A namespace whose label names a Bundle with a keystore, and cainjector's operator, for tests of reviews.

use rootcast::api;
use rootcast::bundle::{DecisionSettings, FieldError, Intent, Labels, Namespace};
use rootcast::inject::{BUNDLE, Injectability, InjectableBundles, Operator, Policy};
use serde_json::json;

/// A namespace whose label names the only Bundle.
pub(crate) struct LabelledNamespace {
    bundles: InjectableBundles,
    namespace: Namespace,
}

impl LabelledNamespace {
    /// A namespace whose label names the Bundle of this name.
    pub(crate) fn of(name: &str) -> Self {
        let bundle: api::Bundle = serde_json::from_value(json!({
            "apiVersion": api::API_VERSION, "kind": api::KIND, "metadata": { "name": name },
            "spec": {
                "sources": [{ "useDefaultCAs": true }, { "configMap": { "name": "x", "key": "y" } }],
                "target": { "configMap": { "key": "ca.pem" }, "additionalFormats": { "jks": { "key": "k.jks" } } },
            },
        }))
        .unwrap();
        let intent: Result<Intent, Vec<FieldError>> = Intent::parse(&bundle, &"cert-manager".into());
        let injectability = Injectability::of(intent.as_ref().map_err(Vec::as_slice), &DecisionSettings::default());
        let labels: Labels = [(BUNDLE.to_owned(), name.to_owned())].into();
        Self {
            bundles: InjectableBundles {
                settings: DecisionSettings::default(),
                by_id: [(name.into(), injectability)].into(),
            },
            namespace: Namespace { labels: (&labels).into(), terminating: false, uid: "".into() },
        }
    }

    /// The native policy for pods of the namespace.
    pub(crate) fn policy(&self) -> Policy<'_> {
        Policy::Native { namespace: &self.namespace, bundles: &self.bundles }
    }
}

/// The operator with cainjector's default name and domain.
pub(crate) fn cainjector() -> Operator {
    Operator { name: "cainjector".to_owned(), domain: "lestak.sh".to_owned() }
}
