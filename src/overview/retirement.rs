//! Certificates that an edit takes out of the last source of a Bundle that retains them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::bundle::{CertificateUse, CertificateUses, Evidence, Intent, Memory, Phase, RetentionDefaults};
use crate::text::escape;
use crate::trust::{Anchor, Fingerprint};

/// The number of objects that are named in a table.
const NAMED_MAX: usize = 10;

/// The certificates of a Bundle that go, and those that stay.
#[derive(Debug, Default)]
pub struct RetirementPlan {
    /// The certificates that go, ascending by fingerprint.
    pub retiring: Vec<RetiringCertificate>,
    /// The certificates that stay.
    pub staying: Vec<Anchor>,
}

/// A certificate that no source would hold any more.
#[derive(Debug)]
pub struct RetiringCertificate {
    /// The certificate.
    pub anchor: Anchor,
    /// Until when it stays published at least; `None` if it goes at once.
    pub until: Option<Timestamp>,
    /// Objects whose certificates are valid under none that stays, as `Kind namespace/name`.
    pub breaks: Vec<String>,
}

impl RetirementPlan {
    /// Compares what is remembered of a Bundle with what would be. `published` is what it would publish.
    #[must_use]
    pub(super) fn of(
        intent: &Intent,
        defaults: &RetentionDefaults,
        before: &Memory,
        after: &Memory,
        published: Vec<Anchor>,
    ) -> Self {
        let policy = intent.policy.retention(defaults);
        let was_present =
            |one: &Fingerprint| before.entries.get(one).is_some_and(|entry| entry.phase == Phase::Present);
        let retiring = after.entries.iter().filter(|(fingerprint, _)| was_present(fingerprint));
        let retiring = retiring.filter_map(|(_, entry)| {
            let until = match entry.phase {
                Phase::Present => return None,
                Phase::Leaving { since } => Some(policy.leaves_at(since)),
                Phase::Withdrawing { .. } => None,
            };
            Some(RetiringCertificate { anchor: entry.anchor.clone(), until, breaks: Vec::new() })
        });
        let stays = |anchor: &Anchor| {
            after.entries.get(&anchor.fingerprint()).is_none_or(|entry| entry.phase == Phase::Present)
        };
        Self { retiring: retiring.collect(), staying: published.into_iter().filter(stays).collect() }
    }

    /// Records which objects depend on the certificates that go.
    ///
    /// # Errors
    /// When that is not known, with the cause.
    pub(super) fn record_uses(&mut self, uses: &CertificateUses, now: Timestamp) -> Result<(), UnknownUsesError> {
        let staying: BTreeSet<_> = self.staying.iter().map(Anchor::fingerprint).collect();
        for retiring in &mut self.retiring {
            match uses.of(&[retiring.anchor.fingerprint()].into(), now) {
                Evidence::Complete(uses) => {
                    let depends = |found: &CertificateUse| found.vouchers.is_disjoint(&staying);
                    retiring.breaks = uses.into_iter().filter(depends).map(|found| found.object).collect();
                }
                Evidence::Incomplete(cause) => return Err(UnknownUsesError(cause)),
            }
        }
        Ok(())
    }

    /// Returns two lines at most for each certificate.
    pub(super) fn table(&self) -> String {
        let mut out = String::new();
        for RetiringCertificate { anchor, until, breaks } in &self.retiring {
            let (subject, fingerprint) = (escape(anchor.subject()), anchor.fingerprint().short());
            let _ = match until {
                Some(until) => writeln!(out, "  {subject} ({fingerprint}) stays until {until}, then goes"),
                None => writeln!(out, "  {subject} ({fingerprint}) goes at once"),
            };
            if !breaks.is_empty() {
                let named = breaks.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
                let more = breaks.len().saturating_sub(NAMED_MAX);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                let _ = writeln!(out, "    would break: {named}{more}");
            }
        }
        out
    }

    pub(super) fn document(&self) -> Value {
        let retiring = self.retiring.iter().map(|RetiringCertificate { anchor, until, breaks }| {
            json!({
                "sha256": anchor.fingerprint().to_string(),
                "subject": anchor.subject(),
                "until": until.map(|until| until.to_string()),
                "wouldBreak": breaks,
            })
        });
        json!(retiring.collect::<Vec<_>>())
    }
}

/// Error for uses of certificates that are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnknownUsesError(String);

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;
    use crate::api::{CertificateRequest, CertificateRequestStatus};
    use crate::bundle::fixture::{now, plain};
    use crate::trust::Anchors;
    use crate::trust::fixture::TestCa;

    #[test]
    fn what_only_a_retiring_certificate_vouches_for_would_break() {
        let [a, b, leaving] = ["a", "b", "leaving"].map(TestCa::root);
        let middle = a.intermediate("middle");
        let cross = b.cross_sign(&middle, "middle");
        let mut before = Memory::begin([&a, &b, &leaving].map(|ca| ca.anchor.clone()), now());
        let phase = |memory: &mut Memory, ca: &TestCa| {
            memory.entries.get_mut(&ca.anchor.fingerprint()).expect("remembered").phase =
                Phase::Leaving { since: now() };
        };
        phase(&mut before, &leaving);
        let mut after = before.clone();
        phase(&mut after, &a);
        let published = after.published().cloned().collect();
        let mut plan = RetirementPlan::of(&plain("one"), &RetentionDefaults::default(), &before, &after, published);
        assert_eq!((plan.retiring.len(), plan.staying.len()), (1, 1));

        let mut uses = CertificateUses::new([&a, &b, &leaving].map(|ca| ca.anchor.clone()));
        let chains =
            [vec![a.leaf("only")], vec![middle.leaf("both"), middle.anchor.clone(), cross], vec![b.leaf("new")]];
        for (name, chain) in ["only", "both", "new"].into_iter().zip(chains) {
            let pem: Vec<_> =
                chain.into_iter().filter_map(|one| Some(Anchors::collect([one])?.to_pem() + "\n")).collect();
            let mut request = CertificateRequest::default();
            (request.metadata.namespace, request.metadata.name) = (Some("shop".to_owned()), Some(name.to_owned()));
            let certificate = Some(ByteString(pem.concat().into_bytes()));
            request.status = Some(CertificateRequestStatus { certificate });
            uses.record(&request, now());
        }
        plan.record_uses(&uses, now()).expect("known");
        assert_eq!(plan.retiring[0].breaks, ["CertificateRequest shop/only"]);
        assert!(plan.table().ends_with("    would break: CertificateRequest shop/only\n"), "{}", plan.table());
    }
}
