//! Reviews as the API server sends them: over kept connections, HTTP/1.1 in TLS.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rootcast_e2e::TlsClient;
use serde_json::{Value, json};

use crate::numbers::{float, seconds};

/// Bytes of a pod.
const POD: usize = 4096;

/// How long it is measured, and how long it is not before that.
const TIME: Duration = Duration::from_secs(3);
const WARM_UP: Duration = Duration::from_millis(500);

/// A review of a pod with three containers that names a Bundle.
pub(crate) fn review(bundle: &str) -> Bytes {
    let container = |name: &str| json!({"name": name, "image": "registry.example.com/team/app:1.2.3", "env": []});
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": "app-7c5ddbdf54-", "labels": {"app": "app", "pod-template-hash": "7c5ddbdf54"},
            "annotations": {"inject.rootcast.dev/bundle": bundle},
        },
        "spec": {
            "containers": [container("app"), container("proxy"), container("logs")],
            "serviceAccountName": "default", "restartPolicy": "Always", "terminationGracePeriodSeconds": 30,
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    });
    for number in 0.. {
        if pod.to_string().len() >= POD {
            break;
        }
        let variable = json!({"name": format!("SETTING_{number}"), "value": format!("value-{number}")});
        let variables = &mut pod["spec"]["containers"][number % 3]["env"];
        variables.as_array_mut().expect("a container has variables").push(variable);
    }
    let resource = json!({"group": "", "version": "v1", "resource": "pods"});
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    let review = json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "kind": kind, "resource": resource,
            "requestKind": kind, "requestResource": resource, "namespace": "default", "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
            "object": pod, "oldObject": null, "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    });
    review.to_string().into()
}

/// One who asks one server.
pub(crate) struct Asker<'a> {
    pub(crate) tls: &'a TlsClient,
    pub(crate) port: u16,
    pub(crate) path: &'static str,
    pub(crate) review: Bytes,
}

impl Asker<'_> {
    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = self.tls.connect(self.port).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// One review; the answer.
    async fn ask(&self, connection: &mut SendRequest<Full<Bytes>>) -> Result<Bytes> {
        let request = Request::post(self.path)
            .header("Host", "localhost")
            .header("Content-Type", "application/json")
            .body(Full::new(self.review.clone()))?;
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&body));
        Ok(body)
    }

    /// Fails unless pods are injected.
    pub(crate) async fn check(&self) -> Result<()> {
        let answer = self.ask(&mut self.connect().await?).await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        ensure!(answer["response"]["patch"].is_string(), "no patch: {answer}");
        Ok(())
    }

    /// Reviews a second over so many connections, each of which has one under way.
    pub(crate) async fn rate(&self, connections: usize) -> Result<f64> {
        let counts = (0..connections).map(async |_| Ok::<_, anyhow::Error>(self.times().await?.len()));
        let total: usize = try_join_all(counts).await?.into_iter().sum();
        Ok(float(total) / seconds(TIME))
    }

    /// How long reviews take over one connection, the shortest first.
    pub(crate) async fn latencies(&self) -> Result<Vec<Duration>> {
        let mut times = self.times().await?;
        times.sort();
        Ok(times)
    }

    async fn times(&self) -> Result<Vec<Duration>> {
        let mut connection = self.connect().await?;
        let begins = Instant::now() + WARM_UP;
        let mut times = Vec::new();
        loop {
            let asked = Instant::now();
            self.ask(&mut connection).await.context("a review")?;
            let now = Instant::now();
            if now >= begins + TIME {
                return Ok(times);
            }
            if now >= begins {
                times.push(now - asked);
            }
        }
    }
}
