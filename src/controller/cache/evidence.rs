//! Evidence of use, from the CertificateRequests of cert-manager.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use kube::runtime::watcher::Event;

use crate::api::CertificateRequest;
use crate::bundle::{BundleId, CertificateUses, Evidence, Memory};
use crate::trust::{Anchor, Fingerprint};

use super::{AffectedBundles, with_cause};

/// The uses of certificates that are leaving Bundles, for as long as one is.
///
/// Of a CertificateRequest it is kept which published certificates vouch for what it issued, not the certificate itself.
/// So when further certificates are published, all requests have to be listed again.
#[derive(Default)]
pub(in crate::controller) struct EvidenceCache {
    enabled: bool,
    /// The Bundles that certificates are leaving.
    bundles: BTreeMap<BundleId, LeavingCertificates>,
    /// The uses as of the last list that has ended, and since then.
    known: Option<CertificateUses>,
    /// The uses as far as the list has come.
    listing: Option<CertificateUses>,
    /// Why the requests cannot be read.
    failure: Option<String>,
    /// Bundles whose evidence may have changed since [`EvidenceCache::take_affected`].
    affected: BTreeSet<BundleId>,
    /// When evidence changes by time alone.
    changes_at: Option<Timestamp>,
    /// Whether the requests have to be listed again.
    outdated: bool,
}

/// What is published of a Bundle that certificates are leaving.
#[derive(Debug, PartialEq, Eq)]
struct LeavingCertificates {
    leaving: BTreeSet<Fingerprint>,
    /// The certificates that may vouch in their place, and themselves.
    published: BTreeMap<Fingerprint, Anchor>,
}

impl EvidenceCache {
    /// Returns an empty cache, which stays empty unless evidence is switched on.
    pub(super) fn new(enabled: bool) -> Self {
        Self { enabled, ..Self::default() }
    }

    /// Returns the known uses of the certificates that are leaving a Bundle.
    pub(in crate::controller) fn of(&self, id: &BundleId, memory: &Memory, now: Timestamp) -> Evidence {
        let leaving = leaving(memory);
        if !self.enabled || leaving.is_empty() {
            return Evidence::Complete(Vec::new());
        }
        let covered = |known: &&CertificateUses| {
            let published = self.bundles.get(id).map(|bundle| bundle.published.keys());
            published.is_some_and(|published| known.covers(published.chain(&leaving)))
        };
        match (&self.failure, self.known.as_ref().filter(covered)) {
            (Some(cause), _) => Evidence::Incomplete(cause.clone()),
            (None, Some(known)) => known.of(&leaving, now),
            (None, None) => Evidence::Incomplete("CertificateRequests are still being listed".to_owned()),
        }
    }

    /// Records what a Bundle publishes: if certificates are leaving it, their uses are looked for. `default_cas` may
    /// vouch in their place.
    pub(super) fn observe<'a>(
        &mut self,
        id: &BundleId,
        memory: &'a Memory,
        default_cas: impl IntoIterator<Item = &'a Anchor>,
    ) {
        let leaving = leaving(memory);
        if !self.enabled || leaving.is_empty() {
            return self.forget(id);
        }
        let published = memory.published().chain(default_cas).map(|anchor| (anchor.fingerprint(), anchor.clone()));
        let bundle = LeavingCertificates { leaving, published: published.collect() };
        if self.bundles.get(id) != Some(&bundle) {
            let uses = self.listing.as_ref().or(self.known.as_ref());
            self.outdated |= !uses.is_some_and(|uses| uses.covers(bundle.published.keys()));
            self.bundles.insert(id.clone(), bundle);
        }
    }

    /// Forgets a Bundle.
    pub(in crate::controller) fn forget(&mut self, id: &BundleId) {
        self.bundles.remove(id);
        self.affected.remove(id);
        if self.bundles.is_empty() {
            *self = Self::new(self.enabled);
        }
    }

    /// Returns whether the requests have to be watched.
    pub(in crate::controller) fn is_needed(&self) -> bool {
        !self.bundles.is_empty()
    }

    /// Returns whether the requests have to be listed again.
    pub(in crate::controller) fn is_outdated(&self) -> bool {
        self.outdated
    }

    /// Applies an event of a CertificateRequest; returns the Bundles to reconcile at once.
    pub(super) fn apply(&mut self, event: Event<Box<CertificateRequest>>, now: Timestamp) -> AffectedBundles {
        let changed = match event {
            Event::Init => {
                let published = self.bundles.values().flat_map(|bundle| &bundle.published);
                let published: BTreeMap<_, _> = published.map(|(one, anchor)| (one, anchor.clone())).collect();
                self.listing = Some(CertificateUses::new(published.into_values()));
                self.outdated = false;
                return AffectedBundles::new();
            }
            Event::InitApply(request) => {
                if let Some(listing) = &mut self.listing {
                    listing.record(&request, now);
                }
                return AffectedBundles::new();
            }
            Event::InitDone => {
                self.known = self.listing.take();
                self.failure = None;
                self.changes_at = self.known.as_ref().and_then(|known| known.changes_at(now));
                return self.all("CertificateRequests were listed");
            }
            Event::Apply(request) => self.known.as_mut().map(|known| known.record(&request, now)),
            Event::Delete(request) => self.known.as_mut().map(|known| known.remove(&request)),
        };
        let changed = changed.unwrap_or_default();
        let affected = self.bundles.iter().filter(|(_, bundle)| !bundle.leaving.is_disjoint(&changed));
        self.affected.extend(affected.map(|(id, _)| id.clone()));
        AffectedBundles::new()
    }

    /// Records that the requests cannot be read; returns the Bundles to reconcile. A cause that is `temporary` counts
    /// until the first list has ended: after that the watch goes on where it was.
    pub(in crate::controller) fn fail(&mut self, cause: String, temporary: bool) -> AffectedBundles {
        if (temporary && self.known.is_some()) || self.failure.as_ref() == Some(&cause) {
            return AffectedBundles::new();
        }
        self.failure = Some(cause);
        self.all("CertificateRequests cannot be read")
    }

    /// Returns the Bundles whose evidence has changed since the last call, by requests or by time.
    pub(in crate::controller) fn take_affected(&mut self, now: Timestamp) -> AffectedBundles {
        let mut affected = with_cause(std::mem::take(&mut self.affected), "certificates were issued");
        if self.changes_at.is_some_and(|at| at <= now) {
            self.outdated |= self.known.as_mut().is_some_and(|known| known.expire(now));
            affected.extend(self.all("certificates have expired"));
        }
        self.changes_at = self.known.as_ref().and_then(|known| known.changes_at(now));
        affected
    }

    /// When evidence changes by time alone, as of the last [`EvidenceCache::take_affected`].
    pub(in crate::controller) fn changes_at(&self) -> Option<Timestamp> {
        self.changes_at
    }

    fn all(&self, cause: &str) -> AffectedBundles {
        with_cause(self.bundles.keys().cloned().collect(), cause)
    }
}

fn leaving(memory: &Memory) -> BTreeSet<Fingerprint> {
    let leaving = memory.entries.iter().filter(|(_, entry)| entry.phase.leaving_since().is_some());
    leaving.map(|(fingerprint, _)| *fingerprint).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;
    use crate::api::CertificateRequestStatus;
    use crate::bundle::fixture::now;
    use crate::bundle::{CertificateUse, Phase};
    use crate::trust::Anchors;
    use crate::trust::fixture::TestCa;

    const LISTING: &str = "CertificateRequests are still being listed";

    fn issued(name: &str, ca: &TestCa) -> Box<CertificateRequest> {
        let pem = Anchors::collect([ca.leaf(name)]).expect("one").to_pem();
        let mut request = CertificateRequest::default();
        (request.metadata.namespace, request.metadata.name) = (Some("shop".to_owned()), Some(name.to_owned()));
        request.status = Some(CertificateRequestStatus { certificate: Some(ByteString(pem.into_bytes())) });
        Box::new(request)
    }

    /// The memory of a Bundle that the first CA is leaving.
    fn memory(leaving: &TestCa, others: &[&TestCa]) -> Memory {
        let all = others.iter().chain([&leaving]).map(|ca| ca.anchor.clone());
        let mut memory = Memory::begin(all, now());
        memory.entries.get_mut(&leaving.anchor.fingerprint()).expect("remembered").phase =
            Phase::Leaving { since: now() };
        memory
    }

    fn list(cache: &mut EvidenceCache, requests: impl IntoIterator<Item = Box<CertificateRequest>>) -> AffectedBundles {
        cache.apply(Event::Init, now());
        for request in requests {
            assert!(cache.apply(Event::InitApply(request), now()).is_empty());
        }
        cache.apply(Event::InitDone, now())
    }

    fn uses(cache: &EvidenceCache, memory: &Memory) -> Vec<CertificateUse> {
        match cache.of(&"one".into(), memory, now()) {
            Evidence::Complete(uses) => uses,
            Evidence::Incomplete(cause) => panic!("{cause}"),
        }
    }

    #[test]
    fn nothing_is_watched_without_the_flag_or_while_nothing_is_leaving() {
        let (a, b) = (TestCa::root("a"), TestCa::root("b"));
        let (calm, leaving) = (Memory::begin([a.anchor.clone()], now()), memory(&a, &[&b]));
        for (enabled, memory) in [(false, &leaving), (true, &calm)] {
            let mut cache = EvidenceCache::new(enabled);
            cache.observe(&"one".into(), memory, []);
            assert!(!cache.is_needed() && !cache.is_outdated());
            assert_eq!(cache.of(&"one".into(), memory, now()), Evidence::Complete(Vec::new()));
        }
    }

    #[test]
    fn evidence_is_incomplete_until_the_list_has_ended_and_changes_with_requests() {
        let (a, b, id) = (TestCa::root("a"), TestCa::root("b"), BundleId::from("one"));
        let memory = memory(&a, &[&b]);
        let mut cache = EvidenceCache::new(true);
        assert_eq!(cache.of(&id, &memory, now()), Evidence::Incomplete(LISTING.to_owned()));
        cache.observe(&id, &memory, []);
        assert!(cache.is_needed() && cache.is_outdated());
        let affected = list(&mut cache, [issued("web", &a), issued("api", &b)]);
        assert!(affected.contains_key(&id) && !cache.is_outdated());
        assert_eq!(uses(&cache, &memory)[0].object, "CertificateRequest shop/web");

        cache.apply(Event::Apply(issued("api", &b)), now());
        assert!(cache.take_affected(now()).is_empty(), "it is no use of what is leaving");
        cache.apply(Event::Apply(issued("web", &b)), now());
        assert!(cache.take_affected(now()).contains_key(&id));
        assert!(uses(&cache, &memory).is_empty());
        cache.apply(Event::Apply(issued("new", &a)), now());
        assert_eq!(uses(&cache, &memory).len(), 1);
        cache.apply(Event::Delete(issued("new", &a)), now());
        assert!(uses(&cache, &memory).is_empty() && cache.take_affected(now()).contains_key(&id));

        cache.forget(&id);
        assert!(!cache.is_needed() && cache.known.is_none());
    }

    #[test]
    fn a_further_certificate_makes_the_requests_to_be_listed_again() {
        let [a, b, c] = ["a", "b", "c"].map(TestCa::root);
        let (id, first, second) = (BundleId::from("one"), memory(&a, &[&b]), memory(&a, &[&b, &c]));
        let mut cache = EvidenceCache::new(true);
        cache.observe(&id, &first, []);
        list(&mut cache, [issued("web", &c)]);
        cache.observe(&id, &first, []);
        assert!(!cache.is_outdated());
        cache.observe(&id, &second, []);
        assert!(cache.is_outdated());
        assert_eq!(cache.of(&id, &second, now()), Evidence::Incomplete(LISTING.to_owned()));
        list(&mut cache, [issued("web", &c)]);
        assert!(uses(&cache, &second).is_empty());
        // One that is no longer published takes no list.
        cache.observe(&id, &first, []);
        assert!(!cache.is_outdated() && uses(&cache, &first).is_empty());
    }

    #[test]
    fn what_cannot_be_read_holds_everything_back_until_a_list_has_ended() {
        let (a, b, id) = (TestCa::root("a"), TestCa::root("b"), BundleId::from("one"));
        let memory = memory(&a, &[&b]);
        let mut cache = EvidenceCache::new(true);
        cache.observe(&id, &memory, []);
        assert!(cache.fail("not now".to_owned(), true).contains_key(&id));
        assert!(cache.fail("not now".to_owned(), true).is_empty(), "it is known");
        assert_eq!(cache.of(&id, &memory, now()), Evidence::Incomplete("not now".to_owned()));
        list(&mut cache, []);
        assert!(uses(&cache, &memory).is_empty());

        assert!(cache.fail("not now".to_owned(), true).is_empty(), "the watch goes on");
        assert!(uses(&cache, &memory).is_empty());
        assert!(cache.fail("forbidden".to_owned(), false).contains_key(&id));
        assert_eq!(cache.of(&id, &memory, now()), Evidence::Incomplete("forbidden".to_owned()));
        assert!(list(&mut cache, []).contains_key(&id));
        assert!(uses(&cache, &memory).is_empty());
    }

    #[test]
    fn the_end_of_a_certificate_affects_what_waits_for_it() {
        let (a, b, id) = (TestCa::root("a"), TestCa::root("b"), BundleId::from("one"));
        let memory = memory(&a, &[&b]);
        let mut cache = EvidenceCache::new(true);
        cache.observe(&id, &memory, []);
        list(&mut cache, [issued("web", &a)]);
        assert!(cache.take_affected(now()).is_empty());
        let end = cache.changes_at().expect("a certificate ends");
        assert!(cache.take_affected(end).contains_key(&id));
        assert_eq!((cache.changes_at(), uses(&cache, &memory).len()), (None, 0));
    }
}
