//! What an answer changes for its target.

use std::mem::discriminant;

use crate::bundle::{Diff, TargetRef};

use super::action::TargetRequest;
use super::bundle_targets::{BundleTargets, RolloutContext, Trigger};
use super::event::{Comparison, WriteResult};
use super::failure_origin::{FailureOrigin, ResponseHistory};
use super::index::{ByteCheck, MetadataInterner, ObservationSource};
use super::resource_version::ResourceVersion;
use super::task::{Task, TaskFailure, TaskState};

/// What follows from an answer.
enum NextStep {
    /// The order is done with: see what else is to be done.
    Sync(Trigger),
    /// One more order, in its turn.
    Requeue(Task),
    /// One more order, before all others.
    Recreate(Task),
    /// One more order, at its time.
    Wait(Task),
}

impl BundleTargets {
    /// Whom an answer is held against that tells of trouble.
    pub(super) fn attribute_failure(&mut self, history: &mut ResponseHistory, target: &TargetRef) -> FailureOrigin {
        let mut task = self.tasks.get(target).cloned();
        let mut streak = task.as_ref().and_then(|task| task.failure_streak);
        let origin = history.record_failure(target, &mut streak);
        if let Some(task) = &mut task {
            task.failure_streak = streak;
            self.tasks.set(target, Some(task.clone()));
        }
        origin
    }

    /// Takes in what became of an order. `blame`: whom it is held against, if it tells of trouble.
    pub(super) fn on_result(
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
            // Finalizers keep it.
            WriteResult::Observed(_) if matches!(request, TargetRequest::Delete(_)) && self.is_desired(ctx, target) => {
                NextStep::Wait(task.failed(now, TaskFailure::Target, self.finalizer_message(target)))
            }
            WriteResult::Observed(_) if matches!(request, TargetRequest::Delete(_)) => {
                self.on_deleted(ctx, target, task, &request)
            }
            // It may be older than a list that lacks it.
            WriteResult::Observed(_) | WriteResult::Compared(..) if task.refresh => {
                if request.is_write() {
                    self.count_write();
                }
                NextStep::Requeue(task)
            }
            WriteResult::Observed(observed) => {
                let version = observed.version;
                if deleted_at.is_none_or(|gone| gone <= version) {
                    self.index.observe(
                        interner,
                        target,
                        observed,
                        (epoch, ObservationSource::Response),
                        ByteCheck::Unverified,
                    );
                }
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
                if deleted_at.is_none_or(|gone| gone <= version) {
                    self.index.observe(
                        interner,
                        target,
                        observed,
                        (epoch, ObservationSource::Response),
                        ByteCheck::Unverified,
                    );
                }
                self.index.set_byte_check(target, version, if same { ByteCheck::Match } else { ByteCheck::Mismatch });
                if self.has_same_keys(&ordered, target.kind) {
                    self.index.set_holdings(target, version, holdings);
                }
                // What has to be known before it is written is not a change of it.
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
            WriteResult::Refused { cause, immutable: fixed, retry_after } => {
                let cause = if fixed { self.immutable_message(target, cause) } else { cause };
                // What has no label is not watched: when its time comes it is looked at anew.
                let watched = !self.index.forget_unlabelled(target, &self.name);
                let failure = if fixed && watched { TaskFailure::Immutable } else { TaskFailure::Target };
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
                // Meanwhile it may have become as it should be, or something else may be wanted.
                if !latest || self.next_request(ctx, target).is_none() {
                    self.sync_task(ctx, target, Trigger::Decided);
                }
            }
        }
    }

    /// A target is gone; if that was for it to be created anew, it is, and if not, whatever is to be done is.
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

    /// A target turned out to be immutable; whether it is deleted and created anew.
    fn is_recreated(&mut self, ctx: RolloutContext<'_>, target: &TargetRef, request: &TargetRequest) -> bool {
        self.index.mark_immutable(target, request.version());
        let next = self.next_request(ctx, target);
        self.is_desired(ctx, target)
            && next.is_some_and(|next| matches!(next, TargetRequest::Delete(_) | TargetRequest::GetContent))
    }

    /// A target was written, under what is wanted still (`latest`); and nobody has changed it since (`newest`).
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
            // It came back as one that would have to be created anew.
            Some(TargetRequest::Delete(_)) if self.is_desired(ctx, target) => {
                NextStep::Wait(task.failed(ctx.now, TaskFailure::Target, self.mutated_message(target)))
            }
            // Taking ownership and taking out what is stale are two requests.
            Some(next) if discriminant(&next) != discriminant(request) => self.retry_or_fail(ctx, target, task, false),
            Some(_) => NextStep::Wait(task.failed(ctx.now, TaskFailure::Target, self.mutated_message(target))),
            None => NextStep::Sync(Trigger::Due),
        }
    }

    /// A try takes one more request, unless others are faster than we are.
    fn retry_or_fail(&mut self, ctx: RolloutContext<'_>, target: &TargetRef, task: Task, refresh: bool) -> NextStep {
        if task.is_exhausted() {
            let cause = self.record_lost_write(ctx, target);
            return NextStep::Wait(task.failed(ctx.now, TaskFailure::Target, cause));
        }
        NextStep::Requeue(task.retry_now(refresh))
    }
}
