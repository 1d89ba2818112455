//! Annotations of pods, and the label of namespaces, that users write.

/// Names the Bundle: an annotation of a pod, or a label of its namespace for all of its pods. The pod's wins.
pub const BUNDLE: &str = "inject.rootcast.dev/bundle";

/// An annotation of a pod: `"true"` leaves it alone, whatever else is said.
pub const SKIP: &str = "inject.rootcast.dev/skip";

/// An annotation of a pod: `"true"` refuses it where it cannot be injected.
pub const REQUIRED: &str = "inject.rootcast.dev/required";

/// An annotation of a pod: the runtimes whose variables are set, separated by commas, in upper or lower case; the
/// default ones without it.
pub const RUNTIMES: &str = "inject.rootcast.dev/runtimes";

/// An annotation of a pod: names of containers that are left alone, separated by commas.
pub const EXCLUDE_CONTAINERS: &str = "inject.rootcast.dev/excludeContainers";

/// What all of them begin with.
pub(super) const PREFIX: &str = "inject.rootcast.dev/";
