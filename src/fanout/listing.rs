//! Lists of one Bundle's targets, for a Bundle that is created after the lists of all targets have begun.
//!
//! Nothing is kept of an object whose name is that of no Bundle. So the targets of a Bundle that is created later are
//! not known, and are listed by the value of their label, before anything is decided about them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::bundle::{Desired, TargetRef};

use super::event::TargetListResult;
use super::list_scope::ListScope;
use super::resource_version::ResourceVersion;

/// The wait after a list that failed.
const RETRY: Duration = Duration::from_secs(1);

/// The lists of one Bundle's targets that are still to be made.
#[derive(Default)]
pub(super) struct TargetListing {
    scopes: BTreeMap<ListScope, Stage>,
    /// Targets that were deleted since a list was requested, with the version of the deletion: the list may still show
    /// them.
    deleted: BTreeMap<TargetRef, ResourceVersion>,
    /// The decision that is held back until the targets are known.
    deferred: Option<DeferredDecision>,
}

/// A decision that is held back.
pub(super) struct DeferredDecision {
    /// The desired state.
    pub(super) desired: Arc<Desired>,
    /// The cause, in words.
    pub(super) cause: String,
    /// Whether the rollout must not wait longer than until the targets are known.
    pub(super) urgent: bool,
}

/// The stage of the list of one scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// To be requested from this time on.
    Due(Duration),
    /// Requested under this number.
    Requested(u64),
    /// To be requested when the running list of all targets has ended, which began too early to show all of them.
    AfterList,
    /// Covered by the running list of all targets.
    Covered,
}

impl TargetListing {
    /// Begins the lists of a Bundle that exists from now on. `scopes` are those whose list of all targets has begun,
    /// and whether it runs.
    pub(super) fn begin(&mut self, scopes: impl Iterator<Item = (ListScope, bool)>, now: Duration) {
        let stage = |runs| if runs { Stage::AfterList } else { Stage::Due(now) };
        *self = Self { scopes: scopes.map(|(scope, runs)| (scope, stage(runs))).collect(), ..Self::default() };
    }

    /// Replaces the deferred decision; returns the one before.
    pub(super) fn set_deferred(&mut self, deferred: Option<DeferredDecision>) -> Option<DeferredDecision> {
        std::mem::replace(&mut self.deferred, deferred)
    }

    /// Returns whether targets are still to be listed in a scope whose list of all targets has ended before.
    pub(super) fn is_pending(&self, has_ended: impl Fn(&ListScope) -> bool) -> bool {
        self.scopes.iter().any(|(scope, stage)| match stage {
            Stage::Due(_) | Stage::Requested(_) => true,
            // A scope that cannot be listed, such as a namespace without a role for us, delays no Bundle.
            Stage::AfterList | Stage::Covered => has_ended(scope),
        })
    }

    /// The scopes to list now, each with the number of its list.
    pub(super) fn take_due(&mut self, now: Duration, number: &mut u64) -> Vec<(ListScope, u64)> {
        let mut due = Vec::new();
        for (scope, stage) in &mut self.scopes {
            if matches!(stage, Stage::Due(at) if *at <= now) {
                *number += 1;
                *stage = Stage::Requested(*number);
                due.push((scope.clone(), *number));
            }
        }
        due
    }

    /// The next time at which a list is to be requested.
    pub(super) fn next_wakeup(&self) -> Option<Duration> {
        let due = |stage: &Stage| if let Stage::Due(at) = stage { Some(*at) } else { None };
        self.scopes.values().filter_map(due).min()
    }

    /// Records that a list of all targets begins, which will show this Bundle's, too.
    pub(super) fn list_began(&mut self, scope: &ListScope) {
        if let Some(stage) = self.scopes.get_mut(scope) {
            *stage = Stage::Covered;
        }
    }

    /// Records that a list of all targets has ended.
    pub(super) fn list_ended(&mut self, scope: &ListScope, now: Duration) {
        match self.scopes.get_mut(scope) {
            Some(Stage::Covered) => drop(self.scopes.remove(scope)),
            Some(stage @ Stage::AfterList) => *stage = Stage::Due(now),
            _ => {}
        }
    }

    /// Records that a target was deleted.
    pub(super) fn record_deleted(&mut self, target: &TargetRef, version: ResourceVersion) {
        let requested = |(scope, stage): (&ListScope, &Stage)| {
            matches!(stage, Stage::Requested(_)) && scope.covers(target.kind, &target.namespace)
        };
        if self.scopes.iter().any(requested) {
            let deleted = self.deleted.entry(target.clone()).or_default();
            *deleted = version.max(*deleted);
        }
    }

    /// Returns whether a target that a list shows was deleted later.
    pub(super) fn was_deleted(&self, target: &TargetRef, version: ResourceVersion) -> bool {
        self.deleted.get(target).is_some_and(|gone| *gone >= version)
    }

    /// Records the result of a list; returns `false` if it is not waited for any more.
    pub(super) fn on_result(
        &mut self,
        scope: &ListScope,
        number: u64,
        result: &TargetListResult,
        now: Duration,
    ) -> bool {
        let stage = self.scopes.get_mut(scope).filter(|stage| **stage == Stage::Requested(number));
        match (stage, result) {
            (None, _) => return false,
            (Some(stage), TargetListResult::Unavailable) => *stage = Stage::Due(now + RETRY),
            (Some(_), TargetListResult::Targets(_) | TargetListResult::Refused) => drop(self.scopes.remove(scope)),
        }
        true
    }

    /// Forgets the deleted targets, unless a list is waited for.
    pub(super) fn clear_deleted(&mut self) {
        if !self.scopes.values().any(|stage| matches!(stage, Stage::Requested(_))) {
            self.deleted.clear();
        }
    }
}
