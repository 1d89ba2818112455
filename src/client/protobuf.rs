//! ConfigMaps and Secrets in Kubernetes' protobuf form. Field numbers are those of the `generated.proto` files of
//! k8s.io/api/core/v1, k8s.io/apimachinery/pkg/apis/meta/v1 and k8s.io/apimachinery/pkg/runtime; the encoding is
//! <https://protobuf.dev/programming-guides/encoding/>.

use bytes::Bytes;

use crate::api;
use crate::bundle::{Desired, ObjectKind, Payload, PayloadValue};
use crate::fanout::ResourceVersion;

use super::segmented_body::SegmentedBody;

/// The media type of Kubernetes' protobuf form.
pub(super) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// The first bytes of every object.
const MAGIC: &[u8] = b"k8s\0";

/// The numbers of fields, all of them length-delimited but for the two flags.
mod field {
    pub(super) const UNKNOWN_TYPE_META: u8 = 1;
    pub(super) const UNKNOWN_RAW: u8 = 2;
    pub(super) const TYPE_META_API_VERSION: u8 = 1;
    pub(super) const TYPE_META_KIND: u8 = 2;
    pub(super) const OBJECT_METADATA: u8 = 1;
    pub(super) const OBJECT_DATA: u8 = 2;
    pub(super) const CONFIG_MAP_BINARY_DATA: u8 = 3;
    pub(super) const META_NAME: u8 = 1;
    pub(super) const META_RESOURCE_VERSION: u8 = 6;
    pub(super) const META_LABELS: u8 = 11;
    pub(super) const META_ANNOTATIONS: u8 = 12;
    pub(super) const META_OWNER_REFERENCES: u8 = 13;
    pub(super) const OWNER_KIND: u8 = 1;
    pub(super) const OWNER_NAME: u8 = 3;
    pub(super) const OWNER_UID: u8 = 4;
    pub(super) const OWNER_API_VERSION: u8 = 5;
    pub(super) const OWNER_CONTROLLER: u8 = 6;
    pub(super) const OWNER_BLOCK_DELETION: u8 = 7;
}

/// Encodes the fields of an object that hold its content; the fields of a message may come in any order.
pub(super) fn content(payload: &Payload) -> Vec<u8> {
    let mut content = Vec::with_capacity(payload.size() + 64 * payload.values.len());
    for (key, value) in &payload.values {
        let number = match (payload.kind, value) {
            (ObjectKind::ConfigMap, PayloadValue::Binary(_)) => field::CONFIG_MAP_BINARY_DATA,
            (ObjectKind::ConfigMap, PayloadValue::Text(_)) | (ObjectKind::Secret, _) => field::OBJECT_DATA,
        };
        entry(&mut content, number, key, value.bytes());
    }
    content
}

/// Encodes an object with this content; `version` is that of an existing object.
pub(super) fn object(
    desired: &Desired,
    payload: &Payload,
    version: Option<ResourceVersion>,
    content: &Bytes,
) -> SegmentedBody {
    let mut metadata = Vec::new();
    bytes(&mut metadata, field::META_NAME, desired.name.as_bytes());
    if let Some(version) = version {
        bytes(&mut metadata, field::META_RESOURCE_VERSION, version.to_string().as_bytes());
    }
    for (key, value) in
        payload.labels.iter().map(|(key, value)| (key.as_str(), value)).chain([(api::BUNDLE_LABEL, &desired.name)])
    {
        entry(&mut metadata, field::META_LABELS, key, value.as_bytes());
    }
    for (key, value) in payload
        .annotations
        .iter()
        .map(|(key, value)| (key.as_str(), value))
        .chain([(api::HASH_ANNOTATION, &payload.hash)])
    {
        entry(&mut metadata, field::META_ANNOTATIONS, key, value.as_bytes());
    }
    if let Some(uid) = desired.owner_uid() {
        bytes(&mut metadata, field::META_OWNER_REFERENCES, &owner(&desired.name, uid));
    }

    let mut first = Vec::new();
    bytes(&mut first, field::OBJECT_METADATA, &metadata);
    let mut type_meta = Vec::new();
    bytes(&mut type_meta, field::TYPE_META_API_VERSION, b"v1");
    bytes(&mut type_meta, field::TYPE_META_KIND, payload.kind.as_str().as_bytes());
    let mut head = MAGIC.to_vec();
    bytes(&mut head, field::UNKNOWN_TYPE_META, &type_meta);
    length(&mut head, field::UNKNOWN_RAW, first.len() + content.len());
    head.extend(first);
    SegmentedBody::new(vec![head.into(), content.clone()])
}

fn owner(name: &str, uid: &str) -> Vec<u8> {
    let mut owner = Vec::new();
    bytes(&mut owner, field::OWNER_KIND, api::KIND.as_bytes());
    bytes(&mut owner, field::OWNER_NAME, name.as_bytes());
    bytes(&mut owner, field::OWNER_UID, uid.as_bytes());
    bytes(&mut owner, field::OWNER_API_VERSION, api::API_VERSION.as_bytes());
    for number in [field::OWNER_CONTROLLER, field::OWNER_BLOCK_DELETION] {
        owner.extend([number << 3, 1]);
    }
    owner
}

/// Appends an entry of a map, which is a message of key and value.
fn entry(out: &mut Vec<u8>, number: u8, key: &str, value: &[u8]) {
    let size = |part: &[u8]| 1 + varint(part.len()).len() + part.len();
    length(out, number, size(key.as_bytes()) + size(value));
    bytes(out, 1, key.as_bytes());
    bytes(out, 2, value);
}

fn bytes(out: &mut Vec<u8>, number: u8, value: &[u8]) {
    length(out, number, value.len());
    out.extend_from_slice(value);
}

/// Appends the beginning of a length-delimited field.
fn length(out: &mut Vec<u8>, number: u8, length: usize) {
    out.push(number << 3 | 2);
    out.extend(varint(length));
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(4);
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            out.push(low & 0x7f);
            return out;
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_seven_bits_at_a_time_the_low_ones_first() {
        assert_eq!(varint(0), [0]);
        assert_eq!(varint(127), [0x7f]);
        assert_eq!(varint(150), [0x96, 0x01]);
        assert_eq!(varint(1 << 20), [0x80, 0x80, 0x40]);
    }
}
