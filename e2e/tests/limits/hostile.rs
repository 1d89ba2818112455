//! ConfigMaps that are made to hurt: each is answered, none holds up others.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::ByteString;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rootcast::api::SYNCED;
use rootcast_e2e::{
    eventually,
    scenario::{SOON, Scenario, TRUST_NAMESPACE, bundle, certificate, pem_key, source},
};
use serde_json::{Value, json};

use crate::stage::Stage;

/// How long a sound Bundle may wait beside hostile ones.
const A_FEW_SECONDS: Duration = Duration::from_secs(5);

/// A ConfigMap, the key that is read of it, and what the Bundle must say.
struct Hostile {
    name: &'static str,
    key: &'static str,
    field: &'static str,
    value: Value,
    reason: &'static str,
    says: &'static str,
}

fn hostile() -> Vec<Hostile> {
    let binary = |bytes: Vec<u8>| json!(ByteString(bytes));
    let block = |content: &str| format!("-----BEGIN CERTIFICATE-----\n{content}\n-----END CERTIFICATE-----\n");
    let config_map = |name, key, field, value, reason, says| Hostile { name, key, field, value, reason, says };
    let build_error = "SourceBuildError";
    let with_nul = [certificate("ec").as_bytes(), b"\0\0\0\n", certificate("p384").as_bytes(), b"\0"].concat();
    let nul_inside = certificate("ec").replace("-----\nMII", "-----\nMI\0I").into_bytes();
    let invalid = "invalid PEM data in ConfigMap cert-manager/";
    vec![
        config_map("noise", "k", "binaryData", binary(noise(1024 * 1024)), "SourceNotFound", "couldn't find any valid"),
        config_map("tiny-blocks", "k", "data", block("AA==").repeat(10_000).into(), build_error, invalid),
        config_map("begins", "k", "data", "-----BEGIN CERTIFICATE-----\n".repeat(36_000).into(), build_error, invalid),
        config_map("dashes", "k", "data", "-".repeat(1024 * 1024).into(), "SourceNotFound", "couldn't find any valid"),
        config_map("large-garbage", "k", "data", block(&"A".repeat(900 * 1024)).into(), build_error, invalid),
        config_map("large", "k", "data", certificate_of_size(660_000).into(), SYNCED, "Successfully synced"),
        config_map("nul-around", "k", "binaryData", binary(with_nul), SYNCED, "Successfully synced"),
        config_map("nul-inside", "k", "binaryData", binary(nul_inside), build_error, invalid),
        config_map("option", "--help", "data", certificate("ec").into(), SYNCED, "Successfully synced"),
        config_map("short-option", "-v", "data", certificate("ec").into(), SYNCED, "Successfully synced"),
    ]
}

#[tokio::test]
async fn hostile_config_maps_are_answered_and_hold_up_nobody() -> Result<()> {
    let stage = Stage::shared().await;
    let scenario = Scenario::begin(&stage.barrier, "hostile", &["a"]).await?;
    let spec = |name: &str, key: &str| {
        format!(
            "{{sources: [{{configMap: {{name: {name}, key: '{key}'}}}}], \
             target: {{configMap: {{key: '{key}'}}, namespaceSelector: {{matchLabels: {{scenario: hostile}}}}}}}}"
        )
    };
    let hostile = hostile();
    for Hostile { name, key, field, value, .. } in &hostile {
        let metadata = json!({"name": format!("{name}-source"), "namespace": TRUST_NAMESPACE});
        let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
        object[*field][*key] = value.clone();
        scenario.apply(&object).await?;
    }
    scenario.apply(&source("ConfigMap", "sound-source", &[], &[("k", &certificate("ec"))])).await?;

    for Hostile { name, key, .. } in &hostile {
        scenario.apply(&bundle(name, &spec(&format!("{name}-source"), key))).await?;
    }
    scenario.apply(&bundle("sound", &spec("sound-source", "k"))).await?;
    eventually("a sound Bundle beside hostile ones", A_FEW_SECONDS, async || {
        let scene = scenario.scene("sound").await?;
        ensure!(scene == scenario.synced(&["a"], &pem_key("k", &["ec"])), "{scene:#?}");
        Ok(())
    })
    .await;
    for Hostile { name, reason, says, .. } in &hostile {
        eventually(name, SOON, async || {
            let condition = scenario.condition(name, SYNCED).await?;
            ensure!(condition.reason == *reason && condition.message.contains(says), "{condition:?}");
            Ok(())
        })
        .await;
    }
    stage.barrier.sync(&scenario.client).await?;
    for Hostile { name, reason, .. } in &hostile {
        let writes = scenario.written(name).await?;
        assert_eq!(writes.len(), usize::from(*reason == SYNCED), "{name}: {writes:#?}");
    }
    stage.is_in_order().await
}

/// A certificate of about so many bytes of DER, most of them in an extension that nobody knows, as PEM.
pub(crate) fn certificate_of_size(bytes: usize) -> String {
    let mut params = CertificateParams::default();
    params.custom_extensions.push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 32473, 1], vec![0; bytes]));
    let key = KeyPair::generate().expect("a key");
    params.self_signed(&key).expect("a certificate").pem().replace('\r', "")
}

/// The same bytes every time, without any pattern (xorshift).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}
