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
pub const POD_PATCH: Limit = Limit { what: "Bytes of the patch of a pod", max: 262_144, reached: POD_NOT_INJECTED };

/// Length of `JAVA_TOOL_OPTIONS` that every Java reads.
pub const JAVA_OPTIONS: Limit = Limit {
    what: "Bytes of `JAVA_TOOL_OPTIONS` with the options that are added",
    max: 1_024,
    reached: "The variable is set; a warning names the containers: Java 8 cuts off what is beyond",
};

const POD_NOT_INJECTED: &str = "The pod is not injected: a warning names the limit and what to reduce; a pod that is `required` is refused with the same words";

/// Connections to the port of reviews. No more than half of the files that the process may have open.
pub const REVIEW_CONNECTIONS: Limit = Limit {
    what: "Connections to the port of reviews",
    max: 2048,
    reached: "The connection that does least is closed, idle ones first; the new one is served",
};

/// Bytes of the head of a request for a review.
pub const REVIEW_HEAD: Limit =
    Limit { what: "Bytes of the head of a review's request", max: 16 * 1024, reached: "Answer 431" };

/// Bytes of one review. A pod can have 1.5 MiB in etcd and 3 MiB in a request; an update carries two.
pub const REVIEW_BODY: Limit =
    Limit { what: "Bytes of a review", max: 8 * 1024 * 1024, reached: "Answer 413 with the limit" };

/// Bytes of all reviews in memory.
pub const REVIEW_BODIES: Limit = Limit {
    what: "Bytes of all reviews that are being received or decided",
    max: 32 * 1024 * 1024,
    reached: "The connection whose body arrives most slowly is closed; answer 503 where there is none",
};

/// Connections to the port of probes, and as many to that of metrics. No more than an eighth of the files that the process
/// may have open, each.
pub const ADMIN_CONNECTIONS: Limit = Limit {
    what: "Connections to the port of probes, and to that of metrics",
    max: 128,
    reached: "The connection that does least is closed, idle ones first; the new one is served",
};

/// Bytes of the head of a request for a probe or for metrics.
pub const ADMIN_HEAD: Limit =
    Limit { what: "Bytes of the head of a probe's or scrape's request", max: 8 * 1024, reached: "Answer 431" };

/// Bytes of the body of a request for a probe or for metrics, which has no use for one.
pub const ADMIN_BODY: Limit = Limit {
    what: "Bytes of the body of a probe's or scrape's request",
    max: 1024,
    reached: "Answer 413 with the limit",
};

/// Labels, annotations and keys of a target, of each kind, that are kept beside those that its Bundle names.
pub const TARGET_FIELDS: Limit = Limit {
    what: "Labels, annotations, keys of ours and keys of others on a target, each beside those that the Bundle names",
    max: 64,
    reached: "Nothing: that there are more is kept as a fact, and what is not known to be ours alone stays",
};

/// Bytes of a label's or annotation's value, or of an owner's name, that are kept as they are.
pub const TARGET_VALUE: Limit = Limit {
    what: "Bytes of a value in a target's metadata, or in its owner reference",
    max: 256,
    reached: "Nothing: a longer one is kept, and shown, as its SHA-256",
};

/// Keys of an object of others that is completed.
pub const ADOPTED_KEYS: Limit = Limit {
    what: "Keys of an object of others that a Bundle completes",
    max: 2_000,
    reached: "The object stays as it is: `Synced=False`, `TargetExists` with the number of its keys",
};

/// Keys that the annotation `rootcast.dev/keys` of an object names.
pub const NAMED_KEYS: Limit = Limit {
    what: "Keys that the annotation `rootcast.dev/keys` names",
    max: 32,
    reached: "Nothing: those beyond count as others'",
};

/// Bytes of one object in a list or watch event.
pub const OBJECT: Limit = Limit {
    what: "Bytes of JSON of one object in a list or watch event",
    max: 32 * 1024 * 1024,
    reached: "A warning in the log that begins as the object does; the object counts as not there",
};

/// Length of a line that may be a marker of PEM gone wrong: the longest has 64 dashes at each side, each in the longest
/// spelling.
pub const MARKER: Limit = Limit {
    what: "Bytes of a line outside of PEM blocks that is looked at as a mangled marker",
    max: 2_048,
    reached: "Nothing: a longer line is text, and a certificate below it is found as bare base64",
};

/// Length of a certificate's subject in a finding.
pub const SUBJECT: Limit = Limit { what: "Bytes of a certificate's subject in a condition", max: 1_024, reached: CUT };

/// Length of a value in a problem of a Bundle: the longest key, with some words around it.
pub const FIELD_ERROR_VALUE: Limit =
    Limit { what: "Characters of a value that a Bundle's problem quotes", max: 512, reached: CUT };

/// Length of a name in a warning about a pod.
pub const NAME: Limit =
    Limit { what: "Characters of a name that others chose, in a warning about a pod", max: 40, reached: CUT };

/// Certificates of one Bundle that metrics name.
pub const EXPIRIES: Limit = Limit {
    what: "Certificates of a Bundle that metrics name",
    max: 100,
    reached: "Those that expire first are named, and all are counted",
};

/// Length of a certificate's name in metrics: the upper bound of a common name (RFC 5280, appendix A.1).
pub const EXPIRY_NAME: Limit =
    Limit { what: "Characters of a certificate's name in metrics", max: 64, reached: "The rest is left out" };

/// Length of what `inspect` reads.
pub const INSPECTED: Limit = Limit {
    what: "Bytes of a file that `inspect` reads",
    max: 16 * 1024 * 1024,
    reached: "`inspect` ends with exit code 2 and says that it is no trust store",
};

/// Every limit, in the order of the documentation.
pub const ALL: &[Limit] = &[
    SOURCES,
    SELECTOR_TERMS,
    TARGET_LABELS,
    TARGET_ANNOTATIONS,
    SOURCE_NAME,
    PASSWORD,
    FIELD_ERRORS,
    CONDITION_MESSAGE,
    EVENT_NOTE,
    CAUSE,
    WARNING,
    LOG_LINE,
    MARKER,
    SUBJECT,
    FIELD_ERROR_VALUE,
    NAME,
    EXPIRIES,
    EXPIRY_NAME,
    INSPECTED,
    POD_CONTAINERS,
    POD_MOUNTS,
    POD_VOLUMES,
    POD_ANNOTATIONS,
    POD_ANNOTATION,
    POD_LIST,
    POD_PATCH,
    JAVA_OPTIONS,
    REVIEW_CONNECTIONS,
    REVIEW_HEAD,
    REVIEW_BODY,
    REVIEW_BODIES,
    LOOKUPS,
    LOOKUP_MISSES_CACHED,
    REVIEW_LOG_LINES,
    ADMIN_CONNECTIONS,
    ADMIN_HEAD,
    ADMIN_BODY,
    TARGET_FIELDS,
    TARGET_VALUE,
    ADOPTED_KEYS,
    NAMED_KEYS,
    OBJECT,
];

/// Refuses a Bundle.
const INVALID: &str =
    "The API server refuses the Bundle, or `Synced` is `False` with `InvalidSpec`; what is published stays";

/// Cuts a text.
const CUT: &str = "The text ends with `...` or `…`";

/// Sources of a Bundle.
pub const SOURCES: Limit = Limit { what: "Sources of a Bundle", max: 100, reached: INVALID };

/// Labels, expressions and values in all selectors of a Bundle.
pub const SELECTOR_TERMS: Limit =
    Limit { what: "Labels, expressions and values in the selectors of a Bundle", max: 5000, reached: INVALID };

/// Labels for one target of a Bundle.
pub const TARGET_LABELS: Limit = Limit { what: "Labels that a Bundle puts on a target", max: 2000, reached: INVALID };

/// Annotations for one target of a Bundle.
pub const TARGET_ANNOTATIONS: Limit =
    Limit { what: "Annotations that a Bundle puts on a target", max: 2000, reached: INVALID };

/// Name or key of a source.
pub const SOURCE_NAME: Limit = Limit { what: "Bytes of the name or key of a source", max: 253, reached: INVALID };

/// Password of a keystore.
pub const PASSWORD: Limit = Limit { what: "Bytes of a keystore's password in a Bundle", max: 1024, reached: INVALID };

/// Problems of a Bundle that are named.
pub const FIELD_ERRORS: Limit =
    Limit { what: "Problems of a Bundle that are named", max: 20, reached: "`Synced` ends with `and N more`" };

/// Message of a condition: the definition takes 32,768 characters.
pub const CONDITION_MESSAGE: Limit = Limit { what: "Bytes of a condition's message", max: 32_768, reached: CUT };

/// Note of an event: the API server takes no more.
pub const EVENT_NOTE: Limit = Limit { what: "Bytes of an event's note", max: 1024, reached: CUT };

/// A cause in another program's words: messages may repeat themselves, and quote whole objects.
pub const CAUSE: Limit =
    Limit { what: "Bytes of a cause in the words of the API server or a webhook", max: 603, reached: CUT };

/// A warning that the API server shows for sure
/// (<https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#response>).
pub const WARNING: Limit = Limit { what: "Characters of a warning about a pod", max: 256, reached: CUT };

/// A line of the log in text form.
pub const LOG_LINE: Limit = Limit { what: "Bytes of a line of the log in text form", max: 65_536, reached: CUT };

/// Reads of single objects, which reviews cause where the watches have not told enough.
pub const LOOKUPS: Limit = Limit {
    what: "Reads of a Namespace or Bundle for reviews within 100 ms",
    max: 16,
    reached: "They wait, 2 s at most; then the review is answered with 500, and `failurePolicy` decides",
};

/// Objects that were not there, which are not asked for again within a second.
pub const LOOKUP_MISSES_CACHED: Limit = Limit {
    what: "Names that are remembered for a second as those of no Namespace or Bundle",
    max: 1024,
    reached: "Others are asked for each time",
};

/// Lines of the log about reviews that were refused, warned of or not decided.
pub const REVIEW_LOG_LINES: Limit = Limit {
    what: "Lines of the log about reviews in a second",
    max: 10,
    reached: "The next line has `left_out`, the number of those that were not written",
};

/// The table of limits as Markdown, for the documentation.
#[must_use]
pub fn table() -> String {
    let rows = ALL.iter().map(|Limit { what, max, reached }| format!("| {what} | {max} | {reached} |\n"));
    std::iter::once("| What | At most | What is seen when it is reached |\n|---|--:|---|\n".to_owned())
        .chain(rows)
        .collect()
}
