//! Denials: certificates that are not published, whatever source has them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::api;
use crate::trust::{Anchor, Fingerprint, PublicKeyDigest};

/// All that is distrusted, by the name of the Distrust; cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Denials(Arc<BTreeMap<Arc<str>, DeniedCertificates>>);

/// The certificates that one Distrust names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeniedCertificates {
    /// Certificates.
    pub certificates: BTreeSet<Fingerprint>,
    /// Public keys, of which all certificates are denied.
    pub public_keys: BTreeSet<PublicKeyDigest>,
}

/// What denies a certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denier {
    /// The Distrust of this name.
    Distrust(Arc<str>),
    /// The annotation of the Bundle.
    Excluded,
}

impl Denials {
    /// Returns what denies a certificate of a Bundle that excludes these, if anything does.
    #[must_use]
    pub fn denier(&self, anchor: &Anchor, exclude: &BTreeSet<Fingerprint>) -> Option<Denier> {
        let by_key = self.0.values().any(|denied| !denied.public_keys.is_empty()).then(|| anchor.public_key_digest());
        let names = |denied: &DeniedCertificates| {
            denied.certificates.contains(&anchor.fingerprint())
                || by_key.is_some_and(|digest| denied.public_keys.contains(&digest))
        };
        let distrust = self.0.iter().find(|(_, denied)| names(denied));
        let excluded = || exclude.contains(&anchor.fingerprint()).then_some(Denier::Excluded);
        distrust.map(|(name, _)| Denier::Distrust(name.clone())).or_else(excluded)
    }

    /// Returns what denies a certificate of which only the fingerprint is known, if anything does.
    #[must_use]
    pub fn denier_by_fingerprint(&self, fingerprint: Fingerprint, exclude: &BTreeSet<Fingerprint>) -> Option<Denier> {
        let distrust = self.0.iter().find(|(_, denied)| denied.certificates.contains(&fingerprint));
        let excluded = || exclude.contains(&fingerprint).then_some(Denier::Excluded);
        distrust.map(|(name, _)| Denier::Distrust(name.clone())).or_else(excluded)
    }

    /// Returns whether nothing is distrusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns what a Distrust names, if it exists.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&DeniedCertificates> {
        self.0.get(name)
    }

    /// Replaces what a Distrust names; returns what it named before.
    pub fn insert(&mut self, name: &str, denied: DeniedCertificates) -> Option<DeniedCertificates> {
        Arc::make_mut(&mut self.0).insert(name.into(), denied)
    }

    /// Removes a Distrust; returns what it named.
    pub fn remove(&mut self, name: &str) -> Option<DeniedCertificates> {
        Arc::make_mut(&mut self.0).remove(name)
    }

    /// Iterates over the names of all Distrusts and what they name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &DeniedCertificates)> {
        self.0.iter()
    }

    /// Returns what no Distrust names any more of what one named before.
    #[must_use]
    pub fn lifted(&self, before: DeniedCertificates) -> DeniedCertificates {
        self.0.values().fold(before, |rest, denied| DeniedCertificates {
            certificates: &rest.certificates - &denied.certificates,
            public_keys: &rest.public_keys - &denied.public_keys,
        })
    }

    /// Returns the names of the Distrusts that name more than they did before.
    #[must_use]
    pub fn grown_since(&self, before: &Self) -> BTreeSet<Arc<str>> {
        if Arc::ptr_eq(&self.0, &before.0) {
            return BTreeSet::new();
        }
        let grown = self.0.iter().filter(|(name, denied)| !before.get(name).is_some_and(|old| denied.is_within(old)));
        grown.map(|(name, _)| name.clone()).collect()
    }
}

impl DeniedCertificates {
    /// Returns whether it names nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns whether another denies all of these, too.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        let Self { certificates, public_keys } = self;
        certificates.is_subset(&other.certificates) && public_keys.is_subset(&other.public_keys)
    }
}

impl Denier {
    /// How the certificate is trusted again.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Distrust(_) => "take it out of the source; delete the Distrust to trust it again".to_owned(),
            Self::Excluded => {
                "take it out of the source; take its SHA-256 out of the annotation to trust it again".to_owned()
            }
        }
    }
}

impl fmt::Display for Denier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Distrust(name) => write!(f, "distrusted by Distrust {name}"),
            Self::Excluded => write!(f, "excluded by annotation {}", api::EXCLUDE_ANNOTATION),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::fixture::{anchor, denying};

    #[test]
    fn a_certificate_is_denied_by_its_fingerprint_its_key_or_the_annotation() {
        let (rsa, ec) = (anchor("rsa"), anchor("ec"));
        let none = BTreeSet::new();
        let mut denials = denying("by-certificate", &["rsa"]);
        assert_eq!(denials.denier(&rsa, &none), Some(Denier::Distrust("by-certificate".into())));
        assert_eq!(denials.denier(&ec, &none), None);
        let public_keys = [ec.public_key_digest()].into();
        denials.insert("by-key", DeniedCertificates { public_keys, ..DeniedCertificates::default() });
        assert_eq!(denials.denier(&ec, &none), Some(Denier::Distrust("by-key".into())));
        let exclude = [rsa.fingerprint(), ec.fingerprint()].into();
        assert_eq!(Denials::default().denier(&rsa, &exclude), Some(Denier::Excluded));
        assert_eq!(denials.denier(&rsa, &exclude), Some(Denier::Distrust("by-certificate".into())));
    }

    #[test]
    fn a_distrust_has_grown_if_it_names_what_it_did_not_name() {
        let before = denying("one", &["rsa"]);
        let grown = |now: &Denials| now.grown_since(&before).into_iter().collect::<Vec<_>>();
        assert!(grown(&before.clone()).is_empty());
        assert!(grown(&denying("one", &["rsa"])).is_empty() && grown(&denying("one", &[])).is_empty());
        assert_eq!(grown(&denying("one", &["rsa", "ec"])), ["one".into()]);
        assert_eq!(grown(&denying("one", &["ec"])), ["one".into()]);
        assert_eq!(grown(&denying("two", &["rsa"])), ["two".into()], "another may outlive it");
    }
}
