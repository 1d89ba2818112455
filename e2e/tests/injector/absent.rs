//! No injector runs: which pods the API server would ask about, and what it does without an answer.

use anyhow::{Context as _, Result};
use rootcast_e2e::{Balancer, CallOutcome, ControlPlane};

use crate::pods::{Annotations, call, calls, create, pod, pods, trusts};

const BUNDLE: (&str, &str) = ("inject.rootcast.dev/bundle", "corporate");
const NO_BUNDLE: (&str, &str) = ("inject.rootcast.dev/bundle", " ");
const SKIP: (&str, &str) = ("inject.rootcast.dev/skip", " true ");
const NO_SKIP: (&str, &str) = ("inject.rootcast.dev/skip", "false");
const REQUIRED: (&str, &str) = ("inject.rootcast.dev/required", " true ");
const NOT_REQUIRED: (&str, &str) = ("inject.rootcast.dev/required", "false");
const MIRROR: (&str, &str) = ("kubernetes.io/config.mirror", "x");

/// Each pod: its namespace (labelled or not), its annotations, and the one entry that asks about it.
const ASKED: &[(&str, Annotations<'_>, Option<&str>)] = &[
    ("plain", &[], None),
    ("plain", &[BUNDLE], Some("annotation")),
    ("plain", &[NO_BUNDLE], None),
    ("plain", &[BUNDLE, SKIP], None),
    ("plain", &[BUNDLE, NO_SKIP], Some("annotation")),
    ("plain", &[BUNDLE, NOT_REQUIRED], Some("annotation")),
    ("plain", &[BUNDLE, MIRROR], None),
    ("plain", &[BUNDLE, REQUIRED], Some("required")),
    ("plain", &[REQUIRED], Some("required")),
    ("plain", &[BUNDLE, REQUIRED, SKIP], None),
    ("plain", &[BUNDLE, REQUIRED, MIRROR], None),
    ("labelled", &[], Some("namespace")),
    ("labelled", &[NO_BUNDLE], Some("namespace")),
    ("labelled", &[NOT_REQUIRED], Some("namespace")),
    ("labelled", &[SKIP], None),
    ("labelled", &[MIRROR], None),
    ("labelled", &[BUNDLE], Some("annotation")),
    ("labelled", &[BUNDLE, SKIP], None),
    ("labelled", &[REQUIRED], Some("required")),
    ("labelled", &[BUNDLE, REQUIRED], Some("required")),
    ("labelled", &[REQUIRED, SKIP], None),
    ("kube-system", &[BUNDLE], None),
    ("kube-system", &[BUNDLE, REQUIRED], None),
    ("cert-manager", &[BUNDLE], None),
    ("cert-manager", &[BUNDLE, REQUIRED], None),
];

#[tokio::test]
#[cfg_attr(existing_cluster, ignore = "starts an API server of its own")]
async fn pods_start_uninjected_and_only_those_that_must_not_are_refused() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    let balancer = Balancer::start()?;
    control_plane.install().await?;
    control_plane.install_injector(&balancer, &[])?;
    control_plane.namespace("plain", &[]).await?;
    // The injector's namespaces stay out of it even where somebody labels them.
    for name in ["labelled", "kube-system", "cert-manager"] {
        control_plane.namespace(name, &[("inject.rootcast.dev/bundle", "corporate")]).await?;
    }
    let client = control_plane.client();
    for (number, (namespace, annotations, entry)) in ASKED.iter().enumerate() {
        let name = format!("pod-{number}");
        let when = format!("{annotations:?} in {namespace}");
        let mut wanted = pod(&name, annotations);
        if annotations.contains(&MIRROR) {
            wanted["spec"]["nodeName"] = "node".into();
        }
        let since = control_plane.audit().mark().await?;
        let answer = create(&client, &pods(namespace), &wanted).await?;
        let called = calls(&control_plane, since, "create", (namespace, &name)).await?;
        let entry = entry.map(|entry| format!("{entry}.inject.rootcast.dev"));
        let (expected, refused) = match entry.as_deref() {
            None => (vec![], false),
            Some(entry @ "required.inject.rootcast.dev") => (vec![call(entry, CallOutcome::Unchanged)], true),
            Some(entry) => (vec![call(entry, CallOutcome::FailedOpen)], false),
        };
        assert_eq!(called, expected, "{when}");
        if refused {
            let why = answer.refusal()?;
            assert!(why.contains("failed calling webhook \"required.inject.rootcast.dev\""), "{when}: {why}");
        } else {
            let created = answer.object().context(when)?;
            assert!(!trusts(&created).is_in_part(), "{created:#}");
        }
    }
    let asked = ASKED.iter().filter(|(_, _, entry)| entry.is_some()).count();
    assert_eq!(balancer.connections(), asked, "nobody listens, so that each call is a connection");
    let metrics = control_plane.metrics().await?;
    let errors = metrics.sum("apiserver_admission_match_condition_evaluation_errors_total", &[]);
    assert!(errors.abs() < 0.5, "{errors} conditions failed to evaluate");
    control_plane.finish().await
}
