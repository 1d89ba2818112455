//! Reads of source objects: only those that a Bundle reads, and of them only the keys that it reads.

use bytes::Bytes;
use http::Method;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use crate::bundle::{Content, ObjectKind};
use crate::fanout::Version;

use super::connection::{Ask, Connection, Failure};
use super::contents::{Read, SourceKey, Wanted};

/// Reads one object of the trust namespace. What the API server refuses is a [`Content`], too: an unreadable one.
///
/// # Errors
/// When the API server cannot be reached, asks for patience or does not answer.
pub(super) async fn read(
    connection: &Connection,
    namespace: &str,
    key: &SourceKey,
    wanted: Wanted,
) -> Result<Read, Failure> {
    let (kind, name) = key;
    let plural = match kind {
        ObjectKind::ConfigMap => "configmaps",
        ObjectKind::Secret => "secrets",
    };
    let uri = format!("/api/v1/namespaces/{namespace}/{plural}/{name}");
    let ask = Ask { method: Method::GET, uri, accept: "application/json", body: None };
    match connection.send(ask).await {
        Ok(body) => Ok(parse(*kind, &body, &wanted).map_or_else(
            |error| unreadable(&error.to_string(), wanted.clone()),
            |(version, content)| Read::Content { version, wanted: wanted.clone(), content },
        )),
        Err(Failure::Refused(status)) if status.is_not_found() => Ok(Read::Gone),
        Err(Failure::Refused(status)) => Ok(unreadable(&status.message, wanted)),
        Err(failure) => Err(failure),
    }
}

/// An object that is there and cannot be read.
pub(super) fn unreadable(cause: &str, wanted: Wanted) -> Read {
    Read::Content { version: Version::NEWEST, wanted, content: Content::Unreadable(cause.to_owned()) }
}

fn parse(kind: ObjectKind, body: &Bytes, wanted: &Wanted) -> serde_json::Result<(Version, Content)> {
    Ok(match kind {
        ObjectKind::ConfigMap => {
            let found: ConfigMap = serde_json::from_slice(body)?;
            let version = Version::of(&found.metadata);
            (version, Content::of_config_map(found, |key| wanted.includes(key, false)))
        }
        ObjectKind::Secret => {
            let found: Secret = serde_json::from_slice(body)?;
            let version = Version::of(&found.metadata);
            (version, Content::of_secret(found, |key, tls| wanted.includes(key, tls)).certificates_only())
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;
    use crate::bundle::fixture::{intent, now, pem};
    use crate::bundle::{Intent, Labels, OutputKeys, SourceObject, Text, World, resolve};

    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";

    /// What others put into Secrets beside certificates.
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

    fn read_whole(secret: &serde_json::Value) -> (Content, Content) {
        let all = Wanted::everything();
        let (_, kept) = parse(ObjectKind::Secret, &secret.to_string().into(), &all).expect("a Secret");
        let whole = Content::of_secret(serde_json::from_value(secret.clone()).expect("a Secret"), |_, _| true);
        (kept, whole)
    }

    fn secret(data: BTreeMap<&str, Vec<u8>>) -> serde_json::Value {
        let data: BTreeMap<_, _> = data.into_iter().map(|(key, value)| (key, ByteString(value))).collect();
        json!({ "metadata": { "name": "s", "resourceVersion": "1" }, "type": "Opaque", "data": data })
    }

    #[test]
    fn of_a_secret_only_certificates_are_kept() {
        let (kept, _) = read_whole(&secret(values().into_iter().collect()));
        let Content::Keys(kept) = kept else { panic!("{kept:?}") };
        assert_eq!(kept.len(), values().len());
        for (key, text) in &kept {
            assert_eq!(matches!(text, Text::Whole(_)), *key == "ca.crt", "{key}: {text:?}");
        }
    }

    #[test]
    fn what_is_not_kept_of_a_secret_is_said_of_it_all_the_same() {
        let decide = |intent: &Intent, content: Content| {
            let output = OutputKeys::None;
            let object = SourceObject { labels: Labels::new(), output, content, undecodable: BTreeMap::new() };
            let sources = [((ObjectKind::Secret, "s".to_owned()), object)].into();
            let resolved = resolve(intent, &World { sources, ..World::default() }, now());
            resolved.map(|resolved| (resolved.findings, resolved.anchors.len())).map_err(|refusal| refusal.message)
        };
        let of = |source: serde_json::Value| {
            let sources = json!([{ "inLine": pem("rsa") }, { "secret": source }]);
            intent("b", &json!({ "sources": sources, "target": { "configMap": { "key": "k" } } }))
        };
        for (key, value) in values() {
            let (kept, whole) = read_whole(&secret([(key, value)].into()));
            for intent in [of(json!({ "name": "s", "includeAllKeys": true })), of(json!({ "name": "s", "key": key }))] {
                let (kept, whole) = (decide(&intent, kept.clone()), decide(&intent, whole.clone()));
                assert_eq!(kept, whole, "{key}");
            }
        }
    }
}
