//! Events about a Bundle's certificates: what has changed between two memories, and what recovery has not believed.

use std::collections::BTreeMap;

use crate::api;
use crate::bundle::id::BundleId;
use crate::bundle::reason::Reason;
use crate::bundle::report::BundleEvent;
use crate::text;

use super::conditions::title;
use super::ledger::{LedgerError, ledger_name};
use super::memory::{Memory, MemoryEntry, Phase, WithdrawalReason};
use super::recovery::Recovery;
use super::rotation::Rotation;

impl Rotation {
    /// Returns the events of a step, given the memory before it: at most one of each reason.
    #[must_use]
    pub fn events(&self, before: &Memory) -> Vec<BundleEvent> {
        let mut notes: BTreeMap<Reason, String> = BTreeMap::new();
        for (fingerprint, entry) in &self.memory.entries {
            let former = before.entries.get(fingerprint).map(|entry| entry.phase);
            let Some((reason, text)) = self.change(former, entry) else { continue };
            let note = notes.entry(reason).or_default();
            *note = if note.is_empty() { text } else { format!("{note}; {text}") };
        }
        let event = |(reason, note): (Reason, String)| BundleEvent {
            warning: reason == Reason::CertificateDenied,
            reason,
            note: text::event_note(&note),
        };
        notes.into_iter().map(event).collect()
    }

    /// What has become of a certificate that was in another phase before, or was not remembered.
    fn change(&self, former: Option<Phase>, entry: &MemoryEntry) -> Option<(Reason, String)> {
        let title = title(&entry.anchor);
        match (former, entry.phase) {
            (Some(Phase::Leaving { .. }), Phase::Leaving { .. })
            | (Some(Phase::Withdrawing { .. }), Phase::Withdrawing { .. })
            | (None | Some(Phase::Present), Phase::Present) => None,
            (_, Phase::Leaving { since }) => {
                let until = self.until(since);
                let text = format!("{title} is in no source any more: it stays published until {until:.0} at least");
                Some((Reason::CertificateLeaving, text))
            }
            (_, Phase::Withdrawing { reason, .. }) => {
                let event = match reason {
                    WithdrawalReason::Denied => Reason::CertificateDenied,
                    _ => Reason::CertificateWithdrawn,
                };
                Some((event, format!("{title} is no longer published: {}", reason.cause())))
            }
            (Some(_), Phase::Present) => Some((Reason::CertificateReturned, format!("{title} is in a source again"))),
        }
    }
}

impl LedgerError {
    /// Returns the event about a ledger that cannot be read.
    #[must_use]
    pub fn event(&self, namespace: &str, id: &BundleId) -> BundleEvent {
        let note = format!(
            "ConfigMap {namespace}/{} cannot be read as a ledger, so it is written anew from sources, status and targets: {self}; restore it from a backup if condition {} misses certificates",
            ledger_name(id),
            api::RETIRING
        );
        BundleEvent { warning: true, reason: Reason::LedgerDiscarded, note: text::event_note(&note) }
    }
}

impl Recovery {
    /// Returns the event about what was stored and is not believed, if there is any.
    #[must_use]
    pub fn event(&self, namespace: &str, id: &BundleId) -> Option<BundleEvent> {
        let object = format!("ConfigMap {namespace}/{}", ledger_name(id));
        let note = if self.foreign {
            format!(
                "{object} was written for another Bundle of this name, and no target has its content: it is discarded"
            )
        } else if self.rejected.is_empty() {
            return None;
        } else {
            let titles: Vec<_> = self.rejected.iter().map(title).collect();
            format!(
                "{object} has certificates that no source, no target of another namespace and no status knows; they are not published: find who wrote them, or add them to a source: {}",
                titles.join("; ")
            )
        };
        Some(BundleEvent { warning: true, reason: Reason::LedgerDiscarded, note: text::event_note(&note) })
    }
}
