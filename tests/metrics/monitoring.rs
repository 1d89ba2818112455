//! Alerts and dashboard ask for what is served.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::catalogue::{Metric, catalogue};

#[test]
fn alerts_and_dashboard_name_only_metrics_and_labels_that_are_served() {
    let metrics = catalogue();
    let names: BTreeSet<String> = metrics.iter().flat_map(Metric::series).collect();
    for file in ["prometheus-rule.yaml", "dashboard.json"] {
        let text = read(file);
        let asked: BTreeSet<_> = words(&text).filter(|word| is_metric(word)).map(str::to_owned).collect();
        assert!(asked.len() > 9, "{file} asks for {asked:?}");
        let unknown: Vec<_> = asked.difference(&names).collect();
        assert!(unknown.is_empty(), "config/monitoring/{file} asks for {unknown:?}, which nobody serves");
    }
    let labels: BTreeSet<_> = metrics.iter().flat_map(|metric| metric.labels.clone()).collect();
    for label in ["bundle", "condition", "certificate", "fingerprint", "verb", "result", "code", "outcome"] {
        assert!(labels.contains(label), "{label} is no label: {labels:?}");
    }
}

#[test]
fn every_alert_says_what_happened_and_what_to_do() {
    let rule: Value = serde_saphyr::from_str(&read("prometheus-rule.yaml")).unwrap();
    let groups = rule["spec"]["groups"].as_array().unwrap();
    let rules: Vec<_> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    assert!(rules.len() >= 8);
    let page = include_str!("../../docs/monitoring.md");
    for rule in rules {
        let name = rule["alert"].as_str().expect("an alert");
        assert!(name.starts_with("Rootcast"), "{name}");
        assert!(["warning", "critical"].map(Value::from).contains(&rule["labels"]["severity"]), "{name}");
        assert!(rule["for"].is_string() && rule["expr"].is_string(), "{name}");
        let words = |annotation: &str| rule["annotations"][annotation].as_str().unwrap_or_default().len();
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(
            page.contains(&format!("\n| `{name}` | {severity} | ")),
            "{name} is not in the table of docs/monitoring.md"
        );
        assert!((20..120).contains(&words("summary")) && words("description") > 100, "{name} explains itself");
    }
}

/// The parts of a dashboard that Grafana cannot do without
/// (<https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/>).
#[test]
fn the_dashboard_has_what_grafana_asks_of_one() {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    assert!(dashboard["id"].is_null() && dashboard["uid"] == "rootcast" && dashboard["title"].is_string());
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 36));
    assert!(dashboard["time"]["from"].is_string() && dashboard["time"]["to"].is_string());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert!(variables.iter().all(|variable| variable["name"].is_string() && variable["type"].is_string()));
    let panels = dashboard["panels"].as_array().unwrap();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: an id of its own");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a place"));
        assert!(w > 0 && h > 0 && x + w <= 24, "{title} is outside");
        assert!((x..x + w).all(|x| (y..y + h).all(|y| cells.insert((x, y)))), "{title} covers another panel");
        if panel["type"] == "row" {
            continue;
        }
        assert!(["stat", "timeseries", "table", "heatmap"].map(Value::from).contains(&panel["type"]), "{title}");
        assert!(panel["description"].is_string(), "{title} says what it shows");
        let targets = panel["targets"].as_array().expect("queries");
        assert!(!targets.is_empty() && targets.iter().all(|target| target["expr"].is_string()), "{title}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
    }
    assert!(panels.len() > 9);
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
}

fn is_metric(word: &str) -> bool {
    word.starts_with("rootcast_") || word.starts_with("process_")
}

fn read(file: &str) -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config/monitoring").join(file);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
