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
            (version, Content::of_secret(found, |key, tls| wanted.includes(key, tls)))
        }
    })
}
