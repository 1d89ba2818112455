//! How large the program is, on disk and in memory, and how soon it is gone.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use kube::Api;
use rootcast::api::{Bundle, SYNCED};
use rootcast_e2e::{
    ControlPlane, Controller, Exit, eventually,
    scenario::{SOON, apply, bundle, certificate, source},
};

use crate::log;

/// The largest that the binary may be, in bytes.
const BINARY_MAX: u64 = 13_000_000;

/// The most memory that an idle controller may use, in bytes.
const MEMORY_MAX: u64 = 12 * 1024 * 1024;

/// How long it may take to end.
const FAREWELL: Duration = Duration::from_secs(5);

/// Bundles by name and what they read; `full` has every format.
const BUNDLES: [(&str, &str, &str); 3] = [
    ("full", "{useDefaultCAs: true}", ", additionalFormats: {jks: {key: jks}, pkcs12: {key: p12, password: changeit}}"),
    ("from-object", "{configMap: {name: roots, key: k}}", ""),
    ("from-selection", "{configMap: {selector: {matchLabels: {roots: ''}}, includeAllKeys: true}}", ""),
];

#[tokio::test]
async fn a_controller_with_three_bundles_in_ten_namespaces_is_small_and_ends_at_once() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    let client = control_plane.client();
    for number in 0..10 {
        control_plane.namespace(&format!("small-{number}"), &[("small", "")]).await?;
    }
    let roots = |name: &str| source("ConfigMap", "roots", &[("roots", "")], &[("k", &certificate(name))]);
    apply(&client, &roots("ec")).await?;
    for (name, from, formats) in BUNDLES {
        let selector = "namespaceSelector: {matchLabels: {small: ''}}";
        let spec = format!("{{sources: [{from}], target: {{configMap: {{key: pem}}, {selector}{formats}}}}}");
        apply(&client, &bundle(name, &spec)).await?;
    }

    let controller = Controller::start(&control_plane, &[]).await?;
    let bundles = Api::<Bundle>::all(client.clone());
    for (name, ..) in BUNDLES {
        eventually(name, SOON, async || {
            let status = bundles.get(name).await?.status.unwrap_or_default();
            let synced = status.conditions.iter().flatten().find(|condition| condition.type_ == SYNCED);
            ensure!(synced.is_some_and(|synced| synced.status == "True"), "{status:?}");
            Ok(())
        })
        .await;
    }
    let (idle, peak) = (controller.rss()?, controller.peak_rss()?);
    let binary = fs::metadata(format!("/proc/{}/exe", controller.pid()))?.len();
    let kib = |bytes: u64| bytes / 1024;
    println!("binary {binary} bytes, idle {} KiB, peak {} KiB", kib(idle), kib(peak));

    // A rollout is under way.
    apply(&client, &roots("p384")).await?;
    let asked = Instant::now();
    log::betrays_nothing(&controller.logs()?);
    assert_eq!(controller.stop().await?, Exit::Code(0));
    let took = asked.elapsed();
    assert!(took < FAREWELL, "it took {took:?} to end");
    assert!(binary < BINARY_MAX, "the binary has {binary} bytes");
    assert!(idle < MEMORY_MAX, "idle it uses {idle} bytes");
    control_plane.finish().await
}
