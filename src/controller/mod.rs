//! The controller: one loop that owns all state and calls one of three entry points for whatever happened.
//!
//! | What happened | Entry point |
//! |---|---|
//! | a Bundle, a source or the trust namespace changed; its sources were fetched; its requeue time came | `reconcile` |
//! | a namespace or a target changed; a write or a list of targets was answered; time passed; leadership changed | `roll_out` |
//! | a Bundle was refused; the engine reports an outcome, progress or a conflict; a status was published | `report` |
//!
//! ```text
//! watches --> Cache --> affected Bundles --> queue --> reconcile --> roll_out --> TargetWriter
//!    '----------- namespaces, targets ------------------------------->  |   <----- results ---'
//!                                                                       '--> report --> Publisher
//! ```

mod cache;
mod distrusts;
mod evidence_watch;
mod fetch_sources;
mod list_targets;
mod liveness;
mod reconcile;
mod reconcile_state;
mod recover_memory;
mod report;
mod retention_state;
mod roll_out;
mod source_cache;
mod stats;
mod store_memory;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::api::BundleStatus;
use crate::bundle::{BundleId, Inputs, LastStatus, SourceId, TargetRef, TrustNamespaces};
use crate::client::{
    ApiError, Connection, LeadershipState, LeadershipWatch, PublishedVersion, Publisher, SourceRead, TargetWriter,
    Watch, WatchEvent, WatchResult, start_watches,
};
use crate::fanout::{Engine, EngineEvent, ListScope, ResourceVersion, WriteLimits, WriteResult};
use crate::metrics;

use cache::{AffectedBundles, Cache, CacheUpdate};
use distrusts::DistrustReports;
use evidence_watch::EvidenceWatch;
use list_targets::ListedTargets;
use reconcile::reconcile;
use reconcile_state::ReconcileState;
use recover_memory::RecoveredState;
use retention_state::{PendingDecision, StoreResult};
use roll_out::roll_out;

pub use liveness::Liveness;

/// Maximum time that a stop waits for the results of requests in flight.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(4);

/// The controller of all Bundles of a cluster.
pub struct Controller {
    cache: Cache,
    /// Bundles to reconcile, each with the cause in words.
    queue: AffectedBundles,
    states: BTreeMap<BundleId, ReconcileState>,
    distrusts: DistrustReports,
    engine: Engine,
    /// Time zero of the engine.
    started: Instant,
    leadership: LeadershipWatch,
    /// Whether this process leads, as last passed to the engine.
    leading: bool,
    connection: Connection,
    trust_namespaces: TrustNamespaces,
    writer: TargetWriter,
    publisher: Publisher,
    evidence_watch: EvidenceWatch,
    /// Requests in flight.
    tasks: JoinSet<TaskOutput>,
    liveness: Arc<Liveness>,
    metrics: metrics::ControllerMetrics,
}

/// How a run of the controller ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// Stopped on request, with every request in flight answered.
    Drained,
    /// Stopped on request, with some requests in flight unanswered.
    Undrained,
    /// Leader election lost.
    LeadershipLost,
}

/// What a task returned.
enum TaskOutput {
    /// The result of a write.
    Order(BundleId, TargetRef, Box<WriteResult>),
    /// The targets of one Bundle.
    Listed { bundle: BundleId, scope: ListScope, number: u64, result: Result<ListedTargets, ApiError> },
    /// Source objects that a Bundle waits for, as far as they could be fetched.
    Fetched { id: BundleId, cause: String, reads: Vec<(SourceId, SourceRead)>, last_failure: Option<ApiError> },
    /// A published status; on failure with the status from before.
    Published { id: BundleId, result: Result<Option<PublishedVersion>, (ApiError, BundleStatus)> },
    /// What is remembered of a Bundle, as far as it could be recovered.
    Recovered { id: BundleId, cause: String, result: Result<Box<RecoveredState>, ApiError> },
    /// A memory that was stored, or was not, with the decision that waits for it.
    Stored { id: BundleId, cause: String, pending: Box<PendingDecision>, result: StoreResult },
    /// A published status of a Distrust; on failure with the status from before.
    DistrustPublished { name: String, result: Result<Option<ResourceVersion>, (ApiError, LastStatus)> },
    /// A sent event.
    Emitted,
}

impl Controller {
    /// Returns a controller that starts no work before all watches have delivered their lists and this process leads.
    #[must_use]
    pub fn new(
        connection: &Connection,
        leadership: LeadershipWatch,
        trust_namespaces: TrustNamespaces,
        inputs: Inputs,
        limits: WriteLimits,
        liveness: Arc<Liveness>,
        metrics: metrics::ControllerMetrics,
    ) -> Self {
        let connection = connection.fenced(leadership.clone());
        Self {
            engine: Engine::new(inputs.settings.clone(), limits),
            cache: Cache::new(inputs, trust_namespaces.clone()),
            queue: AffectedBundles::new(),
            states: BTreeMap::new(),
            distrusts: DistrustReports::default(),
            started: Instant::now(),
            leadership,
            leading: false,
            trust_namespaces,
            writer: TargetWriter::new(connection.clone(), metrics.writes.clone()),
            publisher: Publisher::new(connection.clone()),
            connection,
            evidence_watch: EvidenceWatch::default(),
            tasks: JoinSet::new(),
            liveness,
            metrics,
        }
    }

    /// Runs until `stop` resolves, then waits for requests in flight and starts no new ones; or until leadership is lost,
    /// then drops everything.
    ///
    /// # Panics
    /// When a task panics, which is a bug: the state is then unknown.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> RunEnd {
        let watches = Watch::needed(&self.cache.inputs().settings, &self.trust_namespaces);
        let is_of_targets = |watch: &&Watch| matches!(watch, Watch::Fanout(ListScope::Targets(..)));
        let (targets, others): (Vec<_>, Vec<_>) = watches.iter().partition(is_of_targets);
        let mut watch_events = start_watches(&self.connection, self.trust_namespaces.main(), others);
        let mut targets = Some(targets);
        let mut leadership = self.leadership.clone();
        let mut heartbeat = tokio::time::interval(Liveness::HEARTBEAT_INTERVAL);
        tokio::pin!(stop);
        loop {
            self.liveness.heartbeat();
            roll_out::refresh_leadership(&mut self);
            self.process_queue();
            distrusts::report(&mut self);
            if let Some(targets) = targets.take_if(|_| self.cache.has_listed_bundles()) {
                watch_events.extend(start_watches(&self.connection, self.trust_namespaces.main(), targets));
            }
            evidence_watch::refresh(&mut self);
            let wakeup = self.next_wakeup();
            tokio::select! {
                biased;
                leadership = leadership.changed() => if leadership == LeadershipState::Lost {
                    return RunEnd::LeadershipLost;
                },
                () = &mut stop => break,
                Some(scrape) = self.metrics.scrape_requests.recv() => {
                    // The scraper may have given up waiting.
                    let _ = scrape.send(stats::snapshot(&self));
                }
                Some(output) = self.tasks.join_next() => self.on_task_done(output.expect("no task panics")),
                Some(event) = watch_events.next() => self.on_watch_event(event),
                event = self.evidence_watch.next() => {
                    evidence_watch::on_event(&mut self);
                    self.on_watch_event(event);
                }
                () = sleep_until(wakeup) => self.on_timer(),
                _ = heartbeat.tick() => {}
            }
        }
        self.metrics.scrape_requests.close();
        roll_out::set_leading(&mut self, false);
        let rest = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_TIMEOUT, rest).await.is_err() {
            warn!("stopping without the answers to some requests");
            return RunEnd::Undrained;
        }
        RunEnd::Drained
    }

    /// The earliest time at which a Bundle or the engine has something to do.
    fn next_wakeup(&self) -> Option<Instant> {
        let engine = self.engine.next_wakeup(self.started.elapsed()).map(|at| self.started + at);
        let others = [evidence_watch::next_wakeup(self), self.distrusts.next_wakeup()].into_iter().flatten();
        self.states.values().filter_map(|state| state.requeue_at).chain(engine).chain(others).min()
    }

    fn on_watch_event(&mut self, event: WatchResult<WatchEvent>) {
        match event {
            Ok(event) => {
                if matches!(event, WatchEvent::Distrust(_)) {
                    self.distrusts.set_changed();
                }
                let CacheUpdate { affected, events, ledger, lifted, may_be_ready } = self.cache.apply_event(event);
                if let Some(bundle) = ledger {
                    self.on_ledger_changed(bundle);
                }
                for lifted in lifted {
                    distrusts::on_lifted(self, lifted);
                }
                for event in events {
                    roll_out(self, event);
                }
                self.enqueue(affected);
                if may_be_ready {
                    self.check_ready();
                }
            }
            Err((Watch::Distrusts, error)) if error.is_unavailable() => {
                distrusts::on_unavailable(self, &error);
                self.check_ready();
            }
            Err((watch, error)) => {
                warn!(?watch, "watch interrupted: {error}");
                let affected = match &watch {
                    Watch::Sources(kind, Some(namespace)) if error.is_denied() => {
                        self.cache.deny_sources(*kind, namespace, error.to_string())
                    }
                    Watch::CertificateRequests => {
                        evidence_watch::on_interruption(self, error.refusal_code(), &error.to_string())
                    }
                    _ => AffectedBundles::new(),
                };
                self.enqueue(affected);
            }
        }
    }

    fn check_ready(&mut self) {
        if self.liveness.is_ready() {
            return;
        }
        let exists = |name: &str| self.engine.namespace(name).is_some();
        if self.cache.is_ready(exists) && self.liveness.set_ready() {
            let (namespaces, targets) = self.engine.known_counts();
            info!(bundles = self.cache.bundles().count(), namespaces, targets, "ready");
        }
    }

    fn on_ledger_changed(&mut self, id: BundleId) {
        let observed = self.cache.ledger_version(&id);
        let Some(state) = self.states.get_mut(&id) else { return };
        if state.retention.observe_idle(observed) {
            // A ledger that was lost has come back.
            if state.retention.has_lost() && state.retention.version().is_some() {
                state.retention.forget_memory();
            }
            self.queue.entry(id).or_insert_with(|| "others have changed its ledger".to_owned());
        }
    }

    fn enqueue(&mut self, affected: AffectedBundles) {
        for (id, cause) in affected {
            self.queue.entry(id).or_insert(cause);
        }
    }

    fn on_timer(&mut self) {
        let now = Instant::now();
        for (id, state) in &mut self.states {
            if state.requeue_at.is_some_and(|at| at <= now) {
                state.requeue_at = None;
                if state.fetch_failures > 0 {
                    self.cache.forget_unreadable();
                }
                self.queue.entry(id.clone()).or_insert_with(|| "time passed".to_owned());
            }
        }
        let affected = evidence_watch::on_timer(self);
        self.enqueue(affected);
        roll_out(self, EngineEvent::Tick);
    }

    /// Reconciles every queued Bundle of which nothing is being read or stored. While another process leads all of them wait.
    fn process_queue(&mut self) {
        if !self.liveness.is_ready() || !self.leading {
            return;
        }
        let is_waiting =
            |id: &BundleId| self.states.get(id).is_some_and(|state| state.fetching || state.retention.is_busy());
        let waiting: Vec<_> = self.queue.extract_if(.., |id, _| !is_waiting(id)).collect();
        for (id, cause) in waiting {
            reconcile(self, id, cause);
        }
    }

    fn on_task_done(&mut self, output: TaskOutput) {
        match output {
            TaskOutput::Order(bundle, target, result) => {
                roll_out(self, EngineEvent::OrderDone { bundle, target, result: *result });
            }
            TaskOutput::Listed { bundle, scope, number, result } => {
                let result = list_targets::on_listed(self, bundle.name(), result);
                roll_out(self, EngineEvent::Listed { bundle, scope, number, result });
            }
            TaskOutput::Fetched { id, cause, reads, last_failure } => {
                fetch_sources::on_fetched(self, id, cause, reads, last_failure);
            }
            TaskOutput::Published { id, result } => report::on_published(self, &id, result),
            TaskOutput::Recovered { id, cause, result } => recover_memory::on_recovered(self, id, cause, result),
            TaskOutput::Stored { id, cause, pending, result } => {
                store_memory::on_stored(self, &id, cause, pending, result);
            }
            TaskOutput::DistrustPublished { name, result } => distrusts::on_published(self, &name, result),
            TaskOutput::Emitted => {}
        }
    }

    /// Pauses all requests if the API server was busy when it responded to a request other than a write.
    fn note_server_health(&mut self, error: &ApiError) {
        if let ApiError::Busy(retry_after, _) = error {
            roll_out(self, EngineEvent::Busy(*retry_after));
        }
    }
}

async fn sleep_until(timer: Option<Instant>) {
    match timer {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
