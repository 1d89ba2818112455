//! What conditions `Settled` and `Retiring` say to programs.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api;
use crate::trust::Fingerprint;

/// What condition `Retiring` says of a certificate that is leaving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetiringNote {
    /// Until when it stays published at least.
    pub until: Timestamp,
    /// What it waits for, in words.
    pub waits_for: String,
}

impl RetiringNote {
    /// Reads the note of a certificate from the message of the condition, if there is one.
    #[must_use]
    pub fn read(message: &str, fingerprint: Fingerprint) -> Option<Self> {
        let (_, rest) = message.split_once(&format!("(SHA-256 {fingerprint}) leaving since "))?;
        let (_, rest) = rest.split_once(", until ")?;
        let (until, rest) = rest.split_once(" at least, waits for ")?;
        let waits_for = rest.split_once(", was in ").map_or(rest, |(waits_for, _)| waits_for);
        Some(Self { until: until.parse().ok()?, waits_for: waits_for.to_owned() })
    }
}

/// Reads the settle time in force from the conditions of a Bundle, if it is there.
#[must_use]
pub fn settle_time(conditions: &[Condition]) -> Option<SignedDuration> {
    let settled = conditions.iter().find(|condition| condition.type_ == api::SETTLED)?;
    let (_, rest) = settled.message.rsplit_once(", settle ")?;
    rest.split(',').next()?.parse().ok()
}
