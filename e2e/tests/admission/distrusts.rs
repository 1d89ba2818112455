//! What the API server accepts and refuses of Distrusts.

use anyhow::Result;
use kube::Api;
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::core::ApiResource;
use rootcast::api::{Distrust, distrust_crd_yaml};
use rootcast_e2e::eventually;
use serde_json::{Value, json};

use crate::stage::{SOON, assert_refused, installed, refusal};

const DIGEST: &str = "3b0c0e0d1a1c8e6f6f2c4b9a57d3e1f08a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d";

/// The Distrusts of a control plane that has their definition.
async fn distrusts() -> Result<Api<DynamicObject>> {
    let control_plane = installed().await;
    control_plane.kubectl_ok(&["apply", "--server-side", "-f", "-"], &distrust_crd_yaml())?;
    let distrusts = Api::all_with(control_plane.client(), &ApiResource::erase::<Distrust>(&()));
    eventually("Distrusts are served", SOON, async || Ok(distrusts.list(&ListParams::default()).await.map(drop)?))
        .await;
    Ok(distrusts)
}

async fn create(distrusts: &Api<DynamicObject>, name: &str, spec: Value) -> kube::Result<DynamicObject> {
    let mut distrust = DynamicObject::new(name, &ApiResource::erase::<Distrust>(&()));
    distrust.data = json!({ "spec": spec });
    distrusts.create(&PostParams::default(), &distrust).await
}

fn with_colons(digits: &str) -> String {
    let pairs: Vec<_> = digits.as_bytes().chunks(2).map(String::from_utf8_lossy).collect();
    pairs.join(":").to_uppercase()
}

#[tokio::test]
async fn a_distrust_names_certificates_and_keys_as_openssl_prints_them() -> Result<()> {
    let distrusts = distrusts().await?;
    let certificates = json!([{ "sha256": DIGEST }, { "sha256": with_colons(DIGEST) }, { "publicKeySHA256": DIGEST }]);
    let spec = json!({ "reason": "its key was published", "certificates": certificates });
    let stored = create(&distrusts, "valid", spec.clone()).await?;
    assert_eq!(stored.data["spec"], spec);
    create(&distrusts, "a-hundred", json!({ "certificates": vec![json!({ "sha256": DIGEST }); 100] })).await?;
    Ok(())
}

#[tokio::test]
async fn what_names_no_certificate_is_refused_with_the_field() -> Result<()> {
    let distrusts = distrusts().await?;
    let digest = "must be a SHA-256: 64 hexadecimal digits, with colons between all bytes or without";
    let one = "exactly one of the fields in [sha256 publicKeySHA256] must be set";
    for (name, field, value) in [
        ("short", "sha256", DIGEST[1..].to_owned()),
        ("mixed", "sha256", format!("{}:{}", &DIGEST[..2], &DIGEST[2..])),
        ("no-digit", "publicKeySHA256", "x".repeat(64)),
    ] {
        let says = format!("spec.certificates[0].{field}: Invalid value: {value:?}: {digest}");
        let spec = json!({ "certificates": [{ field: value }] });
        assert_refused(name, &says, create(&distrusts, name, spec).await);
    }
    for (name, certificate) in [("none", json!({})), ("both", json!({ "sha256": DIGEST, "publicKeySHA256": DIGEST }))] {
        let says = format!("spec.certificates[0]: Invalid value: {one}");
        assert_refused(name, &says, create(&distrusts, name, json!({ "certificates": [certificate] })).await);
    }
    for (name, spec) in [("empty", json!({ "certificates": [] })), ("absent", json!({}))] {
        let status = refusal(name, create(&distrusts, name, spec).await);
        assert!(status.message.contains("spec.certificates"), "{name}: {}", status.message);
    }
    Ok(())
}
