//! The injector's certificate on a real API server: replicas make it, announce it, renew it and heal it together, and at
//! no moment does anybody serve what the webhook configuration does not vouch for.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Secret};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use rootcast::{
    client::{ServingSettings, maintain_serving_cert},
    serving_cert::Generation,
};
use rootcast_e2e::{ControlPlane, Mark, eventually};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_rustls::rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};

const SOON: Duration = Duration::from_secs(30);

const SECRET: &str = "rootcast-injector-tls";
const SERVICE: &str = "rootcast-injector";

/// Entries that name our Service, and one that does not.
const OURS: [&str; 2] = ["a.inject.rootcast.dev", "b.inject.rootcast.dev"];
const FOREIGN: &str = "c.example.com";

/// A namespace, a webhook configuration and an identity that may do no more than an injector must.
struct Stage {
    control_plane: &'static ControlPlane,
    name: &'static str,
    began: Mark,
    secrets: Api<Secret>,
    configurations: Api<MutatingWebhookConfiguration>,
}

/// One injector, as far as its certificate goes.
struct Replica {
    served: Arc<Mutex<Option<Generation>>>,
    task: JoinHandle<()>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Replica {
    fn served(&self) -> Option<Generation> {
        self.served.lock().expect("nobody panics with it").clone()
    }
}

impl Stage {
    async fn set(name: &'static str) -> Result<Self> {
        let control_plane = ControlPlane::shared().await;
        let client = control_plane.client();
        control_plane.namespace(name, &[]).await?;
        Ok(Self {
            control_plane,
            name,
            began: control_plane.audit().mark().await?,
            secrets: Api::namespaced(client.clone(), name),
            configurations: Api::all(client),
        })
    }

    fn identity(&self) -> String {
        format!("system:serviceaccount:{}:rootcast-injector", self.name)
    }

    fn apply(&self, object: &Value) -> Result<()> {
        self.control_plane.kubectl_ok(&["apply", "-f", "-"], &object.to_string()).map(drop)
    }

    /// Gives the identity what it needs on the Secret, or on the configuration.
    fn permit(&self, kind: &str, rules: &Value) -> Result<()> {
        let (name, api) = (self.name, "rbac.authorization.k8s.io/v1");
        let subject = json!({ "kind": "User", "name": self.identity(), "apiGroup": "rbac.authorization.k8s.io" });
        let metadata = json!({ "name": name, "namespace": if kind == "Role" { Some(name) } else { None } });
        self.apply(&json!({ "apiVersion": api, "kind": kind, "metadata": metadata, "rules": rules }))?;
        let reference = json!({ "kind": kind, "name": name, "apiGroup": "rbac.authorization.k8s.io" });
        let binding = json!({
            "apiVersion": api, "kind": format!("{kind}Binding"), "metadata": metadata,
            "subjects": [subject], "roleRef": reference,
        });
        self.apply(&binding)
    }

    fn permit_secret(&self) -> Result<()> {
        let named = json!({ "apiGroups": [""], "resources": ["secrets"], "resourceNames": [SECRET],
            "verbs": ["get", "list", "watch", "update"] });
        let create = json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": ["create"] });
        self.permit("Role", &json!([named, create]))
    }

    fn permit_configuration(&self) -> Result<()> {
        let rule = json!({ "apiGroups": ["admissionregistration.k8s.io"], "resources": ["mutatingwebhookconfigurations"],
            "resourceNames": [self.name], "verbs": ["get", "list", "watch", "patch"] });
        self.permit("ClusterRole", &json!([rule]))
    }

    /// Creates the configuration: calls that never happen, since nothing matches.
    fn configure(&self) -> Result<()> {
        let entry = |name: &str, service: &str| {
            json!({
                "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore",
                "clientConfig": { "service": { "namespace": self.name, "name": service, "path": "/inject" } },
                "objectSelector": { "matchLabels": { "nobody": "has-this" } },
                "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"] }],
            })
        };
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": { "name": self.name },
            "webhooks": [entry(OURS[0], SERVICE), entry(FOREIGN, "other"), entry(OURS[1], SERVICE)],
        });
        self.apply(&configuration)
    }

    fn replica(&self, lifetime: Duration) -> Replica {
        let client = self.control_plane.client_as(&self.identity(), &["system:authenticated"]);
        let settings = ServingSettings {
            namespace: self.name.to_owned(),
            secret: SECRET.to_owned(),
            configuration: self.name.to_owned(),
            service: SERVICE.to_owned(),
            lifetime,
        };
        let served: Arc<Mutex<Option<Generation>>> = Arc::default();
        let shown = served.clone();
        let task = tokio::spawn(async move {
            let serve = move |generation: &Generation| {
                *shown.lock().expect("nobody panics with it") = Some(generation.clone());
                Ok(())
            };
            match maintain_serving_cert(&client, settings, serve).await {}
        });
        Replica { served, task }
    }

    /// The `caBundle` of an entry.
    async fn bundle(&self, entry: &str) -> Result<Vec<u8>> {
        let webhooks = self.configurations.get(self.name).await?.webhooks.context("webhooks")?;
        let webhook = webhooks.into_iter().find(|webhook| webhook.name == entry).context("no such entry")?;
        Ok(webhook.client_config.ca_bundle.unwrap_or_default().0)
    }

    async fn set_bundle(&self, entry: &str, bundle: &[u8]) -> Result<()> {
        let bundle = k8s_openapi::ByteString(bundle.to_vec());
        let patch = json!({ "webhooks": [{ "name": entry, "clientConfig": { "caBundle": bundle } }] });
        self.configurations.patch(self.name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
        Ok(())
    }

    /// Whether every replica serves what is in the Secret, and each of our entries vouches for it.
    async fn agreed(&self, served: Vec<Option<Generation>>) -> Result<Generation> {
        let secret = self.secrets.get(SECRET).await?;
        let data = secret.data.context("the Secret has no data")?;
        let value = |key: &str| data.get(key).map(|value| value.0.clone()).unwrap_or_default();
        for served in &served {
            let served = served.as_ref().context("a replica serves nothing")?;
            ensure!(served.certificate_pem().as_bytes() == value("tls.crt"), "a replica serves another certificate");
            verify(self.name, served, &value("ca.crt")).context("ca.crt")?;
            for entry in OURS {
                verify(self.name, served, &self.bundle(entry).await?).context(entry)?;
            }
        }
        served.into_iter().next().flatten().context("nobody serves")
    }

    /// At every moment from now on, whatever a replica serves is vouched for by each entry; until told to end.
    async fn watch(&self, replicas: &Mutex<Vec<Replica>>, end: &Mutex<bool>) -> Result<usize> {
        let served = || -> Vec<_> {
            replicas.lock().expect("nobody panics with it").iter().filter_map(Replica::served).collect()
        };
        let mut checks = 0;
        let mut bundles: Vec<Vec<u8>> = Vec::new();
        while !*end.lock().expect("nobody panics with it") {
            // What was served before and after the configuration was read, and after the one before that.
            let before = served();
            for bundle in &bundles {
                before.iter().try_for_each(|served| verify(self.name, served, bundle)).context("an older caBundle")?;
            }
            bundles = vec![self.bundle(OURS[0]).await?, self.bundle(OURS[1]).await?];
            for served in before.iter().chain(&served()) {
                bundles.iter().try_for_each(|bundle| verify(self.name, served, bundle))?;
                checks += 1;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(checks)
    }

    async fn end(self) -> Result<()> {
        let denied = self.control_plane.audit().denied(&self.identity(), self.began).await?;
        ensure!(denied.is_empty(), "{denied:#?}");
        Ok(())
    }
}

/// What an API server does when it calls us.
fn verify(namespace: &str, served: &Generation, bundle: &[u8]) -> Result<()> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(bundle) {
        roots.add(authority?)?;
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
    let leaf = CertificateDer::from_pem_slice(served.certificate_pem().as_bytes())?;
    let name = ServerName::try_from(format!("{SERVICE}.{namespace}.svc"))?;
    let now = UnixTime::since_unix_epoch(SystemTime::now().duration_since(UNIX_EPOCH)?);
    verifier.verify_server_cert(&leaf, &[], &name, &[], now).with_context(|| format!("{served:?}"))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn five_replicas_renew_and_heal_and_each_is_vouched_for_at_every_moment() -> Result<()> {
    const LIFETIME: Duration = Duration::from_secs(12);
    let stage = Stage::set("keys-five").await?;
    stage.permit_secret()?;
    stage.permit_configuration()?;
    stage.configure()?;
    let replicas: Mutex<Vec<_>> = Mutex::new((0..5).map(|_| stage.replica(LIFETIME)).collect());
    let all = async |what: &str, former: Option<&Generation>| {
        eventually(what, SOON, async || {
            let served = replicas.lock().expect("nobody panics with it").iter().map(Replica::served).collect();
            let agreed = stage.agreed(served).await?;
            ensure!(Some(&agreed) != former, "still the one before");
            Ok(agreed)
        })
        .await
    };
    let mut current = all("a first certificate", None).await;
    let end = Mutex::new(false);
    let scenario = async {
        for round in 0..2 {
            current = all(&format!("renewal {round}"), Some(&current)).await;
        }
        replicas.lock().expect("nobody panics with it")[2] = stage.replica(LIFETIME);
        current = all("renewal after a restart", Some(&current)).await;
        stage.secrets.delete(SECRET, &DeleteParams::default()).await?;
        current = all("renewal after the Secret was deleted", Some(&current)).await;
        for key in ["tls.crt", "tls.key", "next.crt", "ca.crt"] {
            let garbage = json!({ "stringData": { key: "-----BEGIN CERTIFICATE-----\ngarbage" } });
            stage.secrets.patch(SECRET, &PatchParams::default(), &Patch::Merge(garbage)).await?;
            replicas.lock().expect("nobody panics with it")[0] = stage.replica(LIFETIME);
            all(&format!("healing of {key}"), None).await;
        }
        *end.lock().expect("nobody panics with it") = true;
        Ok(())
    };
    let ((), checks) = tokio::try_join!(scenario, stage.watch(&replicas, &end))?;
    ensure!(checks > 1000, "only {checks} checks");
    ensure!(stage.bundle(FOREIGN).await?.is_empty(), "an entry of somebody else's was written");
    let secret = stage.secrets.get(SECRET).await?;
    ensure!(secret.type_.as_deref() == Some("Opaque"));
    drop(replicas);
    stage.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_bundle_that_somebody_changes_is_healed_and_those_of_others_are_left_alone() -> Result<()> {
    let stage = Stage::set("keys-bundles").await?;
    stage.permit_secret()?;
    stage.permit_configuration()?;
    let replicas = [stage.replica(Duration::from_hours(2160)), stage.replica(Duration::from_hours(2160))];
    let served = eventually("a certificate without a configuration", SOON, async || {
        replicas[0].served().context("nothing is served yet")
    })
    .await;
    stage.configure()?;
    let agree = async |what| {
        eventually(what, SOON, async || stage.agreed(replicas.iter().map(Replica::served).collect()).await).await
    };
    assert_eq!(agree("the configuration appears").await, served);
    let good = stage.bundle(OURS[1]).await?;

    stage.set_bundle(OURS[1], b"").await?;
    assert_eq!(agree("a caBundle is emptied").await, served);

    let key = rcgen::KeyPair::generate()?;
    let foreign = rcgen::CertificateParams::new(["foreign".to_owned()])?.self_signed(&key)?.pem();
    stage.set_bundle(FOREIGN, foreign.as_bytes()).await?;
    for bundle in [foreign.clone(), String::from_utf8(good.clone())? + &foreign] {
        stage.set_bundle(OURS[0], bundle.as_bytes()).await?;
        eventually("a foreign CA is taken out", SOON, async || {
            ensure!(stage.bundle(OURS[0]).await? == good);
            Ok(())
        })
        .await;
    }
    ensure!(stage.bundle(FOREIGN).await? == foreign.as_bytes(), "an entry of somebody else's was written");

    stage.configurations.delete(stage.name, &DeleteParams::default()).await?;
    stage.configure()?;
    assert_eq!(agree("the configuration is made anew").await, served);
    stage.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_permission_it_waits_and_goes_on_when_it_has_it() -> Result<()> {
    let stage = Stage::set("keys-denied").await?;
    stage.configure()?;
    let replicas = [stage.replica(Duration::from_hours(2160))];
    eventually("the first denial", SOON, async || {
        let denied = stage.control_plane.audit().denied(&stage.identity(), stage.began).await?;
        ensure!(denied.len() >= 2);
        Ok(())
    })
    .await;
    stage.permit_secret()?;
    stage.permit_configuration()?;
    eventually("it goes on", SOON, async || stage.agreed(replicas.iter().map(Replica::served).collect()).await).await;
    Ok(())
}
