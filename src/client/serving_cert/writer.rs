//! Writes of the Secret and the webhook configuration.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::Status;
use kube::{Api, Client, Error};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::ServingSettings;
use super::observed::{self, ObservedObjects};
use crate::serving_cert::{SecretData, TrustedCas};

/// The maximum time for a request.
const TIMEOUT: Duration = Duration::from_secs(10);

const MANAGER: &str = "rootcast";

/// The outcome of a write.
pub(super) enum CertWriteOutcome<K> {
    /// The write succeeded; the object after it.
    Done(K),
    /// The observed object was out of date; the object as it is now, if it exists.
    Stale(Option<K>),
    /// The write was refused, or its effect is unknown.
    Failed(Error),
}

/// A writer of the two objects; each write is guarded by the observed version.
pub(super) struct CertWriter {
    settings: ServingSettings,
    secrets: Api<Secret>,
    configurations: Api<MutatingWebhookConfiguration>,
}

impl CertWriter {
    /// Creates a writer over a client.
    pub(super) fn new(client: &Client, settings: ServingSettings) -> Self {
        Self {
            secrets: observed::secrets(client, &settings),
            configurations: observed::configurations(client),
            settings,
        }
    }

    /// Returns namespace and name of the Secret.
    pub(super) fn secret(&self) -> String {
        format!("{}/{}", self.settings.namespace, self.settings.secret)
    }

    /// Returns the name of the configuration.
    pub(super) fn configuration(&self) -> &str {
        &self.settings.configuration
    }

    /// Writes the content of the Secret. Keys, labels and annotations of others stay, and so does its type. A new
    /// Secret is Opaque, since `kubernetes.io/tls` does not allow a Secret without a certificate, as it is at first.
    pub(super) async fn write(&self, observed: &ObservedObjects, content: &SecretData) -> CertWriteOutcome<Secret> {
        let (name, params) =
            (&self.settings.secret, PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() });
        let mut secret = observed.secret().cloned().unwrap_or_else(|| Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(self.settings.namespace.clone()),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".to_owned()),
            ..Secret::default()
        });
        let data = secret.data.get_or_insert_default();
        for (key, value) in content.values() {
            match value {
                Some(value) => data.insert(key.to_owned(), ByteString(value.into_bytes())),
                None => data.remove(key),
            };
        }
        let exists = secret.metadata.resource_version.is_some();
        let request = async {
            if exists {
                self.secrets.replace(name, &params, &secret).await
            } else {
                self.secrets.create(&params, &secret).await
            }
        };
        let stale = |status: &Status| if exists { is_stale(status) } else { status.is_already_exists() };
        write_or_reread(request, stale, &self.secrets, name).await
    }

    /// Writes CAs into `caBundle` of entries of the configuration.
    pub(super) async fn write_ca_bundle(
        &self,
        observed: &ObservedObjects,
        entries: &[String],
        trusted: &TrustedCas,
    ) -> CertWriteOutcome<MutatingWebhookConfiguration> {
        let version =
            observed.configuration().and_then(|configuration| configuration.metadata.resource_version.as_ref());
        let bundle = ByteString(trusted.to_pem().into_bytes());
        let entry = |name: &String| json!({ "name": name, "clientConfig": { "caBundle": bundle } });
        let patch = Patch::Strategic(json!({
            "metadata": { "resourceVersion": version },
            "webhooks": entries.iter().map(entry).collect::<Vec<_>>(),
        }));
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let name = &self.settings.configuration;
        let request = self.configurations.patch(name, &params, &patch);
        write_or_reread(request, is_stale, &self.configurations, name).await
    }
}

/// Returns whether a write was refused since the observed object is out of date.
fn is_stale(status: &Status) -> bool {
    status.is_conflict() || status.is_not_found()
}

async fn write_or_reread<K>(
    request: impl Future<Output = kube::Result<K>>,
    is_stale: impl Fn(&Status) -> bool,
    api: &Api<K>,
    name: &str,
) -> CertWriteOutcome<K>
where
    K: Clone + DeserializeOwned + Debug,
{
    match with_timeout(request).await {
        Ok(object) => CertWriteOutcome::Done(object),
        Err(Error::Api(status)) if is_stale(&status) => match with_timeout(api.get_opt(name)).await {
            Ok(found) => CertWriteOutcome::Stale(found),
            Err(error) => CertWriteOutcome::Failed(error),
        },
        Err(error) => CertWriteOutcome::Failed(error),
    }
}

async fn with_timeout<T>(request: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    tokio::time::timeout(TIMEOUT, request).await.unwrap_or_else(|late| Err(Error::Service(late.into())))
}
