//! `rootcast diff`: the changes in the cluster if objects were as in a file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::bail;
use futures::stream::{self, StreamExt};
use jiff::Timestamp;

use crate::bundle::TrustNamespaces;
use crate::client::{Connection, SnapshotReader, SnapshotScope, SnapshotSources, certificate_uses};
use crate::overview::{Overlay, Plan, SourceQuery};

use super::input::{InputObjects, sources_in};
use super::outcome::CommandOutcome;
use super::output::{OutputFormat, TableFormat};
use super::overview::{OverviewArgs, OverviewData, read_published};
use super::{paint, print, print_diagnostic};

/// The meaning of the exit codes, for the help.
pub(super) const EXIT_CODES: &str = "Exit code 0: nothing would change; 1: something would change; 2: bad usage, a Bundle would be refused, or the \
difference could not be determined.";

/// The number of targets that are read at the same time.
const CONCURRENCY: usize = 8;

/// The flags of `diff`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// YAML or JSON with the Bundles, sources, Namespaces and Distrusts to compare with the cluster: a file, a directory
    /// (its .yaml, .yml and .json files), or - for standard input; repeatable.
    #[arg(long = "filename", short, value_name = "FILE|DIR|-", required = true)]
    filenames: Vec<PathBuf>,
    /// Output format.
    #[arg(long, short, value_parser = OutputFormat::<TableFormat>::parser(), default_value = "table", value_name = "FORMAT")]
    output: OutputFormat<TableFormat>,
    #[command(flatten)]
    overview: OverviewArgs,
}

/// Runs `rootcast diff`.
pub(super) async fn run(arguments: &Args) -> anyhow::Result<CommandOutcome> {
    let Args { filenames, output, overview } = arguments;
    let input = InputObjects::read(filenames)?;
    let now = Timestamp::now();
    let OverviewData { connection, mut snapshot, settings, .. } = overview.read(SnapshotScope::Cluster, now).await?;
    let trust_namespaces = settings.trust_namespaces();
    let overlay = overlay(input, &trust_namespaces)?;
    let laid_over: BTreeSet<_> = overlay.sources.keys().cloned().collect();
    let targets = snapshot.newest_targets();
    let affected = snapshot.apply_overlay(overlay, &trust_namespaces)?;
    let intents: Vec<_> = affected.bundles.iter().filter_map(|name| snapshot.inputs.intents.get(name)).collect();
    // A Bundle of the file may have sources that no other has.
    let reader = SnapshotReader::new(&connection, &|_, _| {});
    let newest = affected.bundles.iter().filter_map(|name| targets.get(name));
    let newest = stream::iter(newest.map(|(target, key)| read_published(&connection, target, key)));
    let ((sources, unread), published): (SnapshotSources, Vec<_>) =
        tokio::join!(reader.sources(&intents), newest.buffered(CONCURRENCY).collect());
    snapshot.inputs.sources.extend(sources.into_iter().filter(|(key, _)| !laid_over.contains(key)));
    snapshot.unread.sources.extend(unread);
    snapshot.unread.sources.retain(|query, _| !matches!(query, SourceQuery::Object(id) if laid_over.contains(id)));
    let all = || snapshot.bundles.keys().cloned().collect();
    let names = if affected.namespaces.is_empty() { affected.bundles.clone() } else { all() };
    snapshot.read_foreign_objects(&reader, &names, None, now).await;
    let published = published.into_iter().collect::<anyhow::Result<BTreeMap<_, _>>>()?;
    let mut plan = Plan::of(&snapshot, &affected, &published, now);
    let uses_unread = record_uses(&mut plan, &connection, now).await.err();
    print(&output.format(|TableFormat::Table| paint(plan.table(now)), || plan.document(now))?)?;
    let mut conclusive = true;
    for refusal in plan.refusals() {
        print_diagnostic(&format!("rootcast: {refusal}"));
        conclusive = false;
    }
    for finding in plan.findings() {
        print_diagnostic(&format!("rootcast: {finding}"));
    }
    if let Some(unread) = snapshot.foreign_objects_unread() {
        print_diagnostic(&format!("rootcast: {unread}"));
    }
    for unread in snapshot.memories_unread(&affected.bundles) {
        print_diagnostic(&format!("rootcast: {unread}"));
    }
    if let Some(cause) = uses_unread {
        print_diagnostic(&format!("rootcast: what depends on the certificates that go is not known: {cause}"));
    }
    print_diagnostic(&format!("rootcast: settings: {}", snapshot.settings_from));
    Ok(match (conclusive, plan.is_empty()) {
        (false, _) => CommandOutcome::Inconclusive,
        (true, false) => CommandOutcome::Different,
        (true, true) => CommandOutcome::Success,
    })
}

/// Finds out by CertificateRequests what depends on the certificates that would go, if any would.
async fn record_uses(plan: &mut Plan, connection: &Connection, now: Timestamp) -> anyhow::Result<()> {
    let anchors: Vec<_> = plan.retirement_anchors().cloned().collect();
    if anchors.is_empty() {
        return Ok(());
    }
    let uses = certificate_uses(connection, anchors, now).await?;
    Ok(plan.record_uses(&uses, now)?)
}

/// Returns the objects of the input that decisions depend on: sources only of the trust namespaces.
fn overlay(input: InputObjects, trust_namespaces: &TrustNamespaces) -> anyhow::Result<Overlay> {
    let InputObjects { bundles, sources, namespaces, denials } = input;
    let sources = sources_in(&sources, trust_namespaces);
    if bundles.is_empty() && sources.is_empty() && namespaces.is_empty() && denials.is_empty() {
        bail!(
            "the input holds no Bundle, no Namespace, and no ConfigMap or Secret of namespace {}",
            trust_namespaces.main()
        );
    }
    Ok(Overlay { bundles, sources, namespaces, denials })
}
