//! Observations of targets by watches and lists.

use std::collections::BTreeSet;

use crate::bundle::TargetRef;
use crate::fanout::context::RolloutContext;
use crate::fanout::event::TargetEvent;
use crate::fanout::index::{Absence, ByteCheck, MetadataInterner, ObservationSource};
use crate::fanout::list_scope::ListScope;
use crate::fanout::resource_version::ResourceVersion;
use crate::fanout::task::{Task, TaskState};

use super::{BundleTargets, Trigger};

impl BundleTargets {
    /// Records the observed state of a target, unless the Bundle does not exist.
    pub(in crate::fanout) fn on_target_event(
        &mut self,
        ctx: RolloutContext<'_>,
        interner: &mut MetadataInterner,
        target: &TargetRef,
        event: TargetEvent,
        epoch: u32,
    ) {
        match event {
            _ if !self.exists => {}
            TargetEvent::Applied(observed) => {
                // What was there before anything was decided is taken to be what its metadata says.
                let unknown = if self.desired.is_some() { ByteCheck::Unverified } else { ByteCheck::Match };
                let source = (epoch, ObservationSource::Watch);
                if self.index.observe(interner, target, observed, source, unknown) {
                    self.on_changed(ctx, target, "changed");
                }
            }
            TargetEvent::Deleted(version) => self.on_deletion(ctx, target, version),
        }
    }

    /// Handles that a target is gone as of a version.
    fn on_deletion(&mut self, ctx: RolloutContext<'_>, target: &TargetRef, version: ResourceVersion) {
        let deleted = self.index.remove(target, version);
        self.listing.record_deleted(target, version);
        self.note_deleted(target, version);
        if deleted {
            self.on_changed(ctx, target, "deleted");
        }
    }

    fn on_changed(&mut self, ctx: RolloutContext<'_>, target: &TargetRef, verb: &str) {
        if self.sync_task(ctx, target, Trigger::Changed) {
            self.set_cause(|| format!("target {target} {verb}"));
        }
    }

    /// Handles that a list of all targets has ended: those that it lacks are gone.
    pub(in crate::fanout) fn on_list_ended(&mut self, ctx: RolloutContext<'_>, scope: &ListScope, epoch: u32) {
        let missing = self.index.missing(scope, epoch);
        let in_flight = self.tasks.in_flight().filter(|target| scope.covers(target.kind, &target.namespace));
        let mut doubtful: BTreeSet<_> =
            in_flight.filter(|target| !self.index.is_watch_confirmed(target, epoch)).cloned().collect();
        for (target, absence) in missing {
            if absence == Absence::Doubtful {
                doubtful.insert(target);
            } else if self.exists && !doubtful.contains(&target) {
                self.on_deletion(ctx, &target, ResourceVersion::NEWEST);
            }
        }
        for target in doubtful {
            self.invalidate(ctx, &target);
        }
        self.listing.list_ended(scope, ctx.now);
    }

    /// Records in the order in flight that its target was gone as of a version: the result may be older.
    fn note_deleted(&mut self, target: &TargetRef, version: ResourceVersion) {
        let mut task = self.tasks.get(target).cloned();
        if let Some(Task { state: TaskState::InFlight { deleted_at, .. }, .. }) = &mut task {
            *deleted_at = (*deleted_at).max(Some(version));
            self.tasks.set(target, task);
        }
    }

    /// Forgets a target that a list of all targets lacks though an order for it was in flight or done since the list
    /// began: it is read before it is written, and a result on its way may be older than the list.
    fn invalidate(&mut self, ctx: RolloutContext<'_>, target: &TargetRef) {
        self.index.remove(target, ResourceVersion::NEWEST);
        self.sync_task(ctx, target, Trigger::Due);
        if let Some(task) = self.tasks.get(target).cloned() {
            self.tasks.set(target, Some(task.with_refresh(true)));
        }
    }
}
