//! `rootcast status`: the state of Bundles, or of the targets of a namespace.

use std::collections::BTreeMap;

use anyhow::bail;
use clap::ValueEnum;
use jiff::Timestamp;

use crate::client::{SnapshotReader, SnapshotScope};
use crate::overview::{NamespaceView, Overview, RotationOverview};

use super::outcome::CommandOutcome;
use super::output::OutputFormat;
use super::overview::{OverviewArgs, OverviewData};
use super::{paint, print, print_diagnostic};

/// The meaning of the exit codes, for the help.
pub(super) const EXIT_CODES: &str = "Exit code 0: everything is as it should be; 1: a Bundle is not synced, a target is not in sync, or there is no leader; \
2: bad usage, or the status could not be determined. With --rotation and --leaving it is 0 or 2.";

/// The flags of `status`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Bundle to show in detail.
    #[arg(value_name = "BUNDLE")]
    bundle: Option<String>,
    /// Show what this namespace gets from each Bundle, and what its pods can mount.
    #[arg(long, short, value_name = "NAMESPACE", conflicts_with = "bundle")]
    namespace: Option<String>,
    /// Show the way of each certificate through the Bundle, and which pods have to be restarted.
    #[arg(long, requires = "bundle")]
    rotation: bool,
    /// Show the certificates that are leaving the Bundle: in no source any more, still published.
    #[arg(long, requires = "bundle", conflicts_with = "rotation")]
    leaving: bool,
    /// Output format.
    #[arg(long, short, value_parser = OutputFormat::<StatusFormat>::parser(), default_value = "table", value_name = "FORMAT")]
    output: OutputFormat<StatusFormat>,
    #[command(flatten)]
    overview: OverviewArgs,
}

/// The texts of `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StatusFormat {
    /// Text for people.
    Table,
    /// The certificates as PEM; with --leaving.
    Pem,
}

/// Runs `rootcast status`.
pub(super) async fn run(arguments: &Args) -> anyhow::Result<CommandOutcome> {
    let Args { bundle, namespace, rotation, leaving, output, overview: overview_args } = arguments;
    let now = Timestamp::now();
    if *output == OutputFormat::Text(StatusFormat::Pem) && !leaving {
        bail!("-o pem is for --leaving; for all that a Bundle publishes: rootcast inspect bundle/NAME -o pem");
    }
    if let (Some(name), true) = (bundle, *rotation || *leaving) {
        return run_rotation(arguments, name, now).await;
    }
    let healthy = match (bundle, namespace) {
        (_, Some(name)) => {
            let OverviewData { snapshot, namespace, .. } =
                overview_args.read_with_foreign_objects(SnapshotScope::Namespace(name), now).await?;
            let namespace = namespace.expect("the scope is a namespace");
            let view = NamespaceView::of(name, &namespace, &snapshot, now);
            print(&output.format(|_| paint(view.table()), || view.document())?)?;
            view.is_healthy()
        }
        (Some(name), None) => {
            let OverviewData { snapshot, .. } =
                overview_args.read_with_foreign_objects(SnapshotScope::Bundle(name), now).await?;
            let overview = Overview::of(&snapshot, now);
            let Some(bundle_overview) = overview.bundles.first() else {
                let known: Vec<_> = snapshot.inputs.intents.keys().map(|bundle| &**bundle.name()).collect();
                bail!("there is no Bundle {name}; there are: {}", known.join(", "));
            };
            let detail = |_| paint(bundle_overview.detail(overview.leadership, overview.settings_from, now));
            print(&output.format(detail, || overview.document())?)?;
            overview.is_healthy()
        }
        (None, None) => {
            let OverviewData { snapshot, .. } =
                overview_args.read_with_foreign_objects(SnapshotScope::Cluster, now).await?;
            let overview = Overview::of(&snapshot, now);
            print(&output.format(|_| paint(overview.table(now)), || overview.document())?)?;
            overview.is_healthy()
        }
    };
    Ok(if healthy { CommandOutcome::Success } else { CommandOutcome::Unhealthy })
}

/// Runs `rootcast status` with `--rotation` or `--leaving`.
async fn run_rotation(arguments: &Args, name: &str, now: Timestamp) -> anyhow::Result<CommandOutcome> {
    let Args { leaving, output, overview, .. } = arguments;
    let OverviewData { connection, snapshot, settings, .. } = overview.read(SnapshotScope::Bundle(name), now).await?;
    let reader = SnapshotReader::new(&connection, &|_, _| {});
    let Some(rotation) = reader.rotation(name, &settings.trust_namespace, now).await? else {
        bail!("there is no Bundle {name}");
    };
    let mut view = RotationOverview::of(&rotation);
    let pods;
    if *leaving {
        view = view.only_leaving();
        if view.certificates.is_empty() {
            print_diagnostic(&format!("rootcast: nothing is leaving Bundle {name}"));
        }
    } else {
        let targets = snapshot.targets.values().flat_map(BTreeMap::keys).cloned().collect();
        pods = reader.pod_uses(&targets).await.map_err(|error| error.to_string());
        view.pods = Some(pods.as_deref().map_err(String::as_str));
    }
    let text = |format| match format {
        StatusFormat::Table => view.text(),
        StatusFormat::Pem => view.pem(),
    };
    print(&output.format(text, || view.document())?)?;
    Ok(CommandOutcome::Success)
}
