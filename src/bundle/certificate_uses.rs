//! Certificates that CertificateRequests show to be in use, and the anchors that vouch for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::api::CertificateRequest;
use crate::limits;
use crate::trust::{Anchor, Fingerprint, Issuers, Vouchers, pem};

use super::retention::{CertificateUse, Evidence};
use super::syntax::is_dns_subdomain;

/// The unexpired certificates of CertificateRequests, each with the anchors that vouch for it.
///
/// The certificates themselves are not kept: for further anchors the requests have to be read again.
#[derive(Debug, Default)]
pub struct CertificateUses {
    issuers: Issuers,
    /// The certificates by the object that they were issued for, as `Kind namespace/name`.
    issued: BTreeMap<Box<str>, Vec<IssuedCertificate>>,
    /// Each set of vouchers once: there are few.
    vouchers: BTreeSet<Arc<Vouchers>>,
    count: usize,
    /// Whether a certificate was left out, since there are too many.
    is_incomplete: bool,
}

/// An unexpired certificate of a CertificateRequest.
#[derive(Debug)]
struct IssuedCertificate {
    /// Name of the request.
    request: Box<str>,
    /// Number of the request among those of its object, and its creation: the greatest is in use.
    order: (u64, i64),
    not_after: i64,
    /// When the vouchers may be others, because of the validity of an intermediate.
    judged_until: i64,
    vouchers: Arc<Vouchers>,
}

impl CertificateUses {
    /// Returns an empty set, of which these anchors are to vouch for certificates.
    #[must_use]
    pub fn new(anchors: impl IntoIterator<Item = Anchor>) -> Self {
        Self { issuers: anchors.into_iter().collect(), ..Self::default() }
    }

    /// Returns whether it is known of each of these anchors what it vouches for.
    #[must_use]
    pub fn covers<'a>(&self, anchors: impl IntoIterator<Item = &'a Fingerprint>) -> bool {
        let known: BTreeSet<_> = self.issuers.anchors().map(Anchor::fingerprint).collect();
        anchors.into_iter().all(|anchor| known.contains(anchor))
    }

    /// Records a request as it is. Returns the anchors whose uses may be others by that.
    pub fn record(&mut self, request: &CertificateRequest, now: Timestamp) -> BTreeSet<Fingerprint> {
        let found = self.read(request, now.as_second());
        self.replace(request, found)
    }

    /// Removes a request that was deleted. Returns the anchors whose uses may be others by that.
    pub fn remove(&mut self, request: &CertificateRequest) -> BTreeSet<Fingerprint> {
        self.replace(request, None)
    }

    /// Removes what has expired. Returns whether vouchers have to be judged again, for which the requests have to be
    /// read again.
    pub fn expire(&mut self, now: Timestamp) -> bool {
        let now = now.as_second();
        let Self { issued, count, .. } = self;
        issued.retain(|_, certificates| {
            certificates.retain(|certificate| now <= certificate.not_after);
            !certificates.is_empty()
        });
        *count = issued.values().map(Vec::len).sum();
        issued.values().flatten().any(|certificate| certificate.judged_until < now)
    }

    /// Returns when a use ends by time alone, or an anchor begins to vouch.
    #[must_use]
    pub fn changes_at(&self, now: Timestamp) -> Option<Timestamp> {
        let ends = self.issued.values().flatten().map(|one| one.not_after.min(one.judged_until).saturating_add(1));
        let begins = self.issuers.anchors().map(Anchor::not_before);
        let next = ends.chain(begins).filter(|time| *time > now.as_second()).min()?;
        Timestamp::from_second(next).ok()
    }

    /// Returns the uses of leaving certificates, sorted by object.
    #[must_use]
    pub fn of(&self, leaving: &BTreeSet<Fingerprint>, now: Timestamp) -> Evidence {
        if self.is_incomplete {
            let max = limits::ISSUED_CERTIFICATES.max;
            return Evidence::Incomplete(format!(
                "there are more than {max} CertificateRequests with an unexpired certificate: delete those that nobody \
                 needs, or start the controller without --evidence"
            ));
        }
        let now = now.as_second();
        let valid = |anchor: &&Anchor| (anchor.not_before()..=anchor.not_after()).contains(&now);
        let valid: BTreeSet<_> = self.issuers.anchors().filter(valid).map(Anchor::fingerprint).collect();
        let mut uses = Vec::new();
        for (object, certificates) in &self.issued {
            let Some(newest) = newest(certificates).filter(|newest| now <= newest.not_after) else { continue };
            let mut add = |vouchers: BTreeSet<Fingerprint>| {
                if !vouchers.is_disjoint(leaving) {
                    uses.push(CertificateUse { object: object.to_string(), vouchers });
                }
            };
            let Vouchers { verified, unverified } = &*newest.vouchers;
            add(verified & &valid);
            // Of several that are named none is known to do without the others.
            for one in unverified & &valid {
                add([one].into());
            }
        }
        Evidence::Complete(uses)
    }

    fn replace(&mut self, request: &CertificateRequest, found: Option<IssuedCertificate>) -> BTreeSet<Fingerprint> {
        let object = object(request);
        let name = request.metadata.name.as_deref().unwrap_or_default();
        let mut certificates = self.issued.remove(&*object).unwrap_or_default();
        let before = newest(&certificates).map(|certificate| certificate.vouchers.clone());
        self.count -= certificates.len();
        certificates.retain(|certificate| *certificate.request != *name);
        if let Some(found) = found {
            if self.count + certificates.len() < limits::ISSUED_CERTIFICATES.max {
                certificates.push(found);
            } else {
                self.is_incomplete = true;
            }
        }
        let after = newest(&certificates).map(|certificate| certificate.vouchers.clone());
        self.count += certificates.len();
        if !certificates.is_empty() {
            certificates.shrink_to_fit();
            self.issued.insert(object.into(), certificates);
        }
        if before == after {
            return BTreeSet::new();
        }
        let all = |vouchers: &Arc<Vouchers>| &vouchers.verified | &vouchers.unverified;
        before.iter().chain(&after).flat_map(all).collect()
    }

    /// Reads the certificate of a request; `None` if it has none, or one that has expired or cannot be read.
    fn read(&mut self, request: &CertificateRequest, now: i64) -> Option<IssuedCertificate> {
        let metadata = &request.metadata;
        let chain = chain(&request.status.as_ref()?.certificate.as_ref()?.0);
        let (leaf, others) = chain.split_first().filter(|(leaf, _)| now <= leaf.not_after())?;
        let bounds = others.iter().flat_map(|other| [other.not_before().saturating_sub(1), other.not_after()]);
        let vouchers = Arc::new(self.issuers.vouchers(&chain, now));
        let vouchers = self.vouchers.get(&vouchers).cloned().unwrap_or(vouchers);
        self.vouchers.insert(vouchers.clone());
        Some(IssuedCertificate {
            request: metadata.name.as_deref().unwrap_or_default().into(),
            order: (request.revision(), metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second())),
            not_after: leaf.not_after(),
            judged_until: bounds.filter(|bound| *bound >= now).min().unwrap_or(i64::MAX),
            vouchers,
        })
    }
}

/// Returns the certificate of an object that was issued last.
fn newest(certificates: &[IssuedCertificate]) -> Option<&IssuedCertificate> {
    certificates.iter().max_by_key(|certificate| (certificate.order, &certificate.request))
}

/// Reads a chain, the certificate itself first; empty if that cannot be read.
fn chain(text: &[u8]) -> Vec<Anchor> {
    let mut blocks = pem::blocks(text).map(|block| block.ok()?.certificate.ok());
    let leaf = blocks.next().flatten();
    let others = blocks.flatten().take(limits::CHAIN.max - 1);
    leaf.map(|leaf| std::iter::once(leaf).chain(others).collect()).unwrap_or_default()
}

/// Returns the object that a request was made for, as `Kind namespace/name`.
fn object(request: &CertificateRequest) -> String {
    let part = |name: &Option<String>| name.clone().unwrap_or_default();
    let (namespace, name) = (part(&request.metadata.namespace), part(&request.metadata.name));
    match request.certificate_name().filter(|name| is_dns_subdomain(name)) {
        Some(certificate) => format!("Certificate {namespace}/{certificate}"),
        None => format!("CertificateRequest {namespace}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use serde_json::json;

    use super::*;
    use crate::bundle::fixture::now;
    use crate::trust::Anchors;
    use crate::trust::fixture::{TestCa, key, params};

    fn request(namespace: &str, name: &str, certificate: Option<(&str, u64)>, chain: &[&Anchor]) -> CertificateRequest {
        let pem = chain.iter().fold(String::new(), |mut pem, anchor| {
            let one = Anchors::collect([(*anchor).clone()]).expect("one anchor").to_pem();
            writeln!(pem, "{one}").expect("memory");
            pem
        });
        let annotations = certificate.map(|(name, revision)| {
            json!({ "cert-manager.io/certificate-name": name, "cert-manager.io/certificate-revision": revision.to_string() })
        });
        let status = (!chain.is_empty()).then(|| json!({ "certificate": BASE64_STANDARD.encode(pem), "ca": "AAAA" }));
        let object = json!({
            "apiVersion": "cert-manager.io/v1", "kind": "CertificateRequest", "status": status,
            "metadata": {
                "namespace": namespace, "name": name, "annotations": annotations,
                "creationTimestamp": "2026-10-01T00:00:00Z",
            },
        });
        serde_json::from_value(object).expect("a CertificateRequest")
    }

    /// The objects that use the leaving anchors, each with the number of its vouchers.
    fn uses(found: &CertificateUses, leaving: &[&TestCa]) -> Vec<(String, usize)> {
        let leaving = leaving.iter().map(|ca| ca.anchor.fingerprint()).collect();
        let Evidence::Complete(uses) = found.of(&leaving, now()) else { panic!("incomplete") };
        uses.into_iter().map(|found| (found.object, found.vouchers.len())).collect()
    }

    #[test]
    fn the_newest_certificate_of_each_object_counts() {
        let (a, b) = (TestCa::root("a"), TestCa::root("b"));
        let mut found = CertificateUses::new([a.anchor.clone(), b.anchor.clone()]);
        let of = |name, revision, ca: &TestCa| request("shop", name, Some(("web", revision)), &[&ca.leaf("web")]);
        assert_eq!(found.record(&of("web-2", 2, &a), now()), [a.anchor.fingerprint()].into());
        assert!(found.record(&of("web-1", 1, &b), now()).is_empty(), "an older one");
        assert!(found.record(&request("shop", "web-4", Some(("web", 4)), &[]), now()).is_empty(), "a pending one");
        assert_eq!(uses(&found, &[&a]), [("Certificate shop/web".to_owned(), 1)]);
        assert!(uses(&found, &[&b]).is_empty());

        let both = [a.anchor.fingerprint(), b.anchor.fingerprint()].into();
        assert_eq!(found.record(&of("web-3", 3, &b), now()), both);
        assert!(uses(&found, &[&a]).is_empty());
        assert_eq!(found.remove(&of("web-3", 3, &b)), both, "the one before counts again");
        assert_eq!(uses(&found, &[&a]).len(), 1);
        found.remove(&of("web-2", 2, &a));
        found.remove(&of("web-1", 1, &b));
        assert!(found.issued.is_empty() && found.count == 0);
    }

    #[test]
    fn a_request_without_a_certificate_object_counts_by_its_own_name() {
        let a = TestCa::root("a");
        let mut found = CertificateUses::new([a.anchor.clone()]);
        found.record(&request("mesh", "x7k2p", None, &[&a.leaf("x")]), now());
        found.record(&request("mesh", "odd", Some(("no name\n", 1)), &[&a.leaf("x")]), now());
        let mut request_of_owner = request("mesh", "owned-1", None, &[&a.leaf("x")]);
        let owners =
            json!([{ "apiVersion": "cert-manager.io/v1", "kind": "Certificate", "name": "owned", "uid": "u" }]);
        request_of_owner.metadata.owner_references = serde_json::from_value(owners).expect("owners");
        found.record(&request_of_owner, now());
        let names: Vec<_> = uses(&found, &[&a]).into_iter().map(|(object, _)| object).collect();
        assert_eq!(names, ["Certificate mesh/owned", "CertificateRequest mesh/odd", "CertificateRequest mesh/x7k2p"]);
    }

    #[test]
    fn what_has_expired_is_no_use_and_time_ends_a_use() {
        let a = TestCa::root("a");
        let mut found = CertificateUses::new([a.anchor.clone()]);
        let until = |year| {
            let mut validity = params("leaf");
            validity.not_after = rcgen::date_time_ymd(year, 1, 1);
            a.sign(&validity, &key())
        };
        assert!(found.record(&request("shop", "old", None, &[&until(2020)]), now()).is_empty());
        assert_eq!((found.count, found.changes_at(now())), (0, None));
        found.record(&request("shop", "new", None, &[&until(2027)]), now());
        let end: Timestamp = "2027-01-01T00:00:01Z".parse().expect("a time");
        assert_eq!(found.changes_at(now()), Some(end));
        assert!(!found.expire(end));
        assert_eq!((found.count, found.changes_at(end)), (0, None));
    }

    #[test]
    fn an_anchor_that_has_expired_vouches_for_nothing() {
        let mut validity = params("old");
        validity.not_after = rcgen::date_time_ymd(2020, 1, 1);
        let (old, new) = (TestCa::root_with(validity), TestCa::root("new"));
        let renewed = old.cross_sign(&old, "old");
        let mut found = CertificateUses::new([old.anchor.clone(), new.anchor.clone(), renewed.clone()]);
        found.record(&request("shop", "web", None, &[&old.leaf("web")]), now());
        assert!(uses(&found, &[&old]).is_empty());
        let Evidence::Complete(uses) = found.of(&[renewed.fingerprint()].into(), now()) else { panic!("incomplete") };
        assert_eq!(uses[0].vouchers, [renewed.fingerprint()].into());
    }

    #[test]
    fn the_end_of_an_intermediate_makes_its_chain_to_be_judged_again() {
        let a = TestCa::root("a");
        let mut validity = params("middle");
        validity.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        validity.not_after = rcgen::date_time_ymd(2027, 1, 1);
        let own_key = key();
        let middle = a.sign(&validity, &own_key);
        let leaf = params("leaf").signed_by(&key(), &rcgen::Issuer::new(validity, own_key)).expect("a certificate");
        let leaf = Anchor::from_der(leaf.der().to_vec()).expect("a certificate");
        let mut found = CertificateUses::new([a.anchor.clone()]);
        found.record(&request("shop", "web", None, &[&leaf, &middle]), now());
        assert!(!found.expire(now()));
        assert!(found.expire("2027-01-01T00:00:01Z".parse().expect("a time")));
    }

    #[test]
    fn garbage_is_no_use() {
        let a = TestCa::root("a");
        let mut found = CertificateUses::new([a.anchor.clone()]);
        for text in ["", "garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "\u{0}"] {
            let mut one = request("shop", "web", None, &[&a.leaf("web")]);
            let status = one.status.as_mut().expect("a status");
            status.certificate.as_mut().expect("a certificate").0 = text.as_bytes().to_vec();
            assert!(found.record(&one, now()).is_empty(), "{text:?}");
        }
        // What cannot be read after the leaf is left out.
        let mut one = request("shop", "web", None, &[&a.leaf("web")]);
        let certificate = &mut one.status.as_mut().expect("a status").certificate.as_mut().expect("a certificate").0;
        certificate.extend(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert_eq!(found.record(&one, now()).len(), 1);
    }

    #[test]
    fn a_certificate_takes_little_memory() {
        let (a, b) = (TestCa::root("a"), TestCa::root("b"));
        let middle = a.intermediate("middle");
        let defaults = crate::default_cas::load(&crate::default_cas::DefaultCasProvider::Mozilla).expect("roots").0;
        let anchors = defaults.expect("roots").anchors.into_iter().chain([a.anchor.clone(), b.anchor.clone()]);
        let mut found = CertificateUses::new(anchors);
        let leaf = middle.leaf("web");
        let requests: Vec<_> = (0..1_000)
            .map(|number| {
                let (name, certificate) = (format!("certificate-{number}-1"), format!("certificate-{number}"));
                request("namespace-of-a-team", &name, Some((&certificate, 1)), &[&leaf, &middle.anchor])
            })
            .collect();
        let memory = allocation_counter::measure(|| {
            for request in &requests {
                found.record(request, now());
            }
        });
        assert!(memory.bytes_current < 300 * 1_000, "{} bytes", memory.bytes_current);
        assert_eq!(uses(&found, &[&a]).len(), 1_000);
    }
}
