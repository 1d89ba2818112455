//! Bundles that break one rule each, and Bundles that break none.

/// Breaks one rule of a Bundle: its name, its spec in YAML, and the answer it must get.
pub(crate) struct Violation {
    pub(crate) name: &'static str,
    pub(crate) spec: &'static str,
    pub(crate) says: &'static str,
}

pub(crate) const VIOLATIONS: &[Violation] = &[
    Violation {
        name: "no-type",
        spec: "{sources: [{}, {inLine: x}]}",
        says: "spec.sources[0]: Invalid value: exactly one of the fields in [configMap secret inLine useDefaultCAs] must be set",
    },
    Violation {
        name: "two-types",
        spec: "{sources: [{inLine: x, configMap: {name: a, key: k}}]}",
        says: "spec.sources[0]: Invalid value: exactly one of the fields in [configMap secret inLine useDefaultCAs] must be set",
    },
    Violation {
        name: "configmap-unnamed",
        spec: "{sources: [{configMap: {key: k}}]}",
        says: "spec.sources[0].configMap: Invalid value: exactly one of the fields in [name selector] must be set",
    },
    Violation {
        name: "configmap-named-and-selected",
        spec: "{sources: [{configMap: {name: a, selector: {}, key: k}}]}",
        says: "spec.sources[0].configMap: Invalid value: exactly one of the fields in [name selector] must be set",
    },
    Violation {
        name: "secret-unnamed",
        spec: "{sources: [{inLine: x}, {secret: {key: k}}]}",
        says: "spec.sources[1].secret: Invalid value: exactly one of the fields in [name selector] must be set",
    },
    Violation {
        name: "no-target-object",
        spec: "{sources: [{inLine: x}], target: {namespaceSelector: {}}}",
        says: "spec.target: Invalid value: at least one of the fields in [configMap secret] must be set",
    },
    Violation {
        name: "no-format",
        spec: "{sources: [{inLine: x}], target: {configMap: {key: k}, additionalFormats: {}}}",
        says: "spec.target.additionalFormats: Invalid value: at least one of the fields in [jks pkcs12] must be set",
    },
    Violation {
        name: "configmap-without-key",
        spec: "{sources: [{configMap: {name: a}}]}",
        says: "spec.sources[0].configMap: Invalid value: source configMap key must be defined when includeAllKeys is false",
    },
    Violation {
        name: "configmap-without-key-told",
        spec: "{sources: [{inLine: x}, {configMap: {selector: {}, includeAllKeys: false}}]}",
        says: "spec.sources[1].configMap: Invalid value: source configMap key must be defined when includeAllKeys is false",
    },
    Violation {
        name: "configmap-key-and-all",
        spec: "{sources: [{configMap: {name: a, key: k, includeAllKeys: true}}]}",
        says: "spec.sources[0].configMap: Invalid value: source configMap key cannot be defined when includeAllKeys is true",
    },
    Violation {
        name: "secret-without-key",
        spec: "{sources: [{secret: {name: a}}]}",
        says: "spec.sources[0].secret: Invalid value: source secret key must be defined when includeAllKeys is false",
    },
    Violation {
        name: "secret-key-and-all",
        spec: "{sources: [{secret: {selector: {matchLabels: {a: b}}, key: k, includeAllKeys: true}}]}",
        says: "spec.sources[0].secret: Invalid value: source secret key cannot be defined when includeAllKeys is true",
    },
    Violation {
        name: "no-source",
        spec: "{sources: [{useDefaultCAs: false}]}",
        says: "spec.sources: Forbidden: must define at least one source",
    },
    Violation {
        name: "default-cas-twice",
        spec: "{sources: [{useDefaultCAs: true}, {useDefaultCAs: true}]}",
        says: "spec.sources: Forbidden: must request default CAs either once or not at all but got 2 requests",
    },
    Violation {
        name: "default-cas-yes-and-no-and-no",
        spec: "{sources: [{useDefaultCAs: true}, {useDefaultCAs: false}, {useDefaultCAs: false}]}",
        says: "spec.sources: Forbidden: must request default CAs either once or not at all but got 3 requests",
    },
    Violation {
        name: "own-configmap",
        spec: "{sources: [{inLine: x}, {configMap: {name: own-configmap, key: k}}], target: {configMap: {key: k}}}",
        says: "spec.sources: Forbidden: cannot define the same source as target",
    },
    Violation {
        name: "own-secret",
        spec: "{sources: [{secret: {name: own-secret, key: k}}], target: {secret: {key: k}, configMap: {key: other}}}",
        says: "spec.sources: Forbidden: cannot define the same source as target",
    },
    Violation {
        name: "jks-over-configmap",
        spec: "{sources: [{inLine: x}], target: {configMap: {key: k}, additionalFormats: {jks: {key: k}}}}",
        says: "spec.target.additionalFormats.jks.key: Invalid value: key must be unique across all target output keys",
    },
    Violation {
        name: "jks-over-secret",
        spec: "{sources: [{inLine: x}], target: {configMap: {key: a}, secret: {key: k}, additionalFormats: {jks: {key: k}}}}",
        says: "spec.target.additionalFormats.jks.key: Invalid value: key must be unique across all target output keys",
    },
    Violation {
        name: "pkcs12-over-configmap",
        spec: "{sources: [{inLine: x}], target: {configMap: {key: k}, additionalFormats: {pkcs12: {key: k}}}}",
        says: "spec.target.additionalFormats.pkcs12.key: Invalid value: key must be unique across all target output keys",
    },
    Violation {
        name: "pkcs12-over-secret",
        spec: "{sources: [{inLine: x}], target: {secret: {key: k}, additionalFormats: {pkcs12: {key: k}}}}",
        says: "spec.target.additionalFormats.pkcs12.key: Invalid value: key must be unique across all target output keys",
    },
    Violation {
        name: "pkcs12-over-jks",
        spec: "{sources: [{inLine: x}], target: {configMap: {key: k}, additionalFormats: {jks: {key: f}, pkcs12: {key: f}}}}",
        says: "spec.target.additionalFormats.pkcs12.key: Invalid value: key must be unique across all target output keys",
    },
    Violation {
        name: "configmap-annotation",
        spec: "{sources: [{inLine: x}], target: {configMap: {key: k, metadata: {annotations: {trust.cert-manager.io/hash: x}}}}}",
        says: "spec.target.configMap.metadata.annotations: Invalid value: trust.cert-manager.io/* annotations are not allowed",
    },
    Violation {
        name: "configmap-annotation-v2",
        spec: "{sources: [{inLine: x}], target: {configMap: {key: k, metadata: {annotations: {trust-manager.io/hash: x}}}}}",
        says: "spec.target.configMap.metadata.annotations: Invalid value: trust-manager.io/* annotations are not allowed",
    },
    Violation {
        name: "configmap-label",
        spec: "{sources: [{inLine: x}], target: {configMap: {key: k, metadata: {labels: {a: b, trust.cert-manager.io/bundle: x}}}}}",
        says: "spec.target.configMap.metadata.labels: Invalid value: trust.cert-manager.io/* labels are not allowed",
    },
    Violation {
        name: "configmap-label-v2",
        spec: "{sources: [{inLine: x}], target: {configMap: {key: k, metadata: {labels: {trust-manager.io/bundle: x}}}}}",
        says: "spec.target.configMap.metadata.labels: Invalid value: trust-manager.io/* labels are not allowed",
    },
    Violation {
        name: "secret-annotation",
        spec: "{sources: [{inLine: x}], target: {secret: {key: k, metadata: {annotations: {trust.cert-manager.io/x: x}}}}}",
        says: "spec.target.secret.metadata.annotations: Invalid value: trust.cert-manager.io/* annotations are not allowed",
    },
    Violation {
        name: "secret-annotation-v2",
        spec: "{sources: [{inLine: x}], target: {secret: {key: k, metadata: {annotations: {trust-manager.io/x: x}}}}}",
        says: "spec.target.secret.metadata.annotations: Invalid value: trust-manager.io/* annotations are not allowed",
    },
    Violation {
        name: "secret-label",
        spec: "{sources: [{inLine: x}], target: {secret: {key: k, metadata: {labels: {trust.cert-manager.io/bundle: x}}}}}",
        says: "spec.target.secret.metadata.labels: Invalid value: trust.cert-manager.io/* labels are not allowed",
    },
    Violation {
        name: "secret-label-v2",
        spec: "{sources: [{inLine: x}], target: {secret: {key: k, metadata: {labels: {trust-manager.io/bundle: x}}}}}",
        says: "spec.target.secret.metadata.labels: Invalid value: trust-manager.io/* labels are not allowed",
    },
];

/// Valid Bundles: their name and spec.
pub(crate) const VALID: &[(&str, &str)] = &[
    ("without-target", "{sources: [{inLine: x}]}"),
    ("configmap-by-name", "{sources: [{configMap: {name: a, key: k}}], target: {configMap: {key: ca.crt}}}"),
    (
        "configmap-by-name-all-keys",
        "{sources: [{configMap: {name: a, includeAllKeys: true}}], target: {secret: {key: ca.crt}}}",
    ),
    (
        "configmap-by-labels",
        "{sources: [{configMap: {selector: {matchLabels: {a: b}}, key: k, includeAllKeys: false}}]}",
    ),
    ("secret-by-name", "{sources: [{secret: {name: a, key: k}}]}"),
    (
        "secret-by-expressions",
        "{sources: [{secret: {selector: {matchExpressions: [{key: a, operator: In, values: [b, c]}]}, includeAllKeys: true}}]}",
    ),
    ("selector-of-everything", "{sources: [{configMap: {selector: {}, key: k}}]}"),
    ("default-cas", "{sources: [{useDefaultCAs: true}]}"),
    ("default-cas-declined", "{sources: [{useDefaultCAs: false}, {inLine: x}]}"),
    ("both-kinds-one-key", "{sources: [{inLine: x}], target: {configMap: {key: k}, secret: {key: k}}}"),
    (
        "all-formats",
        "{sources: [{inLine: x}], target: {configMap: {key: a}, secret: {key: b}, additionalFormats: {jks: {key: c, password: p}, pkcs12: {key: d, password: p}}}}",
    ),
    (
        "legacy-rc2",
        "{sources: [{inLine: x}], target: {configMap: {key: a}, additionalFormats: {pkcs12: {key: d, password: '', profile: LegacyRC2}}}}",
    ),
    (
        "legacy-des",
        "{sources: [{inLine: x}], target: {configMap: {key: a}, additionalFormats: {pkcs12: {key: d, password: '', profile: LegacyDES}}}}",
    ),
    (
        "modern-2023",
        "{sources: [{inLine: x}], target: {configMap: {key: a}, additionalFormats: {pkcs12: {key: d, password: '', profile: Modern2023}}}}",
    ),
    (
        "metadata",
        "{sources: [{inLine: x}], target: {configMap: {key: a, metadata: {labels: {a: b}, annotations: {c: d}}}, secret: {key: a, metadata: {labels: {trust.cert-manager.iox/a: b}}}}}",
    ),
    (
        "namespaces",
        "{sources: [{inLine: x}], target: {configMap: {key: a}, namespaceSelector: {matchLabels: {a: b}, matchExpressions: [{key: c, operator: DoesNotExist}]}}}",
    ),
    ("all-namespaces", "{sources: [{inLine: x}], target: {configMap: {key: a}, namespaceSelector: {}}}"),
    // Not its own target: another key, another kind, another name, or no target at all.
    ("chained", "{sources: [{configMap: {name: chained, key: other}}], target: {configMap: {key: k}}}"),
    ("crossed", "{sources: [{configMap: {name: crossed, key: k}}], target: {secret: {key: k}}}"),
    ("untargeted", "{sources: [{configMap: {name: untargeted, key: k}}]}"),
    ("own-by-labels", "{sources: [{configMap: {selector: {}, key: k}}], target: {configMap: {key: k}}}"),
];
