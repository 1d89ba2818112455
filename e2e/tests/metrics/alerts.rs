//! Every alert fires when it has to, and clears, going by Prometheus' own tool.

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use rootcast_e2e::promtool_ok;
use serde_json::Value;

#[test]
fn every_alert_fires_after_its_time_and_clears() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let rule: Value = serde_saphyr::from_str(&read("config/monitoring/prometheus-rule.yaml")?)?;
    let mut tests = String::new();
    // What a PrometheusRule has under `spec` is a file of rules.
    fs::write(folder.path().join("rules.yaml"), rule["spec"].to_string())?;
    promtool_ok(folder.path(), &["check", "rules", "rules.yaml"])?;
    for file in ["alerts.yaml", "slow_alerts.yaml"] {
        let text = read(&format!("e2e/tests/metrics/{file}"))?;
        fs::write(folder.path().join(file), &text)?;
        promtool_ok(folder.path(), &["test", "rules", file])?;
        tests += &text;
    }

    let groups = rule["spec"]["groups"].as_array().context("groups")?.iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().into_iter().flatten());
    let alerts: BTreeSet<_> = rules.filter_map(|rule| rule["alert"].as_str()).collect();
    let untested: Vec<_> = alerts.iter().filter(|alert| !tests.contains(&format!("alertname=\"{alert}\""))).collect();
    ensure!(untested.is_empty(), "no test has {untested:?} fire");
    Ok(())
}

fn read(file: &str) -> Result<String> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    fs::read_to_string(&file).with_context(|| file.display().to_string())
}
