//! Snapshot of the controller's state for a scrape, and the two tables of gauges that it is encoded by.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use crate::bundle::{Decision, LeftOutReason, Rotation, RotationPhase};
use crate::fanout::{EngineStats, RolloutStats};

/// The state of the controller at one moment.
#[derive(Debug, Default)]
pub struct StatsSnapshot {
    /// Whether this process leads; while it does not, there are no Bundles here: the leader serves them.
    pub is_leader: bool,
    /// The number of Bundles that wait to be decided.
    pub undecided: usize,
    /// The statistics of the fan-out.
    pub fanout: EngineStats,
    /// The Bundles, sorted by name.
    pub bundles: Vec<BundleStats>,
}

/// The state of one Bundle.
#[derive(Debug)]
pub struct BundleStats {
    /// The name of the Bundle.
    pub name: String,
    /// The conditions in the status.
    pub conditions: Vec<ConditionLabels>,
    /// The state of the targets; `None` for a refused Bundle.
    pub rollout: Option<RolloutStats>,
    /// The last decision; `None` for a refused Bundle.
    pub decision: Option<Arc<Decision>>,
}

/// A condition without its message.
#[derive(Debug)]
pub struct ConditionLabels {
    /// The type.
    pub type_: String,
    /// The status: `True`, `False` or `Unknown`.
    pub status: String,
    /// The reason, one word.
    pub reason: String,
}

/// Collector of the last snapshot; a scrape takes it.
#[derive(Clone, Debug, Default)]
pub(super) struct StatsCollector(Arc<Mutex<Option<StatsSnapshot>>>);

type Labels<'a> = &'a [(&'static str, &'a str)];

type Value = fn(&StatsSnapshot) -> usize;

/// Gauges of the process: name, help, value.
const PROCESS_GAUGES: [(&str, &str, Value); 6] = [
    ("leader", "Whether this replica leads (1): only one writes, and tells of Bundles", |now| now.is_leader.into()),
    ("bundles_queued", "Bundles that wait to be evaluated", |now| now.undecided),
    ("targets_queued", "Targets that wait for their turn to be written", |now| now.fanout.queued),
    ("target_requests_in_flight", "Requests about targets that are not answered yet", |now| now.fanout.in_flight),
    (
        "target_requests_in_flight_limit",
        "How many of these there may be at present; grows while the API server is well",
        |now| now.fanout.limit,
    ),
    (
        "target_requests_paused",
        "Whether nothing is sent for the moment (1), since the API server asked for that or cannot be reached",
        |now| now.fanout.paused.into(),
    ),
];

/// Writes a sample of one Bundle: labels beside its name, and value.
type Emit<'a> = &'a mut dyn FnMut(Labels<'_>, i64) -> fmt::Result;

type Samples = fn(&BundleStats, Emit<'_>) -> fmt::Result;

/// Gauges of Bundles: name, help, samples.
const BUNDLE_GAUGES: [(&str, &str, Samples); 10] = [
    ("bundle_condition", "Conditions of Bundles with their status and reason; always 1", |bundle, emit| {
        bundle.conditions.iter().try_for_each(|ConditionLabels { type_, status, reason }| {
            emit(&[("condition", type_), ("status", status), ("reason", reason)], 1)
        })
    }),
    ("bundle_targets_wanted", "Objects that there are to be of a Bundle, unless it is refused", |bundle, emit| {
        bundle.rollout.iter().try_for_each(|standing| emit(&[], number(standing.desired)))
    }),
    ("bundle_targets_in_sync", "Objects among those wanted that are as they should be", |bundle, emit| {
        bundle.rollout.iter().try_for_each(|standing| emit(&[], number(standing.in_sync)))
    }),
    (
        "bundle_targets_failing",
        "Objects that cannot be written or let go, or that others keep changing",
        |bundle, emit| bundle.rollout.iter().try_for_each(|standing| emit(&[], number(standing.failing))),
    ),
    (
        "bundle_rollout_wait_seconds",
        "Until the next rollout of a Bundle that is held back because its content changes too often; absent for others",
        |bundle, emit| {
            let held = bundle.rollout.and_then(|standing| standing.held);
            held.iter().try_for_each(|held| emit(&[], held.as_secs().try_into().unwrap_or(i64::MAX)))
        },
    ),
    (
        "bundle_certificates",
        "Certificates that a Bundle publishes, and, while it has retention, withdraws; `phase` is absent for default CAs, and for all certificates without retention",
        |bundle, emit| {
            bundle.decision.iter().try_for_each(|decision| {
                let phases = decision.rotation.as_ref().map(Rotation::count_by_phase).unwrap_or_default();
                let is_published = |(phase, _): &(&RotationPhase, _)| **phase != RotationPhase::Withdrawing;
                let published: usize = phases.iter().filter(is_published).map(|(_, count)| count).sum();
                emit(&[], number(decision.expiry_summary.published.saturating_sub(published)))?;
                phases.iter().try_for_each(|(phase, count)| emit(&[("phase", phase.as_str())], number(*count)))
            })
        },
    ),
    (
        "bundle_retiring_since_seconds",
        "When the first of the certificates that are leaving a Bundle left its last source, as Unix time; absent while none is",
        |bundle, emit| {
            let rotation = bundle.decision.as_ref().and_then(|decision| decision.rotation.as_ref());
            let since = rotation.and_then(Rotation::retiring_since);
            since.iter().try_for_each(|since| emit(&[], since.as_second()))
        },
    ),
    (
        "bundle_certificates_left_out",
        "Certificates in a Bundle's sources that are not published, by why",
        |bundle, emit| {
            bundle.decision.iter().try_for_each(|decision| {
                LeftOutReason::ALL
                    .into_iter()
                    .try_for_each(|why| emit(&[("why", reason_label(why))], number(why.count(&decision.findings))))
            })
        },
    ),
    (
        "bundle_earliest_certificate_expiry_timestamp_seconds",
        "When the first certificate of a Bundle expires, default CAs among them, as Unix time",
        |bundle, emit| {
            let earliest = bundle.decision.iter().filter_map(|decision| decision.expiry_summary.earliest);
            earliest.into_iter().try_for_each(|earliest| emit(&[], earliest))
        },
    ),
    (
        "bundle_certificate_expiry_timestamp_seconds",
        "When a certificate expires that is no default CA, as Unix time; of each Bundle the 100 that do so first",
        |bundle, emit| {
            bundle.decision.iter().flat_map(|decision| &decision.expiry_summary.own).try_for_each(|own| {
                emit(&[("certificate", &own.name), ("fingerprint", &own.fingerprint)], own.not_after)
            })
        },
    ),
];

fn reason_label(why: LeftOutReason) -> &'static str {
    match why {
        LeftOutReason::Expired => "expired",
        LeftOutReason::NonCa => "not_a_ca",
        LeftOutReason::Refused => "refused",
    }
}

impl StatsCollector {
    /// Sets what the next scrape serves; `None` for nothing.
    pub(super) fn set(&self, snapshot: Option<StatsSnapshot>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }
}

impl Collector for StatsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(snapshot) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
        for (name, help, value) in PROCESS_GAUGES {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&number(value(&snapshot)))?;
        }
        for (name, help, samples) in BUNDLE_GAUGES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for bundle in &snapshot.bundles {
                samples(bundle, &mut |labels, value| {
                    metric.encode_family(&([("bundle", bundle.name.as_str())], labels))?.encode_gauge(&value)
                })?;
            }
        }
        Ok(())
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use jiff::SignedDuration;

    use super::*;
    use crate::bundle::fixture::{now, pem, plain};
    use crate::bundle::{
        BundleId, Clock, Evidence, Expiry, Facts, Inputs, Memory, Phase, Retained, RetentionInput, RetentionPolicy,
        decide,
    };
    use crate::metrics::{prefixed, registry, text};
    use crate::trust;

    pub(in crate::metrics) fn bundle(name: &str) -> BundleStats {
        let mut decision = decide(&plain(name), &Inputs::default(), now()).expect("a decision");
        let hostile =
            Expiry { not_after: -1, fingerprint: "01234567".into(), name: "a \"b\"\nrootcast_leader 7".into() };
        decision.expiry_summary.own.push(hostile);
        let condition = ConditionLabels { type_: "Synced".into(), status: "True".into(), reason: "Synced".into() };
        BundleStats {
            name: name.to_owned(),
            conditions: vec![condition],
            rollout: Some(RolloutStats { desired: 5, in_sync: 3, failing: 1, held: Some(Duration::from_secs(8)) }),
            decision: Some(Arc::new(decision)),
        }
    }

    fn served(bundle: BundleStats) -> Vec<String> {
        let mut registry = registry();
        let latest = StatsCollector::default();
        prefixed(&mut registry).register_collector(Box::new(latest.clone()));
        latest.set(Some(StatsSnapshot { bundles: vec![bundle], ..StatsSnapshot::default() }));
        let text = text(&registry);
        assert!(!text.lines().any(|line| line == "rootcast_leader 7"));
        text.lines().filter(|line| line.contains("bundle=\"b\"")).map(str::to_owned).collect()
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn no_text_of_others_makes_a_line_or_a_label(name in "(.|\\n|\\pC|[\"\\\\{}]){0,40}", reason in "(.|\\n|[\"\\\\]){0,40}") {
            let lines = |name: &str, reason: &str| {
                let mut bundle = bundle("b");
                bundle.conditions[0].reason = reason.to_owned();
                let own = &mut bundle.decision.as_mut().map(Arc::make_mut).expect("a decision").expiry_summary.own;
                own[1].name = name.into();
                served(bundle)
            };
            let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let plain = lines("NAME", "REASON");
            let expected: Vec<_> = plain
                .iter()
                .map(|line| line.replace("NAME", &escaped(&name)).replace("REASON", &escaped(&reason)))
                .collect();
            proptest::prop_assert_eq!(lines(&name, &reason).join("\n"), expected.join("\n"));
        }
    }

    #[test]
    fn a_bundle_has_a_few_series_whatever_its_certificates_are_called() {
        let end = 2_493_072_000_i64;
        assert_eq!(
            served(bundle("b")),
            [
                "rootcast_bundle_condition{bundle=\"b\",condition=\"Synced\",status=\"True\",reason=\"Synced\"} 1",
                "rootcast_bundle_targets_wanted{bundle=\"b\"} 5",
                "rootcast_bundle_targets_in_sync{bundle=\"b\"} 3",
                "rootcast_bundle_targets_failing{bundle=\"b\"} 1",
                "rootcast_bundle_rollout_wait_seconds{bundle=\"b\"} 8",
                "rootcast_bundle_certificates{bundle=\"b\"} 1",
                "rootcast_bundle_certificates_left_out{bundle=\"b\",why=\"expired\"} 0",
                "rootcast_bundle_certificates_left_out{bundle=\"b\",why=\"not_a_ca\"} 0",
                "rootcast_bundle_certificates_left_out{bundle=\"b\",why=\"refused\"} 0",
                &format!("rootcast_bundle_earliest_certificate_expiry_timestamp_seconds{{bundle=\"b\"}} {end}"),
                &format!(
                    "rootcast_bundle_certificate_expiry_timestamp_seconds{{bundle=\"b\",certificate=\"Alpha Root CA A\",fingerprint=\"{}\"}} {end}",
                    "e533eb20"
                ),
                "rootcast_bundle_certificate_expiry_timestamp_seconds{bundle=\"b\",certificate=\"a \\\"b\\\"\\nrootcast_leader 7\",fingerprint=\"01234567\"} -1",
            ]
        );
    }

    #[test]
    fn certificates_that_are_retained_count_by_phase_and_once_each() {
        let settled_at = now() - SignedDuration::from_hours(1);
        let anchors = ["rsa", "ec"].map(|name| {
            let blocks = trust::pem::read(pem(name).as_bytes()).expect("PEM");
            blocks[0].certificate.clone().expect("a certificate")
        });
        let mut memory = Memory::begin(anchors, settled_at);
        for (entry, phase) in memory.entries.values_mut().zip([Phase::Present, Phase::Leaving { since: now() }]) {
            (entry.everywhere, entry.phase) = (Some(settled_at), phase);
        }
        let retained = Retained { memory, anchors: None, waits: BTreeMap::new(), held: Vec::new(), requeue_at: None };
        let facts = Facts {
            placed: None,
            evidence: Evidence::Complete(Vec::new()),
            clock: Clock { local: now(), server: now() },
        };
        let policy =
            RetentionPolicy { retain: Some(SignedDuration::from_hours(1)), settle: SignedDuration::from_mins(3) };
        let input = RetentionInput {
            policy,
            own: None,
            admit: true,
            default_cas: &BTreeMap::new(),
            denied: &|_| false,
            facts: &facts,
        };
        let mut bundle = bundle("b");
        let decision = Arc::make_mut(bundle.decision.as_mut().expect("a decision"));
        decision.rotation = Rotation::new(&BundleId::Bundle("b".into()), &retained, &input, 0, None);
        decision.expiry_summary.published = 150;
        let mut served = served(bundle);
        served.retain(|line| line.starts_with("rootcast_bundle_certificates{") || line.contains("retiring"));
        assert_eq!(
            served,
            [
                "rootcast_bundle_certificates{bundle=\"b\"} 148",
                "rootcast_bundle_certificates{bundle=\"b\",phase=\"announced\"} 0",
                "rootcast_bundle_certificates{bundle=\"b\",phase=\"everywhere\"} 0",
                "rootcast_bundle_certificates{bundle=\"b\",phase=\"settled\"} 1",
                "rootcast_bundle_certificates{bundle=\"b\",phase=\"leaving\"} 1",
                "rootcast_bundle_certificates{bundle=\"b\",phase=\"withdrawing\"} 0",
                &format!("rootcast_bundle_retiring_since_seconds{{bundle=\"b\"}} {}", now().as_second()),
            ]
        );
    }
}
