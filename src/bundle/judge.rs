//! What has to be done with one object so that it is as its Bundle wants it.

use crate::api;

use super::decision::Wanted;
use super::intent::ObjectKind;
use super::look::{Controller, Look, Part, brief};
use super::payload::Payload;
use super::protected::Protected;
use super::selector::Labels;
use super::world::{Namespace, Settings};

/// What has to be done with one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// It is not there, or there without our label.
    Create,
    /// It is there, and this differs.
    Update(Drift),
    /// It is there and looks right, but its bytes may have been changed unseen.
    Inspect,
    /// It is no longer wanted.
    Release(Release),
    /// Another controller owns it: it is not ours to write.
    Yield(Controller),
    /// It is a target of ours that others made immutable or gave to another controller: delete it and create it anew,
    /// if it holds nothing of others.
    Recreate,
}

/// In what a target differs from what it should be; the first that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// The controlling owner is not this Bundle.
    Owner,
    /// The hash annotation: sources, formats or metadata changed.
    Content,
    /// The keys that we own: somebody edited a value, or a key was renamed.
    Keys,
    /// A label or annotation.
    Metadata,
    /// The bytes, though the metadata looks right: somebody wrote them under our own name.
    Bytes,
}

/// How an object that is no longer wanted is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// It holds nothing but ours: delete it.
    Delete,
    /// It holds keys of others: take only our fields out of it.
    HandOver,
}

impl Wanted {
    /// Whether a namespace is to hold this.
    #[must_use]
    pub fn reaches(&self, settings: &Settings, name: &str, namespace: &Namespace) -> bool {
        settings.reach(&self.namespaces, name, namespace)
    }

    /// Whether this names something of a target of a kind.
    #[must_use]
    pub fn names(&self, kind: ObjectKind, part: Part, name: &str) -> bool {
        self.payloads.get(&kind).is_some_and(|payload| match part {
            Part::Key => payload.values.contains_key(name),
            Part::Label => payload.labels.contains_key(name),
            Part::Annotation => payload.annotations.contains_key(name),
        })
    }

    /// Compares what should be with what is in a namespace that the Bundle reaches (`reached`) or not; `None`: all is well.
    #[must_use]
    pub fn judge(&self, kind: ObjectKind, reached: bool, found: Option<&Look>) -> Option<Need> {
        let payload = self.payloads.get(&kind).filter(|_| reached);
        match (payload, found) {
            (None, None) => None,
            // Under a protected name nothing is made, and nothing taken.
            (_, found) if reached && self.kept_out(found).is_some() => None,
            (Some(_), None) => Some(Need::Create),
            (Some(payload), Some(found)) => self.drift(payload, found),
            // What is published stays while its successor may not be written.
            (None, Some(_)) if reached && self.secrets_off => None,
            (None, Some(found)) if self.deleted => {
                let completed = found.is_target_of(&self.name) && found.keys.is_some();
                completed.then_some(Need::Release(Release::HandOver))
            }
            (None, Some(found)) => self.owns(found).then(|| Need::Release(self.release(found))),
        }
    }

    /// The protected name that keeps the Bundle from having this object.
    #[must_use]
    pub fn kept_out(&self, found: Option<&Look>) -> Option<Protected> {
        self.protected.filter(|_| !found.is_some_and(|found| found.is_target_of(&self.name)))
    }

    /// Whether the object is controlled by this very Bundle.
    fn owns(&self, found: &Look) -> bool {
        found.controller.as_ref().is_some_and(|controller| controller.uid == self.uid)
    }

    /// How an object is let go: what is not known to be ours alone stays.
    fn release(&self, found: &Look) -> Release {
        let whole = found.is_target_of(&self.name) && found.keys.is_none() && !found.holds_foreign_keys();
        if whole { Release::Delete } else { Release::HandOver }
    }

    /// Whether an owner is a Bundle of this name: this one, or one that was here before it.
    fn is_namesake(&self, owner: &Controller) -> bool {
        owner.api_version == api::API_VERSION && owner.kind == api::KIND && owner.name == self.name
    }

    /// Whether an object is a target of this Bundle and, as far as its metadata tells, holds no keys but ours.
    #[must_use]
    pub fn may_recreate(&self, payload: &Payload, found: &Look) -> bool {
        self.protected.is_none()
            && found.is_target_of(&self.name)
            && found.keys.is_none()
            && found.stranger(|key| payload.values.contains_key(key)).is_none()
    }

    fn drift(&self, payload: &Payload, found: &Look) -> Option<Need> {
        if let Some(other) = found.controller.as_ref().filter(|owner| !self.is_namesake(owner) && !self.owns(found)) {
            return Some(if self.may_recreate(payload, found) { Need::Recreate } else { Need::Yield(other.clone()) });
        }
        let holds = |wanted: &Labels, there: &Labels| {
            wanted.iter().all(|(key, value)| there.get(key).is_some_and(|there| *there == brief(value)))
        };
        // A key that is no longer wanted and that others hold as well is theirs: it cannot be taken out.
        let is_theirs = |key: &String| {
            !payload.values.contains_key(key)
                && (found.foreign_keys.contains_key(key) || found.keys.as_ref().is_some_and(|keys| !keys.contains(key)))
        };
        let ladder = [
            (
                !(self.owns(found) && found.controller.as_ref().is_some_and(|owner| self.is_namesake(owner))),
                Drift::Owner,
            ),
            (found.annotations.get(api::HASH_ANNOTATION) != Some(&payload.hash), Drift::Content),
            (
                !found.own_keys.iter().filter(|key| !is_theirs(key)).eq(payload.values.keys())
                    || found.keys.as_ref().is_some_and(|keys| !keys.iter().eq(payload.values.keys())),
                Drift::Keys,
            ),
            (
                found.labels.get(api::BUNDLE_LABEL) != Some(&self.name)
                    || !holds(&payload.labels, &found.labels)
                    || !holds(&payload.annotations, &found.annotations),
                Drift::Metadata,
            ),
        ];
        ladder.into_iter().find_map(|(differs, drift)| differs.then_some(Need::Update(drift)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::bundle::fixture::{intent, labels, now, pem};
    use crate::bundle::{Touched, World, decide};

    const KIND: ObjectKind = ObjectKind::ConfigMap;

    fn wanted(target: &Value, secret_targets: bool) -> Wanted {
        let intent = intent("b", &json!({ "sources": [{ "inLine": pem("rsa") }], "target": target }));
        let settings = Settings { secret_targets, ..Settings::default() };
        let decision = decide(&intent, &World { settings, ..World::default() }, now()).expect("a decision");
        decision.wanted.as_ref().clone()
    }

    fn config_map() -> Wanted {
        wanted(&json!({ "configMap": { "key": "k", "metadata": { "labels": { "a": "1" } } } }), false)
    }

    /// The object as it is after a write of ours.
    fn written(wanted: &Wanted) -> Look {
        let payload = &wanted.payloads[&KIND];
        let mut look = Look {
            labels: payload.labels.clone(),
            annotations: payload.annotations.clone(),
            controller: Some(Controller {
                api_version: api::API_VERSION.to_owned(),
                kind: api::KIND.to_owned(),
                name: wanted.name.clone(),
                uid: wanted.uid.clone(),
            }),
            own_keys: payload.values.keys().cloned().collect(),
            touched: Touched::ByUsAlone,
            ..Look::default()
        };
        look.labels.insert(api::BUNDLE_LABEL.to_owned(), wanted.name.clone());
        look.annotations.insert(api::HASH_ANNOTATION.to_owned(), payload.hash.clone());
        look
    }

    fn need_after(edit: impl FnOnce(&mut Look)) -> Option<Need> {
        let wanted = config_map();
        let mut look = written(&wanted);
        edit(&mut look);
        wanted.judge(KIND, true, Some(&look))
    }

    #[test]
    fn what_is_as_it_should_be_is_left_alone() {
        assert_eq!(need_after(|_| {}), None);
        assert_eq!(need_after(|look| look.foreign_keys.extend([("x".to_owned(), "y".to_owned())])), None);
        assert_eq!(need_after(|look| look.labels.extend(labels(&[("other", "x")]))), None);
        let shared = |look: &mut Look| {
            look.own_keys.insert("old".to_owned());
            look.foreign_keys.insert("old".to_owned(), "y".to_owned());
        };
        assert_eq!(need_after(shared), None, "a key that is no longer wanted and that others hold as well");
        assert_eq!(config_map().judge(KIND, true, None), Some(Need::Create));
        assert_eq!(config_map().judge(KIND, false, None), None);
    }

    #[test]
    fn every_kind_of_drift_is_seen_in_metadata() {
        let drift = |drift| Some(Need::Update(drift));
        assert_eq!(need_after(|look| look.controller = None), drift(Drift::Owner));
        let namesake = |look: &mut Look| look.controller.as_mut().expect("an owner").uid = "older".to_owned();
        assert_eq!(need_after(namesake), drift(Drift::Owner), "a Bundle that was here before");
        assert_eq!(need_after(|look| look.annotations.clear()), drift(Drift::Content));
        assert_eq!(need_after(|look| look.own_keys.clear()), drift(Drift::Keys), "an edited value has another owner");
        assert_eq!(need_after(|look| look.own_keys.extend(["old".to_owned()])), drift(Drift::Keys));
        assert_eq!(need_after(|look| look.labels.extend(labels(&[("a", "2")]))), drift(Drift::Metadata));
        assert_eq!(need_after(|look| look.labels.retain(|key, _| key != api::BUNDLE_LABEL)), drift(Drift::Metadata));
    }

    #[test]
    fn what_another_controller_owns_is_left_to_it() {
        type Row = (&'static str, fn(&mut Look), bool);
        let other = Controller {
            kind: "Deployment".to_owned(),
            uid: "d".to_owned(),
            ..written(&config_map()).controller.expect("an owner")
        };
        let taken = || Look { controller: Some(other.clone()), ..written(&config_map()) };
        let rows: [Row; 8] = [
            ("a target of ours", |_| {}, true),
            ("without a hash", |look| look.annotations.clear(), true),
            (
                "without managed fields",
                |look| *look = Look { touched: Touched::ByWhoKnows, own_keys: [].into(), ..look.clone() },
                true,
            ),
            (
                "a key of ours that others took",
                |look| {
                    *look = Look {
                        own_keys: [].into(),
                        foreign_keys: [("k".to_owned(), "y".to_owned())].into(),
                        touched: Touched::ByOthers,
                        ..look.clone()
                    }
                },
                true,
            ),
            ("a key of others", |look| look.foreign_keys.extend([("x".to_owned(), "y".to_owned())]), false),
            ("another Bundle's", |look| look.labels.extend(labels(&[(api::BUNDLE_LABEL, "other")])), false),
            ("nobody's", |look| look.labels.clear(), false),
            (
                "labelled by others",
                |look| {
                    *look = Look { labels: look.labels.clone(), controller: look.controller.clone(), ..Look::default() }
                },
                false,
            ),
        ];
        for (name, edit, recreated) in rows {
            let mut look = taken();
            edit(&mut look);
            let expected = if recreated { Need::Recreate } else { Need::Yield(other.clone()) };
            assert_eq!(config_map().judge(KIND, true, Some(&look)), Some(expected), "{name}");
        }
    }

    #[test]
    fn a_stranger_among_more_keys_than_are_kept_is_named_and_the_target_is_not_created_anew() {
        let wanted = config_map();
        let payload = &wanted.payloads[&KIND];
        for strangers in [1, crate::limits::TARGET_FIELDS.max, 5_000] {
            let fields = |keys: &[String]| {
                let keys = keys.iter().map(|key| (format!("f:{key}"), json!({})));
                json!({ "f:data": keys.collect::<serde_json::Map<_, _>>() })
            };
            let theirs: Vec<_> = (0..strangers).map(|number| format!("z{number}")).chain(["k".to_owned()]).collect();
            let metadata = json!({
                "labels": { api::BUNDLE_LABEL: "b" }, "annotations": { api::HASH_ANNOTATION: payload.hash },
                "managedFields": [
                    { "manager": api::FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields(&["k".to_owned()]) },
                    { "manager": "theirs", "operation": "Update", "fieldsV1": fields(&theirs) },
                ],
            });
            let metadata = serde_json::from_value(metadata).expect("metadata");
            let look = Look::read(&metadata, |part, name| wanted.names(KIND, part, name));
            assert!(look.is_target_of("b") && !wanted.may_recreate(payload, &look), "{strangers}");
            let named = look.stranger(|key| payload.values.contains_key(key));
            assert_eq!(named, Some(("theirs", "z0")), "{strangers}");
        }
    }

    #[test]
    fn what_is_no_longer_wanted_is_let_go_unless_it_is_not_ours() {
        let wanted = config_map();
        let after = |edit: fn(&mut Look)| {
            let mut look = written(&wanted);
            edit(&mut look);
            wanted.judge(KIND, false, Some(&look))
        };
        assert_eq!(after(|_| {}), Some(Need::Release(Release::Delete)));
        let shared = |look: &mut Look| look.foreign_keys = [("x".to_owned(), "y".to_owned())].into();
        assert_eq!(after(shared), Some(Need::Release(Release::HandOver)));
        assert_eq!(after(|look| look.touched = Touched::ByWhoKnows), Some(Need::Release(Release::HandOver)));
        assert_eq!(after(|look| look.controller = None), None);
    }

    #[test]
    fn of_a_bundle_that_was_deleted_what_it_completed_is_handed_over_and_nothing_else() {
        let look = written(&config_map());
        let deleted = Wanted::of_deleted("b", &config_map().uid);
        assert_eq!(deleted.judge(KIND, true, Some(&look)), None, "garbage collection takes it");
        let completed = Look { keys: Some(["k".to_owned()].into()), controller: None, ..look };
        let hand_over = Some(Need::Release(Release::HandOver));
        assert_eq!(deleted.judge(KIND, true, Some(&completed)), hand_over);
        assert_eq!(deleted.judge(KIND, false, Some(&completed)), hand_over);
        let stripped = Look { labels: labels(&[]), ..completed };
        assert_eq!(deleted.judge(KIND, true, Some(&stripped)), None);
    }

    #[test]
    fn what_is_published_stays_while_its_successor_may_not_be_written() {
        let look = written(&config_map());
        let secret = json!({ "secret": { "key": "k" } });
        assert_eq!(wanted(&secret, false).judge(KIND, true, Some(&look)), None);
        assert_eq!(wanted(&secret, true).judge(KIND, true, Some(&look)), Some(Need::Release(Release::Delete)));
    }

    #[test]
    fn under_a_protected_name_only_what_is_ours_already_is_served() {
        let wanted = Wanted { protected: Protected::find("coredns"), ..config_map() };
        let look = written(&wanted);
        assert_eq!(wanted.judge(KIND, true, None), None, "nothing is made");
        let unlabelled = Look { labels: labels(&[]), ..look.clone() };
        assert_eq!(wanted.judge(KIND, true, Some(&unlabelled)), None, "nothing is taken");
        assert_eq!(wanted.judge(KIND, true, Some(&look)), None);
        let drifted = Look { annotations: labels(&[(api::HASH_ANNOTATION, "old")]), ..look.clone() };
        assert_eq!(wanted.judge(KIND, true, Some(&drifted)), Some(Need::Update(Drift::Content)));
        assert_eq!(wanted.judge(KIND, false, Some(&look)), Some(Need::Release(Release::Delete)));
        let other = Controller {
            kind: "Deployment".to_owned(),
            uid: "d".to_owned(),
            ..look.controller.clone().expect("an owner")
        };
        let taken = Look { controller: Some(other.clone()), ..look };
        assert_eq!(wanted.judge(KIND, true, Some(&taken)), Some(Need::Yield(other)), "it could not be made again");
    }

    #[test]
    fn only_living_allowed_and_selected_namespaces_are_reached() {
        let wanted = wanted(
            &json!({ "configMap": { "key": "k" }, "namespaceSelector": { "matchLabels": { "a": "1" } } }),
            false,
        );
        let namespace = |pairs: &[(&str, &str)], terminating| Namespace {
            labels: (&labels(pairs)).into(),
            terminating,
            uid: "".into(),
        };
        let open = Settings::default();
        let listed = Settings { target_namespaces: Some(["two".to_owned()].into()), ..Settings::default() };
        assert!(wanted.reaches(&open, "one", &namespace(&[("a", "1")], false)));
        assert!(!wanted.reaches(&open, "one", &namespace(&[("a", "1")], true)));
        assert!(!wanted.reaches(&open, "one", &namespace(&[], false)));
        assert!(!wanted.reaches(&listed, "one", &namespace(&[("a", "1")], false)));
        assert!(wanted.reaches(&listed, "two", &namespace(&[("a", "1")], false)));
    }
}
