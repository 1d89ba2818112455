//! Difference between two certificate sets.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::certificate_set::{CertificateSet, LocatedCertificate};
use super::detail_level::DetailLevel;
use super::table::{Cell, cells, render_columns};

/// Difference between two certificate sets, by fingerprint.
///
/// Format, order, and how often a certificate occurs make no difference.
#[derive(Debug, Clone)]
pub struct CertificateDiff {
    /// Each certificate once: those of the old set in its order, then those that only the new set has.
    pub changes: Vec<(CertificateChange, LocatedCertificate)>,
}

/// Change of a certificate from the old set to the new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateChange {
    /// Only in the new set.
    Added,
    /// Only in the old set.
    Removed,
    /// In both sets.
    Same,
}

impl CertificateDiff {
    /// Compares two sets.
    #[must_use]
    pub fn between(old: &CertificateSet, new: &CertificateSet) -> Self {
        let fingerprints = |side: &CertificateSet| {
            side.certificates.iter().map(LocatedCertificate::fingerprint).collect::<BTreeSet<_>>()
        };
        let (of_old, of_new) = (fingerprints(old), fingerprints(new));
        let mut seen = BTreeSet::new();
        let changes = old.certificates.iter().chain(&new.certificates).filter_map(|found| {
            let fingerprint = found.fingerprint();
            let change = match (of_old.contains(&fingerprint), of_new.contains(&fingerprint)) {
                (true, true) => CertificateChange::Same,
                (true, false) => CertificateChange::Removed,
                (false, _) => CertificateChange::Added,
            };
            seen.insert(fingerprint).then(|| (change, found.clone()))
        });
        Self { changes: changes.collect() }
    }

    /// Returns whether both sets have the same certificates.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.iter().all(|(change, _)| *change == CertificateChange::Same)
    }

    /// Iterates over the certificates of one kind of change.
    pub fn of(&self, change: CertificateChange) -> impl Iterator<Item = &LocatedCertificate> {
        self.changes.iter().filter(move |(found, _)| *found == change).map(|(_, found)| found)
    }

    /// Formats the removed certificates, then the added ones, a line for each, and the number of each kind.
    #[must_use]
    pub fn table(&self, now: Timestamp, detail: DetailLevel) -> String {
        let line = |change: CertificateChange, found| {
            let mark = match change {
                CertificateChange::Added => Cell::good("+"),
                CertificateChange::Removed => Cell::bad("-"),
                CertificateChange::Same => Cell::plain("="),
            };
            std::iter::once(mark).chain(cells(found, now, detail)).collect::<Vec<_>>()
        };
        let changed = [CertificateChange::Removed, CertificateChange::Added];
        let rows = changed.into_iter().flat_map(|change| self.of(change).map(move |found| line(change, found)));
        let [added, removed, same] = [CertificateChange::Added, CertificateChange::Removed, CertificateChange::Same]
            .map(|change| self.of(change).count());
        render_columns(rows) + &format!("{added} added, {removed} removed, {same} the same\n")
    }
}
