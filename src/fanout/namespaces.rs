//! The namespaces of the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bundle::Namespace;

/// The namespaces that exist, with the epoch of the list that showed them last.
#[derive(Default)]
pub(super) struct Namespaces {
    known: BTreeMap<Arc<str>, (Namespace, u32)>,
    epoch: u32,
}

impl Namespaces {
    /// A namespace that exists and is not being deleted.
    pub(super) fn active(&self, name: &str) -> Option<&Namespace> {
        self.known.get(name).map(|(namespace, _)| namespace).filter(|namespace| !namespace.terminating)
    }

    /// Replaces a namespace; returns its shared name, and the namespace as it was before.
    pub(super) fn insert(&mut self, name: &str, now: Namespace) -> (Arc<str>, Option<Namespace>) {
        let (name, before) = match self.known.get_key_value(name) {
            Some((name, (before, _))) => (name.clone(), Some(before.clone())),
            None => (name.into(), None),
        };
        self.known.insert(name.clone(), (now, self.epoch));
        (name, before)
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<(Arc<str>, Namespace)> {
        self.known.remove_entry(name).map(|(name, (before, _))| (name, before))
    }

    /// The shared name of a namespace; a new one if the namespace is not known (yet).
    pub(super) fn name(&self, name: &str) -> Arc<str> {
        self.known.get_key_value(name).map_or_else(|| name.into(), |(name, _)| name.clone())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Namespace)> {
        self.known.iter().map(|(name, (namespace, _))| (name, namespace))
    }

    /// Records that a list begins: namespaces that it lacks by its end are gone.
    pub(super) fn begin_list(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// The names of the namespaces that the list which ends now lacks.
    pub(super) fn missing(&self) -> Vec<Arc<str>> {
        let missing = self.known.iter().filter(|(_, (_, epoch))| *epoch != self.epoch);
        missing.map(|(name, _)| name.clone()).collect()
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
        assert_eq!(namespaces.missing(), ["going".into()]);
        assert_eq!(namespaces.remove("going").map(|(_, before)| before), Some(namespace(true)));
        assert!(Arc::ptr_eq(&namespaces.name("here"), &namespaces.name("here")));
    }
}
