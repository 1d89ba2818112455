//! `rootcast injector`: composition and shutdown.

mod args;
mod peer;

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::ValueEnum;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};
use tracing_subscriber::filter::LevelFilter;

use crate::bundle::Settings;
use crate::cluster::{Connection, Need, Offers, ServingSettings, keep_certificate};
use crate::inject::{Operator, Options};
use crate::metrics::{Injector, Validity};
use crate::webhook::{self, Certificate, File, Limits, TlsSettings, mutations};
use crate::{admin, metrics};

use super::{log, pod, runtime};
pub(super) use args::InjectorArguments;
use args::{BundlesNeed, LogLevel};
pub(super) use peer::cainjector_arguments;

pub(super) fn run(arguments: InjectorArguments) -> anyhow::Result<ExitCode> {
    log::start(arguments.log_level(), arguments.log_format);
    runtime::run(async |servers| serve(arguments, servers).await)
}

async fn serve(arguments: InjectorArguments, servers: Handle) -> anyhow::Result<ExitCode> {
    let operator = arguments.operator();
    info!(version = env!("CARGO_PKG_VERSION"), operator = format!("{}.{}", operator.name, operator.domain), "starting");
    let mut registry = metrics::registry();
    let counts = Injector::register(&mut registry);
    let certificate = Certificate::new();
    Validity::register(&mut registry, &certificate);
    // Whatever runs beside the server runs as long as it does.
    let mut tasks = JoinSet::new();

    let connection = arguments.connection().await?;
    if let Some(connection) = &connection {
        connection.requests().register(&mut registry);
        connection.watches().register(&mut registry);
    }
    let offers = Offers::new(connection.as_ref(), &arguments.trust_namespace, arguments.settings());
    tasks.spawn(offers.clone().follow(arguments.bundles.into()));
    match (&arguments.cert_dir, &connection) {
        (Some(folder), _) => tasks.spawn(webhook::follow(folder.clone(), certificate.clone())),
        (None, Some(connection)) => {
            let (client, settings, certificate) = (connection.client(), arguments.serving()?, certificate.clone());
            tasks.spawn(async move {
                keep_certificate(&client, settings, |generation| certificate.replace(&generation.identity())).await
            })
        }
        (None, None) => bail!("without a cluster to keep a certificate in, give it one by --cert-dir"),
    };
    let options = options(&arguments, &counts, &mut tasks)?;

    let (ready, shown) = (offers.clone(), certificate.clone());
    let readiness = move || match (shown.is_there(), ready.is_ready()) {
        (true, true) => Ok(()),
        (false, _) => Err("there is no serving certificate yet".to_owned()),
        (true, false) => Err("Bundles and Namespaces are still being listed".to_owned()),
    };
    let probes = admin::probes("/readyz", readiness, || Ok(()));
    admin::listen(&servers, "probes", arguments.readiness_probe_port, probes).await?;
    if arguments.metrics_port != 0 {
        let metrics = admin::metrics(registry, || std::future::ready(()));
        admin::listen(&servers, "metrics", arguments.metrics_port, metrics).await?;
    }
    let listener = admin::bind(&servers, arguments.port).await;
    let listener = listener.with_context(|| format!("listen for reviews on port {}", arguments.port))?;
    let ended = pod::ended()?;
    let router = mutations(offers, operator, options, Arc::new(move |outcome, time| counts.reviewed(outcome, time)));
    let limits = Limits { linger: arguments.shutdown_delay, ..Limits::default() };
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
    // It has ended by itself only if it panicked, which is passed on.
    let _ = stop.send(());
    serving.await.context("serve reviews")?;
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// The options of the configuration file, as it is at each moment.
fn options(
    arguments: &InjectorArguments,
    counts: &Injector,
    tasks: &mut JoinSet<Infallible>,
) -> anyhow::Result<watch::Receiver<Arc<Options>>> {
    let mut file = File::new(arguments.config.clone(), Options::parse);
    let first = match file.read() {
        Ok(options) => options,
        Err(cause) => bail!("{cause}"),
    };
    counts.config_is_valid(true);
    let (sender, options) = watch::channel(Arc::new(first));
    let counts = counts.clone();
    tasks.spawn(file.follow(move |read| {
        counts.config_is_valid(read.is_ok());
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

impl InjectorArguments {
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

    /// The way to the cluster; none where there is none, and none is needed.
    async fn connection(&self) -> anyhow::Result<Option<Connection>> {
        match (self.cluster.way().await, self.bundles) {
            (Ok(way), _) => way.connect().map(Some),
            (Err(error), BundlesNeed::Required) => Err(error),
            (Err(error), BundlesNeed::Optional) => {
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
        // What cainjector cannot read in its environment it takes for info.
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

    fn settings(&self) -> Settings {
        Settings {
            secret_targets: self.secret_targets_enabled,
            target_namespaces: super::listed(&self.target_namespaces),
            allow_names: self.allow_names.iter().cloned().collect(),
            ..Settings::default()
        }
    }
}

impl From<BundlesNeed> for Need {
    fn from(need: BundlesNeed) -> Self {
        match need {
            BundlesNeed::Required => Self::Required,
            BundlesNeed::Optional => Self::Optional,
        }
    }
}
