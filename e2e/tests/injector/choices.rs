//! Who says which Bundle: the pod, its namespace, or nobody.

use anyhow::{Context as _, Result};
use rootcast_e2e::CallOutcome::Changed;

use crate::{
    pods::{Annotations, Trust, call, calls, create, pod, pods, trust, trusts},
    stage::{BUNDLE, BY_ANNOTATION, BY_NAMESPACE, BY_REQUIREMENT, Play, REQUIRED, SKIP},
};

fn nothing() -> Trust {
    Trust { volumes: Vec::new(), containers: [("app".to_owned(), Default::default())].into() }
}

#[tokio::test]
async fn the_label_of_a_namespace_is_for_all_pods_that_say_nothing_else() -> Result<()> {
    let play = Play::begin("labelled", &[(BUNDLE, "corporate")]).await?;
    let table: [(&str, Annotations<'_>, _, _); 7] = [
        ("silent", &[], Some(BY_NAMESPACE), trust("corporate", &["app"], &[])),
        ("empty", &[(BUNDLE, "")], Some(BY_NAMESPACE), trust("corporate", &["app"], &[])),
        ("required", &[REQUIRED], Some(BY_REQUIREMENT), trust("corporate", &["app"], &[])),
        ("required-own", &[REQUIRED, (BUNDLE, "other")], Some(BY_REQUIREMENT), trust("other", &["app"], &[])),
        ("own", &[(BUNDLE, " other ")], Some(BY_ANNOTATION), trust("other", &["app"], &[])),
        ("skipped", &[SKIP], None, nothing()),
        ("skipped-own", &[SKIP, (BUNDLE, "other")], None, nothing()),
    ];
    for (name, annotations, entry, expected) in table {
        let created = play.create(&pod(name, annotations)).await?.object().context(name)?;
        assert_eq!(trusts(&created), expected, "{name}");
        let calls: Vec<_> = entry.iter().map(|entry| call(entry, Changed)).collect();
        play.called("create", name, &calls).await?;
    }
    play.end().await
}

#[tokio::test]
async fn a_protected_name_that_is_allowed_is_as_good_as_any() -> Result<()> {
    let play = Play::begin("allowed", &[]).await?;
    let name = "istio-ca-root-cert";
    let created = play.create(&pod("allowed", &[(BUNDLE, name)])).await?.object()?;
    assert_eq!(trusts(&created), trust(name, &["app"], &[]));
    play.end().await
}

#[tokio::test]
#[cfg_attr(existing_cluster, ignore = "takes the API server's audit log")]
async fn pods_of_excluded_namespaces_and_without_a_word_never_reach_the_injector() -> Result<()> {
    let play = Play::begin("quiet", &[]).await?;
    let control_plane = play.stage.control_plane;
    for (namespace, annotations) in [
        ("quiet", &[][..]),
        ("kube-system", &[(BUNDLE, "corporate"), REQUIRED][..]),
        ("cert-manager", &[(BUNDLE, "corporate"), REQUIRED][..]),
    ] {
        control_plane.namespace(namespace, &[(BUNDLE, "corporate")][..annotations.len().min(1)]).await?;
        let since = control_plane.audit().mark().await?;
        let created = create(&play.client, &pods(namespace), &pod("unasked", annotations)).await?.object()?;
        assert_eq!(trusts(&created), nothing(), "in {namespace}");
        let called = calls(control_plane, since, "create", (namespace, "unasked")).await?;
        assert_eq!(called, [], "in {namespace}");
    }
    play.end().await
}
