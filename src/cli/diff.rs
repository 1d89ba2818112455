//! `rootcast diff`: what would change if objects were as in a file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use futures::stream::{self, StreamExt};
use jiff::Timestamp;

use crate::cluster::survey::{Sources, Surveyor, Within};
use crate::survey::{Forecast, Overlay};

use super::input::Input;
use super::survey::{Form, Survey, SurveyArguments, document, published};
use super::{BAD_USAGE, REFUSED, paint, print, tell};

/// What the exit codes mean.
pub(super) const EXIT_CODES: &str = "Exit code 0: nothing would change; 1: something would; 2: bad usage, a Bundle would be refused, or it could not be found out.";

/// How many targets are read at the same time.
const CONCURRENCY: usize = 8;

/// The flags of `diff`.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// YAML or JSON with Bundles, sources and Namespaces as they would be: a file, a directory (its .yaml, .yml and .json
    /// files), or - for standard input; repeatable.
    #[arg(long = "filename", short, value_name = "FILE|DIR|-", required = true)]
    filenames: Vec<PathBuf>,
    /// Form of the output.
    #[arg(long, short, value_enum, default_value = "table", value_name = "FORM")]
    output: Form,
    #[command(flatten)]
    survey: SurveyArguments,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(diff(arguments))
}

async fn diff(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { filenames, output, survey } = arguments;
    let input = Input::read(filenames)?;
    let now = Timestamp::now();
    let Survey { connection, mut snapshot, settings, .. } = survey.look(Within::Cluster, now).await?;
    let trust_namespace = &settings.trust_namespace;
    let overlay = overlay(input, trust_namespace)?;
    let laid_over: BTreeSet<_> = overlay.sources.keys().cloned().collect();
    let targets = snapshot.newest_targets();
    let concerned = snapshot.lay_over(overlay, trust_namespace).map_err(|invalid| anyhow!("{invalid}"))?;
    let intents: Vec<_> = concerned.bundles.iter().filter_map(|name| snapshot.world.intents.get(name)).collect();
    // A Bundle of the file may have sources that no other has.
    let surveyor = Surveyor { connection: &connection, progress: &|_, _| {} };
    let shown = concerned.bundles.iter().filter_map(|name| Some((name, targets.get(name)?)));
    let shown = stream::iter(shown.map(|(name, (place, key))| published(&connection, name, place, key)));
    let ((sources, unread), published): (Sources, Vec<_>) =
        tokio::join!(surveyor.sources(trust_namespace, &intents), shown.buffered(CONCURRENCY).collect());
    snapshot.world.sources.extend(sources.into_iter().filter(|(key, _)| !laid_over.contains(key)));
    snapshot.unread.sources.extend(unread);
    snapshot.unread.sources.retain(|key, _| !laid_over.contains(key));
    let all = || snapshot.bundles.keys().cloned().collect();
    let names = if concerned.namespaces.is_empty() { concerned.bundles.clone() } else { all() };
    snapshot.look_at_others(&surveyor, &names, None, now).await;
    let published = published.into_iter().collect::<anyhow::Result<BTreeMap<_, _>>>()?;
    let forecast = Forecast::of(&snapshot, &concerned, &published, now);
    print(&match output {
        Form::Table => forecast.table(now, paint()),
        form => document(&forecast.document(now), *form)?,
    })?;
    let mut told = true;
    for refusal in forecast.refusals() {
        tell(&format!("rootcast: {refusal}"));
        told = false;
    }
    for finding in forecast.findings() {
        tell(&format!("rootcast: {finding}"));
    }
    if let Some(unread) = snapshot.others_unread() {
        tell(&format!("rootcast: {unread}"));
    }
    tell(&format!("rootcast: settings: {}", snapshot.settings_from));
    Ok(match (told, forecast.is_empty()) {
        (false, _) => ExitCode::from(BAD_USAGE),
        (true, false) => ExitCode::from(REFUSED),
        (true, true) => ExitCode::SUCCESS,
    })
}

/// The objects of the input that can make a difference.
fn overlay(input: Input, trust_namespace: &str) -> anyhow::Result<Overlay> {
    let Input { bundles, sources, namespaces } = input;
    let here = |namespace: &Option<String>| namespace.as_ref().is_none_or(|at| at == trust_namespace);
    let sources = sources.into_iter().filter(|((namespace, _, _), _)| here(namespace));
    let sources: BTreeMap<_, _> = sources.map(|((_, kind, name), object)| ((kind, name), object)).collect();
    if bundles.is_empty() && sources.is_empty() && namespaces.is_empty() {
        bail!("the input holds no Bundle, no Namespace, and no ConfigMap or Secret of namespace {trust_namespace}");
    }
    Ok(Overlay { bundles, sources, namespaces })
}
