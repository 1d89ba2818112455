//! The content of a Bundle's targets without what is denied meanwhile.

use crate::trust::{self, Anchor, Anchors};

use super::decision::Desired;
use super::payload::{Content, PayloadValue, encode};

impl Desired {
    /// Returns the certificates that the targets hold.
    #[must_use]
    pub fn certificates(&self) -> Vec<Anchor> {
        let pem = self.payloads.values().flat_map(|payload| payload.values.values()).find_map(|value| match value {
            PayloadValue::Text(pem) => Some(pem),
            PayloadValue::Binary(_) => None,
        });
        let blocks = pem.map(|pem| trust::pem::read(pem.as_bytes())).and_then(Result::ok).unwrap_or_default();
        blocks.into_iter().filter_map(|block| block.certificate.ok()).collect()
    }

    /// Returns the desired state without the certificates that are denied; `None` if none is.
    ///
    /// # Panics
    /// Never: the content is a part of one that was encoded before.
    #[must_use]
    pub fn without_denied(&self, denies: impl Fn(&Anchor) -> bool) -> Option<Self> {
        let all = self.certificates();
        let rest: Vec<_> = all.iter().filter(|anchor| !denies(anchor)).cloned().collect();
        if rest.len() == all.len() {
            return None;
        }
        let anchors = Anchors::collect(rest);
        let content = Content { bundle: &self.name, anchors: anchors.as_ref(), denied: true };
        let encoded = encode(&self.output, content).expect("less than what was encoded before fits");
        let mut payloads = self.payloads.clone();
        for payload in encoded {
            payloads.entry(payload.kind).and_modify(|before| *before = payload);
        }
        Some(Self { payloads, all_denied: anchors.is_none(), ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bundle::fixture::{anchor, intent, now, pem};
    use crate::bundle::{Inputs, Reason, decide};
    use std::sync::Arc;

    fn published(certificates: &[&str]) -> Arc<Desired> {
        let formats = json!({ "jks": { "key": "j", "password": "secret" } });
        let target = json!({
            "configMap": { "key": "k", "metadata": { "labels": { "a": "b" } } }, "secret": { "key": "k" },
            "additionalFormats": formats,
        });
        let source: String = certificates.iter().map(|name| pem(name)).collect();
        let intent = intent("b", &json!({ "sources": [{ "inLine": source }], "target": target }));
        decide(&intent, &Inputs::default(), now()).expect("a decision").desired
    }

    #[test]
    fn it_is_what_a_bundle_without_the_denied_certificate_publishes() {
        let (both, one) = (published(&["rsa", "ec"]), published(&["ec"]));
        let rest = both.without_denied(|found| *found == anchor("rsa")).expect("it holds that one");
        assert_eq!(rest.payloads.keys().collect::<Vec<_>>(), one.payloads.keys().collect::<Vec<_>>());
        for (kind, payload) in &rest.payloads {
            let expected = &one.payloads[kind];
            assert_eq!((&payload.values, &payload.hash), (&expected.values, &expected.hash));
        }
        assert!(rest.without_denied(|found| *found == anchor("rsa")).is_none());
        assert_eq!(both.certificates().len(), 2);
    }

    #[test]
    fn where_all_are_denied_it_holds_none_and_says_so() {
        let rest = published(&["rsa"]).without_denied(|_| true).expect("it holds one");
        assert_eq!(rest.refusal().map(|refusal| refusal.reason), Some(Reason::EverythingDistrusted));
        assert!(rest.certificates().is_empty() && rest.without_denied(|_| true).is_none());
    }
}
