//! Pods of scenarios, and what the API server says to them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use http_body_util::BodyExt as _;
use kube::{Client, client::Body};
use rootcast_e2e::{CallOutcome, ControlPlane, Entry, Mark, WebhookCall};
use serde_json::{Value, json};

use crate::stage::KEY;

/// Annotations of a pod.
pub(crate) type Annotations<'a> = &'a [(&'a str, &'a str)];

/// The path of pods of a namespace.
pub(crate) fn pods(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

/// A pod with one container, `app`. As most are, it is sent without its namespace, which the path says.
pub(crate) fn pod(name: &str, annotations: Annotations<'_>) -> Value {
    let annotations: serde_json::Map<_, _> =
        annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"containers": [{"name": "app", "image": "busybox"}]},
    })
}

/// What the API server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) warnings: Vec<String>,
    /// The object, or a Status.
    pub(crate) body: Value,
}

impl Answer {
    /// The object, where that is what was answered.
    pub(crate) fn object(self) -> Result<Value> {
        ensure!(self.code < 300, "refused: {self:#?}");
        Ok(self.body)
    }

    /// Why it was refused.
    pub(crate) fn refusal(&self) -> Result<&str> {
        ensure!(self.code >= 400, "not refused: {self:#?}");
        self.body["message"].as_str().context("a Status has a message")
    }
}

/// Creates an object as the administrator.
pub(crate) async fn create(client: &Client, path: &str, object: &Value) -> Result<Answer> {
    send(client, http::Method::POST, path, "application/json", object).await
}

/// Any request with a body.
pub(crate) async fn send(
    client: &Client,
    method: http::Method,
    path: &str,
    content_type: &str,
    body: &Value,
) -> Result<Answer> {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("Content-Type", content_type)
        .body(Body::from(body.to_string().into_bytes()))?;
    let response = client.send(request).await.with_context(|| format!("asking for {path}"))?;
    let code = response.status().as_u16();
    let warnings = response.headers().get_all("Warning").iter().map(|value| warning(value.as_bytes())).collect();
    let body = response.into_body().collect().await?.to_bytes();
    Ok(Answer { code, warnings, body: serde_json::from_slice(&body).context("an answer in JSON")? })
}

/// The text of a warning, which comes as `299 - "text"` with backslashes before quotes.
fn warning(header: &[u8]) -> String {
    let text = String::from_utf8_lossy(header);
    let text = text.strip_prefix("299 - \"").and_then(|rest| rest.strip_suffix('"')).unwrap_or(&text);
    text.replace("\\\"", "\"").replace("\\\\", "\\")
}

/// The webhooks that were called for the one request with this verb for this pod (namespace and name) since then.
pub(crate) async fn calls(
    control_plane: &ControlPlane,
    since: Mark,
    verb: &str,
    (namespace, name): (&str, &str),
) -> Result<Vec<WebhookCall>> {
    let entries = control_plane.audit().since(since).await?;
    let is_it = |entry: &Entry| {
        (entry.resource.as_str(), entry.verb.as_str()) == ("pods", verb)
            && (entry.namespace.as_str(), entry.name.as_str()) == (namespace, name)
    };
    let mut requests = entries.into_iter().filter(is_it);
    let request = requests.next().with_context(|| format!("there was no {verb} of pod {namespace}/{name}"))?;
    ensure!(requests.next().is_none(), "there was more than one {verb} of {namespace}/{name}");
    Ok(request.webhooks)
}

/// A first call of an entry.
pub(crate) fn call(webhook: &str, outcome: CallOutcome) -> WebhookCall {
    WebhookCall { webhook: webhook.to_owned(), again: false, outcome }
}

/// What a pod has below `/etc/rootcast`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trust {
    /// Volumes of the injector's, as they are in the pod.
    pub(crate) volumes: Vec<Value>,
    /// For each container the mounts of these volumes and the variables that point there, as `name=value`.
    pub(crate) containers: BTreeMap<String, (Vec<Value>, Vec<String>)>,
}

impl Trust {
    /// Whether there is anything of it.
    pub(crate) fn is_in_part(&self) -> bool {
        !self.volumes.is_empty()
            || self.containers.values().any(|(mounts, variables)| !mounts.is_empty() || !variables.is_empty())
    }
}

/// Reads it off a pod.
pub(crate) fn trusts(pod: &Value) -> Trust {
    let items = |at: &Value| at.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut volumes = items(&pod["spec"]["volumes"]);
    volumes.retain(|volume| text(&volume["name"]).starts_with("rootcast-"));
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    let containers = lists.iter().flat_map(|list| items(&pod["spec"][list]));
    let containers = containers.map(|container| {
        let mut mounts = items(&container["volumeMounts"]);
        mounts.retain(|mount| text(&mount["mountPath"]).starts_with("/etc/rootcast"));
        let variables = items(&container["env"]);
        let variables = variables.iter().filter(|variable| text(&variable["value"]).contains("/etc/rootcast/"));
        let variables = variables.map(|variable| format!("{}={}", text(&variable["name"]), text(&variable["value"])));
        (text(&container["name"]), (mounts, variables.collect()))
    });
    Trust { volumes, containers: containers.collect() }
}

/// The variables that point at the PEM, where nobody chose.
const VARIABLES: [&str; 8] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "DENO_CERT",
    "CARGO_HTTP_CAINFO",
];

/// The trust of a pod whose containers of these names have all of a Bundle's ConfigMap with the PEM in
/// [`crate::stage::KEY`], and whose others have nothing.
pub(crate) fn trust(bundle: &str, with: &[&str], without: &[&str]) -> Trust {
    let volume = format!("rootcast-{bundle}");
    let folder = format!("/etc/rootcast/{bundle}");
    let mount = json!({"name": volume, "mountPath": folder, "readOnly": true});
    let variables: Vec<_> = VARIABLES.iter().map(|name| format!("{name}={folder}/{KEY}")).collect();
    let with = with.iter().map(|name| ((*name).to_owned(), (vec![mount.clone()], variables.clone())));
    let without = without.iter().map(|name| ((*name).to_owned(), Default::default()));
    Trust {
        // 0644 is what the API server makes of a mode that is not said.
        volumes: vec![json!({"name": volume, "configMap": {"name": bundle, "defaultMode": 0o644}})],
        containers: with.chain(without).collect(),
    }
}
