//! The difference between a target and its desired state.

use crate::api;

use super::decision::{Desired, ExistingTargets};
use super::inputs::{DecisionSettings, Namespace};
use super::object_kind::ObjectKind;
use super::observed_metadata::{ObjectPart, ObservedMetadata, OwnerRef, digest_if_long};
use super::payload::Payload;
use super::policy::DeletionPolicy;
use super::protected::ProtectedName;
use super::selector::Labels;

/// The action that brings one object to its desired state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Diff {
    /// Create the object: it does not exist, or lacks our label.
    Create,
    /// Update the object, which differs in this.
    Update(Drift),
    /// Compare the bytes of the object: its metadata is as desired, but the bytes may have changed unnoticed.
    VerifyBytes,
    /// Release the object, which is no longer desired.
    Release(Release),
    /// Write nothing: another controller owns the object.
    Blocked(OwnerRef),
    /// Delete the object and create it anew if it holds nothing foreign: others made our target immutable, or gave it
    /// to another controller.
    Recreate,
}

/// How a target differs from its desired state: the first that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// The controlling owner is not this Bundle, or is one although the Bundle owns none of its targets.
    Owner,
    /// The hash annotation differs: sources, formats or metadata changed.
    Content,
    /// The keys that we own differ: another client edited a value, or a key was renamed.
    Keys,
    /// A label or annotation differs.
    Metadata,
    /// The bytes differ although the metadata does not: another client wrote them under our field manager.
    Bytes,
}

/// How an object that is no longer desired is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Delete the object, which holds nothing foreign.
    Delete,
    /// Remove only our fields from the object, which holds foreign keys.
    HandOver,
}

impl Desired {
    /// Whether the Bundle reaches a namespace.
    #[must_use]
    pub fn reaches(&self, settings: &DecisionSettings, name: &str, namespace: &Namespace) -> bool {
        settings.reaches(&self.namespaces, name, namespace)
    }

    /// Whether the desired state names a part of a target of a kind.
    #[must_use]
    pub fn declares(&self, kind: ObjectKind, part: ObjectPart, name: &str) -> bool {
        self.payloads.get(&kind).is_some_and(|payload| match part {
            ObjectPart::Key => payload.values.contains_key(name),
            ObjectPart::Label => payload.labels.contains_key(name),
            ObjectPart::Annotation => payload.annotations.contains_key(name),
        })
    }

    /// Compares a target with its desired state in a namespace that the Bundle reaches (`reached`) or not; `None` if in
    /// sync.
    #[must_use]
    pub fn diff(&self, kind: ObjectKind, reached: bool, found: Option<&ObservedMetadata>) -> Option<Diff> {
        let payload = self.payloads.get(&kind).filter(|_| reached);
        match (payload, found) {
            (None, None) => None,
            // Under a protected name nothing is made, and nothing taken.
            (_, found) if reached && self.protection_for(found).is_some() => None,
            (Some(_), None) => Some(Diff::Create),
            (Some(_), Some(found)) if self.existing == ExistingTargets::Keep && found.is_target_of(&self.name) => None,
            (Some(payload), Some(found)) => self.drift(payload, found),
            // What is published stays while its successor may not be written.
            (None, Some(_)) if reached && self.secrets_off => None,
            (None, Some(found)) if self.deleted => {
                let completed = found.is_target_of(&self.name) && found.annotated_keys.is_some();
                completed.then_some(Diff::Release(Release::HandOver))
            }
            (None, Some(found)) => self.owns(found).then(|| Diff::Release(self.release(found))),
        }
    }

    /// Returns the protected name that keeps the Bundle from writing the object.
    #[must_use]
    pub fn protection_for(&self, found: Option<&ObservedMetadata>) -> Option<ProtectedName> {
        self.protected.filter(|_| !found.is_some_and(|found| found.is_target_of(&self.name)))
    }

    /// Whether the object is this very Bundle's: controlled by it, or, if it owns none of its targets, marked as one
    /// and with keys of ours.
    fn owns(&self, found: &ObservedMetadata) -> bool {
        match (&found.owner, self.deletion) {
            (Some(controller), _) => controller.uid == self.uid,
            (None, DeletionPolicy::Orphan) => found.is_target_of(&self.name) && !found.own_keys.is_empty(),
            (None, DeletionPolicy::Delete) => false,
        }
    }

    /// Returns how an object is released: what is not known to be ours alone stays.
    fn release(&self, found: &ObservedMetadata) -> Release {
        let whole = found.is_target_of(&self.name) && found.annotated_keys.is_none() && !found.holds_foreign_keys();
        if whole { Release::Delete } else { Release::HandOver }
    }

    /// Whether the controlling owner of an object is the one that it is to have.
    fn has_desired_owner(&self, owner: Option<&OwnerRef>) -> bool {
        match (owner, self.deletion) {
            (Some(owner), DeletionPolicy::Delete) => owner.uid == self.uid && self.is_namesake(owner),
            (owner, deletion) => owner.is_none() && deletion == DeletionPolicy::Orphan,
        }
    }

    /// Whether an owner is a Bundle of this name: this one, or one that was here before it.
    fn is_namesake(&self, owner: &OwnerRef) -> bool {
        owner.api_version == api::API_VERSION && owner.kind == api::KIND && owner.name == self.name
    }

    /// Whether an object is a target of this Bundle and, as far as its metadata shows, holds no keys but ours.
    #[must_use]
    pub fn may_recreate(&self, payload: &Payload, found: &ObservedMetadata) -> bool {
        self.protected.is_none()
            && found.is_target_of(&self.name)
            && found.annotated_keys.is_none()
            && found.extra_foreign_key(|key| payload.values.contains_key(key)).is_none()
    }

    fn drift(&self, payload: &Payload, found: &ObservedMetadata) -> Option<Diff> {
        let owner = found.owner.as_ref();
        if let Some(other) = owner.filter(|owner| !self.is_namesake(owner) && owner.uid != self.uid) {
            return Some(if self.may_recreate(payload, found) { Diff::Recreate } else { Diff::Blocked(other.clone()) });
        }
        let holds = |desired: &Labels, there: &Labels| {
            desired.iter().all(|(key, value)| there.get(key).is_some_and(|there| *there == digest_if_long(value)))
        };
        // A key that is no longer wanted and that others hold as well is theirs: it cannot be taken out.
        let is_theirs = |key: &String| {
            !payload.values.contains_key(key)
                && (found.foreign_keys.contains_key(key)
                    || found.annotated_keys.as_ref().is_some_and(|keys| !keys.contains(key)))
        };
        let ladder = [
            (!self.has_desired_owner(owner), Drift::Owner),
            (found.annotations.get(api::HASH_ANNOTATION) != Some(&payload.hash), Drift::Content),
            (
                !found.own_keys.iter().filter(|key| !is_theirs(key)).eq(payload.values.keys())
                    || found.annotated_keys.as_ref().is_some_and(|keys| !keys.iter().eq(payload.values.keys())),
                Drift::Keys,
            ),
            (
                found.labels.get(api::BUNDLE_LABEL) != Some(&self.name)
                    || !holds(&payload.labels, &found.labels)
                    || !holds(&payload.annotations, &found.annotations),
                Drift::Metadata,
            ),
        ];
        ladder.into_iter().find_map(|(differs, drift)| differs.then_some(Diff::Update(drift)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::bundle::fixture::{intent, labels, now, pem};
    use crate::bundle::{FieldOwnership, Inputs, decide};

    const KIND: ObjectKind = ObjectKind::ConfigMap;

    fn desired(target: &Value, secret_targets: bool) -> Desired {
        let intent = intent("b", &json!({ "sources": [{ "inLine": pem("rsa") }], "target": target }));
        let settings = DecisionSettings { secret_targets, ..DecisionSettings::default() };
        let decision = decide(&intent, &Inputs { settings, ..Inputs::default() }, now()).expect("a decision");
        decision.desired.as_ref().clone()
    }

    fn config_map() -> Desired {
        desired(&json!({ "configMap": { "key": "k", "metadata": { "labels": { "a": "1" } } } }), false)
    }

    /// The object as it is after a write of ours.
    fn written(desired: &Desired) -> ObservedMetadata {
        let payload = &desired.payloads[&KIND];
        let mut observed = ObservedMetadata {
            labels: payload.labels.clone(),
            annotations: payload.annotations.clone(),
            owner: Some(OwnerRef {
                api_version: api::API_VERSION.to_owned(),
                kind: api::KIND.to_owned(),
                name: desired.name.clone(),
                uid: desired.uid.clone(),
            }),
            own_keys: payload.values.keys().cloned().collect(),
            ownership: FieldOwnership::Exclusive,
            ..ObservedMetadata::default()
        };
        observed.labels.insert(api::BUNDLE_LABEL.to_owned(), desired.name.clone());
        observed.annotations.insert(api::HASH_ANNOTATION.to_owned(), payload.hash.clone());
        observed
    }

    fn diff_after(edit: impl FnOnce(&mut ObservedMetadata)) -> Option<Diff> {
        let desired = config_map();
        let mut observed = written(&desired);
        edit(&mut observed);
        desired.diff(KIND, true, Some(&observed))
    }

    #[test]
    fn what_is_as_it_should_be_is_left_alone() {
        assert_eq!(diff_after(|_| {}), None);
        assert_eq!(diff_after(|observed| observed.foreign_keys.extend([("x".to_owned(), "y".to_owned())])), None);
        assert_eq!(diff_after(|observed| observed.labels.extend(labels(&[("other", "x")]))), None);
        let shared = |observed: &mut ObservedMetadata| {
            observed.own_keys.insert("old".to_owned());
            observed.foreign_keys.insert("old".to_owned(), "y".to_owned());
        };
        assert_eq!(diff_after(shared), None, "a key that is no longer wanted and that others hold as well");
        assert_eq!(config_map().diff(KIND, true, None), Some(Diff::Create));
        assert_eq!(config_map().diff(KIND, false, None), None);
    }

    #[test]
    fn every_kind_of_drift_is_detected_from_metadata() {
        let drift = |drift| Some(Diff::Update(drift));
        assert_eq!(diff_after(|observed| observed.owner = None), drift(Drift::Owner));
        let namesake =
            |observed: &mut ObservedMetadata| observed.owner.as_mut().expect("an owner").uid = "older".to_owned();
        assert_eq!(diff_after(namesake), drift(Drift::Owner), "a Bundle that was here before");
        assert_eq!(diff_after(|observed| observed.annotations.clear()), drift(Drift::Content));
        assert_eq!(
            diff_after(|observed| observed.own_keys.clear()),
            drift(Drift::Keys),
            "an edited value has another owner"
        );
        assert_eq!(diff_after(|observed| observed.own_keys.extend(["old".to_owned()])), drift(Drift::Keys));
        assert_eq!(diff_after(|observed| observed.labels.extend(labels(&[("a", "2")]))), drift(Drift::Metadata));
        assert_eq!(
            diff_after(|observed| observed.labels.retain(|key, _| key != api::BUNDLE_LABEL)),
            drift(Drift::Metadata)
        );
    }

    #[test]
    fn what_another_controller_owns_is_left_to_it() {
        type Row = (&'static str, fn(&mut ObservedMetadata), bool);
        let other = OwnerRef {
            kind: "Deployment".to_owned(),
            uid: "d".to_owned(),
            ..written(&config_map()).owner.expect("an owner")
        };
        let taken = || ObservedMetadata { owner: Some(other.clone()), ..written(&config_map()) };
        let rows: [Row; 8] = [
            ("a target of ours", |_| {}, true),
            ("without a hash", |observed| observed.annotations.clear(), true),
            (
                "without managed fields",
                |observed| {
                    *observed =
                        ObservedMetadata { ownership: FieldOwnership::Unknown, own_keys: [].into(), ..observed.clone() }
                },
                true,
            ),
            (
                "a key of ours that others took",
                |observed| {
                    *observed = ObservedMetadata {
                        own_keys: [].into(),
                        foreign_keys: [("k".to_owned(), "y".to_owned())].into(),
                        ownership: FieldOwnership::Shared,
                        ..observed.clone()
                    }
                },
                true,
            ),
            ("a key of others", |observed| observed.foreign_keys.extend([("x".to_owned(), "y".to_owned())]), false),
            ("another Bundle's", |observed| observed.labels.extend(labels(&[(api::BUNDLE_LABEL, "other")])), false),
            ("nobody's", |observed| observed.labels.clear(), false),
            (
                "labelled by others",
                |observed| {
                    *observed = ObservedMetadata {
                        labels: observed.labels.clone(),
                        owner: observed.owner.clone(),
                        ..ObservedMetadata::default()
                    }
                },
                false,
            ),
        ];
        for (name, edit, recreated) in rows {
            let mut observed = taken();
            edit(&mut observed);
            let expected = if recreated { Diff::Recreate } else { Diff::Blocked(other.clone()) };
            assert_eq!(config_map().diff(KIND, true, Some(&observed)), Some(expected), "{name}");
        }
    }

    #[test]
    fn an_extra_foreign_key_among_more_keys_than_are_kept_is_named_and_the_target_is_not_recreated() {
        let desired = config_map();
        let payload = &desired.payloads[&KIND];
        for extra_keys in [1, crate::limits::TARGET_FIELDS.max, 5_000] {
            let fields = |keys: &[String]| {
                let keys = keys.iter().map(|key| (format!("f:{key}"), json!({})));
                json!({ "f:data": keys.collect::<serde_json::Map<_, _>>() })
            };
            let theirs: Vec<_> = (0..extra_keys).map(|number| format!("z{number}")).chain(["k".to_owned()]).collect();
            let metadata = json!({
                "labels": { api::BUNDLE_LABEL: "b" }, "annotations": { api::HASH_ANNOTATION: payload.hash },
                "managedFields": [
                    { "manager": api::FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields(&["k".to_owned()]) },
                    { "manager": "theirs", "operation": "Update", "fieldsV1": fields(&theirs) },
                ],
            });
            let metadata = serde_json::from_value(metadata).expect("metadata");
            let observed = ObservedMetadata::from_metadata(&metadata, |part, name| desired.declares(KIND, part, name));
            assert!(observed.is_target_of("b") && !desired.may_recreate(payload, &observed), "{extra_keys}");
            let named = observed.extra_foreign_key(|key| payload.values.contains_key(key));
            assert_eq!(named, Some(("theirs", "z0")), "{extra_keys}");
        }
    }

    #[test]
    fn what_is_no_longer_desired_is_released_unless_it_is_not_ours() {
        let desired = config_map();
        let after = |edit: fn(&mut ObservedMetadata)| {
            let mut observed = written(&desired);
            edit(&mut observed);
            desired.diff(KIND, false, Some(&observed))
        };
        assert_eq!(after(|_| {}), Some(Diff::Release(Release::Delete)));
        let shared =
            |observed: &mut ObservedMetadata| observed.foreign_keys = [("x".to_owned(), "y".to_owned())].into();
        assert_eq!(after(shared), Some(Diff::Release(Release::HandOver)));
        assert_eq!(
            after(|observed| observed.ownership = FieldOwnership::Unknown),
            Some(Diff::Release(Release::HandOver))
        );
        assert_eq!(after(|observed| observed.owner = None), None);
    }

    #[test]
    fn an_orphaning_bundle_owns_no_target_and_knows_its_own_by_label_and_keys() {
        let owning = config_map();
        let desired = Desired { deletion: DeletionPolicy::Orphan, ..owning.clone() };
        let owned = written(&owning);
        let orphan = ObservedMetadata { owner: None, ..owned.clone() };
        let copy = ObservedMetadata {
            own_keys: [].into(),
            foreign_keys: [("k".to_owned(), "kubectl".to_owned())].into(),
            ownership: FieldOwnership::Shared,
            ..orphan.clone()
        };
        let shared = ObservedMetadata {
            foreign_keys: [("x".to_owned(), "kubectl".to_owned())].into(),
            ownership: FieldOwnership::Shared,
            ..orphan.clone()
        };
        let mut namesake = owned.clone();
        namesake.owner.as_mut().expect("an owner").uid = "older".to_owned();
        let drift = Some(Diff::Update(Drift::Owner));
        let rows = [
            ("without an owner", &desired, &orphan, true, None),
            ("without an owner, of an owning Bundle", &owning, &orphan, true, drift.clone()),
            ("owned by the Bundle", &desired, &owned, true, drift.clone()),
            ("owned by a Bundle that was here before", &desired, &namesake, true, drift),
            ("no longer selected", &desired, &orphan, false, Some(Diff::Release(Release::Delete))),
            ("no longer selected, owned", &desired, &owned, false, Some(Diff::Release(Release::Delete))),
            (
                "no longer selected, with a key of others",
                &desired,
                &shared,
                false,
                Some(Diff::Release(Release::HandOver)),
            ),
            ("a copy that others made", &desired, &copy, false, None),
            ("no longer selected by an owning Bundle", &owning, &orphan, false, None),
        ];
        for (name, desired, found, reached, expected) in rows {
            assert_eq!(desired.diff(KIND, reached, Some(found)), expected, "{name}");
        }
        assert!(json!(desired.manifests().next())["metadata"].get("ownerReferences").is_none());
    }

    #[test]
    fn of_a_bundle_that_was_deleted_what_it_completed_is_handed_over_and_nothing_else() {
        let observed = written(&config_map());
        let deleted = Desired::of_deleted("b", &config_map().uid);
        assert_eq!(deleted.diff(KIND, true, Some(&observed)), None, "garbage collection takes it");
        let completed = ObservedMetadata { annotated_keys: Some(["k".to_owned()].into()), owner: None, ..observed };
        let hand_over = Some(Diff::Release(Release::HandOver));
        assert_eq!(deleted.diff(KIND, true, Some(&completed)), hand_over);
        assert_eq!(deleted.diff(KIND, false, Some(&completed)), hand_over);
        let stripped = ObservedMetadata { labels: labels(&[]), ..completed };
        assert_eq!(deleted.diff(KIND, true, Some(&stripped)), None);
    }

    #[test]
    fn what_is_published_stays_while_its_successor_may_not_be_written() {
        let observed = written(&config_map());
        let secret = json!({ "secret": { "key": "k" } });
        assert_eq!(desired(&secret, false).diff(KIND, true, Some(&observed)), None);
        assert_eq!(desired(&secret, true).diff(KIND, true, Some(&observed)), Some(Diff::Release(Release::Delete)));
    }

    #[test]
    fn under_a_protected_name_only_what_is_ours_already_is_served() {
        let desired = Desired { protected: ProtectedName::find("coredns"), ..config_map() };
        let observed = written(&desired);
        assert_eq!(desired.diff(KIND, true, None), None, "nothing is made");
        let unlabelled = ObservedMetadata { labels: labels(&[]), ..observed.clone() };
        assert_eq!(desired.diff(KIND, true, Some(&unlabelled)), None, "nothing is taken");
        assert_eq!(desired.diff(KIND, true, Some(&observed)), None);
        let drifted = ObservedMetadata { annotations: labels(&[(api::HASH_ANNOTATION, "old")]), ..observed.clone() };
        assert_eq!(desired.diff(KIND, true, Some(&drifted)), Some(Diff::Update(Drift::Content)));
        assert_eq!(desired.diff(KIND, false, Some(&observed)), Some(Diff::Release(Release::Delete)));
        let other = OwnerRef {
            kind: "Deployment".to_owned(),
            uid: "d".to_owned(),
            ..observed.owner.clone().expect("an owner")
        };
        let taken = ObservedMetadata { owner: Some(other.clone()), ..observed };
        assert_eq!(desired.diff(KIND, true, Some(&taken)), Some(Diff::Blocked(other)), "it could not be made again");
    }

    #[test]
    fn only_living_allowed_and_selected_namespaces_are_reached() {
        let desired = desired(
            &json!({ "configMap": { "key": "k" }, "namespaceSelector": { "matchLabels": { "a": "1" } } }),
            false,
        );
        let namespace = |pairs: &[(&str, &str)], terminating| Namespace {
            labels: (&labels(pairs)).into(),
            terminating,
            uid: "".into(),
        };
        let open = DecisionSettings::default();
        let listed =
            DecisionSettings { target_namespaces: Some(["two".to_owned()].into()), ..DecisionSettings::default() };
        assert!(desired.reaches(&open, "one", &namespace(&[("a", "1")], false)));
        assert!(!desired.reaches(&open, "one", &namespace(&[("a", "1")], true)));
        assert!(!desired.reaches(&open, "one", &namespace(&[], false)));
        assert!(!desired.reaches(&listed, "one", &namespace(&[("a", "1")], false)));
        assert!(desired.reaches(&listed, "two", &namespace(&[("a", "1")], false)));
    }
}
