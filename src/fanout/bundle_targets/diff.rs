//! The difference between a target and its desired state.

use crate::bundle::{Diff, Drift, TargetRef};
use crate::fanout::context::RolloutContext;
use crate::fanout::index::ByteCheck;

use super::BundleTargets;

impl BundleTargets {
    /// The difference of a target that may be written now.
    pub(super) fn due_diff(&self, ctx: RolloutContext<'_>, target: &TargetRef) -> Option<Diff> {
        self.full_diff(ctx, target).filter(|diff| !self.is_held_back(ctx, target, diff))
    }

    /// The difference of a target, whether it may be written now or waits for the next rollout.
    pub(super) fn full_diff(&self, ctx: RolloutContext<'_>, target: &TargetRef) -> Option<Diff> {
        let desired = self.desired.as_ref()?;
        // What is in a namespace that is gone or on its way out is left to Kubernetes.
        let namespace = ctx.namespaces.active(&target.namespace)?;
        let reached = desired.reaches(ctx.settings, &target.namespace, namespace);
        let entry = self.index.get(target);
        let diff = desired.diff(target.kind, reached, entry.map(|entry| &*entry.metadata));
        let Some(entry) = entry.filter(|_| self.is_desired(ctx, target)) else { return diff };
        let outlives = entry.metadata.annotated_keys.is_none()
            || desired.owner_uid().is_none()
            || entry.metadata.namespace_owner_uids.contains(&*namespace.uid);
        let diff = match entry.byte_check {
            _ if diff.is_none() && !outlives => Some(Diff::Update(Drift::Owner)),
            ByteCheck::Unverified if diff.is_none() => Some(Diff::VerifyBytes),
            ByteCheck::Mismatch if diff.is_none() => Some(Diff::Update(Drift::Bytes)),
            _ => diff,
        };
        match (diff, entry.holdings.as_ref().map(|holdings| holdings.has_foreign_keys)) {
            (Some(Diff::Update(_)), None | Some(false)) if entry.immutable && self.may_recreate(target) => {
                Some(Diff::Recreate)
            }
            (Some(Diff::Recreate), Some(true)) => entry.metadata.owner.clone().map(Diff::Blocked),
            (diff, _) => diff,
        }
    }

    /// Returns whether a target may be deleted and created anew, going by its metadata.
    fn may_recreate(&self, target: &TargetRef) -> bool {
        let payload = self.desired.as_ref().and_then(|desired| Some((desired, desired.payloads.get(&target.kind)?)));
        payload
            .zip(self.index.get(target))
            .is_some_and(|((desired, payload), entry)| desired.may_recreate(payload, &entry.metadata))
    }

    /// Returns whether the Bundle has this target.
    pub(super) fn is_desired(&self, ctx: RolloutContext<'_>, target: &TargetRef) -> bool {
        let is_kind = self.desired.as_ref().is_some_and(|desired| desired.payloads.contains_key(&target.kind));
        is_kind && self.reaches(ctx, target)
    }

    /// Returns whether the Bundle reaches the namespace of a target.
    pub(super) fn reaches(&self, ctx: RolloutContext<'_>, target: &TargetRef) -> bool {
        let name = &target.namespace;
        let namespace = ctx.namespaces.active(name).zip(self.desired.as_ref());
        namespace.is_some_and(|(namespace, desired)| desired.reaches(ctx.settings, name, namespace))
    }
}
