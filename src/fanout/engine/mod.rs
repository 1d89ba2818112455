//! The pure step of the fan-out.

mod lists;
mod orders;

use std::time::Duration;

use crate::bundle::{BundleId, DecisionSettings, Namespace, TargetRef};

use super::action::Action;
use super::bundle_targets::BundleTargets;
use super::concurrency_limit::{AimdLimit, ServerHealth, WriteLimits};
use super::context::RolloutContext;
use super::damping::Budget;
use super::event::{EngineEvent, TargetEvent};
use super::failure_origin::ResponseHistory;
use super::in_flight::OrdersInFlight;
use super::index::MetadataInterner;
use super::list_epochs::ListEpochs;
use super::list_scope::{ListPhase, ListScope};
use super::listing::DeferredDecision;
use super::namespaces::Namespaces;
use super::put_permission::PutPermission;
use super::stats::EngineStats;
use super::targets_by_bundle::TargetsByBundle;

/// The state machine of the fan-out: the state of all targets, and the tasks that bring each to its desired state.
pub struct Engine {
    shared: EngineShared,
    interner: MetadataInterner,
    bundles: TargetsByBundle,
    lists: ListEpochs,
    /// The number of the last list of one Bundle's targets.
    list_number: u64,
    concurrency: AimdLimit,
    budget: Budget,
    in_flight: OrdersInFlight,
    /// The Bundle whose order was sent last.
    last_served: BundleId,
    leads: bool,
}

/// The state that the rollouts of all Bundles depend on.
struct EngineShared {
    settings: DecisionSettings,
    namespaces: Namespaces,
    put_permission: PutPermission,
    history: ResponseHistory,
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
    /// Creates an engine without any state, which may not write yet.
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
            lists: ListEpochs::default(),
            list_number: 0,
            concurrency: AimdLimit::new(limits),
            budget: Budget::new(limits.damping),
            in_flight: OrdersInFlight::default(),
            last_served: "".into(),
            leads: false,
        }
    }

    /// Processes an event and returns the actions to execute, in this order. `now` is the time since the start of the
    /// process, and never goes back.
    pub fn step(&mut self, now: Duration, event: EngineEvent) -> Vec<Action> {
        let mut actions = Vec::new();
        self.on_event(now, event, &mut actions);
        self.mark_slow_orders(now);
        self.process_due(now);
        self.bundles.reindex();
        while let Some(order) = self.next_order(now) {
            actions.push(Action::Send(order));
        }
        for bundle in self.bundles.take_changed() {
            let Some(targets) = self.bundles.get_mut(&bundle) else { continue };
            while let Some(action) = targets.next_report(self.shared.context(now)) {
                actions.push(action);
            }
            let lists = targets.listing().take_due(now, &mut self.list_number).into_iter();
            actions.extend(lists.map(|(scope, number)| Action::List { bundle: bundle.clone(), scope, number }));
            self.bundles.reindex_one(&bundle);
        }
        self.bundles.take_changed();
        actions
    }

    /// The time at which [`EngineEvent::Tick`] is due, if nothing else happens before.
    #[must_use]
    pub fn next_wakeup(&self, now: Duration) -> Option<Duration> {
        let work = self.leads && self.bundles.has_work();
        let send_times = [self.concurrency.resumes_at(), self.in_flight.next_slow_at()];
        let send_times = send_times.into_iter().flatten().filter(|at| work && *at > now);
        self.bundles.next_wakeup().into_iter().chain(send_times).min()
    }

    /// The numbers of namespaces and of targets known.
    #[must_use]
    pub fn known_counts(&self) -> (usize, usize) {
        let targets = self.bundles.values().map(BundleTargets::target_count).sum();
        (self.shared.namespaces.iter().count(), targets)
    }

    /// Returns whether a Bundle may have targets: some are known, or not all have been listed.
    #[must_use]
    pub fn may_have_targets(&self, bundle: &BundleId) -> bool {
        self.bundles.get(bundle).is_some_and(|targets| targets.target_count() > 0 || targets.is_unlisted())
    }

    /// The time until which the newest content of a Bundle is held back, if it is.
    #[must_use]
    pub fn held_until(&self, bundle: &BundleId) -> Option<Duration> {
        self.bundles.get(bundle)?.held_until()
    }

    /// The labels of a namespace that exists and is not being deleted.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.shared.namespaces.active(name)
    }

    /// Counts targets and requests; takes time in proportion to what is yet to be done, not to the number of targets.
    #[must_use]
    pub fn stats(&self, now: Duration) -> EngineStats {
        let ctx = self.shared.context(now);
        let existing = self.bundles.values().filter(|targets| targets.exists());
        EngineStats {
            in_flight: self.concurrency.in_flight(),
            limit: self.concurrency.limit(),
            paused: self.concurrency.is_paused(now),
            queued: self.bundles.values().map(BundleTargets::queued_count).sum(),
            bundles: existing.filter_map(|targets| Some((targets.id().clone(), targets.rollout_stats(ctx)?))).collect(),
        }
    }

    fn on_event(&mut self, now: Duration, event: EngineEvent, actions: &mut Vec<Action>) {
        match event {
            EngineEvent::Bundle(bundle, exists) => self.bundle_changed(now, &bundle, exists),
            EngineEvent::Deleted { bundle, uid } => {
                // The leader hands over; a standby cannot know what the leader has done.
                let uid = uid.filter(|_| self.leads);
                if let Some(targets) = self.bundles.get_mut(&bundle).filter(|targets| !targets.exists()) {
                    targets.on_bundle_deleted(self.shared.context(now), uid.as_deref());
                }
            }
            EngineEvent::Desired { bundle, desired, cause, urgent } => {
                let Some(targets) = self.bundles.get_mut(&bundle).filter(|targets| targets.exists()) else { return };
                if let Some(desired) = desired {
                    targets.defer_desired(DeferredDecision { desired, cause, urgent });
                    self.apply_deferred_desired(now, &bundle);
                } else {
                    targets.refuse(self.shared.context(now), cause);
                }
            }
            EngineEvent::Listed { bundle, scope, number, result } => {
                self.on_listed(now, &bundle, &scope, number, result);
            }
            EngineEvent::Namespace(name, after) => self.namespace_changed(now, &name, after),
            EngineEvent::Target { bundle, target: TargetRef { kind, namespace, .. }, event } => {
                let namespace = self.shared.namespaces.name(&namespace);
                let Some(targets) = self.bundles.get_mut(&bundle) else { return };
                let target = targets.target_ref(kind, &namespace);
                self.target_changed(now, &bundle, &target, event);
            }
            EngineEvent::List(ListScope::Namespaces, ListPhase::Began) => self.shared.namespaces.begin_list(),
            EngineEvent::List(ListScope::Namespaces, ListPhase::Ended) => {
                for name in self.shared.namespaces.end_list() {
                    self.namespace_changed(now, &name, None);
                }
            }
            EngineEvent::List(scope, ListPhase::Began) => self.list_began(scope),
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
        for bundle in self.bundles.ids(BundleTargets::is_decided) {
            let targets = self.bundles.get_mut(&bundle).expect("the Bundle was just named");
            targets.namespace_changed(self.shared.context(now), &name, before.as_ref(), verb);
        }
    }

    /// Handles that a Bundle exists, or no longer does: then its targets are left as they are, but what it completed
    /// is remembered until it is known how it was deleted.
    fn bundle_changed(&mut self, now: Duration, bundle: &BundleId, exists: bool) {
        if exists {
            let targets = self.bundles.get_or_insert(bundle);
            if !targets.exists() {
                targets.on_bundle_added(self.shared.context(now));
                targets.listing().begin(self.lists.begun(), now);
            }
        } else if let Some(targets) = self.bundles.get_mut(bundle) {
            targets.on_bundle_removed(self.shared.context(now));
        }
    }

    /// Carries out the decision about a Bundle, unless nothing was decided yet and some of its targets are still to be
    /// listed.
    fn apply_deferred_desired(&mut self, now: Duration, bundle: &BundleId) {
        let Some(targets) = self.bundles.get_mut(bundle) else { return };
        if let Some(decision) = targets.take_deferred_desired(|scope| self.lists.has_ended(scope)) {
            targets.roll_out(self.shared.context(now), decision, &mut self.budget);
        }
    }

    /// Handles the state of a target that a watch or list shows.
    fn target_changed(&mut self, now: Duration, bundle: &BundleId, target: &TargetRef, event: TargetEvent) {
        let epoch = self.lists.epoch(target);
        if let Some(targets) = self.bundles.get_mut(bundle) {
            targets.on_target_event(self.shared.context(now), &mut self.interner, target, event, epoch);
        }
    }

    /// Does what has waited for its time.
    fn process_due(&mut self, now: Duration) {
        for bundle in self.bundles.due(now) {
            let Some(targets) = self.bundles.get_mut(&bundle) else { continue };
            targets.process_due(self.shared.context(now), &mut self.budget);
        }
    }
}
