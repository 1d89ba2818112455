//! All metrics, as controller and injector serve them once everything that there is to tell has happened.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use rootcast::api;
use rootcast::bundle::{Decision, Intent, World, decide};
use rootcast::fanout::{Answer, Request, Standing};
use rootcast::metrics::{
    BundleSurvey, CameBack, Condition, Controller, Hearing, Injector, Requests, Survey, Validity, Watches, registry,
};
use rootcast::webhook::{Certificate, Identity, Outcome};
use serde_json::json;

/// One metric.
#[derive(Clone, Debug)]
pub(crate) struct Metric {
    /// As queries name it, but for the suffixes of histograms.
    pub(crate) name: String,
    /// counter, gauge, histogram or info.
    pub(crate) kind: String,
    pub(crate) help: String,
    pub(crate) labels: Vec<String>,
    /// Who serves it.
    pub(crate) programs: BTreeSet<&'static str>,
}

impl Metric {
    /// Its name in queries: of a histogram there are three.
    pub(crate) fn series(&self) -> Vec<String> {
        match self.kind.as_str() {
            "histogram" => ["bucket", "sum", "count"].map(|suffix| format!("{}_{suffix}", self.name)).into(),
            _ => vec![self.name.clone()],
        }
    }
}

/// All metrics, in the order in which they are served.
pub(crate) fn catalogue() -> Vec<Metric> {
    let mut all: Vec<Metric> = Vec::new();
    for (program, served) in [("controller", controller()), ("injector", injector())] {
        for metric in parse(program, &served) {
            match all.iter_mut().find(|known| known.name == metric.name) {
                Some(known) => known.programs.extend(metric.programs),
                None => all.push(metric),
            }
        }
    }
    all.sort_by_key(|metric| {
        (metric.name.starts_with("process_"), metric.programs.len(), metric.programs.first().copied())
    });
    all
}

fn controller() -> String {
    let mut registry = registry();
    let (watches, hearing) = watches();
    let (mut controller, scrape) = Controller::register(&mut registry);
    requests().register(&mut registry);
    Validity::register(&mut registry, &certificate());
    watches.register(&mut registry);
    hearing.heard();
    controller.writes.count(&Request::Create, &Answer::Conflict);
    let [type_, status, reason] = ["Synced", "True", "Synced"].map(str::to_owned);
    let bundle = BundleSurvey {
        name: "b".to_owned(),
        conditions: vec![Condition { type_, status, reason }],
        standing: Some(Standing { held: Some(Duration::from_secs(1)), ..Standing::default() }),
        decision: Some(Arc::new(decision())),
    };
    let answer = async {
        let inquiry = controller.inquiries.recv().await.expect("somebody asks");
        inquiry.send(Survey { bundles: vec![bundle], ..Survey::default() }).expect("somebody waits");
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async { tokio::join!(scrape.ask(), answer) });
    encoded(&registry)
}

fn injector() -> String {
    let mut registry = registry();
    let injector = Injector::register(&mut registry);
    injector.reviewed(Outcome::Injected, Duration::from_millis(1));
    requests().register(&mut registry);
    let (watches, hearing) = watches();
    watches.register(&mut registry);
    hearing.heard();
    Validity::register(&mut registry, &certificate());
    encoded(&registry)
}

fn requests() -> Requests {
    let requests = Requests::default();
    requests.count(CameBack::Lost);
    requests
}

fn watches() -> (Watches, Hearing) {
    let watches = Watches::default();
    let hearing = watches.enter("bundles");
    (watches, hearing)
}

fn decision() -> Decision {
    let pem = include_str!("../cases/certs/rsa.pem");
    let bundle: api::Bundle = serde_json::from_value(json!({
        "apiVersion": api::API_VERSION, "kind": api::KIND, "metadata": { "name": "b" },
        "spec": { "sources": [{ "inLine": pem }], "target": { "configMap": { "key": "ca.pem" } } },
    }))
    .expect("a Bundle");
    let intent = Intent::parse(&bundle, "cert-manager").expect("a valid Bundle");
    decide(&intent, &World::default(), jiff::Timestamp::UNIX_EPOCH).expect("a decision")
}

fn certificate() -> Certificate {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (certificate_pem, key_pem) = (made.cert.pem().into_bytes(), made.signing_key.serialize_pem().into_bytes());
    let certificate = Certificate::new();
    certificate.replace(&Identity { certificate_pem, key_pem }).expect("they fit");
    certificate
}

fn encoded(registry: &Registry) -> String {
    let mut text = String::new();
    text::encode(&mut text, registry).expect("a string takes everything");
    text
}

/// Reads the text format of `OpenMetrics`.
fn parse(program: &'static str, served: &str) -> Vec<Metric> {
    let mut metrics = Vec::new();
    let mut helps = BTreeMap::new();
    for line in served.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            helps.insert(name, help.trim_end_matches('.').to_owned());
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            metrics.push(Metric {
                name: format!("{name}{suffix}"),
                kind: kind.to_owned(),
                help: helps[name].clone(),
                labels: Vec::new(),
                programs: [program].into(),
            });
        } else if let Some(metric) = metrics.last_mut()
            && line.starts_with(&metric.name)
        {
            metric.labels = labels(line);
        }
    }
    for metric in &metrics {
        assert!(
            metric.series().iter().all(|name| served.contains(&format!("\n{name}"))),
            "{} is not sampled",
            metric.name
        );
    }
    metrics
}

/// The names of a series' labels, but for the bounds of a histogram.
fn labels(line: &str) -> Vec<String> {
    let Some((_, rest)) = line.split_once('{') else { return Vec::new() };
    let (labels, _) = rest.rsplit_once('}').expect("labels end");
    labels
        .split("\",")
        .filter_map(|label| label.split_once('='))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name != "le")
        .collect()
}
