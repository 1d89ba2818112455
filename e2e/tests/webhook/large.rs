//! Large reviews, many at once, stop neither the controller nor its probes.

use anyhow::{Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::ListParams};
use rootcast_e2e::{ControlPlane, Controller, Exit, TlsClient, eventually, http_get, scenario::SOON};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::stage::{HOST, Place, ask, review};

/// How many are under way at once, and how many each client sends.
const CLIENTS: usize = 4;
const TIMES: usize = 5;

/// Sources of a review: more than a megabyte, all of them wrong.
const SOURCES: usize = 30_000;

#[tokio::test]
async fn while_large_reviews_are_answered_probes_succeed_and_the_lease_is_kept() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    let mut place = Place::new(&control_plane)?;
    place.show()?;
    let flags = [
        format!("--webhook-certificate-dir={}", place.volume.path().display()),
        format!("--webhook-port={}", place.port),
        "--leader-elect=true".to_owned(),
        "--leader-election-namespace=cert-manager".to_owned(),
        "--leader-election-lease-duration=6s".to_owned(),
        "--leader-election-renew-deadline=4s".to_owned(),
    ];
    let mut controller =
        Controller::start(&control_plane, &flags.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let (client, port) = (TlsClient::new(&place.certificate.authority, HOST)?, place.port);
    eventually("the webhook is served", SOON, async || client.connect(port).await.map(drop)).await;

    let source = json!({"configMap": {"name": "x"}, "inLine": "x"});
    let large = review(&Value::from(vec![source; SOURCES]));
    let mut reviews = JoinSet::new();
    for _ in 0..CLIENTS {
        let (client, large) = (client.clone(), large.clone());
        reviews.spawn(async move {
            for _ in 0..TIMES {
                let answer = ask(&mut client.connect(port).await?, &large).await?;
                ensure!(answer["response"]["allowed"] == false, "{}", answer["response"]["allowed"]);
            }
            Ok(())
        });
    }
    let probes = controller.probe_port();
    let mut looks = 0;
    while !reviews.is_empty() {
        for path in ["/readyz", "/healthz"] {
            let answer = http_get(probes, path).await?;
            ensure!(answer.status == 200, "{path}: {}", answer.body);
            looks += 1;
        }
        if let Ok(Some(done)) = tokio::time::timeout(std::time::Duration::from_millis(20), reviews.join_next()).await {
            done??;
        }
    }
    controller.is_alive()?;
    let leases = Api::<Lease>::namespaced(control_plane.client(), "cert-manager");
    let terms: Vec<_> = leases.list(&ListParams::default()).await?.into_iter().filter_map(|lease| lease.spec).collect();
    ensure!(terms.iter().all(|term| term.lease_transitions.unwrap_or_default() == 0), "{terms:?}");
    println!("{} bytes each, {looks} looks at probes", large.len());
    assert_eq!(controller.stop().await?, Exit::Code(0));
    control_plane.finish().await
}
