//! A controller in trust-manager's place: its Service and its webhook configuration lead to it.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context as _, Result};
use rootcast_e2e::{Balancer, ControlPlane, Controller, ServingCertificate, Volume};
use serde_json::{Value, json};

/// The host name that the API server asks for.
pub(crate) const HOST: &str = "trust-manager.cert-manager.svc";

/// The path at which it asks.
pub(crate) const PATH: &str = "/validate-trust-cert-manager-io-v1alpha1-bundle";

/// Where a controller serves, and its files.
pub(crate) struct Place {
    pub(crate) port: u16,
    pub(crate) certificate: ServingCertificate,
    pub(crate) volume: Volume,
}

impl Place {
    /// A port that nobody has, and a folder without files.
    pub(crate) fn new(control_plane: &ControlPlane) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let (certificate, volume) = (control_plane.serving_certificate(HOST)?, Volume::new(control_plane)?);
        Ok(Self { port, certificate, volume })
    }

    /// Starts a controller with the flags of trust-manager's Deployment.
    pub(crate) async fn controller<'a>(&self, control_plane: &'a ControlPlane) -> Result<Controller<'a>> {
        let folder = format!("--webhook-certificate-dir={}", self.volume.path().display());
        let port = format!("--webhook-port={}", self.port);
        Controller::start(control_plane, &["--webhook-host=0.0.0.0", &port, &folder]).await
    }

    /// The certificate is in the folder from now on.
    pub(crate) fn show(&mut self) -> Result<()> {
        let ServingCertificate { certificate, key, authority } = &self.certificate;
        self.volume.show(&[("ca.crt", authority), ("tls.crt", certificate), ("tls.key", key)])
    }

    /// What trust-manager's chart installs for its webhook; here it also asks about subresources.
    pub(crate) fn install(&self, control_plane: &ControlPlane) -> Result<()> {
        let webhooks = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "trust-manager"},
            "webhooks": [{
                "name": "trust.cert-manager.io",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "timeoutSeconds": 5,
                "rules": [{
                    "apiGroups": ["trust.cert-manager.io"], "apiVersions": ["*"], "resources": ["*/*"],
                    "operations": ["CREATE", "UPDATE"],
                }],
                "clientConfig": {
                    "caBundle": k8s_openapi::ByteString(self.certificate.authority.clone().into_bytes()),
                    "service": {"name": "trust-manager", "namespace": "cert-manager", "path": PATH, "port": self.port},
                },
            }],
        });
        let service = Balancer::service(Ipv4Addr::LOCALHOST, "cert-manager", "trust-manager");
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [service, webhooks]});
        control_plane.kubectl_ok(&["apply", "--server-side", "-f", "-"], &list.to_string()).map(drop)
    }
}

/// A review of a Bundle with these sources.
pub(crate) fn review(sources: &Value) -> String {
    let kind = json!({"group": "trust.cert-manager.io", "version": "v1alpha1", "kind": "Bundle"});
    let object = json!({"metadata": {"name": "b"}, "spec": {"sources": sources}});
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "u", "kind": kind, "operation": "CREATE", "object": object},
    })
    .to_string()
}

/// The answer to a request over a connection that is kept.
pub(crate) async fn ask(
    stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin),
    body: &str,
) -> Result<Value> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + body).as_bytes()).await?;
    let mut read = Vec::new();
    loop {
        anyhow::ensure!(stream.read_buf(&mut read).await? > 0, "the connection was closed");
        let text = std::str::from_utf8(&read)?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() == length.context("no length")?.parse::<usize>()? {
            anyhow::ensure!(head.starts_with("HTTP/1.1 200 "), "{text}");
            return Ok(serde_json::from_str(body)?);
        }
    }
}
