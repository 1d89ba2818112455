//! Update of the task of a target, after a change of anything that it depends on.

use crate::bundle::{Diff, TargetRef};
use crate::fanout::context::RolloutContext;
use crate::fanout::task::{Task, TaskState};

use super::{BundleTargets, Trigger, siblings};

impl BundleTargets {
    /// Compares a target with its desired state, and queues or drops its task; returns whether the target has to be
    /// written.
    pub(super) fn sync_task(&mut self, ctx: RolloutContext<'_>, target: &TargetRef, trigger: Trigger) -> bool {
        let diff = self.due_diff(ctx, target);
        let writes = diff.as_ref().is_some_and(|diff| *diff != Diff::VerifyBytes);
        let task = match self.tasks.get(target) {
            // Its result leads here again.
            Some(Task { state: TaskState::InFlight { .. }, .. }) => return writes,
            task => task.cloned(),
        };
        match diff {
            None => {
                self.tasks.set(target, None);
                self.sync_releases(ctx, target);
                return false;
            }
            // The target that replaces this one is written first.
            Some(Diff::Release(_)) if siblings(target).any(|sibling| self.is_unsettled(ctx, &sibling)) => {
                self.tasks.set(target, None);
                return false;
            }
            Some(_) => {}
        }
        let urgent = matches!(trigger, Trigger::Namespace | Trigger::Changed);
        let heal_at =
            (trigger == Trigger::Changed && writes && !matches!(task, Some(Task { state: TaskState::Queued, .. })))
                .then(|| self.next_heal_at(ctx, target));
        let mut task = match task {
            None => Task::new(urgent),
            Some(task) => match (task.next_wakeup(), trigger, heal_at) {
                (None, ..) => task.or_urgent(urgent),
                (Some(_), Trigger::Changed, Some(heal_at)) => task.not_after(heal_at),
                // The task is retried at its time.
                (Some(_), Trigger::Decided, _) if self.content_while_held().is_some() => task,
                (Some(_), ..) => task.with_state(TaskState::Queued).or_urgent(urgent),
            },
        };
        if let Some(heal_at) = heal_at.filter(|at| *at > ctx.now)
            && matches!(task.state, TaskState::Queued)
        {
            task.state = TaskState::Waiting(heal_at);
        }
        if matches!(task.state, TaskState::Queued) {
            self.enqueue(ctx, target, task.urgent, false);
        }
        self.tasks.set(target, Some(task));
        writes
    }

    /// Returns whether a target still has to be written.
    fn is_unsettled(&self, ctx: RolloutContext<'_>, target: &TargetRef) -> bool {
        self.tasks.get(target).is_some()
            || matches!(
                self.due_diff(ctx, target),
                Some(Diff::Create | Diff::Update(_) | Diff::Blocked(_) | Diff::Recreate)
            )
    }

    /// Takes up the releases of other kinds that had to wait for this target.
    pub(super) fn sync_releases(&mut self, ctx: RolloutContext<'_>, target: &TargetRef) {
        let waiting: Vec<_> = siblings(target)
            .filter(|sibling| self.tasks.get(sibling).is_none())
            .filter(|sibling| matches!(self.due_diff(ctx, sibling), Some(Diff::Release(_))))
            .collect();
        for sibling in waiting {
            self.sync_task(ctx, &sibling, Trigger::Due);
        }
    }
}
