//! A validating webhook that denies whatever it is asked about, as a policy engine in trouble does.

use std::convert::Infallible;

use anyhow::Result;
use bytes::Bytes;
use http::{Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::{ControlPlane, background::Background, proxy::server_tls};

/// A running webhook. Dropping it closes every connection; its configuration stays.
pub struct DenyingWebhook {
    server: Background,
    authority: String,
}

/// What it answers.
#[derive(Clone, Copy, Debug)]
pub struct Denial {
    /// The HTTP status.
    pub code: u16,
    /// After how many seconds to ask again, where it says so.
    pub retry_after: Option<u32>,
}

impl DenyingWebhook {
    /// Starts one that answers so.
    ///
    /// # Errors
    /// When there is no port, no thread or no certificate.
    pub fn start(control_plane: &ControlPlane, denial: Denial) -> Result<Self> {
        let tls = server_tls(&control_plane.pki.server("denying-webhook", &["localhost"])?)?;
        let authority = std::fs::read_to_string(control_plane.pki.authority_file())?;
        let server = Background::start("denying webhook", move |listener| serve(listener, tls, denial))?;
        Ok(Self { server, authority })
    }

    /// The configuration by which the API server asks it about every write of a ConfigMap in a namespace.
    #[must_use]
    pub fn configuration(&self, name: &str, namespace: &str) -> Value {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [{
                "name": format!("{name}.example.com"),
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "rules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
                    "operations": ["CREATE", "UPDATE"],
                }],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "clientConfig": {
                    "url": format!("https://localhost:{}/", self.server.port()),
                    "caBundle": ByteString(self.authority.clone().into_bytes()),
                },
            }],
        })
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, denial: Denial) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let tls = tls.clone();
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = service_fn(|request| deny(request, denial));
            // The API server ends connections in any way.
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn deny(request: http::Request<Incoming>, denial: Denial) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut status = json!({"code": denial.code, "message": "not now"});
    if let Some(seconds) = denial.retry_after {
        status["details"] = json!({"retryAfterSeconds": seconds});
    }
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {"uid": review["request"]["uid"], "allowed": false, "status": status},
    });
    let mut response = Response::new(Full::new(answer.to_string().into()));
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    Ok(response)
}
