//! Decisions about pods: what has to be changed in one so that its programs trust a bundle.
//!
//! ```text
//! Policy --(native | cainjector): what is asked for--> Injection --fit: into which containers--> Verdict (patch, warnings)
//! ```
//!
//! Everything here is a pure function of its arguments. The pod is read only as far as it matters, and the patch names
//! only what it adds: whatever a newer Kubernetes puts into pods survives.

mod cainjector;
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

use crate::bundle::Namespace;

pub use cainjector::Operator;
pub use native::{BUNDLE, Bundles, EXCLUDE_CONTAINERS, REQUIRED, RUNTIMES, SKIP, labelled};
pub use offer::{Keystore, KeystoreKind, Offer, Offered};
pub use options::Options;
pub use patch::Change;
pub use pod::Malformed;
pub use runtimes::markdown_table;
pub use verdict::{Refusal, Verdict};

use fit::fit;
use pod::{Pod, Which};

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

/// Decides about one pod.
///
/// # Errors
///
/// The pod, or the one before it, is not what Kubernetes takes for a pod.
pub fn inject(review: &Review<'_>, policy: &Policy<'_>) -> Result<Verdict, Malformed> {
    let pod = Pod::parse(Which::Object, review.pod)?;
    let old = review.old.map(|old| Pod::parse(Which::OldObject, old)).transpose()?;
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
