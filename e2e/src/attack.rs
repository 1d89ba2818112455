//! What attackers send: requests straight to a port of the product's, without credentials, and objects that are made
//! to be expensive.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rootcast::api::BUNDLE_LABEL;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::TlsClient;

/// How long an attacker waits for an answer.
const PATIENCE: Duration = Duration::from_mins(1);

/// A kept connection to a webhook port.
pub struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    /// Connects, and shakes hands.
    pub async fn open(tls: &TlsClient, port: u16) -> Result<Self> {
        let (sender, connection) = http1::handshake(TokioIo::new(tls.connect(port).await?)).await?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// The status and, where it is JSON, the body of an answer.
    pub async fn post(&mut self, path: &str, body: Bytes) -> Result<(u16, Value)> {
        let request = Request::post(path)
            .header("Host", "localhost")
            .header("Content-Type", "application/json")
            .body(Full::new(body))?;
        let exchange = async {
            self.0.ready().await?;
            let response = self.0.send_request(request).await?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await?.to_bytes();
            Ok::<_, anyhow::Error>((status, serde_json::from_slice(&body).unwrap_or_default()))
        };
        tokio::time::timeout(PATIENCE, exchange).await.context("an answer")?
    }
}

/// One request over a connection of its own.
pub async fn post(tls: &TlsClient, port: u16, path: &str, body: String) -> Result<(u16, Value)> {
    Connection::open(tls, port).await?.post(path, body.into()).await
}

/// A review of the creation of a pod in a namespace.
#[must_use]
pub fn review(namespace: &str, pod: &str) -> String {
    let resource = json!({"group": "", "version": "v1", "resource": "pods"});
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    let review = json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "kind": kind, "resource": resource,
            "requestKind": kind, "requestResource": resource, "namespace": namespace, "operation": "CREATE",
            "object": "POD",
        },
    });
    // As text: a pod of millions of containers is slow to build as a value.
    review.to_string().replacen("\"POD\"", pod, 1)
}

/// Sends this and then nothing, and keeps the connection until it is dropped or closed by the other side.
pub async fn begin(port: u16, bytes: &[u8]) -> Result<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    // Whoever is sent too much may close early: that is an answer, too.
    let sent = tokio::time::timeout(Duration::from_secs(5), stream.write_all(bytes)).await;
    drop(sent);
    Ok(stream)
}

/// Somewhat less than the most that an HTTP server buffers of a head unless it is told otherwise, and no end to it.
#[must_use]
pub fn endless_head() -> Vec<u8> {
    [b"GET / HTTP/1.1\r\nhost: a\r\nx: ".as_slice(), &vec![b'x'; 390_000]].concat()
}

/// A pod as text that names a Bundle: so many containers, all the same, and one annotation more.
#[must_use]
pub fn pod_text(bundle: &str, container: &str, containers: usize, annotation: (&str, &str)) -> String {
    let (key, value) = annotation;
    let annotations = json!({"inject.rootcast.dev/bundle": bundle, key: value});
    let containers = vec![container; containers].join(",");
    format!(r#"{{"metadata":{{"name":"p","annotations":{annotations}}},"spec":{{"containers":[{containers}]}}}}"#)
}

/// So many names, none of which is `b`, and that one as the last.
#[must_use]
pub fn names(count: usize) -> String {
    "a,".repeat(count) + "b"
}

/// A ConfigMap of about 0.7 MB with 50,000 empty keys, which no other number has; labelled as a target of a Bundle that
/// there is not, or not.
#[must_use]
pub fn many_keys(number: usize, labelled: bool) -> Value {
    let data: BTreeMap<_, _> = (0..50_000).map(|key| (format!("{number}.{key}"), "")).collect();
    let labels = if labelled { json!({BUNDLE_LABEL: "x"}) } else { json!({}) };
    json!({"metadata": {"name": format!("large-{number}"), "labels": labels}, "data": data})
}
