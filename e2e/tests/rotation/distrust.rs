//! A CA is denied: it goes at once, whatever else is true.

use anyhow::{Context as _, Result, ensure};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use rootcast_e2e::{eventually, scenario::TRUST_NAMESPACE};
use serde_json::{Value, json};

use crate::{
    policy,
    rotating::{Ca, Rotating, SOON, ledger_name},
    stage::Stage,
};

/// All `Distrust` objects.
pub(crate) fn distrusts(client: &Client) -> Api<DynamicObject> {
    Api::all_with(
        client.clone(),
        &ApiResource::from_gvk(&GroupVersionKind::gvk("rootcast.dev", "v1alpha1", "Distrust")),
    )
}

/// A `Distrust` with these entries.
pub(crate) async fn distrust(client: &Client, name: &str, entries: &[Value]) -> Result<()> {
    let distrust = json!({
        "apiVersion": "rootcast.dev/v1alpha1", "kind": "Distrust", "metadata": {"name": name},
        "spec": {"reason": "its key was published", "certificates": entries},
    });
    distrusts(client).patch(name, &PatchParams::apply("somebody").force(), &Patch::Apply(distrust)).await?;
    Ok(())
}

/// What a `Distrust` says of how far it is enforced.
pub(crate) async fn enforced(client: &Client, name: &str) -> Result<Value> {
    let status = distrusts(client).get(name).await?.data["status"].take();
    let enforced = status["conditions"].as_array().into_iter().flatten().find(|one| one["type"] == "Enforced");
    enforced.cloned().with_context(|| format!("no condition yet: {status}"))
}

/// Waits until a `Distrust` says that it is enforced everywhere.
pub(crate) async fn is_enforced(client: &Client, name: &str) {
    eventually(&format!("Distrust {name} is enforced"), SOON, async || {
        let enforced = enforced(client, name).await?;
        ensure!((&enforced["status"], &enforced["reason"]) == (&json!("True"), &json!("Everywhere")), "{enforced}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_leaving_ca_that_is_distrusted_goes_at_once_and_stays_out_although_a_source_holds_it_again() -> Result<()> {
    let stage = Stage::shared().await;
    let client = stage.control_plane.client();
    let [a, b] = &Ca::all(["A", "B"])?;
    let denied = Rotating::begin(stage.control_plane, "denied", 3, "1h", &[a]).await?;
    denied.is_settled(&[a]).await;
    denied.publish(&[b]).await?;
    denied.leaves(a).await;
    denied.holds(&[a, b]).await;

    let since = stage.control_plane.revision().await?;
    distrust(&client, "incident-1", &[json!({"sha256": a.sha256()})]).await?;
    denied.holds(&[b]).await;
    denied.tells("CertificateDenied", &["CN=A", &a.sha256()]).await;
    denied.forgets(a).await;
    denied.says("Retiring", "False", "NothingLeaving", &[]).await;
    is_enforced(&client, "incident-1").await;
    let history = stage.control_plane.history(since).await?;
    let ledger = ledger_name("denied");
    ensure!(history.iter().any(|one| one.name == ledger && one.holds("Denied")), "the ledger did not say why");

    denied.publish(&[a, b]).await?;
    stage.barrier.sync(&client).await?;
    assert_eq!(denied.contents(since, &[a, b]).await?, denied.each(&["B"]));
    denied.says("Synced", "True", "Synced", &[]).await;

    distrusts(&client).delete("incident-1", &DeleteParams::default()).await?;
    denied.holds(&[a, b]).await;
    Ok(())
}

#[tokio::test]
async fn a_ca_with_a_distrusted_key_is_out_however_often_it_is_issued_again() -> Result<()> {
    let stage = Stage::shared().await;
    let client = stage.control_plane.client();
    let [a, b] = &Ca::all(["A", "B"])?;
    let again = &Ca { name: "again", authority: a.authority.reissue("again")? };
    assert_ne!(a.sha256(), again.sha256());
    let keyed = Rotating::begin(stage.control_plane, "keyed", 2, "1h", &[a, b]).await?;
    distrust(&client, "incident-2", &[json!({"publicKeySHA256": a.key_sha256()})]).await?;
    keyed.holds(&[b]).await;
    keyed.publish(&[again, b]).await?;
    stage.barrier.sync(&client).await?;
    keyed.holds(&[b]).await;
    is_enforced(&client, "incident-2").await;
    assert_eq!(keyed.entry(again).await?, None);
    distrusts(&client).delete("incident-2", &DeleteParams::default()).await?;
    keyed.holds(&[again, b]).await;
    Ok(())
}

#[tokio::test]
async fn a_ca_is_denied_while_sources_are_refused_and_the_ledger_cannot_be_written_and_all_else_stays() -> Result<()> {
    let stage = Stage::shared().await;
    let client = stage.control_plane.client();
    for (name, ledger_is_writable) in [("refused", true), ("unwritable", false)] {
        let [a, b, c] = &Ca::all(["A", "B", "C"])?;
        let refused = Rotating::begin(stage.control_plane, name, 3, "1h", &[a, b]).await?;
        refused.is_settled(&[a, b]).await;
        refused.publish(&[a, c]).await?;
        refused.is_settled(&[a, b, c]).await;
        refused.fill("-----BEGIN CERTIFICATE-----\nx").await?;
        eventually("the source is refused", SOON, async || {
            let synced = refused.condition("Synced").await?;
            ensure!(synced.status == "False", "{synced:?}");
            Ok(())
        })
        .await;
        let ledger = ledger_name(name);
        if !ledger_is_writable {
            policy::freeze(stage.control_plane, TRUST_NAMESPACE, &ledger).await?;
        }
        let since = stage.control_plane.revision().await?;
        distrust(&client, name, &[json!({"sha256": a.sha256()})]).await?;
        refused.holds(&[b, c]).await;
        is_enforced(&client, name).await;
        stage.barrier.sync(&client).await?;
        assert_eq!(refused.contents(since, &[a, b, c]).await?, refused.each(&["B+C"]), "{name}");
        if !ledger_is_writable {
            policy::thaw(stage.control_plane, TRUST_NAMESPACE, &ledger)?;
        }
        // B is still remembered when the source can be read again, and A no longer.
        refused.publish(&[c]).await?;
        refused.says("Synced", "True", "Synced", &[]).await;
        refused.leaves(b).await;
        refused.forgets(a).await;
        refused.holds(&[b, c]).await;
        distrusts(&client).delete(name, &DeleteParams::default()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_ca_that_a_bundle_excludes_goes_from_it_alone() -> Result<()> {
    let stage = Stage::shared().await;
    let [a, b] = &Ca::all(["A", "B"])?;
    let excluding = Rotating::begin(stage.control_plane, "excluding", 2, "1h", &[a, b]).await?;
    let other = Rotating::begin(stage.control_plane, "other", 2, "1h", &[a, b]).await?;
    // As `openssl x509 -fingerprint` prints it.
    let digits: Vec<_> = a.sha256().to_uppercase().into_bytes();
    let openssl = digits.chunks(2).map(String::from_utf8_lossy).collect::<Vec<_>>().join(":");
    excluding.annotate(&json!({"rootcast.dev/retain": "1h", "rootcast.dev/exclude": openssl})).await?;
    excluding.holds(&[b]).await;
    excluding.tells("CertificateDenied", &["CN=A", &a.sha256()]).await;
    stage.barrier.sync(&excluding.client).await?;
    other.holds(&[a, b]).await;
    Ok(())
}
