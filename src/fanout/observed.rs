//! The state of a target as the API server returns it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::bundle::{ObjectPart, ObservedMetadata};

use super::resource_version::ResourceVersion;

/// The version and metadata of a target, as a watch event or a response shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Resource version of the object.
    pub version: ResourceVersion,
    /// The parts of the metadata that the diff uses.
    pub metadata: ObservedMetadata,
}

impl Observed {
    /// Reads an object's metadata; `named` is whether the Bundle names a part of the object.
    #[must_use]
    pub fn read(metadata: &ObjectMeta, named: impl Fn(ObjectPart, &str) -> bool) -> Self {
        Self { version: ResourceVersion::of(metadata), metadata: ObservedMetadata::from_metadata(metadata, named) }
    }
}
