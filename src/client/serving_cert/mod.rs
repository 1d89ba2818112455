//! Maintenance of the injector's serving certificate, which is kept in a Secret and announced in the webhook
//! configuration.
//!
//! ```text
//! watches --> ObservedObjects --RotationView--> step --> POST or PUT of the Secret | PATCH of caBundle | wait
//!                  ^                                                   |
//!                  '----- responses, and reads after conflicts --------'
//! ```
//!
//! Any number of replicas does this at the same time. Each write is guarded by the version of the observed object, so
//! that of replicas with the same decision only one writes, and the others observe its write.

mod decaying_backoff;
mod log_once;
mod observed;
mod writer;

use std::convert::Infallible;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use kube::Client;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::serving_cert::{CertSettings, Generation, RotationStep, SecretData, step};
use crate::webhook::IdentityError;

use decaying_backoff::DecayingBackoff;
use log_once::LogOnce;
use observed::ObservedObjects;
use writer::{CertWriteOutcome, CertWriter};

/// The maximum wait for an event where nothing can be done without one.
const IDLE_PAUSE: Duration = Duration::from_hours(1);

/// The settings of the serving certificate: where it is kept, for which Service, and for how long it is valid.
#[derive(Clone, Debug)]
pub struct ServingSettings {
    /// Namespace of the Secret and of the Service.
    pub namespace: String,
    /// Name of the Secret.
    pub secret: String,
    /// Name of the `MutatingWebhookConfiguration`, of which only the entries that name the Service are maintained.
    pub configuration: String,
    /// Name of the Service that API servers call.
    pub service: String,
    /// The validity of a certificate, which gets a successor after two thirds of it.
    pub lifetime: Duration,
}

/// Issues and renews the webhook's serving certificate and keeps `caBundle` in sync; runs until dropped.
///
/// Calls `serve` with each new generation; errors of `serve` are logged. Refusals by the API server are logged with
/// their remedy, and retried.
pub async fn maintain_serving_cert(
    client: &Client,
    settings: ServingSettings,
    serve: impl FnMut(&Generation) -> Result<(), IdentityError>,
) -> Infallible {
    let mut secrets = observed::watch_one(observed::secrets(client, &settings), &settings.secret);
    let mut configurations = observed::watch_one(observed::configurations(client), &settings.configuration);
    let mut rotator = CertRotator::new(client, settings, serve);
    loop {
        let pause = rotator.reconcile().await;
        tokio::select! {
            Some(event) = secrets.next() => {
                rotator.on_watch_event(log_once::SECRET, event, ObservedObjects::apply_secret_event);
            }
            Some(event) = configurations.next() => {
                rotator.on_watch_event(log_once::CONFIGURATION, event, ObservedObjects::apply_configuration_event);
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
}

struct CertRotator<F> {
    settings: CertSettings,
    writer: CertWriter,
    observed: ObservedObjects,
    remembered: SecretData,
    served: Option<Generation>,
    serve: F,
    secret_backoff: DecayingBackoff,
    configuration_backoff: DecayingBackoff,
    log: LogOnce,
}

impl<F: FnMut(&Generation) -> Result<(), IdentityError>> CertRotator<F> {
    fn new(client: &Client, settings: ServingSettings, serve: F) -> Self {
        Self {
            settings: settings.cert_settings(),
            secret_backoff: DecayingBackoff::new(settings.lifetime),
            configuration_backoff: DecayingBackoff::new(settings.lifetime),
            log: LogOnce::new(&settings),
            observed: ObservedObjects::new(&settings),
            writer: CertWriter::new(client, settings),
            remembered: SecretData::default(),
            served: None,
            serve,
        }
    }

    fn on_watch_event<E>(
        &mut self,
        object: &'static log_once::LoggedObject,
        event: kube::runtime::watcher::Result<E>,
        apply: impl FnOnce(&mut ObservedObjects, E, Instant),
    ) {
        match event {
            Ok(event) => {
                self.log.resolved(object.watch);
                apply(&mut self.observed, event, Instant::now());
            }
            Err(error) => self.log.watch_failed(object, &error),
        }
    }

    /// Executes all steps that are due; returns the time until the next one, unless an event comes before.
    async fn reconcile(&mut self) -> Duration {
        loop {
            let (now, clock) = (Timestamp::now(), Instant::now());
            self.serve_current(now);
            self.remembered.remember(self.observed.stored());
            let Some(view) = self.observed.view(&self.remembered, now, clock) else { return IDLE_PAUSE };
            self.log.check_entries(self.observed.entries());
            let (backoff, step) = match step(&view, &self.settings) {
                Ok(RotationStep::Wait(pause)) => return pause,
                Ok(step @ RotationStep::WriteSecret { .. }) => (&mut self.secret_backoff, step),
                Ok(step @ RotationStep::WriteCaBundles { .. }) => (&mut self.configuration_backoff, step),
                Err(error) => {
                    self.log.warn_once("a new certificate", format!("cannot be made: {error}"));
                    return IDLE_PAUSE.min(self.settings.propagation_delay());
                }
            };
            if let Some(pause) = backoff.remaining(clock) {
                return pause;
            }
            self.execute(step).await;
        }
    }

    /// Serves the current generation of the Secret.
    fn serve_current(&mut self, now: Timestamp) {
        let Some(current) = self.observed.current(now) else { return };
        if self.served.as_ref() == Some(current) {
            return;
        }
        match (self.serve)(current) {
            Ok(()) => {
                info!(not_after = %current.not_after(), "serving under {:?}", current.ca().subject());
                self.served = Some(current.clone());
                self.log.resolved("the certificate");
            }
            Err(error) => self.log.warn_once("the certificate", format!("cannot be served: {error}")),
        }
    }

    async fn execute(&mut self, step: RotationStep) {
        match step {
            RotationStep::Wait(_) => {}
            RotationStep::WriteSecret { content, cause, damaged } => {
                let (secret, written) = (self.writer.secret(), self.writer.write(&self.observed, &content).await);
                self.secret_backoff.record_write(Instant::now());
                match written {
                    CertWriteOutcome::Done(_) if damaged => warn!(secret, "damaged, and healed: {cause}"),
                    CertWriteOutcome::Done(_) => info!(secret, "written: {cause}"),
                    _ => debug!(secret, "not written: {cause}"),
                }
                self.on_write_outcome(log_once::SECRET, written, ObservedObjects::set_secret);
            }
            RotationStep::WriteCaBundles { entries, trusted, cause } => {
                let written = self.writer.write_ca_bundle(&self.observed, &entries, &trusted).await;
                self.configuration_backoff.record_write(Instant::now());
                if let CertWriteOutcome::Done(_) = written {
                    info!(configuration = self.writer.configuration(), ?entries, "caBundle written: {cause}");
                }
                self.on_write_outcome(log_once::CONFIGURATION, written, ObservedObjects::set_configuration);
            }
        }
    }

    fn on_write_outcome<K>(
        &mut self,
        logged: &log_once::LoggedObject,
        outcome: CertWriteOutcome<K>,
        apply: impl FnOnce(&mut ObservedObjects, Option<K>, Instant),
    ) {
        match outcome {
            CertWriteOutcome::Done(object) => apply(&mut self.observed, Some(object), Instant::now()),
            // Another writer was faster: the observed object was out of date.
            CertWriteOutcome::Stale(object) => apply(&mut self.observed, object, Instant::now()),
            CertWriteOutcome::Failed(error) => return self.log.write_failed(logged, &error),
        }
        self.log.resolved(logged.write);
    }
}

impl ServingSettings {
    /// Returns the settings of certificates, which are valid for the names of the Service in a cluster.
    fn cert_settings(&self) -> CertSettings {
        let Self { namespace, service, lifetime, .. } = self;
        let names = [
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}.svc.cluster.local"),
            format!("{service}.{namespace}"),
            service.clone(),
        ];
        CertSettings { names: names.to_vec(), lifetime: *lifetime }
    }
}
