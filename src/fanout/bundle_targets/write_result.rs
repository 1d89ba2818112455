//! Handling of the result of an order.

use std::mem::discriminant;

use crate::bundle::{Diff, TargetRef};
use crate::fanout::action::TargetRequest;
use crate::fanout::context::RolloutContext;
use crate::fanout::event::{Comparison, WriteResult};
use crate::fanout::failure_origin::{FailureOrigin, ResponseHistory};
use crate::fanout::index::{ByteCheck, MetadataInterner, ObservationSource};
use crate::fanout::messages;
use crate::fanout::observed::Observed;
use crate::fanout::resource_version::ResourceVersion;
use crate::fanout::task::{Task, TaskFailure, TaskState};

use super::{BundleTargets, Trigger};

/// The step that follows the result of an order.
enum NextStep {
    /// The order is done: the target is compared with its desired state.
    Sync(Trigger),
    /// Another order, in the queue of its lane.
    Requeue(Task),
    /// Another order, before all others.
    Recreate(Task),
    /// Another order, at its time.
    Wait(Task),
}

impl BundleTargets {
    /// Records that an order failed; returns the origin of the failure.
    pub(in crate::fanout) fn attribute_failure(
        &mut self,
        history: &mut ResponseHistory,
        target: &TargetRef,
    ) -> FailureOrigin {
        let mut task = self.tasks.get(target).cloned();
        let mut streak = task.as_ref().and_then(|task| task.failure_streak);
        let origin = history.record_failure(target, &mut streak);
        if let Some(task) = &mut task {
            task.failure_streak = streak;
            self.tasks.set(target, Some(task.clone()));
        }
        origin
    }

    /// Handles the result of an order; `origin` is that of a failure.
    pub(in crate::fanout) fn on_result(
        &mut self,
        ctx: RolloutContext<'_>,
        interner: &mut MetadataInterner,
        target: &TargetRef,
        result: WriteResult,
        origin: Option<FailureOrigin>,
        epoch: u32,
    ) {
        let now = ctx.now;
        let Some(mut task) = self.tasks.get(target).cloned() else { return };
        let before = std::mem::replace(&mut task.state, TaskState::Queued);
        let TaskState::InFlight { desired: ordered, request, deleted_at } = before else { return };
        let latest = self.is_current(&ordered);
        let failure = match origin {
            Some(FailureOrigin::Target { lasting: true }) => TaskFailure::Target,
            _ => TaskFailure::Transient,
        };
        let next = match result {
            // Finalizers keep the object.
            WriteResult::Observed(_) if matches!(request, TargetRequest::Delete(_)) && self.is_desired(ctx, target) => {
                NextStep::Wait(task.failed(now, TaskFailure::Target, messages::kept_by_finalizers(target)))
            }
            WriteResult::Observed(_) if matches!(request, TargetRequest::Delete(_)) => {
                self.on_deleted(ctx, target, task, &request)
            }
            // The result may be older than a list that lacks the target.
            WriteResult::Observed(_) | WriteResult::Compared(..) if task.refresh => {
                if request.is_write() {
                    self.count_write();
                }
                NextStep::Requeue(task)
            }
            WriteResult::Observed(observed) => {
                let version = observed.version;
                self.observe_response(interner, target, observed, epoch, deleted_at);
                if request.carries_content() {
                    self.index.set_byte_check(target, version, ByteCheck::Match);
                }
                let newest = self.index.get(target).is_some_and(|entry| entry.version == version);
                if request.is_write() {
                    self.count_write();
                    self.note_completed(target);
                    self.after_write(ctx, target, task, &request, latest, newest)
                } else {
                    NextStep::Requeue(task)
                }
            }
            WriteResult::NotFound => self.on_deleted(ctx, target, task, &request),
            WriteResult::AlreadyExists => self.retry_or_fail(ctx, target, task, true),
            WriteResult::Conflict => {
                let known = self.index.get(target).is_some_and(|entry| Some(entry.version) > request.version());
                match self.next_heal_at(ctx, target) {
                    at if at > now => NextStep::Wait(task.with_state(TaskState::Waiting(at)).with_refresh(!known)),
                    _ => self.retry_or_fail(ctx, target, task, !known),
                }
            }
            WriteResult::Compared(observed, Comparison { same, holdings }) => {
                let inspected = matches!(self.due_diff(ctx, target), Some(Diff::VerifyBytes) | None);
                let version = observed.version;
                self.observe_response(interner, target, observed, epoch, deleted_at);
                self.index.set_byte_check(target, version, if same { ByteCheck::Match } else { ByteCheck::Mismatch });
                if self.has_same_keys(&ordered, target.kind) {
                    self.index.set_holdings(target, version, holdings);
                }
                // A content that is read before a write is not a change of the target.
                if inspected { NextStep::Sync(Trigger::Changed) } else { self.retry_or_fail(ctx, target, task, false) }
            }
            WriteResult::NamespaceGone => NextStep::Wait(task.defer(now)),
            WriteResult::Busy(wait, cause) if matches!(origin, Some(FailureOrigin::Target { .. })) => {
                NextStep::Wait(task.failed(now, failure, cause).not_before(now, wait))
            }
            WriteResult::Busy(None, _) => NextStep::Requeue(task),
            WriteResult::Busy(wait, _) => NextStep::Wait(task.not_before(now, wait)),
            // A patch may be permitted.
            WriteResult::Forbidden(_) if matches!(request, TargetRequest::Replace(_)) && !ctx.put_allowed => {
                NextStep::Requeue(task)
            }
            WriteResult::Refused { immutable: true, .. } if self.is_recreated(ctx, target, &request) => {
                NextStep::Requeue(task)
            }
            WriteResult::Refused { cause, immutable, retry_after } => {
                let cause = if immutable { self.immutable_message(target, cause) } else { cause };
                // Objects without the label are not watched: when its time comes this one is read anew.
                let watched = !self.index.forget_unlabelled(target);
                let failure = if immutable && watched { TaskFailure::Immutable } else { TaskFailure::Target };
                NextStep::Wait(task.failed(now, failure, cause).not_before(now, retry_after))
            }
            WriteResult::Forbidden(cause)
            | WriteResult::Lost(cause)
            | WriteResult::TimedOut(cause)
            | WriteResult::Failed(cause) => NextStep::Wait(task.failed(now, failure, cause)),
        };
        match next {
            NextStep::Sync(trigger) => {
                self.tasks.set(target, None);
                self.sync_task(ctx, target, trigger);
            }
            NextStep::Requeue(task) => self.resume(ctx, target, task),
            NextStep::Recreate(task) => self.enqueue_recreate(ctx, target, task),
            NextStep::Wait(task) => {
                self.tasks.set(target, Some(task));
                // Meanwhile the target may be in sync, or another state desired.
                if !latest || self.next_request(ctx, target).is_none() {
                    self.sync_task(ctx, target, Trigger::Decided);
                }
            }
        }
    }

    /// Stores the state of a target that a response shows, unless a watch has shown a later deletion.
    fn observe_response(
        &mut self,
        interner: &mut MetadataInterner,
        target: &TargetRef,
        observed: Observed,
        epoch: u32,
        deleted_at: Option<ResourceVersion>,
    ) {
        if deleted_at.is_none_or(|gone| gone <= observed.version) {
            let source = (epoch, ObservationSource::Response);
            self.index.observe(interner, target, observed, source, ByteCheck::Unverified);
        }
    }

    /// Handles that a target is gone: one that was deleted to be created anew is created next.
    fn on_deleted(
        &mut self,
        ctx: RolloutContext<'_>,
        target: &TargetRef,
        task: Task,
        request: &TargetRequest,
    ) -> NextStep {
        self.index.remove(target, request.version().unwrap_or(ResourceVersion::NEWEST));
        if !matches!(request, TargetRequest::Delete(_)) {
            return NextStep::Requeue(task);
        }
        self.count_write();
        if self.next_request(ctx, target) == Some(TargetRequest::Create) {
            NextStep::Recreate(task)
        } else {
            NextStep::Requeue(task)
        }
    }

    /// Records that a target is immutable; returns whether it is deleted and created anew.
    fn is_recreated(&mut self, ctx: RolloutContext<'_>, target: &TargetRef, request: &TargetRequest) -> bool {
        self.index.mark_immutable(target, request.version());
        let next = self.next_request(ctx, target);
        self.is_desired(ctx, target)
            && next.is_some_and(|next| matches!(next, TargetRequest::Delete(_) | TargetRequest::GetContent))
    }

    /// Handles that a target was written: whether the order is of the current desired state (`latest`), and whether
    /// nobody has changed the target since (`newest`).
    fn after_write(
        &mut self,
        ctx: RolloutContext<'_>,
        target: &TargetRef,
        task: Task,
        request: &TargetRequest,
        latest: bool,
        newest: bool,
    ) -> NextStep {
        match self.next_request(ctx, target) {
            _ if !latest => NextStep::Sync(Trigger::Decided),
            Some(_) if !newest => NextStep::Sync(Trigger::Changed),
            // The API server returned an object that would have to be created anew.
            Some(TargetRequest::Delete(_)) if self.is_desired(ctx, target) => {
                NextStep::Wait(task.failed(ctx.now, TaskFailure::Target, messages::mutated(target)))
            }
            // Taking ownership and removing stale fields are two requests.
            Some(next) if discriminant(&next) != discriminant(request) => self.retry_or_fail(ctx, target, task, false),
            Some(_) => NextStep::Wait(task.failed(ctx.now, TaskFailure::Target, messages::mutated(target))),
            None => NextStep::Sync(Trigger::Due),
        }
    }

    /// Spends another request on this attempt, unless others change the target faster than it can be written.
    fn retry_or_fail(&mut self, ctx: RolloutContext<'_>, target: &TargetRef, task: Task, refresh: bool) -> NextStep {
        if task.is_exhausted() {
            let cause = self.record_lost_write(ctx, target);
            return NextStep::Wait(task.failed(ctx.now, TaskFailure::Target, cause));
        }
        NextStep::Requeue(task.retry_now(refresh))
    }
}
