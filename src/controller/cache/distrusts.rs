//! Distrusts in the cache: what is denied follows them.

use std::collections::BTreeMap;

use kube::runtime::watcher::Event;

use crate::api;
use crate::bundle::{DeniedCertificates, InputChange, LastStatus, affected_bundles};
use crate::client::{UnreadableObject, WatchedDistrust, watched_metadata};
use crate::fanout::{ListTracker, ResourceVersion};

use super::{AffectedBundles, Cache, CacheUpdate, with_cause};

/// All Distrusts, as far as they can be listed.
#[derive(Default)]
pub(in crate::controller) struct DistrustCache {
    objects: BTreeMap<String, CachedDistrust>,
    list: ListTracker<String>,
    /// Whether the API server does not have them, or does not show them.
    unavailable: bool,
}

/// A Distrust, without what it names, which is part of the inputs.
#[derive(Clone, Debug)]
pub(in crate::controller) struct CachedDistrust {
    /// Uid of the Distrust.
    pub(in crate::controller) uid: String,
    version: ResourceVersion,
    /// Generation and conditions last read, or last published.
    pub(in crate::controller) last_status: LastStatus,
    /// What of it cannot be read, in words.
    pub(in crate::controller) faults: Vec<String>,
}

/// What a Distrust named before, and nothing names any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::controller) struct LiftedDistrust {
    /// Name of the Distrust.
    pub(in crate::controller) name: String,
    /// Uid of the Distrust.
    pub(in crate::controller) uid: String,
    /// What it named.
    pub(in crate::controller) lifted: DeniedCertificates,
}

impl DistrustCache {
    /// Whether it is known what is distrusted, or that nothing can be.
    pub(super) fn is_listed(&self) -> bool {
        self.list.has_ended() || self.unavailable
    }
}

impl Cache {
    /// All Distrusts, sorted by name.
    pub(in crate::controller) fn distrusts(&self) -> impl Iterator<Item = (&String, &CachedDistrust)> {
        self.distrusts.objects.iter()
    }

    /// Caches the status of a Distrust that is published, so that its watch event changes nothing, and once it is, its
    /// version.
    pub(in crate::controller) fn set_distrust_status(
        &mut self,
        name: &str,
        last_status: LastStatus,
        version: Option<ResourceVersion>,
    ) {
        if let Some(known) = self.distrusts.objects.get_mut(name) {
            known.last_status = last_status;
            known.version = known.version.max(version.unwrap_or_default());
        }
    }

    /// Records that Distrusts cannot be listed; returns whether that is new. What is known of them stays in force.
    pub(in crate::controller) fn set_distrusts_unavailable(&mut self) -> bool {
        !std::mem::replace(&mut self.distrusts.unavailable, true)
    }

    /// Applies an event of a Distrust.
    pub(super) fn apply_distrust_event(&mut self, event: Event<WatchedDistrust>) -> CacheUpdate {
        match event {
            Event::Apply(distrust) => self.upsert_distrust(*distrust, false),
            Event::InitApply(distrust) => self.upsert_distrust(*distrust, true),
            Event::Delete(distrust) => {
                self.remove_distrust(watched_metadata(&distrust).name.as_deref().unwrap_or_default())
            }
            Event::Init => {
                self.distrusts.list.begin(self.distrusts.objects.keys().cloned());
                CacheUpdate::default()
            }
            Event::InitDone => {
                self.distrusts.unavailable = false;
                let mut update = CacheUpdate { may_be_ready: true, ..CacheUpdate::default() };
                for name in self.distrusts.list.end() {
                    let CacheUpdate { affected, lifted, .. } = self.remove_distrust(&name);
                    update.affected.extend(affected);
                    update.lifted.extend(lifted);
                }
                update
            }
        }
    }

    fn upsert_distrust(&mut self, distrust: Result<api::Distrust, UnreadableObject>, listed: bool) -> CacheUpdate {
        let metadata = watched_metadata(&distrust).clone();
        let (name, version) = (metadata.name.clone().unwrap_or_default(), ResourceVersion::of(&metadata));
        self.distrusts.list.record(&name);
        let known = self.distrusts.objects.get(&name);
        if known.is_some_and(|known| known.version > version) && !listed {
            return CacheUpdate::default();
        }
        let (denied, faults, conditions) = match distrust {
            Ok(distrust) => {
                let (denied, errors) = DeniedCertificates::parse(&distrust.spec);
                let faults = errors.iter().map(ToString::to_string).collect();
                (Some(denied), faults, distrust.status.and_then(|status| status.conditions))
            }
            // What it named before stays denied.
            Err(UnreadableObject { cause, .. }) => (None, vec![cause], None),
        };
        let conditions = conditions.or_else(|| known?.last_status.status.conditions.clone());
        let status = api::BundleStatus { conditions, default_ca_version: None };
        let last_status = LastStatus { generation: metadata.generation, status };
        let uid = metadata.uid.unwrap_or_default();
        let verb = if known.is_some() { "changed" } else { "created" };
        let former_uid = known.map_or_else(|| uid.clone(), |known| known.uid.clone());
        self.distrusts.objects.insert(name.clone(), CachedDistrust { uid, version, last_status, faults });
        let denied = denied.unwrap_or_else(|| self.inputs.denials.get(&name).cloned().unwrap_or_default());
        let before = self.inputs.denials.insert(&name, denied.clone());
        if before.as_ref() == Some(&denied) {
            return CacheUpdate::default();
        }
        self.denials_changed(name, former_uid, before.unwrap_or_default(), verb)
    }

    fn remove_distrust(&mut self, name: &str) -> CacheUpdate {
        let Some(CachedDistrust { uid, .. }) = self.distrusts.objects.remove(name) else {
            return CacheUpdate::default();
        };
        let before = self.inputs.denials.remove(name).unwrap_or_default();
        self.denials_changed(name.to_owned(), uid, before, "deleted")
    }

    fn denials_changed(&self, name: String, uid: String, before: DeniedCertificates, verb: &str) -> CacheUpdate {
        // An invalid Bundle has targets, too.
        let invalid = self.bundles.iter().filter(|(_, bundle)| bundle.invalid.is_some());
        let mut affected = affected_bundles(&self.inputs, &InputChange::Denials);
        affected.extend(invalid.map(|(id, _)| id.clone()));
        let affected: AffectedBundles = with_cause(affected, &format!("Distrust {name} {verb}"));
        let lifted = self.inputs.denials.lifted(before);
        let lifted = (!lifted.is_empty()).then_some(LiftedDistrust { name, uid, lifted });
        CacheUpdate { affected, lifted: lifted.into_iter().collect(), ..CacheUpdate::default() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::bundle::fixture::anchor;
    use crate::bundle::{BundleId, Inputs, TrustNamespaces};
    use crate::client::WatchEvent;
    use Event::{Apply, Delete, Init, InitApply, InitDone};

    fn distrust(name: &str, version: u32, certificates: &[&str]) -> WatchedDistrust {
        let digest = |name: &&str| json!({ "sha256": anchor(name).fingerprint().to_string() });
        let certificates: Vec<Value> = certificates.iter().map(digest).collect();
        let object = json!({
            "apiVersion": "rootcast.dev/v1alpha1", "kind": "Distrust",
            "metadata": { "name": name, "uid": "u", "resourceVersion": version.to_string() },
            "spec": { "certificates": certificates },
        });
        Box::new(Ok(serde_json::from_value(object).expect("a Distrust")))
    }

    fn cache() -> Cache {
        let mut cache = Cache::new(Inputs::default(), TrustNamespaces::unlisted("cert-manager"));
        for (name, spec) in [("fine", json!({ "sources": [{ "inLine": "x" }] })), ("invalid", json!({ "sources": [] }))]
        {
            let bundle = Box::new(Ok(crate::bundle::fixture::bundle(name, &spec)));
            cache.apply_event(WatchEvent::Bundle(Apply(bundle)));
        }
        cache
    }

    fn apply(cache: &mut Cache, event: Event<WatchedDistrust>) -> (Vec<BundleId>, Vec<DeniedCertificates>) {
        let CacheUpdate { affected, lifted, .. } = cache.apply_event(WatchEvent::Distrust(event));
        (affected.into_keys().collect(), lifted.into_iter().map(|lifted| lifted.lifted).collect())
    }

    #[test]
    fn every_bundle_is_decided_anew_when_something_is_denied_and_when_it_no_longer_is() {
        let mut cache = cache();
        let both: Vec<BundleId> = vec!["fine".into(), "invalid".into()];
        let digests = |names: &[&str]| DeniedCertificates {
            certificates: names.iter().map(|name| anchor(name).fingerprint()).collect(),
            ..DeniedCertificates::default()
        };
        assert_eq!(apply(&mut cache, Apply(distrust("d", 1, &["rsa", "ec"]))), (both.clone(), vec![]));
        assert_eq!(apply(&mut cache, Apply(distrust("d", 2, &["rsa", "ec"]))), (vec![], vec![]), "a status");
        assert_eq!(apply(&mut cache, Apply(distrust("other", 3, &["ec"]))), (both.clone(), vec![]));
        assert_eq!(apply(&mut cache, Delete(distrust("other", 4, &["ec"]))).1, [], "another one names it");
        assert_eq!(apply(&mut cache, Apply(distrust("d", 5, &["ec"]))), (both.clone(), vec![digests(&["rsa"])]));
        assert_eq!(apply(&mut cache, Delete(distrust("d", 6, &["ec"]))), (both, vec![digests(&["ec"])]));
        assert!(cache.inputs().denials.is_empty());
    }

    #[test]
    fn only_a_complete_list_without_it_lifts_a_distrust() {
        let mut cache = cache();
        apply(&mut cache, Init);
        apply(&mut cache, InitApply(distrust("d", 1, &["rsa"])));
        assert!(!cache.distrusts.is_listed());
        apply(&mut cache, InitDone);
        assert!(cache.distrusts.is_listed());
        assert!(cache.set_distrusts_unavailable() && !cache.set_distrusts_unavailable(), "it is said once");
        apply(&mut cache, Init);
        assert!(!cache.inputs().denials.is_empty(), "a list has only begun");
        apply(&mut cache, InitDone);
        assert!(cache.inputs().denials.is_empty() && cache.set_distrusts_unavailable());
    }

    #[test]
    fn what_cannot_be_read_leaves_in_force_what_was_known() {
        let mut cache = cache();
        apply(&mut cache, Apply(distrust("d", 1, &["rsa"])));
        let metadata = serde_json::from_value(json!({ "name": "d", "uid": "u", "resourceVersion": "2" })).expect("it");
        let unreadable = UnreadableObject { metadata, cause: "odd".to_owned() };
        assert_eq!(apply(&mut cache, Apply(Box::new(Err(unreadable)))), (vec![], vec![]));
        assert!(!cache.inputs().denials.is_empty());
        assert_eq!(cache.distrusts().next().map(|(_, known)| known.faults.clone()), Some(vec!["odd".to_owned()]));
    }
}
