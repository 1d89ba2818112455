//! The CAs that are trusted at one place.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::generation::{is_ours, is_valid, lingering};
use crate::trust::{Anchor, Anchors, Fingerprint, pem};

/// How many CAs are trusted at most. There are three while all is well; more come only from somebody who keeps taking
/// generations away.
const MOST: usize = 16;

/// CAs of our making, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authorities(BTreeMap<Fingerprint, Anchor>);

impl Authorities {
    /// Reads PEM; also says what was in it that does not belong there.
    #[must_use]
    pub fn read(text: &[u8]) -> (Self, Option<String>) {
        let blocks = match pem::read(text) {
            Ok(blocks) => blocks,
            Err(error) => return (Self::default(), Some(error.to_string())),
        };
        let mut ours = Self::default();
        let mut flaw = None;
        for block in blocks {
            match block.certificate {
                Ok(anchor) if is_ours(&anchor) => ours.add(&anchor),
                Ok(anchor) => flaw = Some(format!("foreign CA {:?}", anchor.subject())),
                Err(rejected) => flaw = Some(rejected.to_string()),
            }
        }
        (ours, flaw)
    }

    /// PEM, the same for the same CAs.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let anchors = Anchors::collect(self.0.values().cloned());
        anchors.map_or_else(String::new, |anchors| anchors.to_pem() + "\n")
    }

    /// Whether this CA is among them.
    #[must_use]
    pub fn hold(&self, authority: &Anchor) -> bool {
        self.0.contains_key(&authority.fingerprint())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether certificates of this one at most may still be served.
    pub(super) fn serve_only(&self, authority: Option<&Anchor>, now: Timestamp) -> bool {
        let only = authority.map(Anchor::fingerprint);
        self.0.iter().all(|(key, anchor)| Some(*key) == only || !is_needed(anchor, now))
    }

    /// Whether these, found somewhere, do for the wanted ones: one that lingers may be there or not.
    pub(super) fn do_for(&self, wanted: &Self, now: Timestamp) -> bool {
        let missing = wanted.0.values().any(|anchor| is_needed(anchor, now) && !self.hold(anchor));
        let spare = self.0.values().any(|anchor| !lingers(anchor, now) && !wanted.hold(anchor));
        !missing && !spare
    }

    /// Whether all of these are among the others.
    pub(super) fn are_within(&self, others: &Self) -> bool {
        self.0.keys().all(|key| others.0.contains_key(key))
    }

    /// When the first of them has expired.
    pub(super) fn first_end(&self) -> Option<i64> {
        self.0.values().map(Anchor::not_after).min()
    }

    pub(super) fn add(&mut self, authority: &Anchor) {
        self.0.insert(authority.fingerprint(), authority.clone());
    }

    /// Adds those of the others that are still needed.
    pub(super) fn merge(&mut self, others: &Self, now: Timestamp) {
        let needed = others.0.iter().filter(|(_, anchor)| is_needed(anchor, now));
        self.0.extend(needed.map(|(key, anchor)| (*key, anchor.clone())));
    }

    /// Takes out what has expired and, should there still be too many, those that expire first.
    pub(super) fn prune(&mut self, now: Timestamp) {
        self.0.retain(|_, anchor| is_valid(anchor, now));
        while self.0.len() > MOST {
            let ends = self.0.iter().map(|(key, anchor)| (anchor.not_after(), *key));
            let (_, first) = ends.min().expect("there are many");
            self.0.remove(&first);
        }
    }
}

/// Whether a certificate of this CA may still be valid.
fn is_needed(authority: &Anchor, now: Timestamp) -> bool {
    now.as_second() <= authority.not_after() - lingering(authority)
}

fn lingers(authority: &Anchor, now: Timestamp) -> bool {
    is_valid(authority, now) && !is_needed(authority, now)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::webhook::rotation::Generation;

    fn authority(lifetime: u64) -> Anchor {
        let names = ["a.b.svc".to_owned()];
        let generation = Generation::new(&names, Duration::from_secs(lifetime), Timestamp::UNIX_EPOCH);
        generation.expect("a generation").authority().clone()
    }

    #[test]
    fn what_was_written_is_read_and_what_is_foreign_is_named_and_left_out() {
        let mut ours = Authorities::default();
        ours.add(&authority(1));
        ours.add(&authority(2));
        assert_eq!(Authorities::read(ours.to_pem().as_bytes()), (ours.clone(), None));
        assert_eq!(Authorities::read(b""), (Authorities::default(), None));

        let key = rcgen::KeyPair::generate().expect("a key");
        let foreign = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate").pem();
        let (read, flaw) = Authorities::read((ours.to_pem() + &foreign).as_bytes());
        assert_eq!(read, ours);
        assert_eq!(flaw.as_deref(), Some("foreign CA \"CN=rcgen self signed cert\""));

        let (read, flaw) = Authorities::read(b"-----BEGIN CERTIFICATE-----\n");
        assert!(read.is_empty() && flaw.is_some());
    }

    #[test]
    fn the_expired_leave_and_of_too_many_the_oldest() {
        let mut many = Authorities::default();
        let all: Vec<_> = (0..20).map(|number| authority(100 + 10 * number)).collect();
        for authority in &all {
            many.add(authority);
        }
        let first = Timestamp::from_second(all[1].not_after()).expect("a time");
        many.prune(first);
        assert_eq!(many.0.len(), MOST);
        assert!(!many.hold(&all[0]) && !many.hold(&all[3]) && many.hold(&all[4]) && many.hold(&all[19]));
    }
}
