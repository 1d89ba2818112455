//! Scrapes in the middle of a rollout to a thousand namespaces.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rootcast_e2e::{
    ControlPlane, Controller, Samples,
    scenario::{apply, bundle, certificate, source},
};

const NAMESPACES: usize = 1000;

/// More certificates of its own than a Bundle is told of.
const AUTHORITIES: usize = 150;

const SERIES_MAX: usize = 200;

/// The longest that a scrape may take.
const SCRAPE_MAX: Duration = Duration::from_millis(50);

/// How many of a hundred scrapes may take longer, since tests run beside a control plane, and beside each other.
const OUTLIERS: usize = 5;

/// How long a rollout may take, on a machine with other things to do.
const PATIENCE: Duration = Duration::from_mins(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scrapes_stay_small_and_quick_while_a_thousand_namespaces_are_written() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    stream::iter(0..NAMESPACES)
        .map(async |number| control_plane.namespace(&format!("team-{number}"), &[("team", "")]).await)
        .buffer_unordered(16)
        .try_collect::<Vec<_>>()
        .await?;
    let client = control_plane.client();
    let authorities: String = (0..AUTHORITIES).map(authority).collect();
    let roots = |name: &str| source("ConfigMap", "roots", &[], &[("k", &(authorities.clone() + &certificate(name)))]);
    apply(&client, &roots("ec")).await?;
    let controller = Controller::start(&control_plane, &[]).await?;
    let spec = "{sources: [{useDefaultCAs: true}, {configMap: {name: roots, key: k}}],
                 target: {configMap: {key: pem}, namespaceSelector: {matchLabels: {team: ''}}}}";
    apply(&client, &bundle("everywhere", spec)).await?;
    report("created", &follow(&controller).await?);

    apply(&client, &roots("p384")).await?;
    let idle = Instant::now();
    while told(&controller).await?.1.sum("rootcast_bundle_targets_in_sync", &[]) >= number(NAMESPACES) {
        ensure!(idle.elapsed() < PATIENCE, "nothing happens");
    }
    report("updated", &follow(&controller).await?);
    let samples = told(&controller).await?.1;
    let sum = |name: &str, labels: &[(&str, &str)]| samples.sum(name, labels);
    assert!(sum("rootcast_target_writes_total", &[("result", "done")]) >= 2.0 * number(NAMESPACES));
    assert!((sum("rootcast_rollout_duration_seconds_count", &[]) - 2.0).abs() < 0.1, "two rollouts");
    println!("{} s for both rollouts", sum("rootcast_rollout_duration_seconds_sum", &[]));
    drop(controller);
    control_plane.finish().await
}

/// Scrapes until all targets are in sync; returns how long each scrape took.
async fn follow(controller: &Controller<'_>) -> Result<Vec<Duration>> {
    let (began, mut times) = (Instant::now(), Vec::new());
    loop {
        let (text, samples, time) = told(controller).await?;
        times.push(time);
        let series = text.lines().filter(|line| line.contains("bundle=\"everywhere\"")).count();
        ensure!(series < SERIES_MAX, "{series} series:\n{text}");
        let [wanted, in_sync, failing] = ["wanted", "in_sync", "failing"]
            .map(|state| samples.sum(&format!("rootcast_bundle_targets_{state}"), &[("bundle", "everywhere")]));
        ensure!(in_sync <= wanted && failing < 0.5, "{in_sync} of {wanted} in sync, {failing} fail");
        if in_sync >= number(NAMESPACES) && samples.sum("rootcast_target_requests_in_flight", &[]) < 0.5 {
            ensure!(series > 100, "only {series} series:\n{text}");
            return Ok(times);
        }
        ensure!(began.elapsed() < PATIENCE, "{in_sync} of {wanted} in sync after {:?}", began.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn told(controller: &Controller<'_>) -> Result<(String, Samples, Duration)> {
    let began = Instant::now();
    let text = controller.metrics().await?;
    let time = began.elapsed();
    let samples = Samples::parse(&text);
    Ok((text, samples, time))
}

fn report(what: &str, times: &[Duration]) {
    let mut sorted = times.to_vec();
    sorted.sort();
    let at = |percent: usize| sorted[(sorted.len() - 1) * percent / 100];
    println!(
        "{what}: {} scrapes, half of them within {:?}, 95 of 100 within {:?}, all within {:?}",
        sorted.len(),
        at(50),
        at(95),
        at(100)
    );
    assert!(at(100 - OUTLIERS) < SCRAPE_MAX, "{what}: {times:?}");
}

fn authority(number: usize) -> String {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, format!("Authority {number}"));
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().expect("a key");
    params.self_signed(&key).expect("a certificate").pem()
}

#[allow(clippy::cast_precision_loss, reason = "a number of namespaces")]
fn number(count: usize) -> f64 {
    count as f64
}
