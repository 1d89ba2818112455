//! Our own rules: a pod, or its namespace, names a Bundle.

use std::collections::BTreeMap;

use crate::bundle::{LabelSet, Namespace, Settings};

use super::injection::{Injection, Source};
use super::java;
use super::offer::{Offer, Offered};
use super::pod::Pod;
use super::runtimes::{self, PointsAt};
use super::verdict::{Hindrance, What, Wish};
use super::{Review, words};

/// Names the Bundle: an annotation of a pod, or a label of its namespace for all of its pods. The pod's wins.
pub const BUNDLE: &str = "inject.rootcast.dev/bundle";

/// An annotation of a pod: `"true"` leaves it alone, whatever else is said.
pub const SKIP: &str = "inject.rootcast.dev/skip";

/// An annotation of a pod: `"true"` refuses it where it cannot be injected.
pub const REQUIRED: &str = "inject.rootcast.dev/required";

/// An annotation of a pod: the runtimes whose variables are set, separated by commas; all but Java's without it.
pub const RUNTIMES: &str = "inject.rootcast.dev/runtimes";

/// An annotation of a pod: names of containers that are left alone, separated by commas.
pub const EXCLUDE_CONTAINERS: &str = "inject.rootcast.dev/excludeContainers";

/// Owns our volumes: their names begin with it.
const OWNER: &str = "rootcast";

/// The folder of mounts, one for each Bundle.
const MOUNTS: &str = "/etc/rootcast";

/// What the Bundles of the cluster have to offer to pods.
#[derive(Clone, Debug, Default)]
pub struct Bundles {
    /// The settings of the controller.
    pub settings: Settings,
    /// By the Bundle's name.
    pub offered: BTreeMap<String, Offered>,
}

pub(super) fn wish(pod: &Pod<'_>, review: &Review<'_>, namespace: &Namespace, bundles: &Bundles) -> Wish {
    let word = |key| pod.annotation(key).and_then(word);
    let mut warnings = Vec::new();
    let mut is_set = |key| match word(key) {
        Some("true") => true,
        None | Some("false") => false,
        Some(other) => {
            let other = words::quoted(other);
            warnings
                .push(words::warning(&format!("{key}: {other} is neither \"true\" nor \"false\", and means nothing")));
            false
        }
    };
    let (skip, required) = (is_set(SKIP), is_set(REQUIRED));
    // It is about a pod's start: who looks into a running one is not sent away.
    let required = required && review.old.is_none();
    let by_annotation = word(BUNDLE).map(|name| (name, "annotation"));
    let named =
        by_annotation.or_else(|| Some((namespace.labels.value(BUNDLE).and_then(self::word)?, "namespace label")));

    let Some((name, by)) = named.filter(|_| !skip) else {
        let what = if required && !skip { What::Hindered(names_none()) } else { What::Nothing };
        return Wish { subject: "no Bundle".to_owned(), required, warnings, what };
    };
    let what = match offer(name, by, review.namespace, namespace, bundles) {
        Ok(offer) => What::Inject(injection(name, offer, pod, &mut warnings)),
        Err(hindrance) => What::Hindered(hindrance),
    };
    Wish { subject: subject(name), required, warnings, what }
}

/// A value that says something.
fn word(value: &str) -> Option<&str> {
    Some(value.trim()).filter(|value| !value.is_empty())
}

fn subject(bundle: &str) -> String {
    format!("Bundle {}", words::quoted(bundle))
}

fn names_none() -> Hindrance {
    Hindrance::of_pod("neither it nor its namespace names a Bundle", format!("name one by annotation {BUNDLE}"))
}

/// The Bundle of this name, if pods of the namespace may have it.
fn offer<'a>(
    bundle: &str,
    by: &str,
    name: &str,
    namespace: &Namespace,
    bundles: &'a Bundles,
) -> Result<&'a Offer, Hindrance> {
    let Bundles { settings, offered } = bundles;
    match offered.get(bundle) {
        None => Err(Hindrance::of_pod("there is no such Bundle", format!("create it or mend {by} {BUNDLE}"))),
        Some(Offered::Unusable(cause)) => Err(Hindrance::of_pod(cause, "mend the Bundle")),
        Some(Offered::Usable(offer)) => offer.reach(settings, name, namespace).map(|()| offer),
    }
}

fn injection(bundle: &str, offer: &Offer, pod: &Pod<'_>, warnings: &mut Vec<String>) -> Injection {
    let Offer { kind, pem_key, keystore, default_cas, .. } = offer;
    let mount_path = format!("{MOUNTS}/{bundle}");
    let pem = format!("{mount_path}/{pem_key}");
    let source = Source { kind: *kind, name: bundle.to_owned() };
    let mut injection = Injection::of(OWNER, source, mount_path, format!("{SKIP}: \"true\""));

    let excluded = pod.annotation(EXCLUDE_CONTAINERS).into_iter().flat_map(|names| names.split(','));
    injection.excluded = excluded.filter_map(word).map(ToOwned::to_owned).collect();

    let choice = runtimes::choose(pod.annotation(RUNTIMES).and_then(word));
    if !choice.unknown.is_empty() {
        let (unknown, known) = (words::some(choice.unknown), runtimes::known().join(", "));
        warnings.push(words::warning(&format!("{RUNTIMES}: {unknown} unknown; there are {known}")));
    }
    for runtime in choice.variables {
        match (runtime.points_at, keystore) {
            (PointsAt::Pem, _) => injection.variables.push((runtime.variable, pem.clone())),
            (PointsAt::Keystore, Some(keystore)) => {
                injection.java = Some(java::options(keystore, &injection.mount_path));
            }
            (PointsAt::Keystore, None) => warnings.push(words::warning(&format!(
                "{}: {} left alone: it has no keystore; give it spec.target.additionalFormats.jks",
                subject(bundle),
                runtime.variable,
            ))),
        }
        if runtime.is_exclusive() && !default_cas {
            injection.exclusive.push(runtime.variable);
        }
    }
    injection
}
