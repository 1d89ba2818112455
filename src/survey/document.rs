//! The same as documents for programs: JSON values. Times are RFC 3339 in UTC, fingerprints whole, lists complete.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::bundle::{ObjectKind, Origin};

use super::snapshot::Leadership;
use super::state::{Overview, State};
use super::trouble::Trouble;

impl Overview<'_> {
    /// `leader`, `settingsFrom` and `bundles`.
    #[must_use]
    pub fn document(&self) -> Value {
        json!({
            "leader": self.leadership.document(),
            "settingsFrom": self.settings_from,
            "bundles": self.states.iter().map(State::document).collect::<Vec<_>>(),
        })
    }
}

impl Leadership {
    /// `state`, which is `Led`, `Vacant`, `NoLease` or `Unknown`, with `lease`, `holder`, `renewed` and `cause` where known.
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

impl State<'_> {
    fn document(&self) -> Value {
        let Self { name, generation, synced, conditions, wanted, in_sync, troubles, .. } = self;
        let Self { origins, default_cas, findings, remarks, changed, .. } = self;
        let (status, reason) = synced.words();
        let certificates = origins.as_ref().ok().map(|origins| origins.iter().map(certificate).collect::<Vec<_>>());
        json!({
            "name": name,
            "generation": generation,
            "synced": status,
            "reason": reason,
            "conditions": conditions,
            "targets": { "wanted": wanted, "inSync": in_sync, "failing": troubles.iter().map(trouble).collect::<Vec<_>>() },
            "certificates": certificates,
            "certificatesUnknown": origins.as_ref().err(),
            "defaultCAs": default_cas,
            "nextEnd": self.next_end().and_then(|origin| time(origin.anchor.not_after())),
            "findings": findings,
            "remarks": remarks,
            "changed": changed.map(|changed| changed.to_string()),
            "well": self.is_well(),
        })
    }
}

fn trouble(
    ((kind, Trouble { cause, cure }), namespaces): (&(ObjectKind, Trouble), &Vec<std::sync::Arc<str>>),
) -> Value {
    let namespaces: Vec<&str> = namespaces.iter().map(|name| &**name).collect();
    json!({ "kind": kind.as_str(), "cause": cause, "cure": cure, "namespaces": namespaces })
}

fn certificate(Origin { anchor, place, line }: &Origin) -> Value {
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
fn time(seconds: i64) -> Option<String> {
    Timestamp::from_second(seconds).ok().map(|time| time.to_string())
}
