//! What `render` and `diff` read: manifests from files, folders and standard input.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

use crate::api::{self, Bundle};
use crate::bundle::{Content, Namespace, ObjectKind, OutputKeys, SourceObject};

/// The objects of the input that play a part.
#[derive(Default)]
pub(super) struct Input {
    /// Bundles by name.
    pub(super) bundles: BTreeMap<String, Bundle>,
    /// ConfigMaps and Secrets by namespace (`None`: the manifest names none), kind and name.
    pub(super) sources: BTreeMap<(Option<String>, ObjectKind, String), SourceObject>,
    /// Namespaces by name.
    pub(super) namespaces: BTreeMap<String, Namespace>,
}

/// The label that the API server gives each namespace
/// (<https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-metadata-name>).
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

impl Input {
    /// Reads files, folders (their `.yaml`, `.yml` and `.json` files, sorted) and `-`, standard input.
    pub(super) fn read(filenames: &[PathBuf]) -> anyhow::Result<Self> {
        let mut input = Self::default();
        for filename in filenames {
            for (place, text) in texts(filename)? {
                let documents: Vec<Value> =
                    serde_saphyr::from_multiple(&text).with_context(|| format!("{place}: not YAML"))?;
                for (index, document) in documents.iter().enumerate() {
                    input.take(document).with_context(|| format!("{place}: document {}", index + 1))?;
                }
            }
        }
        Ok(input)
    }

    /// Kinds that play no part are passed over; an object that comes twice is a mistake.
    fn take(&mut self, object: &Value) -> anyhow::Result<()> {
        let word = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default();
        let (api_version, kind, name) = (word("/apiVersion"), word("/kind"), word("/metadata/name").to_owned());
        if kind.ends_with("List") {
            return object["items"].as_array().into_iter().flatten().try_for_each(|item| self.take(item));
        }
        let what = || format!("{kind} {name:?}");
        let twice = match (api_version, kind) {
            (api::API_VERSION, api::KIND) => {
                let bundle = Bundle::deserialize(object).with_context(what)?;
                self.bundles.insert(name.clone(), bundle).is_some()
            }
            ("v1", "ConfigMap") => {
                let object = ConfigMap::deserialize(object).with_context(what)?;
                let metadata = object.metadata.clone();
                self.source(ObjectKind::ConfigMap, metadata, Content::of_config_map(object, |_| true))
            }
            ("v1", "Secret") => {
                let object = Secret::deserialize(object).with_context(what)?;
                let metadata = object.metadata.clone();
                self.source(ObjectKind::Secret, metadata, Content::of_secret(object, |_, _| true))
            }
            ("v1", "Namespace") => {
                let metadata = ObjectMeta::deserialize(&object["metadata"]).with_context(what)?;
                let mut labels = metadata.labels.unwrap_or_default();
                labels.insert(NAME_LABEL.to_owned(), name.clone());
                let terminating = metadata.deletion_timestamp.is_some();
                self.namespaces.insert(name.clone(), Namespace { labels: (&labels).into(), terminating }).is_some()
            }
            _ => false,
        };
        if twice {
            bail!("{} is in the input twice", what());
        }
        Ok(())
    }

    fn source(&mut self, kind: ObjectKind, metadata: ObjectMeta, content: Content) -> bool {
        let output = OutputKeys::of(&metadata);
        let key = (metadata.namespace, kind, metadata.name.unwrap_or_default());
        let object = SourceObject { labels: metadata.labels.unwrap_or_default(), output, content };
        self.sources.insert(key, object).is_some()
    }
}

/// The contents to read for one `--filename`, each with its place in words.
fn texts(filename: &Path) -> anyhow::Result<Vec<(String, String)>> {
    if filename == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("read standard input")?;
        return Ok(vec![("standard input".to_owned(), text)]);
    }
    let mut files = vec![filename.to_owned()];
    if filename.is_dir() {
        files = fs::read_dir(filename)
            .with_context(|| format!("read folder {}", filename.display()))?
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<Vec<PathBuf>>>()?;
        files.retain(|file| {
            file.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|known| end == *known))
        });
        files.sort();
    }
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        Ok((file.display().to_string(), text))
    };
    files.into_iter().map(read).collect()
}
