//! The request that carries out a diff: the cheapest that is right.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::api;
use crate::bundle::{
    AdoptionPolicy, AdoptionVerdict, DeletionPolicy, Desired, Diff, FieldOwnership, ObservedMetadata, Obstacle,
    OwnerRef, Payload, Release,
};

use super::action::{OwnedFields, TargetRequest};
use super::index::IndexEntry;

/// The options on which the choice of a request depends beside the target.
#[derive(Clone, Copy)]
pub(super) struct RequestOptions<'a> {
    /// Whether PUT is permitted.
    pub(super) put_allowed: bool,
    /// Whether objects of others are adopted.
    pub(super) adopt: AdoptionPolicy,
    /// Uid of the namespace.
    pub(super) namespace_uid: &'a Arc<str>,
}

/// The reason why no request may be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RequestBlocked {
    /// Another controller owns the object.
    OtherController(OwnerRef),
    /// The object is of others, and may not be adopted.
    AdoptionRefused(Obstacle),
}

/// Chooses the request for a diff.
///
/// - An object with fields of ours alone is replaced whole.
/// - A desired key that others own is taken by server-side apply with force: a merge patch does not take over a value
///   that is already as desired.
/// - All else is a strategic merge patch. Server-side apply would cost the server twice as much, and would not remove
///   what an earlier request of another kind added.
/// - The content of an object that is not known to be ours is read before, and the request is for that version.
///
/// # Errors
/// The reason why no request may be sent.
pub(super) fn choose_request(
    diff: &Diff,
    payload: Option<&Payload>,
    desired: &Desired,
    entry: Option<&IndexEntry>,
    options: RequestOptions<'_>,
) -> Result<TargetRequest, RequestBlocked> {
    let Some(IndexEntry { version, metadata, holdings, .. }) = entry else {
        return Ok(TargetRequest::Create);
    };
    let version = *version;
    let holdings = holdings.as_deref();
    Ok(match (diff, payload) {
        (Diff::Create, _) => TargetRequest::Create,
        (Diff::VerifyBytes, _) => TargetRequest::GetContent,
        (Diff::Blocked(owner), _) => return Err(RequestBlocked::OtherController(owner.clone())),
        // What the metadata do not show, the content does.
        (Diff::Recreate, _) if metadata.ownership == FieldOwnership::Unknown && holdings.is_none() => {
            TargetRequest::GetContent
        }
        (Diff::Recreate | Diff::Release(Release::Delete), _) => TargetRequest::Delete(version),
        (Diff::Release(Release::HandOver), _) => TargetRequest::HandOver(version, handed_over(metadata, desired)),
        // Without a payload nothing is written.
        (Diff::Update(_), None) => TargetRequest::GetMetadata,
        (Diff::Update(_), Some(payload)) => {
            let shared = match desired.may_write(payload, metadata, holdings, options.adopt) {
                AdoptionVerdict::NeedsContent => return Ok(TargetRequest::GetContent),
                AdoptionVerdict::Refuse(obstacle) => return Err(RequestBlocked::AdoptionRefused(obstacle)),
                AdoptionVerdict::Write { shared } => shared,
            };
            let ours = metadata.is_target_of(&desired.name);
            let second_owner = shared.then(|| options.namespace_uid.clone());
            if options.put_allowed && ours && !shared && metadata.ownership == FieldOwnership::Exclusive {
                TargetRequest::Replace(version)
            } else if payload.values.keys().any(|key| is_taken(metadata, key)) {
                TargetRequest::Apply { version, second_owner }
            } else {
                let former = metadata.owner.as_ref().filter(|owner| desired.owner_uid() != Some(&owner.uid));
                TargetRequest::Merge {
                    version,
                    stale: stale(metadata, payload, &desired.name),
                    former_owner: former.map(|owner| owner.uid.clone()),
                    second_owner,
                }
            }
        }
    })
}

/// Returns whether others own a key, or may own it, and we do not.
fn is_taken(metadata: &ObservedMetadata, key: &String) -> bool {
    !metadata.own_keys.contains(key) && metadata.may_be_foreign(key)
}

/// The fields that are ours alone and no longer desired. A label that a mutating webhook adds to our requests looks
/// like ours: it may be removed, but its presence alone causes no write.
fn stale(
    metadata: &ObservedMetadata,
    Payload { values, labels, annotations, .. }: &Payload,
    bundle: &str,
) -> OwnedFields {
    let mut stale = owned_fields(metadata, bundle);
    stale.keys.retain(|key| !values.contains_key(key));
    stale.labels.retain(|name| !labels.contains_key(name) && name != api::BUNDLE_LABEL);
    stale.annotations.retain(|name| {
        !annotations.contains_key(name) && ![api::HASH_ANNOTATION, api::KEYS_ANNOTATION].contains(&name.as_str())
    });
    stale
}

/// The fields that are removed from an object when it is handed over: ours, and those that mark the object as ours. Of
/// an object that the Bundle does not own nothing else does.
fn handed_over(metadata: &ObservedMetadata, desired: &Desired) -> OwnedFields {
    let mut own = owned_fields(metadata, &desired.name);
    let marked = metadata.annotated_keys.is_some() || desired.deletion == DeletionPolicy::Orphan;
    if marked && metadata.is_target_of(&desired.name) {
        own.labels.insert(api::BUNDLE_LABEL.to_owned());
        own.annotations.extend([api::HASH_ANNOTATION, api::KEYS_ANNOTATION].map(str::to_owned));
        own.namespaces.clone_from(&metadata.namespace_owner_uids);
    }
    own
}

/// The fields that are ours alone. Of an object that is not marked as ours, no key is.
fn owned_fields(metadata: &ObservedMetadata, bundle: &str) -> OwnedFields {
    let keys = match &metadata.annotated_keys {
        _ if !metadata.is_target_of(bundle) => BTreeSet::new(),
        Some(keys) => keys.clone(),
        None => metadata.own_keys.clone(),
    };
    OwnedFields {
        keys: keys.into_iter().filter(|key| !metadata.foreign_keys.contains_key(key)).collect(),
        labels: metadata.own_labels.clone(),
        annotations: metadata.own_annotations.clone(),
        namespaces: BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::fixture::labels;
    use crate::bundle::{ContentSummary, Drift, ExistingTargets, Labels, ObjectKind, Output, PayloadValue, Selector};
    use crate::fanout::resource_version::ResourceVersion;

    const KIND: ObjectKind = ObjectKind::ConfigMap;

    /// A Bundle with the keys `a` and `b`.
    fn desired() -> Desired {
        let values = ["a", "b"].map(|key| (key.to_owned(), PayloadValue::Text("x".into())));
        let payload = Payload {
            kind: KIND,
            values: values.into(),
            labels: Labels::new(),
            annotations: Labels::new(),
            hash: String::new(),
            partial: false,
        };
        Desired {
            name: "bundle".to_owned(),
            uid: "ours".to_owned(),
            namespaces: Selector::default(),
            output: Output::default(),
            payloads: [(KIND, payload)].into(),
            all_denied: false,
            secrets_off: false,
            protected: None,
            deletion: DeletionPolicy::Delete,
            existing: ExistingTargets::Update,
            deleted: false,
        }
    }

    fn metadata(touched: FieldOwnership, own: &[&str], foreign: &[&str]) -> ObservedMetadata {
        ObservedMetadata {
            labels: labels(&[(api::BUNDLE_LABEL, "bundle")]),
            annotations: labels(&[(api::HASH_ANNOTATION, "hash")]),
            own_keys: own.iter().map(|key| (*key).to_owned()).collect(),
            foreign_keys: foreign.iter().map(|key| ((*key).to_owned(), "kubectl".to_owned())).collect(),
            ownership: touched,
            ..ObservedMetadata::default()
        }
    }

    fn controller(uid: &str) -> OwnerRef {
        OwnerRef { api_version: "v".to_owned(), kind: "K".to_owned(), name: "n".to_owned(), uid: uid.to_owned() }
    }

    fn choose(
        diff: &Diff,
        metadata: Option<ObservedMetadata>,
        put_allowed: bool,
    ) -> Result<TargetRequest, RequestBlocked> {
        choose_with_holdings(diff, metadata, put_allowed, None)
    }

    fn choose_with_holdings(
        diff: &Diff,
        metadata: Option<ObservedMetadata>,
        put_allowed: bool,
        holdings: Option<ContentSummary>,
    ) -> Result<TargetRequest, RequestBlocked> {
        let desired = desired();
        let mut entry = metadata.map(|metadata| IndexEntry::for_test(ResourceVersion::parse("7"), metadata));
        if let Some(entry) = &mut entry {
            entry.holdings = holdings.map(Box::new);
        }
        let options =
            RequestOptions { put_allowed, adopt: AdoptionPolicy::Consent, namespace_uid: &"namespace".into() };
        choose_request(diff, desired.payloads.get(&KIND), &desired, entry.as_ref(), options)
    }

    fn merge(stale: &[&str], former_owner: Option<&str>) -> TargetRequest {
        merge_with(stale, former_owner, None)
    }

    fn merge_with(stale: &[&str], former_owner: Option<&str>, second_owner: Option<&str>) -> TargetRequest {
        TargetRequest::Merge {
            version: ResourceVersion::parse("7"),
            stale: OwnedFields { keys: stale.iter().map(|key| (*key).to_owned()).collect(), ..OwnedFields::default() },
            former_owner: former_owner.map(str::to_owned),
            second_owner: second_owner.map(Into::into),
        }
    }

    #[test]
    fn an_update_is_the_cheapest_request_that_is_right() {
        use FieldOwnership::{Exclusive, Shared, Unknown};
        let seven = ResourceVersion::parse("7");
        let rows = [
            ("ours alone is replaced", metadata(Exclusive, &["a", "old"], &[]), true, TargetRequest::Replace(seven)),
            ("unless that is not permitted", metadata(Exclusive, &["a", "old"], &[]), false, merge(&["old"], None)),
            ("a key of others stays", metadata(Shared, &["a", "b"], &["theirs"]), true, sharing(&[])),
            ("a key that nobody has is added", metadata(Shared, &["a"], &["theirs"]), true, sharing(&[])),
            (
                "a taken key is taken back",
                metadata(Shared, &["a"], &["b"]),
                true,
                TargetRequest::Apply { version: seven, second_owner: None },
            ),
            ("a shared key is ours as well", metadata(Shared, &["a", "b"], &["b"]), true, merge(&[], None)),
            ("a shared key is not stale", metadata(Shared, &["a", "b", "old"], &["old"]), true, merge(&[], None)),
            ("who knows whose keys they are", metadata(Unknown, &[], &[]), true, TargetRequest::GetContent),
            (
                "of an object of others the content is seen first",
                ObservedMetadata { labels: labels(&[]), ..metadata(Shared, &[], &["theirs"]) },
                true,
                TargetRequest::GetContent,
            ),
        ];
        for (name, metadata, put_allowed, expected) in rows {
            assert_eq!(choose(&Diff::Update(Drift::Content), Some(metadata), put_allowed), Ok(expected), "{name}");
        }
    }

    fn sharing(stale: &[&str]) -> TargetRequest {
        merge_with(stale, None, Some("namespace"))
    }

    #[test]
    fn what_is_not_known_to_be_ours_is_never_replaced_whole_and_no_key_of_it_taken_out() {
        let update = Diff::Update(Drift::Content);
        let stripped =
            || ObservedMetadata { labels: labels(&[]), ..metadata(FieldOwnership::Exclusive, &["a", "b", "old"], &[]) };
        let free = ContentSummary { keys: 3, has_foreign_keys: true, ..ContentSummary::default() };
        assert_eq!(choose_with_holdings(&update, Some(stripped()), true, Some(free)), Ok(sharing(&[])));
        let taken = ContentSummary { keys: 2, taken: ["a".to_owned()].into(), ..ContentSummary::default() };
        let obstacle = RequestBlocked::AdoptionRefused(Obstacle::Value("a".to_owned()));
        assert_eq!(choose_with_holdings(&update, Some(stripped()), true, Some(taken)), Err(obstacle));

        let completed = ObservedMetadata {
            annotated_keys: Some(["a", "b", "old"].map(str::to_owned).into()),
            ..metadata(FieldOwnership::Exclusive, &["a", "b", "old", "theirs"], &[])
        };
        assert_eq!(choose(&update, Some(completed), true), Ok(sharing(&["old"])));
    }

    #[test]
    fn a_merge_takes_out_the_owner_that_ours_takes_the_place_of() {
        for (uid, expected) in [("older", Some("older")), ("ours", None)] {
            let metadata =
                ObservedMetadata { owner: Some(controller(uid)), ..metadata(FieldOwnership::Shared, &["a", "b"], &[]) };
            assert_eq!(choose(&Diff::Update(Drift::Owner), Some(metadata), true), Ok(merge(&[], expected)), "{uid}");
        }
    }

    #[test]
    fn of_a_bundle_that_owns_nothing_a_merge_takes_out_its_own_reference_and_a_release_every_mark() {
        let desired = Desired { deletion: DeletionPolicy::Orphan, ..desired() };
        let choose = |diff: &Diff, metadata| {
            let entry = IndexEntry::for_test(ResourceVersion::parse("7"), metadata);
            let options = RequestOptions {
                put_allowed: true,
                adopt: AdoptionPolicy::Consent,
                namespace_uid: &"namespace".into(),
            };
            choose_request(diff, desired.payloads.get(&KIND), &desired, Some(&entry), options)
        };
        let owned = ObservedMetadata {
            owner: Some(controller("ours")),
            ..metadata(FieldOwnership::Shared, &["a", "b"], &["a"])
        };
        assert_eq!(choose(&Diff::Update(Drift::Owner), owned.clone()), Ok(merge(&[], Some("ours"))));
        let exclusive =
            ObservedMetadata { ownership: FieldOwnership::Exclusive, foreign_keys: [].into(), ..owned.clone() };
        assert_eq!(
            choose(&Diff::Update(Drift::Owner), exclusive),
            Ok(TargetRequest::Replace(ResourceVersion::parse("7")))
        );
        let Ok(TargetRequest::HandOver(_, own)) = choose(&Diff::Release(Release::HandOver), owned) else {
            panic!("handed over")
        };
        assert_eq!((own.keys, own.labels), (["b".to_owned()].into(), [api::BUNDLE_LABEL.to_owned()].into()));
    }

    #[test]
    fn a_merge_takes_out_labels_and_annotations_that_the_template_has_no_more() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let metadata = ObservedMetadata {
            own_labels: set(&[api::BUNDLE_LABEL, "old"]),
            own_annotations: set(&[api::HASH_ANNOTATION, "note"]),
            ..metadata(FieldOwnership::Shared, &["a", "b"], &[])
        };
        let stale = OwnedFields { labels: set(&["old"]), annotations: set(&["note"]), ..OwnedFields::default() };
        let merge = TargetRequest::Merge {
            version: ResourceVersion::parse("7"),
            stale,
            former_owner: None,
            second_owner: None,
        };
        assert_eq!(choose(&Diff::Update(Drift::Content), Some(metadata), true), Ok(merge));
    }

    #[test]
    fn only_what_is_not_there_is_written_without_a_version() {
        let there = || Some(metadata(FieldOwnership::Exclusive, &["a"], &[]));
        let update = Diff::Update(Drift::Bytes);
        let diffs = [&update, &Diff::Release(Release::Delete), &Diff::Release(Release::HandOver)];
        for diff in diffs {
            assert_eq!(choose(diff, None, true), Ok(TargetRequest::Create));
            let version = choose(diff, there(), true).expect("a request").version();
            assert_eq!(version, Some(ResourceVersion::parse("7")), "{diff:?}");
        }
        assert_eq!(choose(&Diff::VerifyBytes, there(), true), Ok(TargetRequest::GetContent));
        assert_eq!(
            choose(&Diff::Blocked(controller("d")), there(), true),
            Err(RequestBlocked::OtherController(controller("d")))
        );
        assert_eq!(choose(&Diff::Recreate, there(), true), Ok(TargetRequest::Delete(ResourceVersion::parse("7"))));
        let who_knows = Some(metadata(FieldOwnership::Unknown, &[], &[]));
        assert_eq!(
            choose(&Diff::Recreate, who_knows, true),
            Ok(TargetRequest::GetContent),
            "whose keys it holds is to be seen first"
        );
    }

    #[test]
    fn only_what_is_ours_alone_is_handed_over() {
        let metadata = ObservedMetadata {
            own_labels: ["l".to_owned()].into(),
            own_annotations: ["n".to_owned()].into(),
            ..metadata(FieldOwnership::Shared, &["a", "shared"], &["shared", "theirs"])
        };
        let own = OwnedFields {
            keys: ["a".to_owned()].into(),
            labels: ["l".to_owned()].into(),
            annotations: ["n".to_owned()].into(),
            namespaces: BTreeSet::new(),
        };
        let hand_over = Diff::Release(Release::HandOver);
        assert_eq!(
            choose(&hand_over, Some(metadata.clone()), true),
            Ok(TargetRequest::HandOver(ResourceVersion::parse("7"), own))
        );

        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let completed = ObservedMetadata {
            annotated_keys: Some(set(&["b"])),
            namespace_owner_uids: set(&["uid"]),
            ..metadata.clone()
        };
        let own = OwnedFields {
            keys: set(&["b"]),
            labels: set(&["l", api::BUNDLE_LABEL]),
            annotations: set(&["n", api::HASH_ANNOTATION, api::KEYS_ANNOTATION]),
            namespaces: set(&["uid"]),
        };
        assert_eq!(
            choose(&hand_over, Some(completed), true),
            Ok(TargetRequest::HandOver(ResourceVersion::parse("7"), own))
        );

        let unlabelled = ObservedMetadata { labels: labels(&[]), ..metadata };
        let Ok(TargetRequest::HandOver(_, own)) = choose(&hand_over, Some(unlabelled), true) else {
            panic!("handed over")
        };
        assert_eq!(own.keys, BTreeSet::new(), "no key is known to be ours");
    }
}
