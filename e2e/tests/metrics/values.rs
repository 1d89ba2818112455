//! The numbers are right: of targets, conditions, certificates, and of what is gone.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context as _, Result, ensure};
use kube::ResourceExt as _;
use rootcast::trust::pem;
use rootcast_e2e::{
    ControlPlane, Controller, Samples, ServingCertificate, Volume, eventually,
    scenario::{SOON, apply, bundle, certificate, objects, source},
};
use serde_json::json;

const TARGET: &str = "target: {configMap: {key: pem}, namespaceSelector: {matchLabels: {team: ''}}}";

/// A cluster with three namespaces, and who tells of it.
struct Scene<'a> {
    control_plane: &'a ControlPlane,
    controller: Controller<'a>,
}

impl Scene<'_> {
    async fn samples(&self) -> Result<Samples> {
        Ok(Samples::parse(&self.controller.metrics().await?))
    }

    /// Waits until a Bundle has so many targets wanted, in sync and failing, and so says its status.
    async fn stands(&self, bundle: &str, counts: [u32; 3], reason: &str) {
        eventually(&format!("{bundle} stands at {counts:?}"), SOON, async || {
            let samples = self.samples().await?;
            let found = ["wanted", "in_sync", "failing"]
                .map(|state| samples.sum(&format!("rootcast_bundle_targets_{state}"), &[("bundle", bundle)]));
            let all = found.iter().zip(counts).all(|(found, count)| (found - f64::from(count)).abs() < 0.5);
            ensure!(all, "{found:?}");
            let status = if reason == "Synced" { "True" } else { "False" };
            let synced = [("bundle", bundle), ("condition", "Synced"), ("status", status), ("reason", reason)];
            ensure!(samples.sum("rootcast_bundle_condition", &synced) > 0.5, "not {reason}");
            Ok(())
        })
        .await;
    }

    async fn apply(&self, object: &serde_json::Value) -> Result<kube::api::DynamicObject> {
        apply(&self.control_plane.client(), object).await
    }
}

#[tokio::test]
async fn metrics_follow_what_becomes_of_bundles_targets_and_certificates() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    for name in ["one", "two", "three"] {
        control_plane.namespace(name, &[("team", "")]).await?;
    }
    let mut volume = Volume::new(&control_plane)?;
    let folder = format!("--webhook-certificate-dir={}", volume.path().display());
    let port = format!("--webhook-port={}", TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port());
    let controller = Controller::start(&control_plane, &[&folder, &port, "--filter-non-ca-certs"]).await?;
    let scene = Scene { control_plane: &control_plane, controller };
    webhook(&scene, &mut volume).await?;
    targets(&scene).await?;
    certificates(&scene).await?;
    whatever_is_gone(&scene).await?;

    let samples = scene.samples().await?;
    for (name, labels, least) in [
        ("rootcast_target_writes_total", [("verb", "create"), ("result", "done")].as_slice(), 5.0),
        ("rootcast_api_requests_total", &[("code", "201")], 5.0),
        ("rootcast_api_requests_total", &[("code", "409")], 1.0),
        ("rootcast_rollout_duration_seconds_count", &[], 2.0),
        ("rootcast_target_requests_in_flight_limit", &[], 8.0),
        ("rootcast_leader", &[], 1.0),
        ("process_resident_memory_bytes", &[], 1e6),
        ("process_start_time_seconds", &[], 1.7e9),
        ("rootcast_watch_last_heard_timestamp_seconds", &[("watch", "bundles")], 1.7e9),
        ("rootcast_watch_last_heard_timestamp_seconds", &[("watch", "target_configmaps")], 1.7e9),
    ] {
        let found = samples.sum(name, labels);
        assert!(found >= least, "{name} {labels:?}: {found}");
    }
    for name in ["rootcast_bundles_queued", "rootcast_targets_queued", "rootcast_target_requests_paused"] {
        assert!(samples.has(name) && samples.sum(name, &[]) < 0.5, "{name}");
    }
    drop(scene);
    control_plane.finish().await
}

/// The certificate of the validating webhook, once there is one.
async fn webhook(scene: &Scene<'_>, volume: &mut Volume) -> Result<()> {
    let (start, end) =
        ["start", "expiry"].map(|which| format!("rootcast_webhook_certificate_{which}_timestamp_seconds")).into();
    ensure!(!scene.samples().await?.has(&end));
    let ServingCertificate { certificate, key, authority } =
        scene.control_plane.serving_certificate("trust-manager.cert-manager.svc")?;
    volume.show(&[("ca.crt", &authority), ("tls.crt", &certificate), ("tls.key", &key)])?;
    let anchor =
        pem::read(certificate.as_bytes())?.remove(0).certificate.map_err(|cause| anyhow::anyhow!("{cause}"))?;
    eventually("it is told when it expires", SOON, async || {
        let samples = scene.samples().await?;
        for (name, at) in [(&start, anchor.not_before()), (&end, anchor.not_after())] {
            let found = samples.sum(name, &[]);
            ensure!(format!("{found}") == at.to_string(), "{name}: {found}, not {at}");
        }
        Ok(())
    })
    .await;
    Ok(())
}

/// One of three targets is somebody else's, and then it is not.
async fn targets(scene: &Scene<'_>) -> Result<()> {
    let config_map =
        |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "two"}});
    let operator = scene.apply(&config_map("the-operator")).await?;
    let mut theirs = config_map("a");
    theirs["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "controller": true,
        "name": operator.name_any(), "uid": operator.uid().context("a stored object has a uid")?,
    }]);
    scene.apply(&theirs).await?;
    scene.apply(&source("ConfigMap", "roots", &[], &[("k", &certificate("ec"))])).await?;
    scene.apply(&bundle("a", &format!("{{sources: [{{configMap: {{name: roots, key: k}}}}], {TARGET}}}"))).await?;
    scene.stands("a", [3, 2, 1], "SyncConfigMapTargetFailed").await;

    let client = scene.control_plane.client();
    objects(&client, "ConfigMap", "two")?.delete("a", &kube::api::DeleteParams::default()).await?;
    scene.stands("a", [3, 3, 0], "Synced").await;
    scene.control_plane.namespace("four", &[("team", "")]).await?;
    scene.stands("a", [4, 4, 0], "Synced").await;
    Ok(())
}

/// An expired one, one that lives on, one that is left out; and one of the default CAs.
async fn certificates(scene: &Scene<'_>) -> Result<()> {
    let leaf = rcgen::generate_simple_self_signed(["leaf".to_owned()])?.cert.pem();
    let text = certificate("expired") + &certificate("ec") + &leaf;
    scene.apply(&source("ConfigMap", "mixed", &[], &[("k", &text)])).await?;
    let sources = "sources: [{useDefaultCAs: true}, {configMap: {name: mixed, key: k}}]";
    scene.apply(&bundle("b", &format!("{{{sources}, {TARGET}}}"))).await?;
    scene.stands("b", [4, 4, 0], "Synced").await;
    let text = scene.controller.metrics().await?;
    for (name, title) in [("expired", "Expired Root A"), ("ec", "Beta EC Root A")] {
        let anchor = pem::read(certificate(name).as_bytes())?
            .remove(0)
            .certificate
            .map_err(|cause| anyhow::anyhow!("{cause}"))?;
        let line = format!(
            "rootcast_bundle_certificate_expiry_timestamp_seconds{{bundle=\"b\",certificate=\"{title}\",fingerprint=\"{}\"}} {}",
            anchor.fingerprint().short(),
            anchor.not_after()
        );
        ensure!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    let samples = Samples::parse(&text);
    let of = |name: &str, why: &[(&str, &str)]| samples.sum(name, &[&[("bundle", "b")], why].concat());
    ensure!(text.matches("certificate_expiry_timestamp_seconds{bundle=\"b\",certificate=").count() == 2, "{text}");
    ensure!(of("rootcast_bundle_certificates", &[]) > 100.0, "default CAs count");
    ensure!(of("rootcast_bundle_earliest_certificate_expiry_timestamp_seconds", &[]) < 1.5e9, "{text}");
    ensure!(of("rootcast_bundle_certificates_left_out", &[("why", "not_a_ca")]) > 0.5, "{text}");
    ensure!(of("rootcast_bundle_certificates_left_out", &[("why", "expired")]) < 0.5, "{text}");
    Ok(())
}

/// A Bundle whose source goes, and then the Bundle itself.
async fn whatever_is_gone(scene: &Scene<'_>) -> Result<()> {
    let client = scene.control_plane.client();
    objects(&client, "ConfigMap", "cert-manager")?.delete("mixed", &kube::api::DeleteParams::default()).await?;
    scene.stands("b", [0, 0, 0], "SourceNotFound").await;
    scene.stands("a", [4, 4, 0], "Synced").await;
    objects(&client, "Bundle", "")?.delete("b", &kube::api::DeleteParams::default()).await?;
    eventually("nothing is told of it", SOON, async || {
        let text = scene.controller.metrics().await?;
        ensure!(!text.contains("bundle=\"b\""), "{text}");
        ensure!(text.contains("bundle=\"a\""), "{text}");
        Ok(())
    })
    .await;
    Ok(())
}
