//! Overviews as JSON values for programs. Times are RFC 3339 in UTC, fingerprints whole, lists complete.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::bundle::{AnchorOrigin, ObjectKind};

use super::bundle_overview::{BundleOverview, Overview};
use super::diagnosis::Diagnosis;
use super::snapshot::LeaderStatus;

impl Overview<'_> {
    /// Returns an object with `leader`, `settingsFrom` and `bundles`.
    #[must_use]
    pub fn document(&self) -> Value {
        json!({
            "leader": self.leadership.document(),
            "settingsFrom": self.settings_from,
            "bundles": self.bundles.iter().map(BundleOverview::document).collect::<Vec<_>>(),
        })
    }
}

impl LeaderStatus {
    /// Returns an object with `state` (`Led`, `Vacant`, `NoLease` or `Unknown`) and `lease`, `holder`, `renewed` and
    /// `cause` where known.
    fn document(&self) -> Value {
        match self {
            Self::Led { lease, holder, renewed } => {
                json!({ "state": "Led", "lease": lease, "holder": holder, "renewed": renewed.to_string() })
            }
            Self::Vacant { lease, renewed } => {
                json!({ "state": "Vacant", "lease": lease, "renewed": renewed.map(|time| time.to_string()) })
            }
            Self::NoLease => json!({ "state": "NoLease" }),
            Self::Unknown(cause) => json!({ "state": "Unknown", "cause": cause }),
        }
    }
}

impl BundleOverview<'_> {
    fn document(&self) -> Value {
        let Self { id, generation, synced, conditions, desired, in_sync, diagnoses, .. } = self;
        let Self { origins, default_cas, findings, remarks, changed, .. } = self;
        let (status, reason) = synced.status_and_reason();
        let certificates = origins.as_ref().ok().map(|origins| origins.iter().map(certificate).collect::<Vec<_>>());
        json!({
            "name": &**id.name(),
            "generation": generation,
            "synced": status,
            "reason": reason,
            "conditions": conditions,
            "targets": { "wanted": desired, "inSync": in_sync, "failing": diagnoses.iter().map(diagnosis).collect::<Vec<_>>() },
            "certificates": certificates,
            "certificatesUnknown": origins.as_ref().err().map(ToString::to_string),
            "defaultCAs": default_cas,
            "nextEnd": self.next_expiry().and_then(|origin| time(origin.anchor.not_after())),
            "findings": findings,
            "remarks": remarks,
            "changed": changed.map(|changed| changed.to_string()),
            "well": self.is_healthy(),
        })
    }
}

fn diagnosis(
    ((kind, Diagnosis { cause, remedy }), namespaces): (&(ObjectKind, Diagnosis), &Vec<std::sync::Arc<str>>),
) -> Value {
    let namespaces: Vec<&str> = namespaces.iter().map(|name| &**name).collect();
    json!({ "kind": kind.as_str(), "cause": cause, "cure": remedy, "namespaces": namespaces })
}

fn certificate(AnchorOrigin { anchor, location: place, line }: &AnchorOrigin) -> Value {
    json!({
        "subject": anchor.subject(),
        "issuer": anchor.issuer(),
        "fingerprint": anchor.fingerprint().to_string(),
        "notBefore": time(anchor.not_before()),
        "notAfter": time(anchor.not_after()),
        "source": place,
        "line": line,
    })
}

/// `null` beyond the year 9999.
pub(super) fn time(seconds: i64) -> Option<String> {
    Timestamp::from_second(seconds).ok().map(|time| time.to_string())
}
