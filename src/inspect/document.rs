//! Documents for programs: JSON values. Times are RFC 3339 in UTC, fingerprints whole.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::certificate_diff::{CertificateChange, CertificateDiff};
use super::certificate_set::{CertificateSet, LocatedCertificate, Location, Remark, ValuePlace};
use super::detail_level::DetailLevel;
use super::facts::{self, Fact};
use super::table::days_left;
use super::verification::VerificationResult;
use crate::trust::Anchor;

impl CertificateSet {
    /// Returns an object of `source`, `certificates` and `remarks`.
    #[must_use]
    pub fn document(&self, now: Timestamp, detail: DetailLevel) -> Value {
        let certificates = self.certificates.iter().map(|found| certificate(found, now, detail));
        json!({
            "source": self.name,
            "certificates": certificates.collect::<Vec<_>>(),
            "remarks": self.remarks.iter().map(remark).collect::<Vec<_>>(),
        })
    }
}

impl CertificateDiff {
    /// Returns an object of the lists `added`, `removed` and `same`.
    #[must_use]
    pub fn document(&self, now: Timestamp, detail: DetailLevel) -> Value {
        let list = |change| self.of(change).map(|found| certificate(found, now, detail)).collect::<Vec<_>>();
        json!({
            "added": list(CertificateChange::Added),
            "removed": list(CertificateChange::Removed),
            "same": list(CertificateChange::Same),
        })
    }
}

impl VerificationResult {
    /// Returns an object of `server`, `accepted` (null if unknown), `reasons` and `chain`, which the server sends.
    #[must_use]
    pub fn document(&self, chain: &CertificateSet, now: Timestamp) -> Value {
        let reasons = self.reasons.iter().map(|(cause, remedy)| json!({ "cause": cause, "cure": remedy }));
        json!({
            "server": self.server,
            "accepted": self.acceptance.accepted(),
            "reasons": reasons.collect::<Vec<_>>(),
            "chain": chain.certificates.iter().map(|found| certificate(found, now, DetailLevel::Full)).collect::<Vec<_>>(),
        })
    }
}

fn certificate(found: &LocatedCertificate, now: Timestamp, detail: DetailLevel) -> Value {
    let (line, alias, number) = match &found.location {
        Location::Line(line) => (Some(line), None, None),
        Location::Alias(alias) => (None, Some(alias), None),
        Location::Number(number) => (None, None, Some(number)),
    };
    let mut document = json!({ "fingerprint": found.fingerprint().to_string() });
    match &found.certificate {
        Ok(anchor) => {
            document["subject"] = json!(anchor.subject());
            document["issuer"] = json!(anchor.issuer());
            document["notBefore"] = json!(time(anchor.not_before()));
            document["notAfter"] = json!(time(anchor.not_after()));
            document["expiresInDays"] = json!(days_left(anchor.not_after(), now));
            document["key"] = json!(anchor.key().to_string());
            document["ca"] = json!(anchor.is_ca());
            if detail == DetailLevel::Full {
                add_facts(&mut document, anchor);
            }
        }
        Err(malformed) => {
            document["subject"] = json!(malformed.subject);
            document["refused"] = json!(malformed.cause.to_string());
        }
    }
    let location = [
        ("object", found.place.object.as_ref().map(|object| json!(&**object))),
        ("objectKey", found.place.key.as_ref().map(|key| json!(&**key))),
        ("line", line.map(|line| json!(line))),
        ("alias", alias.map(|alias| json!(&**alias))),
        ("number", number.map(|number| json!(number))),
    ];
    for (name, value) in location {
        if let Some(value) = value {
            document[name] = value;
        }
    }
    document
}

/// Adds a field for each fact: null if the certificate says nothing of it, or if it is `unreadable`, a list of fields.
fn add_facts(document: &mut Value, anchor: &Anchor) {
    let (algorithm, size) = facts::key(anchor);
    document["keyAlgorithm"] = json!(algorithm);
    document["keySize"] = json!(size);
    let mut unreadable = Vec::new();
    for (kind, fact) in facts::KINDS.iter().zip(facts::read(anchor)) {
        document[kind.field] = match fact {
            Fact::Text(text) => json!(text),
            Fact::List(texts) => json!(texts),
            Fact::Absent => Value::Null,
            Fact::Unreadable => {
                unreadable.push(kind.field);
                Value::Null
            }
        };
    }
    document["unreadable"] = json!(unreadable);
}

fn remark(remark: &Remark) -> Value {
    let Remark { place: ValuePlace { object, key }, text, damage } = remark;
    let mut document = json!({ "objectKey": key.as_deref(), "text": text, "damage": damage });
    if let Some(object) = object {
        document["object"] = json!(&**object);
    }
    document
}

/// Formats a time; `None` beyond the year 9999.
fn time(seconds: i64) -> Option<String> {
    Timestamp::from_second(seconds).ok().map(|time| time.to_string())
}
