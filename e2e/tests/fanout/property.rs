//! Whatever happens in whatever order: it ends as it should, at a bounded price.

use std::env;
use std::time::Duration;

use proptest::prelude::*;
use rootcast::bundle::ObjectKind;

use crate::model::Key;
use crate::step::{Edit, OfNamespace, Step, ends_well};
use crate::world::{BUNDLES, Content, NAMESPACES, scopes};

fn content() -> impl Strategy<Value = Content> {
    let kinds = prop_oneof![
        4 => Just(vec![ObjectKind::ConfigMap]),
        1 => Just(vec![ObjectKind::Secret]),
        1 => Just(ObjectKind::ALL.to_vec()),
    ];
    let keys = prop_oneof![
        3 => Just(["ca.pem"].as_slice()),
        1 => Just(["root.pem"].as_slice()),
        1 => Just(["ca.pem", "ca.jks"].as_slice()),
    ];
    let value = prop::sample::select(&["x", "y"][..]);
    (any::<bool>(), any::<bool>(), kinds, keys, value).prop_map(|(selective, label, kinds, keys, value)| Content {
        selective,
        kinds: kinds.into_iter().collect(),
        keys,
        value,
        label,
    })
}

fn place() -> impl Strategy<Value = Key> {
    let kind = prop_oneof![3 => Just(ObjectKind::ConfigMap), 1 => Just(ObjectKind::Secret)];
    (kind, prop::sample::select(&NAMESPACES[..]), prop::sample::select(&BUNDLES[..]))
        .prop_map(|(kind, namespace, name)| Key { kind, namespace: namespace.to_owned(), name: name.to_owned() })
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        Just(Edit::Value),
        Just(Edit::ValueAndBack),
        Just(Edit::ValueUnderOurName),
        Just(Edit::Key),
        Just(Edit::Hash),
        Just(Edit::Label),
        Just(Edit::LabelBack),
        Just(Edit::Owner),
        Just(Edit::ForeignKey),
        Just(Edit::ForeignLabel),
        Just(Edit::Rival),
        Just(Edit::ManagedFields),
        Just(Edit::Immutable),
        Just(Edit::Usurp),
        Just(Edit::Delete),
        prop::sample::select(&["", "x", "theirs"][..]).prop_map(Edit::Earlier),
    ]
}

/// What may happen, with decisions of this weight among it.
fn step(decisions: u32) -> impl Strategy<Value = Step> {
    let bundle = || prop::sample::select(&BUNDLES[..]);
    let namespace = || prop::sample::select(&NAMESPACES[..]);
    let scope = || prop::sample::select(scopes().to_vec());
    let of_namespace = prop_oneof![
        3 => Just(OfNamespace::In),
        2 => Just(OfNamespace::Out),
        1 => Just(OfNamespace::Terminate),
        1 => Just(OfNamespace::Finalize),
    ];
    let index = || 0..8usize;
    let retry_after = prop::option::of((0..5u64).prop_map(Duration::from_secs));
    prop_oneof![
        decisions => (bundle(), content()).prop_map(|(name, content)| Step::Decide(name, content)),
        1 => bundle().prop_map(Step::Refuse),
        1 => bundle().prop_map(Step::DeleteBundle),
        1 => Just(Step::CollectGarbage),
        4 => (namespace(), of_namespace).prop_map(|(name, what)| Step::Namespace(name, what)),
        8 => (place(), edit()).prop_map(|(key, edit)| Step::Edit(key, edit)),
        10 => (scope(), 1..6usize).prop_map(|(scope, count)| Step::Deliver(scope, count)),
        2 => scope().prop_map(Step::Relist),
        2 => scope().prop_map(Step::ReadList),
        8 => index().prop_map(Step::Arrive),
        8 => index().prop_map(Step::Answer),
        2 => (index(), any::<bool>()).prop_map(|(index, late)| Step::Lose(index, late)),
        3 => index().prop_map(Step::ListArrives),
        3 => (index(), prop::bool::weighted(0.2)).prop_map(|(index, lost)| Step::ListAnswers(index, lost)),
        1 => (index(), retry_after).prop_map(|(index, time)| Step::Busy(index, time)),
        1 => index().prop_map(Step::ArriveLate),
        1 => namespace().prop_map(Step::Policy),
        1 => Just(Step::ForbidReplacing),
        1 => any::<bool>().prop_map(Step::Lead),
        3 => (1..3000u64).prop_map(|millis| Step::Pass(Duration::from_millis(millis))),
    ]
}

/// As many as CI has time for; `make nightly` has more.
fn cases() -> u32 {
    env::var("ROOTCAST_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        max_shrink_iters: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens_it_ends_as_it_should_with_at_most_one_write_for_each_event(
        steps in prop_oneof![3 => Just(4), 1 => Just(60)].prop_flat_map(|decisions| prop::collection::vec(step(decisions), 1..80)),
        max_in_flight in 1..4usize,
    ) {
        ends_well(max_in_flight, &steps);
    }
}
