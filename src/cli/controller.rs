//! `rootcast controller`: composition and shutdown.

use std::num::NonZeroU64;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::runtime::Handle;
use tracing::{info, warn};
use tracing_subscriber::filter::LevelFilter;

use crate::admin::{self, ProbeError};
use crate::bundle::Inputs;
use crate::client::{LeaderElector, LeadershipWatch, LeaseSettings};
use crate::controller::{Controller, Liveness, RunEnd};
use crate::fanout::{Damping, WriteLimits};
use crate::metrics::{self, ServingCertMetrics};

use super::args::ControllerArgs;
use super::webhook::Webhook;
use super::{log, pod, runtime};

/// Exit code when leadership was lost: a fresh start takes part again.
const EXIT_LEADERSHIP_LOST: u8 = 1;

/// The pause between two renewals of the Lease, as in controller-runtime.
const RETRY_PERIOD: Duration = Duration::from_secs(2);

pub(super) fn run(arguments: ControllerArgs) -> anyhow::Result<ExitCode> {
    let lease = arguments.lease()?;
    let (webhook, notes) = arguments.webhook()?;
    log::start(arguments.log_level(), arguments.log_format);
    for note in notes {
        warn!("{note}");
    }
    runtime::run(async |servers| serve(arguments, lease, webhook, servers).await)
}

async fn serve(
    arguments: ControllerArgs,
    lease: Option<LeaseSettings>,
    webhook: Option<Webhook>,
    servers: Handle,
) -> anyhow::Result<ExitCode> {
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
    admin::listen(&servers, "probes", arguments.readiness_probe_port, router).await?;
    let mut registry = metrics::registry();
    let (metrics, scrape) = metrics::ControllerMetrics::register(&mut registry);
    connection.requests().register(&mut registry);
    connection.watches().register(&mut registry);
    let webhook = webhook.map(|webhook| webhook.start(&servers));
    if let Some(webhook) = &webhook {
        ServingCertMetrics::register(&mut registry, webhook.certificate());
    }
    if arguments.metrics_port != 0 {
        let refresh = move || {
            let scrape = scrape.clone();
            async move { scrape.refresh().await }
        };
        admin::listen(&servers, "metrics", arguments.metrics_port, admin::metrics(registry, refresh)).await?;
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
    let trust_namespace = &arguments.decision.trust_namespace;
    let controller =
        Controller::new(&connection, leadership, trust_namespace, inputs, arguments.limits(), liveness, metrics);
    let code = match (controller.run(stop).await, elector) {
        (RunEnd::LeadershipLost, _) => ExitCode::from(EXIT_LEADERSHIP_LOST),
        (RunEnd::Drained, Some(elector)) => {
            elector.release().await;
            ExitCode::SUCCESS
        }
        // A write without an answer may yet take effect: nobody is to follow us before the Lease has expired.
        (RunEnd::Drained, None) | (RunEnd::Undrained, _) => ExitCode::SUCCESS,
    };
    if let Some(webhook) = webhook {
        webhook.stop().await;
    }
    info!("stopped");
    Ok(code)
}

/// Ready once all stores are filled, healthy while the controller's loop turns; whether we lead or whether the API server
/// is there has no part in it.
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

impl ControllerArgs {
    /// This process's part in the election of a leader, if it takes part.
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
