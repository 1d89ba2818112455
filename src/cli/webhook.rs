//! The controller's validating webhook: off, with no port bound, until its certificate is there.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{error, info};

use crate::admin;
use crate::webhook::{ReloadableCertificate, ServerLimits, TlsSettings, reload_certificate, serve, validation};

use super::args::ControllerArgs;

/// The pause before a port that cannot be had is tried again.
const BIND_RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// What to serve, and where.
pub(super) struct Webhook {
    host: String,
    port: u16,
    certificate_dir: PathBuf,
    tls: TlsSettings,
    trust_namespace: String,
    certificate: ReloadableCertificate,
}

/// One that serves, or will.
pub(super) struct RunningWebhook {
    certificate: ReloadableCertificate,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl ControllerArgs {
    /// The webhook, if it has a port, and what is to be said about its settings.
    pub(super) fn webhook(&self) -> anyhow::Result<(Option<Webhook>, Vec<String>)> {
        let (tls, notes) = TlsSettings::parse(&self.tls_min_version, &self.tls_cipher_suites)?;
        let webhook = Webhook {
            host: self.webhook_host.clone(),
            port: self.webhook_port,
            certificate_dir: self.webhook_certificate_dir.clone(),
            tls,
            trust_namespace: self.decision.trust_namespace.clone(),
            certificate: ReloadableCertificate::new(),
        };
        Ok(((webhook.port != 0).then_some(webhook), notes))
    }
}

impl Webhook {
    /// Serves in the background of a runtime as soon as there is a certificate.
    pub(super) fn start(self, servers: &Handle) -> RunningWebhook {
        let (stop, stopped) = oneshot::channel();
        RunningWebhook { certificate: self.certificate.clone(), stop, task: servers.spawn(self.run(stopped)) }
    }

    async fn run(self, mut stopped: oneshot::Receiver<()>) {
        let Self { host, port, certificate_dir, tls, trust_namespace, certificate } = self;
        let follow = reload_certificate(certificate_dir, certificate.clone());
        let listen = async {
            certificate.wait_loaded().await;
            let mut logged = false;
            loop {
                match bind(&host, port).await {
                    Ok(listener) => return listener,
                    Err(cause) if !logged => {
                        error!("the validating webhook cannot listen on {host}:{port}, and tries again: {cause}");
                        logged = true;
                    }
                    Err(_) => {}
                }
                sleep(BIND_RETRY_INTERVAL).await;
            }
        };
        let work = async {
            let listener = tokio::select! {
                listener = listen => listener,
                _ = &mut stopped => return,
            };
            info!(host, port, "the validating webhook is served");
            let stopped = async { drop(stopped.await) };
            serve(listener, certificate.clone(), &tls, validation(&trust_namespace), ServerLimits::default(), stopped)
                .await;
        };
        tokio::select! {
            never = follow => match never {},
            () = work => {}
        }
    }
}

/// A listener on a host's address. Go programs take `0.0.0.0` for every address, and so it is taken here.
async fn bind(host: &str, port: u16) -> io::Result<TcpListener> {
    match host {
        "" | "0.0.0.0" | "::" | "[::]" => admin::bind_all_addresses(port).await,
        _ => TcpListener::bind((host, port)).await,
    }
}

impl RunningWebhook {
    /// What it shows to its clients, once that is there.
    pub(super) fn certificate(&self) -> &ReloadableCertificate {
        &self.certificate
    }

    /// Answers what is in flight, and ends.
    pub(super) async fn stop(self) {
        // It has ended by itself only if it panicked, and then the log says so.
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}
