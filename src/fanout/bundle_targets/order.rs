//! Orders: the queues of targets that wait for one, and the next one to send.

use std::sync::Arc;

use crate::bundle::{Desired, Diff, ObjectKind, TargetRef};
use crate::fanout::action::{Order, TargetRequest};
use crate::fanout::concurrency_limit::Lane;
use crate::fanout::context::RolloutContext;
use crate::fanout::messages;
use crate::fanout::request_choice::{self, RequestBlocked, RequestOptions};
use crate::fanout::task::{Task, TaskFailure, TaskState};

use super::{BundleTargets, Trigger, same_keys};

impl BundleTargets {
    /// Adds a target to the queue of its lane, at the end or `first`.
    pub(super) fn enqueue(&mut self, ctx: RolloutContext<'_>, target: &TargetRef, urgent: bool, first: bool) {
        let queue = self.queues.entry(lane(ctx, target, urgent)).or_default();
        if first {
            queue.push_front(target.clone());
        } else {
            queue.push_back(target.clone());
        }
    }

    /// The next order of a lane, if there is one.
    pub(in crate::fanout) fn next_order(&mut self, ctx: RolloutContext<'_>, lane: Lane) -> Option<Order> {
        loop {
            let target = self.queues.get_mut(&lane)?.pop_front()?;
            let Some(task) = self.tasks.get(&target) else { continue };
            if !matches!(task.state, TaskState::Queued) {
                continue;
            }
            let task = task.clone();
            let belongs = self::lane(ctx, &target, task.urgent);
            // What was slow when it was queued may go all the same.
            if lane != belongs && lane != Lane::Slow {
                if belongs == Lane::Slow {
                    self.enqueue(ctx, &target, task.urgent, false);
                }
                continue;
            }
            if let Some(order) = self.build_order(ctx, &target, task) {
                return Some(order);
            }
        }
    }

    fn build_order(&mut self, ctx: RolloutContext<'_>, target: &TargetRef, task: Task) -> Option<Order> {
        let desired = self.desired.clone()?;
        let diff = self.due_diff(ctx, target);
        let request = match &diff {
            Some(_) if task.refresh => TargetRequest::GetMetadata,
            None => {
                self.tasks.set(target, None);
                self.sync_releases(ctx, target);
                return None;
            }
            Some(diff) => {
                match self.request_for(ctx, target, &desired, diff) {
                    Ok(request) => request,
                    Err(blocked) => {
                        let metadata = self.index.get(target).map(|entry| &*entry.metadata);
                        let cause = messages::blocked(target, &blocked, metadata);
                        let task = task.failed(ctx.now, TaskFailure::Target, cause);
                        // Objects without the label are not watched: when its time comes this one is read anew.
                        let refresh = match blocked {
                            RequestBlocked::OtherController(_) => {
                                self.index.forget_unlabelled(target);
                                false
                            }
                            // The content of one version is not read twice.
                            RequestBlocked::AdoptionRefused(_) => true,
                        };
                        self.tasks.set(target, Some(task.with_refresh(refresh)));
                        return None;
                    }
                }
            }
        };
        if request.is_write()
            && self.contention.is_tracked(target)
            && let Some(manager) = self.conflicting_manager(target)
        {
            self.contention.set_conflicting_manager(target, manager);
        }
        if request.second_owner().is_some()
            && self.index.get(target).is_some_and(|entry| entry.metadata.annotated_keys.is_none())
        {
            self.pending_report.on_completing(target);
        }
        if request.carries_content() {
            self.rollouts.record_write(&desired);
        }
        let state = TaskState::InFlight { desired: desired.clone(), request: request.clone(), deleted_at: None };
        self.tasks.set(target, Some(task.with_state(state).with_refresh(false)));
        Some(Order { bundle: self.id.clone(), target: target.clone(), desired, request })
    }

    /// The request that a target needs now, if any.
    pub(super) fn next_request(&self, ctx: RolloutContext<'_>, target: &TargetRef) -> Option<TargetRequest> {
        let desired = self.desired.as_ref()?;
        let diff = self.due_diff(ctx, target)?;
        self.request_for(ctx, target, desired, &diff).ok()
    }

    /// The request that carries out a diff.
    fn request_for(
        &self,
        ctx: RolloutContext<'_>,
        target: &TargetRef,
        desired: &Desired,
        diff: &Diff,
    ) -> Result<TargetRequest, RequestBlocked> {
        let unknown = "".into();
        let namespace_uid = ctx.namespaces.active(&target.namespace).map_or(&unknown, |namespace| &namespace.uid);
        let options = RequestOptions { put_allowed: ctx.put_allowed, adopt: ctx.settings.adopt, namespace_uid };
        request_choice::choose_request(
            diff,
            desired.payloads.get(&target.kind),
            desired,
            self.index.get(target),
            options,
        )
    }

    /// Goes on with a task, unless nothing has to be done any more.
    pub(super) fn resume(&mut self, ctx: RolloutContext<'_>, target: &TargetRef, task: Task) {
        self.tasks.set(target, None);
        if self.due_diff(ctx, target).is_none() {
            self.sync_task(ctx, target, Trigger::Due);
            return;
        }
        if matches!(task.state, TaskState::Queued) {
            self.enqueue(ctx, target, task.urgent, false);
        }
        self.tasks.set(target, Some(task));
    }

    /// Queues the creation of a target that was deleted to be created anew, before all else.
    pub(super) fn enqueue_recreate(&mut self, ctx: RolloutContext<'_>, target: &TargetRef, task: Task) {
        self.enqueue(ctx, target, true, true);
        self.tasks.set(target, Some(task.or_urgent(true)));
    }

    /// The request of the order in flight, if there is one.
    pub(in crate::fanout) fn request_in_flight(&self, target: &TargetRef) -> Option<&TargetRequest> {
        match &self.tasks.get(target)?.state {
            TaskState::InFlight { request, .. } => Some(request),
            _ => None,
        }
    }

    /// Returns whether an order that may change a target is in flight.
    pub(in crate::fanout) fn is_being_written(&self, target: &TargetRef) -> bool {
        self.request_in_flight(target).is_some_and(TargetRequest::is_write)
    }

    /// Returns whether targets of a kind have the same keys under this and the current desired state.
    pub(super) fn has_same_keys(&self, other: &Desired, kind: ObjectKind) -> bool {
        self.desired.as_ref().is_some_and(|desired| same_keys(other, desired, kind))
    }

    /// Returns whether this is the current desired state.
    pub(super) fn is_current(&self, desired: &Arc<Desired>) -> bool {
        self.desired.as_ref().is_some_and(|now| Arc::ptr_eq(now, desired))
    }
}

/// The lane in which a target waits.
fn lane(ctx: RolloutContext<'_>, target: &TargetRef, urgent: bool) -> Lane {
    match urgent {
        _ if ctx.slow_namespaces.contains(&target.namespace) => Lane::Slow,
        true => Lane::Urgent,
        false => Lane::Bulk,
    }
}
