//! `rootcast controller`: composition and shutdown.

use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::builder::BoolishValueParser;
use tracing::{info, warn};
use tracing_subscriber::filter::LevelFilter;

use crate::admin::{self, ProbeError};
use crate::bundle::Inputs;
use crate::client::{LeaderElector, LeadershipWatch, LeaseSettings};
use crate::controller::{Controller, Liveness, RunEnd};
use crate::fanout::{Damping, WriteLimits};
use crate::metrics::{self, ServingCertMetrics};

use super::args::{ClusterArgs, DecisionArgs, LogFormat};
use super::outcome::CommandOutcome;
use super::runtime::ServerThreads;
use super::value_parsers::{parse_bytes, parse_duration, parse_duration_or_zero};
use super::webhook::WebhookArgs;
use super::{log, pod};

/// The pause between two renewals of the Lease, as in controller-runtime.
const RETRY_PERIOD: Duration = Duration::from_secs(2);

/// The controller's flags.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) decision: DecisionArgs,

    /// Port of the readiness and health probes.
    #[arg(long, default_value_t = 6060, value_name = "PORT", help_heading = "Serving")]
    readiness_probe_port: u16,
    /// Path of the readiness probe; the health probe is always at /healthz.
    #[arg(long, default_value = "/readyz", value_name = "PATH", help_heading = "Serving")]
    readiness_probe_path: String,
    /// Port of the metrics (plain HTTP, /metrics); 0 disables them.
    #[arg(long, default_value_t = 9402, value_name = "PORT", help_heading = "Serving")]
    metrics_port: u16,

    #[command(flatten)]
    webhook: WebhookArgs,

    /// Format of the log.
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT", help_heading = "Logging")]
    log_format: LogFormat,
    /// Log level: 1 and 2 log changes, 3 and 4 every step, 5 everything.
    #[arg(
        long, short = 'v', default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5),
        value_name = "LEVEL", help_heading = "Logging"
    )]
    log_level: u8,

    #[command(flatten)]
    cluster: ClusterArgs,

    /// Take part in leader election: only the leader writes. Disable it only for a single replica.
    #[arg(
        long, value_parser = BoolishValueParser::new(), num_args = 0..=1, require_equals = true, default_value = "true",
        default_missing_value = "true", value_name = "BOOL", help_heading = "Leader election"
    )]
    leader_elect: bool,
    /// How long standbys wait after the leader's last renewal before one takes over.
    #[arg(
        long, value_parser = parse_duration, default_value = "15s", value_name = "DURATION",
        help_heading = "Leader election"
    )]
    leader_election_lease_duration: Duration,
    /// How long the leader goes on without a renewal before it exits; shorter than the lease duration.
    #[arg(
        long, value_parser = parse_duration, default_value = "10s", value_name = "DURATION",
        help_heading = "Leader election"
    )]
    leader_election_renew_deadline: Duration,
    /// Name of the Lease; the default is trust-manager's, so that the two never lead at the same time.
    #[arg(
        long,
        default_value = "trust-manager-leader-election",
        value_name = "NAME",
        help_heading = "Leader election"
    )]
    leader_election_id: String,
    /// Namespace of the Lease; default: the pod's own.
    #[arg(long, value_name = "NAMESPACE", help_heading = "Leader election")]
    leader_election_namespace: Option<String>,

    /// Maximum number of writes in flight.
    #[arg(long, default_value = "32", value_name = "NUMBER", help_heading = "Rollouts")]
    max_concurrent_writes: NonZeroUsize,
    /// Maximum number of bytes written per second; 0 means no limit.
    #[arg(long, default_value_t = 0, value_name = "BYTES", help_heading = "Rollouts")]
    max_write_bytes_per_second: u64,
    /// Longest pause before the rollout of a Bundle whose content changes often (more than three changes without ten
    /// quiet minutes); 0s disables the pause and the budget of bytes.
    #[arg(
        long, value_parser = parse_duration_or_zero, default_value = "60s", value_name = "DURATION",
        help_heading = "Rollouts"
    )]
    max_rollout_pause: Duration,
    /// Budget of bytes that rollouts of Bundles that change more than once may write in 5 minutes before further ones
    /// wait for the longest pause; suffixes Ki, Mi, Gi.
    #[arg(long, value_parser = parse_bytes, default_value = "512Mi", value_name = "BYTES", help_heading = "Rollouts")]
    rollout_bytes_per_5m: u64,
}

/// Runs `rootcast controller`.
pub(super) async fn run(arguments: Args) -> anyhow::Result<CommandOutcome> {
    let lease = arguments.lease()?;
    let (webhook, notes) = arguments.webhook.webhook(arguments.decision.trust_namespaces())?;
    log::start(arguments.log_level(), arguments.log_format)?;
    for note in notes {
        warn!("{note}");
    }
    let servers = ServerThreads::start()?;
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
    let connection = arguments.cluster.connect().await?;
    let liveness = Arc::new(Liveness::new());
    let router = probes(&arguments.readiness_probe_path, &liveness);
    admin::listen(servers.handle(), "probes", arguments.readiness_probe_port, router).await?;
    let mut registry = metrics::registry();
    let (metrics, scrape) = metrics::ControllerMetrics::register(&mut registry);
    connection.requests().register(&mut registry);
    connection.watches().register(&mut registry);
    let webhook = webhook.map(|webhook| webhook.start(servers.handle()));
    if let Some(webhook) = &webhook {
        ServingCertMetrics::register(&mut registry, webhook.certificate());
    }
    if arguments.metrics_port != 0 {
        let refresh = move || {
            let scrape = scrape.clone();
            async move { scrape.refresh().await }
        };
        admin::listen(servers.handle(), "metrics", arguments.metrics_port, admin::metrics(registry, refresh)).await?;
    }
    let shutdown = pod::shutdown_signal()?;
    let stop = async move {
        shutdown.await;
        info!("stopping: writes and reviews in flight are finished");
    };
    let (elector, leadership) = match lease {
        None => (None, LeadershipWatch::always()),
        Some(lease) => {
            let (elector, leadership) = LeaderElector::start(connection.client(), lease);
            (Some(elector), leadership)
        }
    };
    let settings = arguments.decision.settings();
    let inputs = Inputs { settings, default_cas, ..Inputs::default() };
    let trust_namespaces = arguments.decision.trust_namespaces();
    let controller =
        Controller::new(&connection, leadership, trust_namespaces, inputs, arguments.limits(), liveness, metrics);
    let outcome = match (controller.run(stop).await, elector) {
        (RunEnd::LeadershipLost, _) => CommandOutcome::LeadershipLost,
        (RunEnd::Drained, Some(elector)) => {
            elector.release().await;
            CommandOutcome::Success
        }
        // A write without an answer may still take effect: no successor may lead before the Lease has expired.
        (RunEnd::Drained, None) | (RunEnd::Undrained, _) => CommandOutcome::Success,
    };
    if let Some(webhook) = webhook {
        webhook.stop().await;
    }
    info!("stopped");
    Ok(outcome)
}

/// Returns the probes: ready once all stores are filled, healthy while the controller's loop runs. Neither depends on
/// leadership or on the API server.
fn probes(readiness_path: &str, liveness: &Arc<Liveness>) -> axum::Router {
    let (ready, alive) = (liveness.clone(), liveness.clone());
    admin::probes(
        readiness_path,
        move || if ready.is_ready() { Ok(()) } else { Err(ProbeError::FillingStores) },
        move || match alive.stalled_for() {
            None => Ok(()),
            Some(since) => Err(ProbeError::LoopStalled(since)),
        },
    )
}

impl Args {
    /// Returns the settings of leader election; `None` without it.
    fn lease(&self) -> anyhow::Result<Option<LeaseSettings>> {
        let (lease_duration, renew_deadline) =
            (self.leader_election_lease_duration, self.leader_election_renew_deadline);
        if !self.leader_elect {
            return Ok(None);
        }
        if lease_duration <= renew_deadline {
            bail!(
                "--leader-election-lease-duration ({lease_duration:?}) must be longer than --leader-election-renew-deadline ({renew_deadline:?})"
            );
        }
        if renew_deadline <= RETRY_PERIOD.mul_f64(1.2) {
            bail!(
                "--leader-election-renew-deadline ({renew_deadline:?}) must be longer than 2.4s: it is renewed every {RETRY_PERIOD:?}"
            );
        }
        let namespace = match &self.leader_election_namespace {
            Some(namespace) => namespace.clone(),
            None => pod::namespace().context(
                "--leader-election-namespace: this is no pod with a service account, so name the namespace of the Lease, or run a single replica with --leader-elect=false",
            )?,
        };
        Ok(Some(LeaseSettings {
            namespace,
            name: self.leader_election_id.clone(),
            identity: pod::identity()?,
            lease_duration,
            renew_deadline,
            retry_period: RETRY_PERIOD,
        }))
    }

    fn log_level(&self) -> LevelFilter {
        match self.log_level {
            0..=2 => LevelFilter::INFO,
            3 | 4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        }
    }

    fn limits(&self) -> WriteLimits {
        WriteLimits {
            max_concurrent_writes: self.max_concurrent_writes.get(),
            max_write_bytes_per_second: NonZeroU64::new(self.max_write_bytes_per_second),
            damping: Damping { max_pause: self.max_rollout_pause, bytes_per_5m: self.rollout_bytes_per_5m },
        }
    }
}
