//! What most scenarios share: one control plane, the injector as it is shipped with two replicas, some Bundles. No
//! controller runs: that pods are to mount something does not depend on its being there.

use anyhow::{Context as _, Result, ensure};
use kube::Client;
use rootcast_e2e::{
    Balancer, ControlPlane, INJECTOR_IDENTITY, Injector, Mark, Samples, WebhookCall, eventually, http_get,
    scenario::{SOON, apply, bundle, certificate},
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::pods::{Answer, calls, create, pod, pods, send, trusts};

/// Names a Bundle.
pub(crate) const BUNDLE: &str = "inject.rootcast.dev/bundle";
/// Leaves a pod alone.
pub(crate) const SKIP: (&str, &str) = ("inject.rootcast.dev/skip", "true");
/// Refuses a pod rather than to start it without.
pub(crate) const REQUIRED: (&str, &str) = ("inject.rootcast.dev/required", "true");

/// The entries of the shipped webhook configuration.
pub(crate) const BY_ANNOTATION: &str = "annotation.inject.rootcast.dev";
pub(crate) const BY_NAMESPACE: &str = "namespace.inject.rootcast.dev";
pub(crate) const BY_REQUIREMENT: &str = "required.inject.rootcast.dev";

/// The key of the PEM in every Bundle here.
pub(crate) const KEY: &str = "ca-bundle.crt";

/// Bundles, with the rest of their specs in YAML.
const BUNDLES: &[(&str, &str)] = &[
    ("corporate", "target: {configMap: {key: ca-bundle.crt}}"),
    ("other", "target: {configMap: {key: ca-bundle.crt}}"),
    ("jvm", "target: {configMap: {key: ca-bundle.crt}, additionalFormats: {jks: {key: trust.jks}}}"),
    ("secretive", "target: {secret: {key: ca-bundle.crt}}"),
    ("payments-only", "target: {configMap: {key: ca-bundle.crt}, namespaceSelector: {matchLabels: {team: payments}}}"),
    ("aimless", ""),
    ("coredns", "target: {configMap: {key: ca-bundle.crt}}"),
    ("istio-ca-root-cert", "target: {configMap: {key: ca-bundle.crt}}"),
];

/// Creates the Bundles of all scenarios.
pub(crate) async fn create_bundles(client: &Client) -> Result<()> {
    for (name, rest) in BUNDLES {
        let spec = format!("sources: [{{inLine: {}}}]\n{rest}", json!(certificate("ec")));
        apply(client, &bundle(name, &spec)).await?;
    }
    Ok(())
}

/// Waits until the API server asks about annotated pods, and is answered.
pub(crate) async fn in_effect(client: &Client, namespace: &str) {
    eventually("the injector is asked", SOON, async || {
        let path = format!("{}?dryRun=All", pods(namespace));
        let created = create(client, &path, &pod("probe", &[(BUNDLE, "corporate")])).await?.object()?;
        ensure!(trusts(&created).is_in_part(), "it is not injected");
        Ok(())
    })
    .await;
}

/// The shared control plane and who runs on it.
pub(crate) struct Stage {
    pub(crate) control_plane: &'static ControlPlane,
    replicas: [Injector<'static>; 2],
    _balancer: Balancer,
    /// As it was when the injector had got to be asked.
    metrics: Samples,
}

/// One scenario's view of the stage.
pub(crate) struct Play {
    pub(crate) stage: &'static Stage,
    pub(crate) client: Client,
    /// Its own namespace.
    pub(crate) namespace: &'static str,
    began: Mark,
}

impl Stage {
    /// The stage, set up by the first that asks.
    async fn shared() -> &'static Self {
        static STAGE: OnceCell<Stage> = OnceCell::const_new();
        let start = async || {
            let control_plane = ControlPlane::shared_given().await;
            control_plane.install().await?;
            let client = control_plane.client();
            create_bundles(&client).await?;
            let balancer = Balancer::start()?;
            control_plane.install_injector(&balancer, &[])?;
            let flags = ["--secret-targets-enabled=true", "--allow-names=istio-ca-root-cert"];
            let start = || Injector::start(control_plane, &balancer, &flags);
            let (one, other) = tokio::try_join!(start(), start())?;
            in_effect(&client, "default").await;
            let metrics = control_plane.metrics().await?;
            Ok::<_, anyhow::Error>(Self { control_plane, replicas: [one, other], _balancer: balancer, metrics })
        };
        STAGE.get_or_try_init(start).await.unwrap_or_else(|error| panic!("setting the stage: {error:#}"))
    }
}

impl Play {
    /// Begins a scenario in a new namespace with these labels.
    pub(crate) async fn begin(namespace: &'static str, labels: &[(&str, &str)]) -> Result<Self> {
        let stage = Stage::shared().await;
        stage.control_plane.namespace(namespace, labels).await?;
        let began = stage.control_plane.audit().mark().await?;
        Ok(Self { stage, client: stage.control_plane.client(), namespace, began })
    }

    /// Creates a pod.
    pub(crate) async fn create(&self, pod: &Value) -> Result<Answer> {
        create(&self.client, &pods(self.namespace), pod).await
    }

    /// What a pod is now.
    pub(crate) async fn read(&self, name: &str) -> Result<Value> {
        let request = http::Request::get(format!("{}/{name}", pods(self.namespace))).body(Vec::new())?;
        self.client.request(request).await.with_context(|| format!("reading pod {name}"))
    }

    /// Adds an ephemeral container, as `kubectl debug` does.
    pub(crate) async fn debug(&self, pod: &str, container: &str) -> Result<Answer> {
        let path = format!("{}/{pod}/ephemeralcontainers", pods(self.namespace));
        let guest = json!({"spec": {"ephemeralContainers": [{"name": container, "image": "busybox"}]}});
        send(&self.client, http::Method::PATCH, &path, "application/strategic-merge-patch+json", &guest).await
    }

    /// Checks that these webhooks were called for the one request with this verb for a pod of this scenario. What an
    /// existing cluster calls is not known.
    pub(crate) async fn called(&self, verb: &str, pod: &str, expected: &[WebhookCall]) -> Result<()> {
        if !cfg!(existing_cluster) {
            let calls = calls(self.stage.control_plane, self.began, verb, (self.namespace, pod)).await?;
            assert_eq!(calls, expected, "{pod}");
        }
        Ok(())
    }

    /// What must hold whatever was played: nothing was denied, no call failed, both replicas take part.
    pub(crate) async fn end(self) -> Result<()> {
        let Stage { control_plane, replicas, metrics: before, .. } = self.stage;
        assert_eq!(control_plane.audit().denied(INJECTOR_IDENTITY, Mark::default()).await?, []);
        let metrics = control_plane.metrics().await?;
        for name in [
            "apiserver_admission_webhook_fail_open_count",
            "apiserver_admission_match_condition_evaluation_errors_total",
        ] {
            let count = metrics.sum(name, &[]) - before.sum(name, &[]);
            ensure!(count.abs() < 0.5, "{name} has grown by {count}");
        }
        for replica in replicas {
            assert_eq!(http_get(replica.probe_port(), "/readyz").await?.status, 200);
        }
        Ok(())
    }
}
