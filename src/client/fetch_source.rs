//! Reads of source objects, cut down to the keys that Bundles read.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::Method;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use crate::bundle::{Inputs, Intent, Keys, ObjectKind, SourceContent, SourceId};
use crate::fanout::ResourceVersion;

use super::api_error::ApiError;
use super::connection::{ApiRequest, Connection};
use super::uri;

/// A filter for the keys of a source object: those that any Bundle reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyFilter {
    all: bool,
    keys: BTreeSet<String>,
}

/// The result of a read of a source object.
#[derive(Clone, Debug)]
pub(crate) enum SourceRead {
    /// The object exists.
    Content {
        /// Resource version of the object.
        version: ResourceVersion,
        /// The filter that the content has passed.
        filter: KeyFilter,
        /// The content that passes the filter.
        content: SourceContent,
    },
    /// The object does not exist.
    Gone,
}

/// Reads one object of the trust namespace. A refusal by the API server results in [`SourceRead::Content`], too: an
/// unreadable one.
///
/// # Errors
/// When the API server cannot be reached, is busy or does not answer.
pub(crate) async fn read_source(
    connection: &Connection,
    source: &SourceId,
    filter: KeyFilter,
) -> Result<SourceRead, ApiError> {
    let SourceId { kind, namespace, name } = source;
    let uri = format!("{}/{name}", uri::collection(*kind, Some(namespace)));
    let request = ApiRequest { method: Method::GET, uri, accept: "application/json", body: None };
    match connection.send(request).await {
        Ok(body) => Ok(parse(*kind, &body, &filter).map_or_else(
            |error| SourceRead::unreadable(&error.to_string(), filter.clone()),
            |(version, content)| SourceRead::Content { version, filter: filter.clone(), content },
        )),
        Err(ApiError::Refused(status)) if status.is_not_found() => Ok(SourceRead::Gone),
        Err(ApiError::Refused(status)) => Ok(SourceRead::unreadable(&status.message, filter)),
        Err(failure) => Err(failure),
    }
}

impl SourceRead {
    /// Creates the content of an object that exists and cannot be read.
    pub(crate) fn unreadable(cause: &str, filter: KeyFilter) -> Self {
        let content = SourceContent::Unreadable(cause.to_owned());
        Self::Content { version: ResourceVersion::NEWEST, filter, content }
    }
}

fn parse(kind: ObjectKind, body: &Bytes, filter: &KeyFilter) -> serde_json::Result<(ResourceVersion, SourceContent)> {
    Ok(match kind {
        ObjectKind::ConfigMap => {
            let found: ConfigMap = serde_json::from_slice(body)?;
            let version = ResourceVersion::of(&found.metadata);
            (version, SourceContent::of_config_map(found, |key| filter.includes(key, false)))
        }
        ObjectKind::Secret => {
            let found: Secret = serde_json::from_slice(body)?;
            let version = ResourceVersion::of(&found.metadata);
            (version, SourceContent::of_secret(found, |key, tls| filter.includes(key, tls)).certificates_only())
        }
    })
}

impl KeyFilter {
    /// Creates a filter that all keys pass.
    #[cfg(test)]
    pub(crate) fn everything() -> Self {
        Self { all: true, keys: BTreeSet::new() }
    }

    /// Creates the filter for an object: the keys of it that any Bundle reads.
    pub(crate) fn of(inputs: &Inputs, id: &SourceId) -> Self {
        let mut filter = Self::default();
        let Some(object) = inputs.sources.get(id) else { return filter };
        let sources = inputs.intents.values().flat_map(Intent::object_sources);
        for source in sources.filter(|source| source.reads(id, &object.labels)) {
            match &source.keys {
                Keys::All => filter.all = true,
                Keys::One(key) => {
                    filter.keys.insert(key.clone());
                }
            }
        }
        filter
    }

    /// Narrows the filter for a TLS Secret (`tls`), of which only named keys pass.
    pub(crate) fn of_type(self, tls: bool) -> Self {
        Self { all: self.all && !tls, ..self }
    }

    /// Returns the filter for the keys that pass both filters.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        match (self.all, other.all) {
            (true, _) => other.clone(),
            (false, true) => self.clone(),
            (false, false) => Self { all: false, keys: self.keys.intersection(&other.keys).cloned().collect() },
        }
    }

    /// Returns whether every key that passes `other` passes this filter.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.all || (!other.all && other.keys.is_subset(&self.keys))
    }

    /// Returns whether a key passes the filter; of a TLS Secret (`tls`) only named keys do.
    pub(crate) fn includes(&self, key: &str, tls: bool) -> bool {
        (self.all && !tls) || self.keys.contains(key)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;
    use crate::bundle::fixture::{intent, now, pem, source_id};
    use crate::bundle::{Inputs, Intent, Labels, OutputKeys, SourceObject, SourceValue, resolve};

    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";

    /// Values that Secrets hold beside certificates.
    fn values() -> Vec<(&'static str, Vec<u8>)> {
        let certificate = pem("ec");
        vec![
            ("ca.crt", certificate.clone().into_bytes()),
            ("tls.key", KEY.into()),
            ("both.pem", (certificate.clone() + KEY).into_bytes()),
            ("key-first.pem", (KEY.to_owned() + &certificate).into_bytes()),
            ("password", b"secret".to_vec()),
            ("empty", Vec::new()),
            ("keystore.jks", [b"\xfe\xed\xfe\xed", &b"secret".repeat(9)[..]].concat()),
            ("archive", [b"\x1f\x8b", &b"secret".repeat(9)[..]].concat()),
            ("mangled", b"----BEGIN CERTIFICATE----\nc2VjcmV0\n".to_vec()),
            ("unfinished", b"-----BEGIN CERTIFICATE-----\nc2VjcmV0\n".to_vec()),
        ]
    }

    fn parse_kept_and_whole(secret: &serde_json::Value) -> (SourceContent, SourceContent) {
        let all = KeyFilter::everything();
        let (_, kept) = parse(ObjectKind::Secret, &secret.to_string().into(), &all).expect("a Secret");
        let whole = SourceContent::of_secret(serde_json::from_value(secret.clone()).expect("a Secret"), |_, _| true);
        (kept, whole)
    }

    fn secret(data: BTreeMap<&str, Vec<u8>>) -> serde_json::Value {
        let data: BTreeMap<_, _> = data.into_iter().map(|(key, value)| (key, ByteString(value))).collect();
        json!({ "metadata": { "name": "s", "resourceVersion": "1" }, "type": "Opaque", "data": data })
    }

    #[test]
    fn of_a_secret_only_certificates_are_kept() {
        let (kept, _) = parse_kept_and_whole(&secret(values().into_iter().collect()));
        let SourceContent::Keys(kept) = kept else { panic!("{kept:?}") };
        assert_eq!(kept.len(), values().len());
        for (key, text) in &kept {
            assert_eq!(matches!(text, SourceValue::Whole(_)), *key == "ca.crt", "{key}: {text:?}");
        }
    }

    #[test]
    fn findings_are_the_same_for_the_kept_part_of_a_secret_and_the_whole() {
        let decide = |intent: &Intent, content: SourceContent| {
            let output = OutputKeys::None;
            let object = SourceObject { labels: Labels::new(), output, content, undecodable: BTreeMap::new() };
            let sources = [(source_id(ObjectKind::Secret, "s"), object)].into();
            let resolved = resolve(intent, &Inputs { sources, ..Inputs::default() }, now());
            resolved.map(|resolved| (resolved.own().len(), resolved.findings)).map_err(|refusal| refusal.message)
        };
        let of = |source: serde_json::Value| {
            let sources = json!([{ "inLine": pem("rsa") }, { "secret": source }]);
            intent("b", &json!({ "sources": sources, "target": { "configMap": { "key": "k" } } }))
        };
        for (key, value) in values() {
            let (kept, whole) = parse_kept_and_whole(&secret([(key, value)].into()));
            for intent in [of(json!({ "name": "s", "includeAllKeys": true })), of(json!({ "name": "s", "key": key }))] {
                let (kept, whole) = (decide(&intent, kept.clone()), decide(&intent, whole.clone()));
                assert_eq!(kept, whole, "{key}");
            }
        }
    }
}
