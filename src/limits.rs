//! Limits on foreign input: one table, which the documentation repeats.
//!
//! A limit is enforced where the input enters. Each row says what somebody sees when it is reached.

/// A bound on something that others send or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is bounded, with its unit.
    pub what: &'static str,
    /// The largest value that is accepted.
    pub max: usize,
    /// The condition, warning or answer that says that the limit is reached.
    pub reached: &'static str,
}

/// Containers of a pod under review, of all three lists.
pub const POD_CONTAINERS: Limit =
    Limit { what: "Containers of a pod, of all kinds together", max: 128, reached: POD_NOT_INJECTED };

/// Entries of `volumeMounts` and of `volumeDevices` of one container.
pub const POD_MOUNTS: Limit =
    Limit { what: "Mounts of a container, and its devices", max: 512, reached: POD_NOT_INJECTED };

/// Volumes of a pod under review.
pub const POD_VOLUMES: Limit = Limit { what: "Volumes of a pod", max: 1_024, reached: POD_NOT_INJECTED };

/// Annotations of a pod under review.
pub const POD_ANNOTATIONS: Limit = Limit { what: "Annotations of a pod", max: 4_096, reached: POD_NOT_INJECTED };

/// Length of one of the annotations that the injector reads.
pub const POD_ANNOTATION: Limit =
    Limit { what: "Bytes of an annotation that the injector reads", max: 65_536, reached: POD_NOT_INJECTED };

/// Entries of a comma-separated list in an annotation.
pub const POD_LIST: Limit =
    Limit { what: "Entries of a comma-separated list in an annotation", max: 1_024, reached: POD_NOT_INJECTED };

/// Length of the patch of a pod.
pub const POD_PATCH: Limit = Limit { what: "Bytes of the patch of a pod", max: 1_048_576, reached: POD_NOT_INJECTED };

/// Length of `JAVA_TOOL_OPTIONS` that every Java reads.
pub const JAVA_OPTIONS: Limit = Limit {
    what: "Bytes of `JAVA_TOOL_OPTIONS` with the options that are added",
    max: 1_024,
    reached: "The variable is set; a warning names the containers: Java 8 cuts off what is beyond",
};

const POD_NOT_INJECTED: &str = "The pod is not injected: a warning names the limit and what to reduce; a pod that is `required` is refused with the same words";

/// Every limit, in the order of the documentation.
pub const ALL: &[Limit] =
    &[POD_CONTAINERS, POD_MOUNTS, POD_VOLUMES, POD_ANNOTATIONS, POD_ANNOTATION, POD_LIST, POD_PATCH, JAVA_OPTIONS];

/// The table of limits as Markdown, for the documentation.
#[must_use]
pub fn table() -> String {
    let rows = ALL.iter().map(|Limit { what, max, reached }| format!("| {what} | {max} | {reached} |\n"));
    std::iter::once("| What | At most | What is seen when it is reached |\n|---|--:|---|\n".to_owned())
        .chain(rows)
        .collect()
}
