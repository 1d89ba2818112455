//! Keys of the annotations and the namespace label that control native injection.

/// Key of the name of the Bundle to inject.
///
/// The key is an annotation of a pod, or a label of a namespace for all of its pods. The annotation takes precedence.
pub const BUNDLE: &str = "inject.rootcast.dev/bundle";

/// Annotation of a pod that opts the pod out of injection if it is `"true"`, whatever the other annotations are.
pub const SKIP: &str = "inject.rootcast.dev/skip";

/// Annotation of a pod that denies the pod if it is `"true"` and the pod cannot be injected.
pub const REQUIRED: &str = "inject.rootcast.dev/required";

/// Annotation of a pod with the runtimes whose variables are set.
///
/// Names are separated by commas, in upper or lower case. Without the annotation, the default variables are set.
pub const RUNTIMES: &str = "inject.rootcast.dev/runtimes";

/// Annotation of a pod with the names of containers that are not injected, separated by commas.
pub const EXCLUDE_CONTAINERS: &str = "inject.rootcast.dev/excludeContainers";

/// Prefix of all annotations of native injection.
pub(super) const PREFIX: &str = "inject.rootcast.dev/";
