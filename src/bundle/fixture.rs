//! Fixtures of the tests of this module.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api;
use crate::trust::{self, Anchor};

use super::denial::{Denials, DeniedCertificates};
use super::id::SourceId;
use super::inputs::{Inputs, OutputKeys, SourceContent, SourceObject};
use super::intent::Intent;
use super::object_kind::ObjectKind;
use super::selector::Labels;

pub(crate) const TRUST_NAMESPACE: &str = "cert-manager";

pub(crate) fn now() -> Timestamp {
    "2026-11-01T00:00:00Z".parse().expect("a time")
}

/// A certificate of the recorded ones, as PEM.
pub(crate) fn pem(name: &str) -> String {
    let text = match name {
        "ec" => include_str!("../../tests/cases/certs/ec.pem"),
        "expired" => include_str!("../../tests/cases/certs/expired.pem"),
        "nosubject" => include_str!("../../tests/cases/certs/nosubject.pem"),
        "rsa" => include_str!("../../tests/cases/certs/rsa.pem"),
        other => unreachable!("no certificate {other} for tests"),
    };
    text.to_owned()
}

/// A certificate of the recorded ones.
pub(crate) fn anchor(name: &str) -> Anchor {
    trust::pem::read(pem(name).as_bytes()).expect("PEM").remove(0).certificate.expect("a certificate")
}

/// One Distrust, of these certificates.
pub(crate) fn denying(distrust: &str, names: &[&str]) -> Denials {
    let certificates = names.iter().map(|name| anchor(name).fingerprint()).collect();
    let mut denials = Denials::default();
    denials.insert(distrust, DeniedCertificates { certificates, ..DeniedCertificates::default() });
    denials
}

pub(crate) fn bundle(name: &str, spec: &Value) -> api::Bundle {
    serde_json::from_value(json!({
        "apiVersion": api::API_VERSION, "kind": api::KIND,
        "metadata": { "name": name, "uid": format!("uid-of-{name}"), "generation": 1 }, "spec": spec,
    }))
    .expect("a Bundle")
}

pub(crate) fn intent(name: &str, spec: &Value) -> Intent {
    Intent::parse(&bundle(name, spec), &TRUST_NAMESPACE.into()).expect("a valid Bundle")
}

/// A Bundle with one inline source and a ConfigMap target.
pub(crate) fn plain(name: &str) -> Intent {
    intent(name, &json!({ "sources": [{ "inLine": pem("rsa") }], "target": { "configMap": { "key": "ca.pem" } } }))
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The key of an object of the trust namespace.
pub(crate) fn source_id(kind: ObjectKind, name: &str) -> SourceId {
    SourceId { kind, namespace: TRUST_NAMESPACE.into(), name: name.into() }
}

impl Inputs {
    pub(crate) fn with_config_map(mut self, name: &str, pairs: &[(&str, &str)], data: &[(&str, &str)]) -> Self {
        let values = data.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec().into())).collect();
        let labels = labels(pairs);
        let output = if labels.contains_key(api::BUNDLE_LABEL) { OutputKeys::All } else { OutputKeys::None };
        let object =
            SourceObject { labels, output, content: SourceContent::Keys(values), undecodable: BTreeMap::new() };
        self.sources.insert(source_id(ObjectKind::ConfigMap, name), object);
        self
    }

    pub(crate) fn with_intent(mut self, intent: &Intent) -> Self {
        self.intents.insert(intent.id.clone(), intent.clone());
        self
    }
}
