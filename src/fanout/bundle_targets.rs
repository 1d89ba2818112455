//! One Bundle: its targets, and what is to be done about them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::bundle::{DecisionSettings, Desired, Diff, Drift, Namespace, ObjectKind, TargetRef};
use crate::text;

use super::action::{Order, TargetRequest};
use super::concurrency_limit::Lane;
use super::contention::ContentionBackoff;
use super::index::{ByteCheck, MetadataInterner, Namespaces, ObservationSource, Observed, TargetIndex};
use super::listing::TargetListing;
use super::pending_report::PendingReport;
use super::request_choice::{self, RequestBlocked, RequestOptions};
use super::resource_version::ResourceVersion;
use super::rollout::Rollouts;
use super::task::{Task, TaskFailure, TaskState, Tasks};

/// The most characters of each word about an owner, which its API does not bound.
const OWNER_MAX: usize = 253;

/// What a fleet sees of the world around it.
#[derive(Clone, Copy)]
pub(super) struct RolloutContext<'a> {
    pub(super) settings: &'a DecisionSettings,
    pub(super) namespaces: &'a Namespaces,
    /// Whether PUT is permitted.
    pub(super) put_allowed: bool,
    /// Namespaces whose requests take long.
    pub(super) slow_namespaces: &'a BTreeSet<Arc<str>>,
    pub(super) now: Duration,
}

/// Why a target is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    /// Its Bundle was decided anew.
    Decided,
    /// It has become the turn of its namespace.
    Namespace,
    /// Somebody has changed it.
    Changed,
    /// Something that it waited for has happened.
    Due,
}

/// One Bundle's targets.
pub(super) struct BundleTargets {
    pub(super) name: Arc<str>,
    /// Whether the Bundle is there.
    pub(super) exists: bool,
    /// Whether it is known how the Bundle was deleted.
    pub(super) deletion_known: bool,
    /// What is still to be listed of it.
    pub(super) listing: TargetListing,
    pub(super) index: TargetIndex,
    pub(super) tasks: Tasks,
    pub(super) desired: Option<Arc<Desired>>,
    pub(super) rollouts: Rollouts,
    queues: BTreeMap<Lane, VecDeque<TargetRef>>,
    pub(super) contention: ContentionBackoff,
    /// How many namespaces the Bundle reaches.
    pub(super) reached: usize,
    pub(super) pending_report: PendingReport,
}

impl BundleTargets {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            exists: false,
            deletion_known: false,
            listing: TargetListing::default(),
            index: TargetIndex::default(),
            tasks: Tasks::default(),
            desired: None,
            rollouts: Rollouts::default(),
            queues: BTreeMap::new(),
            contention: ContentionBackoff::default(),
            reached: 0,
            pending_report: PendingReport::default(),
        }
    }

    /// Whether the Bundle is gone and nothing is on its way.
    pub(super) fn can_be_dropped(&self) -> bool {
        !self.exists && self.tasks.is_empty() && (self.deletion_known || self.index.is_empty())
    }

    /// The Bundle is there again.
    pub(super) fn on_bundle_added(&mut self, ctx: RolloutContext<'_>) {
        (self.exists, self.deletion_known) = (true, false);
        (self.index, self.rollouts) = (TargetIndex::default(), Rollouts::default());
        self.set_desired(ctx, None);
    }

    /// The Bundle is gone: nothing of it is kept but what is on its way, and what it completed.
    pub(super) fn on_bundle_removed(&mut self, ctx: RolloutContext<'_>) {
        self.exists = false;
        (self.listing, self.rollouts) = (TargetListing::default(), Rollouts::default());
        self.index.keep_completed(&self.name);
        self.set_desired(ctx, None);
    }

    /// The Bundle was deleted. With its uid, what it completed is handed over.
    pub(super) fn on_bundle_deleted(&mut self, ctx: RolloutContext<'_>, uid: Option<&str>) {
        self.deletion_known = true;
        match uid {
            Some(uid) => self.set_desired(ctx, Some(Arc::new(Desired::of_deleted(&self.name, uid)))),
            None => self.index = TargetIndex::default(),
        }
    }

    /// The key of the Bundle's target of a kind in a namespace.
    pub(super) fn target_ref(&self, kind: ObjectKind, namespace: &Arc<str>) -> TargetRef {
        TargetRef { kind, namespace: namespace.clone(), name: self.name.clone() }
    }

    pub(super) fn has_work(&self, lane: Lane) -> bool {
        self.queues.get(&lane).is_some_and(|queue| !queue.is_empty())
    }

    /// Puts a place at the end of the queue where it belongs, or at the head of it.
    fn enqueue(&mut self, ctx: RolloutContext<'_>, place: &TargetRef, urgent: bool, first: bool) {
        let queue = self.queues.entry(lane(ctx, place, urgent)).or_default();
        if first {
            queue.push_front(place.clone());
        } else {
            queue.push_back(place.clone());
        }
    }

    /// The Bundle was decided anew.
    pub(super) fn set_desired(&mut self, ctx: RolloutContext<'_>, desired: Option<Arc<Desired>>) {
        self.queues.clear();
        let before = std::mem::replace(&mut self.desired, desired);
        let Some(desired) = self.desired.clone() else {
            // What a rollout has not reached does not wait for the next one.
            for target in self.tasks.targets() {
                self.index.mark_unverified(target);
            }
            self.tasks.clear();
            self.pending_report = PendingReport::default();
            self.reached = 0;
            return;
        };
        self.pending_report.on_decided(ctx.now);
        for kind in ObjectKind::ALL {
            if before.as_ref().is_none_or(|before| !same_keys(before, &desired, kind)) {
                self.index.forget_holdings(kind);
            }
        }
        let mut targets: BTreeSet<TargetRef> = self.index.targets().chain(self.tasks.targets()).cloned().collect();
        self.reached = 0;
        for (name, namespace) in ctx.namespaces.iter() {
            if desired.reaches(ctx.settings, name, namespace) {
                self.reached += 1;
                targets.extend(desired.payloads.keys().map(|kind| self.target_ref(*kind, name)));
            }
        }
        // What the rollout before has not reached goes first: the last ones must not wait for ever.
        let (behind, others): (Vec<_>, Vec<_>) =
            targets.into_iter().partition(|target| self.tasks.get(target).is_some());
        for target in behind.iter().chain(&others) {
            self.sync_task(ctx, target, Trigger::Decided);
        }
    }

    /// A namespace came, changed or went.
    pub(super) fn namespace_changed(
        &mut self,
        ctx: RolloutContext<'_>,
        name: &Arc<str>,
        before: Option<&Namespace>,
        verb: &str,
    ) {
        let Some(desired) = self.desired.clone() else { return };
        let now = ctx.namespaces.active(name);
        let reached = |namespace| desired.reaches(ctx.settings, name, namespace);
        let (was, is) = (before.is_some_and(reached), now.is_some_and(reached));
        self.reached = self.reached + usize::from(is) - usize::from(was);
        if now.is_none() {
            self.contention.forget(name);
            self.tasks.failures_changed = true;
        }
        for kind in ObjectKind::ALL {
            let target = self.target_ref(kind, name);
            if self.sync_task(ctx, &target, Trigger::Namespace) {
                self.set_cause(|| format!("namespace {name} {verb}"));
            }
        }
    }

    /// What has to be done at a place now.
    pub(super) fn due_diff(&self, ctx: RolloutContext<'_>, target: &TargetRef) -> Option<Diff> {
        self.full_diff(ctx, target).filter(|diff| !self.is_held_back(ctx, target, diff))
    }

    /// What has to be done at a place, now or when the next rollout starts.
    pub(super) fn full_diff(&self, ctx: RolloutContext<'_>, target: &TargetRef) -> Option<Diff> {
        let desired = self.desired.as_ref()?;
        // What is in a namespace that is gone or on its way out is left to Kubernetes.
        let namespace = ctx.namespaces.active(&target.namespace)?;
        let reached = desired.reaches(ctx.settings, &target.namespace, namespace);
        let entry = self.index.get(target);
        let diff = desired.diff(target.kind, reached, entry.map(|entry| &*entry.metadata));
        let Some(entry) = entry.filter(|_| self.is_desired(ctx, target)) else { return diff };
        let outlives =
            entry.metadata.annotated_keys.is_none() || entry.metadata.namespace_owner_uids.contains(&*namespace.uid);
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

    /// Whether a target may be deleted and created anew, going by its metadata.
    fn may_recreate(&self, target: &TargetRef) -> bool {
        let payload = self.desired.as_ref().and_then(|wanted| Some((wanted, wanted.payloads.get(&target.kind)?)));
        payload
            .zip(self.index.get(target))
            .is_some_and(|((desired, payload), entry)| desired.may_recreate(payload, &entry.metadata))
    }

    /// Whether there is to be an object of this Bundle at a place.
    pub(super) fn is_desired(&self, ctx: RolloutContext<'_>, target: &TargetRef) -> bool {
        let is_kind = self.desired.as_ref().is_some_and(|wanted| wanted.payloads.contains_key(&target.kind));
        is_kind && self.reaches(ctx, target)
    }

    /// Whether the Bundle reaches the namespace of a place.
    pub(super) fn reaches(&self, ctx: RolloutContext<'_>, TargetRef { namespace: name, .. }: &TargetRef) -> bool {
        let namespace = ctx.namespaces.active(name).zip(self.desired.as_ref());
        namespace.is_some_and(|(namespace, desired)| desired.reaches(ctx.settings, name, namespace))
    }

    /// A watch shows a target; whether there is news in it.
    pub(super) fn observe(
        &mut self,
        interner: &mut MetadataInterner,
        target: &TargetRef,
        observed: Observed,
        epoch: u32,
    ) -> bool {
        // What was there before anything was decided is taken to be what its metadata says.
        let unknown = if self.desired.is_some() { ByteCheck::Unverified } else { ByteCheck::Match };
        self.index.observe(interner, target, observed, (epoch, ObservationSource::Watch), unknown)
    }

    /// Looks at a place: queues what has to be done, drops what has not; whether there is something to be written.
    pub(super) fn sync_task(&mut self, ctx: RolloutContext<'_>, target: &TargetRef, trigger: Trigger) -> bool {
        let diff = self.due_diff(ctx, target);
        let writes = diff.as_ref().is_some_and(|need| *need != Diff::VerifyBytes);
        let task = self.tasks.get(target);
        if matches!(task, Some(Task { state: TaskState::InFlight { .. }, .. })) {
            // The answer brings it here again.
            return writes;
        }
        match diff {
            None => {
                self.tasks.set(target, None);
                self.sync_releases(ctx, target);
                return false;
            }
            // What takes its place is written first.
            Some(Diff::Release(_)) if siblings(target).any(|sibling| self.is_unsettled(ctx, &sibling)) => {
                self.tasks.set(target, None);
                return false;
            }
            Some(_) => {}
        }
        let urgent = matches!(trigger, Trigger::Namespace | Trigger::Changed);
        let mut task = task.cloned();
        let heal_at =
            (trigger == Trigger::Changed && writes && !matches!(task, Some(Task { state: TaskState::Queued, .. })))
                .then(|| self.next_heal_at(ctx, target));
        match &mut task {
            None => task = Some(Task::new(urgent)),
            Some(Task { state: TaskState::Queued, urgent: before, .. }) => *before |= urgent,
            Some(Task { state: TaskState::Waiting(until) | TaskState::RetryingSilently(until), .. }) => {
                match (trigger, heal_at) {
                    (Trigger::Changed, Some(heal_at)) => *until = heal_at.min(*until),
                    // It is tried again at its time.
                    (Trigger::Decided, _) if self.content_while_held().is_some() => {}
                    _ => task = task.map(|task| task.with_state(TaskState::Queued).or_urgent(urgent)),
                }
            }
            Some(Task { state: TaskState::InFlight { .. }, .. }) => unreachable!("seen above"),
        }
        let mut task = task.expect("there is something to be done");
        if let Some(heal_at) = heal_at.filter(|turn| *turn > ctx.now)
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

    /// Whether a place still has to be written.
    fn is_unsettled(&self, ctx: RolloutContext<'_>, target: &TargetRef) -> bool {
        self.tasks.get(target).is_some()
            || matches!(
                self.due_diff(ctx, target),
                Some(Diff::Create | Diff::Update(_) | Diff::Blocked(_) | Diff::Recreate)
            )
    }

    /// What had to wait for this place may be let go now.
    fn sync_releases(&mut self, ctx: RolloutContext<'_>, target: &TargetRef) {
        let waiting: Vec<_> = siblings(target)
            .filter(|sibling| self.tasks.get(sibling).is_none())
            .filter(|sibling| matches!(self.due_diff(ctx, sibling), Some(Diff::Release(_))))
            .collect();
        for sibling in waiting {
            self.sync_task(ctx, &sibling, Trigger::Due);
        }
    }

    /// The next order of a lane, if there is one.
    pub(super) fn next_order(&mut self, ctx: RolloutContext<'_>, lane: Lane) -> Option<Order> {
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

    fn build_order(&mut self, ctx: RolloutContext<'_>, place: &TargetRef, task: Task) -> Option<Order> {
        let desired = self.desired.clone()?;
        let diff = self.due_diff(ctx, place);
        let request = match &diff {
            Some(_) if task.refresh => TargetRequest::GetMetadata,
            None => {
                self.tasks.set(place, None);
                self.sync_releases(ctx, place);
                return None;
            }
            Some(diff) => {
                match self.request_for(ctx, place, &desired, diff) {
                    Ok(request) => request,
                    Err(blocked) => {
                        let task = task.failed(ctx.now, TaskFailure::Target, self.blocked_message(place, &blocked));
                        // What has no label is not watched: when its time comes it is looked at anew.
                        let refresh = match blocked {
                            RequestBlocked::OtherController(_) => {
                                self.index.forget_unlabelled(place, &self.name);
                                false
                            }
                            // But what was seen of a version is not looked at twice.
                            RequestBlocked::AdoptionRefused(_) => true,
                        };
                        self.tasks.set(place, Some(task.with_refresh(refresh)));
                        return None;
                    }
                }
            }
        };
        if request.is_write()
            && self.contention.is_tracked(place)
            && let Some(manager) = self.conflicting_manager(place)
        {
            self.contention.set_conflicting_manager(place, manager);
        }
        if request.second_owner().is_some()
            && self.index.get(place).is_some_and(|entry| entry.metadata.annotated_keys.is_none())
        {
            self.pending_report.completing.insert(place.clone());
        }
        let state = TaskState::InFlight { desired: desired.clone(), request: request.clone(), deleted_at: None };
        self.tasks.set(place, Some(task.with_state(state).with_refresh(false)));
        Some(Order { bundle: self.name.clone(), target: place.clone(), desired, request })
    }

    /// The request that a place needs now, if any.
    pub(super) fn next_request(&self, ctx: RolloutContext<'_>, target: &TargetRef) -> Option<TargetRequest> {
        let desired = self.desired.as_ref()?;
        let diff = self.due_diff(ctx, target)?;
        self.request_for(ctx, target, desired, &diff).ok()
    }

    /// The request that meets a need.
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

    /// Why nothing may be asked for, in words, and the cure.
    fn blocked_message(&self, target: &TargetRef, blocked: &RequestBlocked) -> String {
        let TargetRef { kind, namespace, .. } = target;
        match blocked {
            RequestBlocked::OtherController(owner) => format!(
                "failed to patch {} {namespace}/{}: it is controlled by {} {} ({}): delete that owner, or give the Bundle another name",
                kind.as_str(),
                self.name,
                text::truncate_chars(&owner.kind, OWNER_MAX),
                text::quote(&owner.name, OWNER_MAX),
                text::truncate_chars(&owner.api_version, OWNER_MAX)
            ),
            RequestBlocked::AdoptionRefused(obstacle) => {
                let managers = self.index.get(target).map(|entry| &entry.metadata.foreign_keys);
                obstacle.explain(&self.name, *kind, namespace, |key| managers?.get(key).map(String::as_str))
            }
        }
    }

    /// Goes on with a task, unless nothing has to be done any more.
    pub(super) fn resume(&mut self, ctx: RolloutContext<'_>, place: &TargetRef, task: Task) {
        self.tasks.set(place, None);
        if self.due_diff(ctx, place).is_none() {
            self.sync_task(ctx, place, Trigger::Due);
            return;
        }
        if matches!(task.state, TaskState::Queued) {
            self.enqueue(ctx, place, task.urgent, false);
        }
        self.tasks.set(place, Some(task));
    }

    /// A target was deleted to be created anew: it is, before all else.
    pub(super) fn enqueue_recreate(&mut self, ctx: RolloutContext<'_>, target: &TargetRef, task: Task) {
        self.enqueue(ctx, target, true, true);
        self.tasks.set(target, Some(task.or_urgent(true)));
    }

    /// A watch tells that a target is gone as of a version: an answer on its way may be older.
    pub(super) fn note_deleted(&mut self, target: &TargetRef, version: ResourceVersion) {
        let mut task = self.tasks.get(target).cloned();
        if let Some(Task { state: TaskState::InFlight { deleted_at, .. }, .. }) = &mut task {
            *deleted_at = (*deleted_at).max(Some(version));
            self.tasks.set(target, task);
        }
    }

    /// A list of all targets lacks one that was asked for or written since it began: it has to be looked at. Until then
    /// nothing is known of it, and an answer on its way may be older than the list.
    pub(super) fn invalidate(&mut self, ctx: RolloutContext<'_>, target: &TargetRef) {
        self.index.remove(target, ResourceVersion::NEWEST);
        self.sync_task(ctx, target, Trigger::Due);
        if let Some(task) = self.tasks.get(target).cloned() {
            self.tasks.set(target, Some(task.with_refresh(true)));
        }
    }

    /// What was asked for in the order that is out, if one is.
    pub(super) fn request_in_flight(&self, target: &TargetRef) -> Option<&TargetRequest> {
        match &self.tasks.get(target)?.state {
            TaskState::InFlight { request, .. } => Some(request),
            _ => None,
        }
    }

    /// Whether an order that may change a target is out.
    pub(super) fn is_being_written(&self, target: &TargetRef) -> bool {
        self.request_in_flight(target).is_some_and(TargetRequest::is_write)
    }

    /// Whether targets of a kind have the same keys under this and what is wanted now.
    pub(super) fn has_same_keys(&self, other: &Desired, kind: ObjectKind) -> bool {
        self.desired.as_ref().is_some_and(|wanted| same_keys(other, wanted, kind))
    }

    /// Whether this is what is wanted now.
    pub(super) fn is_current(&self, desired: &Arc<Desired>) -> bool {
        self.desired.as_ref().is_some_and(|now| Arc::ptr_eq(now, desired))
    }
}

/// Where a place waits for its turn.
fn lane(ctx: RolloutContext<'_>, target: &TargetRef, urgent: bool) -> Lane {
    match urgent {
        _ if ctx.slow_namespaces.contains(&target.namespace) => Lane::Slow,
        true => Lane::Urgent,
        false => Lane::Bulk,
    }
}

/// Whether targets of a kind have the same keys under both.
fn same_keys(before: &Desired, now: &Desired, kind: ObjectKind) -> bool {
    let keys = |desired: &Desired| desired.payloads.get(&kind).map(|payload| payload.values.keys().cloned().collect());
    let (before, now): (Option<BTreeSet<String>>, _) = (keys(before), keys(now));
    before == now
}

/// The same namespace's places of other kinds.
pub(super) fn siblings(target: &TargetRef) -> impl Iterator<Item = TargetRef> + use<> {
    let (kind, target) = (target.kind, target.clone());
    ObjectKind::ALL
        .into_iter()
        .filter(move |other| *other != kind)
        .map(move |kind| TargetRef { kind, ..target.clone() })
}
