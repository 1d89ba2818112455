//! `rootcast wait`, `rootcast status --rotation` and what `rootcast hand-back` warns of, on a Bundle whose status and
//! ledger are written here: no controller runs.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use rootcast::{
    api::{LEDGER_LABEL, RETAIN_ANNOTATION},
    bundle::{ContentDigest, Ledger, Memory, Phase, ledger_name},
    trust::{Anchor, Anchors},
};
use rootcast_e2e::{
    ControlPlane, eventually,
    scenario::{SOON, TRUST_NAMESPACE, anchors, apply, bundle, certificate},
};
use serde_json::{Value, json};

use crate::stage::{Told, rootcast};

const NAME: &str = "rotated";

/// A control plane without a controller, with a Bundle of the certificate `ec`, which has replaced `rsa`.
struct Rotated {
    control_plane: ControlPlane,
    uid: String,
}

impl Rotated {
    async fn begin() -> Result<Self> {
        let control_plane = ControlPlane::start().await?;
        control_plane.install().await?;
        let spec = json!({
            "sources": [{ "inLine": certificate("ec") }], "target": { "configMap": { "key": "ca.pem" } },
        });
        let found = apply(&control_plane.client(), &bundle(NAME, &spec.to_string())).await?;
        Ok(Self { control_plane, uid: found.metadata.uid.context("a uid")? })
    }

    async fn ask(&self, arguments: &[&str]) -> Result<Told> {
        rootcast(self.control_plane.kubeconfig(), arguments, "").await
    }

    async fn wait(&self, certificate: &str, state: &str, timeout: &str) -> Result<Told> {
        let sha256 = anchor(certificate).fingerprint().to_string();
        let [state, timeout] = [format!("--for={state}"), format!("--timeout={timeout}")];
        self.ask(&["wait", &format!("bundle/{NAME}"), "--certificate", &sha256, &state, &timeout]).await
    }

    fn annotate(&self, annotation: &str) -> Result<()> {
        self.control_plane.kubectl_ok(&["annotate", "--overwrite", "bundle", NAME, annotation], "").map(drop)
    }

    /// Writes conditions, each with its status, reason and message.
    fn report(&self, conditions: &[(&str, &str, &str, &str)]) -> Result<()> {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|(type_, status, reason, message)| {
                json!({
                    "type": type_, "status": status, "reason": reason, "message": message, "observedGeneration": 1,
                    "lastTransitionTime": "2026-11-01T00:00:00Z",
                })
            })
            .collect();
        let status = json!({ "status": { "conditions": conditions } }).to_string();
        let patch = ["patch", "bundle", NAME, "--subresource=status", "--type=merge", "-p", &status];
        self.control_plane.kubectl_ok(&patch, "").map(drop)
    }

    async fn write_ledger(&self, memory: Memory) -> Result<()> {
        let ledger = Ledger { uid: self.uid.clone(), memory };
        let metadata = json!({
            "name": ledger_name(&NAME.into()), "namespace": TRUST_NAMESPACE, "labels": { LEDGER_LABEL: "bundle" },
        });
        let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": ledger.encode() });
        apply(&self.control_plane.client(), &object).await.map(drop)
    }
}

fn anchor(name: &str) -> Anchor {
    anchors(&[name]).iter().next().expect("a certificate").clone()
}

/// A memory of these certificates, which have been everywhere since then.
fn memory(names: &[&str], everywhere: Option<Timestamp>) -> Memory {
    let mut memory = Memory::begin(names.iter().map(|name| anchor(name)), Timestamp::now() - hours(1));
    memory.content = Some(ContentDigest::of(Some(&anchors(names))));
    memory.entries.values_mut().for_each(|entry| entry.everywhere = everywhere);
    memory
}

/// The memory of a Bundle that `rsa` is leaving.
fn leaving(everywhere: Timestamp) -> Memory {
    let mut memory = memory(&["rsa", "ec"], Some(everywhere));
    let entry = memory.entries.get_mut(&anchor("rsa").fingerprint()).expect("an entry");
    entry.phase = Phase::Leaving { since: everywhere };
    memory
}

fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

fn settled(settle: &str) -> String {
    format!("its one certificate has been in all 2 targets; retain 24h, settle {settle}, 0 certificates excluded")
}

#[tokio::test]
#[cfg_attr(existing_cluster, ignore = "starts an API server of its own")]
async fn a_certificate_is_waited_for_by_what_the_ledger_says() -> Result<()> {
    let rotated = Rotated::begin().await?;
    let synced = ("Synced", "True", "Synced", "synced");
    rotated.report(&[synced])?;
    let off = rotated.wait("ec", "settled", "1s").await?;
    ensure!(off.code == Some(2) && off.errors.contains("certificates are not retained, since "), "{off:?}");
    let none = rotated.ask(&["wait", "nobody", "--certificate", &"0".repeat(64), "--for=retired"]).await?;
    assert_eq!((none.code, &*none.errors), (Some(2), "rootcast: there is no Bundle nobody\n"));
    let nobody = rotated.control_plane.kubeconfig_for("nobody", &["system:authenticated"])?;
    let sha256 = anchor("ec").fingerprint().to_string();
    let forbidden = rootcast(&nobody, &["wait", NAME, "--certificate", &sha256, "--for=settled"], "").await?;
    ensure!(
        forbidden.code == Some(2) && forbidden.errors.contains("grant you the verb get on bundles"),
        "{forbidden:?}"
    );

    rotated.annotate(&format!("{RETAIN_ANNOTATION}=24h"))?;
    let failing = "not yet in all 2 targets: namespace shop: quota; retain 24h, settle 3m, 0 certificates excluded";
    let conditions = [synced, ("Settled", "False", "TargetsFailing", failing)];
    rotated.report(&conditions)?;
    let waits = async |words: &str| {
        let told = rotated.wait("ec", "settled", "1s").await?;
        ensure!(told.code == Some(1) && told.errors.contains(words), "no {words:?} in {told:?}");
        ensure!(told.errors.ends_with(": not settled within 1s\n"), "{told:?}");
        Ok(())
    };
    waits("not settled yet: there is no ledger ConfigMap cert-manager/rootcast-ledger.bundle.rotated yet").await?;
    rotated.write_ledger(memory(&["rsa"], Some(Timestamp::now()))).await?;
    waits("not settled yet: it is in no source that the controller has seen").await?;
    rotated.write_ledger(memory(&["rsa", "ec"], None)).await?;
    waits("not settled yet: it is not in every target; Settled is False, TargetsFailing: ").await?;
    waits("namespace shop: quota").await?;

    let (told, everywhere) = tokio::join!(rotated.wait("ec", "settled", "60s"), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        rotated.report(&[synced, ("Settled", "False", "Waiting", &settled("2s"))])?;
        let now = Timestamp::now();
        rotated.write_ledger(memory(&["rsa", "ec"], Some(now))).await?;
        Ok::<_, anyhow::Error>(now)
    });
    let (told, everywhere) = (told?, everywhere?);
    ensure!(told.code == Some(0) && told.errors.contains(": settled: every target has had it since "), "{told:?}");
    ensure!(told.errors.contains("not settled yet: it is not in every target; "), "{told:?}");
    ensure!(Timestamp::now() >= everywhere + SignedDuration::from_secs(2), "too early: {told:?}");

    rotated.write_ledger(leaving(everywhere)).await?;
    let title = format!("CN=A (SHA-256 {})", anchor("rsa").fingerprint());
    let held = format!(
        "1 certificate leaving: {title} leaving since 2026-11-28T00:00:00Z, until 2046-11-29T00:00:00Z at least, waits for time, was in inline source [content SHA-256 {}]",
        "0".repeat(64)
    );
    rotated.report(&[synced, ("Retiring", "True", "Held", &held), ("Settled", "True", "Settled", &settled("2s"))])?;
    let held = rotated.wait("rsa", "retired", "1s").await?;
    let words = ", stays until 2046-11-29T00:00:00Z at least, and waits for time";
    ensure!(held.code == Some(1) && held.errors.contains(words), "{held:?}");
    rotated.write_ledger(memory(&["ec"], Some(everywhere))).await?;
    let retired = rotated.wait("rsa", "retired", "1s").await?;
    ensure!(retired.code == Some(0) && retired.errors.contains("not in this bundle"), "{retired:?}");

    rotated.annotate(&format!("rootcast.dev/exclude={sha256}"))?;
    let excluded = rotated.wait("ec", "settled", "60s").await?;
    ensure!(excluded.code == Some(1) && excluded.errors.contains("never settled: it is excluded by "), "{excluded:?}");
    rotated.control_plane.finish().await
}

#[tokio::test]
#[cfg_attr(existing_cluster, ignore = "starts an API server of its own")]
async fn a_rotation_is_shown_with_the_pods_that_have_to_be_restarted() -> Result<()> {
    let rotated = Rotated::begin().await?;
    let control_plane = &rotated.control_plane;
    let everywhere = Timestamp::now() - hours(1);
    rotated.annotate(&format!("{RETAIN_ANNOTATION}=24h"))?;
    rotated.report(&[("Settled", "True", "Settled", &settled("3m"))])?;
    rotated.write_ledger(leaving(everywhere)).await?;
    let target = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": NAME, "namespace": "default", "labels": { "trust.cert-manager.io/bundle": NAME },
        },
    });
    apply(&control_plane.client(), &target).await?;
    for (name, age, mount) in [
        ("old", hours(2), json!({ "name": "ca", "mountPath": "/ca" })),
        ("young", hours(0), json!({ "name": "ca", "mountPath": "/ca" })),
        ("fixed", hours(0), json!({ "name": "ca", "mountPath": "/ca.pem", "subPath": "ca.pem" })),
    ] {
        let pod = pod(name, &mount).to_string();
        eventually("there is a ServiceAccount for it", SOON, async || {
            control_plane.kubectl_ok(&["apply", "-f", "-"], &pod)
        })
        .await;
        let status = json!({ "status": { "phase": "Running", "startTime": (Timestamp::now() - age).to_string() } });
        let patch = ["patch", "pod", name, "--subresource=status", "--type=merge", "-p", &status.to_string()];
        control_plane.kubectl_ok(&patch, "")?;
    }

    let told = rotated.ask(&["status", NAME, "--rotation"]).await?;
    assert_eq!((told.code, &*told.errors), (Some(0), ""), "{}", told.out);
    for words in [
        "Bundle rotated, ledger ConfigMap cert-manager/rootcast-ledger.bundle.rotated\n",
        "Settled    True    Settled",
        ": leaving\n",
        &format!("  SHA-256     {}\n", anchor("rsa").fingerprint()),
        &format!("  settled     {:.0}", everywhere + SignedDuration::from_mins(3)),
        "restart them: 1 of 2 that mount it\n  default/old, started 2h ago ",
        "  default/fixed: container app mounts it by subPath at /ca.pem\n",
    ] {
        ensure!(told.out.contains(words), "no {words:?} in\n{}", told.out);
    }
    ensure!(!told.out.contains("default/young"), "{}", told.out);
    let document = rotated.ask(&["status", NAME, "--rotation", "-o", "json"]).await?.document()?;
    let phases: Vec<_> = document["certificates"].as_array().into_iter().flatten().map(|one| &one["phase"]).collect();
    assert_eq!(phases, ["Leaving", "Present"]);
    assert_eq!(document["pods"]["restart"][0]["name"], "old");

    let told = rotated.ask(&["status", NAME, "--leaving", "-o", "pem"]).await?;
    let pem = Anchors::collect([anchor("rsa")]).expect("a certificate").to_pem() + "\n";
    assert_eq!((told.code, told.out), (Some(0), pem));
    let told = rotated.ask(&["hand-back"]).await?;
    let dropped = "Bundle rotated: trust-manager would drop what is in no source any more:\n";
    ensure!(
        told.out.starts_with(dropped) && told.out.contains("rootcast status rotated --leaving -o pem\n"),
        "{told:?}"
    );

    for object in role() {
        control_plane.kubectl_ok(&["apply", "-f", "-"], &object.to_string())?;
    }
    let looker = control_plane.kubeconfig_for("looker", &["system:authenticated"])?;
    let told = rootcast(&looker, &["status", NAME, "--rotation"], "").await?;
    ensure!(told.out.contains("Pods: not known: ") && told.out.contains("grant you the verb list on pods"), "{told:?}");
    ensure!(told.code == Some(0) && told.out.contains(": leaving\n"), "{told:?}");
    rotated.control_plane.finish().await
}

fn pod(name: &str, mount: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [{ "name": "app", "image": "app", "volumeMounts": [mount] }],
            "volumes": [{ "name": "ca", "configMap": { "name": NAME } }],
        },
    })
}

/// May read Bundles, namespaces and ConfigMaps.
fn role() -> [Value; 2] {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "looker"},
        "rules": [
            {"apiGroups": ["trust.cert-manager.io"], "resources": ["bundles"], "verbs": ["get", "list"]},
            {"apiGroups": [""], "resources": ["namespaces", "configmaps"], "verbs": ["get", "list"]},
        ],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "looker"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "looker"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "looker"}],
    });
    [role, binding]
}
