//! Schemas of the fields of foreign types, as controller-gen writes them for every Kubernetes API.

use schemars::{Schema, SchemaGenerator, json_schema};

/// A label selector: `matchLabels` and `matchExpressions`, all of which must hold.
pub(super) fn label_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {
                "description": "Labels that an object must carry, each with exactly this value.",
                "type": "object",
                "additionalProperties": {"type": "string"}
            },
            "matchExpressions": {
                "description": "Requirements that an object's labels must meet.",
                "type": "array",
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "description": "One requirement on one label.",
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {"description": "The label's name.", "type": "string"},
                        "operator": {"description": "One of In, NotIn, Exists and DoesNotExist.", "type": "string"},
                        "values": {
                            "description": "The label's possible values, for In and NotIn; empty for Exists and DoesNotExist.",
                            "type": "array",
                            "x-kubernetes-list-type": "atomic",
                            "items": {"type": "string"}
                        }
                    }
                }
            }
        }
    })
}

/// The profiles a Bundle may name.
pub(super) fn profile(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["LegacyRC2", "LegacyDES", "Modern2023"]})
}

/// Conditions of a Bundle.
pub(super) fn conditions(_: &mut SchemaGenerator) -> Schema {
    conditions_of("Bundle")
}

/// Conditions of a Distrust.
pub(super) fn distrust_conditions(_: &mut SchemaGenerator) -> Schema {
    conditions_of("Distrust")
}

/// Conditions with the limits of `metav1.Condition`.
/// <https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#typical-status-properties>
fn conditions_of(kind: &str) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 0,
        "maxItems": 10,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "description": format!("One thing that is true of the {kind}, or not."),
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "type": {
                    "description": "What this condition is about.",
                    "type": "string",
                    "maxLength": 316,
                    "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
                },
                "status": {"description": "Whether it holds.", "type": "string", "enum": ["True", "False", "Unknown"]},
                "reason": {
                    "description": "Why, in one word for programs.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
                },
                "message": {"description": "Why, in a sentence for people.", "type": "string", "maxLength": 32768},
                "lastTransitionTime": {
                    "description": "When the status last changed.",
                    "type": "string",
                    "format": "date-time"
                },
                "observedGeneration": {
                    "description": "The metadata.generation that this was found to be true of.",
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0
                }
            }
        }
    })
}
