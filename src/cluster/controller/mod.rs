//! The controller: one loop that owns the state, hears the watches, decides, and hands out the work.
//!
//! ```text
//! watches --> State ---> touched Bundles --> decide --> Engine --> orders --> Writer
//!    '------------------ namespaces, targets ----------->  |  <--- answers ----'
//!                                                          '--> outcomes --> Desk --> Publisher
//! ```

mod sources;
mod status;
mod survey;
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
use crate::bundle::{Decision, Event, Intent, Outcome, TargetRef, Refusal, World, decide};
use crate::fanout::{self, Action, Engine, Limits};
use crate::metrics;

use super::connection::{Connection, Failure};
use super::contents::{Read, SourceKey};
use super::desk::{Desk, What};
use super::lease::{Leadership, Mandate};
use super::publish::{Answer, Publisher};
use super::state::{Heard, State, Touched};
use super::vitals::Vitals;
use super::watch::{self, News, Watch};
use super::write::Writer;

use targets::Targets;

/// How long a stop waits for the answers to writes in flight.
const STOP_MAX: Duration = Duration::from_secs(4);

/// How many times the sources of a Bundle cannot be read for the API server's sake before that is said.
const PATIENCE: u32 = 4;

/// The controller.
pub struct Controller {
    connection: Connection,
    trust_namespace: String,
    born: Instant,
    state: State,
    engine: Engine,
    writer: Writer,
    publisher: Publisher,
    mandate: Mandate,
    /// Whether the fan-out has heard that the mandate holds.
    leads: bool,
    vitals: Arc<Vitals>,
    metrics: metrics::Controller,
    /// Bundles to decide, each with the cause in words.
    queue: Touched,
    desks: BTreeMap<String, Desk>,
    tasks: JoinSet<Done>,
}

/// How a run of the controller ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was asked to stop, and every request has been answered.
    Stopped,
    /// It was asked to stop, and nobody knows what became of some requests.
    Unanswered,
    /// It leads no more.
    Deposed,
}

/// What a task came back with.
#[allow(clippy::large_enum_variant, reason = "taken apart at once")]
enum Done {
    /// An order was answered.
    Order(Arc<str>, TargetRef, fanout::Answer),
    /// The targets of one Bundle were listed.
    Listed { bundle: Arc<str>, scope: fanout::Scope, number: u64, result: Result<Targets, Failure> },
    /// Sources were read, as far as they could be.
    Read { name: String, cause: String, reads: Vec<(SourceKey, Read)>, trouble: Option<Failure> },
    /// A report was published; if not, with the status that was there before.
    Published { name: String, result: Result<Option<Answer>, (Failure, BundleStatus)> },
    /// An event was sent.
    Emitted,
}

impl Controller {
    /// A controller for the world's settings. It is ready once all watches have delivered their lists, and begins no work
    /// but under its mandate.
    #[must_use]
    pub fn new(
        connection: &Connection,
        mandate: Mandate,
        trust_namespace: &str,
        world: World,
        limits: Limits,
        vitals: Arc<Vitals>,
        metrics: metrics::Controller,
    ) -> Self {
        let watches = watch::needed(&world.settings);
        let connection = connection.gated(mandate.clone());
        Self {
            engine: Engine::new(world.settings.clone(), limits),
            writer: Writer::new(connection.clone(), metrics.writes.clone()),
            publisher: Publisher::new(connection.clone()),
            connection,
            trust_namespace: trust_namespace.to_owned(),
            born: Instant::now(),
            state: State::new(world, trust_namespace, &watches),
            mandate,
            leads: false,
            vitals,
            metrics,
            queue: Touched::new(),
            desks: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Runs until `stop` resolves, and then finishes requests in flight and begins nothing new; or until the mandate is
    /// lost for good, and then drops everything.
    ///
    /// # Panics
    /// When a task panics: a bug here, and no state to go on with.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Ending {
        let watches = watch::needed(&self.state.world.settings);
        let (targets, others): (Vec<_>, Vec<_>) = watches.iter().partition(|watch| matches!(watch, Watch::Targets(..)));
        let mut news = watch::all(&self.connection, &self.trust_namespace, others);
        let mut targets = Some(targets);
        let mut mandate = self.mandate.clone();
        let mut pulse = tokio::time::interval(Vitals::PULSE);
        tokio::pin!(stop);
        loop {
            self.vitals.beat();
            self.lead(self.mandate.holds());
            self.dispatch();
            if let Some(targets) = targets.take_if(|_| self.state.knows_bundles()) {
                news.extend(watch::all(&self.connection, &self.trust_namespace, targets));
            }
            let timer = self.timer();
            tokio::select! {
                biased;
                leadership = mandate.changed() => if leadership == Leadership::Lost {
                    return Ending::Deposed;
                },
                () = &mut stop => break,
                Some(inquiry) = self.metrics.inquiries.recv() => {
                    // Who asked may have had no patience.
                    let _ = inquiry.send(self.survey());
                }
                Some(done) = self.tasks.join_next() => self.finish(done.expect("a task does not panic")),
                Some(heard) = news.next() => self.hear(heard),
                () = sleep_until(timer) => self.wake(),
                _ = pulse.tick() => {}
            }
        }
        self.metrics.inquiries.close();
        self.lead(false);
        let rest = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_MAX, rest).await.is_err() {
            warn!("stopping without the answers to some requests");
            return Ending::Unanswered;
        }
        Ending::Stopped
    }

    /// Tells the fan-out whether it may write.
    fn lead(&mut self, leads: bool) {
        if self.leads != leads {
            self.leads = leads;
            self.act(fanout::Event::Lead(leads));
        }
    }

    fn timer(&self) -> Option<Instant> {
        let engine = self.engine.wakes(self.born.elapsed()).map(|at| self.born + at);
        self.desks.values().filter_map(|desk| desk.timer).chain(engine).min()
    }

    fn hear(&mut self, (watch, event): News) {
        match event {
            Ok(event) => {
                let Heard { touched, events, list_ended } = self.state.hear(&watch, event);
                for event in events {
                    self.step(event);
                }
                self.enqueue(touched);
                if self.vitals.is_ready() || !(list_ended || watch == Watch::Namespaces) {
                    return;
                }
                let exists = |name: &str| self.engine.namespace(name).is_some();
                if self.state.is_ready(exists) && self.vitals.set_ready() {
                    let (namespaces, targets) = self.engine.known();
                    info!(bundles = self.state.bundles().count(), namespaces, targets, "ready");
                }
            }
            Err(error) => warn!(?watch, "watch interrupted: {error}"),
        }
    }

    fn enqueue(&mut self, touched: Touched) {
        for (name, cause) in touched {
            self.queue.entry(name).or_insert(cause);
        }
    }

    fn wake(&mut self) {
        let now = Instant::now();
        for (name, desk) in &mut self.desks {
            if desk.timer.is_some_and(|at| at <= now) {
                desk.timer = None;
                if desk.failed > 0 {
                    self.state.forget_unreadable();
                }
                self.queue.entry(name.clone()).or_insert_with(|| "time passed".to_owned());
            }
        }
        self.step(fanout::Event::Time);
    }

    /// Decides every Bundle that waits for it and whose sources are not being read. While somebody else leads all wait.
    fn dispatch(&mut self) {
        if !self.vitals.is_ready() || !self.leads {
            return;
        }
        let reading = |name: &String| self.desks.get(name).is_some_and(|desk| desk.reading);
        let waiting: Vec<_> = self.queue.extract_if(.., |name, _| !reading(name)).collect();
        for (name, cause) in waiting {
            self.begin(name, cause);
        }
    }

    fn begin(&mut self, name: String, cause: String) {
        let Some(known) = self.state.bundle(&name) else {
            self.desks.remove(&name);
            info!(bundle = name, cause, "its targets are left to garbage collection");
            return self.want(&name, None, cause);
        };
        let (generation, invalid) = (known.seen.generation, known.invalid.clone());
        let desk = self.desks.entry(name.clone()).or_default();
        desk.timer = None;
        desk.changed.get_or_insert_with(Instant::now);
        if let Some(refusal) = invalid {
            return self.refuse(&name, refusal, cause);
        }
        let intent = self.state.world.intents[&name].clone();
        let unread = self.state.unread(&intent);
        if !unread.is_empty() {
            return self.read(name, cause, unread);
        }
        let now = Timestamp::now();
        match guarded(&intent, &self.state.world, now) {
            Err(refusal) => {
                if refusal.retry {
                    desk.retry();
                } else {
                    desk.failed = 0;
                    desk.look_again(refusal.look_again, now);
                }
                self.refuse(&name, refusal, cause);
            }
            Ok(decision) => {
                desk.failed = 0;
                desk.look_again(decision.look_again, now);
                let wanted = decision.wanted.clone();
                desk.decided = Some((Arc::new(decision), generation));
                self.want(&name, Some(wanted), cause);
            }
        }
    }

    fn refuse(&mut self, name: &str, refusal: Refusal, cause: String) {
        if let Some(desk) = self.desks.get_mut(name) {
            desk.decided = None;
            desk.changed = None;
            desk.state(What::Refused(Box::new(refusal)), cause.clone());
        }
        self.want(name, None, cause);
        self.publish(name);
    }

    fn want(&mut self, name: &str, wanted: Option<Arc<crate::bundle::Wanted>>, cause: String) {
        self.step(fanout::Event::Wanted { bundle: name.into(), wanted, cause });
    }

    /// Lets the fan-out take in what happened; but first whether it still may write, since any time may have passed.
    fn step(&mut self, event: fanout::Event) {
        self.lead(self.mandate.holds());
        self.act(event);
    }

    /// Lets the fan-out take a step, and does what it asks for.
    fn act(&mut self, event: fanout::Event) {
        let actions = self.engine.step(self.born.elapsed(), event);
        for action in actions {
            match action {
                Action::Send(order) => {
                    let (bundle, place) = (order.bundle.clone(), order.place.clone());
                    let answer = self.writer.carry_out(order);
                    self.tasks.spawn(async move { Done::Order(bundle, place, answer.await) });
                }
                Action::List { bundle, scope, number } => self.list(bundle, scope, number),
                Action::Report { bundle, outcome, cause } => {
                    self.writer.forget(&bundle);
                    self.time(&bundle, &outcome);
                    if outcome.written > 0 {
                        let (namespaces, written, failed) =
                            (outcome.namespaces, outcome.written, outcome.failures.len());
                        info!(bundle = &*bundle, namespaces, written, failed, cause, "targets written");
                    }
                    self.say(&bundle, What::Outcome(outcome), cause);
                }
                Action::Progress { bundle, progress } => {
                    self.say(&bundle, What::Progress(progress), "a rollout goes on".to_owned());
                }
                Action::Held { bundle, unstable } => {
                    let cause = unstable.cause.clone();
                    self.say(&bundle, What::Held(unstable), cause);
                }
                Action::Contested { bundle, place, rival } => {
                    let rival = rival.as_ref().map(|(manager, key)| (manager.as_str(), key.as_str()));
                    let event = Event::contested(&bundle, &place, rival);
                    warn!(bundle = &*bundle, reason = %event.reason, "{}", event.note);
                    self.emit(bundle, event);
                }
                Action::Completed { bundle, place } => {
                    let event = Event::completed(&bundle, &place);
                    info!(bundle = &*bundle, reason = %event.reason, "{}", event.note);
                    self.emit(bundle, event);
                }
                Action::FallBack => info!(
                    "PUT is not permitted (verb update): targets are patched from now on, which costs the API server more"
                ),
            }
        }
    }

    /// Sends an event about a Bundle, if that is still there.
    fn emit(&mut self, bundle: Arc<str>, event: Event) {
        let Some(known) = self.state.bundle(&bundle) else { return };
        let (publisher, uid) = (self.publisher.clone(), known.uid.clone());
        self.tasks.spawn(async move {
            publisher.emit(&bundle, &uid, &event).await;
            Done::Emitted
        });
    }

    /// Takes the time of a rollout that is over.
    fn time(&mut self, bundle: &str, outcome: &Outcome) {
        let desk = self.desks.get_mut(bundle).filter(|_| outcome.rolled_out);
        let changed = desk.and_then(|desk| desk.changed.take());
        if let Some(changed) = changed.filter(|_| outcome.written > 0) {
            self.metrics.rollouts.observe(changed.elapsed().as_secs_f64());
        }
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Emitted => {}
            Done::Listed { bundle, scope, number, result } => self.listed(bundle, scope, number, result),
            Done::Order(bundle, place, answer) => self.step(fanout::Event::Answer { bundle, place, answer }),
            Done::Read { name, cause, reads, trouble } => self.finish_reading(name, cause, reads, trouble),
            Done::Published { name, result } => self.published(&name, result),
        }
    }

    /// The API server asks for patience: that is for all.
    fn heed(&mut self, failure: &Failure) {
        if let Failure::Busy(retry_after, _) = failure {
            self.step(fanout::Event::Busy(*retry_after));
        }
    }
}

/// Decides; a panic, which would be a bug here, is kept to the Bundle that raised it.
fn guarded(intent: &Intent, world: &World, now: Timestamp) -> Result<Decision, Refusal> {
    catch_unwind(AssertUnwindSafe(|| decide(intent, world, now))).unwrap_or_else(|_| Err(Refusal::panicked()))
}

async fn sleep_until(timer: Option<Instant>) {
    match timer {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
