//! All metrics, as controller and injector serve them once everything that there is to tell has happened.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use rootcast::api;
use rootcast::bundle::{
    BundleId, Clock, Decision, Evidence, Facts, Inputs, Intent, Memory, Phase, RetentionInput, RetentionPolicy,
    Rotation, decide, retain,
};
use rootcast::fanout::{RolloutStats, TargetRequest, WriteResult};
use rootcast::metrics::{
    BundleStats, ConditionLabels, ControllerMetrics, InjectorMetrics, ReconcileFailure, ReconcileResult,
    RequestMetrics, ResponseClass, ServingCertMetrics, StatsSnapshot, WatchActivity, WatchMetrics, registry,
};
use rootcast::webhook::{Identity, ReloadableCertificate, ReviewOutcome};
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
    let (watches, activity) = watches();
    let (mut controller, scrape) = ControllerMetrics::register(&mut registry);
    requests().register(&mut registry);
    ServingCertMetrics::register(&mut registry, &certificate());
    watches.register(&mut registry);
    activity.record_event();
    controller.writes.count(&TargetRequest::Create, &WriteResult::Conflict);
    controller.reconciles.count(ReconcileResult::Success, Duration::from_millis(1));
    controller.reconciles.count_failure(ReconcileFailure::Refused);
    let [type_, status, reason] = ["Synced", "True", "Synced"].map(str::to_owned);
    let bundle = BundleStats {
        name: "b".to_owned(),
        conditions: vec![ConditionLabels { type_, status, reason }],
        rollout: Some(RolloutStats { held: Some(Duration::from_secs(1)), ..RolloutStats::default() }),
        decision: Some(Arc::new(decision())),
    };
    let answer = async {
        let request = controller.scrape_requests.recv().await.expect("a scrape waits");
        request.send(StatsSnapshot { bundles: vec![bundle], ..StatsSnapshot::default() }).expect("the scrape waits");
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async { tokio::join!(scrape.refresh(), answer) });
    encoded(&registry)
}

fn injector() -> String {
    let mut registry = registry();
    let injector = InjectorMetrics::register(&mut registry);
    injector.reviewed(ReviewOutcome::Injected, Duration::from_millis(1));
    requests().register(&mut registry);
    let (watches, activity) = watches();
    watches.register(&mut registry);
    activity.record_event();
    ServingCertMetrics::register(&mut registry, &certificate());
    encoded(&registry)
}

fn requests() -> RequestMetrics {
    let requests = RequestMetrics::default();
    requests.count(ResponseClass::Lost);
    requests
}

fn watches() -> (WatchMetrics, WatchActivity) {
    let watches = WatchMetrics::default();
    let activity = watches.add("bundles");
    (watches, activity)
}

fn decision() -> Decision {
    let pem = include_str!("../cases/certs/rsa.pem");
    let bundle: api::Bundle = serde_json::from_value(json!({
        "apiVersion": api::API_VERSION, "kind": api::KIND, "metadata": { "name": "b" },
        "spec": { "sources": [{ "inLine": pem }], "target": { "configMap": { "key": "ca.pem" } } },
    }))
    .expect("a Bundle");
    let intent = Intent::parse(&bundle, &"cert-manager".into()).expect("a valid Bundle");
    let decision = decide(&intent, &Inputs::default(), Timestamp::UNIX_EPOCH).expect("a decision");
    Decision { rotation: rotation(pem), ..decision }
}

/// The rotation of a Bundle whose certificate is leaving.
fn rotation(pem: &str) -> Option<Rotation> {
    let now = Timestamp::UNIX_EPOCH;
    let blocks = rootcast::trust::pem::read(pem.as_bytes()).expect("PEM");
    let mut memory = Memory::begin(blocks.into_iter().filter_map(|block| block.certificate.ok()), now);
    memory.entries.values_mut().for_each(|entry| entry.phase = Phase::Leaving { since: now });
    let facts =
        Facts { placed: None, evidence: Evidence::Complete(Vec::new()), clock: Clock { local: now, server: now } };
    let input = RetentionInput {
        policy: RetentionPolicy { retain: Some(SignedDuration::from_hours(1)), settle: SignedDuration::ZERO },
        own: None,
        admit: true,
        default_cas: &BTreeMap::new(),
        denied: &|_| false,
        facts: &facts,
    };
    Rotation::new(&BundleId::Bundle("b".into()), &retain(&memory, &input), &input, 0, None)
}

fn certificate() -> ReloadableCertificate {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (certificate_pem, key_pem) = (made.cert.pem().into_bytes(), made.signing_key.serialize_pem().into_bytes());
    let certificate = ReloadableCertificate::new();
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
