//! `rootcast render`: the controller's decisions on files instead of a cluster.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api;
use crate::bundle::{
    self, Content, Intent, Namespace, ObjectKind, Plan, Refusal, SourceObject, World, decide,
};
use crate::cluster::TLS_SECRET;

use super::args::{DecisionArguments, Form, RenderArguments};
use super::{REFUSED, print};

pub(super) fn run(arguments: &RenderArguments) -> anyhow::Result<ExitCode> {
    let RenderArguments {
        decision,
        filenames,
        namespaces,
        output,
    } = arguments;
    let mut input = Input::default();
    for filename in filenames {
        for (place, text) in texts(filename)? {
            input.take(&place, &text)?;
        }
    }
    if input.bundles.is_empty() {
        bail!(
            "the input holds no Bundle (apiVersion {}, kind {})",
            api::API_VERSION,
            api::KIND
        );
    }
    let (objects, refusals) = render(&input, decision, namespaces)?;
    print(&form(&objects, *output)?)?;
    for (name, refusal) in &refusals {
        eprintln!("Bundle {name}: {}: {}", refusal.reason, refusal.message);
    }
    Ok(if refusals.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(REFUSED)
    })
}

type Refusals = Vec<(String, Refusal)>;

fn render(
    input: &Input,
    arguments: &DecisionArguments,
    fallback: &[String],
) -> anyhow::Result<(Vec<Value>, Refusals)> {
    let (default_cas, _) = arguments.load_default_cas()?;
    let mut world = World {
        settings: arguments.settings(),
        default_cas,
        ..World::default()
    };
    world
        .sources
        .extend(input.sources(&arguments.trust_namespace));
    world.namespaces = input.namespaces.clone();
    let mut refusals = Refusals::new();
    for (name, bundle) in &input.bundles {
        match Intent::parse(bundle, &arguments.trust_namespace) {
            Ok(intent) => {
                world.intents.insert(name.clone(), intent);
            }
            Err(problems) => refusals.push((name.clone(), Refusal::invalid_spec(&problems))),
        }
    }
    let now = Timestamp::now();
    let mut objects = Vec::new();
    for intent in world.intents.values() {
        match decide(intent, &world, now) {
            Ok(decision) => {
                if decision.plan.secrets_off {
                    refusals.push((intent.name.clone(), bundle::secrets_off(&decision.plan)));
                }
                objects.extend(targets(intent, &decision.plan, fallback));
            }
            Err(refusal) => refusals.push((intent.name.clone(), refusal)),
        }
    }
    refusals.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok((objects, refusals))
}

/// The objects of one Bundle: for the namespaces of the input that it reaches, else for those on the command line.
fn targets(intent: &Intent, plan: &Plan, fallback: &[String]) -> Vec<Value> {
    let reached: Vec<&String> = if plan.namespaces == 0 {
        fallback.iter().collect()
    } else {
        plan.steps.keys().collect()
    };
    let mut objects = Vec::new();
    for namespace in reached {
        for payload in plan.payloads.values() {
            let mut object = payload.manifest(intent);
            object["metadata"]["namespace"] = json!(namespace);
            objects.push(object);
        }
    }
    objects
}

fn form(objects: &[Value], output: Form) -> anyhow::Result<String> {
    Ok(match output {
        Form::Json => {
            let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
            serde_json::to_string_pretty(&list)? + "\n"
        }
        Form::Yaml => {
            let documents: Result<Vec<_>, _> =
                objects.iter().map(serde_saphyr::to_string).collect();
            documents?
                .iter()
                .map(|document| format!("---\n{document}"))
                .collect()
        }
    })
}

/// The contents to read for one `--filename`, each with its place in words.
fn texts(filename: &Path) -> anyhow::Result<Vec<(String, String)>> {
    if filename == Path::new("-") {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("read standard input")?;
        return Ok(vec![("standard input".to_owned(), text)]);
    }
    let mut files = vec![filename.to_owned()];
    if filename.is_dir() {
        files = fs::read_dir(filename)
            .with_context(|| format!("read folder {}", filename.display()))?
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<Vec<PathBuf>>>()?;
        files.retain(|file| {
            file.extension()
                .is_some_and(|end| ["yaml", "yml", "json"].iter().any(|known| end == *known))
        });
        files.sort();
    }
    files
        .iter()
        .map(|file| {
            let text =
                fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
            Ok((file.display().to_string(), text))
        })
        .collect()
}

/// The objects of the input, by kind.
#[derive(Default)]
struct Input {
    bundles: BTreeMap<String, api::Bundle>,
    config_maps: Vec<ConfigMap>,
    secrets: Vec<Secret>,
    namespaces: BTreeMap<String, Namespace>,
}

impl Input {
    fn take(&mut self, place: &str, text: &str) -> anyhow::Result<()> {
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(text).with_context(|| format!("{place}: not YAML"))?;
        for (index, document) in documents.into_iter().enumerate() {
            self.take_object(document)
                .with_context(|| format!("{place}: document {}", index + 1))?;
        }
        Ok(())
    }

    /// Kinds that play no part here are passed over.
    fn take_object(&mut self, object: Value) -> anyhow::Result<()> {
        let word = |field: &str| {
            object
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let name = object
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let what = || format!("{} {name:?}", word("kind"));
        match (word("apiVersion").as_str(), word("kind").as_str()) {
            (_, kind) if kind.ends_with("List") => {
                for item in object
                    .get("items")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                {
                    self.take_object(item.clone())?;
                }
            }
            (api::API_VERSION, api::KIND) => {
                let bundle = api::Bundle::deserialize(&object).with_context(what)?;
                self.bundles.insert(name, bundle);
            }
            ("v1", "ConfigMap") => self
                .config_maps
                .push(ConfigMap::deserialize(&object).with_context(what)?),
            ("v1", "Secret") => self
                .secrets
                .push(Secret::deserialize(&object).with_context(what)?),
            ("v1", "Namespace") => {
                let namespace = k8s_openapi::api::core::v1::Namespace::deserialize(&object)
                    .with_context(what)?;
                let labels = namespace.metadata.labels.unwrap_or_default();
                let terminating = namespace.metadata.deletion_timestamp.is_some();
                self.namespaces.insert(
                    name,
                    Namespace {
                        labels,
                        terminating,
                    },
                );
            }
            _ => {}
        }
        Ok(())
    }

    /// What the trust namespace holds; an object that names no namespace counts as in it.
    fn sources(&self, trust_namespace: &str) -> Vec<((ObjectKind, String), SourceObject)> {
        let here = |namespace: &Option<String>| {
            namespace
                .as_ref()
                .is_none_or(|namespace| namespace == trust_namespace)
        };
        let config_maps = self
            .config_maps
            .iter()
            .filter(|object| here(&object.metadata.namespace))
            .map(|object| {
                let binary = object
                    .binary_data
                    .iter()
                    .flatten()
                    .map(|(key, value)| (key.clone(), value.0.clone()));
                let text = object
                    .data
                    .iter()
                    .flatten()
                    .map(|(key, value)| (key.clone(), value.clone().into_bytes()));
                (
                    ObjectKind::ConfigMap,
                    &object.metadata,
                    Content::Keys(binary.chain(text).collect()),
                )
            });
        let secrets = self
            .secrets
            .iter()
            .filter(|object| here(&object.metadata.namespace))
            .map(|object| {
                let data = object
                    .data
                    .iter()
                    .flatten()
                    .map(|(key, value)| (key.clone(), value.0.clone()));
                let text = object
                    .string_data
                    .iter()
                    .flatten()
                    .map(|(key, value)| (key.clone(), value.clone().into_bytes()));
                let values = data.chain(text).collect();
                let tls = object.type_.as_deref() == Some(TLS_SECRET);
                let content = if tls {
                    Content::TlsKeys(values)
                } else {
                    Content::Keys(values)
                };
                (ObjectKind::Secret, &object.metadata, content)
            });
        config_maps
            .chain(secrets)
            .map(|(kind, metadata, content)| {
                let labels = metadata.labels.clone().unwrap_or_default();
                (
                    (kind, metadata.name.clone().unwrap_or_default()),
                    SourceObject { labels, content },
                )
            })
            .collect()
    }
}
