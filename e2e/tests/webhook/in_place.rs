//! With only its image swapped, an installation of trust-manager works on.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use kube::{
    Api, Error,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use rootcast::api::{Bundle, SYNCED};
use rootcast_e2e::{
    ControlPlane, Exit, TlsClient, eventually, peer,
    scenario::{SOON, bundle, certificate, objects},
};
use serde_json::json;
use tokio::net::TcpStream;

use crate::stage::{HOST, Place};

/// What its definition lets in and its webhook does not: specs, and what is said of them.
const REFUSED: [(&str, &str); 4] = [
    (
        "{sources: [{inLine: x}, {useDefaultCAs: false}, {useDefaultCAs: true}]}",
        "spec.sources: Forbidden: must request default CAs either once or not at all but got 2 requests",
    ),
    ("{sources: [{useDefaultCAs: false}]}", "spec.sources: Forbidden: must define at least one source"),
    (
        "{sources: [{configMap: {name: a}}]}",
        "spec.sources[0].configMap: Invalid value: \"key: ' ', includeAllKeys: false\": source configMap key must be defined \
      when includeAllKeys is false",
    ),
    (
        "{sources: [{configMap: {name: refused, key: k}}, {secret: {name: a}}], target: {configMap: {key: k}}}",
        "[spec.sources[1].secret: Invalid value: \"key: ' ', includeAllKeys: false\": source secret key must be defined when \
      includeAllKeys is false, spec.sources: Forbidden: cannot define the same source as target]",
    ),
];

/// Creates a Bundle; returns what is said against it.
async fn objection(bundles: &Api<DynamicObject>, name: &str, spec: &str) -> Result<Option<String>> {
    let object = serde_json::from_value(bundle(name, spec))?;
    match bundles.create(&PostParams::default(), &object).await {
        Ok(_) => Ok(None),
        Err(Error::Api(status)) => Ok(Some(status.message)),
        Err(other) => bail!(other),
    }
}

#[tokio::test]
async fn trust_managers_webhook_says_what_it_said_as_soon_as_its_certificate_is_there() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    control_plane.install_crd(&peer::crd_yaml()).await?;
    let bundles = objects(&control_plane.client(), "Bundle", "")?;
    let mut place = Place::new(&control_plane)?;

    // Without files it is ready, and listens on nothing.
    let controller = place.controller(&control_plane).await?;
    let listens = async || TcpStream::connect((Ipv4Addr::LOCALHOST, place.port)).await.is_ok();
    assert!(!listens().await, "there is no certificate, and yet it listens");
    eventually("it says what it waits for", SOON, async || {
        ensure!(controller.logs()?.contains("tls.crt: there is no such file"), "{}", controller.logs()?);
        Ok(())
    })
    .await;
    let good = format!("{{sources: [{{inLine: {:?}}}], target: {{configMap: {{key: k}}}}}}", certificate("ec"));
    assert_eq!(objection(&bundles, "before", &good).await?, None);
    // What is stored already is reported on, whoever would refuse it now.
    assert_eq!(objection(&bundles, "stored", REFUSED[1].0).await?, None);
    place.install(&control_plane)?;
    eventually("the API server asks the webhook", SOON, async || {
        let objection = objection(&bundles, "refused", &good).await?;
        if objection.is_none() {
            bundles.delete("refused", &DeleteParams::default()).await?;
        }
        ensure!(objection.is_some_and(|words| words.contains("failed calling webhook")), "it does not");
        Ok(())
    })
    .await;

    place.show()?;
    let client = TlsClient::new(&place.certificate.authority, HOST)?;
    eventually("the webhook is served", SOON, async || client.connect(place.port).await.map(drop)).await;
    for (spec, words) in REFUSED {
        let said = objection(&bundles, "refused", spec).await?;
        let expected = format!("admission webhook \"trust.cert-manager.io\" denied the request: {words}");
        assert_eq!(said.as_deref(), Some(&*expected), "{spec}");
    }
    assert_eq!(objection(&bundles, "good", &good).await?, None);
    let broken = json!({"spec": {"sources": [{"useDefaultCAs": false}]}});
    let refused = bundles.patch("good", &PatchParams::default(), &Patch::Merge(&broken)).await;
    ensure!(refused.is_err(), "an update is judged, too");
    for (name, reason) in [("good", SYNCED), ("before", SYNCED), ("stored", "InvalidSpec")] {
        eventually(name, SOON, async || {
            let status = Api::<Bundle>::all(control_plane.client()).get(name).await?.status.unwrap_or_default();
            let reasons: Vec<_> = status.conditions.iter().flatten().map(|condition| &*condition.reason).collect();
            ensure!(reasons.contains(&reason), "{reasons:?}");
            Ok(())
        })
        .await;
    }

    // The certificate is renewed under a connection that stays.
    let before = client.shown(place.port).await?;
    place.certificate = control_plane.serving_certificate(HOST)?;
    place.show()?;
    eventually("the new certificate is shown", SOON, async || {
        ensure!(client.shown(place.port).await? != before, "it is still the old one");
        Ok(())
    })
    .await;
    assert!(objection(&bundles, "refused", REFUSED[1].0).await?.is_some_and(|words| words.contains("denied")));

    // A certificate without its key is none.
    let another = control_plane.serving_certificate(HOST)?;
    place.volume.show(&[("tls.crt", &another.certificate), ("tls.key", &place.certificate.key)])?;
    eventually("it says why nothing has changed", SOON, async || {
        let log = controller.logs()?;
        ensure!(log.contains("stays as it was: certificate and key do not belong together"), "{log}");
        Ok(())
    })
    .await;
    assert!(objection(&bundles, "refused", REFUSED[1].0).await?.is_some_and(|words| words.contains("denied")));

    // What waits for its finalizers may lose them, and nobody is asked about a deletion.
    let params = PatchParams::default();
    let hold = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    bundles.patch("good", &params, &Patch::Merge(&hold)).await?;
    for name in ["good", "stored", "before"] {
        bundles.delete(name, &DeleteParams::default()).await.context(name)?;
    }
    bundles.patch("good", &params, &Patch::Merge(&json!({"metadata": {"finalizers": null}}))).await?;
    let log = controller.logs()?;
    for (words, times) in [
        ("no serving certificate yet", 1),
        ("the validating webhook is served", 1),
        ("serving certificate read", 2),
        ("stays as it was", 1),
    ] {
        assert_eq!(log.matches(words).count(), times, "{words}: {log}");
    }
    assert_eq!(controller.stop().await?, Exit::Code(0));
    control_plane.finish().await
}

#[tokio::test]
async fn a_port_that_is_taken_is_waited_for() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    let mut place = Place::new(&control_plane)?;
    place.show()?;
    let taken = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, place.port))?;
    let controller = place.controller(&control_plane).await?;
    eventually("it says that it cannot listen", SOON, async || {
        let log = controller.logs()?;
        ensure!(log.contains(&format!("cannot listen on 0.0.0.0:{}", place.port)), "{log}");
        Ok(())
    })
    .await;
    drop(taken);
    let client = TlsClient::new(&place.certificate.authority, HOST)?;
    let patience = SOON + Duration::from_secs(5);
    eventually("it serves", patience, async || client.connect(place.port).await.map(drop)).await;
    assert_eq!(controller.stop().await?, Exit::Code(0));
    control_plane.finish().await
}
