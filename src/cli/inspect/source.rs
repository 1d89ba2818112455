//! Sources of certificates: files, objects of the cluster, and servers.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, bail};

use super::super::args::ClusterArgs;
use super::super::manifest::{self, ManifestObject, ManifestObjects, ManifestValues};
use super::server::{InvalidServerError, Server};
use super::{password, tls};
use crate::bundle::ObjectKind;
use crate::client::Connection;
use crate::client::object_reader::{self, LiveBundle, LiveTarget, Values};
use crate::inspect::{CertificateSet, KeystoreLockedError, Passwords, ValuePlace};
use crate::limits;
use crate::text;

/// Maximum length of an object's kind, namespace and name together in a message, in characters.
const MAX_OBJECT_CHARS: usize = 506;

/// Maximum length of a file, in bytes: sixteen times that of an object of Kubernetes.
const MAX_INPUT_BYTES: u64 = limits::INSPECTED.max as u64;

/// A source of certificates, as an argument names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum InspectSource {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
    /// A ConfigMap or Secret, or one key of it.
    Object {
        /// ConfigMap or Secret.
        kind: ObjectKind,
        /// The namespace.
        namespace: String,
        /// The name.
        name: String,
        /// The only key to read; `None` for all.
        key: Option<String>,
    },
    /// The target of the Bundle of this name in the first namespace that has one.
    Bundle(String),
    /// The chain that a server presents.
    Server(Server),
}

/// The error of a text that names no source of certificates.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidSourceError {
    /// The text after `https://` names no server.
    #[error(transparent)]
    Server(#[from] InvalidServerError),
    /// The text begins with `bundle/`, and no single name follows.
    #[error("give bundle/NAME; a file of this name is ./bundle/...")]
    BundlePath,
    /// The text begins with this kind, and neither two nor three parts follow.
    #[error("give {0}/NAMESPACE/NAME or {0}/NAMESPACE/NAME/KEY; a file of this name is ./{0}/...")]
    ObjectPath(String),
    /// This part cannot be the name of an object or a namespace.
    #[error("{0:?} is no name of an object: those have lower-case letters, digits, '-' and '.'")]
    ObjectName(String),
}

impl FromStr for InspectSource {
    type Err = InvalidSourceError;

    /// Parses a source. A text that begins like an object or a server is one: the file of that name is `./NAME`.
    fn from_str(text: &str) -> Result<Self, InvalidSourceError> {
        if text == "-" {
            return Ok(Self::Stdin);
        }
        if let Some(server) = text.strip_prefix("https://") {
            return Ok(Self::Server(server.trim_end_matches('/').parse()?));
        }
        let parts: Vec<&str> = text.split('/').collect();
        let (kind, path) = parts.split_first().expect("a split has a first part");
        let kind = match *kind {
            "configmap" | "cm" => ObjectKind::ConfigMap,
            "secret" => ObjectKind::Secret,
            "bundle" if path.is_empty() => return Ok(Self::File(text.into())),
            "bundle" => match path {
                [name] => return object_name(name).map(Self::Bundle),
                _ => return Err(InvalidSourceError::BundlePath),
            },
            _ => return Ok(Self::File(text.into())),
        };
        let key = match path {
            [] => return Ok(Self::File(text.into())),
            [_, _] => None,
            [_, _, key] if !key.is_empty() => Some((*key).to_owned()),
            _ => return Err(InvalidSourceError::ObjectPath(parts[0].to_owned())),
        };
        Ok(Self::Object { kind, namespace: object_name(path[0])?, name: object_name(path[1])?, key })
    }
}

/// Checks a name of an object or a namespace.
fn object_name(name: &str) -> Result<String, InvalidSourceError> {
    let plain = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"-.".contains(&octet);
    if !name.is_empty() && name.len() <= 253 && !name.starts_with(['.', '-']) && name.bytes().all(plain) {
        return Ok(name.to_owned());
    }
    Err(InvalidSourceError::ObjectName(name.to_owned()))
}

/// Reads the certificates of sources.
pub(super) struct CertificateReader<'a> {
    cluster: &'a ClusterArgs,
    connection: Option<Connection>,
    passwords: Passwords,
}

impl<'a> CertificateReader<'a> {
    /// Returns a reader that connects to the cluster when an object is read first.
    pub(super) fn new(cluster: &'a ClusterArgs, passwords: Passwords) -> Self {
        Self { cluster, connection: None, passwords }
    }

    /// Reads all certificates of a source.
    pub(super) async fn load(&mut self, source: &InspectSource) -> anyhow::Result<CertificateSet> {
        match source {
            InspectSource::Stdin => {
                self.bytes("standard input", &read(std::io::stdin().lock()).context("read standard input")?)
            }
            InspectSource::File(path) => {
                let bytes = File::open(path).map_err(anyhow::Error::from).and_then(read);
                self.bytes(&path.display().to_string(), &bytes.with_context(|| format!("read {}", path.display()))?)
            }
            InspectSource::Object { kind, namespace, name, key } => {
                self.object(*kind, namespace, name, key.as_deref()).await
            }
            InspectSource::Bundle(name) => self.bundle(name).await,
            InspectSource::Server(server) => Ok(tls::fetch_chain(server).await?.collection(server)),
        }
    }

    /// Reads a file: the values of its objects if it is a manifest of ConfigMaps and Secrets, its bytes if not.
    fn bytes(&self, name: &str, bytes: &[u8]) -> anyhow::Result<CertificateSet> {
        let mut collection = CertificateSet::new(name);
        let ManifestObjects { sources, others } = manifest::read_objects(bytes);
        if sources.is_empty() {
            self.read(&mut collection, &ValuePlace::default(), bytes)?;
        } else if !others.is_empty() {
            let others = text::summarize_names(others.iter().map(String::as_str));
            collection.add_remark(
                &ValuePlace::default(),
                format!("left out, since only ConfigMaps and Secrets are read: {others}"),
            );
        }
        for object in sources {
            self.manifest_object(&mut collection, object)?;
        }
        Ok(collection)
    }

    fn manifest_object(&self, collection: &mut CertificateSet, object: ManifestObject) -> anyhow::Result<()> {
        let ManifestObject { kind, namespace, name, values } = object;
        let namespace = namespace.map(|namespace| namespace + "/").unwrap_or_default();
        let object: Arc<str> = format!("{} {namespace}{name}", kind.as_str()).into();
        let place = |key: Option<&str>| ValuePlace { object: Some(object.clone()), key: key.map(Arc::from) };
        match values {
            Ok(ManifestValues { decoded, undecodable }) => {
                for (key, value) in &decoded {
                    self.read(collection, &place(Some(key)), value)?;
                }
                for (key, error) in &undecodable {
                    collection.add_damage(&place(Some(key)), error);
                }
            }
            Err(error) => collection.add_damage(&place(None), error.to_string()),
        }
        Ok(())
    }

    /// Reads a file or value; prompts for a password where none of the known ones fits.
    fn read(&self, collection: &mut CertificateSet, place: &ValuePlace, bytes: &[u8]) -> anyhow::Result<()> {
        if collection.read(place, bytes, &self.passwords).is_ok() {
            return Ok(());
        }
        let cause = match self.passwords {
            Passwords::Given(_) => {
                "the given password does not fit, or the keystore is damaged: without --password and --password-file the well-known ones are tried"
            }
            Passwords::WellKnown => {
                let what = match place_text(place).as_str() {
                    "" => collection.name.clone(),
                    place => format!("{}, {place}", collection.name),
                };
                let typed = password::prompt(&what)?.map(Passwords::Given);
                match typed.map(|asked| collection.read(place, bytes, &asked)) {
                    Some(Ok(())) => return Ok(()),
                    Some(Err(KeystoreLockedError)) => "the password does not fit, or the keystore is damaged",
                    None => {
                        "a keystore with another password than changeit, changeme and none: give it by --password-file or --password"
                    }
                }
            }
        };
        collection.add_damage(place, cause);
        Ok(())
    }

    async fn object(
        &mut self,
        kind: ObjectKind,
        namespace: &str,
        name: &str,
        key: Option<&str>,
    ) -> anyhow::Result<CertificateSet> {
        let what = format!("{} {namespace}/{name}", kind.as_str());
        let connection = self.connection().await?;
        let values =
            object_reader::object(&connection, kind, namespace, name).await.with_context(|| format!("read {what}"))?;
        let values = match key {
            None => values,
            Some(key) => {
                let Some(value) = values.get(key) else {
                    let keys: Vec<&str> = values.keys().map(String::as_str).collect();
                    bail!(
                        "{what} has no key {key:?}; it has {}",
                        if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
                    );
                };
                Values::from([(key.to_owned(), value.clone())])
            }
        };
        let mut collection = CertificateSet::new(what);
        for (key, value) in &values {
            self.read(&mut collection, &ValuePlace::of_key(key), value)?;
        }
        Ok(collection)
    }

    async fn bundle(&mut self, name: &str) -> anyhow::Result<CertificateSet> {
        let connection = self.connection().await?;
        let LiveBundle { sync_failure: failure, target } =
            object_reader::bundle(&connection, name).await.with_context(|| {
                format!(
                    "read Bundle {name} and a target of it (who may not, names a target: configmap/NAMESPACE/{name})"
                )
            })?;
        let Some(LiveTarget { kind, namespace, key, value }) = target else {
            let why = failure.unwrap_or_else(|| "does its namespaceSelector match any namespace?".to_owned());
            bail!("no namespace has a target of Bundle {name}: {why}");
        };
        let what = format!("Bundle {name} as {} {namespace}/{name}", kind.as_str());
        let Some(value) = value else {
            bail!(
                "{what} has no key {key:?}: {}",
                failure.unwrap_or_else(|| "the controller will soon write it".to_owned())
            );
        };
        let mut collection = CertificateSet::new(what);
        if let Some(failure) = failure {
            collection.add_remark(
                &ValuePlace::default(),
                format!("the Bundle is not synced, so this may be of old: {failure}"),
            );
        }
        self.read(&mut collection, &ValuePlace::of_key(&key), &value)?;
        Ok(collection)
    }

    async fn connection(&mut self) -> anyhow::Result<Connection> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        let connection = self.cluster.connect().await?;
        Ok(self.connection.insert(connection).clone())
    }
}

/// Formats a place for messages, as `Secret team-a/corporate, key "ca.crt"`; empty for the source as a whole.
pub(super) fn place_text(ValuePlace { object, key }: &ValuePlace) -> String {
    let object = object.as_ref().map(|object| text::truncate_chars(object, MAX_OBJECT_CHARS));
    let key = key.as_ref().map(|key| format!("key {}", text::quote_object_name(key)));
    object.into_iter().chain(key).collect::<Vec<_>>().join(", ")
}

/// Reads all of the input, at most [`MAX_INPUT_BYTES`].
fn read(input: impl Read) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(MAX_INPUT_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_INPUT_BYTES {
        bail!("it is longer than {} MiB, so it is no trust store", MAX_INPUT_BYTES >> 20);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_distinguished_by_how_they_begin() {
        let object = |kind, key: Option<&str>| InspectSource::Object {
            kind,
            namespace: "team-a".to_owned(),
            name: "corporate".to_owned(),
            key: key.map(str::to_owned),
        };
        let server = |text: &str| InspectSource::Server(text.parse().expect("a server"));
        let table = [
            ("-", InspectSource::Stdin),
            ("ca.pem", InspectSource::File("ca.pem".into())),
            ("./configmap/a/b", InspectSource::File("./configmap/a/b".into())),
            ("bundle", InspectSource::File("bundle".into())),
            ("configmap/team-a/corporate", object(ObjectKind::ConfigMap, None)),
            ("secret/team-a/corporate/ca.crt", object(ObjectKind::Secret, Some("ca.crt"))),
            ("bundle/corporate", InspectSource::Bundle("corporate".to_owned())),
            ("https://example.com", server("example.com:443")),
            ("https://example.com:8443/", server("example.com:8443")),
            ("https://[::1]:8443", server("[::1]:8443")),
        ];
        for (text, source) in table {
            assert_eq!(text.parse::<InspectSource>(), Ok(source), "{text}");
        }
        for text in
            ["configmap/a", "secret/a/b/c/d", "secret/a/b/", "bundle/a/b", "bundle/A", "configmap/../b", "https://"]
        {
            assert!(text.parse::<InspectSource>().is_err(), "{text}");
        }
    }
}
