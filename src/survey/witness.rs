//! The default CAs of a controller whose package is not at hand: what it publishes tells them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::Timestamp;

use crate::bundle::{DefaultCas, Intent, Origin, TargetRef, Source, resolve};
use crate::inspect::Collection;

use super::snapshot::Snapshot;
use super::state::Synced;

/// A Bundle that publishes default CAs that are not at hand.
#[derive(Clone, Debug)]
pub struct Witness {
    /// Its name.
    pub bundle: String,
    /// The target to read.
    pub place: TargetRef,
    /// The key of its PEM.
    pub key: String,
    /// The certificates of its other sources.
    own: Vec<Origin>,
}

impl Snapshot {
    /// Takes away default CAs that are not the controller's, and names who could tell the right ones, if anybody: a Bundle
    /// that is synced, and of those the one with the fewest certificates of its own.
    #[must_use]
    pub fn witness(&mut self, now: Timestamp) -> Option<Witness> {
        let intents = self.world.intents.values().filter(|intent| self.bundles.contains_key(&intent.name));
        let doubtful: Vec<Intent> =
            intents.filter(|intent| self.unknown_default_cas(intent).is_some()).cloned().collect();
        let first = doubtful.first()?;
        self.unread.default_cas = self.unknown_default_cas(first);
        self.world.default_cas = Some(DefaultCas { version: String::new(), anchors: Vec::new() });
        let mut targets = self.newest_targets();
        let witnesses = doubtful.iter().filter(|intent| {
            let known = &self.bundles[&intent.name];
            let synced = Synced::of(known) == Synced::Yes && known.default_ca_version.is_some();
            synced && self.unread_source(intent).is_none()
        });
        let witnesses = witnesses.filter_map(|intent| {
            let (place, key) = targets.remove(&intent.name)?;
            // Without default CAs there may be nothing.
            let own = resolve(intent, &self.world, now).map(|resolved| resolved.origins);
            let alone = intent.sources.iter().all(|source| matches!(source, Source::DefaultCas));
            let own = if alone { Vec::new() } else { own.ok()? };
            Some(Witness { bundle: intent.name.clone(), place, key, own })
        });
        witnesses.min_by_key(|witness| witness.own.len())
    }

    /// Takes what a witness publishes, but for the certificates of its other sources, for the default CAs.
    pub fn believe(&mut self, witness: &Witness, published: &Collection) {
        let own: BTreeSet<_> = witness.own.iter().map(|origin| origin.anchor.fingerprint()).collect();
        let anchors = published.anchors().filter(|anchor| !own.contains(&anchor.fingerprint())).cloned().collect();
        let version = self.bundles[&witness.bundle].default_ca_version.clone().unwrap_or_default();
        self.world.default_cas = Some(DefaultCas { version, anchors });
        self.unread.default_cas = None;
        let _ = write!(self.settings_from, "; default CAs as Bundle {} publishes them", witness.bundle);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bundle::fixture::{bundle, now, pem};
    use crate::inspect::Passwords;
    use crate::survey::Overview;
    use crate::survey::fixture::{snapshot, with_condition};

    #[test]
    fn default_cas_that_are_not_at_hand_are_those_that_a_synced_bundle_publishes() {
        let spec = json!({
            "sources": [{ "useDefaultCAs": true }, { "configMap": { "name": "corporate", "key": "ca" } }],
            "target": { "configMap": { "key": "ca.pem" }, "namespaceSelector": { "matchLabels": { "story": "yes" } } },
        });
        let mut mixed = with_condition(bundle("mixed", &spec), "True", "Synced", "well");
        mixed.status.as_mut().expect("a status").default_ca_version = Some("theirs".to_owned());
        let anchors = crate::trust::pem::read(pem("ec").as_bytes()).expect("PEM");
        let anchors = anchors.into_iter().map(|block| block.certificate.expect("usable")).collect();
        let theirs = DefaultCas { version: "theirs".to_owned(), anchors };

        let mut snapshot = snapshot(&[mixed], &pem("rsa"));
        snapshot.world.default_cas = Some(theirs);
        assert!(snapshot.witness(now()).is_none(), "they are at hand");
        snapshot.write("mixed", &["a", "b"]);
        snapshot.world.default_cas = None;
        let witness = snapshot.witness(now()).expect("a witness");
        assert_eq!((&*witness.bundle, &*witness.key), ("mixed", "ca.pem"));
        let state = |snapshot: &Snapshot| {
            let overview = Overview::of(snapshot, now());
            (overview.states[0].in_sync, overview.states[0].remarks.clone())
        };
        let (in_sync, remarks) = state(&snapshot);
        assert_eq!(in_sync, 2, "they hold what was written last");
        assert!(remarks[0].contains("default CAs of version theirs"), "{remarks:?}");

        let mut published = Collection::new("target");
        published.read(Some("ca.pem"), (pem("ec") + &pem("rsa")).as_bytes(), &Passwords::WellKnown).expect("PEM");
        snapshot.believe(&witness, &published);
        assert_eq!(state(&snapshot), (2, Vec::new()));
        assert!(snapshot.settings_from.ends_with("; default CAs as Bundle mixed publishes them"));
    }
}
