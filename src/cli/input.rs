//! Manifests of `render` and `diff`: from files, folders and standard input.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource as _;
use serde::Deserialize;
use serde_json::Value;

use super::manifest::{self, ManifestValues};
use crate::api::{self, Bundle, Distrust};
use crate::bundle::{
    BundleId, Denials, DeniedCertificates, Namespace, ObjectKind, OutputKeys, SourceContent, SourceId, SourceObject,
    TLS_SECRET_TYPE, TrustNamespaces,
};

/// The Bundles, sources, Namespaces and Distrusts of the input.
#[derive(Default)]
pub(super) struct InputObjects {
    /// Bundles.
    pub(super) bundles: BTreeMap<BundleId, Bundle>,
    /// ConfigMaps and Secrets by namespace (`None`: the manifest names none), kind and name.
    pub(super) sources: BTreeMap<(Option<String>, ObjectKind, String), SourceObject>,
    /// Namespaces by name.
    pub(super) namespaces: BTreeMap<String, Namespace>,
    /// What Distrusts name.
    pub(super) denials: Denials,
}

/// The label that the API server gives each namespace, with its name
/// (<https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-metadata-name>).
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

impl InputObjects {
    /// Reads files, folders (their `.yaml`, `.yml` and `.json` files, sorted) and `-`, standard input.
    pub(super) fn read(filenames: &[PathBuf]) -> anyhow::Result<Self> {
        let mut input = Self::default();
        for filename in filenames {
            for (origin, text) in texts(filename)? {
                let documents: Vec<Value> =
                    serde_saphyr::from_multiple(&text).with_context(|| format!("{origin}: not YAML"))?;
                for (index, document) in documents.iter().enumerate() {
                    manifest::objects(document)
                        .try_for_each(|object| input.add(object))
                        .with_context(|| format!("{origin}: document {}", index + 1))?;
                }
            }
        }
        Ok(input)
    }

    /// Adds an object. Other kinds are skipped; an object that comes twice is an error.
    fn add(&mut self, object: &Value) -> anyhow::Result<()> {
        let word = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default();
        let (api_version, kind, name) = (word("/apiVersion"), word("/kind"), word("/metadata/name").to_owned());
        let what = || format!("{kind} {name:?}");
        let twice = match (api_version, kind) {
            (api::API_VERSION, api::KIND) => {
                let bundle = Bundle::deserialize(object).with_context(what)?;
                self.bundles.insert(name.as_str().into(), bundle).is_some()
            }
            (_, "Distrust") if api_version == Distrust::api_version(&()) => {
                let distrust = Distrust::deserialize(object).with_context(what)?;
                let (denied, errors) = DeniedCertificates::parse(&distrust.spec);
                if let Some(error) = errors.first() {
                    bail!("{}: {error}", what());
                }
                self.denials.insert(&name, denied).is_some()
            }
            ("v1", "Namespace") => {
                let metadata = ObjectMeta::deserialize(&object["metadata"]).with_context(what)?;
                let mut labels = metadata.labels.unwrap_or_default();
                labels.insert(NAME_LABEL.to_owned(), name.clone());
                let terminating = metadata.deletion_timestamp.is_some();
                self.namespaces
                    .insert(name.clone(), Namespace { labels: (&labels).into(), terminating, uid: "".into() })
                    .is_some()
            }
            _ => manifest::source_kind(object).is_some_and(|kind| self.add_source(kind, name.clone(), object)),
        };
        if twice {
            bail!("{} is in the input twice", what());
        }
        Ok(())
    }

    /// Adds a source, and returns whether it was there already. An unreadable one is kept with its error, for the
    /// Bundles that read it.
    fn add_source(&mut self, kind: ObjectKind, name: String, object: &Value) -> bool {
        let metadata = ObjectMeta::deserialize(&object["metadata"]);
        let values = ManifestValues::read(kind, object);
        let (metadata, values) = match (metadata, values) {
            (Ok(metadata), values) => (metadata, values),
            (Err(error), _) => (readable(&object["metadata"]), Err(error.into())),
        };
        let (content, undecodable) = match values {
            Ok(ManifestValues { decoded, undecodable }) => {
                let texts = decoded.into_iter().map(|(key, value)| (key, value.into())).collect();
                let tls = object["type"] == TLS_SECRET_TYPE;
                (if tls { SourceContent::TlsKeys(texts) } else { SourceContent::Keys(texts) }, undecodable)
            }
            Err(error) => (SourceContent::Unreadable(error.to_string()), BTreeMap::new()),
        };
        let output = OutputKeys::of(&metadata);
        let object = SourceObject { labels: metadata.labels.unwrap_or_default(), output, content, undecodable };
        self.sources.insert((metadata.namespace, kind, name), object).is_some()
    }
}

/// Returns the sources of the trust namespaces; a manifest without a namespace belongs to each of them.
pub(super) fn sources_in(
    sources: &BTreeMap<(Option<String>, ObjectKind, String), SourceObject>,
    trust_namespaces: &TrustNamespaces,
) -> BTreeMap<SourceId, SourceObject> {
    let in_namespace = |namespace: &Arc<str>| {
        let sources = sources.iter().filter(|((of, ..), _)| of.as_deref().is_none_or(|of| *of == **namespace));
        let id = |kind, name: &str| SourceId { kind, namespace: namespace.clone(), name: name.into() };
        sources.map(|((_, kind, name), object)| (id(*kind, name), object.clone())).collect::<Vec<_>>()
    };
    trust_namespaces.all().flat_map(in_namespace).collect()
}

/// Returns the namespace and the labels of metadata that is otherwise invalid.
fn readable(metadata: &Value) -> ObjectMeta {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let labels = metadata["labels"].as_object().into_iter().flatten();
    ObjectMeta {
        namespace: text(&metadata["namespace"]),
        labels: Some(labels.filter_map(|(key, value)| Some((key.clone(), text(value)?))).collect()),
        ..ObjectMeta::default()
    }
}

/// Reads the texts of one `--filename`, each with its origin for messages.
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
