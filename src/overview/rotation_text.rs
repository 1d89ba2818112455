//! The rotation of one Bundle as text, and as a JSON value for programs.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api;
use crate::bundle::{BundleId, Phase, RetiringNote};
use crate::inspect::{Cell, render_columns};
use crate::text::escape;
use crate::trust::{Anchor, Anchors};

use super::document::time;
use super::pod_use::PodUse;
use super::rotation_overview::{CertificateTimeline, RotationOverview, StalePod};
use super::rotation_snapshot::LedgerState;
use super::table::age;

const HEADER: [&str; 5] = ["CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE"];

/// Maximum number of pods in each list of the text; documents have all of them.
const PODS_SHOWN: usize = 20;

impl RotationOverview<'_> {
    /// Returns the conditions, the certificates and the pods as text.
    #[must_use]
    pub fn text(&self) -> String {
        self.heading() + &self.certificates() + &self.pods.map(|pods| self.pods(pods)).unwrap_or_default()
    }

    /// Returns the certificates as PEM, ascending by fingerprint.
    #[must_use]
    pub fn pem(&self) -> String {
        let anchors = Anchors::collect(self.certificates.iter().map(|certificate| certificate.entry.anchor.clone()));
        anchors.map(|anchors| anchors.to_pem() + "\n").unwrap_or_default()
    }

    fn heading(&self) -> String {
        let snapshot = self.snapshot;
        let mut out = format!("Bundle {}, ledger {}\n", snapshot.bundle, snapshot.ledger_name);
        for remark in self.remarks() {
            let _ = writeln!(out, "\nNote: {}", escape(&remark));
        }
        let conditions = [api::SETTLED, api::RETIRING].into_iter().filter_map(|type_| snapshot.condition(type_));
        let rows: Vec<_> = conditions
            .map(|condition| {
                [
                    Cell::plain(&condition.type_),
                    Cell::plain(&condition.status),
                    Cell::plain(&condition.reason),
                    Cell::plain(format!("{} ago", age(condition.last_transition_time.0, snapshot.now))),
                    Cell::plain(&condition.message),
                ]
            })
            .collect();
        if !rows.is_empty() {
            let _ = write!(out, "\n{}", render_columns(std::iter::once(HEADER.map(Cell::plain)).chain(rows)));
        }
        out
    }

    /// What explains why something is not known.
    fn remarks(&self) -> impl Iterator<Item = String> {
        let snapshot = self.snapshot;
        let off = snapshot.retention_off();
        let ledger = if off.is_none() { snapshot.describe_ledger() } else { None };
        off.into_iter().chain(ledger)
    }

    fn certificates(&self) -> String {
        let now = self.snapshot.now;
        self.certificates.iter().map(|certificate| certificate.text(now)).collect()
    }

    fn pods(&self, pods: Result<&[PodUse], &str>) -> String {
        let pods = match pods {
            Err(cause) => return format!("\nPods: not known: {}\n", escape(cause)),
            Ok([]) => return "\nPods: none uses it\n".to_owned(),
            Ok(pods) => pods,
        };
        let now = self.snapshot.now;
        let mut out = String::new();
        let stale: Vec<_> = self.stale_pods().collect();
        let files = pods.iter().filter(|pod| pod.files).count();
        let _ = match stale.len() {
            0 => writeln!(out, "\nPods: all {files} that mount it were started since its certificates are everywhere"),
            count => {
                writeln!(out, "\nPods that may have read an older file, restart them: {count} of {files} that mount it")
            }
        };
        let lines = stale.iter().map(|StalePod { pod, started, lacks }| {
            let lacks: Vec<_> = lacks.iter().map(|anchor| title(anchor)).collect();
            format!("{}, started {} ({started}): without {}", name(pod), when(*started, now), lacks.join(", "))
        });
        out += &list(lines);
        let fixed: Vec<_> = self.fixed_uses().collect();
        if !fixed.is_empty() {
            out += "\nPods that never see a change, restart them after each:\n";
        }
        out += &list(
            fixed.iter().map(|(pod, fixed)| format!("{}: container {} {}", name(pod), fixed.container, fixed.by)),
        );
        let rolling_out: Vec<_> = self.rolling_out().map(title).collect();
        if !rolling_out.is_empty() {
            let _ = writeln!(
                out,
                "\nNot in every target yet: {}: look again once they are",
                escape(&rolling_out.join(", "))
            );
        }
        out
    }

    /// Returns an object with `bundle`, `ledger`, `conditions`, `certificates` and `pods`.
    #[must_use]
    pub fn document(&self) -> Value {
        let snapshot = self.snapshot;
        let conditions = [api::SETTLED, api::RETIRING].into_iter().filter_map(|type_| snapshot.condition(type_));
        let stale = self.stale_pods().map(|StalePod { pod, started, lacks }| {
            let lacks: Vec<_> = lacks.iter().map(|anchor| anchor.fingerprint().to_string()).collect();
            json!({ "namespace": pod.namespace, "name": pod.name, "started": started.to_string(), "lacks": lacks })
        });
        let fixed = self.fixed_uses().map(|(pod, fixed)| {
            json!({ "namespace": pod.namespace, "name": pod.name, "container": fixed.container, "by": fixed.by.to_string() })
        });
        json!({
            "bundle": &**snapshot.bundle.name(),
            "ledger": snapshot.ledger_name,
            "remarks": self.remarks().collect::<Vec<_>>(),
            "conditions": conditions.collect::<Vec<_>>(),
            "certificates": self.certificates.iter().map(CertificateTimeline::document).collect::<Vec<_>>(),
            "pods": self.pods.map(|pods| json!({
                "unknown": pods.err(),
                "restart": stale.collect::<Vec<_>>(),
                "neverSeeChanges": fixed.collect::<Vec<_>>(),
            })),
        })
    }
}

impl CertificateTimeline<'_> {
    fn text(&self, now: Timestamp) -> String {
        let entry = self.entry;
        let mut out = format!("\n{}: {}\n", escape(&title(&entry.anchor)), self.phase());
        let mut line = |label: &str, text: &str| {
            let _ = writeln!(out, "  {label:<10}  {}", escape(text));
        };
        line("SHA-256", &entry.anchor.fingerprint().to_string());
        let at = |time: Timestamp| format!("{time:.0}, {}", when(time, now));
        let lost = || "not known".to_owned();
        let from =
            if entry.origins.is_empty() { String::new() } else { format!(", from {}", entry.origins.join(", ")) };
        line("first", &(entry.first.map_or_else(lost, at) + &from));
        line("everywhere", &entry.everywhere.map_or_else(|| "not yet".to_owned(), at));
        line("settled", &self.settled.map_or_else(|| "not yet".to_owned(), at));
        match entry.phase {
            Phase::Present => {}
            Phase::Leaving { since } => {
                line("leaving", &at(since));
                if let Some(RetiringNote { until, waits_for }) = &self.note {
                    line("until", &format!("{} at least", at(*until)));
                    line("waits for", waits_for);
                }
            }
            Phase::Withdrawing { since, reason } => {
                line("withdrawn", &format!("{}, since {}", at(since), reason.cause()));
            }
        }
        out
    }

    fn phase(&self) -> &'static str {
        match self.entry.phase {
            Phase::Present => "in the sources",
            Phase::Leaving { .. } => "leaving",
            Phase::Withdrawing { .. } => "withdrawn",
        }
    }

    fn document(&self) -> Value {
        let entry = self.entry;
        let text = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let (phase, since, why) = match entry.phase {
            Phase::Present => ("Present", None, None),
            Phase::Leaving { since } => ("Leaving", Some(since), None),
            Phase::Withdrawing { since, reason } => ("Withdrawing", Some(since), Some(reason)),
        };
        json!({
            "subject": entry.anchor.subject(),
            "sha256": entry.anchor.fingerprint().to_string(),
            "notAfter": time(entry.anchor.not_after()),
            "phase": phase,
            "origins": entry.origins,
            "first": text(entry.first),
            "everywhere": text(entry.everywhere),
            "settled": text(self.settled),
            "since": text(since),
            "why": why,
            "until": text(self.note.as_ref().map(|note| note.until)),
            "waitsFor": self.note.as_ref().map(|note| &note.waits_for),
        })
    }
}

/// Returns what trust-manager would drop of a Bundle at its first sync, with the remedy, if its ledger tells of anything.
#[must_use]
pub fn describe_dropped(bundle: &BundleId, ledger: &LedgerState) -> Option<String> {
    if let LedgerState::Invalid(error) = ledger {
        return Some(format!(
            "Bundle {bundle}: what trust-manager would drop is not known: its ledger cannot be read: {}\n",
            escape(&error.to_string())
        ));
    }
    let entries = ledger.memory()?.entries.values();
    let leaving = entries.filter_map(|entry| Some((entry.phase.leaving_since()?, &entry.anchor)));
    let mut lines =
        leaving.map(|(since, anchor)| format!("  {}, in no source since {since:.0}\n", escape(&title(anchor))));
    let first = lines.next()?;
    Some(format!(
        "Bundle {bundle}: trust-manager would drop what is in no source any more:\n{first}{}  cure: put them into a source first: rootcast status {bundle} --leaving -o pem\n",
        lines.collect::<String>()
    ))
}

/// Returns a certificate in words: its subject and the first digits of its fingerprint.
fn title(anchor: &Anchor) -> String {
    let subject = if anchor.subject().is_empty() { "(no name)" } else { anchor.subject() };
    format!("{subject} ({})", anchor.fingerprint().short())
}

fn name(pod: &PodUse) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}

/// Returns how far a time is from now.
fn when(time: Timestamp, now: Timestamp) -> String {
    if time > now { format!("in {}", age(now, time)) } else { format!("{} ago", age(time, now)) }
}

/// Returns the first lines, and the count of the others.
fn list(lines: impl ExactSizeIterator<Item = String>) -> String {
    let more = lines.len().saturating_sub(PODS_SHOWN);
    let mut out = String::new();
    for line in lines.take(PODS_SHOWN) {
        let _ = writeln!(out, "  {}", escape(&line));
    }
    if more > 0 {
        let _ = writeln!(out, "  and {more} more, all of them with -o json");
    }
    out
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::bundle::WithdrawalReason;
    use crate::bundle::fixture::{anchor, now};
    use crate::overview::fixture::{memory, plain, rotation};
    use crate::overview::pod_use::{FixedUse, FixedUseKind};
    use crate::overview::rotation_snapshot::RotationSnapshot;

    fn ago(seconds: i64) -> Timestamp {
        now() - SignedDuration::from_secs(seconds)
    }

    fn leaving() -> RotationSnapshot {
        let note = format!(
            "1 certificate leaving, still published: CN=A (SHA-256 {}) leaving since 2026-10-31T22:00:00Z, until 2026-11-01T22:00:00Z at least, waits for time, was in x",
            anchor("rsa").fingerprint()
        );
        let conditions = [
            (api::SETTLED, "True", "Settled", "well; retain 24h, settle 3m, 0 certificates excluded"),
            (api::RETIRING, "True", "Held", &*note),
        ];
        let phases = [
            ("ec", Some(ago(7_200)), Phase::Present),
            ("rsa", Some(ago(90_000)), Phase::Leaving { since: ago(7_200) }),
            ("nosubject", None, Phase::Present),
            ("expired", None, Phase::Withdrawing { since: ago(60), reason: WithdrawalReason::Expired }),
        ];
        rotation(&[(api::RETAIN_ANNOTATION, "24h")], &conditions, Some(memory(&phases)))
    }

    fn pod(name: &str, started: Option<Timestamp>, files: bool, fixed: &[FixedUseKind]) -> PodUse {
        let fixed = fixed.iter().map(|by| FixedUse { container: "app".to_owned(), by: by.clone() }).collect();
        PodUse { namespace: "shop".to_owned(), name: name.to_owned(), started, files, fixed }
    }

    #[test]
    fn a_rotation_is_a_timeline_of_each_certificate_what_is_leaving_first() {
        let snapshot = leaving();
        let view = RotationOverview::of(&snapshot);
        let text = plain(&view.text());
        let (_, certificates) = text.split_once("\n\nCN=Alpha ").expect("the certificates");
        let fingerprint = |name: &str| anchor(name).fingerprint().to_string();
        let expected = format!(
            "\
Root CA A,O=Example Corp,C=US (e533eb20): leaving
  SHA-256     {}
  first       2026-10-30T00:00:00Z, 2d ago, from ConfigMap cert-manager/corporate key \"rsa\"
  everywhere  2026-10-30T23:00:00Z, 25h ago
  settled     2026-10-30T23:03:00Z, 24h ago
  leaving     2026-10-31T22:00:00Z, 2h ago
  until       2026-11-01T22:00:00Z, in 22h at least
  waits for   time

CN=Expired Root A (efa998f5): withdrawn
  SHA-256     {}
  first       2026-10-30T00:00:00Z, 2d ago, from ConfigMap cert-manager/corporate key \"expired\"
  everywhere  not yet
  settled     not yet
  withdrawn   2026-10-31T23:59:00Z, 60s ago, since it has expired
",
            fingerprint("rsa"),
            fingerprint("expired")
        );
        assert!(certificates.starts_with(&expected), "{certificates}");
        assert!(certificates.contains(": in the sources\n"), "{certificates}");
        assert!(!text.contains("Pods"), "{text}");
        let leaving = view.only_leaving();
        assert_eq!(leaving.pem(), crate::bundle::fixture::pem("rsa"));
        let document = leaving.document();
        assert_eq!(document["certificates"][0]["until"], "2026-11-01T22:00:00Z");
        assert_eq!((document["certificates"].as_array().map(Vec::len), &document["pods"]), (Some(1), &Value::Null));
    }

    #[test]
    fn a_pod_is_to_be_restarted_if_it_was_started_less_than_10_s_after_a_certificate_was_everywhere() {
        let snapshot = leaving();
        let mut view = RotationOverview::of(&snapshot);
        let pods = [
            pod("older", Some(ago(100_000)), true, &[]),
            pod("old", Some(ago(7_191)), true, &[]),
            pod("young", Some(ago(7_190)), true, &[]),
            pod("pending", None, true, &[]),
            pod("fixed", Some(ago(100_000)), false, &[FixedUseKind::AllVariables]),
        ];
        view.pods = Some(Ok(&pods));
        let text = view.text();
        let (_, found) = text.split_once("\nPods ").expect("pods");
        let title = |name: &str| title(&anchor(name));
        let expected = format!(
            "\
that may have read an older file, restart them: 2 of 4 that mount it
  shop/older, started 27h ago (2026-10-30T20:13:20Z): without {}
  shop/old, started 119m ago (2026-10-31T22:00:09Z): without {}

Pods that never see a change, restart them after each:
  shop/fixed: container app has it in environment variables (envFrom)

Not in every target yet: {}: look again once they are
",
            [title("rsa"), title("ec")].join(", "),
            title("ec"),
            title("nosubject")
        );
        assert_eq!(found, expected);
        let document = view.document();
        assert_eq!(document["pods"]["restart"][1]["lacks"], json!([anchor("ec").fingerprint().to_string()]));

        view.pods = Some(Err("no permission"));
        assert!(view.text().ends_with("\nPods: not known: no permission\n"));
        view.pods = Some(Ok(&pods[2..3]));
        assert!(
            view.text().contains("\nPods: all 1 that mount it were started since its certificates are everywhere\n")
        );
        let crowded: Vec<_> = (0..25).map(|number| pod(&number.to_string(), Some(ago(100_000)), true, &[])).collect();
        view.pods = Some(Ok(&crowded));
        assert!(view.text().contains("\n  and 5 more, all of them with -o json\n"), "{}", view.text());
    }

    #[test]
    fn what_trust_manager_would_drop_is_named_with_the_remedy() {
        let memory = |phase| LedgerState::Held(memory(&[("rsa", None, phase), ("ec", None, Phase::Present)]));
        let dropped = describe_dropped(&"corp".into(), &memory(Phase::Leaving { since: now() }));
        let expected = "\
Bundle corp: trust-manager would drop what is in no source any more:
  CN=Alpha Root CA A,O=Example Corp,C=US (e533eb20), in no source since 2026-11-01T00:00:00Z
  cure: put them into a source first: rootcast status corp --leaving -o pem
";
        assert_eq!(dropped.as_deref(), Some(expected));
        assert_eq!(describe_dropped(&"corp".into(), &memory(Phase::Present)), None);
        let invalid = LedgerState::of(Some(&std::collections::BTreeMap::new()), None);
        let text = describe_dropped(&"corp".into(), &invalid).expect("a text");
        assert!(text.contains("its ledger cannot be read: key \"certificates.pem\" is missing"), "{text}");
    }
}
