//! `rootcast injector`: composition and shutdown.

mod args;
mod cainjector_compat;

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::ValueEnum;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};
use tracing_subscriber::filter::LevelFilter;

use crate::admin::{self, ProbeError};
use crate::bundle::{DecisionSettings, TrustNamespaces};
use crate::client::{BundleAccess, BundleCache, Connection, ServingSettings, maintain_serving_cert};
use crate::inject::{CainjectorOptions, Operator};
use crate::metrics;
use crate::metrics::{InjectorMetrics, ServingCertMetrics};
use crate::webhook::{self, PolledFile, ReloadableCertificate, ServerLimits, TlsSettings, mutations};

use super::args::namespace_set;
use super::outcome::CommandOutcome;
use super::runtime::ServerThreads;
use super::{log, pod};
pub(super) use args::Args;
use args::{BundleAccessChoice, LogLevel};
pub(super) use cainjector_compat::cainjector_arguments;

/// Runs `rootcast injector`.
pub(super) async fn run(arguments: Args) -> anyhow::Result<CommandOutcome> {
    log::start(arguments.log_level(), arguments.log_format)?;
    let threads = ServerThreads::start()?;
    let servers = threads.handle();
    let operator = arguments.operator();
    info!(version = env!("CARGO_PKG_VERSION"), operator = format!("{}.{}", operator.name, operator.domain), "starting");
    let mut registry = metrics::registry();
    let counts = InjectorMetrics::register(&mut registry);
    let certificate = ReloadableCertificate::new();
    ServingCertMetrics::register(&mut registry, &certificate);
    // Tasks that run as long as the server.
    let mut tasks = JoinSet::new();

    let connection = arguments.connection().await?;
    if let Some(connection) = &connection {
        connection.requests().register(&mut registry);
        connection.watches().register(&mut registry);
    }
    // The injector reads no sources, so the controller's list of trust namespaces is none of its settings.
    let trust_namespaces = TrustNamespaces::unlisted(&arguments.trust_namespace);
    let bundle_cache = BundleCache::new(connection.as_ref(), trust_namespaces, arguments.settings());
    tasks.spawn(bundle_cache.clone().run(arguments.bundles.into()));
    match (&arguments.cert_dir, &connection) {
        (Some(folder), _) => tasks.spawn(webhook::reload_certificate(folder.clone(), certificate.clone())),
        (None, Some(connection)) => {
            let (client, settings, certificate) = (connection.client(), arguments.serving()?, certificate.clone());
            tasks.spawn(async move {
                maintain_serving_cert(&client, settings, |generation| certificate.replace(&generation.identity())).await
            })
        }
        (None, None) => bail!("without a cluster to keep a certificate in, give it one by --cert-dir"),
    };
    let options = options(&arguments, &counts, &mut tasks)?;

    let (ready, shown) = (bundle_cache.clone(), certificate.clone());
    let readiness = move || match (shown.is_loaded(), ready.is_ready()) {
        (true, true) => Ok(()),
        (false, _) => Err(ProbeError::NoServingCertificate),
        (true, false) => Err(ProbeError::Listing),
    };
    let probes = admin::probes("/readyz", readiness, || Ok(()));
    admin::listen(servers, "probes", arguments.readiness_probe_port, probes).await?;
    if arguments.metrics_port != 0 {
        let metrics = admin::metrics(registry, || std::future::ready(()));
        admin::listen(servers, "metrics", arguments.metrics_port, metrics).await?;
    }
    let listener = admin::bind(servers, arguments.port).await;
    let listener = listener.with_context(|| format!("listen for reviews on port {}", arguments.port))?;
    let ended = pod::shutdown_signal()?;
    let router =
        mutations(bundle_cache, operator, options, Arc::new(move |outcome, time| counts.reviewed(outcome, time)));
    let limits = ServerLimits { shutdown_delay: arguments.shutdown_delay, ..ServerLimits::default() };
    let (stop, stopped) = oneshot::channel();
    let serving = servers.spawn(async move {
        let stopped = async { drop(stopped.await) };
        webhook::serve(listener, certificate, &TlsSettings::default(), router, limits, stopped).await;
    });
    let ending = async {
        tokio::select! {
            () = ended => info!("stopping: API servers are given time to hear of it"),
            Some(ended) = tasks.join_next() => match ended {
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                Ok(never) => match never {},
            }
        }
    };
    ending.await;
    // The server has ended by itself only if it panicked, which is passed on below.
    let _ = stop.send(());
    serving.await.context("serve reviews")?;
    info!("stopped");
    Ok(CommandOutcome::Success)
}

/// Reads the configuration file, and follows its changes.
fn options(
    arguments: &Args,
    counts: &InjectorMetrics,
    tasks: &mut JoinSet<Infallible>,
) -> anyhow::Result<watch::Receiver<Arc<CainjectorOptions>>> {
    let mut file = PolledFile::new(arguments.config.clone(), CainjectorOptions::parse);
    let first = match file.read() {
        Ok(options) => options,
        Err(cause) => bail!("{cause}"),
    };
    counts.set_config_valid(true);
    let (sender, options) = watch::channel(Arc::new(first));
    let counts = counts.clone();
    tasks.spawn(file.follow(move |read| {
        counts.set_config_valid(read.is_ok());
        match read {
            Ok(options) => {
                info!("configuration file taken over");
                sender.send_replace(Arc::new(options));
            }
            Err(cause) => warn!("the configuration stays as it was: {cause}"),
        }
    }));
    Ok(options)
}

impl Args {
    fn operator(&self) -> Operator {
        let from = |given: &Option<String>, variable, default: &str| {
            let set = given.clone().or_else(|| std::env::var(variable).ok());
            set.filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
        };
        Operator {
            name: from(&self.operator_name, "OPERATOR_NAME", "cainjector"),
            domain: from(&self.operator_domain, "OPERATOR_DOMAIN", "lestak.sh"),
        }
    }

    /// Connects to the cluster; `None` where there is none and Bundles are optional.
    async fn connection(&self) -> anyhow::Result<Option<Connection>> {
        match (self.cluster.access().await, self.bundles) {
            (Ok(access), _) => access.connect().map(Some),
            (Err(error), BundleAccessChoice::Required) => Err(error),
            (Err(error), BundleAccessChoice::Optional) => {
                info!("native mode is off, since there is no cluster; only cainjector's rules hold: {error:#}");
                Ok(None)
            }
        }
    }

    fn serving(&self) -> anyhow::Result<ServingSettings> {
        let namespace = match &self.namespace {
            Some(namespace) => namespace.clone(),
            None => pod::namespace().context(
                "--namespace: this is no pod with a service account, so name the namespace of Secret and Service, or give a --cert-dir",
            )?,
        };
        Ok(ServingSettings {
            namespace,
            secret: self.tls_secret.clone(),
            configuration: self.webhook_configuration.clone(),
            service: self.service.clone(),
            lifetime: self.certificate_lifetime,
        })
    }

    fn log_level(&self) -> LevelFilter {
        // A value that it cannot parse is info to cainjector, too.
        let level = self.log_level.or_else(|| {
            let variable = std::env::var("LOG_LEVEL").ok()?;
            LogLevel::from_str(&variable, true).ok()
        });
        match level.unwrap_or(LogLevel::Info) {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        }
    }

    fn settings(&self) -> DecisionSettings {
        DecisionSettings {
            secret_targets: self.secret_targets_enabled,
            target_namespaces: namespace_set(&self.target_namespaces),
            allow_names: self.allow_names.iter().cloned().collect(),
            ..DecisionSettings::default()
        }
    }
}

impl From<BundleAccessChoice> for BundleAccess {
    fn from(choice: BundleAccessChoice) -> Self {
        match choice {
            BundleAccessChoice::Required => Self::Required,
            BundleAccessChoice::Optional => Self::Optional,
        }
    }
}
