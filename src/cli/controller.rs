//! `rootcast controller`: composition and shutdown.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::filter::LevelFilter;

use crate::admin;
use crate::bundle::World;
use crate::cluster::{Connection, Controller};
use crate::fanout::Limits;

use super::args::{ControllerArguments, LogFormat};

pub(super) fn run(arguments: ControllerArguments) -> anyhow::Result<()> {
    arguments.check()?;
    start_log(&arguments);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(serve(arguments))
}

async fn serve(arguments: ControllerArguments) -> anyhow::Result<()> {
    let (default_cas, notes) = arguments.decision.load_default_cas()?;
    for note in notes {
        warn!("{note}");
    }
    info!(
        version = env!("CARGO_PKG_VERSION"),
        trust_namespace = arguments.decision.trust_namespace,
        default_cas = default_cas.as_ref().map_or("none", |cas| &cas.version),
        "starting"
    );
    let config = connect(&arguments).await?;
    let connection = Connection::new(&config).context("prepare the connection to the cluster")?;
    let client = Client::try_from(config).context("prepare the connection to the cluster")?;
    let ready = Arc::new(AtomicBool::new(false));
    let probes = admin::probes(&arguments.readiness_probe_path, ready.clone());
    admin::listen("probes", arguments.readiness_probe_port, probes).await?;
    if arguments.metrics_port != 0 {
        admin::listen("metrics", arguments.metrics_port, admin::metrics()).await?;
    }
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {},
            _ = interrupt.recv() => {},
        }
        info!("stopping: writes in flight are finished");
    };
    let settings = arguments.decision.settings();
    let world = World { settings, default_cas, ..World::default() };
    let limits = Limits::default();
    Controller::new(client, connection, &arguments.decision.trust_namespace, world, limits, ready).run(stop).await;
    info!("stopped");
    Ok(())
}

async fn connect(arguments: &ControllerArguments) -> anyhow::Result<Config> {
    let ControllerArguments { kubeconfig, context, impersonate, .. } = arguments;
    let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
    let mut config = match (kubeconfig, context) {
        (Some(path), _) => {
            let file = Kubeconfig::read_from(path).with_context(|| format!("read kubeconfig {}", path.display()))?;
            Config::from_custom_kubeconfig(file, &options)
                .await
                .with_context(|| format!("use kubeconfig {}", path.display()))?
        }
        (None, Some(context)) => {
            Config::from_kubeconfig(&options).await.with_context(|| format!("use context {context}"))?
        }
        (None, None) => {
            Config::infer().await.context("find a cluster: no --kubeconfig, no KUBECONFIG, not in a pod")?
        }
    };
    if let Some(user) = impersonate {
        config.auth_info.impersonate = Some(user.clone());
    }
    // Each request is sent once: who sent it knows what to do with a refusal, and when.
    config.default_retry = false;
    Ok(config)
}

fn start_log(arguments: &ControllerArguments) {
    let level = match arguments.log_level {
        0..=2 => LevelFilter::INFO,
        3 | 4 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false);
    match arguments.log_format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

impl ControllerArguments {
    /// Refuses what this version cannot do, rather than to seem to do it.
    fn check(&self) -> anyhow::Result<()> {
        if self.leader_elect {
            bail!("--leader-elect: leader election is not in this version; run one replica with --leader-elect=false");
        }
        let webhook = [
            ("--webhook-host", self.webhook_host.is_some()),
            ("--webhook-port", self.webhook_port != 0),
            ("--webhook-certificate-dir", self.webhook_certificate_dir.is_some()),
            ("--tls-min-version", self.tls_min_version.is_some()),
            ("--tls-cipher-suites", self.tls_cipher_suites.is_some()),
        ];
        let named: Vec<_> = webhook.iter().filter(|(_, given)| *given).map(|(flag, _)| *flag).collect();
        if !named.is_empty() {
            bail!(
                "{}: no validating webhook is served in this version, its rules are in the CRD; remove the flags and the ValidatingWebhookConfiguration that points here",
                named.join(", ")
            );
        }
        for (flag, given) in [
            ("--leader-election-lease-duration", &self.leader_election_lease_duration),
            ("--leader-election-renew-deadline", &self.leader_election_renew_deadline),
        ] {
            if given.is_some() {
                eprintln!("rootcast: {flag} has no effect without leader election");
            }
        }
        Ok(())
    }
}
