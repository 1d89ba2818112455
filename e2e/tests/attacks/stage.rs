//! One control plane for all attacks, and for each of them a controller and an injector of its own, confined.

use std::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context as _, Result, ensure};
use http::Method;
use http_body_util::BodyExt as _;
use k8s_openapi::api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::ConfigMap};
use kube::{Api, Client, client::Body};
use rootcast::api::{Bundle, SYNCED};
use rootcast_e2e::{
    Balancer, ControlPlane, Controller, Injector, Launch, TlsClient, eventually,
    scenario::{SOON, apply, bundle, certificate},
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// The namespace of the tenant who attacks, and the tenant.
pub(crate) const TENANT: &str = "team-a";
const MALLORY: &str = "mallory";

/// Who may write Bundles, and nothing else.
const AUTHOR: &str = "bob";

/// The namespace of a tenant who does not.
pub(crate) const NEIGHBOUR: &str = "team-b";

/// A Bundle for every namespace, and its key.
pub(crate) const BUNDLE: &str = "corporate";
pub(crate) const KEY: &str = "ca.pem";

/// The host name that the API server asks the injector for.
const HOST: &str = "rootcast-injector.cert-manager.svc";

/// A control plane with the product installed, Bundle and people.
pub(crate) struct Stage {
    pub(crate) control_plane: ControlPlane,
    balancer: Balancer,
    namespaces: AtomicUsize,
}

/// The product at work on a stage.
pub(crate) struct Site<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) controller: Controller<'a>,
    pub(crate) injector: Injector<'a>,
    /// The administrator's.
    pub(crate) client: Client,
    args: Vec<String>,
    pods: Cell<usize>,
}

impl Stage {
    /// The stage that most attacks share.
    pub(crate) async fn shared() -> &'static Self {
        static STAGE: OnceCell<Stage> = OnceCell::const_new();
        STAGE.get_or_try_init(Self::set).await.unwrap_or_else(|error| panic!("setting the stage: {error:#}"))
    }

    /// A stage of its own, for what is not easily taken away again.
    pub(crate) async fn set() -> Result<Self> {
        let control_plane = ControlPlane::start().await?;
        control_plane.install().await?;
        let balancer = Balancer::start()?;
        control_plane.install_injector(&balancer, &[])?;
        control_plane.kubectl_ok(&["apply", "--server-side", "-f", "-"], RIGHTS)?;
        let spec = format!("{{sources: [{{inLine: {:?}}}], target: {{configMap: {{key: {KEY}}}}}}}", certificate("ec"));
        apply(&control_plane.client(), &bundle(BUNDLE, &spec)).await?;
        Ok(Self { control_plane, balancer, namespaces: AtomicUsize::new(0) })
    }

    /// As the tenant.
    pub(crate) fn mallory(&self) -> Client {
        self.control_plane.client_as(MALLORY, &["system:authenticated"])
    }

    /// As the author of Bundles.
    pub(crate) fn author(&self) -> Client {
        self.control_plane.client_as(AUTHOR, &["system:authenticated"])
    }

    /// The product at work, with further flags of the controller.
    pub(crate) async fn site(&self, args: &[&str]) -> Result<Site<'_>> {
        let injector = self.injector().await?;
        let controller = self.controller(args).await?;
        let client = self.control_plane.client();
        let args = args.iter().map(ToString::to_string).collect();
        let site = Site { stage: self, controller, injector, client, args, pods: Cell::new(0) };
        eventually("pods are injected", SOON, async || site.injects().await).await;
        site.serves().await;
        Ok(site)
    }

    async fn controller(&self, args: &[&str]) -> Result<Controller<'_>> {
        let launch = Launch { args, confined: true, ..Launch::default() };
        Controller::start_with(&self.control_plane, launch).await
    }

    async fn injector(&self) -> Result<Injector<'_>> {
        let launch = Launch { confined: true, ..Launch::default() };
        Injector::start_with(&self.control_plane, &self.balancer, launch).await
    }

    /// Connects to the injector's port as anybody can who reaches it.
    pub(crate) async fn tls(&self) -> Result<TlsClient> {
        let all = Api::<MutatingWebhookConfiguration>::all(self.control_plane.client());
        let webhooks = all.get("rootcast-injector").await?.webhooks.unwrap_or_default();
        let bundle = webhooks.into_iter().find_map(|webhook| webhook.client_config.ca_bundle);
        let bundle = bundle.context("the injector has told whom to trust")?;
        TlsClient::new(std::str::from_utf8(&bundle.0)?, HOST)
    }
}

impl Site<'_> {
    /// Both are alive, a new namespace gets its target, and a neighbour's pod is injected.
    pub(crate) async fn lives(&mut self) -> Result<()> {
        self.controller.is_alive()?;
        self.injector.is_alive()?;
        self.serves().await;
        eventually("a neighbour's pod is injected", SOON, async || self.injects().await).await;
        self.controller.is_alive()?;
        self.injector.is_alive()
    }

    /// While this goes on new namespaces get their targets and each pod of a neighbour's is injected; after it, too.
    pub(crate) async fn lives_during<T>(&mut self, attack: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::pin!(attack);
        let bystanders = async {
            loop {
                self.serves().await;
                self.injects().await.context("a neighbour's pod during the attack")?;
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        };
        let outcome = tokio::select! {
            outcome = &mut attack => outcome,
            trouble = bystanders => trouble,
        };
        // What the kernel did explains what is seen.
        self.controller.is_alive()?;
        self.injector.is_alive()?;
        let outcome = outcome?;
        self.lives().await?;
        Ok(outcome)
    }

    /// Both end and start again beside what is there now.
    pub(crate) async fn restarts(self) -> Result<Self> {
        let Self { stage, controller, injector, client, args, pods } = self;
        controller.stop().await?;
        injector.stop().await?;
        let injector = stage.injector().await?;
        let controller = stage.controller(&args.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        Ok(Self { stage, controller, injector, client, args, pods })
    }

    /// Ends both, and says what they used.
    pub(crate) async fn end(self, what: &str) -> Result<()> {
        let mebibytes = |bytes: u64| bytes >> 20;
        let (controller, injector) = (self.controller.peak_of_cgroup()?, self.injector.peak_of_cgroup()?);
        println!("{what}: at most {} MiB (controller), {} MiB (injector)", mebibytes(controller), mebibytes(injector));
        self.controller.stop().await?;
        self.injector.stop().await?;
        Ok(())
    }

    /// A new namespace gets its target.
    pub(crate) async fn serves(&self) {
        let number = self.stage.namespaces.fetch_add(1, Ordering::Relaxed);
        let name = format!("new-{number}");
        if let Err(error) = self.stage.control_plane.namespace(&name, &[]).await {
            panic!("{error:#}");
        }
        self.target_becomes_right(&name).await;
    }

    /// The target of [`BUNDLE`] in a namespace holds what the Bundle says.
    pub(crate) async fn target_becomes_right(&self, namespace: &str) {
        let targets = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
        eventually(&format!("the target in {namespace} is right"), SOON, async || {
            let target = targets.get(BUNDLE).await?;
            let held = target.data.as_ref().and_then(|data| data.get(KEY)).map(|held| held.trim());
            ensure!(held == Some(certificate("ec").trim()), "{target:?}");
            Ok(())
        })
        .await;
    }

    /// A pod of a neighbour's is injected.
    pub(crate) async fn injects(&self) -> Result<()> {
        let number = self.pods.replace(self.pods.get() + 1);
        let pod = pod(&format!("neighbour-{number}"), &json!([{"name": "app", "image": "busybox"}]));
        let answer = send(&self.client, Method::POST, &dry_pods(NEIGHBOUR), &pod).await?;
        ensure!(answer.code < 300 && is_injected(&answer.body), "it is not: {answer:#?}");
        Ok(())
    }

    /// The condition `Synced` of a Bundle: its status and message, once it is about the present spec.
    pub(crate) async fn synced(&self, bundle: &str) -> Result<(String, String)> {
        let bundle = Api::<Bundle>::all(self.client.clone()).get(bundle).await?;
        let mut conditions = bundle.status.into_iter().flat_map(|status| status.conditions.unwrap_or_default());
        let found = conditions.find(|condition| condition.type_ == SYNCED).context("no condition yet")?;
        ensure!(found.observed_generation == bundle.metadata.generation, "of an earlier spec");
        Ok((found.status, found.message))
    }
}

/// A pod that names [`BUNDLE`], with these containers.
pub(crate) fn pod(name: &str, containers: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "annotations": {"inject.rootcast.dev/bundle": BUNDLE}},
        "spec": {"containers": containers},
    })
}

/// The path at which pods are created without being kept.
pub(crate) fn dry_pods(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods?dryRun=All")
}

/// Whether each container of a pod mounts the volume of [`BUNDLE`].
pub(crate) fn is_injected(pod: &Value) -> bool {
    let volume = format!("rootcast-{BUNDLE}");
    let has = |list: &Value| list.as_array().is_some_and(|list| list.iter().any(|one| one["name"] == *volume));
    let containers = pod["spec"]["containers"].as_array();
    has(&pod["spec"]["volumes"])
        && containers.is_some_and(|all| all.iter().all(|container| has(&container["volumeMounts"])))
}

/// What the API server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
}

/// A request with a body; JSON but for patches, which are merge patches.
pub(crate) async fn send(client: &Client, method: Method, path: &str, body: &Value) -> Result<Answer> {
    let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("Content-Type", kind)
        .body(Body::from(body.to_string().into_bytes()))?;
    let response = client.send(request).await.with_context(|| format!("asking for {path}"))?;
    let code = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    // What the API server says before it knows what is asked for is plain text.
    let body = serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into());
    Ok(Answer { code, body })
}

/// [`send`], where anything but success is an error.
pub(crate) async fn send_ok(client: &Client, method: Method, path: &str, body: &Value) -> Result<Value> {
    let answer = send(client, method, path, body).await?;
    ensure!(answer.code < 300, "{path}: {answer:#?}");
    Ok(answer.body)
}

/// What the tenant may do in its namespace is what the role `edit` gives there, as far as it matters here.
const RIGHTS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: team-a}
---
apiVersion: v1
kind: Namespace
metadata: {name: team-b}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: edit, namespace: team-a}
rules: [{apiGroups: [""], resources: [pods, pods/ephemeralcontainers, configmaps, secrets, services], verbs: ["*"]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: edit, namespace: team-a}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: edit}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: mallory}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: author-of-bundles}
rules: [{apiGroups: [trust.cert-manager.io], resources: [bundles], verbs: ["*"]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: author-of-bundles}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: author-of-bundles}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: bob}]
"#;
