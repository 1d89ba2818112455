//! The few messages of Kubernetes' protobuf encoding that a ConfigMap needs, written by hand.
//!
//! An object travels as four magic bytes and a `runtime.Unknown` that holds its type and its own message
//! (<https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding>; field numbers are those of the
//! files `generated.proto` of k8s.io/api and k8s.io/apimachinery).

use crate::object::{Metadata, Owner};

/// The media type of [`head`] and [`tail`], one after the other.
pub(crate) const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";

const MAGIC: &[u8] = b"k8s\0";

/// Everything before the data, which has `tail_length` bytes.
pub(crate) fn head(metadata: &Metadata<'_>, tail_length: usize) -> Vec<u8> {
    let metadata = message(1, &object_meta(metadata));
    let type_meta = [text(1, "v1"), text(2, "ConfigMap")].concat();
    let mut head = [MAGIC, &message(1, &type_meta)].concat();
    key(&mut head, 2, metadata.len() + tail_length);
    head.extend(metadata);
    head
}

/// The data: the same for every namespace.
pub(crate) fn tail(data: &[(&str, &str)]) -> Vec<u8> {
    map(2, data)
}

fn object_meta(metadata: &Metadata<'_>) -> Vec<u8> {
    let Metadata { name, resource_version, labels, annotations, owner } = metadata;
    let mut bytes = text(1, name);
    if let Some(version) = resource_version {
        bytes.extend(text(6, version));
    }
    bytes.extend(map(11, labels));
    bytes.extend(map(12, annotations));
    bytes.extend(message(13, &owner_reference(owner)));
    bytes
}

fn owner_reference(owner: &Owner) -> Vec<u8> {
    let Owner { api_version, kind, name, uid } = owner;
    let is_true = |number: u8| [number << 3, 1];
    [&text(1, kind)[..], &text(3, name), &text(4, uid), &text(5, api_version), &is_true(6), &is_true(7)].concat()
}

fn map(number: u8, pairs: &[(&str, &str)]) -> Vec<u8> {
    pairs.iter().flat_map(|(key, value)| message(number, &[text(1, key), text(2, value)].concat())).collect()
}

fn text(number: u8, text: &str) -> Vec<u8> {
    message(number, text.as_bytes())
}

fn message(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(content.len() + 11);
    key(&mut bytes, number, content.len());
    bytes.extend_from_slice(content);
    bytes
}

/// The key of a field of wire type 2 (a length and as many bytes). Field numbers are below 16, so it has one byte.
fn key(bytes: &mut Vec<u8>, number: u8, mut length: usize) {
    bytes.push(number << 3 | 2);
    while length >= 0x80 {
        bytes.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).expect("less than 0x80"));
}
