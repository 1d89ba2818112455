//! The controller: one loop that owns the state, hears the watches and hands out the work.
//!
//! A Bundle is worked on by at most one task at a time, different Bundles side by side. What happens to a Bundle during
//! its work puts it back into the queue, so that the last state of the world always wins.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use kube::Client;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::api::BundleStatus;
use crate::bundle::{self, Decision, Intent, Outcome, Refusal, Report, Seen, World, decide};

use super::apply::{Applied, Writer};
use super::contents::{Read, SourceKey, Wanted};
use super::publish::{Answer, Publisher};
use super::source;
use super::state::{State, Touched};
use super::watch::{self, News};

/// The longest wait before a Bundle that failed is tried again, and before a date is looked at again.
const RETRY_MAX: Duration = Duration::from_mins(1);
const LOOK_AGAIN_MAX: Duration = Duration::from_hours(1);

/// How long a stop waits for the answers to writes in flight.
const STOP_MAX: Duration = Duration::from_secs(4);

/// The controller.
pub struct Controller {
    client: Client,
    trust_namespace: String,
    state: State,
    writer: Writer,
    publisher: Publisher,
    ready: Arc<AtomicBool>,
    queue: Touched,
    timers: BTreeMap<String, Instant>,
    failed: BTreeMap<String, u32>,
    unpublished: BTreeMap<String, u32>,
    busy: BTreeSet<String>,
    tasks: JoinSet<(String, Done)>,
}

/// What a task came back with.
enum Done {
    Read(String, Vec<(SourceKey, Read)>),
    Applied(Box<Finished>),
    Published(Box<Result<Option<Answer>, Unpublished>>),
}

/// A report that did not reach the API server, and the status that was there before.
struct Unpublished {
    cause: String,
    before: BundleStatus,
}

struct Finished {
    generation: Option<i64>,
    intent: Arc<Intent>,
    decision: Decision,
    applied: Applied,
    cause: String,
}

impl Controller {
    /// A controller for the world's settings. `ready` becomes true once all watches have delivered their lists.
    #[must_use]
    pub fn new(client: Client, trust_namespace: &str, world: World, ready: Arc<AtomicBool>) -> Self {
        let watches = watch::needed(&world.settings);
        Self {
            writer: Writer::new(client.clone()),
            publisher: Publisher::new(client.clone()),
            client,
            trust_namespace: trust_namespace.to_owned(),
            state: State::new(world, trust_namespace, &watches),
            ready,
            queue: Touched::new(),
            timers: BTreeMap::new(),
            failed: BTreeMap::new(),
            unpublished: BTreeMap::new(),
            busy: BTreeSet::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Runs until `stop` resolves; writes in flight are finished, nothing new is begun.
    ///
    /// # Panics
    /// When the work on a Bundle panics: a bug here, and no state to go on with.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let watches = watch::needed(&self.state.world.settings);
        let mut news = watch::all(&self.client, &self.trust_namespace, &watches);
        tokio::pin!(stop);
        loop {
            let timer = self.timers.values().min().copied();
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(heard) = news.next() => self.hear(heard),
                Some(done) = self.tasks.join_next() => {
                    let (name, done) = done.expect("work on a Bundle does not panic");
                    self.finish(name, done);
                }
                () = sleep_until(timer) => self.wake(Instant::now()),
            }
            self.dispatch();
        }
        let rest = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_MAX, rest).await.is_err() {
            warn!("stopping without the answers to some writes");
        }
    }

    fn hear(&mut self, (watch, event): News) {
        match event {
            Ok(event) => {
                let touched = self.state.hear(&watch, event);
                self.enqueue(touched);
                if self.state.is_ready() && !self.ready.swap(true, Ordering::Relaxed) {
                    let World { intents, namespaces, targets, .. } = &self.state.world;
                    info!(bundles = intents.len(), namespaces = namespaces.len(), targets = targets.len(), "ready");
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

    fn wake(&mut self, now: Instant) {
        let due: Vec<_> = self.timers.extract_if(.., |_, at| *at <= now).map(|(name, _)| name).collect();
        for name in due {
            if self.failed.contains_key(&name) {
                self.state.forget_unreadable();
            }
            self.queue.entry(name).or_insert_with(|| "time passed".to_owned());
        }
    }

    /// Begins the work on every Bundle that waits and is not being worked on.
    fn dispatch(&mut self) {
        if !self.ready.load(Ordering::Relaxed) {
            return;
        }
        let waiting: Vec<_> = self.queue.extract_if(.., |name, _| !self.busy.contains(name)).collect();
        for (name, cause) in waiting {
            self.begin(name, cause);
        }
    }

    fn begin(&mut self, name: String, cause: String) {
        self.timers.remove(&name);
        self.state.settle(&name);
        let Some(known) = self.state.bundle(&name) else {
            self.failed.remove(&name);
            self.unpublished.remove(&name);
            info!(bundle = name, cause, "its targets are left to garbage collection");
            return;
        };
        if let Some(refusal) = known.invalid.clone() {
            let report = bundle::refused(&refusal, &known.seen, Timestamp::now());
            return self.publish(name, report, &cause);
        }
        let intent = self.state.world.intents[&name].clone();
        let unread = self.state.unread(&intent);
        if !unread.is_empty() {
            return self.read(name, cause, unread);
        }
        let generation = known.seen.generation;
        let now = Timestamp::now();
        match guarded(&intent, &self.state.world, now) {
            Err(refusal) => {
                let report = bundle::refused(&refusal, &known.seen, now);
                if refusal.retry {
                    self.retry(&name);
                } else {
                    self.failed.remove(&name);
                    self.look_again(&name, refusal.look_again, now);
                }
                self.publish(name, report, &cause);
            }
            Ok(decision) if decision.plan.is_empty() => {
                let applied = Applied { outcome: Outcome::default(), now: Vec::new() };
                self.conclude(name, Finished { generation, intent: Arc::new(intent), decision, applied, cause });
            }
            Ok(decision) => {
                let writer = self.writer.clone();
                self.spawn(name, async move {
                    let applied = writer.apply(&intent, &decision.plan).await;
                    Done::Applied(Box::new(Finished { generation, intent: Arc::new(intent), decision, applied, cause }))
                });
            }
        }
    }

    fn read(&mut self, name: String, cause: String, unread: Vec<(SourceKey, Wanted)>) {
        let (client, namespace) = (self.client.clone(), self.trust_namespace.clone());
        self.spawn(name, async move {
            let mut reads = Vec::new();
            for (key, wanted) in unread {
                let read = source::read(&client, &namespace, &key, wanted).await;
                reads.push((key, read));
            }
            Done::Read(cause, reads)
        });
    }

    fn spawn(&mut self, name: String, work: impl Future<Output = Done> + Send + 'static) {
        self.busy.insert(name.clone());
        self.tasks.spawn(async move { (name, work.await) });
    }

    fn finish(&mut self, name: String, done: Done) {
        self.busy.remove(&name);
        match done {
            Done::Read(cause, reads) => {
                for (key, read) in reads {
                    let touched = self.state.read(&key, read);
                    self.enqueue(touched);
                }
                self.queue.insert(name, cause);
            }
            Done::Applied(mut finished) => {
                for (target, now) in finished.applied.now.drain(..) {
                    self.state.wrote(target, now);
                }
                self.state.settle(&name);
                self.conclude(name, *finished);
            }
            Done::Published(result) => match *result {
                Ok(answer) => {
                    self.unpublished.remove(&name);
                    if let Some(Answer { version, generation }) = answer {
                        self.state.answered(&name, version, generation);
                    }
                }
                Err(Unpublished { cause, before }) => {
                    error!(bundle = name, "status not published: {cause}");
                    self.state.published(&name, before);
                    let delay = back_off(self.unpublished.entry(name.clone()).or_default());
                    self.timers.insert(name, Instant::now() + delay);
                }
            },
        }
    }

    /// Reports what became of a plan.
    fn conclude(&mut self, name: String, finished: Finished) {
        let Finished { generation, intent, decision, applied, cause } = finished;
        let now = Timestamp::now();
        let Outcome { written, failures } = &applied.outcome;
        if *written > 0 {
            info!(
                bundle = name,
                namespaces = decision.plan.namespaces,
                written,
                failed = failures.len(),
                cause,
                "targets written"
            );
        }
        if failures.is_empty() {
            self.failed.remove(&name);
            self.look_again(&name, decision.look_again, now);
        } else {
            self.retry(&name);
        }
        let Some(known) = self.state.bundle(&name).filter(|known| known.uid == intent.uid) else {
            return;
        };
        let seen = Seen { generation, status: known.seen.status.clone() };
        let report = bundle::carried_out(&intent, &self.state.world, &decision, &applied.outcome, &seen, now);
        if *written == 0
            && let Some(event) = report.event.as_ref().filter(|event| !event.warning)
        {
            info!(bundle = name, reason = %event.reason, cause, "{}", event.note);
        }
        self.publish(name, report, &cause);
    }

    fn publish(&mut self, name: String, report: Report, cause: &str) {
        let known = self.state.bundle(&name).expect("only known Bundles are reported on");
        let news = known.seen.status != report.status;
        if !news && report.event.is_none() {
            debug!(bundle = name, cause, "nothing to do");
            return;
        }
        if let Some(event) = report.event.as_ref().filter(|event| event.warning) {
            warn!(bundle = name, reason = %event.reason, cause, "{}", event.note);
        }
        let (publisher, uid, before) = (self.publisher.clone(), known.uid.clone(), known.seen.status.clone());
        self.state.published(&name, report.status.clone());
        self.spawn(name.clone(), async move {
            let result = publisher.publish(&name, &uid, &report, news).await;
            Done::Published(Box::new(result.map_err(|cause| Unpublished { cause, before })))
        });
    }

    /// After a failure: soon, and then less and less often, but for ever.
    fn retry(&mut self, name: &str) {
        let delay = back_off(self.failed.entry(name.to_owned()).or_default());
        self.timers.insert(name.to_owned(), Instant::now() + delay);
    }

    /// At a date, but never too far ahead: clocks are set, machines sleep.
    fn look_again(&mut self, name: &str, at: Option<Timestamp>, now: Timestamp) {
        if let Some(at) = at {
            let delay = Duration::try_from(at.duration_since(now)).unwrap_or_default().min(LOOK_AGAIN_MAX);
            self.timers.insert(name.to_owned(), Instant::now() + delay);
        }
    }
}

/// The wait after this many failures in a row, one more of which is counted.
fn back_off(failures: &mut u32) -> Duration {
    let delay = Duration::from_millis(500).saturating_mul(1 << (*failures).min(10)).min(RETRY_MAX);
    *failures = failures.saturating_add(1);
    delay
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
