//! The controller's validating webhook: off, with no port bound, until its certificate is there.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{error, info};

use crate::admin;
use crate::webhook::{Certificate, Limits, TlsSettings, follow, serve, validation};

use super::args::ControllerArguments;

/// The pause before a port that cannot be had is tried again.
const PAUSE: Duration = Duration::from_secs(5);

/// What to serve, and where.
pub(super) struct Webhook {
    host: String,
    port: u16,
    certificate_dir: PathBuf,
    tls: TlsSettings,
    trust_namespace: String,
    certificate: Certificate,
}

/// One that serves, or will.
pub(super) struct Serving {
    certificate: Certificate,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl ControllerArguments {
    /// The webhook, if it has a port, and what is to be said about its settings.
    pub(super) fn webhook(&self) -> anyhow::Result<(Option<Webhook>, Vec<String>)> {
        let (tls, notes) =
            TlsSettings::parse(&self.tls_min_version, &self.tls_cipher_suites).map_err(|cause| anyhow!(cause))?;
        let webhook = Webhook {
            host: self.webhook_host.clone(),
            port: self.webhook_port,
            certificate_dir: self.webhook_certificate_dir.clone(),
            tls,
            trust_namespace: self.decision.trust_namespace.clone(),
            certificate: Certificate::new(),
        };
        Ok(((webhook.port != 0).then_some(webhook), notes))
    }
}

impl Webhook {
    /// Serves in the background of a runtime as soon as there is a certificate.
    pub(super) fn start(self, servers: &Handle) -> Serving {
        let (stop, stopped) = oneshot::channel();
        Serving { certificate: self.certificate.clone(), stop, task: servers.spawn(self.run(stopped)) }
    }

    async fn run(self, mut stopped: oneshot::Receiver<()>) {
        let Self { host, port, certificate_dir, tls, trust_namespace, certificate } = self;
        let follow = follow(certificate_dir, certificate.clone());
        let listen = async {
            certificate.there().await;
            let mut complained = false;
            loop {
                match bind(&host, port).await {
                    Ok(listener) => return listener,
                    Err(cause) if !complained => {
                        error!("the validating webhook cannot listen on {host}:{port}, and tries again: {cause}");
                        complained = true;
                    }
                    Err(_) => {}
                }
                sleep(PAUSE).await;
            }
        };
        let work = async {
            let listener = tokio::select! {
                listener = listen => listener,
                _ = &mut stopped => return,
            };
            info!(host, port, "the validating webhook is served");
            let stopped = async { drop(stopped.await) };
            serve(listener, certificate.clone(), &tls, validation(&trust_namespace), Limits::default(), stopped).await;
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
        "" | "0.0.0.0" | "::" | "[::]" => admin::every_address(port).await,
        _ => TcpListener::bind((host, port)).await,
    }
}

impl Serving {
    /// What it shows to its clients, once that is there.
    pub(super) fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Answers what is in flight, and ends.
    pub(super) async fn stop(self) {
        // It has ended by itself only if it panicked, and then the log says so.
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}
