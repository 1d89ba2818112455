//! Which request meets a need: the cheapest that is right.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::api;
use crate::bundle::{Adopt, Controller, Look, Need, Obstacle, Payload, Release, Touched, Verdict, Wanted};

use super::action::{Own, Request};
use super::index::Entry;

/// What a request may be made of.
#[derive(Clone, Copy)]
pub(super) struct Means<'a> {
    /// Whether PUT is permitted.
    pub(super) replace: bool,
    pub(super) adopt: Adopt,
    /// The uid of the namespace.
    pub(super) namespace: &'a Arc<str>,
}

/// Why nothing may be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Barred {
    /// Another controller owns the object.
    Owned(Controller),
    /// It is of others.
    Theirs(Obstacle),
}

/// The request for a need.
///
/// - What nobody else has touched is replaced whole.
/// - A key that is wanted and that others own is taken by server-side apply with force: a merge patch does not take over a value
///   that happens to be right.
/// - All else is a strategic merge patch. Server-side apply would cost the server twice as much, and would not take out
///   what an earlier request of another kind put in.
/// - Of what is not known to be ours the content is looked at before, and the request is for that version.
///
/// # Errors
/// Why nothing may be asked for.
pub(super) fn request(
    need: &Need,
    payload: Option<&Payload>,
    wanted: &Wanted,
    found: Option<&Entry>,
    means: Means<'_>,
) -> Result<Request, Barred> {
    let Some(Entry { version, look, holdings, .. }) = found else {
        return Ok(Request::Create);
    };
    let version = *version;
    let holdings = holdings.as_deref();
    Ok(match (need, payload) {
        (Need::Create, _) => Request::Create,
        (Need::Inspect, _) => Request::Compare,
        (Need::Yield(owner), _) => return Err(Barred::Owned(owner.clone())),
        // What its metadata does not tell, its content does.
        (Need::Recreate, _) if look.touched == Touched::ByWhoKnows && holdings.is_none() => Request::Compare,
        (Need::Recreate | Need::Release(Release::Delete), _) => Request::Delete(version),
        (Need::Release(Release::HandOver), _) => Request::HandOver(version, handed_over(look, &wanted.name)),
        // What has no content is not written.
        (Need::Update(_), None) => Request::Look,
        (Need::Update(_), Some(payload)) => {
            let shared = match wanted.may_write(payload, look, holdings, means.adopt) {
                Verdict::Unseen => return Ok(Request::Compare),
                Verdict::Refuse(obstacle) => return Err(Barred::Theirs(obstacle)),
                Verdict::Write { shared } => shared,
            };
            let ours = look.is_target_of(&wanted.name);
            let second_owner = shared.then(|| means.namespace.clone());
            if means.replace && ours && !shared && look.touched == Touched::ByUsAlone {
                Request::Replace(version)
            } else if payload.values.keys().any(|key| is_taken(look, key)) {
                Request::Apply { version, second_owner }
            } else {
                let former = look.controller.as_ref().filter(|owner| owner.uid != wanted.uid);
                Request::Merge {
                    version,
                    stale: stale(look, payload, &wanted.name),
                    former_owner: former.map(|owner| owner.uid.clone()),
                    second_owner,
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
fn stale(look: &Look, Payload { values, labels, annotations, .. }: &Payload, bundle: &str) -> Own {
    let mut stale = own(look, bundle);
    stale.keys.retain(|key| !values.contains_key(key));
    stale.labels.retain(|name| !labels.contains_key(name) && name != api::BUNDLE_LABEL);
    stale.annotations.retain(|name| {
        !annotations.contains_key(name) && ![api::HASH_ANNOTATION, api::KEYS_ANNOTATION].contains(&name.as_str())
    });
    stale
}

/// What is taken out of an object that goes on without us: what is ours, and all that says so.
fn handed_over(look: &Look, bundle: &str) -> Own {
    let mut own = own(look, bundle);
    if look.keys.is_some() && look.is_target_of(bundle) {
        own.labels.insert(api::BUNDLE_LABEL.to_owned());
        own.annotations.extend([api::HASH_ANNOTATION, api::KEYS_ANNOTATION].map(str::to_owned));
        own.namespaces.clone_from(&look.namespaces);
    }
    own
}

/// What is ours and of nobody else. Of an object that does not say it is ours, no key is.
fn own(look: &Look, bundle: &str) -> Own {
    let keys = match &look.keys {
        _ if !look.is_target_of(bundle) => BTreeSet::new(),
        Some(keys) => keys.clone(),
        None => look.own_keys.clone(),
    };
    Own {
        keys: keys.into_iter().filter(|key| !look.foreign_keys.contains_key(key)).collect(),
        labels: look.own_labels.clone(),
        annotations: look.own_annotations.clone(),
        namespaces: BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::fixture::labels;
    use crate::bundle::{Drift, Holdings, Labels, ObjectKind, Selector, Value};
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
            deleted: false,
        }
    }

    fn look(touched: Touched, own: &[&str], foreign: &[&str]) -> Look {
        Look {
            labels: labels(&[(api::BUNDLE_LABEL, "bundle")]),
            annotations: labels(&[(api::HASH_ANNOTATION, "hash")]),
            own_keys: own.iter().map(|key| (*key).to_owned()).collect(),
            foreign_keys: foreign.iter().map(|key| ((*key).to_owned(), "kubectl".to_owned())).collect(),
            touched,
            ..Look::default()
        }
    }

    fn controller(uid: &str) -> Controller {
        Controller { api_version: "v".to_owned(), kind: "K".to_owned(), name: "n".to_owned(), uid: uid.to_owned() }
    }

    fn ask(need: &Need, look: Option<Look>, replace: bool) -> Result<Request, Barred> {
        ask_knowing(need, look, replace, None)
    }

    fn ask_knowing(
        need: &Need,
        look: Option<Look>,
        replace: bool,
        holdings: Option<Holdings>,
    ) -> Result<Request, Barred> {
        let wanted = wanted();
        let mut entry = look.map(|look| Entry::for_test(Version::parse("7"), look));
        if let Some(entry) = &mut entry {
            entry.holdings = holdings.map(Box::new);
        }
        let means = Means { replace, adopt: Adopt::Consent, namespace: &"namespace".into() };
        request(need, wanted.payloads.get(&KIND), &wanted, entry.as_ref(), means)
    }

    fn merge(stale: &[&str], former_owner: Option<&str>) -> Request {
        Request::Merge {
            version: Version::parse("7"),
            stale: Own { keys: stale.iter().map(|key| (*key).to_owned()).collect(), ..Own::default() },
            former_owner: former_owner.map(str::to_owned),
            second_owner: None,
        }
    }

    #[test]
    fn an_update_is_the_cheapest_request_that_is_right() {
        use Touched::{ByOthers, ByUsAlone, ByWhoKnows};
        let seven = Version::parse("7");
        let rows = [
            ("ours alone is replaced", look(ByUsAlone, &["a", "old"], &[]), true, Request::Replace(seven)),
            ("unless that is not permitted", look(ByUsAlone, &["a", "old"], &[]), false, merge(&["old"], None)),
            ("a key of others stays", look(ByOthers, &["a", "b"], &["theirs"]), true, sharing(&[])),
            ("a key that nobody has is added", look(ByOthers, &["a"], &["theirs"]), true, sharing(&[])),
            (
                "a taken key is taken back",
                look(ByOthers, &["a"], &["b"]),
                true,
                Request::Apply { version: seven, second_owner: None },
            ),
            ("a shared key is ours as well", look(ByOthers, &["a", "b"], &["b"]), true, merge(&[], None)),
            ("a shared key is not stale", look(ByOthers, &["a", "b", "old"], &["old"]), true, merge(&[], None)),
            ("who knows whose keys they are", look(ByWhoKnows, &[], &[]), true, Request::Compare),
            (
                "of an object of others the content is seen first",
                Look { labels: labels(&[]), ..look(ByOthers, &[], &["theirs"]) },
                true,
                Request::Compare,
            ),
        ];
        for (name, look, replace, expected) in rows {
            assert_eq!(ask(&Need::Update(Drift::Content), Some(look), replace), Ok(expected), "{name}");
        }
    }

    fn sharing(stale: &[&str]) -> Request {
        let Request::Merge { version, stale, former_owner, .. } = merge(stale, None) else { unreachable!("a merge") };
        Request::Merge { version, stale, former_owner, second_owner: Some("namespace".into()) }
    }

    #[test]
    fn what_is_not_known_to_be_ours_is_never_replaced_whole_and_no_key_of_it_taken_out() {
        let update = Need::Update(Drift::Content);
        let stripped = || Look { labels: labels(&[]), ..look(Touched::ByUsAlone, &["a", "b", "old"], &[]) };
        let free = Holdings { keys: 3, others: true, ..Holdings::default() };
        assert_eq!(ask_knowing(&update, Some(stripped()), true, Some(free)), Ok(sharing(&[])));
        let taken = Holdings { keys: 2, taken: ["a".to_owned()].into(), ..Holdings::default() };
        let obstacle = Barred::Theirs(Obstacle::Value("a".to_owned()));
        assert_eq!(ask_knowing(&update, Some(stripped()), true, Some(taken)), Err(obstacle));

        let completed = Look {
            keys: Some(["a", "b", "old"].map(str::to_owned).into()),
            ..look(Touched::ByUsAlone, &["a", "b", "old", "theirs"], &[])
        };
        assert_eq!(ask(&update, Some(completed), true), Ok(sharing(&["old"])));
    }

    #[test]
    fn a_merge_takes_out_the_owner_that_ours_takes_the_place_of() {
        for (uid, expected) in [("older", Some("older")), ("ours", None)] {
            let look = Look { controller: Some(controller(uid)), ..look(Touched::ByOthers, &["a", "b"], &[]) };
            assert_eq!(ask(&Need::Update(Drift::Owner), Some(look), true), Ok(merge(&[], expected)), "{uid}");
        }
    }

    #[test]
    fn a_merge_takes_out_labels_and_annotations_that_the_template_has_no_more() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let look = Look {
            own_labels: set(&[api::BUNDLE_LABEL, "old"]),
            own_annotations: set(&[api::HASH_ANNOTATION, "note"]),
            ..look(Touched::ByOthers, &["a", "b"], &[])
        };
        let stale = Own { labels: set(&["old"]), annotations: set(&["note"]), ..Own::default() };
        let merge = Request::Merge { version: Version::parse("7"), stale, former_owner: None, second_owner: None };
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
        assert_eq!(ask(&Need::Yield(controller("d")), there(), true), Err(Barred::Owned(controller("d"))));
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
            namespaces: BTreeSet::new(),
        };
        let hand_over = Need::Release(Release::HandOver);
        assert_eq!(ask(&hand_over, Some(look.clone()), true), Ok(Request::HandOver(Version::parse("7"), own)));

        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let completed = Look { keys: Some(set(&["b"])), namespaces: set(&["uid"]), ..look.clone() };
        let own = Own {
            keys: set(&["b"]),
            labels: set(&["l", api::BUNDLE_LABEL]),
            annotations: set(&["n", api::HASH_ANNOTATION, api::KEYS_ANNOTATION]),
            namespaces: set(&["uid"]),
        };
        assert_eq!(ask(&hand_over, Some(completed), true), Ok(Request::HandOver(Version::parse("7"), own)));

        let unlabelled = Look { labels: labels(&[]), ..look };
        let Ok(Request::HandOver(_, own)) = ask(&hand_over, Some(unlabelled), true) else { panic!("handed over") };
        assert_eq!(own.keys, BTreeSet::new(), "no key is known to be ours");
    }
}
