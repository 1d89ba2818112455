//! `rootcast render`: the controller's decisions on files instead of a cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api;
use crate::bundle::{
    BundleId, Decision, DecisionSettings, Desired, Finding, Inputs, Intent, Namespace, Refusal, decide,
};

use super::args::DecisionArgs;
use super::input::{InputObjects, sources_in};
use super::outcome::CommandOutcome;
use super::output::DocumentFormat;
use super::{print, print_diagnostic};

/// The flags of `render`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    decision: DecisionArgs,
    /// YAML or JSON with Bundles, ConfigMaps, Secrets, Namespaces and Distrusts: a file, a directory (its .yaml, .yml and .json
    /// files), or - for standard input.
    #[arg(long = "filename", short, value_name = "FILE|DIR|-", default_value = "-")]
    filenames: Vec<PathBuf>,
    /// Namespace to render for if the input has no Namespaces; repeatable.
    #[arg(long = "namespace", short, value_name = "NAMESPACE", default_value = "default")]
    namespaces: Vec<String>,
    /// Output format: a JSON List, or YAML documents.
    #[arg(long, short, value_enum, default_value = "yaml", value_name = "FORMAT")]
    output: DocumentFormat,
}

/// Runs `rootcast render`.
pub(super) fn run(arguments: &Args) -> anyhow::Result<CommandOutcome> {
    let Args { decision, filenames, namespaces, output } = arguments;
    let input = InputObjects::read(filenames)?;
    if input.bundles.is_empty() {
        bail!("the input holds no Bundle (apiVersion {}, kind {})", api::API_VERSION, api::KIND);
    }
    let Rendered { objects, remarks } = render(input, decision, namespaces)?;
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

fn render(input: InputObjects, arguments: &DecisionArgs, fallback: &[String]) -> anyhow::Result<Rendered> {
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
        let remarks = match decide(intent, &inputs, now) {
            Ok(Decision { desired, findings, .. }) => {
                let reached = offline.clone().unwrap_or_else(|| reached(&desired, &inputs.settings, &namespaces));
                rendered.objects.extend(targets(&desired, &reached));
                Remarks { refusal: desired.refusal(), findings }
            }
            Err(refusal) => refusal.into(),
        };
        rendered.remarks.insert(intent.id.clone(), remarks);
    }
    Ok(rendered)
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
