//! What a Bundle and its ledger show of the rotation of its certificates.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api;
use crate::bundle::{
    BundleId, BundlePolicy, Denials, Denier, Intent, Ledger, LedgerError, Memory, MemoryEntry, RetiringNote,
    TrustNamespaces, ledger_name, settle_time,
};
use crate::trust::Fingerprint;

/// A Bundle and its ledger, read at about the same moment.
#[derive(Clone, Debug)]
pub struct RotationSnapshot {
    /// Identifier of the Bundle.
    pub bundle: BundleId,
    /// What its annotations say.
    pub policy: Result<BundlePolicy, InvalidBundleError>,
    /// Its conditions.
    pub conditions: Vec<Condition>,
    /// Its ledger.
    pub ledger: LedgerState,
    /// Namespace and name of the ledger.
    pub ledger_name: String,
    /// What is distrusted; `None` if it was not read.
    pub denials: Option<Denials>,
    /// The time of the snapshot.
    pub now: Timestamp,
}

/// The ledger of a Bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerState {
    /// There is none.
    Absent,
    /// It cannot be read.
    Invalid(LedgerError),
    /// It was written for another Bundle of the same name.
    Foreign,
    /// It holds this memory.
    Held(Memory),
}

/// The error of a Bundle whose annotations or spec are invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the Bundle is invalid: {0}")]
pub struct InvalidBundleError(String);

impl LedgerState {
    /// Reads the data of a ledger, for the Bundle of a uid or for any.
    #[must_use]
    pub fn of(data: Option<&BTreeMap<String, String>>, uid: Option<&str>) -> Self {
        match data.map(Ledger::decode) {
            None => Self::Absent,
            Some(Err(error)) => Self::Invalid(error),
            Some(Ok(ledger)) if uid.is_some_and(|uid| uid != ledger.uid) => Self::Foreign,
            Some(Ok(ledger)) => Self::Held(ledger.memory),
        }
    }

    /// Returns the memory, if there is one.
    #[must_use]
    pub fn memory(&self) -> Option<&Memory> {
        match self {
            Self::Held(memory) => Some(memory),
            Self::Absent | Self::Invalid(_) | Self::Foreign => None,
        }
    }
}

impl RotationSnapshot {
    /// Returns the snapshot of a Bundle and of the data of its ledger, if there is one in the trust namespace.
    #[must_use]
    pub fn of(
        bundle: &api::Bundle,
        trust_namespace: &str,
        ledger: Option<&BTreeMap<String, String>>,
        now: Timestamp,
    ) -> Self {
        let id = BundleId::from(bundle.metadata.name.as_deref().unwrap_or_default());
        let policy = Intent::parse(bundle, &TrustNamespaces::unlisted(trust_namespace)).map(|intent| intent.policy);
        let invalid = |errors: Vec<String>| InvalidBundleError(errors.join("; "));
        Self {
            policy: policy.map_err(|errors| invalid(errors.iter().map(ToString::to_string).collect())),
            conditions: bundle.status.iter().flat_map(|status| status.conditions.iter().flatten()).cloned().collect(),
            ledger: LedgerState::of(ledger, bundle.metadata.uid.as_deref()),
            ledger_name: format!("ConfigMap {trust_namespace}/{}", ledger_name(&id)),
            denials: None,
            now,
            bundle: id,
        }
    }

    /// Returns the condition of a type.
    #[must_use]
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }

    /// Returns why nothing is known of the Bundle's rotation, with the remedy, if its certificates are not retained.
    #[must_use]
    pub fn retention_off(&self) -> Option<String> {
        let is_reported = self.condition(api::SETTLED).is_some() || self.condition(api::RETIRING).is_some();
        let cause = match self.policy.as_ref().map(|policy| policy.retain) {
            Ok(Some(time)) if time.is_zero() => format!("its annotation {} says so", api::RETAIN_ANNOTATION),
            Ok(Some(_)) | Err(_) => return None,
            Ok(None) if is_reported || self.condition(api::SYNCED).is_none() => return None,
            Ok(None) => {
                format!("it has no annotation {}, and the controller no --default-retain", api::RETAIN_ANNOTATION)
            }
        };
        let remedy = format!("kubectl annotate --overwrite bundle {} {}=720h", self.bundle, api::RETAIN_ANNOTATION);
        Some(format!("certificates are not retained, since {cause}: {remedy}"))
    }

    /// Returns the settle time in force, as the controller says it.
    #[must_use]
    pub fn settle(&self) -> Option<SignedDuration> {
        settle_time(&self.conditions)
    }

    /// Returns from when on all nodes have a certificate in files, if that is known.
    #[must_use]
    pub fn settled_at(&self, entry: &MemoryEntry) -> Option<Timestamp> {
        entry.everywhere?.checked_add(self.settle()?).ok()
    }

    /// Returns what the controller says of a certificate that is leaving.
    #[must_use]
    pub fn retiring_note(&self, fingerprint: Fingerprint) -> Option<RetiringNote> {
        RetiringNote::read(&self.condition(api::RETIRING)?.message, fingerprint)
    }

    /// Returns what denies a certificate, as far as it is known.
    #[must_use]
    pub fn denier(&self, fingerprint: Fingerprint) -> Option<Denier> {
        let exclude = self.policy.as_ref().map(|policy| policy.exclude.clone()).unwrap_or_default();
        let denials = self.denials.clone().unwrap_or_default();
        match self.ledger.memory().and_then(|memory| memory.entries.get(&fingerprint)) {
            Some(entry) => denials.denier(&entry.anchor, &exclude),
            None => denials.denier_by_fingerprint(fingerprint, &exclude),
        }
    }

    /// Returns why the ledger says nothing.
    #[must_use]
    pub fn describe_ledger(&self) -> Option<String> {
        let name = &self.ledger_name;
        match &self.ledger {
            LedgerState::Held(_) => None,
            LedgerState::Absent => Some(format!(
                "there is no ledger {name} yet; if the controller has another trust namespace, name that by --trust-namespace"
            )),
            LedgerState::Invalid(error) => {
                Some(format!("the ledger {name} cannot be read: {error}; the controller writes it anew"))
            }
            LedgerState::Foreign => {
                Some(format!("the ledger {name} is of another Bundle of this name; the controller writes it anew"))
            }
        }
    }

    /// Returns what is wrong with the Bundle, by its annotations and conditions.
    pub fn troubles(&self) -> impl Iterator<Item = String> {
        let invalid = self.policy.as_ref().err().map(ToString::to_string);
        let untrue = [api::SYNCED, api::SETTLED].into_iter().filter_map(|type_| self.condition(type_));
        let untrue = untrue.filter(|condition| condition.status == "False");
        let said =
            untrue.map(|Condition { type_, reason, message, .. }| format!("{type_} is False, {reason}: {message}"));
        invalid.into_iter().chain(said)
    }
}
