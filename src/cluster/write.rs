//! Orders of the fan-out, carried out: one request each, and what its answer means.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::core::{PartialObjectMeta, Status};
use tracing::debug;

use crate::api;
use crate::bundle::{Holdings, ObjectKind, TargetRef, Value, Wanted};
use crate::fanout::{Answer, Comparison, Observed, Order, Request};
use crate::metrics::Writes;
use crate::text;

use super::body::{self, Content, Head};
use super::connection::{Ask, Connection, Failure, METADATA_ONLY, is_of_admission};

/// Carries out orders.
pub(super) struct Writer {
    connection: Connection,
    counts: Writes,
    /// Encoded contents of Bundles that are being written.
    contents: BTreeMap<(Arc<str>, ObjectKind), (Arc<Wanted>, Content)>,
}

impl Writer {
    /// A writer over a connection, that counts what it does.
    pub(super) fn new(connection: Connection, counts: Writes) -> Self {
        Self { connection, counts, contents: BTreeMap::new() }
    }

    /// Lets go of what was encoded for a Bundle, which has nothing to write any more.
    pub(super) fn forget(&mut self, bundle: &str) {
        self.contents.retain(|(name, _), _| **name != *bundle);
    }

    /// Prepares an order's request; the future sends it once.
    pub(super) fn carry_out(&mut self, order: Order) -> impl Future<Output = Answer> + Send + use<> {
        let Order { bundle, place, wanted, request } = order;
        let target = Target { bundle, place };
        debug!(%target, ?request, "order");
        let ask = self.ask(&target, &wanted, &request);
        let (connection, counts) = (self.connection.clone(), self.counts.clone());
        async move {
            let answer = match connection.send(ask).await {
                Ok(body) => understand(&target, &wanted, &request, &body),
                Err(failure) => explain(&target, &request, failure),
            };
            counts.count(&request, &answer);
            answer
        }
    }

    fn ask(&mut self, target: &Target, wanted: &Arc<Wanted>, request: &Request) -> Ask {
        let Target { bundle, place: TargetRef { kind, namespace } } = target;
        let body = match request {
            Request::Look | Request::Compare => None,
            Request::Delete(version) => Some(body::delete(*version)),
            Request::HandOver(version, own) => Some(body::hand_over(*kind, &wanted.uid, *version, own)),
            Request::Create | Request::Replace(_) | Request::Merge { .. } | Request::Apply { .. } => {
                Some(self.content_body(target, wanted, request))
            }
        };
        let method = match request {
            Request::Create => Method::POST,
            Request::Replace(_) => Method::PUT,
            Request::Merge { .. } | Request::Apply { .. } | Request::HandOver(..) => Method::PATCH,
            Request::Delete(_) => Method::DELETE,
            Request::Look | Request::Compare => Method::GET,
        };
        let plural = match kind {
            ObjectKind::ConfigMap => "configmaps",
            ObjectKind::Secret => "secrets",
        };
        let object = match request {
            Request::Create => String::new(),
            _ => format!("/{bundle}"),
        };
        let query = match request {
            Request::Create | Request::Replace(_) | Request::Merge { .. } | Request::HandOver(..) => {
                format!("?fieldManager={}", api::FIELD_MANAGER)
            }
            // The body is our own: checking its fields would double the server's work.
            Request::Apply { .. } => format!("?fieldManager={}&force=true&fieldValidation=Ignore", api::FIELD_MANAGER),
            Request::Delete(_) | Request::Look | Request::Compare => String::new(),
        };
        let accept = if *request == Request::Compare { "application/json" } else { METADATA_ONLY };
        Ask { method, uri: format!("/api/v1/namespaces/{namespace}/{plural}{object}{query}"), accept, body }
    }

    /// The body of a request that carries content, of which all namespaces share what is the same for all.
    fn content_body(&mut self, target: &Target, wanted: &Arc<Wanted>, request: &Request) -> body::Encoded {
        let Target { bundle, place: TargetRef { kind, namespace } } = target;
        let payload = wanted.payloads.get(kind).expect("what has no content is not written");
        let fresh = || (wanted.clone(), Content::default());
        let held = self.contents.entry((bundle.clone(), *kind)).or_insert_with(fresh);
        if !Arc::ptr_eq(&held.0, wanted) {
            *held = fresh();
        }
        let content = &held.1;
        let frame = Head {
            wanted,
            payload,
            version: request.version().unwrap_or_default(),
            second_owner: request.second_owner(),
            namespace,
        };
        match request {
            Request::Replace(version) => content.object(wanted, payload, Some(*version)),
            Request::Merge { stale, former_owner, .. } => content.merge(&frame, stale, former_owner.as_deref()),
            Request::Apply { .. } => content.apply(&frame),
            _ => content.object(wanted, payload, None),
        }
    }
}

/// A target, as messages name it.
struct Target {
    bundle: Arc<str>,
    place: TargetRef,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bundle, place: TargetRef { kind, namespace } } = self;
        write!(f, "{} {namespace}/{bundle}", kind.as_str())
    }
}

/// Reads a good answer.
fn understand(target: &Target, wanted: &Wanted, request: &Request, body: &Bytes) -> Answer {
    let is = |object: &PartialObjectMeta<ConfigMap>| {
        let named = |part, name: &str| wanted.names(target.place.kind, part, name);
        Answer::Is(Observed::read(&object.metadata, named))
    };
    let read = match request {
        Request::Compare => compare(target.place.kind, wanted, body),
        // An object that finalizers keep is still there.
        Request::Delete(_) => serde_json::from_slice(body).map(|object: PartialObjectMeta<ConfigMap>| {
            if object.metadata.deletion_timestamp.is_some() { is(&object) } else { Answer::Gone }
        }),
        _ => serde_json::from_slice(body).map(|object| is(&object)),
    };
    read.unwrap_or_else(|error| {
        Answer::Lost(format!("{}: the answer cannot be read: {error}", failed(target, request)))
    })
}

/// Whether an object holds the wanted bytes, and what it holds beside.
fn compare(kind: ObjectKind, wanted: &Wanted, body: &Bytes) -> serde_json::Result<Answer> {
    let payload = wanted.payloads.get(&kind);
    let mut values = payload.into_iter().flat_map(|payload| &payload.values);
    let (metadata, comparison) = match kind {
        ObjectKind::ConfigMap => {
            let object: ConfigMap = serde_json::from_slice(body)?;
            let holdings = Holdings::of_config_map(&object, payload);
            let (text, binary) = (object.data.unwrap_or_default(), object.binary_data.unwrap_or_default());
            let same = values.all(|(key, value)| match value {
                Value::Text(wanted) => text.get(key).is_some_and(|found| **found == **wanted),
                Value::Binary(wanted) => binary.get(key).is_some_and(|found| *found.0 == **wanted),
            });
            (object.metadata, Comparison { same, holdings })
        }
        ObjectKind::Secret => {
            let object: Secret = serde_json::from_slice(body)?;
            let holdings = Holdings::of_secret(&object, payload);
            let data = object.data.unwrap_or_default();
            let same = values.all(|(key, value)| data.get(key).is_some_and(|found| *found.0 == *value.bytes()));
            (object.metadata, Comparison { same, holdings })
        }
    };
    let observed = Observed::read(&metadata, |part, name| wanted.names(kind, part, name));
    Ok(Answer::Compared(observed, comparison))
}

/// What a failure means for the order.
fn explain(target: &Target, request: &Request, failure: Failure) -> Answer {
    let what = failed(target, request);
    match failure {
        Failure::Busy(retry_after, text) => {
            let text = if text.is_empty() { "the API server is busy" } else { &*text };
            Answer::Busy(retry_after, format!("{what}: {text}"))
        }
        Failure::Failed(cause) => Answer::Failed(format!("{what}: {cause}")),
        Failure::Lost(cause) => Answer::Lost(format!("{what}: {cause}")),
        Failure::TimedOut(cause) => Answer::TimedOut(format!("{what}: {cause}")),
        Failure::Refused(status) => refused(&what, request, &status),
    }
}

fn refused(what: &str, request: &Request, status: &Status) -> Answer {
    let details = status.details.as_ref();
    let caused =
        |reason: &str| details.is_some_and(|details| details.causes.iter().any(|cause| cause.reason == reason));
    let is_about = |kind: &str| details.is_some_and(|details| details.kind == kind);
    match (status.code, status.reason.as_str()) {
        // What admission says with such a code is not said of the object that is there.
        _ if is_of_admission(status) => {
            let retry_after = details.map(|details| details.retry_after_seconds).filter(|seconds| *seconds > 0);
            Answer::Refused {
                cause: format!("{what}: {}", text::cause(&status.message)),
                fixed: false,
                retry_after: retry_after.map(|seconds| Duration::from_secs(seconds.into())),
            }
        }
        (404, _) if is_about("namespaces") => Answer::NamespaceGone,
        (404, _) if *request != Request::Create => Answer::Gone,
        (409, "AlreadyExists") => Answer::Exists,
        // Of a quota that many requests change at the same time, nothing is to be seen in the object.
        (409, _) if !is_about("resourcequotas") => Answer::Conflict,
        (403, _) if caused("NamespaceTerminating") => Answer::NamespaceGone,
        // An object of a quota or a policy is refused with 403, too; only this text tells of permissions.
        (403, _) if status.message.contains("cannot ") && status.message.contains(" resource \"") => {
            Answer::Forbidden(format!("{what}: {}", text::cause(&status.message)))
        }
        _ => {
            let immutable = status.code == 422 && status.message.contains("field is immutable when `immutable` is set");
            let cure = match (immutable, status.code) {
                (true, _) => ": delete the object, and it is written anew",
                (false, 413) => ": it is too large for the API server or etcd",
                _ => "",
            };
            Answer::Refused {
                cause: format!("{what}: {}{cure}", text::cause(&status.message)),
                fixed: immutable,
                retry_after: None,
            }
        }
    }
}

/// The first words for a request that failed.
fn failed(target: &Target, request: &Request) -> String {
    let verb = match request {
        // trust-manager's word for every write.
        Request::Create
        | Request::Replace(_)
        | Request::Merge { .. }
        | Request::Apply { .. }
        | Request::HandOver(..) => "patch",
        Request::Delete(_) => "delete",
        Request::Look | Request::Compare => "get",
    };
    format!("failed to {verb} {target}")
}
