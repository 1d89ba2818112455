//! Decisions about pods: the patch that makes the programs of a pod trust a bundle.
//!
//! ```text
//! PodReview --pod--> ReviewedPod
//! ReviewedPod, Policy --native | cainjector--> InjectionRequest --patch_pod--> InjectionVerdict: patch, warnings, denial
//! ```
//!
//! Every function is pure. Only the fields of a pod that a decision needs are parsed, and the patch contains only the
//! additions: fields of newer versions of Kubernetes survive.

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
pub use native::{InjectableBundles, InjectionRequirement, bundle_of_namespace_label, labelled_bundle};
pub use options::{CainjectorOptions, CainjectorOptionsError};
pub use patch::JsonPatch;
pub use pod::InvalidPodError;
pub use runtimes::markdown_table;
pub use verdict::{Denial, InjectionVerdict};

use patch_pod::patch_pod;
use pod::{OldPod, Pod, ReviewField};

/// The pod of an admission review as JSON: one that is created, or one to which ephemeral containers are added.
#[derive(Clone, Copy, Debug)]
pub struct PodReview<'a> {
    /// The namespace of the request; the field in the pod may be empty.
    pub namespace: &'a str,
    /// The pod as JSON.
    pub pod: &'a str,
    /// The pod before ephemeral containers were added, as JSON; `None` if a pod is created.
    pub old: Option<&'a str>,
}

/// The pod of an admission review, parsed for all that is decided about it.
#[derive(Debug)]
pub struct ReviewedPod<'a> {
    namespace: &'a str,
    pod: Pod<'a>,
    old: Option<OldPod<'a>>,
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

impl<'a> PodReview<'a> {
    /// Parses the pod.
    ///
    /// # Errors
    ///
    /// The pod or the old pod is not what Kubernetes accepts as a pod.
    pub fn parse(&self) -> Result<ReviewedPod<'a>, InvalidPodError> {
        let pod = Pod::parse(ReviewField::Object, self.pod)?;
        let old = self.old.map(OldPod::parse).transpose()?;
        Ok(ReviewedPod { namespace: self.namespace, pod, old })
    }
}

impl ReviewedPod<'_> {
    /// Decides about the pod: returns its patch and warnings, or its denial.
    #[must_use]
    pub fn inject(&self, policy: &Policy<'_>) -> InjectionVerdict {
        if self.pod.is_mirror() {
            // A mirror pod only represents a static pod, which the kubelet reads from a file on its node.
            return InjectionVerdict::default();
        }
        let request = match policy {
            Policy::Native { namespace, bundles } => native::injection_request(self, namespace, bundles),
            Policy::Cainjector { operator, options } => cainjector::injection_request(self, operator, options),
        };
        request.into_verdict(|injection| patch_pod(injection, &self.pod, self.old.as_ref()))
    }
}
