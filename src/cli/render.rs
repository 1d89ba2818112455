//! `rootcast render`: the controller's decisions on files instead of a cluster.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api;
use crate::bundle::{
    BundleId, Clock, Decision, DecisionSettings, Desired, Evidence, Facts, Finding, Inputs, Intent, Ledger, Memory,
    Namespace, ObjectKind, Refusal, decide, decide_retained, ledger_name, ledger_of,
};

use super::args::DecisionArgs;
use super::input::{InputObjects, sources_in};
use super::manifest::{self, ManifestObject};
use super::outcome::CommandOutcome;
use super::output::DocumentFormat;
use super::{print, print_diagnostic};

/// The flags of `render`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    decision: DecisionArgs,
    /// YAML or JSON with Bundles, ConfigMaps, Secrets, Namespaces and Distrusts: a file, a directory (its .yaml, .yml and .json
    /// files), or - for standard input; repeatable.
    #[arg(long = "filename", short, value_name = "FILE|DIR|-", default_value = "-")]
    filenames: Vec<PathBuf>,
    /// Ledger of a Bundle, a ConfigMap in YAML or JSON: what the Bundle retains by it is rendered, too; repeatable.
    #[arg(long = "ledger", value_name = "FILE")]
    ledgers: Vec<PathBuf>,
    /// Namespace to render for if the input has no Namespaces; repeatable.
    #[arg(long = "namespace", short, value_name = "NAMESPACE", default_value = "default")]
    namespaces: Vec<String>,
    /// Output format: a JSON List, or YAML documents.
    #[arg(long, short, value_enum, default_value = "yaml", value_name = "FORMAT")]
    output: DocumentFormat,
}

/// Runs `rootcast render`.
pub(super) fn run(arguments: &Args) -> anyhow::Result<CommandOutcome> {
    let Args { decision, filenames, ledgers, namespaces, output } = arguments;
    let input = InputObjects::read(filenames)?;
    if input.bundles.is_empty() {
        bail!("the input holds no Bundle (apiVersion {}, kind {})", api::API_VERSION, api::KIND);
    }
    let memories = read_ledgers(ledgers)?;
    if let Some(bundle) = memories.keys().find(|bundle| !input.bundles.contains_key(bundle)) {
        bail!("the input holds no Bundle {bundle}, whose ledger is given");
    }
    let Rendered { objects, remarks } = render(input, &memories, decision, namespaces)?;
    print(&format_objects(&objects, *output)?)?;
    for (id, Remarks { refusal, findings }) in &remarks {
        let refusal = refusal.iter().map(|refusal| format!("{}: {}", refusal.reason, refusal.message));
        for remark in refusal.chain(findings.iter().map(ToString::to_string)) {
            print_diagnostic(&format!("Bundle {id}: {remark}"));
        }
    }
    let refused = remarks.values().any(|remarks| remarks.refusal.is_some());
    Ok(if refused { CommandOutcome::BundleRefused } else { CommandOutcome::Success })
}

/// The result for the whole input.
#[derive(Default)]
struct Rendered {
    objects: Vec<Value>,
    remarks: BTreeMap<BundleId, Remarks>,
}

/// The refusal and the findings of a Bundle.
#[derive(Default)]
struct Remarks {
    refusal: Option<Refusal>,
    /// The findings, as in condition `SourcesComplete`.
    findings: Vec<Finding>,
}

impl From<Refusal> for Remarks {
    fn from(mut refusal: Refusal) -> Self {
        let findings = refusal.findings.take().unwrap_or_default();
        Self { refusal: Some(refusal), findings }
    }
}

fn render(
    input: InputObjects,
    memories: &BTreeMap<BundleId, Memory>,
    arguments: &DecisionArgs,
    fallback: &[String],
) -> anyhow::Result<Rendered> {
    let (default_cas, _) = arguments.load_default_cas()?;
    let mut inputs = Inputs { settings: arguments.settings(), default_cas, ..Inputs::default() };
    let InputObjects { bundles, sources, namespaces, denials } = input;
    inputs.denials = denials;
    let trust_namespaces = arguments.trust_namespaces();
    inputs.sources = sources_in(&sources, &trust_namespaces);
    let labels = |name: &Arc<str>| Some((name.clone(), namespaces.get(&**name)?.labels.clone()));
    inputs.trust_namespaces = trust_namespaces.all().filter_map(labels).collect();
    let mut rendered = Rendered::default();
    for (id, bundle) in &bundles {
        match Intent::parse(bundle, &trust_namespaces) {
            Ok(intent) => {
                inputs.intents.insert(id.clone(), intent);
            }
            Err(errors) => {
                rendered.remarks.insert(id.clone(), Refusal::invalid_spec(&errors).into());
            }
        }
    }
    let offline = namespaces.is_empty().then(|| -> Vec<&String> {
        fallback.iter().filter(|namespace| inputs.settings.allows_namespace(namespace)).collect()
    });
    let now = Timestamp::now();
    for intent in inputs.intents.values() {
        let decided = match memories.get(&intent.id) {
            None => decide(intent, &inputs, now),
            Some(memory) => decide_retained(intent, &inputs, memory, &offline_facts(now), None, now)
                .map(|retained| retained.decision),
        };
        let remarks = match decided {
            Ok(Decision { desired, findings, impediment, .. }) => {
                let reached = offline.clone().unwrap_or_else(|| reached(&desired, &inputs.settings, &namespaces));
                rendered.objects.extend(targets(&desired, &reached));
                Remarks { refusal: impediment.or_else(|| desired.refusal()), findings }
            }
            Err(refusal) => refusal.into(),
        };
        rendered.remarks.insert(intent.id.clone(), remarks);
    }
    Ok(rendered)
}

/// Returns what is observed without a cluster: no target, and nothing that uses a certificate.
fn offline_facts(now: Timestamp) -> Facts {
    Facts { placed: None, evidence: Evidence::Complete(Vec::new()), clock: Clock { local: now, server: now } }
}

/// Reads the ledgers of files, by Bundle.
fn read_ledgers(files: &[PathBuf]) -> anyhow::Result<BTreeMap<BundleId, Memory>> {
    let mut memories = BTreeMap::new();
    for file in files {
        let at = || file.display().to_string();
        let bytes = fs::read(file).with_context(|| format!("read {}", at()))?;
        let mut objects = manifest::read_objects(&bytes).sources.into_iter();
        let (Some(ManifestObject { kind: ObjectKind::ConfigMap, name, values, .. }), None) =
            (objects.next(), objects.next())
        else {
            bail!("{}: give one ConfigMap, the ledger of a Bundle", at());
        };
        let what = || format!("{}: ConfigMap {name}", at());
        let bundle = ledger_of(&name)
            .with_context(|| format!("{} is no ledger: those are named {}", what(), ledger_name(&"NAME".into())))?;
        let text = |(key, value)| Some((key, String::from_utf8(value).ok()?));
        let data = values.with_context(what)?.decoded.into_iter().filter_map(text).collect();
        let Ledger { uid: _, memory } = Ledger::decode(&data).with_context(what)?;
        if memories.insert(bundle.clone(), memory).is_some() {
            bail!("{}: the ledger of Bundle {bundle} is given twice", at());
        }
    }
    Ok(memories)
}

/// Returns the namespaces of the input that a Bundle reaches.
fn reached<'a>(
    desired: &Desired,
    settings: &DecisionSettings,
    namespaces: &'a BTreeMap<String, Namespace>,
) -> Vec<&'a String> {
    let reached = namespaces.iter().filter(|(name, namespace)| desired.reaches(settings, name, namespace));
    reached.map(|(name, _)| name).collect()
}

/// Returns the targets of one Bundle in these namespaces.
fn targets(desired: &Desired, namespaces: &[&String]) -> Vec<Value> {
    let mut objects = Vec::new();
    for namespace in namespaces {
        for manifest in desired.manifests() {
            let mut object = json!(manifest);
            object["metadata"]["namespace"] = json!(namespace);
            objects.push(object);
        }
    }
    objects
}

fn format_objects(objects: &[Value], output: DocumentFormat) -> anyhow::Result<String> {
    match output {
        DocumentFormat::Json => output.format(&json!({ "apiVersion": "v1", "kind": "List", "items": objects })),
        DocumentFormat::Yaml => objects.iter().map(|object| Ok(format!("---\n{}", output.format(object)?))).collect(),
    }
}
