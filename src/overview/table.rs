//! The overview as a table.

use jiff::Timestamp;

use crate::inspect::{Cell, expiry, render_columns};
use crate::text::escape;

use super::bundle_overview::{BundleOverview, Overview};
use super::snapshot::LeaderStatus;
use super::synced::Synced;

const HEADER: [&str; 6] = ["BUNDLE", "SYNCED", "REASON", "IN SYNC", "ENDS NEXT", "CHANGED"];

const SECONDS_PER_DAY: i64 = 86_400;

impl Overview<'_> {
    /// Returns the leader and a line for each Bundle.
    #[must_use]
    pub fn table(&self, now: Timestamp) -> String {
        let leader = self.leadership.describe(now);
        if self.bundles.is_empty() {
            return format!("{leader}\nThere is no Bundle.\n");
        }
        let header = HEADER.map(Cell::plain);
        let rows = self.bundles.iter().map(|bundle| bundle.cells(now));
        format!("{leader}\n\n{}", render_columns(std::iter::once(header).chain(rows)))
    }
}

impl LeaderStatus {
    /// Returns the leader in words.
    pub(super) fn describe(&self, now: Timestamp) -> String {
        let ago = |time| age(time, now);
        match self {
            Self::Led { lease, holder, renewed } => {
                format!("Leader: {} (Lease {lease}, renewed {} ago)", escape(holder), ago(*renewed))
            }
            Self::Vacant { lease, renewed } => {
                let last =
                    renewed.map_or_else(String::new, |renewed| format!(", which was renewed {} ago", ago(renewed)));
                format!("Leader: nobody holds the Lease {lease}{last}: no controller runs, so nothing is kept in sync")
            }
            Self::NoLease => {
                "Leader: there is no Lease: no controller runs, or a single one with --leader-elect=false".to_owned()
            }
            Self::Unknown(cause) => format!("Leader: not known: {cause}"),
        }
    }
}

impl BundleOverview<'_> {
    fn cells(&self, now: Timestamp) -> [Cell; HEADER.len()] {
        let ends = match (self.next_expiry(), &self.origins) {
            (Some(next), _) => expiry(next.anchor.not_before(), next.anchor.not_after(), now),
            (None, Ok(_)) if self.default_cas => Cell::plain("default CAs only"),
            (None, Ok(_)) => Cell::plain("-"),
            (None, Err(_)) => Cell::plain("not known"),
        };
        let [status, reason] = self.synced_cells();
        [
            Cell::plain(&**self.id.name()),
            status,
            reason,
            self.count(),
            ends,
            Cell::plain(self.changed.map_or_else(|| "-".to_owned(), |changed| format!("{} ago", age(changed, now)))),
        ]
    }

    fn synced_cells(&self) -> [Cell; 2] {
        let (status, reason) = self.synced.status_and_reason();
        let status = match self.synced {
            Synced::Yes => Cell::good(status),
            Synced::No(_) => Cell::bad(status),
            Synced::NotYet(_) => Cell::warning(status),
        };
        [status, Cell::plain(reason)]
    }

    fn count(&self) -> Cell {
        let Self { desired, in_sync, diagnoses, .. } = self;
        let Some(wanted) = desired else { return Cell::plain("-") };
        let stale = (in_sync == wanted && !diagnoses.is_empty()).then(|| diagnoses.values().map(Vec::len).sum());
        let text = match stale {
            Some::<usize>(stale) => format!("{in_sync}/{wanted}, {stale} too many"),
            None => format!("{in_sync}/{wanted}"),
        };
        if diagnoses.is_empty() { Cell::plain(text) } else { Cell::bad(text) }
    }
}

/// Returns the time since `time` in the largest unit of which it is two or more.
pub(super) fn age(time: Timestamp, now: Timestamp) -> String {
    let seconds = (now.as_second() - time.as_second()).max(0);
    match seconds {
        ..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / SECONDS_PER_DAY),
    }
}
