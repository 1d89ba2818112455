//! Summary of the certificates that a Bundle publishes. Small, since it is kept for every Bundle.

use std::collections::BTreeSet;

use crate::limits;
use crate::trust::{Anchor, Anchors, Fingerprint};

use super::finding::{Finding, Observation};

/// Maximum number of certificates listed by expiry; the earliest are kept.
pub const EXPIRIES_MAX: usize = limits::EXPIRIES.max;

/// Summary of the certificates that a Bundle publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpirySummary {
    /// Number of published certificates, default CAs included.
    pub published: usize,
    /// When the first of them expires, in seconds since 1970-01-01T00:00:00Z; `None` if there is none.
    pub earliest: Option<i64>,
    /// The first certificates to expire from sources other than the default CAs, at most [`EXPIRIES_MAX`], ordered by
    /// expiry.
    pub own: Vec<Expiry>,
}

/// When one certificate expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Expiry in seconds since 1970-01-01T00:00:00Z; negative before.
    pub not_after: i64,
    /// Short fingerprint of the certificate.
    pub fingerprint: Box<str>,
    /// Common name of the certificate, or its whole subject if there is none; at most 64 characters.
    pub name: Box<str>,
}

/// Why a certificate of a source is not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOutReason {
    /// The certificate has expired.
    Expired,
    /// The certificate is not of a CA.
    NonCa,
    /// The certificate is known to break programs.
    Refused,
}

impl ExpirySummary {
    /// Summarizes the published certificates; `own` are those that do not, or not only, come from the default CAs.
    pub(super) fn of(anchors: Option<&Anchors>, own: &BTreeSet<Fingerprint>) -> Self {
        let anchors = || anchors.into_iter().flatten();
        let mut first: Vec<_> = anchors().filter(|anchor| own.contains(&anchor.fingerprint())).collect();
        first.sort_by_key(|anchor| anchor.not_after());
        first.truncate(EXPIRIES_MAX);
        Self {
            published: anchors().count(),
            earliest: anchors().map(Anchor::not_after).min(),
            own: first.into_iter().map(Expiry::of).collect(),
        }
    }
}

impl Expiry {
    fn of(anchor: &Anchor) -> Self {
        let name = anchor.common_name().unwrap_or_else(|| anchor.subject().to_owned());
        Self {
            not_after: anchor.not_after(),
            fingerprint: anchor.fingerprint().short().into(),
            name: name.chars().take(limits::EXPIRY_NAME.max).collect(),
        }
    }
}

impl LeftOutReason {
    /// All reasons.
    pub const ALL: [Self; 3] = [Self::Expired, Self::NonCa, Self::Refused];

    /// Returns the number of certificates that are left out for this reason.
    #[must_use]
    pub fn count(self, findings: &[Finding]) -> usize {
        findings.iter().filter(|finding| Self::of(&finding.what) == Some(self)).count()
    }

    fn of(what: &Observation) -> Option<Self> {
        match what {
            Observation::LeftOutExpired(..) => Some(Self::Expired),
            Observation::LeftOutNonCa(_) => Some(Self::NonCa),
            Observation::LeftOutRejected(_) => Some(Self::Refused),
            Observation::Denied(..)
            | Observation::Expired(..)
            | Observation::ExpiresSoon { .. }
            | Observation::NotYetValid(..)
            | Observation::NotForJava(..)
            | Observation::NoPem(_)
            | Observation::OwnOutput
            | Observation::UnknownAnnotation => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bundle::fixture::{intent, now, pem};
    use crate::bundle::{DecisionSettings, DefaultCas, Inputs, decide};
    use crate::trust::pem::read;

    fn decided(settings: DecisionSettings) -> crate::bundle::Decision {
        let default = read((pem("rsa") + &pem("ec")).as_bytes()).expect("PEM");
        let anchors = default.into_iter().map(|block| block.certificate.expect("a certificate")).collect();
        let default_cas = Some(DefaultCas { version: "v".to_owned(), anchors });
        let inputs = Inputs { settings, default_cas, ..Inputs::default() }.with_config_map(
            "own",
            &[],
            &[("ca", &(pem("expired") + &pem("ec")))],
        );
        let sources = json!([{ "useDefaultCAs": true }, { "configMap": { "name": "own", "key": "ca" } }]);
        let spec = json!({ "sources": sources, "target": { "configMap": { "key": "out" } } });
        decide(&intent("b", &spec), &inputs, now()).expect("a decision")
    }

    #[test]
    fn own_certificates_are_listed_by_name_and_default_cas_are_counted() {
        let ExpirySummary { published, earliest, own } = decided(DecisionSettings::default()).expiry_summary;
        assert_eq!((published, earliest), (3, Some(own[0].not_after)));
        let names: Vec<_> = own.iter().map(|expiry| (&*expiry.name, expiry.fingerprint.len())).collect();
        assert_eq!(names, [("Expired Root A", 8), ("Beta EC Root A", 8)], "the first to expire comes first");
    }

    #[test]
    fn what_is_left_out_is_counted_by_its_reason() {
        let findings = decided(DecisionSettings { filter_expired: true, ..DecisionSettings::default() }).findings;
        assert_eq!(LeftOutReason::ALL.map(|why| why.count(&findings)), [1, 0, 0]);
    }

    #[test]
    fn of_many_certificates_those_that_expire_first_are_listed() {
        let authority = |number: i64| {
            let mut params = rcgen::CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(rcgen::DnType::CommonName, format!("{number} {}", "x".repeat(80)));
            params.not_after = rcgen::date_time_ymd(2030 + i32::try_from(number).expect("small"), 1, 1);
            let key = rcgen::KeyPair::generate().expect("a key");
            Anchor::from_der(params.self_signed(&key).expect("a certificate").der().to_vec()).expect("readable")
        };
        let anchors = Anchors::collect((0..120).rev().map(authority)).expect("some");
        let all = anchors.iter().map(Anchor::fingerprint).collect();
        let ExpirySummary { published, own, .. } = ExpirySummary::of(Some(&anchors), &all);
        assert_eq!((published, own.len()), (120, EXPIRIES_MAX));
        assert!(own.is_sorted_by_key(|expiry| expiry.not_after) && own[0].name.starts_with("0 x"));
        assert!(own.iter().all(|expiry| expiry.name.chars().count() == limits::EXPIRY_NAME.max));
    }
}
