//! How things stand when somebody scrapes, and how that is told: two tables of gauges.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use crate::bundle::{Decision, LeftOut};
use crate::fanout::{Census, Standing};

/// How things stand at one moment.
#[derive(Debug, Default)]
pub struct Survey {
    /// Whether this process leads. While it does not, nothing is told of Bundles: that is up to the one who does.
    pub leads: bool,
    /// How many Bundles wait to be decided.
    pub undecided: usize,
    /// How the fan-out stands.
    pub fanout: Census,
    /// Bundles, sorted by name.
    pub bundles: Vec<BundleSurvey>,
}

/// How one Bundle stands.
#[derive(Debug)]
pub struct BundleSurvey {
    /// Its name.
    pub name: String,
    /// What its status says.
    pub conditions: Vec<Condition>,
    /// How its targets stand, unless it is refused.
    pub standing: Option<Standing>,
    /// What it came to, unless it is refused.
    pub decision: Option<Arc<Decision>>,
}

/// A condition without its words.
#[derive(Debug)]
pub struct Condition {
    /// Its type.
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word.
    pub reason: String,
}

/// What was answered and not told yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Latest(Arc<Mutex<Option<Survey>>>);

type Labels<'a> = &'a [(&'static str, &'a str)];

type Value = fn(&Survey) -> usize;

/// Gauges of the process: name, help, value.
const OF_PROCESS: [(&str, &str, Value); 6] = [
    ("leader", "Whether this replica leads (1): only one writes, and tells of Bundles", |now| now.leads.into()),
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

/// Tells the samples of one Bundle: labels beside its name, and value.
type Tell<'a> = &'a mut dyn FnMut(Labels<'_>, i64) -> fmt::Result;

type Samples = fn(&BundleSurvey, Tell<'_>) -> fmt::Result;

/// Gauges of Bundles: name, help, samples.
const OF_BUNDLES: [(&str, &str, Samples); 9] = [
    ("bundle_condition", "Conditions of Bundles with their status and reason; always 1", |bundle, tell| {
        bundle.conditions.iter().try_for_each(|Condition { type_, status, reason }| {
            tell(&[("condition", type_), ("status", status), ("reason", reason)], 1)
        })
    }),
    ("bundle_targets_wanted", "Objects that there are to be of a Bundle, unless it is refused", |bundle, tell| {
        bundle.standing.iter().try_for_each(|standing| tell(&[], number(standing.wanted)))
    }),
    ("bundle_targets_in_sync", "Objects among those wanted that are as they should be", |bundle, tell| {
        bundle.standing.iter().try_for_each(|standing| tell(&[], number(standing.in_sync)))
    }),
    (
        "bundle_targets_failing",
        "Objects that cannot be written or let go, or that others keep changing",
        |bundle, tell| bundle.standing.iter().try_for_each(|standing| tell(&[], number(standing.failing))),
    ),
    (
        "bundle_rollout_wait_seconds",
        "Until the next rollout of a Bundle that is held back because its content changes too often; absent for others",
        |bundle, tell| {
            let held = bundle.standing.and_then(|standing| standing.held);
            held.iter().try_for_each(|held| tell(&[], held.as_secs().try_into().unwrap_or(i64::MAX)))
        },
    ),
    ("bundle_certificates", "Certificates that a Bundle publishes, default CAs among them", |bundle, tell| {
        bundle.decision.iter().try_for_each(|decision| tell(&[], number(decision.stock.published)))
    }),
    (
        "bundle_certificates_left_out",
        "Certificates in a Bundle's sources that are not published, by why",
        |bundle, tell| {
            bundle.decision.iter().try_for_each(|decision| {
                LeftOut::ALL
                    .into_iter()
                    .try_for_each(|why| tell(&[("why", word(why))], number(why.count(&decision.findings))))
            })
        },
    ),
    (
        "bundle_earliest_certificate_expiry_timestamp_seconds",
        "When the first certificate of a Bundle expires, default CAs among them, as Unix time",
        |bundle, tell| bundle.decision.iter().try_for_each(|decision| tell(&[], decision.stock.earliest)),
    ),
    (
        "bundle_certificate_expiry_timestamp_seconds",
        "When a certificate expires that is no default CA, as Unix time; of each Bundle the 100 that do so first",
        |bundle, tell| {
            bundle.decision.iter().flat_map(|decision| &decision.stock.own).try_for_each(|own| {
                tell(&[("certificate", &own.name), ("fingerprint", &own.fingerprint)], own.not_after)
            })
        },
    ),
];

fn word(why: LeftOut) -> &'static str {
    match why {
        LeftOut::Expired => "expired",
        LeftOut::NonCa => "not_a_ca",
        LeftOut::Refused => "refused",
    }
}

impl Latest {
    pub(super) fn set(&self, survey: Option<Survey>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = survey;
    }
}

impl Collector for Latest {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(survey) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
        for (name, help, value) in OF_PROCESS {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&number(value(&survey)))?;
        }
        for (name, help, samples) in OF_BUNDLES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for bundle in &survey.bundles {
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
    use std::time::Duration;

    use super::*;
    use crate::bundle::fixture::{now, plain};
    use crate::bundle::{Expiry, World, decide};
    use crate::metrics::{ours, registry, text};

    pub(in crate::metrics) fn bundle(name: &str) -> BundleSurvey {
        let mut decision = decide(&plain(name), &World::default(), now()).expect("a decision");
        let hostile =
            Expiry { not_after: -1, fingerprint: "01234567".into(), name: "a \"b\"\nrootcast_leader 7".into() };
        decision.stock.own.push(hostile);
        let condition = Condition { type_: "Synced".into(), status: "True".into(), reason: "Synced".into() };
        BundleSurvey {
            name: name.to_owned(),
            conditions: vec![condition],
            standing: Some(Standing { wanted: 5, in_sync: 3, failing: 1, held: Some(Duration::from_secs(8)) }),
            decision: Some(Arc::new(decision)),
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn no_text_of_others_makes_a_line_or_a_label(name in "(.|\\n|\\pC|[\"\\\\{}]){0,40}", reason in "(.|\\n|[\"\\\\]){0,40}") {
            let told = |name: &str, reason: &str| {
                let mut registry = registry();
                let latest = Latest::default();
                ours(&mut registry).register_collector(Box::new(latest.clone()));
                let mut bundle = bundle("b");
                bundle.conditions[0].reason = reason.to_owned();
                let own = &mut bundle.decision.as_mut().map(Arc::make_mut).expect("a decision").stock.own;
                own[1].name = name.into();
                latest.set(Some(Survey { bundles: vec![bundle], ..Survey::default() }));
                let text = text(&registry);
                text.lines().filter(|line| line.contains("bundle=\"b\"")).map(str::to_owned).collect::<Vec<_>>()
            };
            let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let plain = told("NAME", "REASON");
            let expected: Vec<_> = plain
                .iter()
                .map(|line| line.replace("NAME", &escaped(&name)).replace("REASON", &escaped(&reason)))
                .collect();
            proptest::prop_assert_eq!(told(&name, &reason).join("\n"), expected.join("\n"));
        }
    }

    #[test]
    fn a_bundle_is_told_in_a_few_series_whatever_its_certificates_are_called() {
        let mut registry = registry();
        let latest = Latest::default();
        ours(&mut registry).register_collector(Box::new(latest.clone()));
        latest.set(Some(Survey { bundles: vec![bundle("b")], ..Survey::default() }));
        let text = text(&registry);
        let served: Vec<_> = text.lines().filter(|line| line.contains("bundle=\"b\"")).collect();
        let end = 2_493_072_000_i64;
        assert_eq!(
            served,
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
        assert!(!text.lines().any(|line| line == "rootcast_leader 7"));
    }
}
