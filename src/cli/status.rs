//! `rootcast status`: the state of Bundles, or of the targets of a namespace.

use anyhow::bail;
use jiff::Timestamp;

use crate::client::SnapshotScope;
use crate::overview::{NamespaceView, Overview};

use super::outcome::CommandOutcome;
use super::output::{OutputFormat, TableFormat};
use super::overview::{OverviewArgs, OverviewData};
use super::{paint, print};

/// The meaning of the exit codes, for the help.
pub(super) const EXIT_CODES: &str = "Exit code 0: everything is as it should be; 1: a Bundle is not synced, a target is not in sync, or there is no leader; \
2: bad usage, or the status could not be determined.";

/// The flags of `status`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Bundle to show in detail.
    #[arg(value_name = "BUNDLE")]
    bundle: Option<String>,
    /// Show what this namespace gets from each Bundle, and what its pods can mount.
    #[arg(long, short, value_name = "NAMESPACE", conflicts_with = "bundle")]
    namespace: Option<String>,
    /// Output format.
    #[arg(long, short, value_parser = OutputFormat::<TableFormat>::parser(), default_value = "table", value_name = "FORMAT")]
    output: OutputFormat<TableFormat>,
    #[command(flatten)]
    overview: OverviewArgs,
}

/// Runs `rootcast status`.
pub(super) async fn run(arguments: &Args) -> anyhow::Result<CommandOutcome> {
    let Args { bundle, namespace, output, overview: overview_args } = arguments;
    let now = Timestamp::now();
    let healthy = match (bundle, namespace) {
        (_, Some(name)) => {
            let OverviewData { snapshot, namespace, .. } =
                overview_args.read_with_foreign_objects(SnapshotScope::Namespace(name), now).await?;
            let namespace = namespace.expect("the scope is a namespace");
            let view = NamespaceView::of(name, &namespace, &snapshot, now);
            print(&output.format(|TableFormat::Table| paint(view.table()), || view.document())?)?;
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
            let detail =
                |TableFormat::Table| paint(bundle_overview.detail(overview.leadership, overview.settings_from, now));
            print(&output.format(detail, || overview.document())?)?;
            overview.is_healthy()
        }
        (None, None) => {
            let OverviewData { snapshot, .. } =
                overview_args.read_with_foreign_objects(SnapshotScope::Cluster, now).await?;
            let overview = Overview::of(&snapshot, now);
            print(&output.format(|TableFormat::Table| paint(overview.table(now)), || overview.document())?)?;
            overview.is_healthy()
        }
    };
    Ok(if healthy { CommandOutcome::Success } else { CommandOutcome::Unhealthy })
}
