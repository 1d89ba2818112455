//! Certificates that are still published though they are related to distrusted ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::text;
use crate::trust::{Anchor, Anchors};

use super::denial::Denier;
use super::inputs::Inputs;
use super::intent::Intent;
use super::sources::ResolvedSources;

/// Maximum length of a subject, in bytes.
const SUBJECT_MAX: usize = 128;

/// Returns the published certificates of a Bundle that are related to those of its sources that are distrusted, in
/// words, by the Distrust that names these.
pub(super) fn related_to_denied(
    intent: &Intent,
    inputs: &Inputs,
    sources: &ResolvedSources,
    published: Option<&Anchors>,
) -> BTreeMap<Arc<str>, BTreeSet<String>> {
    if inputs.denials.is_empty() {
        return BTreeMap::new();
    }
    let own = sources.origins.iter().map(|origin| &origin.anchor);
    let denied = sources.default_cas.values().chain(own).filter_map(|anchor| match inputs.denier(intent, anchor)? {
        Denier::Distrust(name) => Some((name, anchor)),
        Denier::Excluded => None,
    });
    related(denied, published)
}

fn related<'a>(
    denied: impl IntoIterator<Item = (Arc<str>, &'a Anchor)>,
    published: Option<&Anchors>,
) -> BTreeMap<Arc<str>, BTreeSet<String>> {
    let mut related: BTreeMap<Arc<str>, BTreeSet<String>> = BTreeMap::new();
    for (distrust, denied) in denied {
        let published = published.into_iter().flatten();
        for anchor in published {
            let self_issued = |anchor: &Anchor| anchor.issuer_der() == anchor.subject_der();
            let relation = if anchor.public_key_digest() == denied.public_key_digest() {
                "has the key of"
            } else if !self_issued(anchor) && anchor.issuer_der() == denied.subject_der() {
                "was issued by"
            } else if !self_issued(denied) && denied.issuer_der() == anchor.subject_der() {
                "has issued"
            } else {
                continue;
            };
            let text = format!("{} {relation} {}", title(anchor), title(denied));
            related.entry(distrust.clone()).or_default().insert(text);
        }
    }
    related
}

fn title(anchor: &Anchor) -> String {
    format!("{} (SHA-256 {})", text::truncate_bytes(anchor.subject(), SUBJECT_MAX), anchor.fingerprint())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::fixture::anchor;

    #[test]
    fn certificates_are_related_by_key_and_by_issuer() {
        use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
        let params = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let parse = |der: &[u8]| Anchor::from_der(der.to_vec()).expect("a certificate");
        let key = KeyPair::generate().expect("a key");
        let again = parse(params("again").self_signed(&key).expect("a certificate").der());
        let root = CertifiedIssuer::self_signed(params("root"), key).expect("a root");
        let below = KeyPair::generate().expect("a key");
        let below = parse(params("below").signed_by(&below, &root).expect("a certificate").der());
        let successor = KeyPair::generate().expect("a key");
        let successor = parse(params("root").self_signed(&successor).expect("a certificate").der());
        let root = parse(root.der());
        let of = |denied: &Anchor, published: &[&Anchor]| {
            let published = Anchors::collect(published.iter().map(|anchor| (*anchor).clone()));
            let related = related([("d".into(), denied)], published.as_ref());
            related.into_values().flatten().collect::<Vec<_>>()
        };
        let found = of(&root, &[&again, &below, &successor, &anchor("ec")]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("CN=again (") && found[0].contains(" has the key of CN=root ("), "{found:?}");
        assert!(found[1].starts_with("CN=below (") && found[1].contains(" was issued by CN=root ("), "{found:?}");
        assert!(of(&below, &[&root])[0].contains(" has issued CN=below ("));
    }
}
