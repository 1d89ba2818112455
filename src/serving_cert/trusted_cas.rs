//! Set of CAs that are trusted in one place: the Secret or an entry of the webhook configuration.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::generation::{ca_grace_seconds, is_rootcast_ca, is_valid};
use crate::trust::{Anchor, Anchors, Fingerprint, pem};

/// The most CAs in a set. Three are usual; there are more only where generations are deleted again and again.
const MAX_CAS: usize = 16;

/// A set of CAs that rootcast made, by fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedCas(BTreeMap<Fingerprint, Anchor>);

impl TrustedCas {
    /// Parses PEM; also returns what else is in it, in words.
    #[must_use]
    pub fn read(text: &[u8]) -> (Self, Option<String>) {
        let blocks = match pem::read(text) {
            Ok(blocks) => blocks,
            Err(error) => return (Self::default(), Some(error.to_string())),
        };
        let mut cas = Self::default();
        let mut flaw = None;
        for block in blocks {
            match block.certificate {
                Ok(anchor) if is_rootcast_ca(&anchor) => cas.add(&anchor),
                Ok(anchor) => flaw = Some(format!("foreign CA {:?}", anchor.subject())),
                Err(rejected) => flaw = Some(rejected.to_string()),
            }
        }
        (cas, flaw)
    }

    /// Returns the set as PEM, which is the same for equal sets.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let anchors = Anchors::collect(self.0.values().cloned());
        anchors.map_or_else(String::new, |anchors| anchors.to_pem() + "\n")
    }

    /// Returns whether the set contains a CA.
    #[must_use]
    pub fn contains(&self, ca: &Anchor) -> bool {
        self.0.contains_key(&ca.fingerprint())
    }

    /// Returns whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether no CA but `ca` is needed, i.e. may have a valid certificate.
    pub(super) fn none_needed_except(&self, ca: Option<&Anchor>, now: Timestamp) -> bool {
        let only = ca.map(Anchor::fingerprint);
        self.0.iter().all(|(key, anchor)| Some(*key) == only || !is_needed(anchor, now))
    }

    /// Returns whether the set, as observed, need not be changed to `desired`.
    ///
    /// CAs in their grace period may be in it or not.
    pub(super) fn satisfies(&self, desired: &Self, now: Timestamp) -> bool {
        let missing = desired.0.values().any(|anchor| is_needed(anchor, now) && !self.contains(anchor));
        let spare = self.0.values().any(|anchor| !in_grace_period(anchor, now) && !desired.contains(anchor));
        !missing && !spare
    }

    /// Returns whether all CAs of the set are in `others`.
    pub(super) fn is_subset(&self, others: &Self) -> bool {
        self.0.keys().all(|key| others.0.contains_key(key))
    }

    /// Returns the earliest `notAfter`, in seconds since 1970-01-01T00:00:00Z.
    pub(super) fn earliest_expiry(&self) -> Option<i64> {
        self.0.values().map(Anchor::not_after).min()
    }

    /// Adds a CA.
    pub(super) fn add(&mut self, ca: &Anchor) {
        self.0.insert(ca.fingerprint(), ca.clone());
    }

    /// Adds the CAs of `others` that are still needed.
    pub(super) fn merge(&mut self, others: &Self, now: Timestamp) {
        let needed = others.0.iter().filter(|(_, anchor)| is_needed(anchor, now));
        self.0.extend(needed.map(|(key, anchor)| (*key, anchor.clone())));
    }

    /// Removes expired CAs and, where there are still too many, those that expire first.
    pub(super) fn prune(&mut self, now: Timestamp) {
        self.0.retain(|_, anchor| is_valid(anchor, now));
        while self.0.len() > MAX_CAS {
            let ends = self.0.iter().map(|(key, anchor)| (anchor.not_after(), *key));
            let (_, first) = ends.min().expect("a set of more than MAX_CAS is not empty");
            self.0.remove(&first);
        }
    }
}

/// Returns whether a certificate of a CA may still be valid.
fn is_needed(ca: &Anchor, now: Timestamp) -> bool {
    now.as_second() <= ca.not_after() - ca_grace_seconds(ca)
}

/// Returns whether a CA is valid and its certificate is not.
fn in_grace_period(ca: &Anchor, now: Timestamp) -> bool {
    is_valid(ca, now) && !is_needed(ca, now)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::serving_cert::Generation;

    fn ca(lifetime: u64) -> Anchor {
        let names = ["a.b.svc".to_owned()];
        let generation = Generation::new(&names, Duration::from_secs(lifetime), Timestamp::UNIX_EPOCH);
        generation.expect("a generation").ca().clone()
    }

    #[test]
    fn what_was_written_is_read_and_what_is_foreign_is_named_and_left_out() {
        let mut cas = TrustedCas::default();
        cas.add(&ca(1));
        cas.add(&ca(2));
        assert_eq!(TrustedCas::read(cas.to_pem().as_bytes()), (cas.clone(), None));
        assert_eq!(TrustedCas::read(b""), (TrustedCas::default(), None));

        let key = rcgen::KeyPair::generate().expect("a key");
        let foreign = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate").pem();
        let (read, flaw) = TrustedCas::read((cas.to_pem() + &foreign).as_bytes());
        assert_eq!(read, cas);
        assert_eq!(flaw.as_deref(), Some("foreign CA \"CN=rcgen self signed cert\""));

        let (read, flaw) = TrustedCas::read(b"-----BEGIN CERTIFICATE-----\n");
        assert!(read.is_empty() && flaw.is_some());
    }

    #[test]
    fn the_expired_are_removed_and_of_too_many_the_oldest() {
        let mut many = TrustedCas::default();
        let all: Vec<_> = (0..20).map(|number| ca(100 + 10 * number)).collect();
        for authority in &all {
            many.add(authority);
        }
        let first = Timestamp::from_second(all[1].not_after()).expect("a time");
        many.prune(first);
        assert_eq!(many.0.len(), MAX_CAS);
        assert!(
            !many.contains(&all[0]) && !many.contains(&all[3]) && many.contains(&all[4]) && many.contains(&all[19])
        );
    }
}
