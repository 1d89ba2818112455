//! Decisions about pods: what has to be changed in one so that its programs trust a bundle.
//!
//! ```text
//! Policy --(native | cainjector): what is asked for--> Injection --fit: into which containers--> Verdict (patch, warnings)
//! ```
//!
//! Everything here is a pure function of its arguments. The pod is read only as far as it matters, and the patch names
//! only what it adds: whatever a newer Kubernetes puts into pods survives.

mod budget;
mod cainjector;
mod environment;
mod fit;
#[cfg(test)]
mod fixture;
mod injection;
mod java;
mod lenient;
mod native;
mod offer;
mod options;
mod patch;
mod pod;
mod runtimes;
mod verdict;
mod volume;
mod windows;

use crate::bundle::Namespace;

pub use cainjector::Operator;
pub use native::{BUNDLE, Bundles, EXCLUDE_CONTAINERS, REQUIRED, RUNTIMES, SKIP, labelled};
pub use offer::{Keystore, KeystoreKind, Offer, Offered};
pub use options::Options;
pub use patch::Patch;
pub use pod::Malformed;
pub use runtimes::markdown_table;
pub use verdict::{Refusal, Verdict};

use fit::fit;
use pod::{Old, Pod, Which};

/// What the API server asks about: a pod that is created, or ephemeral containers that are added to one.
#[derive(Clone, Copy, Debug)]
pub struct Review<'a> {
    /// The namespace of the request; the pod's own may be empty.
    pub namespace: &'a str,
    /// The pod, as JSON.
    pub pod: &'a str,
    /// The pod before ephemeral containers were added, as JSON; `None` where a pod is created.
    pub old: Option<&'a str>,
}

/// Whose rules hold.
#[derive(Clone, Copy, Debug)]
pub enum Policy<'a> {
    /// Annotations and the namespace label `inject.rootcast.dev/…`, which name a Bundle.
    Native {
        /// The namespace of the request.
        namespace: &'a Namespace,
        /// What Bundles have to offer.
        bundles: &'a Bundles,
    },
    /// The rules of [cainjector](https://github.com/robertlestak/cainjector).
    Cainjector {
        /// Whose annotations count.
        operator: &'a Operator,
        /// What holds where a pod says nothing.
        options: &'a Options,
    },
}

/// The Bundle that a pod names, or its namespace for it.
///
/// # Errors
///
/// The pod is not what Kubernetes takes for a pod.
pub fn named_bundle(review: &Review<'_>, namespace: &Namespace) -> Result<Option<String>, Malformed> {
    let pod = Pod::parse(Which::Object, review.pod)?;
    Ok(native::named(&pod, namespace).map(|(name, _)| name.to_owned()))
}

/// What a pod wants where no Bundle can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insistence {
    /// To be left alone.
    Skip,
    /// Not to start without its Bundle.
    Required,
    /// To start all the same.
    None,
}

/// What the annotations of a pod say for the case that no Bundle can be had.
///
/// # Errors
///
/// The pod is not what Kubernetes takes for a pod.
pub fn insistence(review: &Review<'_>) -> Result<Insistence, Malformed> {
    let pod = Pod::parse(Which::Object, review.pod)?;
    let is_set = |key| pod.annotation(key).is_some_and(|text| text.trim() == "true");
    Ok(if is_set(SKIP) {
        Insistence::Skip
    } else if is_set(REQUIRED) && review.old.is_none() {
        Insistence::Required
    } else {
        Insistence::None
    })
}

/// Decides about one pod.
///
/// # Errors
///
/// The pod, or the one before it, is not what Kubernetes takes for a pod.
pub fn inject(review: &Review<'_>, policy: &Policy<'_>) -> Result<Verdict, Malformed> {
    let pod = Pod::parse(Which::Object, review.pod)?;
    let old = review.old.map(Old::parse).transpose()?;
    if pod.is_mirror() {
        // The kubelet shows a static pod to the API server; what runs is in a file on its node.
        return Ok(Verdict::default());
    }
    let wish = match policy {
        Policy::Native { namespace, bundles } => native::wish(&pod, review, namespace, bundles),
        Policy::Cainjector { operator, options } => cainjector::wish(&pod, review, operator, options),
    };
    Ok(wish.carry_out(|injection| fit(injection, &pod, old.as_ref())))
}
