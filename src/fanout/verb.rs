//! Which request meets a need: the cheapest that is right.

use std::collections::BTreeSet;

use crate::api;
use crate::bundle::{Controller, Look, Need, Payload, Release, Touched, Wanted};

use super::action::{Own, Request};
use super::index::Entry;

/// The request for a need. `replace`: whether PUT is permitted.
///
/// - What nobody else has touched is replaced whole.
/// - A key that is wanted and that others own is taken by server-side apply with force: a merge patch does not take over a value
///   that happens to be right.
/// - All else is a strategic merge patch. Server-side apply would cost the server twice as much, and would not take out
///   what an earlier request of another kind put in.
///
/// # Errors
/// The controller that owns the object, where nothing may be asked for.
pub(super) fn request(
    need: &Need,
    payload: Option<&Payload>,
    wanted: &Wanted,
    found: Option<&Entry>,
    replace: bool,
) -> Result<Request, Controller> {
    let Some(Entry { version, look, others, .. }) = found else {
        return Ok(Request::Create);
    };
    let version = *version;
    Ok(match need {
        Need::Create => Request::Create,
        Need::Inspect => Request::Compare,
        Need::Yield(owner) => return Err(owner.clone()),
        // What its metadata does not tell, its content does.
        Need::Recreate if look.touched == Touched::ByWhoKnows && others.is_none() => Request::Compare,
        Need::Recreate | Need::Release(Release::Delete) => Request::Delete(version),
        Need::Release(Release::HandOver) => Request::HandOver(version, own(look)),
        Need::Update(_) if replace && look.touched == Touched::ByUsAlone => Request::Replace(version),
        Need::Update(_) => {
            let keys: BTreeSet<&String> = payload.into_iter().flat_map(|payload| payload.values.keys()).collect();
            if keys.iter().any(|key| is_taken(look, key)) {
                Request::Apply(version)
            } else {
                let former = look.controller.as_ref().filter(|owner| owner.uid != wanted.uid);
                Request::Merge {
                    version,
                    stale: stale(look, payload, &keys),
                    former_owner: former.map(|owner| owner.uid.clone()),
                }
            }
        }
    })
}

/// Whether others own a key, or may own it, and we do not.
fn is_taken(look: &Look, key: &String) -> bool {
    !look.own_keys.contains(key) && look.may_be_foreign(key)
}

/// What is ours, of nobody else, and no longer wanted. Where a mutating webhook works for us, a label of its own looks like
/// ours: it may be taken out, but that it is there does not call for a write.
fn stale(look: &Look, payload: Option<&Payload>, wanted: &BTreeSet<&String>) -> Own {
    let mut stale = own(look);
    stale.keys.retain(|key| !wanted.contains(key));
    stale.labels.remove(api::BUNDLE_LABEL);
    stale.annotations.remove(api::HASH_ANNOTATION);
    if let Some(Payload { labels, annotations, .. }) = payload {
        stale.labels.retain(|name| !labels.contains_key(name));
        stale.annotations.retain(|name| !annotations.contains_key(name));
    }
    stale
}

/// What is ours and of nobody else.
fn own(look: &Look) -> Own {
    Own {
        keys: look.own_keys.iter().filter(|key| !look.foreign_keys.contains_key(*key)).cloned().collect(),
        labels: look.own_labels.clone(),
        annotations: look.own_annotations.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::{Drift, Labels, ObjectKind, Selector, Value};
    use crate::fanout::version::Version;

    const KIND: ObjectKind = ObjectKind::ConfigMap;

    /// A Bundle with the keys `a` and `b`.
    fn wanted() -> Wanted {
        let values = ["a", "b"].map(|key| (key.to_owned(), Value::Text("x".into())));
        let payload = Payload {
            kind: KIND,
            values: values.into(),
            labels: Labels::new(),
            annotations: Labels::new(),
            hash: String::new(),
            partial: false,
        };
        Wanted {
            name: "bundle".to_owned(),
            uid: "ours".to_owned(),
            namespaces: Selector::default(),
            payloads: [(KIND, payload)].into(),
            secrets_off: false,
            protected: None,
        }
    }

    fn look(touched: Touched, own: &[&str], foreign: &[&str]) -> Look {
        Look {
            own_keys: own.iter().map(|key| (*key).to_owned()).collect(),
            foreign_keys: foreign.iter().map(|key| ((*key).to_owned(), "kubectl".to_owned())).collect(),
            touched,
            ..Look::default()
        }
    }

    fn controller(uid: &str) -> Controller {
        Controller { api_version: "v".to_owned(), kind: "K".to_owned(), name: "n".to_owned(), uid: uid.to_owned() }
    }

    fn ask(need: &Need, look: Option<Look>, replace: bool) -> Result<Request, Controller> {
        let wanted = wanted();
        let entry = look.map(|look| Entry::for_test(Version::parse("7"), look));
        request(need, wanted.payloads.get(&KIND), &wanted, entry.as_ref(), replace)
    }

    fn merge(stale: &[&str], former_owner: Option<&str>) -> Request {
        Request::Merge {
            version: Version::parse("7"),
            stale: Own { keys: stale.iter().map(|key| (*key).to_owned()).collect(), ..Own::default() },
            former_owner: former_owner.map(str::to_owned),
        }
    }

    #[test]
    fn an_update_is_the_cheapest_request_that_is_right() {
        use Touched::{ByOthers, ByUsAlone, ByWhoKnows};
        let seven = Version::parse("7");
        let rows = [
            ("ours alone is replaced", look(ByUsAlone, &["a", "old"], &[]), true, Request::Replace(seven)),
            ("unless that is not permitted", look(ByUsAlone, &["a", "old"], &[]), false, merge(&["old"], None)),
            ("a key of others stays", look(ByOthers, &["a", "b"], &["theirs"]), true, merge(&[], None)),
            ("a key that nobody has is added", look(ByOthers, &["a"], &["theirs"]), true, merge(&[], None)),
            ("a taken key is taken back", look(ByOthers, &["a"], &["b"]), true, Request::Apply(seven)),
            ("a shared key is ours as well", look(ByOthers, &["a", "b"], &["b"]), true, merge(&[], None)),
            ("a shared key is not stale", look(ByOthers, &["a", "b", "old"], &["old"]), true, merge(&[], None)),
            ("who knows whose keys they are", look(ByWhoKnows, &[], &[]), true, Request::Apply(seven)),
        ];
        for (name, look, replace, expected) in rows {
            assert_eq!(ask(&Need::Update(Drift::Content), Some(look), replace), Ok(expected), "{name}");
        }
    }

    #[test]
    fn a_merge_takes_out_the_owner_that_ours_takes_the_place_of() {
        for (uid, expected) in [("older", Some("older")), ("ours", None)] {
            let look = Look { controller: Some(controller(uid)), ..look(Touched::ByOthers, &["a", "b"], &["theirs"]) };
            assert_eq!(ask(&Need::Update(Drift::Owner), Some(look), true), Ok(merge(&[], expected)), "{uid}");
        }
    }

    #[test]
    fn a_merge_takes_out_labels_and_annotations_that_the_template_has_no_more() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let look = Look {
            own_labels: set(&[api::BUNDLE_LABEL, "old"]),
            own_annotations: set(&[api::HASH_ANNOTATION, "note"]),
            ..look(Touched::ByOthers, &["a", "b"], &["theirs"])
        };
        let stale = Own { labels: set(&["old"]), annotations: set(&["note"]), ..Own::default() };
        let merge = Request::Merge { version: Version::parse("7"), stale, former_owner: None };
        assert_eq!(ask(&Need::Update(Drift::Content), Some(look), true), Ok(merge));
    }

    #[test]
    fn only_what_is_not_there_is_written_without_a_version() {
        let there = || Some(look(Touched::ByUsAlone, &["a"], &[]));
        let update = Need::Update(Drift::Bytes);
        let needs = [&update, &Need::Release(Release::Delete), &Need::Release(Release::HandOver)];
        for need in needs {
            assert_eq!(ask(need, None, true), Ok(Request::Create));
            let version = ask(need, there(), true).expect("a request").version();
            assert_eq!(version, Some(Version::parse("7")), "{need:?}");
        }
        assert_eq!(ask(&Need::Inspect, there(), true), Ok(Request::Compare));
        assert_eq!(ask(&Need::Yield(controller("d")), there(), true), Err(controller("d")));
        assert_eq!(ask(&Need::Recreate, there(), true), Ok(Request::Delete(Version::parse("7"))));
        let who_knows = Some(look(Touched::ByWhoKnows, &[], &[]));
        assert_eq!(
            ask(&Need::Recreate, who_knows, true),
            Ok(Request::Compare),
            "whose keys it holds is to be seen first"
        );
    }

    #[test]
    fn only_what_is_ours_alone_is_handed_over() {
        let look = Look {
            own_labels: ["l".to_owned()].into(),
            own_annotations: ["n".to_owned()].into(),
            ..look(Touched::ByOthers, &["a", "shared"], &["shared", "theirs"])
        };
        let own = Own {
            keys: ["a".to_owned()].into(),
            labels: ["l".to_owned()].into(),
            annotations: ["n".to_owned()].into(),
        };
        assert_eq!(
            ask(&Need::Release(Release::HandOver), Some(look), true),
            Ok(Request::HandOver(Version::parse("7"), own))
        );
    }
}
