//! The ledger: the stored form of a Bundle's memory, as the data of one ConfigMap.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api;
use crate::bundle::id::BundleId;
use crate::bundle::payload::SIZE_MAX;
use crate::bundle::reason::Reason;
use crate::bundle::refusal::Refusal;
use crate::trust::{self, Anchor, Anchors, Fingerprint, PemError};

use super::memory::{ContentDigest, Memory, MemoryEntry, Phase, UnknownFields, WithdrawalReason};

/// The key of the certificates, as PEM.
pub const CERTIFICATES_KEY: &str = "certificates.pem";

/// The key of all else, as JSON.
pub const DOCUMENT_KEY: &str = "ledger.json";

/// The version of the document that this program writes.
const VERSION: u32 = 1;

/// A memory as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// Uid of the Bundle that it was written for.
    pub uid: String,
    /// The memory.
    pub memory: Memory,
}

/// The beginning of the name of a ledger of a Bundle.
const OF_BUNDLE: &str = "rootcast-ledger.bundle.";

/// Returns the name of the ConfigMap that holds the ledger of a bundle.
#[must_use]
pub fn ledger_name(id: &BundleId) -> String {
    match id {
        BundleId::Bundle(name) => format!("{OF_BUNDLE}{name}"),
    }
}

/// Returns the bundle whose ledger a ConfigMap of this name holds, if it may be one.
#[must_use]
pub fn ledger_of(name: &str) -> Option<BundleId> {
    name.strip_prefix(OF_BUNDLE).map(BundleId::from)
}

/// Checks that the data of a ledger fit into one object.
///
/// # Errors
/// The [`Refusal`] of the Bundle if they do not.
pub fn check_ledger_size(id: &BundleId, data: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let total: usize = data.values().map(String::len).sum();
    if total <= SIZE_MAX {
        return Ok(());
    }
    let message = format!(
        "ConfigMap {} of the trust namespace cannot hold what is to be remembered of the Bundle's certificates: {total} bytes are over the limit of {SIZE_MAX}, so targets stay as they are; retain certificates for less time (annotation {}), exclude those that nothing needs ({}), or split the sources over several Bundles",
        ledger_name(id),
        api::RETAIN_ANNOTATION,
        api::EXCLUDE_ANNOTATION
    );
    Err(Refusal::new(Reason::LedgerTooLarge, &message))
}

/// Error for data that are no ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// A key is missing.
    #[error("key {0:?} is missing")]
    Key(&'static str),
    /// The document cannot be read.
    #[error("key {DOCUMENT_KEY:?}: {0}")]
    Document(String),
    /// The document is of a newer version.
    #[error("key {DOCUMENT_KEY:?} is of version {0}, and this program reads versions up to {VERSION}")]
    Version(u32),
    /// The certificates cannot be read.
    #[error("key {CERTIFICATES_KEY:?}: {0}")]
    Certificates(Box<PemError>),
    /// A certificate of the document is missing.
    #[error("key {CERTIFICATES_KEY:?} lacks the certificate with SHA-256 {0}")]
    Missing(Fingerprint),
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    uid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    certificates: Vec<Certificate>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

#[derive(Serialize, Deserialize)]
struct Certificate {
    sha256: String,
    #[serde(default)]
    subject: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    everywhere: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    withdrawn: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<WithdrawalReason>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    origins: Vec<String>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

impl Ledger {
    /// Encodes the ledger as the data of a ConfigMap. The same memory makes the same bytes.
    ///
    /// # Panics
    /// Never: its fields are all text and numbers.
    #[must_use]
    pub fn encode(&self) -> BTreeMap<String, String> {
        let Self { uid, memory: Memory { entries, content, unknown } } = self;
        let document = Document {
            version: VERSION,
            uid: uid.clone(),
            content: content.as_ref().map(ToString::to_string),
            certificates: entries.iter().map(|(fingerprint, entry)| Certificate::new(*fingerprint, entry)).collect(),
            unknown: unknown.clone(),
        };
        let anchors = Anchors::collect(entries.values().map(|entry| entry.anchor.clone()));
        let document = serde_json::to_string(&document).expect("text and numbers");
        [
            (CERTIFICATES_KEY.to_owned(), anchors.as_ref().map(Anchors::to_pem).unwrap_or_default()),
            (DOCUMENT_KEY.to_owned(), document),
        ]
        .into()
    }

    /// Decodes the data of a ConfigMap.
    ///
    /// # Errors
    /// [`LedgerError`] with the key and the cause.
    pub fn decode(data: &BTreeMap<String, String>) -> Result<Self, LedgerError> {
        let value = |key| data.get(key).ok_or(LedgerError::Key(key));
        let (pem, document) = (value(CERTIFICATES_KEY)?, value(DOCUMENT_KEY)?);
        let invalid = |error: &dyn ToString| LedgerError::Document(error.to_string());
        let Document { version, uid, content, certificates, unknown } =
            serde_json::from_str(document).map_err(|error| invalid(&error))?;
        if version > VERSION {
            return Err(LedgerError::Version(version));
        }
        let content =
            content.map(|digest| digest.parse::<ContentDigest>()).transpose().map_err(|error| invalid(&error))?;
        let blocks = trust::pem::read(pem.as_bytes()).map_err(|error| LedgerError::Certificates(Box::new(error)))?;
        let anchors: BTreeMap<_, _> = blocks
            .into_iter()
            .filter_map(|block| block.certificate.ok())
            .map(|anchor| (anchor.fingerprint(), anchor))
            .collect();
        let mut entries = BTreeMap::new();
        for certificate in certificates {
            let fingerprint = certificate.sha256.parse::<Fingerprint>().map_err(|error| invalid(&error))?;
            let anchor = anchors.get(&fingerprint).ok_or(LedgerError::Missing(fingerprint))?;
            entries.insert(fingerprint, certificate.entry(anchor));
        }
        Ok(Self { uid, memory: Memory { entries, content, unknown } })
    }
}

impl Certificate {
    fn new(fingerprint: Fingerprint, entry: &MemoryEntry) -> Self {
        let MemoryEntry { anchor, origins, first, everywhere, phase, unknown } = entry;
        let (left, withdrawn, why) = match *phase {
            Phase::Present => (None, None, None),
            Phase::Leaving { since } => (Some(since), None, None),
            Phase::Withdrawing { since, reason } => (None, Some(since), Some(reason)),
        };
        Self {
            sha256: fingerprint.to_string(),
            subject: anchor.subject().to_owned(),
            first: *first,
            everywhere: *everywhere,
            left,
            withdrawn,
            why,
            origins: origins.clone(),
            unknown: unknown.clone(),
        }
    }

    fn entry(self, anchor: &Anchor) -> MemoryEntry {
        let Self { sha256: _, subject: _, first, everywhere, left, withdrawn, why, origins, unknown } = self;
        let phase = match (left, withdrawn) {
            (_, Some(since)) => Phase::Withdrawing { since, reason: why.unwrap_or(WithdrawalReason::Safe) },
            (Some(since), None) => Phase::Leaving { since },
            (None, None) => Phase::Present,
        };
        MemoryEntry { anchor: anchor.clone(), origins, first, everywhere, phase, unknown }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::bundle::fixture::{now, pem};

    fn ledger() -> Ledger {
        let anchors = ["rsa", "ec"].map(|name| {
            let blocks = trust::pem::read(pem(name).as_bytes()).expect("PEM");
            blocks[0].certificate.clone().expect("a certificate")
        });
        let mut memory = Memory::begin(anchors, now());
        memory.content = Some(ContentDigest::of_pem("content"));
        let mut entries = memory.entries.values_mut();
        let (one, other) = (entries.next().expect("an entry"), entries.next().expect("an entry"));
        one.phase = Phase::Leaving { since: now() };
        (other.phase, other.first, other.origins) = (
            Phase::Withdrawing { since: now(), reason: WithdrawalReason::Denied },
            None,
            vec!["ConfigMap cert-manager/ca key \"ca.crt\"".to_owned()],
        );
        Ledger { uid: "uid".to_owned(), memory }
    }

    fn edited(edit: impl Fn(&mut Value)) -> BTreeMap<String, String> {
        let mut data = ledger().encode();
        let mut document: Value = serde_json::from_str(&data[DOCUMENT_KEY]).expect("JSON");
        edit(&mut document);
        data.insert(DOCUMENT_KEY.to_owned(), document.to_string());
        data
    }

    #[test]
    fn a_memory_is_stored_whole_with_what_a_newer_version_has_added() {
        assert_eq!(Ledger::decode(&ledger().encode()), Ok(ledger()));
        let newer = edited(|document| {
            document["later"] = json!({ "a": [1] });
            document["certificates"][0]["later"] = json!("b");
        });
        let again = Ledger::decode(&newer).expect("a ledger").encode();
        let documents = [&newer, &again].map(|data| serde_json::from_str::<Value>(&data[DOCUMENT_KEY]).expect("JSON"));
        assert_eq!(documents[0], documents[1]);
    }

    #[test]
    fn what_is_no_ledger_is_named_with_its_cause() {
        let error = |data: &BTreeMap<String, String>| Ledger::decode(data).expect_err("no ledger").to_string();
        let mut data = ledger().encode();
        data.insert(CERTIFICATES_KEY.to_owned(), "-----BEGIN CERTIFICATE-----\n".to_owned());
        let pem = error(&data);
        assert!(pem.starts_with("key \"certificates.pem\": invalid PEM block"), "{pem}");
        data.insert(CERTIFICATES_KEY.to_owned(), String::new());
        assert!(error(&data).starts_with("key \"certificates.pem\" lacks the certificate with SHA-256 "));
        data.remove(CERTIFICATES_KEY);
        assert_eq!(error(&data), "key \"certificates.pem\" is missing");
        let version = edited(|document| document["version"] = json!(2));
        assert_eq!(error(&version), "key \"ledger.json\" is of version 2, and this program reads versions up to 1");
        let time = edited(|document| document["certificates"][0]["first"] = json!("yesterday"));
        assert!(error(&time).starts_with("key \"ledger.json\": "));
        let digits = edited(|document| document["certificates"][0]["sha256"] = json!("ab"));
        assert_eq!(error(&digits), "key \"ledger.json\": a SHA-256 fingerprint has 64 hexadecimal digits, not 2");
    }
}
