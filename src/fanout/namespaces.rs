//! The namespaces of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::bundle::Namespace;

use super::list_tracker::ListTracker;

/// The namespaces that exist.
#[derive(Default)]
pub(super) struct Namespaces {
    known: BTreeMap<Arc<str>, Namespace>,
    list: ListTracker<Arc<str>>,
}

impl Namespaces {
    /// A namespace that exists and is not being deleted.
    pub(super) fn active(&self, name: &str) -> Option<&Namespace> {
        self.known.get(name).filter(|namespace| !namespace.terminating)
    }

    /// Replaces a namespace; returns its shared name, and the namespace as it was before.
    pub(super) fn insert(&mut self, name: &str, now: Namespace) -> (Arc<str>, Option<Namespace>) {
        self.list.record(name);
        let name = self.name(name);
        let before = self.known.insert(name.clone(), now);
        (name, before)
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<(Arc<str>, Namespace)> {
        self.known.remove_entry(name)
    }

    /// The shared name of a namespace; a new one if the namespace is not known (yet).
    pub(super) fn name(&self, name: &str) -> Arc<str> {
        self.known.get_key_value(name).map_or_else(|| name.into(), |(name, _)| name.clone())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Namespace)> {
        self.known.iter()
    }

    /// Records that a list begins.
    pub(super) fn begin_list(&mut self) {
        self.list.begin(self.known.keys().cloned());
    }

    /// Records that a list has ended; returns the names of the namespaces that are gone.
    pub(super) fn end_list(&mut self) -> BTreeSet<Arc<str>> {
        self.list.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::PackedLabels;

    #[test]
    fn a_list_of_namespaces_lacks_what_it_does_not_name() {
        let namespace = |terminating| Namespace { labels: PackedLabels::default(), terminating, uid: "".into() };
        let mut namespaces = Namespaces::default();
        for (name, terminating) in [("here", false), ("going", true)] {
            assert_eq!(namespaces.insert(name, namespace(terminating)).1, None);
        }
        assert!(namespaces.active("here").is_some());
        assert!(namespaces.active("going").is_none());
        namespaces.begin_list();
        namespaces.insert("here", namespace(false));
        assert_eq!(namespaces.end_list(), ["going".into()].into());
        assert_eq!(namespaces.remove("going").map(|(_, before)| before), Some(namespace(true)));
        assert!(Arc::ptr_eq(&namespaces.name("here"), &namespaces.name("here")));
    }
}
