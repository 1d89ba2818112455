//! Two places compared by what they trust.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::collection::{Collection, Found};
use super::table::{Cell, Paint, cells, lay_out};

/// How the certificates of one place differ from those of another. By fingerprint: format, order, and how often a
/// certificate is there make no difference.
#[derive(Debug, Clone)]
pub struct Difference {
    /// Each certificate once: those of the first place in its order, then what only the second has.
    pub changes: Vec<(Change, Found)>,
}

/// What becomes of a certificate from the first place to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Only the second place has it.
    Added,
    /// Only the first place has it.
    Removed,
    /// Both have it.
    Same,
}

impl Difference {
    /// Compares.
    #[must_use]
    pub fn between(old: &Collection, new: &Collection) -> Self {
        let fingerprints =
            |side: &Collection| side.certificates.iter().map(Found::fingerprint).collect::<BTreeSet<_>>();
        let (of_old, of_new) = (fingerprints(old), fingerprints(new));
        let mut seen = BTreeSet::new();
        let changes = old.certificates.iter().chain(&new.certificates).filter_map(|found| {
            let fingerprint = found.fingerprint();
            let change = match (of_old.contains(&fingerprint), of_new.contains(&fingerprint)) {
                (true, true) => Change::Same,
                (true, false) => Change::Removed,
                (false, _) => Change::Added,
            };
            seen.insert(fingerprint).then(|| (change, found.clone()))
        });
        Self { changes: changes.collect() }
    }

    /// Whether both places trust the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.iter().all(|(change, _)| *change == Change::Same)
    }

    /// The certificates of one kind of change.
    pub fn of(&self, wanted: Change) -> impl Iterator<Item = &Found> {
        self.changes.iter().filter(move |(change, _)| *change == wanted).map(|(_, found)| found)
    }

    /// What was removed, then what was added, a line for each, and how many there are of each kind.
    #[must_use]
    pub fn table(&self, now: Timestamp, paint: Paint) -> String {
        let line = |change: Change, found| {
            let mark = match change {
                Change::Added => Cell::good("+"),
                Change::Removed => Cell::bad("-"),
                Change::Same => Cell::plain("="),
            };
            let [subject, issuer, expires, key, ca, fingerprint, place] = cells(found, now);
            [mark, subject, issuer, expires, key, ca, fingerprint, place]
        };
        let changed = [Change::Removed, Change::Added];
        let rows = changed.into_iter().flat_map(|change| self.of(change).map(move |found| line(change, found)));
        let [added, removed, same] =
            [Change::Added, Change::Removed, Change::Same].map(|change| self.of(change).count());
        lay_out(rows, paint) + &format!("{added} added, {removed} removed, {same} the same\n")
    }
}
