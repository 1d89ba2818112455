//! A hundred Bundles whose certificates are retained: how much memory that takes.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::ListParams};
use rootcast_e2e::{
    Controller, Exit, Launch, eventually,
    scenario::{self, TRUST_NAMESPACE},
};
use serde_json::json;

use crate::{
    SMALL,
    material::Material,
    numbers::mebibytes,
    report::{Report, Row},
    stage::{SELECTOR, Stage},
};

const BUNDLES: usize = 100;

const NAMESPACES: usize = 10;

/// How often each is measured, in turn.
const PAIRS: usize = 5;

/// Bytes of a Bundle of two or three CAs.
const FEW: usize = 3_000;

/// How much more memory, in MiB.
const GOAL: f64 = 1.0;

/// The controller's flags without and with retention.
const FLAGS: [&[&str]; 2] = [&[], &["--default-retain=24h", "--settle=1s"]];

/// What ledgers of Bundles in sync cost a controller that is idle.
pub(crate) async fn ledgers(report: &mut Report) -> Result<()> {
    for (bytes, measure) in [
        (FEW, "idle RSS, 100 Bundles of 3 KB, without / with retention"),
        (SMALL, "idle RSS, 100 Bundles of 20 KB, without / with retention"),
    ] {
        ledgers_of(bytes, measure, report).await?;
    }
    Ok(())
}

async fn ledgers_of(bytes: usize, measure: &'static str, report: &mut Report) -> Result<()> {
    let stage = Stage::with_namespaces(NAMESPACES).await?;
    if report.circumstances.is_empty() {
        report.describe(&stage).await?;
    }
    stage.control_plane.install().await?;
    let client = stage.control_plane.client();
    let material = Material::of(bytes)?;
    for number in 0..BUNDLES {
        let name = format!("retained-{number:03}");
        let pem = material.content(number)?.pem;
        let source = format!("{name}-source");
        scenario::apply(&client, &scenario::source("ConfigMap", &source, &[], &[("ca.crt", &pem)])).await?;
        let spec = json!({
            "sources": [{"configMap": {"name": source, "key": "ca.crt"}}],
            "target": {"configMap": {"key": "ca.crt"}, "namespaceSelector": {"matchLabels": {SELECTOR: ""}}},
        });
        scenario::apply(&client, &scenario::bundle(&name, &spec.to_string())).await?;
    }
    let mut pairs = Vec::new();
    for _ in 0..PAIRS {
        pairs.push([idle(&stage, FLAGS[0], 0).await?, idle(&stage, FLAGS[1], BUNDLES).await?]);
    }
    let mut more: Vec<_> = pairs.iter().map(|[off, on]| on - off).collect();
    more.sort_by(f64::total_cmp);
    let list = pairs.iter().map(|[off, on]| format!("{off:.2} / {on:.2}")).collect::<Vec<_>>().join(", ");
    let median = more[PAIRS / 2];
    report.add(Row {
        measure,
        goal: "1 MiB more",
        measured: format!("{median:.2} MiB more ({list})"),
        met: median <= GOAL,
        cost: String::new(),
        requests: String::new(),
    });
    Ok(())
}

/// RSS in MiB of a controller with these flags that started with everything in sync, `ledgers` of them among it.
async fn idle(stage: &Stage, args: &[&str], ledgers: usize) -> Result<f64> {
    let stored = Api::<ConfigMap>::namespaced(stage.control_plane.client(), TRUST_NAMESPACE);
    let mut rss = 0.0;
    // The first one brings everything in sync.
    for _ in 0..2 {
        let launch = Launch { args, ..Launch::default() };
        let controller = Controller::start_with(&stage.control_plane, launch).await?;
        eventually("the ledgers are as many", Duration::from_mins(2), async || {
            let found = stored.list_metadata(&ListParams::default().labels("rootcast.dev/ledger")).await?.items.len();
            ensure!(found == ledgers, "{found} ledgers, not {ledgers}");
            Ok(())
        })
        .await;
        stage.processes.and(controller.pid()).quiet().await?;
        rss = mebibytes(controller.rss()?);
        let exit = controller.stop().await?;
        ensure!(exit == Exit::Code(0), "the controller ended with {exit:?}");
    }
    Ok(rss)
}
