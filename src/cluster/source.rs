//! Reads of source objects: only those that a Bundle reads, and of them only the keys that it reads.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client, Error};

use crate::bundle::{Content, ObjectKind};

use super::contents::{Read, SourceKey, Version, Wanted};

/// Reads one object of the trust namespace.
pub(super) async fn read(client: &Client, namespace: &str, (kind, name): &SourceKey, wanted: Wanted) -> Read {
    let client = client.clone();
    let read = match kind {
        ObjectKind::ConfigMap => Api::<ConfigMap>::namespaced(client, namespace).get_opt(name).await.map(|found| {
            found.map(|found| {
                let version = Version::of(&found.metadata);
                (version, Content::of_config_map(found, |key| wanted.includes(key, false)))
            })
        }),
        ObjectKind::Secret => Api::<Secret>::namespaced(client, namespace).get_opt(name).await.map(|found| {
            found.map(|found| {
                let version = Version::of(&found.metadata);
                (version, Content::of_secret(found, |key, tls| wanted.includes(key, tls)))
            })
        }),
    };
    match read {
        Ok(Some((version, content))) => Read::Content { version, wanted, content },
        Ok(None) => Read::Gone,
        Err(error) => {
            let cause = match error {
                Error::Api(status) => status.message,
                other => other.to_string(),
            };
            Read::Content { version: Version::NEWEST, wanted, content: Content::Unreadable(cause) }
        }
    }
}
