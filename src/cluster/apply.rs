//! Writes to targets: each plan is carried out to its end, whatever fails on the way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use http::{Method, Request, header};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::client::Body;
use kube::core::{PartialObjectMeta, Status};
use kube::{Client, Error};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::json;
use tokio::sync::Semaphore;
use tracing::debug;

use crate::api;
use crate::bundle::{Intent, ObjectKind, Observed, Outcome, Plan, Release, Steps, Target};

/// How many writes are in flight at the same time, for all Bundles together. Each takes a connection with its buffers.
const CONCURRENCY: usize = 8;

/// How long one request may take before it counts as failed.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// Asks for an answer without content: 1 KB comes back instead of the object.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// What became of a plan, and what each written object looks like now (`None`: it is gone).
pub(super) struct Applied {
    /// For the report.
    pub(super) outcome: Outcome,
    /// For the index of targets.
    pub(super) now: Vec<(Target, Option<Observed>)>,
}

/// Writes to targets.
#[derive(Clone)]
pub(super) struct Writer {
    client: Client,
    in_flight: Arc<Semaphore>,
}

impl Writer {
    /// A writer; its clones share the limit on writes in flight.
    pub(super) fn new(client: Client) -> Self {
        Self { client, in_flight: Arc::new(Semaphore::new(CONCURRENCY)) }
    }

    /// Carries out a plan. Namespaces are independent; within one, releases wait for the writes.
    pub(super) async fn apply(&self, intent: &Intent, plan: &Plan) -> Applied {
        let bodies: BTreeMap<ObjectKind, Bytes> =
            plan.payloads.iter().map(|(kind, payload)| (*kind, serialize(&payload.manifest(intent)))).collect();
        let mut work = Vec::new();
        for (namespace, steps) in &plan.steps {
            work.push(carry_out(self, &intent.name, namespace, steps, &bodies));
        }
        let mut results: Vec<_> = stream::iter(work).buffer_unordered(CONCURRENCY).concat().await;
        results.sort_by(|(a, _), (b, _)| (&a.namespace, a.kind).cmp(&(&b.namespace, b.kind)));
        let mut applied = Applied { outcome: Outcome::default(), now: Vec::new() };
        for (target, result) in results {
            match result {
                Ok(now) => {
                    applied.outcome.written += 1;
                    applied.now.push((target, now));
                }
                Err(Failure::NamespaceGone) => {}
                Err(Failure::Other(cause)) => applied.outcome.failures.push((target, cause)),
            }
        }
        applied
    }
}

enum Failure {
    /// The namespace is on its way out: what belongs into it no longer matters.
    NamespaceGone,
    Other(String),
}

type Written = (Target, Result<Option<Observed>, Failure>);

async fn carry_out(
    writer: &Writer,
    name: &str,
    namespace: &str,
    steps: &Steps,
    bodies: &BTreeMap<ObjectKind, Bytes>,
) -> Vec<Written> {
    let Steps { writes, releases } = steps;
    let target = |kind| Target { kind, name: name.to_owned(), namespace: namespace.to_owned() };
    let mut done = Vec::new();
    for (kind, why) in writes {
        let target = target(*kind);
        debug!(?target, ?why, "write");
        let result = patch(writer, &target, bodies[kind].clone()).await.map(Some);
        done.push((target, result));
    }
    if done.iter().all(|(_, result)| result.is_ok()) {
        for (kind, how) in releases {
            let target = target(*kind);
            debug!(?target, ?how, "release");
            let result = release(writer, &target, how).await.map(|()| None);
            done.push((target, result));
        }
    }
    done
}

/// Server-side apply: creates the object, or takes over exactly the fields of the body, in one request
/// (<https://kubernetes.io/docs/reference/using-api/server-side-apply/>). Field validation is left out: the body is our
/// own, and checking it doubles the server's work.
async fn patch(writer: &Writer, target: &Target, body: Bytes) -> Result<Observed, Failure> {
    let query = format!("?fieldManager={}&force=true&fieldValidation=Ignore", api::FIELD_MANAGER);
    let answer: PartialObjectMeta<ConfigMap> =
        send(writer, Method::PATCH, target, &query, "application/apply-patch+yaml", body)
            .await
            .map_err(|error| explain("patch", target, error))?;
    Ok(Observed::read(&answer.metadata))
}

async fn release(writer: &Writer, target: &Target, how: &Release) -> Result<(), Failure> {
    match how {
        Release::HandOver { uid } => {
            // With the uid, an object that has gone meanwhile is not created anew: the answer is a conflict.
            let nothing = json!({
                "apiVersion": "v1", "kind": target.kind.as_str(), "metadata": { "name": target.name, "uid": uid },
            });
            patch(writer, target, serialize(&nothing)).await.map(|_| ())
        }
        Release::Delete { uid, resource_version } => {
            let preconditions = json!({
                "apiVersion": "v1", "kind": "DeleteOptions",
                "preconditions": { "uid": uid, "resourceVersion": resource_version },
            });
            let body = serialize(&preconditions);
            match send::<IgnoredAny>(writer, Method::DELETE, target, "", "application/json", body).await {
                Ok(_) => Ok(()),
                Err(Attempt::Refused(Error::Api(status))) if status.is_not_found() => Ok(()),
                Err(error) => Err(explain("delete", target, error)),
            }
        }
    }
}

enum Attempt {
    Refused(Error),
    TimedOut,
}

async fn send<T: DeserializeOwned>(
    writer: &Writer,
    method: Method,
    target: &Target,
    query: &str,
    content_type: &str,
    body: Bytes,
) -> Result<T, Attempt> {
    let Target { kind, name, namespace } = target;
    let plural = match kind {
        ObjectKind::ConfigMap => "configmaps",
        ObjectKind::Secret => "secrets",
    };
    let request = Request::builder()
        .method(method)
        .uri(format!("/api/v1/namespaces/{namespace}/{plural}/{name}{query}"))
        .header(header::CONTENT_TYPE, content_type)
        .header(header::ACCEPT, METADATA_ONLY)
        .body(Body::from(body))
        .expect("names are checked when a Bundle is parsed");
    let _permit = writer.in_flight.acquire().await.expect("the limit is never closed");
    match tokio::time::timeout(TIMEOUT, answer(&writer.client, request)).await {
        Ok(answer) => answer.map_err(Attempt::Refused),
        Err(_) => Err(Attempt::TimedOut),
    }
}

/// [`Client::request`] for a body that all namespaces share: a copy for each in flight would be most of our memory.
async fn answer<T: DeserializeOwned>(client: &Client, request: Request<Body>) -> Result<T, Error> {
    let answer = client.send(request).await?;
    let code = answer.status();
    let body = answer.into_body().collect_bytes().await?;
    if code.is_success() {
        return serde_json::from_slice(&body).map_err(Error::SerdeError);
    }
    let unexplained = |_| Status::failure(&String::from_utf8_lossy(&body), "Unexplained").with_code(code.as_u16());
    let status = serde_json::from_slice(&body).unwrap_or_else(unexplained);
    Err(Error::Api(Box::new(status)))
}

fn explain(verb: &str, target: &Target, error: Attempt) -> Failure {
    let cause = match error {
        Attempt::TimedOut => format!("no answer within {} s", TIMEOUT.as_secs()),
        Attempt::Refused(Error::Api(status)) => {
            let terminating = |details: &kube::core::response::StatusDetails| {
                details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
            };
            let absent = |details: &kube::core::response::StatusDetails| details.kind == "namespaces";
            let details = status.details.as_ref();
            if details.is_some_and(terminating) || (status.is_not_found() && details.is_some_and(absent)) {
                return Failure::NamespaceGone;
            }
            status.message.clone()
        }
        Attempt::Refused(error) => error.to_string(),
    };
    let Target { kind, name, namespace } = target;
    Failure::Other(format!("failed to {verb} {} {namespace}/{name}: {cause}", kind.as_str()))
}

fn serialize(manifest: &impl Serialize) -> Bytes {
    serde_json::to_vec(manifest).expect("a manifest has string keys only").into()
}
