//! The controller: one loop that owns the state, hears the watches, decides, and hands out the work.
//!
//! ```text
//! watches --> State ---> touched Bundles --> decide --> Engine --> orders --> Writer
//!    '------------------ namespaces, targets ----------->  |  <--- answers ----'
//!                                                          '--> outcomes --> Desk --> Publisher
//! ```

mod cache;
mod liveness;
mod reconcile_state;
mod report;
mod source_cache;
mod sources;
mod stats;
mod targets;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::api::BundleStatus;
use crate::bundle::{BundleEvent, Decision, Inputs, Intent, Refusal, RolloutOutcome, TargetRef, decide};
use crate::fanout::{self, Action, Engine, WriteLimits};
use crate::metrics;

use crate::client::connection::{ApiError, Connection};
use crate::client::fetch_source::{SourceKey, SourceRead};
use crate::client::publish::{PublishedVersion, Publisher};
use crate::client::watch::{self, Watch, WatchItem};
use crate::client::write::TargetWriter;
use crate::client::{LeadershipState, LeadershipWatch};

use cache::{AffectedBundles, Cache, CacheUpdate};
use reconcile_state::{ReconcileState, StatusUpdate};

pub use liveness::Liveness;
use targets::ListedTargets;

/// How long a stop waits for the answers to writes in flight.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(4);

/// How many times the sources of a Bundle cannot be read for the API server's sake before that is said.
const MAX_SILENT_READ_FAILURES: u32 = 4;

/// The controller.
pub struct Controller {
    connection: Connection,
    trust_namespace: String,
    started: Instant,
    cache: Cache,
    engine: Engine,
    writer: TargetWriter,
    publisher: Publisher,
    leadership: LeadershipWatch,
    /// Whether the fan-out has heard that the mandate holds.
    leading: bool,
    liveness: Arc<Liveness>,
    metrics: metrics::ControllerMetrics,
    /// Bundles to decide, each with the cause in words.
    queue: AffectedBundles,
    states: BTreeMap<String, ReconcileState>,
    tasks: JoinSet<TaskOutput>,
}

/// How a run of the controller ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// It was asked to stop, and every request has been answered.
    Drained,
    /// It was asked to stop, and nobody knows what became of some requests.
    Undrained,
    /// It leads no more.
    LeadershipLost,
}

/// What a task came back with.
#[allow(clippy::large_enum_variant, reason = "taken apart at once")]
enum TaskOutput {
    /// An order was answered.
    Order(Arc<str>, TargetRef, fanout::WriteResult),
    /// The targets of one Bundle were listed.
    Listed { bundle: Arc<str>, scope: fanout::ListScope, number: u64, result: Result<ListedTargets, ApiError> },
    /// Sources were read, as far as they could be.
    Read { name: String, cause: String, reads: Vec<(SourceKey, SourceRead)>, last_failure: Option<ApiError> },
    /// A report was published; if not, with the status that was there before.
    Published { name: String, result: Result<Option<PublishedVersion>, (ApiError, BundleStatus)> },
    /// An event was sent.
    Emitted,
}

impl Controller {
    /// A controller for the world's settings. It is ready once all watches have delivered their lists, and begins no work
    /// but under its mandate.
    #[must_use]
    pub fn new(
        connection: &Connection,
        leadership: LeadershipWatch,
        trust_namespace: &str,
        inputs: Inputs,
        limits: WriteLimits,
        liveness: Arc<Liveness>,
        metrics: metrics::ControllerMetrics,
    ) -> Self {
        let watches = watch::needed(&inputs.settings);
        let connection = connection.fenced(leadership.clone());
        Self {
            engine: Engine::new(inputs.settings.clone(), limits),
            writer: TargetWriter::new(connection.clone(), metrics.writes.clone()),
            publisher: Publisher::new(connection.clone()),
            connection,
            trust_namespace: trust_namespace.to_owned(),
            started: Instant::now(),
            cache: Cache::new(inputs, trust_namespace, &watches),
            leadership,
            leading: false,
            liveness,
            metrics,
            queue: AffectedBundles::new(),
            states: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Runs until `stop` resolves, and then finishes requests in flight and begins nothing new; or until the mandate is
    /// lost for good, and then drops everything.
    ///
    /// # Panics
    /// When a task panics: a bug here, and no state to go on with.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> RunEnd {
        let watches = watch::needed(&self.cache.inputs.settings);
        let (targets, others): (Vec<_>, Vec<_>) = watches.iter().partition(|watch| matches!(watch, Watch::Targets(..)));
        let mut watch_events = watch::start_all(&self.connection, &self.trust_namespace, others);
        let mut targets = Some(targets);
        let mut leadership = self.leadership.clone();
        let mut heartbeat = tokio::time::interval(Liveness::HEARTBEAT_INTERVAL);
        tokio::pin!(stop);
        loop {
            self.liveness.heartbeat();
            self.set_leading(self.leadership.is_leader());
            self.process_queue();
            if let Some(targets) = targets.take_if(|_| self.cache.has_listed_bundles()) {
                watch_events.extend(watch::start_all(&self.connection, &self.trust_namespace, targets));
            }
            let timer = self.next_wakeup();
            tokio::select! {
                biased;
                leadership = leadership.changed() => if leadership == LeadershipState::Lost {
                    return RunEnd::LeadershipLost;
                },
                () = &mut stop => break,
                Some(inquiry) = self.metrics.scrape_requests.recv() => {
                    // Who asked may have had no patience.
                    let _ = inquiry.send(self.stats_snapshot());
                }
                Some(done) = self.tasks.join_next() => self.on_task_done(done.expect("a task does not panic")),
                Some(heard) = watch_events.next() => self.on_watch_event(heard),
                () = sleep_until(timer) => self.on_timer(),
                _ = heartbeat.tick() => {}
            }
        }
        self.metrics.scrape_requests.close();
        self.set_leading(false);
        let rest = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_TIMEOUT, rest).await.is_err() {
            warn!("stopping without the answers to some requests");
            return RunEnd::Undrained;
        }
        RunEnd::Drained
    }

    /// Tells the fan-out whether it may write.
    fn set_leading(&mut self, leading: bool) {
        if self.leading != leading {
            self.leading = leading;
            self.execute(fanout::EngineEvent::Leading(leading));
        }
    }

    fn next_wakeup(&self) -> Option<Instant> {
        let engine = self.engine.next_wakeup(self.started.elapsed()).map(|at| self.started + at);
        self.states.values().filter_map(|state| state.requeue_at).chain(engine).min()
    }

    fn on_watch_event(&mut self, (watch, event): WatchItem) {
        match event {
            Ok(event) => {
                let CacheUpdate { affected, events, list_ended } = self.cache.apply_event(&watch, event);
                for event in events {
                    self.step(event);
                }
                self.enqueue(affected);
                if self.liveness.is_ready() || !(list_ended || watch == Watch::Namespaces) {
                    return;
                }
                let exists = |name: &str| self.engine.namespace(name).is_some();
                if self.cache.is_ready(exists) && self.liveness.set_ready() {
                    let (namespaces, targets) = self.engine.known_counts();
                    info!(bundles = self.cache.bundles().count(), namespaces, targets, "ready");
                }
            }
            Err(error) => warn!(?watch, "watch interrupted: {error}"),
        }
    }

    fn enqueue(&mut self, affected: AffectedBundles) {
        for (name, cause) in affected {
            self.queue.entry(name).or_insert(cause);
        }
    }

    fn on_timer(&mut self) {
        let now = Instant::now();
        for (name, state) in &mut self.states {
            if state.requeue_at.is_some_and(|at| at <= now) {
                state.requeue_at = None;
                if state.read_failures > 0 {
                    self.cache.forget_unreadable();
                }
                self.queue.entry(name.clone()).or_insert_with(|| "time passed".to_owned());
            }
        }
        self.step(fanout::EngineEvent::Tick);
    }

    /// Decides every Bundle that waits for it and whose sources are not being read. While somebody else leads all wait.
    fn process_queue(&mut self) {
        if !self.liveness.is_ready() || !self.leading {
            return;
        }
        let reading = |name: &String| self.states.get(name).is_some_and(|state| state.reading);
        let waiting: Vec<_> = self.queue.extract_if(.., |name, _| !reading(name)).collect();
        for (name, cause) in waiting {
            self.reconcile(name, cause);
        }
    }

    fn reconcile(&mut self, name: String, cause: String) {
        let Some(known) = self.cache.bundle(&name) else {
            self.states.remove(&name);
            info!(bundle = name, cause, "its targets are left to garbage collection");
            return self.set_desired(&name, None, cause);
        };
        let (generation, invalid) = (known.last_status.generation, known.invalid.clone());
        let state = self.states.entry(name.clone()).or_default();
        state.requeue_at = None;
        state.changed_at.get_or_insert_with(Instant::now);
        if let Some(refusal) = invalid {
            return self.refuse(&name, refusal, cause);
        }
        let intent = self.cache.inputs.intents[&name].clone();
        let unread = self.cache.unread(&intent);
        if !unread.is_empty() {
            return self.read_sources(name, cause, unread);
        }
        let now = Timestamp::now();
        match decide_catching_panics(&intent, &self.cache.inputs, now) {
            Err(refusal) => {
                if refusal.retry {
                    state.retry();
                } else {
                    state.read_failures = 0;
                    state.schedule_requeue(refusal.requeue_at, now);
                }
                self.refuse(&name, refusal, cause);
            }
            Ok(decision) => {
                state.read_failures = 0;
                state.schedule_requeue(decision.requeue_at, now);
                let desired = decision.desired.clone();
                state.decided = Some((Arc::new(decision), generation));
                self.set_desired(&name, Some(desired), cause);
            }
        }
    }

    fn refuse(&mut self, name: &str, refusal: Refusal, cause: String) {
        if let Some(state) = self.states.get_mut(name) {
            state.decided = None;
            state.changed_at = None;
            state.enqueue_status(StatusUpdate::Refused(Box::new(refusal)), cause.clone());
        }
        self.set_desired(name, None, cause);
        self.publish(name);
    }

    fn set_desired(&mut self, name: &str, wanted: Option<Arc<crate::bundle::Desired>>, cause: String) {
        self.step(fanout::EngineEvent::Desired { bundle: name.into(), desired: wanted, cause });
    }

    /// Lets the fan-out take in what happened; but first whether it still may write, since any time may have passed.
    fn step(&mut self, event: fanout::EngineEvent) {
        self.set_leading(self.leadership.is_leader());
        self.execute(event);
    }

    /// Lets the fan-out take a step, and does what it asks for.
    fn execute(&mut self, event: fanout::EngineEvent) {
        let actions = self.engine.step(self.started.elapsed(), event);
        for action in actions {
            match action {
                Action::Send(order) => {
                    let (bundle, target) = (order.bundle.clone(), order.target.clone());
                    let answer = self.writer.send(order);
                    self.tasks.spawn(async move { TaskOutput::Order(bundle, target, answer.await) });
                }
                Action::List { bundle, scope, number } => self.list_targets(bundle, scope, number),
                Action::Report { bundle, outcome, cause } => {
                    self.writer.forget(&bundle);
                    self.observe_rollout_duration(&bundle, &outcome);
                    if outcome.written > 0 {
                        let (namespaces, written, failed) =
                            (outcome.namespaces, outcome.written, outcome.failures.len());
                        info!(bundle = &*bundle, namespaces, written, failed, cause, "targets written");
                    }
                    self.report(&bundle, StatusUpdate::Outcome(outcome), cause);
                }
                Action::Progress { bundle, progress } => {
                    self.report(&bundle, StatusUpdate::Progress(progress), "a rollout goes on".to_owned());
                }
                Action::Held { bundle, unstable } => {
                    let cause = unstable.cause.clone();
                    self.report(&bundle, StatusUpdate::Held(unstable), cause);
                }
                Action::Contested { bundle, target, conflicting_manager: rival } => {
                    let rival = rival.as_ref().map(|(manager, key)| (manager.as_str(), key.as_str()));
                    let event = BundleEvent::contested(&bundle, &target, rival);
                    warn!(bundle = &*bundle, reason = %event.reason, "{}", event.note);
                    self.emit(bundle, event);
                }
                Action::Completed { bundle, target } => {
                    let event = BundleEvent::completed(&bundle, &target);
                    info!(bundle = &*bundle, reason = %event.reason, "{}", event.note);
                    self.emit(bundle, event);
                }
                Action::PutForbidden => info!(
                    "PUT is not permitted (verb update): targets are patched from now on, which costs the API server more"
                ),
            }
        }
    }

    /// Sends an event about a Bundle, if that is still there.
    fn emit(&mut self, bundle: Arc<str>, event: BundleEvent) {
        let Some(known) = self.cache.bundle(&bundle) else { return };
        let (publisher, uid) = (self.publisher.clone(), known.uid.clone());
        self.tasks.spawn(async move {
            publisher.emit(&bundle, &uid, &event).await;
            TaskOutput::Emitted
        });
    }

    /// Takes the time of a rollout that is over.
    fn observe_rollout_duration(&mut self, bundle: &str, outcome: &RolloutOutcome) {
        let state = self.states.get_mut(bundle).filter(|_| outcome.rolled_out);
        let changed = state.and_then(|desk| desk.changed_at.take());
        if let Some(changed) = changed.filter(|_| outcome.written > 0) {
            self.metrics.rollouts.observe(changed.elapsed().as_secs_f64());
        }
    }

    fn on_task_done(&mut self, done: TaskOutput) {
        match done {
            TaskOutput::Emitted => {}
            TaskOutput::Listed { bundle, scope, number, result } => {
                self.on_targets_listed(bundle, scope, number, result);
            }
            TaskOutput::Order(bundle, target, answer) => {
                self.step(fanout::EngineEvent::OrderDone { bundle, target, result: answer });
            }
            TaskOutput::Read { name, cause, reads, last_failure: trouble } => {
                self.on_sources_read(name, cause, reads, trouble);
            }
            TaskOutput::Published { name, result } => self.on_status_published(&name, result),
        }
    }

    /// The API server asks for patience: that is for all.
    fn note_server_health(&mut self, failure: &ApiError) {
        if let ApiError::Busy(retry_after, _) = failure {
            self.step(fanout::EngineEvent::Busy(*retry_after));
        }
    }
}

/// Decides; a panic, which would be a bug here, is kept to the Bundle that raised it.
fn decide_catching_panics(intent: &Intent, inputs: &Inputs, now: Timestamp) -> Result<Decision, Refusal> {
    catch_unwind(AssertUnwindSafe(|| decide(intent, inputs, now))).unwrap_or_else(|_| Err(Refusal::panicked()))
}

async fn sleep_until(timer: Option<Instant>) {
    match timer {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
