//! Requests straight to a port of the product's, without credentials.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rootcast_e2e::TlsClient;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

/// How long an attacker waits for an answer.
const PATIENCE: Duration = Duration::from_mins(1);

/// A kept connection to a webhook port.
pub(crate) struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    pub(crate) async fn open(tls: &TlsClient, port: u16) -> Result<Self> {
        let (sender, connection) = http1::handshake(TokioIo::new(tls.connect(port).await?)).await?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// The status and, where it is JSON, the body of an answer.
    pub(crate) async fn post(&mut self, path: &str, body: Bytes) -> Result<(u16, Value)> {
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
pub(crate) async fn post(tls: &TlsClient, port: u16, path: &str, body: String) -> Result<(u16, Value)> {
    Connection::open(tls, port).await?.post(path, body.into()).await
}

/// A review of the creation of a pod in a namespace.
pub(crate) fn review(namespace: &str, pod: &str) -> String {
    let resource = json!({"group": "", "version": "v1", "resource": "pods"});
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    let mut review = json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "kind": kind, "resource": resource,
            "requestKind": kind, "requestResource": resource, "namespace": namespace, "operation": "CREATE",
            "object": "POD",
        },
    })
    .to_string();
    // As text: a pod of millions of containers is slow to build as a value.
    let at = review.find("\"POD\"").expect("it was written above");
    review.replace_range(at..at + "\"POD\"".len(), pod);
    review
}

/// Sends this and then nothing, and keeps the connection until it is dropped or closed by the other side.
pub(crate) async fn begin(port: u16, bytes: &[u8]) -> Result<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    // Whoever is sent too much may close early: that is an answer, too.
    let sent = tokio::time::timeout(Duration::from_secs(5), stream.write_all(bytes)).await;
    drop(sent);
    Ok(stream)
}
