//! Two places compared by what they trust.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::certificate_set::{CertificateSet, LocatedCertificate};
use super::table::{Cell, ColorMode, cells, render_columns};

/// How the certificates of one place differ from those of another. By fingerprint: format, order, and how often a
/// certificate is there make no difference.
#[derive(Debug, Clone)]
pub struct CertificateDiff {
    /// Each certificate once: those of the first place in its order, then what only the second has.
    pub changes: Vec<(CertificateChange, LocatedCertificate)>,
}

/// What becomes of a certificate from the first place to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateChange {
    /// Only the second place has it.
    Added,
    /// Only the first place has it.
    Removed,
    /// Both have it.
    Same,
}

impl CertificateDiff {
    /// Compares.
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

    /// Whether both places trust the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.iter().all(|(change, _)| *change == CertificateChange::Same)
    }

    /// The certificates of one kind of change.
    pub fn of(&self, change: CertificateChange) -> impl Iterator<Item = &LocatedCertificate> {
        self.changes.iter().filter(move |(found, _)| *found == change).map(|(_, found)| found)
    }

    /// What was removed, then what was added, a line for each, and how many there are of each kind.
    #[must_use]
    pub fn table(&self, now: Timestamp, color: ColorMode) -> String {
        let line = |change: CertificateChange, found| {
            let mark = match change {
                CertificateChange::Added => Cell::good("+"),
                CertificateChange::Removed => Cell::bad("-"),
                CertificateChange::Same => Cell::plain("="),
            };
            let [subject, issuer, expires, key, ca, fingerprint, location] = cells(found, now);
            [mark, subject, issuer, expires, key, ca, fingerprint, location]
        };
        let changed = [CertificateChange::Removed, CertificateChange::Added];
        let rows = changed.into_iter().flat_map(|change| self.of(change).map(move |found| line(change, found)));
        let [added, removed, same] = [CertificateChange::Added, CertificateChange::Removed, CertificateChange::Same]
            .map(|change| self.of(change).count());
        render_columns(rows, color) + &format!("{added} added, {removed} removed, {same} the same\n")
    }
}
