//! The pure step of the fan-out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::bundle::{DecisionSettings, Namespace, TargetRef};

use super::action::{Action, Order};
use super::bundle_targets::{RolloutContext, Trigger};
use super::concurrency_limit::{AimdLimit, Lane, PAUSE_MAX, ServerHealth, WriteLimits};
use super::damping::Budget;
use super::event::{EngineEvent, ListPhase, ListScope, TargetEvent, WriteResult};
use super::failure_origin::{FailureOrigin, ResponseHistory, SLOW_AFTER};
use super::index::{Absence, MetadataInterner, Namespaces};
use super::listing::TargetListResult;
use super::put_permission::PutPermission;
use super::resource_version::ResourceVersion;
use super::targets_by_bundle::TargetsByBundle;

/// Everything known about targets, and what is to be done about them.
pub struct Engine {
    shared: EngineShared,
    interner: MetadataInterner,
    pub(super) bundles: TargetsByBundle,
    /// The lists of all targets of each scope.
    lists: BTreeMap<ListScope, ListState>,
    /// The number of the last list of one Bundle's targets.
    list_number: u64,
    pub(super) concurrency: AimdLimit,
    budget: Budget,
    in_flight: BTreeMap<(Arc<str>, TargetRef), InFlightOrder>,
    /// Whose turn was last.
    last_served: Arc<str>,
    leads: bool,
}

/// The lists of all targets of one scope.
#[derive(Default)]
struct ListState {
    /// How many were begun.
    epoch: u32,
    /// Whether one is under way.
    running: bool,
    /// Whether any has ever ended.
    has_ended: bool,
}

/// What all fleets stand on.
struct EngineShared {
    settings: DecisionSettings,
    namespaces: Namespaces,
    put_permission: PutPermission,
    history: ResponseHistory,
}

/// An order that is out.
struct InFlightOrder {
    since: Duration,
    /// Whether it counts as slow.
    slow: bool,
    /// The bytes that count against the budget of rollouts.
    bytes: usize,
}

impl EngineShared {
    fn context(&self, now: Duration) -> RolloutContext<'_> {
        let Self { settings, namespaces, put_permission, history } = self;
        RolloutContext {
            settings,
            namespaces,
            put_allowed: put_permission.is_allowed(),
            slow_namespaces: history.slow_namespaces(),
            now,
        }
    }
}

impl Engine {
    /// An engine that knows nothing yet and may not write.
    #[must_use]
    pub fn new(settings: DecisionSettings, limits: WriteLimits) -> Self {
        Self {
            shared: EngineShared {
                settings,
                namespaces: Namespaces::default(),
                put_permission: PutPermission::default(),
                history: ResponseHistory::default(),
            },
            interner: MetadataInterner::default(),
            bundles: TargetsByBundle::default(),
            lists: BTreeMap::new(),
            list_number: 0,
            concurrency: AimdLimit::new(limits),
            budget: Budget::new(limits.damping),
            in_flight: BTreeMap::new(),
            last_served: "".into(),
            leads: false,
        }
    }

    /// Takes in what happened, at a time since the start of the process that never goes back; returns what to do, in this
    /// order.
    pub fn step(&mut self, now: Duration, event: EngineEvent) -> Vec<Action> {
        let mut actions = Vec::new();
        self.on_event(now, event, &mut actions);
        self.mark_slow_orders(now);
        self.process_due(now);
        self.bundles.reindex();
        while let Some(order) = self.next_order(now) {
            actions.push(Action::Send(order));
        }
        for name in self.bundles.take_changed() {
            let Some(bundle_targets) = self.bundles.get_mut(&name) else { continue };
            while let Some(action) = bundle_targets.next_report(self.shared.context(now)) {
                actions.push(action);
            }
            let lists = bundle_targets.listing.take_due(now, &mut self.list_number).into_iter();
            actions.extend(lists.map(|(scope, number)| Action::List { bundle: name.clone(), scope, number }));
            self.bundles.reindex_one(&name);
        }
        self.bundles.take_changed();
        actions
    }

    /// When [`Event::Time`] is due, if nothing else happens before.
    #[must_use]
    pub fn next_wakeup(&self, now: Duration) -> Option<Duration> {
        let work = self.leads && self.bundles.has_work();
        let slow = self.in_flight.values().filter(|flight| !flight.slow).map(|flight| flight.since + SLOW_AFTER).min();
        let send_times = [self.concurrency.resumes_at(), slow].into_iter().flatten().filter(|at| work && *at > now);
        self.bundles.next_wakeup().into_iter().chain(send_times).min()
    }

    /// How many namespaces and targets are known.
    #[must_use]
    pub fn known_counts(&self) -> (usize, usize) {
        let targets = self.bundles.values().map(|bundle_targets| bundle_targets.index.targets().count()).sum();
        (self.shared.namespaces.iter().count(), targets)
    }

    /// The labels of a namespace that is there.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.shared.namespaces.active(name)
    }

    pub(super) fn context(&self, now: Duration) -> RolloutContext<'_> {
        self.shared.context(now)
    }

    fn on_event(&mut self, now: Duration, event: EngineEvent, actions: &mut Vec<Action>) {
        match event {
            EngineEvent::Bundle(name, exists) => self.bundle_changed(now, &name, exists),
            EngineEvent::Deleted { bundle, uid } => {
                // Who leads hands over; a standby cannot know what the leader has done.
                let uid = uid.filter(|_| self.leads);
                if let Some(bundle_targets) = self.bundles.get_mut(&bundle).filter(|fleet| !fleet.exists) {
                    bundle_targets.on_bundle_deleted(self.shared.context(now), uid.as_deref());
                }
            }
            EngineEvent::Desired { bundle, desired, cause } => {
                let Some(bundle_targets) = self.bundles.get_mut(&bundle).filter(|fleet| fleet.exists) else { return };
                bundle_targets.listing.deferred_desired = None;
                if let Some(desired) = desired {
                    bundle_targets.listing.deferred_desired = Some((desired, cause));
                    self.apply_deferred_desired(now, &bundle);
                } else {
                    bundle_targets.set_cause(|| cause);
                    bundle_targets.set_desired(self.shared.context(now), None);
                }
            }
            EngineEvent::Listed { bundle, scope, number, result } => {
                self.on_listed(now, &bundle, &scope, number, result);
            }
            EngineEvent::Namespace(name, after) => self.namespace_changed(now, &name, after),
            EngineEvent::Target { bundle, target: (kind, namespace), event } => {
                let namespace = self.shared.namespaces.name(&namespace);
                let Some(bundle_targets) = self.bundles.get(&bundle) else { return };
                let target = bundle_targets.target_ref(kind, &namespace);
                self.target_changed(now, &bundle, &target, event);
            }
            EngineEvent::List(ListScope::Namespaces, ListPhase::Began) => self.shared.namespaces.begin_list(),
            EngineEvent::List(ListScope::Namespaces, ListPhase::Ended) => {
                for name in self.shared.namespaces.missing() {
                    self.namespace_changed(now, &name, None);
                }
            }
            EngineEvent::List(scope, ListPhase::Began) => {
                for name in self.bundles.names(|_| true) {
                    self.bundles.get_mut(&name).expect("just named").listing.list_began(&scope);
                }
                let list = self.lists.entry(scope).or_default();
                (list.epoch, list.running) = (list.epoch.wrapping_add(1), true);
            }
            EngineEvent::List(scope, ListPhase::Ended) => self.list_ended(now, &scope),
            EngineEvent::OrderDone { bundle, target, result } => self.on_result(now, &bundle, &target, result, actions),
            EngineEvent::Busy(retry_after) => {
                self.concurrency.note_server_health(now, ServerHealth::Unavailable(retry_after));
            }
            EngineEvent::Leading(leads) => self.leads = leads,
            EngineEvent::Tick => {}
        }
    }

    fn namespace_changed(&mut self, now: Duration, name: &str, after: Option<Namespace>) {
        let (name, before, verb) = match after {
            Some(after) => {
                let terminating = after.terminating;
                let (name, before) = self.shared.namespaces.insert(name, after.clone());
                if before.as_ref() == Some(&after) {
                    return;
                }
                let verb = if before.is_none() {
                    "created"
                } else if terminating {
                    "terminating"
                } else {
                    "relabelled"
                };
                (name, before, verb)
            }
            None => match self.shared.namespaces.remove(name) {
                Some((name, before)) => {
                    self.shared.history.forget(&name);
                    (name, Some(before), "deleted")
                }
                None => return,
            },
        };
        for bundle in self.bundles.names(|fleet| fleet.desired.is_some()) {
            let bundle_targets = self.bundles.get_mut(&bundle).expect("just named");
            bundle_targets.namespace_changed(self.shared.context(now), &name, before.as_ref(), verb);
        }
    }

    /// A Bundle is there, or no longer: then its targets are nobody's, but what it completed is remembered until it is known
    /// how it was deleted.
    fn bundle_changed(&mut self, now: Duration, name: &str, exists: bool) {
        if exists {
            let begun = self.lists.iter().map(|(scope, list)| (scope.clone(), list.running));
            let bundle_targets = self.bundles.get_or_insert(name);
            if !bundle_targets.exists {
                bundle_targets.on_bundle_added(self.shared.context(now));
                bundle_targets.listing.begin(begun, now);
            }
        } else if let Some(bundle_targets) = self.bundles.get_mut(name) {
            bundle_targets.on_bundle_removed(self.shared.context(now));
        }
    }

    /// Decides a Bundle, unless nothing was decided yet and some of its targets are still to be listed.
    fn apply_deferred_desired(&mut self, now: Duration, bundle: &str) {
        let Some(bundle_targets) = self.bundles.get_mut(bundle) else { return };
        let has_ended = |scope: &ListScope| self.lists.get(scope).is_some_and(|list| list.has_ended);
        if bundle_targets.desired.is_none() && bundle_targets.listing.is_pending(has_ended) {
            return;
        }
        if let Some((desired, cause)) = bundle_targets.listing.deferred_desired.take() {
            bundle_targets.roll_out(self.shared.context(now), desired, cause, &mut self.budget);
        }
    }

    /// A list of one Bundle's targets was answered.
    fn on_listed(&mut self, now: Duration, bundle: &str, scope: &ListScope, number: u64, result: TargetListResult) {
        let Some(bundle_targets) = self.bundles.get_mut(bundle) else { return };
        if !bundle_targets.listing.on_result(scope, number, &result, now) {
            return;
        }
        if let (TargetListResult::Targets(targets), ListScope::Targets(kind, _)) = (result, scope) {
            for (namespace, observed) in targets {
                let namespace = self.shared.namespaces.name(&namespace);
                let Some(bundle_targets) = self.bundles.get(bundle) else { return };
                let target = bundle_targets.target_ref(*kind, &namespace);
                if !bundle_targets.listing.was_deleted(&target, observed.version) {
                    self.target_changed(now, bundle, &target, TargetEvent::Applied(observed));
                }
            }
        }
        if let Some(bundle_targets) = self.bundles.get_mut(bundle) {
            bundle_targets.listing.clear_deleted();
        }
        self.apply_deferred_desired(now, bundle);
    }

    /// Takes in how a target is; of what has no Bundle's name nothing is kept.
    fn target_changed(&mut self, now: Duration, bundle: &str, target: &TargetRef, event: TargetEvent) {
        let epoch = self.epoch(target);
        let Some(bundle_targets) = self.bundles.get_mut(bundle).filter(|fleet| fleet.exists) else { return };
        let (changed, verb) = match event {
            TargetEvent::Applied(observed) => {
                (bundle_targets.observe(&mut self.interner, target, observed, epoch), "changed")
            }
            TargetEvent::Deleted(version) => {
                let deleted = bundle_targets.index.remove(target, version);
                bundle_targets.listing.record_deleted(target, version);
                bundle_targets.note_deleted(target, version);
                (deleted, "deleted")
            }
        };
        if changed && bundle_targets.sync_task(self.shared.context(now), target, Trigger::Changed) {
            let name = bundle_targets.name.clone();
            bundle_targets.set_cause(|| format!("target {} {}/{name} {verb}", target.kind.as_str(), target.namespace));
        }
    }

    /// The list that a target is in at present.
    fn epoch(&self, TargetRef { kind, namespace, .. }: &TargetRef) -> u32 {
        let list = |namespace| self.lists.get(&ListScope::Targets(*kind, namespace));
        let covering = list(None).or_else(|| list(Some(namespace.to_string())));
        covering.map(|list| list.epoch).unwrap_or_default()
    }

    fn list_ended(&mut self, now: Duration, scope: &ListScope) {
        let list = self.lists.entry(scope.clone()).or_default();
        (list.running, list.has_ended) = (false, true);
        let epoch = list.epoch;
        for name in self.bundles.names(|_| true) {
            let bundle_targets = self.bundles.get_mut(&name).expect("just named");
            let missing = bundle_targets.index.missing(scope, epoch);
            let in_flight = bundle_targets.tasks.in_flight().filter(|target| scope.covers(target));
            let mut doubtful: BTreeSet<_> =
                in_flight.filter(|target| !bundle_targets.index.is_watch_confirmed(target, epoch)).cloned().collect();
            for (target, absence) in missing {
                if absence == Absence::Doubtful {
                    doubtful.insert(target);
                } else if !doubtful.contains(&target) {
                    self.target_changed(now, &name, &target, TargetEvent::Deleted(ResourceVersion::NEWEST));
                }
            }
            let bundle_targets = self.bundles.get_mut(&name).expect("just named");
            for target in doubtful {
                bundle_targets.invalidate(self.shared.context(now), &target);
            }
            bundle_targets.listing.list_ended(scope, now);
            self.apply_deferred_desired(now, &name);
        }
    }

    /// Orders that are out for long make room for others.
    fn mark_slow_orders(&mut self, now: Duration) {
        let late = |flight: &InFlightOrder| !flight.slow && flight.since + SLOW_AFTER <= now;
        for ((_, target), flight) in self.in_flight.iter_mut().filter(|(_, flight)| late(flight)) {
            flight.slow = true;
            self.concurrency.count_slow(true);
            self.shared.history.mark_slow(&target.namespace);
        }
    }

    /// Takes up what has waited for its time.
    fn process_due(&mut self, now: Duration) {
        for name in self.bundles.due(now) {
            let Some(bundle_targets) = self.bundles.get_mut(&name) else { continue };
            bundle_targets.start_due(self.shared.context(now), &mut self.budget);
            while let Some(target) = bundle_targets.tasks.due(now) {
                bundle_targets.sync_task(self.shared.context(now), &target, Trigger::Due);
            }
        }
    }

    /// The next order: single events before rollouts, Bundles in turn.
    fn next_order(&mut self, now: Duration) -> Option<Order> {
        for lane in Lane::ALL {
            while self.leads && self.concurrency.allows(now, lane) {
                let Some(name) = self.bundles.next(lane, &self.last_served) else { break };
                self.last_served = name.clone();
                let bundle_targets = self.bundles.get_mut(&name).expect("it has work");
                let order = bundle_targets.next_order(self.shared.context(now), lane);
                let bulk = order.as_ref().is_some_and(|order| bundle_targets.is_bulk(order));
                self.bundles.reindex_one(&name);
                if let Some(order) = order {
                    let payload = order.desired.payloads.get(&order.target.kind);
                    let bytes =
                        payload.filter(|_| order.request.carries_content()).map_or(0, crate::bundle::Payload::size);
                    self.concurrency.on_sent(now, bytes);
                    let slow = lane == Lane::Slow;
                    if slow {
                        self.concurrency.count_slow(true);
                    }
                    let bytes = if bulk { bytes } else { 0 };
                    self.in_flight.insert((name, order.target.clone()), InFlightOrder { since: now, slow, bytes });
                    return Some(order);
                }
            }
        }
        None
    }

    fn on_result(
        &mut self,
        now: Duration,
        bundle: &str,
        target: &TargetRef,
        result: WriteResult,
        actions: &mut Vec<Action>,
    ) {
        let epoch = self.epoch(target);
        let flight = self.remove_in_flight(bundle, target);
        let since = flight.as_ref().map_or(now, |flight| flight.since);
        if let (Some(flight), WriteResult::Observed(_)) = (flight, &result) {
            self.budget.wrote(bundle, flight.bytes);
        }
        let Some(bundle_targets) = self.bundles.get_mut(bundle) else { return self.concurrency.on_ended() };
        let write = bundle_targets.is_being_written(target);
        let failure = server_health(&result)
            .map(|health| (health, bundle_targets.attribute_failure(&mut self.shared.history, target)));
        match failure {
            // What others have not told of, too, stops them for a moment only.
            Some((ServerHealth::Unavailable(wait), FailureOrigin::Server { confirmed: false })) => {
                self.concurrency.on_response(now, ServerHealth::Unavailable(wait.map(|wait| wait.min(PAUSE_MAX))));
            }
            Some((health, FailureOrigin::Server { .. })) => self.concurrency.on_response(now, health),
            Some((_, FailureOrigin::Target { .. })) => self.concurrency.on_ended(),
            None => {
                self.concurrency.on_response(now, ServerHealth::Healthy);
                if write {
                    self.shared.history.record_success(&target.namespace, now.saturating_sub(since));
                }
            }
        }
        if bundle_targets
            .request_in_flight(target)
            .is_some_and(|request| self.shared.put_permission.on_result(request, &result))
        {
            actions.push(Action::PutForbidden);
        }
        bundle_targets.on_result(
            self.shared.context(now),
            &mut self.interner,
            target,
            result,
            failure.map(|(_, blame)| blame),
            epoch,
        );
        if !bundle_targets.exists && !bundle_targets.deletion_known {
            bundle_targets.on_bundle_removed(self.shared.context(now));
        }
    }

    /// An order is out no more.
    fn remove_in_flight(&mut self, bundle: &str, target: &TargetRef) -> Option<InFlightOrder> {
        let flight = self.in_flight.remove(&(Arc::from(bundle), target.clone()))?;
        if flight.slow {
            self.concurrency.count_slow(false);
        }
        Some(flight)
    }
}

/// What trouble an answer tells of.
fn server_health(result: &WriteResult) -> Option<ServerHealth> {
    match result {
        WriteResult::Busy(retry_after, _) => Some(ServerHealth::Unavailable(*retry_after)),
        WriteResult::Lost(_) => Some(ServerHealth::Unavailable(None)),
        WriteResult::TimedOut(_) | WriteResult::Failed(_) => Some(ServerHealth::Slow),
        _ => None,
    }
}
