//! Objects that the lists of a watched collection show to be gone.

use std::borrow::Borrow;
use std::collections::BTreeSet;

/// A tracker of the lists of one collection, which shows what is gone.
///
/// A watch that begins anew, with a list, delivers no deletion of the time between: an object is gone if it was known
/// before the list and the list ends without it.
#[derive(Clone, Debug)]
pub struct ListTracker<K> {
    /// The objects known before the list in progress that were not shown since.
    unlisted: BTreeSet<K>,
    has_ended: bool,
}

impl<K> Default for ListTracker<K> {
    fn default() -> Self {
        Self { unlisted: BTreeSet::new(), has_ended: false }
    }
}

impl<K: Ord> ListTracker<K> {
    /// Records that a list begins; `known` are the objects known by then.
    pub fn begin(&mut self, known: impl IntoIterator<Item = K>) {
        self.unlisted = known.into_iter().collect();
    }

    /// Records that an object was shown.
    pub fn record<Q: Ord + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.unlisted.remove(key);
    }

    /// Records that the list has ended; returns the objects that are gone.
    pub fn end(&mut self) -> BTreeSet<K> {
        self.has_ended = true;
        std::mem::take(&mut self.unlisted)
    }

    /// Returns whether any list has ended: before that, an object that is not known may exist.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_known_before_a_list_and_is_not_shown_until_its_end_is_gone() {
        let mut tracker = ListTracker::default();
        tracker.begin(["a", "b"]);
        tracker.record("b");
        assert!(!tracker.has_ended());
        // It is interrupted, and begins anew.
        tracker.begin(["a", "b", "c"]);
        tracker.record("a");
        tracker.record("new");
        assert_eq!(tracker.end(), ["b", "c"].into());
        assert!(tracker.has_ended() && tracker.end().is_empty());
        tracker.begin(["a"]);
        assert!(tracker.has_ended(), "a list that comes again takes nothing back");
    }
}
