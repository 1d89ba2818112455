//! Limits on input from others, as one table that the documentation repeats.
//!
//! A limit is enforced where the input enters. Each row names what users see when the limit is reached.

/// Limit on something that others send or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Quantity that is limited, with its unit.
    pub what: &'static str,
    /// Largest value that is accepted.
    pub max: usize,
    /// Condition, warning or response by which users see that the limit is reached.
    pub reached: &'static str,
}

/// Limit on the containers of a pod under review, all three lists together.
pub const POD_CONTAINERS: Limit =
    Limit { what: "Containers of a pod, of all kinds together", max: 128, reached: POD_NOT_INJECTED };

/// Limit on the entries of `volumeMounts`, and on those of `volumeDevices`, of one container.
pub const POD_MOUNTS: Limit =
    Limit { what: "Mounts of a container, and its devices", max: 512, reached: POD_NOT_INJECTED };

/// Limit on the volumes of a pod under review.
pub const POD_VOLUMES: Limit = Limit { what: "Volumes of a pod", max: 1_024, reached: POD_NOT_INJECTED };

/// Limit on the annotations of a pod under review.
pub const POD_ANNOTATIONS: Limit = Limit { what: "Annotations of a pod", max: 4_096, reached: POD_NOT_INJECTED };

/// Limit on the length of each annotation that the injector reads.
pub const POD_ANNOTATION: Limit =
    Limit { what: "Bytes of an annotation that the injector reads", max: 65_536, reached: POD_NOT_INJECTED };

/// Limit on the entries of a comma-separated list in an annotation.
pub const POD_LIST: Limit =
    Limit { what: "Entries of a comma-separated list in an annotation", max: 1_024, reached: POD_NOT_INJECTED };

/// Limit on the length of the patch of a pod.
pub const POD_PATCH: Limit = Limit { what: "Bytes of the patch of a pod", max: 262_144, reached: POD_NOT_INJECTED };

/// Length of `JAVA_TOOL_OPTIONS` that every version of Java reads.
pub const JAVA_OPTIONS: Limit = Limit {
    what: "Bytes of `JAVA_TOOL_OPTIONS` with the options that are added",
    max: 1_024,
    reached: "The variable is set; a warning names the containers: Java 8 cuts off what is beyond",
};

/// Effect of the limits on pods under review.
const POD_NOT_INJECTED: &str = "The pod is not injected: a warning names the limit and what to reduce; \
                                a pod that is `required` is refused with the same words";

/// Limit on the connections to the port of reviews, at most half of the files that the process may have open.
pub const REVIEW_CONNECTIONS: Limit = Limit {
    what: "Connections to the port of reviews",
    max: 2048,
    reached: "The connection that does least is closed, idle ones first; the new one is served",
};

/// Limit on the head of a review request.
pub const REVIEW_HEAD: Limit =
    Limit { what: "Bytes of the head of a review's request", max: 16 * 1024, reached: "Answer 431" };

/// Limit on the body of one review request.
///
/// A pod can have 1.5 MiB in etcd and 3 MiB in a request; an update carries two.
pub const REVIEW_BODY: Limit =
    Limit { what: "Bytes of a review", max: 8 * 1024 * 1024, reached: "Answer 413 with the limit" };

/// Limit on the bodies of all review requests in memory.
pub const REVIEW_BODIES: Limit = Limit {
    what: "Bytes of all reviews that are being received or decided",
    max: 32 * 1024 * 1024,
    reached: "The connection whose body arrives most slowly is closed; answer 503 where there is none",
};

/// Limit on the connections to the port of probes, and on those to the port of metrics.
///
/// Each is at most an eighth of the files that the process may have open.
pub const ADMIN_CONNECTIONS: Limit = Limit {
    what: "Connections to the port of probes, and to that of metrics",
    max: 128,
    reached: "The connection that does least is closed, idle ones first; the new one is served",
};

/// Limit on the head of a request for a probe or for metrics.
pub const ADMIN_HEAD: Limit =
    Limit { what: "Bytes of the head of a probe's or scrape's request", max: 8 * 1024, reached: "Answer 431" };

/// Limit on the body of a request for a probe or for metrics, which needs none.
pub const ADMIN_BODY: Limit = Limit {
    what: "Bytes of the body of a probe's or scrape's request",
    max: 1024,
    reached: "Answer 413 with the limit",
};

/// Limit on the labels, annotations and keys of a target, each, that are kept beside those that its Bundle names.
pub const TARGET_FIELDS: Limit = Limit {
    what: "Labels, annotations, keys of ours and keys of others on a target, each beside those that the Bundle names",
    max: 64,
    reached: "Nothing: that there are more is kept as a fact, and what is not known to be ours alone stays",
};

/// Limit on the value of a label or annotation, or an owner's name, up to which it is kept as it is.
pub const TARGET_VALUE: Limit = Limit {
    what: "Bytes of a value in a target's metadata, or in its owner reference",
    max: 256,
    reached: "Nothing: a longer one is kept, and shown, as its SHA-256",
};

/// Limit on the keys of an object of others that a Bundle completes.
pub const ADOPTED_KEYS: Limit = Limit {
    what: "Keys of an object of others that a Bundle completes",
    max: 2_000,
    reached: "The object stays as it is: `Synced=False`, `TargetExists` with the number of its keys",
};

/// Limit on the keys that the annotation `rootcast.dev/keys` of an object names.
pub const NAMED_KEYS: Limit = Limit {
    what: "Keys that the annotation `rootcast.dev/keys` names",
    max: 32,
    reached: "Nothing: those beyond count as others'",
};

/// Limit on one object in a list or watch event.
pub const OBJECT: Limit = Limit {
    what: "Bytes of JSON of one object in a list or watch event",
    max: 32 * 1024 * 1024,
    reached: "A warning in the log that begins as the object does; the object counts as not there",
};

/// Limit on the length of a line that is checked for a mangled PEM marker.
///
/// The longest has 64 dashes at each side, each in the longest spelling.
pub const MARKER: Limit = Limit {
    what: "Bytes of a line outside of PEM blocks that is looked at as a mangled marker",
    max: 2_048,
    reached: "Nothing: a longer line is text, and a certificate below it is found as bare base64",
};

/// Limit on the length of a certificate's subject in a finding.
pub const SUBJECT: Limit = Limit { what: "Bytes of a certificate's subject in a condition", max: 1_024, reached: CUT };

/// Limit on the length of a value in a field error of a Bundle: the longest key, with some words around it.
pub const FIELD_ERROR_VALUE: Limit =
    Limit { what: "Characters of a value that a Bundle's problem quotes", max: 512, reached: CUT };

/// Limit on the length of a name in a warning about a pod.
pub const NAME: Limit =
    Limit { what: "Characters of a name that others chose, in a warning about a pod", max: 40, reached: CUT };

/// Limit on the certificates of one Bundle in metrics.
pub const EXPIRIES: Limit = Limit {
    what: "Certificates of a Bundle that metrics name",
    max: 100,
    reached: "Those that expire first are named, and all are counted",
};

/// Limit on a certificate's name in metrics: the upper bound of a common name (RFC 5280, appendix A.1).
pub const EXPIRY_NAME: Limit =
    Limit { what: "Characters of a certificate's name in metrics", max: 64, reached: "The rest is left out" };

/// Limit on the length of a file that `inspect` reads.
pub const INSPECTED: Limit = Limit {
    what: "Bytes of a file that `inspect` reads",
    max: 16 * 1024 * 1024,
    reached: "`inspect` ends with exit code 2 and says that it is no trust store",
};

/// Limit on the certificates of one chain that are evidence of use.
pub const CHAIN: Limit =
    Limit { what: "Certificates of a CertificateRequest's chain", max: 16, reached: "Those beyond count as absent" };

/// Limit on the certificates that are kept as evidence of use.
pub const ISSUED_CERTIFICATES: Limit = Limit {
    what: "Unexpired certificates of CertificateRequests that are kept while a CA is leaving a Bundle",
    max: 200_000,
    reached: "No CA is withdrawn: `Retiring` is `Blocked` and names the limit",
};

/// All limits, in the order of the documentation.
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
    CHAIN,
    ISSUED_CERTIFICATES,
];

/// Effect of the limits on the fields of a Bundle.
const INVALID: &str =
    "The API server refuses the Bundle, or `Synced` is `False` with `InvalidSpec`; what is published stays";

/// Effect of the limits on texts.
const CUT: &str = "The text ends with `...` or `…`";

/// Limit on the sources of a Bundle.
pub const SOURCES: Limit = Limit { what: "Sources of a Bundle", max: 100, reached: INVALID };

/// Limit on the labels, expressions and values in all selectors of a Bundle.
pub const SELECTOR_TERMS: Limit =
    Limit { what: "Labels, expressions and values in the selectors of a Bundle", max: 5000, reached: INVALID };

/// Limit on the labels that a Bundle sets on a target.
pub const TARGET_LABELS: Limit = Limit { what: "Labels that a Bundle puts on a target", max: 2000, reached: INVALID };

/// Limit on the annotations that a Bundle sets on a target.
pub const TARGET_ANNOTATIONS: Limit =
    Limit { what: "Annotations that a Bundle puts on a target", max: 2000, reached: INVALID };

/// Limit on the name and on the key of a source.
pub const SOURCE_NAME: Limit = Limit { what: "Bytes of the name or key of a source", max: 253, reached: INVALID };

/// Limit on a keystore's password in a Bundle.
pub const PASSWORD: Limit = Limit { what: "Bytes of a keystore's password in a Bundle", max: 1024, reached: INVALID };

/// Limit on the field errors of a Bundle that are reported.
pub const FIELD_ERRORS: Limit =
    Limit { what: "Problems of a Bundle that are named", max: 20, reached: "`Synced` ends with `and N more`" };

/// Limit on the message of a condition: the definition permits 32,768 characters.
pub const CONDITION_MESSAGE: Limit = Limit { what: "Bytes of a condition's message", max: 32_768, reached: CUT };

/// Limit on the note of an event, which the API server enforces.
pub const EVENT_NOTE: Limit = Limit { what: "Bytes of an event's note", max: 1024, reached: CUT };

/// Limit on a cause from another program, whose messages may repeat themselves and quote whole objects.
pub const CAUSE: Limit =
    Limit { what: "Bytes of a cause in the words of the API server or a webhook", max: 603, reached: CUT };

/// Limit on a warning, up to which the API server is sure to show it.
///
/// See <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#response>.
pub const WARNING: Limit = Limit { what: "Characters of a warning about a pod", max: 256, reached: CUT };

/// Limit on a line of the log in text form.
pub const LOG_LINE: Limit = Limit { what: "Bytes of a line of the log in text form", max: 65_536, reached: CUT };

/// Limit on the rate at which reviews read single objects that the watches have not delivered yet.
pub const LOOKUPS: Limit = Limit {
    what: "Reads of a Namespace or Bundle for reviews within 100 ms",
    max: 16,
    reached: "They wait, 2 s at most; then the review is answered with 500, and `failurePolicy` decides",
};

/// Limit on the names of missing objects that are cached for a second.
pub const LOOKUP_MISSES_CACHED: Limit = Limit {
    what: "Names that are remembered for a second as those of no Namespace or Bundle",
    max: 1024,
    reached: "Others are asked for each time",
};

/// Limit on the rate of log lines about reviews that were refused, warned about or not decided.
pub const REVIEW_LOG_LINES: Limit = Limit {
    what: "Lines of the log about reviews in a second",
    max: 10,
    reached: "The next line has `left_out`, the number of those that were not written",
};

/// Formats the table of limits as Markdown, for the documentation.
#[must_use]
pub fn table() -> String {
    let rows = ALL.iter().map(|Limit { what, max, reached }| format!("| {what} | {max} | {reached} |\n"));
    std::iter::once("| What | At most | What is seen when it is reached |\n|---|--:|---|\n".to_owned())
        .chain(rows)
        .collect()
}
