//! One Bundle in full.

use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;

use crate::bundle::{AnchorOrigin, ObjectKind};
use crate::inspect::{Cell, CertificateSet, DetailLevel, LocatedCertificate, Location, ValuePlace, render_columns};
use crate::text::escape;

use super::bundle_overview::BundleOverview;
use super::diagnosis::Diagnosis;
use super::snapshot::LeaderStatus;
use super::table::age;

const HEADER: [&str; 5] = ["CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE"];

/// Maximum number of namespaces named for one diagnosis; documents have all of them.
const NAMESPACES_SHOWN: usize = 10;

impl BundleOverview<'_> {
    /// Returns everything about the Bundle as text.
    #[must_use]
    pub fn detail(&self, leadership: &LeaderStatus, settings_from: &str, now: Timestamp) -> String {
        let generation = self.generation.map_or_else(String::new, |generation| format!(", generation {generation}"));
        let changed =
            self.changed.map_or_else(String::new, |time| format!(", last change {} ({time})", ago(time, now)));
        let mut out = format!("Bundle {}{generation}{changed}\n{}\n", self.id, leadership.describe(now));
        let _ = writeln!(out, "Settings: {settings_from}");
        let header = HEADER.map(Cell::plain);
        let rows = self.conditions.iter().map(|condition| {
            let status = match (&*condition.type_, &*condition.status) {
                (_, "Unknown") => Cell::warning("Unknown"),
                ("Synced" | "SourcesComplete", "False") => Cell::bad("False"),
                (_, status) => Cell::plain(status),
            };
            let outdated = condition.observed_generation != self.generation;
            let of = if outdated { " (of an earlier generation)" } else { "" };
            [
                Cell::plain(&condition.type_),
                status,
                Cell::plain(&condition.reason),
                Cell::plain(ago(condition.last_transition_time.0, now)),
                Cell::plain(format!("{}{of}", condition.message)),
            ]
        });
        if self.conditions.is_empty() {
            out += "\nNo controller has said anything about it yet.\n";
        } else {
            let _ = write!(out, "\n{}", render_columns(std::iter::once(header).chain(rows)));
        }
        out += &self.targets();
        out += &self.certificates(now);
        if !self.findings.is_empty() {
            out += "\nTheir sources need attention:\n";
        }
        for finding in &self.findings {
            let _ = writeln!(out, "  {}", escape(finding));
        }
        for remark in &self.remarks {
            let _ = writeln!(out, "\nNote: {}", escape(remark));
        }
        out
    }

    fn targets(&self) -> String {
        let Some(desired) = self.desired else { return String::new() };
        let mut out = format!("\nTargets: {} of {desired} in sync\n", self.in_sync);
        for ((kind, Diagnosis { cause, remedy }), namespaces) in &self.diagnoses {
            let _ = writeln!(out, "  {}: {}", summarize_targets(*kind, namespaces), escape(cause));
            let _ = writeln!(out, "    cure: {}", escape(remedy));
        }
        out
    }

    fn certificates(&self, now: Timestamp) -> String {
        let beside = if self.default_cas { ", beside the default CAs" } else { "" };
        match &self.origins {
            Err(error) => format!("\nCertificates: not known: {}\n", escape(&error.to_string())),
            Ok(origins) if origins.is_empty() && self.default_cas => {
                "\nCertificates: the default CAs only\n".to_owned()
            }
            Ok(origins) => {
                let certificates = CertificateSet {
                    certificates: origins.iter().map(located_in_source).collect(),
                    ..CertificateSet::default()
                };
                format!("\nCertificates{beside}:\n{}", certificates.table(now, DetailLevel::Brief))
            }
        }
    }
}

/// Returns a certificate as it is shown, located in its source.
pub(super) fn located_in_source(AnchorOrigin { anchor, location: place, line }: &AnchorOrigin) -> LocatedCertificate {
    LocatedCertificate {
        place: ValuePlace::of_key(place),
        location: Location::Line(*line),
        certificate: Ok(anchor.clone()),
    }
}

fn ago(time: Timestamp, now: Timestamp) -> String {
    format!("{} ago", age(time, now))
}

/// Returns text such as `12 ConfigMaps in a, b and 10 more`.
pub(super) fn summarize_targets(kind: ObjectKind, namespaces: &[Arc<str>]) -> String {
    let objects = if namespaces.len() == 1 { kind.as_str() } else { kind.plural() };
    format!("{} {objects} in {}", namespaces.len(), summarize_namespaces(namespaces))
}

fn summarize_namespaces(namespaces: &[Arc<str>]) -> String {
    let named: Vec<&str> = namespaces.iter().take(NAMESPACES_SHOWN).map(|name| &**name).collect();
    match namespaces.len().saturating_sub(NAMESPACES_SHOWN) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
