//! Lists of targets: those of all targets, and those of one Bundle's.

use std::time::Duration;

use crate::bundle::BundleId;
use crate::fanout::event::{TargetEvent, TargetListResult};
use crate::fanout::list_scope::ListScope;

use super::Engine;

impl Engine {
    pub(super) fn list_began(&mut self, scope: ListScope) {
        for bundle in self.bundles.ids(|_| true) {
            self.bundles.get_mut(&bundle).expect("the Bundle was just named").listing().list_began(&scope);
        }
        self.lists.begin(scope);
    }

    pub(super) fn list_ended(&mut self, now: Duration, scope: &ListScope) {
        let epoch = self.lists.end(scope);
        for bundle in self.bundles.ids(|_| true) {
            let targets = self.bundles.get_mut(&bundle).expect("the Bundle was just named");
            targets.on_list_ended(self.shared.context(now), scope, epoch);
            self.apply_deferred_desired(now, &bundle);
        }
    }

    /// Handles the result of a list of one Bundle's targets.
    pub(super) fn on_listed(
        &mut self,
        now: Duration,
        bundle: &BundleId,
        scope: &ListScope,
        number: u64,
        result: TargetListResult,
    ) {
        let Some(targets) = self.bundles.get_mut(bundle) else { return };
        if !targets.listing().on_result(scope, number, &result, now) {
            return;
        }
        if let (TargetListResult::Targets(found), ListScope::Targets(kind, _)) = (result, scope) {
            for (namespace, observed) in found {
                let namespace = self.shared.namespaces.name(&namespace);
                let Some(targets) = self.bundles.get_mut(bundle) else { return };
                let target = targets.target_ref(*kind, &namespace);
                if !targets.listing().was_deleted(&target, observed.version) {
                    self.target_changed(now, bundle, &target, TargetEvent::Applied(observed));
                }
            }
        }
        if let Some(targets) = self.bundles.get_mut(bundle) {
            targets.listing().clear_deleted();
        }
        self.apply_deferred_desired(now, bundle);
    }
}
