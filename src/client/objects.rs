//! Objects as the interactive commands read them: by kube's `Api`, of a kind that is known at run time.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::DynamicObject;
use kube::core::{ApiResource, DynamicResourceScope, Resource};
use kube::{Api, Client};
use serde::de::DeserializeOwned;

use crate::api::Bundle;
use crate::bundle::ObjectKind;

use super::api_error::ApiError;

/// A failed read of objects.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadFailure {
    /// The request failed.
    #[error(transparent)]
    Request(ApiError),
    /// The response could not be parsed.
    #[error("the API server's answer is malformed: {0}")]
    Malformed(String),
}

/// Returns the objects of a kind, in one namespace or in all.
pub(super) fn objects<K>(client: &Client, kind: ObjectKind, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>,
{
    let resource = match kind {
        ObjectKind::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
        ObjectKind::Secret => ApiResource::erase::<Secret>(&()),
    };
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

/// Returns the Bundles, unparsed.
pub(super) fn bundles(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &ApiResource::erase::<Bundle>(&()))
}

/// Parses an object on its own, so that one that is malformed does not fail the list that it is in.
pub(super) fn parse<K: DeserializeOwned>(object: DynamicObject) -> serde_json::Result<K> {
    serde_json::from_value(serde_json::to_value(object)?)
}

/// The failures of a client from [`Connection::bounded_client`](super::connection::Connection::bounded_client).
impl From<kube::Error> for ReadFailure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::SerdeError(error) => error.into(),
            kube::Error::FromUtf8(error) => Self::Malformed(error.to_string()),
            other => Self::Request(other.into()),
        }
    }
}

impl From<serde_json::Error> for ReadFailure {
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}
