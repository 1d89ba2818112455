//! Decisions about pods: the patch that makes the programs of a pod trust a bundle.
//!
//! ```text
//! PodReview, Policy --native | cainjector--> InjectionRequest --patch_pod--> InjectionVerdict (patch, warnings, denial)
//! ```
//!
//! Every function is pure. Only the fields of a pod that a decision needs are parsed, and the patch contains only what it
//! adds: fields of newer versions of Kubernetes survive.

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

/// The content of an admission review: a pod that is created, or ephemeral containers that are added to a pod.
#[derive(Clone, Copy, Debug)]
pub struct PodReview<'a> {
    /// The namespace of the request; the field in the pod may be empty.
    pub namespace: &'a str,
    /// The pod as JSON.
    pub pod: &'a str,
    /// The pod before ephemeral containers were added, as JSON; `None` if a pod is created.
    pub old: Option<&'a str>,
}

/// The rules by which a pod is injected, with their inputs.
#[derive(Clone, Copy, Debug)]
pub enum Policy<'a> {
    /// Native mode: annotations and the namespace label `inject.rootcast.dev/…` name a Bundle.
    Native {
        /// The namespace of the pod.
        namespace: &'a Namespace,
        /// The Bundles of the cluster.
        bundles: &'a InjectableBundles,
    },
    /// The rules of [cainjector](https://github.com/robertlestak/cainjector).
    Cainjector {
        /// The name and domain of cainjector's annotations.
        operator: &'a Operator,
        /// The options for pods whose annotations do not override them.
        options: &'a CainjectorOptions,
    },
}

/// Returns the name of the Bundle that a pod's annotation or its namespace's label requests.
///
/// # Errors
///
/// The pod is not what Kubernetes accepts as a pod.
pub fn named_bundle(review: &PodReview<'_>, namespace: &Namespace) -> Result<Option<String>, InvalidPodError> {
    let pod = Pod::parse(ReviewField::Object, review.pod)?;
    Ok(native::requested_bundle(&pod, namespace).map(|(name, _)| name.to_owned()))
}

/// The requirement in a pod's annotations for the case that no Bundle is available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectionRequirement {
    /// The pod opts out of injection.
    Skip,
    /// The pod must not start without its Bundle.
    Required,
    /// The pod starts without its Bundle.
    Optional,
}

/// Returns the requirement in a pod's annotations for the case that no Bundle is available.
///
/// # Errors
///
/// The pod is not what Kubernetes accepts as a pod.
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

/// Decides about the pod of a review: returns its patch and warnings, or its denial.
///
/// # Errors
///
/// The pod or the old pod is not what Kubernetes accepts as a pod.
pub fn inject(review: &PodReview<'_>, policy: &Policy<'_>) -> Result<InjectionVerdict, InvalidPodError> {
    let pod = Pod::parse(ReviewField::Object, review.pod)?;
    let old = review.old.map(OldPod::parse).transpose()?;
    if pod.is_mirror() {
        // A mirror pod only represents a static pod, which the kubelet reads from a file on its node.
        return Ok(InjectionVerdict::default());
    }
    let request = match policy {
        Policy::Native { namespace, bundles } => native::injection_request(&pod, review, namespace, bundles),
        Policy::Cainjector { operator, options } => cainjector::injection_request(&pod, review, operator, options),
    };
    Ok(request.into_verdict(|injection| patch_pod(injection, &pod, old.as_ref())))
}
