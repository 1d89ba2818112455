//! config/samples, with and without the injector's part.

use anyhow::{Context as _, Result, ensure};
use rootcast_e2e::{eventually, scenario::SOON};
use serde_json::Value;

use crate::{
    pods::{create, pod, pods, trusts},
    stage::{BUNDLE, Play},
};

#[tokio::test]
async fn the_samples_show_what_they_say() -> Result<()> {
    let play = Play::begin("sampling", &[]).await?;
    let control_plane = play.stage.control_plane;
    control_plane.kubectl_ok(&["apply", "--server-side", "-k", "config/samples"], "")?;
    eventually("the sample Bundles are known", SOON, async || {
        let probe = pod("probe", &[(BUNDLE, "public-and-private")]);
        let path = format!("{}?dryRun=All", pods(play.namespace));
        let created = create(&play.client, &path, &probe).await?.object()?;
        ensure!(trusts(&created).is_in_part(), "they are not");
        Ok(())
    })
    .await;
    // A namespace has its label before it has pods.
    control_plane.namespace("payments", &[("team", "payments"), (BUNDLE, "payments")]).await?;
    control_plane.kubectl_ok(&["apply", "--server-side", "-k", "config/samples/injector", "--force-conflicts"], "")?;

    let read = async |path: String| -> Result<Value> {
        Ok(play.client.request(http::Request::get(path).body(Vec::new())?).await?)
    };
    let volumes = |pod: &Value| trusts(pod).volumes.iter().map(|volume| volume["name"].clone()).collect::<Vec<_>>();
    let trusting = read(format!("{}/trusting", pods("payments"))).await?;
    assert_eq!(volumes(&trusting), ["rootcast-payments"]);
    let doubting = read(format!("{}/doubting", pods("payments"))).await?;
    assert!(!trusts(&doubting).is_in_part(), "{doubting:#}");

    let list = format!("{}?labelSelector=app%3Dtrusting", pods("default"));
    let pods = eventually("the Deployment's pods come", SOON, async || {
        let pods = read(list.clone()).await?["items"].as_array().context("a list has items")?.clone();
        ensure!(pods.len() == 2, "{} pods", pods.len());
        Ok(pods)
    })
    .await;
    for pod in pods {
        assert_eq!(volumes(&pod), ["rootcast-public-and-private"]);
        let trust = trusts(&pod);
        let names: Vec<_> =
            trust.containers["app"].1.iter().filter_map(|variable| variable.split('=').next()).collect();
        assert_eq!(names, ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"]);
        assert_eq!(trust.containers["sidecar"], Default::default());
    }
    play.end().await
}
