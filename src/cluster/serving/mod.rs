//! The injector's serving certificate: kept in a Secret, announced in the webhook configuration, renewed in time.
//!
//! ```text
//! watches --> Sight --View--> webhook::rotation::step --> POST or PUT of the Secret | PATCH of caBundle | wait
//!               ^                                                       |
//!               '--------------- answers, and reads after conflicts ----'
//! ```
//!
//! Any number of replicas does this at once. Each write is guarded by the version of the object that was seen, so that
//! of replicas that decide the same only one is heard, and the others see what it did.

mod pace;
mod sight;
mod trouble;
mod writer;

use std::convert::Infallible;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use kube::Client;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::webhook::rotation::{self, Content, Generation, Step, step};

use pace::Pace;
use sight::Sight;
use trouble::Troubles;
use writer::{Outcome, Writer};

/// How long to wait for news where nothing can be done without.
const PATIENCE: Duration = Duration::from_hours(1);

/// Where the certificate is kept, whom it is for, and how long it is valid.
#[derive(Clone, Debug)]
pub struct ServingSettings {
    /// Our namespace: the Secret's and the Service's.
    pub namespace: String,
    /// Name of the Secret.
    pub secret: String,
    /// Name of the `MutatingWebhookConfiguration`. In it only entries that name our Service are ours.
    pub configuration: String,
    /// Name of the Service that API servers call.
    pub service: String,
    /// How long a certificate is valid; it gets a successor after two thirds of that.
    pub lifetime: Duration,
}

/// Keeps a serving certificate for as long as it is polled: makes it, renews it, heals what others do to it. Whenever
/// there is another one to be served, `serve` is told; an error of its is logged.
///
/// It is never in the way of the rest of the process: whatever the API server refuses is logged, with its cure, and tried
/// again.
pub async fn keep_certificate(
    client: &Client,
    settings: ServingSettings,
    serve: impl FnMut(&Generation) -> Result<(), String>,
) -> Infallible {
    let mut secrets = sight::one(sight::secrets(client, &settings), &settings.secret);
    let mut configurations = sight::one(sight::configurations(client), &settings.configuration);
    let mut keeper = Keeper::new(client, settings, serve);
    loop {
        let pause = keeper.act().await;
        tokio::select! {
            Some(event) = secrets.next() => keeper.hear(trouble::SECRET, event, Sight::hear_secret),
            Some(event) = configurations.next() => keeper.hear(trouble::CONFIGURATION, event, Sight::hear_configuration),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

struct Keeper<F> {
    settings: rotation::Settings,
    writer: Writer,
    sight: Sight,
    remembered: Content,
    served: Option<Generation>,
    serve: F,
    secret_pace: Pace,
    configuration_pace: Pace,
    troubles: Troubles,
}

impl<F: FnMut(&Generation) -> Result<(), String>> Keeper<F> {
    fn new(client: &Client, settings: ServingSettings, serve: F) -> Self {
        Self {
            settings: settings.rotation(),
            secret_pace: Pace::new(settings.lifetime),
            configuration_pace: Pace::new(settings.lifetime),
            troubles: Troubles::new(&settings),
            sight: Sight::new(&settings),
            writer: Writer::new(client, settings),
            remembered: Content::default(),
            served: None,
            serve,
        }
    }

    fn hear<E>(
        &mut self,
        what: &'static trouble::Object,
        event: kube::runtime::watcher::Result<E>,
        take: impl FnOnce(&mut Sight, E, Instant),
    ) {
        match event {
            Ok(event) => {
                self.troubles.over(what.watch);
                take(&mut self.sight, event, Instant::now());
            }
            Err(error) => self.troubles.watch(what, &error),
        }
    }

    /// Does everything that can be done now; returns for how long there will be nothing more, unless something is heard.
    async fn act(&mut self) -> Duration {
        loop {
            let (now, clock) = (Timestamp::now(), Instant::now());
            self.hand_over(now);
            self.remembered.remember(self.sight.kept());
            let Some(view) = self.sight.view(&self.remembered, now, clock) else { return PATIENCE };
            self.troubles.entries(self.sight.entries());
            let (pace, step) = match step(&view, &self.settings) {
                Ok(Step::Wait(pause)) => return pause,
                Ok(step @ Step::Write { .. }) => (&mut self.secret_pace, step),
                Ok(step @ Step::Announce { .. }) => (&mut self.configuration_pace, step),
                Err(error) => {
                    self.troubles.say("a new certificate", format!("cannot be made: {error}"));
                    return PATIENCE.min(self.settings.settle());
                }
            };
            if let Some(pause) = pace.pause(clock) {
                return pause;
            }
            self.take(step).await;
        }
    }

    /// Serves what the Secret says.
    fn hand_over(&mut self, now: Timestamp) {
        let Some(current) = self.sight.current(now) else { return };
        if self.served.as_ref() == Some(current) {
            return;
        }
        match (self.serve)(current) {
            Ok(()) => {
                info!(not_after = %current.not_after(), "serving under {:?}", current.authority().subject());
                self.served = Some(current.clone());
                self.troubles.over("the certificate");
            }
            Err(error) => self.troubles.say("the certificate", format!("cannot be served: {error}")),
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Wait(_) => {}
            Step::Write { content, cause, damaged } => {
                let (secret, written) = (self.writer.secret(), self.writer.write(&self.sight, &content).await);
                self.secret_pace.used(Instant::now());
                match written {
                    Outcome::Done(_) if damaged => warn!(secret, "damaged, and healed: {cause}"),
                    Outcome::Done(_) => info!(secret, "written: {cause}"),
                    _ => debug!(secret, "not written: {cause}"),
                }
                self.learn(trouble::SECRET, written, Sight::read_secret);
            }
            Step::Announce { entries, trusted, cause } => {
                let announced = self.writer.announce(&self.sight, &entries, &trusted).await;
                self.configuration_pace.used(Instant::now());
                if let Outcome::Done(_) = announced {
                    info!(configuration = self.writer.configuration(), ?entries, "caBundle written: {cause}");
                }
                self.learn(trouble::CONFIGURATION, announced, Sight::read_configuration);
            }
        }
    }

    fn learn<K>(
        &mut self,
        what: &trouble::Object,
        outcome: Outcome<K>,
        take: impl FnOnce(&mut Sight, Option<K>, Instant),
    ) {
        match outcome {
            Outcome::Done(object) => take(&mut self.sight, Some(object), Instant::now()),
            // Somebody was faster, and what we saw is not what is there.
            Outcome::Stale(object) => take(&mut self.sight, object, Instant::now()),
            Outcome::Failed(error) => return self.troubles.request(what, &error),
        }
        self.troubles.over(what.write);
    }
}

impl ServingSettings {
    /// How certificates are to be: valid for the names by which the Service is called in a cluster.
    fn rotation(&self) -> rotation::Settings {
        let Self { namespace, service, lifetime, .. } = self;
        let names = [
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}.svc.cluster.local"),
            format!("{service}.{namespace}"),
            service.clone(),
        ];
        rotation::Settings { names: names.to_vec(), lifetime: *lifetime }
    }
}
