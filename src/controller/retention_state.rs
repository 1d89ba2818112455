//! What a process knows of one Bundle whose certificates are retained.

use jiff::Timestamp;

use crate::bundle::{BundleId, ContentDigest, Memory, RecordedRetention, RetainedDecision, ledger_name};
use crate::client::{ApiError, LedgerRef};
use crate::fanout::ResourceVersion;

use super::cache::LedgerVersion;

/// What a process knows of a Bundle with retention.
#[derive(Default)]
pub(super) struct RetentionState {
    /// Uid of the Bundle, and what any of its targets may hold; `None` before it is recovered.
    memory: Option<(String, Memory)>,
    /// The ledger as it was last written or read; `None` if there is none.
    stored: Option<StoredLedger>,
    /// The content that every target holds, and since when.
    placed: Option<(ContentDigest, Timestamp)>,
    /// What was published before the start and is missing in part.
    lost: Option<RecordedRetention>,
    /// Whether a request is in flight.
    busy: bool,
}

/// A ledger as it is stored.
struct StoredLedger {
    version: ResourceVersion,
    /// What it holds, and whether it is deleted with the Bundle; `None` if others have written it.
    content: Option<(Memory, bool)>,
}

/// A decision that is carried out once its memory is stored, and the generation that it is for.
pub(super) struct PendingDecision {
    pub(super) retained: RetainedDecision,
    pub(super) generation: Option<i64>,
}

/// The result of storing a memory.
pub(super) enum StoreResult {
    /// The ledger has this version; none if it was deleted.
    Stored(Option<ResourceVersion>),
    /// Others have written the ledger, which now has this version; none if they have deleted it.
    Conflict(Option<ResourceVersion>),
    /// The ledger was not written.
    Failed(ApiError),
}

impl RetentionState {
    /// Returns what is remembered of the Bundle with this uid; `None` before it is recovered.
    pub(super) fn memory(&self, uid: &str) -> Option<&Memory> {
        self.memory.as_ref().filter(|(of, _)| of == uid).map(|(_, memory)| memory)
    }

    /// Returns whether a request is in flight.
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Takes in what was recovered of the Bundle with this uid, and the ledger as it was read.
    pub(super) fn set_recovered(
        &mut self,
        uid: String,
        memory: Memory,
        lost: Option<RecordedRetention>,
        ledger: Option<(ResourceVersion, Option<(Memory, bool)>)>,
    ) {
        (self.memory, self.placed) = (Some((uid, memory)), None);
        (self.lost, self.stored) = (lost, ledger.map(|(version, content)| StoredLedger { version, content }));
    }

    /// Sets whether a request is in flight.
    pub(super) fn set_busy(&mut self, busy: bool) {
        self.busy = busy;
    }

    /// Takes in the version of the ledger that a watch has shown last; returns whether others have written it.
    pub(super) fn observe(&mut self, observed: Option<LedgerVersion>) -> bool {
        let known = self.stored.as_ref().map(|stored| stored.version);
        match (known, observed) {
            (known, Some(LedgerVersion::At(version))) if known < Some(version) => {
                self.stored = Some(StoredLedger { version, content: None });
                true
            }
            (Some(known), Some(LedgerVersion::Gone(version))) if known < version => {
                self.stored = None;
                true
            }
            _ => false,
        }
    }

    /// Takes in whether every target holds what was decided last, as of this time; returns whether that is news.
    pub(super) fn record_outcome(&mut self, placed: bool, now: Timestamp) -> bool {
        let content = self.memory.as_ref().filter(|_| self.lost.is_none()).and_then(|(_, memory)| memory.content);
        let before = self.placed;
        self.placed = match (content.filter(|_| placed), before) {
            (Some(content), Some((digest, since))) if digest == content => Some((content, since)),
            (Some(content), _) => Some((content, now)),
            (None, _) => None,
        };
        self.placed.is_some() && self.placed != before
    }

    /// Takes in the version of the ledger that a watch has shown last; returns whether others have written it while
    /// nothing of ours is on its way.
    pub(super) fn observe_idle(&mut self, observed: Option<LedgerVersion>) -> bool {
        self.memory.is_some() && !self.busy && self.observe(observed)
    }

    /// Returns the content that every target holds, and since when.
    pub(super) fn placed(&self) -> Option<(ContentDigest, Timestamp)> {
        self.placed
    }

    /// Returns what was published before the start and is missing in part, unless its loss is accepted.
    pub(super) fn lost(&self, accepted: Option<&str>) -> Option<&RecordedRetention> {
        let is_accepted =
            |lost: &&RecordedRetention| accepted == lost.content.map(|content| content.short()).as_deref();
        self.lost.as_ref().filter(|lost| !is_accepted(lost))
    }

    /// Returns the version of the ledger, if there is one.
    pub(super) fn version(&self) -> Option<ResourceVersion> {
        self.stored.as_ref().map(|stored| stored.version)
    }

    /// Takes in the ledger as it was written, or as others have written it.
    pub(super) fn set_stored(&mut self, version: Option<ResourceVersion>, content: Option<(Memory, bool)>) {
        self.stored = version.map(|version| StoredLedger { version, content });
    }

    /// Replaces what is remembered of the Bundle with this uid; returns what was. Nothing is remembered once retention
    /// has ended, unless something is missing.
    pub(super) fn replace_memory(&mut self, uid: String, memory: Memory) -> Memory {
        self.placed = self.placed.filter(|(digest, _)| Some(*digest) == memory.content);
        let is_kept = memory != Memory::default() || self.lost.is_some();
        let memory = is_kept.then_some((uid, memory));
        std::mem::replace(&mut self.memory, memory).map(|(_, before)| before).unwrap_or_default()
    }

    /// Returns whether something of what was published is missing.
    pub(super) fn has_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Forgets what is remembered, so that it is recovered anew.
    pub(super) fn forget_memory(&mut self) {
        (self.memory, self.placed) = (None, None);
    }

    /// Forgets what is missing, since its loss is accepted.
    pub(super) fn forget_loss(&mut self) {
        self.lost = None;
    }

    pub(super) fn is_stored(&self, memory: &Memory, collected: bool) -> bool {
        let stored = self.stored.as_ref().map(|stored| stored.content.as_ref());
        match stored {
            Some(content) => {
                *memory != Memory::default()
                    && content.is_some_and(|(known, owned)| (known, *owned) == (memory, collected))
            }
            None => *memory == Memory::default(),
        }
    }
}

/// Where the ledger of a Bundle is.
pub(super) fn ledger_ref(trust_namespace: &str, id: &BundleId) -> LedgerRef {
    LedgerRef { namespace: trust_namespace.to_owned(), name: ledger_name(id) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::fixture::{anchor, now};
    use crate::trust::Anchors;

    fn digest(names: &[&str]) -> ContentDigest {
        ContentDigest::of(Anchors::collect(names.iter().map(|name| anchor(name))).as_ref())
    }

    fn memory(names: &[&str]) -> Memory {
        let content = Some(digest(names));
        Memory { content, ..Memory::begin(names.iter().map(|name| anchor(name)), now()) }
    }

    fn lost() -> RecordedRetention {
        RecordedRetention { content: Some(digest(&["rsa", "ec"])), leaving: [anchor("rsa").fingerprint()].into() }
    }

    fn recovered(lost: Option<RecordedRetention>) -> RetentionState {
        let mut state = RetentionState::default();
        state.set_recovered("uid".to_owned(), memory(&["ec"]), lost, None);
        state
    }

    fn version(text: &str) -> ResourceVersion {
        ResourceVersion::parse(text)
    }

    #[test]
    fn what_is_remembered_of_another_bundle_of_the_name_does_not_count() {
        let state = recovered(None);
        assert_eq!((state.memory("uid"), state.memory("another")), (Some(&memory(&["ec"])), None));
    }

    #[test]
    fn a_content_is_everywhere_since_it_was_observed_first() {
        let (mut state, later) = (recovered(None), now() + jiff::SignedDuration::from_secs(1));
        assert!(state.record_outcome(true, now()) && !state.record_outcome(true, later));
        assert_eq!(state.placed(), Some((digest(&["ec"]), now())));
        assert!(!state.record_outcome(false, later) && state.record_outcome(true, later));
        assert_eq!(state.placed(), Some((digest(&["ec"]), later)));
        state.replace_memory("uid".to_owned(), memory(&["ec", "rsa"]));
        assert_eq!(state.placed(), None, "it is another content");
    }

    #[test]
    fn nothing_is_everywhere_while_something_is_lost_or_once_all_is_recovered_anew() {
        let mut state = recovered(Some(lost()));
        assert!(!state.record_outcome(true, now()) && state.placed().is_none());
        state.forget_loss();
        assert!(state.record_outcome(true, now()));
        state.set_recovered("uid".to_owned(), memory(&["ec"]), None, None);
        assert_eq!(state.placed(), None);
        state.record_outcome(true, now());
        state.forget_memory();
        assert_eq!((state.memory("uid"), state.placed()), (None, None));
    }

    #[test]
    fn a_loss_stays_known_though_nothing_is_remembered_until_its_digits_are_accepted() {
        let mut state = recovered(Some(lost()));
        state.replace_memory("uid".to_owned(), Memory::default());
        assert_eq!((state.memory("uid"), state.has_lost()), (Some(&Memory::default()), true));
        let digits = digest(&["rsa", "ec"]).short();
        for (accepted, expected) in [(None, Some(&lost())), (Some("00000000"), Some(&lost())), (Some(&*digits), None)] {
            assert_eq!(state.lost(accepted), expected, "{accepted:?}");
        }
        state.forget_loss();
        state.replace_memory("uid".to_owned(), Memory::default());
        assert_eq!((state.memory("uid"), state.has_lost()), (None, false));
    }

    #[test]
    fn a_ledger_that_others_write_or_delete_is_noticed_once() {
        let mut state = RetentionState::default();
        let others = Some(LedgerVersion::At(version("7")));
        assert!(!state.observe_idle(others), "nothing is recovered yet");
        state.set_recovered("uid".to_owned(), memory(&["ec"]), None, None);
        state.set_busy(true);
        assert!(!state.observe_idle(others), "a request is in flight");
        state.set_busy(false);
        assert!(state.observe_idle(others) && !state.observe_idle(others));
        assert!(!state.is_stored(&memory(&["ec"]), true), "what they have written is not known");
        state.set_stored(Some(version("8")), Some((memory(&["ec"]), true)));
        assert!(!state.observe_idle(others), "the watch is behind");
        assert!(state.is_stored(&memory(&["ec"]), true) && !state.is_stored(&memory(&["ec"]), false));
        let gone = Some(LedgerVersion::Gone(version("9")));
        assert!(state.observe_idle(gone) && !state.observe_idle(gone));
        assert!(!state.is_stored(&memory(&["ec"]), true) && state.is_stored(&Memory::default(), true));
    }
}
