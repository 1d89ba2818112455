//! Execution of the fan-out's orders: one request each, and the classification of its response.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::core::{PartialObjectMeta, Status};
use tracing::debug;

use crate::api;
use crate::bundle::{BundleId, ContentSummary, Desired, ObjectKind, PayloadValue, TargetRef};
use crate::fanout::{Comparison, Observed, Order, TargetRequest, WriteResult};
use crate::metrics::WriteMetrics;
use crate::text;

use super::api_error::ApiError;
use super::connection::{ApiRequest, Connection, METADATA_ONLY};
use super::error_text::{is_admission_refusal, is_immutable, is_missing_permission};
use super::request_body::{self, EncodedContent, Head};
use super::uri;

/// A writer that executes the orders of the fan-out.
pub(crate) struct TargetWriter {
    connection: Connection,
    counts: WriteMetrics,
    /// The encoded content of Bundles that are being written.
    encoded: BTreeMap<(BundleId, ObjectKind), (Arc<Desired>, EncodedContent)>,
}

impl TargetWriter {
    /// Creates a writer over a connection. `counts` counts its requests by result.
    pub(crate) fn new(connection: Connection, counts: WriteMetrics) -> Self {
        Self { connection, counts, encoded: BTreeMap::new() }
    }

    /// Drops the encoded content of a Bundle, which has nothing to write any more.
    pub(crate) fn forget(&mut self, bundle: &BundleId) {
        self.encoded.retain(|(id, _), _| id != bundle);
    }

    /// Prepares the request of an order; the returned future sends it once.
    pub(crate) fn send(&mut self, order: Order) -> impl Future<Output = WriteResult> + Send + use<> {
        let api_request = self.build_request(&order);
        let Order { target, desired, request, .. } = order;
        debug!(%target, ?request, "order");
        let (connection, counts) = (self.connection.clone(), self.counts.clone());
        async move {
            let result = match connection.send(api_request).await {
                Ok(body) => parse_response(&target, &desired, &request, &body),
                Err(failure) => classify_error(&target, &request, failure),
            };
            counts.count(&request, &result);
            result
        }
    }

    fn build_request(&mut self, order: &Order) -> ApiRequest {
        let Order { target: TargetRef { kind, namespace, name }, desired, request, .. } = order;
        let body = match request {
            TargetRequest::GetMetadata | TargetRequest::GetContent => None,
            TargetRequest::Delete(version) => Some(request_body::delete(*version)),
            TargetRequest::HandOver(version, own) => Some(request_body::hand_over(*kind, &desired.uid, *version, own)),
            TargetRequest::Create
            | TargetRequest::Replace(_)
            | TargetRequest::Merge { .. }
            | TargetRequest::Apply { .. } => Some(self.content_body(order)),
        };
        let method = match request {
            TargetRequest::Create => Method::POST,
            TargetRequest::Replace(_) => Method::PUT,
            TargetRequest::Merge { .. } | TargetRequest::Apply { .. } | TargetRequest::HandOver(..) => Method::PATCH,
            TargetRequest::Delete(_) => Method::DELETE,
            TargetRequest::GetMetadata | TargetRequest::GetContent => Method::GET,
        };
        let object = match request {
            TargetRequest::Create => String::new(),
            _ => format!("/{name}"),
        };
        let query = match request {
            TargetRequest::Create
            | TargetRequest::Replace(_)
            | TargetRequest::Merge { .. }
            | TargetRequest::HandOver(..) => {
                format!("?fieldManager={}", api::FIELD_MANAGER)
            }
            // The body is correct by construction: validating its fields would double the server's work.
            TargetRequest::Apply { .. } => {
                format!("?fieldManager={}&force=true&fieldValidation=Ignore", api::FIELD_MANAGER)
            }
            TargetRequest::Delete(_) | TargetRequest::GetMetadata | TargetRequest::GetContent => String::new(),
        };
        let accept = if *request == TargetRequest::GetContent { "application/json" } else { METADATA_ONLY };
        ApiRequest { method, uri: format!("{}{object}{query}", uri::collection(*kind, Some(namespace))), accept, body }
    }

    /// Encodes the body of a request with content. The requests for all namespaces share the content itself.
    fn content_body(&mut self, order: &Order) -> request_body::EncodedBody {
        let Order { bundle, target: TargetRef { kind, namespace, .. }, desired, request } = order;
        let payload = desired.payloads.get(kind).expect("only orders without content are for a kind without payload");
        let fresh = || (desired.clone(), EncodedContent::default());
        let encoded = self.encoded.entry((bundle.clone(), *kind)).or_insert_with(fresh);
        if !Arc::ptr_eq(&encoded.0, desired) {
            *encoded = fresh();
        }
        let content = &encoded.1;
        let head = Head {
            desired,
            payload,
            version: request.version().unwrap_or_default(),
            second_owner: request.second_owner(),
            namespace,
        };
        match request {
            TargetRequest::Replace(version) => content.object(desired, payload, Some(*version)),
            TargetRequest::Merge { stale, former_owner, .. } => content.merge(&head, stale, former_owner.as_deref()),
            TargetRequest::Apply { .. } => content.apply(&head),
            _ => content.object(desired, payload, None),
        }
    }
}

/// Reads a successful response.
fn parse_response(target: &TargetRef, desired: &Desired, request: &TargetRequest, body: &Bytes) -> WriteResult {
    let observed = |object: &PartialObjectMeta<ConfigMap>| {
        let named = |part, name: &str| desired.declares(target.kind, part, name);
        WriteResult::Observed(Observed::read(&object.metadata, named))
    };
    let result = match request {
        TargetRequest::GetContent => compare(target.kind, desired, body),
        // An object with finalizers still exists after its deletion.
        TargetRequest::Delete(_) => serde_json::from_slice(body).map(|object: PartialObjectMeta<ConfigMap>| {
            if object.metadata.deletion_timestamp.is_some() { observed(&object) } else { WriteResult::NotFound }
        }),
        _ => serde_json::from_slice(body).map(|object| observed(&object)),
    };
    result.unwrap_or_else(|error| {
        WriteResult::Lost(format!("{}: the answer cannot be read: {error}", failure_prefix(target, request)))
    })
}

/// Compares the content of an object with the desired bytes, and summarizes what else it holds.
fn compare(kind: ObjectKind, desired: &Desired, body: &Bytes) -> serde_json::Result<WriteResult> {
    let payload = desired.payloads.get(&kind);
    let mut values = payload.into_iter().flat_map(|payload| &payload.values);
    let (metadata, comparison) = match kind {
        ObjectKind::ConfigMap => {
            let object: ConfigMap = serde_json::from_slice(body)?;
            let holdings = ContentSummary::of_config_map(&object, payload);
            let (text, binary) = (object.data.unwrap_or_default(), object.binary_data.unwrap_or_default());
            let same = values.all(|(key, value)| match value {
                PayloadValue::Text(desired) => text.get(key).is_some_and(|found| **found == **desired),
                PayloadValue::Binary(desired) => binary.get(key).is_some_and(|found| *found.0 == **desired),
            });
            (object.metadata, Comparison { same, holdings })
        }
        ObjectKind::Secret => {
            let object: Secret = serde_json::from_slice(body)?;
            let holdings = ContentSummary::of_secret(&object, payload);
            let data = object.data.unwrap_or_default();
            let same = values.all(|(key, value)| data.get(key).is_some_and(|found| *found.0 == *value.bytes()));
            (object.metadata, Comparison { same, holdings })
        }
    };
    let observed = Observed::read(&metadata, |part, name| desired.declares(kind, part, name));
    Ok(WriteResult::Compared(observed, comparison))
}

/// Classifies the failure of an order's request.
fn classify_error(target: &TargetRef, request: &TargetRequest, failure: ApiError) -> WriteResult {
    let prefix = failure_prefix(target, request);
    match failure {
        ApiError::Busy(retry_after, cause) => WriteResult::Busy(retry_after, format!("{prefix}: {cause}")),
        ApiError::Failed(cause) => WriteResult::Failed(format!("{prefix}: {cause}")),
        ApiError::Lost(cause) => WriteResult::Lost(format!("{prefix}: {cause}")),
        ApiError::TimedOut(cause) => WriteResult::TimedOut(format!("{prefix}: {cause}")),
        ApiError::Refused(status) => classify_refusal(&prefix, request, &status),
    }
}

fn classify_refusal(prefix: &str, request: &TargetRequest, status: &Status) -> WriteResult {
    let details = status.details.as_ref();
    let caused =
        |reason: &str| details.is_some_and(|details| details.causes.iter().any(|cause| cause.reason == reason));
    let is_about = |kind: &str| details.is_some_and(|details| details.kind == kind);
    match (status.code, status.reason.as_str()) {
        // A webhook chooses the code of its refusal: the code says nothing about the existing object.
        _ if is_admission_refusal(status) => {
            let retry_after = details.map(|details| details.retry_after_seconds).filter(|seconds| *seconds > 0);
            WriteResult::Refused {
                cause: format!("{prefix}: {}", text::cause(&status.message)),
                immutable: false,
                retry_after: retry_after.map(|seconds| Duration::from_secs(seconds.into())),
            }
        }
        (404, _) if is_about("namespaces") => WriteResult::NamespaceGone,
        (404, _) if *request != TargetRequest::Create => WriteResult::NotFound,
        (409, "AlreadyExists") => WriteResult::AlreadyExists,
        // A conflict on a quota, which many requests change at the same time: the object itself is unchanged.
        (409, _) if !is_about("resourcequotas") => WriteResult::Conflict,
        (403, _) if caused("NamespaceTerminating") => WriteResult::NamespaceGone,
        (403, _) if is_missing_permission(status) => {
            WriteResult::Forbidden(format!("{prefix}: {}", text::cause(&status.message)))
        }
        _ => {
            let immutable = status.code == 422 && is_immutable(status);
            let remedy = match (immutable, status.code) {
                (true, _) => ": delete the object, and it is written anew",
                (false, 413) => ": it is too large for the API server or etcd",
                _ => "",
            };
            WriteResult::Refused {
                cause: format!("{prefix}: {}{remedy}", text::cause(&status.message)),
                immutable,
                retry_after: None,
            }
        }
    }
}

/// Formats the beginning of a message about a failed request.
fn failure_prefix(target: &TargetRef, request: &TargetRequest) -> String {
    let verb = match request {
        // trust-manager's verb for every write.
        TargetRequest::Create
        | TargetRequest::Replace(_)
        | TargetRequest::Merge { .. }
        | TargetRequest::Apply { .. }
        | TargetRequest::HandOver(..) => "patch",
        TargetRequest::Delete(_) => "delete",
        TargetRequest::GetMetadata | TargetRequest::GetContent => "get",
    };
    format!("failed to {verb} {target}")
}
