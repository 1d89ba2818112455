//! Decisions about pods: what has to be changed in one so that its programs trust a bundle.
//!
//! ```text
//! Policy --(native | cainjector): what is asked for--> Injection --fit: into which containers--> Verdict (patch, warnings)
//! ```
//!
//! Everything here is a pure function of its arguments. The pod is read only as far as it matters, and the patch names
//! only what it adds: whatever a newer Kubernetes puts into pods survives.

mod annotations;
mod blocker;
mod budget;
mod cainjector;
mod environment;
#[cfg(test)]
mod fixture;
mod injectable;
mod injection;
mod java;
mod java_obstacle;
mod lenient;
mod native;
mod options;
mod patch;
mod patch_pod;
mod pod;
mod runtimes;
mod verdict;
mod volume;
mod windows;

use crate::bundle::Namespace;

pub use annotations::{BUNDLE, EXCLUDE_CONTAINERS, REQUIRED, RUNTIMES, SKIP};
pub use cainjector::Operator;
pub use injectable::{Injectability, InjectableBundle, KeystoreKind, MountedKeystore};
pub use native::{InjectableBundles, bundle_of_namespace_label};
pub use options::{CainjectorOptions, CainjectorOptionsError};
pub use patch::JsonPatch;
pub use pod::InvalidPodError;
pub use runtimes::markdown_table;
pub use verdict::{Denial, InjectionVerdict};

use patch_pod::patch_pod;
use pod::{OldPod, Pod, ReviewField};

/// What the API server asks about: a pod that is created, or ephemeral containers that are added to one.
#[derive(Clone, Copy, Debug)]
pub struct PodReview<'a> {
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
        bundles: &'a InjectableBundles,
    },
    /// The rules of [cainjector](https://github.com/robertlestak/cainjector).
    Cainjector {
        /// Whose annotations count.
        operator: &'a Operator,
        /// What holds where a pod says nothing.
        options: &'a CainjectorOptions,
    },
}

/// The Bundle that a pod names, or its namespace for it.
///
/// # Errors
///
/// The pod is not what Kubernetes takes for a pod.
pub fn named_bundle(review: &PodReview<'_>, namespace: &Namespace) -> Result<Option<String>, InvalidPodError> {
    let pod = Pod::parse(ReviewField::Object, review.pod)?;
    Ok(native::requested_bundle(&pod, namespace).map(|(name, _)| name.to_owned()))
}

/// What a pod wants where no Bundle can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectionRequirement {
    /// To be left alone.
    Skip,
    /// Not to start without its Bundle.
    Required,
    /// To start all the same.
    Optional,
}

/// What the annotations of a pod say for the case that no Bundle can be had.
///
/// # Errors
///
/// The pod is not what Kubernetes takes for a pod.
pub fn injection_requirement(review: &PodReview<'_>) -> Result<InjectionRequirement, InvalidPodError> {
    let pod = Pod::parse(ReviewField::Object, review.pod)?;
    let is_set = |key| pod.annotation(key).is_some_and(|text| text.trim() == "true");
    Ok(if is_set(SKIP) {
        InjectionRequirement::Skip
    } else if is_set(REQUIRED) && review.old.is_none() {
        InjectionRequirement::Required
    } else {
        InjectionRequirement::Optional
    })
}

/// Decides about one pod.
///
/// # Errors
///
/// The pod, or the one before it, is not what Kubernetes takes for a pod.
pub fn inject(review: &PodReview<'_>, policy: &Policy<'_>) -> Result<InjectionVerdict, InvalidPodError> {
    let pod = Pod::parse(ReviewField::Object, review.pod)?;
    let old = review.old.map(OldPod::parse).transpose()?;
    if pod.is_mirror() {
        // The kubelet shows a static pod to the API server; what runs is in a file on its node.
        return Ok(InjectionVerdict::default());
    }
    let request = match policy {
        Policy::Native { namespace, bundles } => native::injection_request(&pod, review, namespace, bundles),
        Policy::Cainjector { operator, options } => cainjector::injection_request(&pod, review, operator, options),
    };
    Ok(request.into_verdict(|injection| patch_pod(injection, &pod, old.as_ref())))
}
