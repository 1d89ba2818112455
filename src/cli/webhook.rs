//! The controller's validating webhook. It binds no port before its certificate exists.

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
use crate::bundle::TrustNamespaces;
use crate::webhook::{ReloadableCertificate, ServerLimits, TlsSettings, reload_certificate, serve, validation};

/// The pause before a port that cannot be bound is tried again.
const BIND_RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Flags of the validating webhook.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct WebhookArgs {
    /// Address that the validating webhook listens on; 0.0.0.0 and :: mean all addresses, IPv4 and IPv6.
    #[arg(long, default_value = "0.0.0.0", value_name = "HOST", help_heading = "Validating webhook")]
    webhook_host: String,
    /// Port of the validating webhook; 0 disables it.
    #[arg(long, default_value_t = 6443, value_name = "PORT", help_heading = "Validating webhook")]
    webhook_port: u16,
    /// Directory with tls.crt and tls.key; the webhook is off until they exist.
    #[arg(long, default_value = "/tls", value_name = "DIR", help_heading = "Validating webhook")]
    webhook_certificate_dir: PathBuf,
    /// Minimum TLS version: `VersionTLS12` (the default) or `VersionTLS13`.
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "VERSION",
        help_heading = "Validating webhook"
    )]
    tls_min_version: String,
    /// Cipher suites for TLS 1.2, by their IANA names (comma-separated); default: all secure ones.
    #[arg(long, value_delimiter = ',', value_name = "SUITES", help_heading = "Validating webhook")]
    tls_cipher_suites: Vec<String>,
}

/// The validating webhook before its start.
pub(super) struct Webhook {
    host: String,
    port: u16,
    certificate_dir: PathBuf,
    tls: TlsSettings,
    trust_namespaces: TrustNamespaces,
    certificate: ReloadableCertificate,
}

/// The validating webhook after its start.
pub(super) struct RunningWebhook {
    certificate: ReloadableCertificate,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl WebhookArgs {
    /// Returns the webhook, if it has a port, and notes on its settings for the log.
    ///
    /// # Errors
    /// When the settings of TLS are invalid.
    pub(super) fn webhook(&self, trust_namespaces: TrustNamespaces) -> anyhow::Result<(Option<Webhook>, Vec<String>)> {
        let (tls, notes) = TlsSettings::parse(&self.tls_min_version, &self.tls_cipher_suites)?;
        let webhook = Webhook {
            host: self.webhook_host.clone(),
            port: self.webhook_port,
            certificate_dir: self.webhook_certificate_dir.clone(),
            tls,
            trust_namespaces,
            certificate: ReloadableCertificate::new(),
        };
        Ok(((webhook.port != 0).then_some(webhook), notes))
    }
}

impl Webhook {
    /// Serves in the background of a runtime as soon as the certificate exists.
    pub(super) fn start(self, servers: &Handle) -> RunningWebhook {
        let (stop, stopped) = oneshot::channel();
        RunningWebhook { certificate: self.certificate.clone(), stop, task: servers.spawn(self.run(stopped)) }
    }

    async fn run(self, mut stopped: oneshot::Receiver<()>) {
        let Self { host, port, certificate_dir, tls, trust_namespaces, certificate } = self;
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
            serve(listener, certificate.clone(), &tls, validation(trust_namespaces), ServerLimits::default(), stopped)
                .await;
        };
        tokio::select! {
            never = follow => match never {},
            () = work => {}
        }
    }
}

/// Listens on a host's address. `0.0.0.0` and `::` are every address, as in Go.
async fn bind(host: &str, port: u16) -> io::Result<TcpListener> {
    match host {
        "" | "0.0.0.0" | "::" | "[::]" => admin::bind_all_addresses(port).await,
        _ => TcpListener::bind((host, port)).await,
    }
}

impl RunningWebhook {
    /// The serving certificate, empty until it is loaded.
    pub(super) fn certificate(&self) -> &ReloadableCertificate {
        &self.certificate
    }

    /// Answers the reviews in flight, and stops.
    pub(super) async fn stop(self) {
        // The task has ended by itself only if it panicked, which is in the log.
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}
