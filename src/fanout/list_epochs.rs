//! The lists of all targets: how many were begun, and whether one runs.
//!
//! A [`ListTracker`](super::list_tracker::ListTracker) does not serve here: the result of an order may be older or newer
//! than the list in progress, so that each target has the epoch of the list that showed it, or during which it was
//! written, and whether a watch has shown it since.

use std::collections::BTreeMap;

use crate::bundle::TargetRef;

use super::list_scope::ListScope;

/// The lists of all targets, by scope.
#[derive(Default)]
pub(super) struct ListEpochs(BTreeMap<ListScope, ListState>);

/// The lists of all targets of one scope.
#[derive(Default)]
struct ListState {
    /// The number of lists begun.
    epoch: u32,
    /// Whether a list runs.
    running: bool,
    /// Whether any list has ever ended.
    has_ended: bool,
}

impl ListEpochs {
    /// Records that a list begins.
    pub(super) fn begin(&mut self, scope: ListScope) {
        let list = self.0.entry(scope).or_default();
        (list.epoch, list.running) = (list.epoch.wrapping_add(1), true);
    }

    /// Records that a list has ended; returns its epoch.
    pub(super) fn end(&mut self, scope: &ListScope) -> u32 {
        let list = self.0.entry(scope.clone()).or_default();
        (list.running, list.has_ended) = (false, true);
        list.epoch
    }

    /// Returns whether any list of a scope has ended.
    pub(super) fn has_ended(&self, scope: &ListScope) -> bool {
        self.0.get(scope).is_some_and(|list| list.has_ended)
    }

    /// The scopes with a list that has begun, and whether one runs.
    pub(super) fn begun(&self) -> impl Iterator<Item = (ListScope, bool)> {
        self.0.iter().map(|(scope, list)| (scope.clone(), list.running))
    }

    /// The epoch of the list that covers a target.
    pub(super) fn epoch(&self, TargetRef { kind, namespace, .. }: &TargetRef) -> u32 {
        let list = |namespace| self.0.get(&ListScope::Targets(*kind, namespace));
        let covering = list(None).or_else(|| list(Some(namespace.to_string())));
        covering.map(|list| list.epoch).unwrap_or_default()
    }
}
