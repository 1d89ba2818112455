//! Verification of certificate chains: which anchors vouch for a certificate.
//!
//! Paths are built and verified by webpki, for any purpose. What it cannot judge counts by what it names: a chain that
//! names an anchor as an issuer may depend on it.

use std::collections::BTreeSet;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeIdIter, anchor_from_trusted_cert};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use super::der::{Reader, tag};
use super::x509::LazyFields;
use super::{Anchor, Fingerprint};

/// The anchors that vouch for a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vouchers {
    /// Anchors under which the certificate verifies.
    pub verified: BTreeSet<Fingerprint>,
    /// Anchors that the chain names as an issuer, and under which the certificate may verify or not: a signature's
    /// algorithm is not known, or a certificate of the chain is not understood.
    pub unverified: BTreeSet<Fingerprint>,
}

/// How an anchor is related to a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Relation {
    Verified,
    Unverified,
    None,
}

/// Anchors that chains are verified under.
#[derive(Clone, Debug, Default)]
pub struct Issuers(Vec<Issuer>);

#[derive(Clone, Debug)]
struct Issuer {
    anchor: Anchor,
    subject: Box<[u8]>,
    /// The identifier of its key, if it has one.
    key_id: Option<Box<[u8]>>,
}

impl FromIterator<Anchor> for Issuers {
    fn from_iter<I: IntoIterator<Item = Anchor>>(anchors: I) -> Self {
        let issuer = |anchor: Anchor| Issuer {
            subject: anchor.subject_der().into(),
            key_id: key_id(&anchor, subject_key_id),
            anchor,
        };
        Self(anchors.into_iter().map(issuer).collect())
    }
}

impl Issuers {
    /// Iterates over the anchors.
    pub fn anchors(&self) -> impl Iterator<Item = &Anchor> {
        self.0.iter().map(|issuer| &issuer.anchor)
    }

    /// Returns which anchors vouch for the first certificate of a chain, by way of the others, which are not trusted.
    ///
    /// `now` is in seconds since 1970-01-01T00:00:00Z; a certificate that is not valid yet is judged as of its begin,
    /// and the validity of the anchors is not judged. A self-signed CA is no use of any anchor, not even of itself.
    #[must_use]
    pub fn vouchers(&self, chain: &[Anchor], now: i64) -> Vouchers {
        let mut found = Vouchers::default();
        let Some(leaf) = chain.first().filter(|leaf| !(leaf.is_ca() && leaf.issuer_der() == leaf.subject_der())) else {
            return found;
        };
        let links = chain.iter().filter(|link| *link == leaf || link.issuer_der() != link.subject_der());
        let links = links.map(|certificate| Link {
            certificate,
            issuer: certificate.issuer_der(),
            issuer_key_id: key_id(certificate, issuer_key_id),
        });
        let chain = Chain { certificates: chain, leaf, links: links.collect(), now: now.max(leaf.not_before()) };
        for issuer in &self.0 {
            match chain.relation(issuer) {
                Relation::Verified => found.verified.insert(issuer.anchor.fingerprint()),
                Relation::Unverified => found.unverified.insert(issuer.anchor.fingerprint()),
                Relation::None => false,
            };
        }
        found
    }
}

/// A chain, its first certificate that of a server or client.
struct Chain<'a> {
    certificates: &'a [Anchor],
    leaf: &'a Anchor,
    /// The certificates that name another one as their issuer.
    links: Vec<Link<'a>>,
    now: i64,
}

/// A certificate, and what it names as its issuer.
struct Link<'a> {
    certificate: &'a Anchor,
    issuer: &'a [u8],
    issuer_key_id: Option<Box<[u8]>>,
}

impl Chain<'_> {
    fn relation(&self, issuer: &Issuer) -> Relation {
        let anchor = &issuer.anchor;
        if self.leaf == anchor {
            return Relation::Verified;
        }
        let mut named_by = self.naming(issuer).peekable();
        if named_by.peek().is_none() {
            return Relation::None;
        }
        let error = match self.verify(anchor) {
            Ok(()) => return Relation::Verified,
            Err(error) => error,
        };
        let mut may_verify = false;
        for certificate in named_by {
            match is_signed_by(certificate, anchor) {
                // webpki verifies no CA's certificate.
                Some(true) if error == Error::CaUsedAsEndEntity && certificate == self.leaf => {
                    return Relation::Verified;
                }
                Some(true) => may_verify |= !is_refusal(&error),
                Some(false) => {}
                None => may_verify = true,
            }
        }
        if may_verify { Relation::Unverified } else { Relation::None }
    }

    /// Returns the certificates that name an issuer: by its name, or by its key identifier, since OpenSSL and Java
    /// compare names more leniently.
    fn naming(&self, issuer: &Issuer) -> impl Iterator<Item = &Anchor> {
        let names = |link: &&Link<'_>| {
            *link.issuer == *issuer.subject || (link.issuer_key_id.is_some() && link.issuer_key_id == issuer.key_id)
        };
        self.links.iter().filter(names).map(|link| link.certificate)
    }

    /// Verifies the chain under one anchor.
    fn verify(&self, anchor: &Anchor) -> Result<(), Error> {
        let der = |anchor| CertificateDer::from_slice(Anchor::der(anchor));
        let (leaf, trusted) = (der(self.leaf), der(anchor));
        let others: Vec<_> = self.certificates[1..].iter().map(der).collect();
        let seconds = u64::try_from(self.now).unwrap_or_default();
        EndEntityCert::try_from(&leaf)?
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &[anchor_from_trusted_cert(&trusted)?],
                &others,
                UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
                AnyPurpose,
                None,
                None,
            )
            .map(drop)
    }
}

/// Accepts certificates for any purpose.
struct AnyPurpose;

impl ExtendedKeyUsageValidator for AnyPurpose {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        Ok(())
    }
}

/// Returns whether an error says that no program accepts the chain, rather than that webpki cannot tell. Programs that
/// compare names more leniently find issuers that are unknown to it.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidSignatureForPublicKey
            | Error::CertExpired { .. }
            | Error::CertNotValidYet { .. }
            | Error::NameConstraintViolation
            | Error::PathLenConstraintViolated
            | Error::EndEntityUsedAsCa
    )
}

/// Reads a key identifier of a certificate (RFC 5280, sections 4.2.1.1 and 4.2.1.2).
fn key_id(certificate: &Anchor, of: fn(&ParsedExtension<'_>) -> Option<Box<[u8]>>) -> Option<Box<[u8]>> {
    let (_, parsed) = X509Certificate::from_der(certificate.der()).ok()?;
    parsed.extensions().iter().find_map(|extension| of(extension.parsed_extension()))
}

fn subject_key_id(extension: &ParsedExtension<'_>) -> Option<Box<[u8]>> {
    let ParsedExtension::SubjectKeyIdentifier(id) = extension else { return None };
    Some(id.0.into())
}

fn issuer_key_id(extension: &ParsedExtension<'_>) -> Option<Box<[u8]>> {
    let ParsedExtension::AuthorityKeyIdentifier(authority) = extension else { return None };
    Some(authority.key_identifier.as_ref()?.0.into())
}

/// Returns whether the key of another certificate verifies the signature of this one; `None` if the algorithm of the
/// signature or of the key is not known.
fn is_signed_by(certificate: &Anchor, issuer: &Anchor) -> Option<bool> {
    let mut parts = Reader::new(certificate.der()).enter(tag::SEQUENCE)?;
    let (message, algorithm) = (parts.any_whole()?, parts.content(tag::SEQUENCE)?);
    let (_, signature) = parts.bits()?;
    let (key_algorithm, key) = LazyFields::of(issuer.der())?.key_parts()?;
    let all = webpki::ALL_VERIFICATION_ALGS;
    let of_signature = || all.iter().filter(|one| one.signature_alg_id().as_ref() == algorithm);
    of_signature().next()?;
    all.iter().find(|one| one.public_key_alg_id().as_ref() == key_algorithm)?;
    let mut fitting = of_signature().filter(|one| one.public_key_alg_id().as_ref() == key_algorithm);
    Some(fitting.any(|one| one.verify_signature(key, message, signature).is_ok()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, NameConstraints, date_time_ymd};

    use super::*;
    use crate::trust::fixture::{TestCa, key, params};

    /// 2026-11-01T00:00:00Z.
    const NOW: i64 = 1_793_491_200;

    /// The names of the anchors that vouch for a chain, and of those that may.
    fn vouchers(chain: &[&Anchor], anchors: &[&Anchor]) -> (Vec<String>, Vec<String>) {
        let chain: Vec<_> = chain.iter().copied().cloned().collect();
        let found = anchors.iter().copied().cloned().collect::<Issuers>().vouchers(&chain, NOW);
        let names = |set: &BTreeSet<Fingerprint>| {
            let named = anchors.iter().filter(|anchor| set.contains(&anchor.fingerprint()));
            named.map(|anchor| anchor.common_name().unwrap_or_default()).collect()
        };
        (names(&found.verified), names(&found.unverified))
    }

    /// The same certificate with an algorithm of signatures that ring does not know.
    fn with_sha512(certificate: &Anchor) -> Anchor {
        let (sha256, sha512) = ([0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2], [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4]);
        let mut der = certificate.der().to_vec();
        while let Some(at) = der.windows(sha256.len()).position(|window| window == sha256) {
            der[at..at + sha512.len()].copy_from_slice(&sha512);
        }
        Anchor::from_der(der).expect("a certificate")
    }

    #[test]
    fn anchors_vouch_for_what_they_have_signed_directly_or_through_intermediates() {
        let (a, b) = (TestCa::root("a"), TestCa::root("b"));
        let middle = a.intermediate("middle");
        let cross = b.cross_sign(&middle, "middle");
        let (direct, below) = (a.leaf("direct"), middle.leaf("below"));
        let client = {
            let mut params = params("client");
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            a.sign(&params, &key())
        };
        let unsigned = TestCa::root("a").leaf("direct");
        let pinned = params("pinned").self_signed(&key()).expect("a certificate");
        let pinned = Anchor::from_der(pinned.der().to_vec()).expect("a certificate");
        let none: &[&str] = &[];
        let table: &[(&str, &[&Anchor], &[&str])] = &[
            ("direct", &[&direct], &["a"]),
            ("a client's", &[&client], &["a"]),
            ("its root is sent, too", &[&direct, &a.anchor], &["a"]),
            ("through an intermediate", &[&below, &middle.anchor], &["a"]),
            ("without the intermediate", &[&below], none),
            ("cross-signed", &[&below, &middle.anchor, &cross], &["a", "b"]),
            ("in any order", &[&below, &cross, &middle.anchor], &["a", "b"]),
            ("an intermediate CA itself", &[&middle.anchor], &["a"]),
            ("one of the same name with another key", &[&unsigned], none),
            ("a root itself", &[&a.anchor], none),
            ("nothing", &[], none),
            ("itself trusted", &[&pinned], &["pinned"]),
        ];
        for (case, chain, expected) in table {
            let found = vouchers(chain, &[&a.anchor, &b.anchor, &pinned]);
            assert_eq!(found.0, *expected, "{case}");
            assert!(found.1.is_empty(), "{case}: {:?}", found.1);
        }
    }

    #[test]
    fn an_anchor_of_the_same_key_vouches_as_well() {
        let a = TestCa::root("a");
        let renewed = a.cross_sign(&a, "a");
        assert_eq!(vouchers(&[&a.leaf("leaf")], &[&a.anchor, &renewed]).0, ["a", "a"]);
        assert_eq!(vouchers(&[&a.intermediate("middle").anchor], &[&a.anchor, &renewed]).0, ["a", "a"]);
    }

    #[test]
    fn an_intermediate_that_is_not_valid_now_is_no_way_and_a_leaf_that_is_not_valid_yet_counts() {
        let a = TestCa::root("a");
        let middle = a.intermediate("middle");
        for (begin, end, expected) in [(2001, 2020, 0), (2030, 2050, 0), (2001, 2050, 1)] {
            let mut validity = params("middle");
            (validity.not_before, validity.not_after) = (date_time_ymd(begin, 1, 1), date_time_ymd(end, 1, 1));
            validity.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let own_key = key();
            let intermediate = a.sign(&validity, &own_key);
            let issuer = rcgen::Issuer::new(validity, &own_key);
            let leaf = params("leaf").signed_by(&key(), &issuer).expect("a certificate");
            let leaf = Anchor::from_der(leaf.der().to_vec()).expect("a certificate");
            let found = vouchers(&[&leaf, &intermediate], &[&a.anchor]);
            assert_eq!((found.0.len(), found.1.len()), (expected, 0), "{begin} to {end}");
        }
        let mut early = params("early");
        early.not_before = date_time_ymd(2027, 1, 1);
        assert_eq!(vouchers(&[&a.sign(&early, &key())], &[&a.anchor]).0, ["a"]);
        assert_eq!(vouchers(&[&middle.leaf("leaf"), &middle.anchor], &[&a.anchor]).0, ["a"]);
    }

    #[test]
    fn name_constraints_are_respected() {
        let mut constrained = params("constrained");
        let permitted_subtrees = vec![GeneralSubtree::DnsName("in.example".to_owned())];
        constrained.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
        let ca = TestCa::root_with(constrained);
        assert_eq!(vouchers(&[&ca.leaf("a.in.example")], &[&ca.anchor]).0, ["constrained"]);
        assert_eq!(vouchers(&[&ca.leaf("a.out.example")], &[&ca.anchor]), (Vec::new(), Vec::new()));
    }

    #[test]
    fn what_cannot_be_judged_counts_by_the_names_in_its_chain() {
        let (a, other) = (TestCa::root("a"), TestCa::root("b"));
        let namesake = TestCa::root("a");
        let middle = a.intermediate("middle");
        let anchors = [&a.anchor, &other.anchor, &namesake.anchor];
        let unknown = with_sha512(&a.leaf("leaf"));
        assert_eq!(vouchers(&[&unknown], &anchors), (Vec::new(), vec!["a".to_owned(), "a".to_owned()]));
        // The intermediate's own signature is known, and not the namesake's.
        let below = with_sha512(&middle.leaf("leaf"));
        assert_eq!(vouchers(&[&below, &middle.anchor], &anchors), (Vec::new(), vec!["a".to_owned()]));
        assert_eq!(vouchers(&[&below], &anchors), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_name_in_another_spelling_counts_by_the_identifier_of_the_key() {
        let a = TestCa::root("spelled");
        let mut der = a.leaf("leaf").der().to_vec();
        let at = der.windows(7).position(|window| window == b"spelled").expect("the issuer's name");
        der[at] = b'S';
        let spelled = Anchor::from_der(der).expect("a certificate");
        // Its signature is wrong by that change.
        assert_eq!(vouchers(&[&spelled], &[&a.anchor]), (Vec::new(), Vec::new()));
        assert_eq!(vouchers(&[&with_sha512(&spelled)], &[&a.anchor]).1, ["spelled"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Whatever is changed in a chain: nothing panics, and nobody vouches for another certificate.
        #[test]
        fn a_certificate_that_was_changed_is_vouched_for_by_nobody(at in 0..1000_usize, bit in 0..8_u8) {
            let (a, b) = (TestCa::root("a"), TestCa::root("b"));
            let middle = a.intermediate("middle");
            let leaf = middle.leaf("leaf");
            let mut der = leaf.der().to_vec();
            let at = at % der.len();
            der[at] ^= 1_u8 << bit;
            if let Ok(changed) = Anchor::from_der(der) {
                let found = vouchers(&[&changed, &middle.anchor, &b.anchor], &[&a.anchor, &b.anchor]);
                prop_assert!(found.0.is_empty(), "{at}: {found:?}");
                prop_assert!(!found.1.contains(&"b".to_owned()));
            }
        }
    }
}
