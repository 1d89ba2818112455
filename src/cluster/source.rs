//! Reads of source objects: only those that a Bundle reads, and of them only the keys that it reads.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client, Error};
use tokio::time::timeout;

use crate::bundle::{Content, ObjectKind};

use super::apply::TIMEOUT;
use super::contents::{Read, SourceKey, Version, Wanted};

/// Reads one object of the trust namespace.
pub(super) async fn read(client: &Client, namespace: &str, key: &SourceKey, wanted: Wanted) -> Read {
    let cause = match timeout(TIMEOUT, request(client.clone(), namespace, key, &wanted)).await {
        Ok(Ok(Some((version, content)))) => return Read::Content { version, wanted, content },
        Ok(Ok(None)) => return Read::Gone,
        Ok(Err(Error::Api(status))) => status.message,
        Ok(Err(other)) => other.to_string(),
        Err(_) => format!("no answer within {} s", TIMEOUT.as_secs()),
    };
    Read::Content { version: Version::NEWEST, wanted, content: Content::Unreadable(cause) }
}

async fn request(
    client: Client,
    namespace: &str,
    (kind, name): &SourceKey,
    wanted: &Wanted,
) -> Result<Option<(Version, Content)>, Error> {
    Ok(match kind {
        ObjectKind::ConfigMap => Api::<ConfigMap>::namespaced(client, namespace).get_opt(name).await?.map(|found| {
            let version = Version::of(&found.metadata);
            (version, Content::of_config_map(found, |key| wanted.includes(key, false)))
        }),
        ObjectKind::Secret => Api::<Secret>::namespaced(client, namespace).get_opt(name).await?.map(|found| {
            let version = Version::of(&found.metadata);
            (version, Content::of_secret(found, |key, tls| wanted.includes(key, tls)))
        }),
    })
}
