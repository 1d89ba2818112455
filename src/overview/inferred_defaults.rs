//! Inference of default CAs whose package is not at hand, from what the controller publishes.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::Timestamp;

use crate::bundle::{AnchorOrigin, BundleId, CertificateSource, DefaultCas, Intent, TargetRef, resolve};
use crate::inspect::CertificateSet;

use super::snapshot::Snapshot;
use super::synced::Synced;

/// A Bundle that publishes default CAs that are not at hand.
#[derive(Clone, Debug)]
pub struct PublishedDefaultCas {
    /// Identifier of the Bundle.
    pub bundle: BundleId,
    /// Target to read.
    pub target: TargetRef,
    /// Key of the target's PEM.
    pub key: String,
    /// Certificates of the Bundle's other sources.
    own: Vec<AnchorOrigin>,
}

impl Snapshot {
    /// Drops default CAs that are not the controller's, and returns the Bundle that publishes the right ones, if there
    /// is any: one that is synced, and of those the one with the fewest certificates of its own.
    #[must_use]
    pub fn find_published_default_cas(&mut self, now: Timestamp) -> Option<PublishedDefaultCas> {
        let intents = self.inputs.intents.values().filter(|intent| self.bundles.contains_key(&intent.id));
        let doubtful: Vec<Intent> =
            intents.filter(|intent| self.unknown_default_cas(intent).is_some()).cloned().collect();
        let first = doubtful.first()?;
        self.unread.default_cas = self.unknown_default_cas(first);
        self.inputs.default_cas = Some(DefaultCas { version: String::new(), anchors: Vec::new() });
        let mut targets = self.newest_targets();
        let synced_publishers = doubtful.iter().filter(|intent| {
            let bundle = &self.bundles[&intent.id];
            let synced = Synced::of(bundle) == Synced::Yes && bundle.default_ca_version.is_some();
            synced && self.unread_source(intent).is_none()
        });
        let candidates = synced_publishers.filter_map(|intent| {
            let (target, key) = targets.remove(&intent.id)?;
            // Without default CAs there may be nothing.
            let own = resolve(intent, &self.inputs, now).map(|resolved| resolved.origins);
            let alone = intent.sources.iter().all(|source| matches!(source, CertificateSource::DefaultCas));
            let own = if alone { Vec::new() } else { own.ok()? };
            Some(PublishedDefaultCas { bundle: intent.id.clone(), target, key, own })
        });
        candidates.min_by_key(|candidate| candidate.own.len())
    }

    /// Adopts what a Bundle publishes, without the certificates of its other sources, as the default CAs.
    pub fn adopt_default_cas(&mut self, publisher: &PublishedDefaultCas, certificates: &CertificateSet) {
        let own: BTreeSet<_> = publisher.own.iter().map(|origin| origin.anchor.fingerprint()).collect();
        let anchors = certificates.anchors().filter(|anchor| !own.contains(&anchor.fingerprint())).cloned().collect();
        let version = self.bundles[&publisher.bundle].default_ca_version.clone().unwrap_or_default();
        self.inputs.default_cas = Some(DefaultCas { version, anchors });
        self.unread.default_cas = None;
        let _ = write!(self.settings_from, "; default CAs as Bundle {} publishes them", publisher.bundle);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bundle::fixture::{bundle, now, pem};
    use crate::inspect::{Passwords, ValuePlace};
    use crate::overview::Overview;
    use crate::overview::fixture::{snapshot, with_condition};

    #[test]
    fn default_cas_that_are_not_at_hand_are_those_that_a_synced_bundle_publishes() {
        let spec = json!({
            "sources": [{ "useDefaultCAs": true }, { "configMap": { "name": "corporate", "key": "ca" } }],
            "target": { "configMap": { "key": "ca.pem" }, "namespaceSelector": { "matchLabels": { "tier": "yes" } } },
        });
        let mut mixed = with_condition(bundle("mixed", &spec), "True", "Synced", "well");
        mixed.status.as_mut().expect("a status").default_ca_version = Some("theirs".to_owned());
        let anchors = crate::trust::pem::read(pem("ec").as_bytes()).expect("PEM");
        let anchors = anchors.into_iter().map(|block| block.certificate.expect("usable")).collect();
        let theirs = DefaultCas { version: "theirs".to_owned(), anchors };

        let mut snapshot = snapshot(&[mixed], &pem("rsa"));
        snapshot.inputs.default_cas = Some(theirs);
        assert!(snapshot.find_published_default_cas(now()).is_none(), "they are at hand");
        snapshot.write("mixed", &["a", "b"]);
        snapshot.inputs.default_cas = None;
        let publisher = snapshot.find_published_default_cas(now()).expect("a publisher");
        assert_eq!((&**publisher.bundle.name(), &*publisher.key), ("mixed", "ca.pem"));
        let summary = |snapshot: &Snapshot| {
            let overview = Overview::of(snapshot, now());
            (overview.bundles[0].in_sync, overview.bundles[0].remarks.clone())
        };
        let (in_sync, remarks) = summary(&snapshot);
        assert_eq!(in_sync, 2, "they hold what was written last");
        assert!(remarks[0].contains("default CAs of version theirs"), "{remarks:?}");

        let mut certificates = CertificateSet::new("target");
        certificates
            .read(&ValuePlace::of_key("ca.pem"), (pem("ec") + &pem("rsa")).as_bytes(), &Passwords::WellKnown)
            .expect("PEM");
        snapshot.adopt_default_cas(&publisher, &certificates);
        assert_eq!(summary(&snapshot), (2, Vec::new()));
        assert!(snapshot.settings_from.ends_with("; default CAs as Bundle mixed publishes them"));
    }
}
