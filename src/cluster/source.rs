//! Reads of source objects: only those that a Bundle reads, and of them only the keys that it reads.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client, Error};

use crate::bundle::{Content, ObjectKind};

use super::state::{Read, SourceKey, Version, Wanted};

/// The type of Secrets that hold a certificate and its private key
/// (<https://kubernetes.io/docs/concepts/configuration/secret/#tls-secrets>).
pub const TLS_SECRET: &str = "kubernetes.io/tls";

/// Reads one object of the trust namespace.
pub(super) async fn read(
    client: &Client,
    namespace: &str,
    (kind, name): &SourceKey,
    wanted: Wanted,
) -> Read {
    let read = match kind {
        ObjectKind::ConfigMap => Api::namespaced(client.clone(), namespace)
            .get_opt(name)
            .await
            .map(|found| {
                found.map(|found: ConfigMap| {
                    (Version::of(&found.metadata), of_config_map(found, &wanted))
                })
            }),
        ObjectKind::Secret => Api::namespaced(client.clone(), namespace)
            .get_opt(name)
            .await
            .map(|found| {
                found.map(|found: Secret| (Version::of(&found.metadata), of_secret(found, &wanted)))
            }),
    };
    match read {
        Ok(Some((version, content))) => Read::Content {
            version,
            wanted,
            content,
        },
        Ok(None) => Read::Gone,
        Err(error) => {
            let cause = match error {
                Error::Api(status) => status.message,
                other => other.to_string(),
            };
            Read::Content {
                version: Version::NEWEST,
                wanted,
                content: Content::Unreadable(cause),
            }
        }
    }
}

fn of_config_map(found: ConfigMap, wanted: &Wanted) -> Content {
    let binary = found
        .binary_data
        .into_iter()
        .flatten()
        .map(|(key, value)| (key, value.0));
    let text = found
        .data
        .into_iter()
        .flatten()
        .map(|(key, value)| (key, value.into_bytes()));
    Content::Keys(
        binary
            .chain(text)
            .filter(|(key, _)| wanted.includes(key, false))
            .collect(),
    )
}

fn of_secret(found: Secret, wanted: &Wanted) -> Content {
    let tls = found.type_.as_deref() == Some(TLS_SECRET);
    let values: BTreeMap<_, _> = found
        .data
        .into_iter()
        .flatten()
        .filter(|(key, _)| wanted.includes(key, tls))
        .map(|(key, value)| (key, value.0))
        .collect();
    if tls {
        Content::TlsKeys(values)
    } else {
        Content::Keys(values)
    }
}
