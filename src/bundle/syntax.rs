//! The syntax of names, labels, annotations and data keys, as the API server checks it
//! (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>).

use super::field_error::{FieldError, FieldErrors};

/// The longest label value, and the longest name part of a label key, in characters.
const LABEL_VALUE_MAX: usize = 63;

/// The most bytes that the annotations of one object may have, keys and values together.
const ANNOTATIONS_MAX: usize = 256 * 1024;

pub(super) fn label_key(key: &str, at: &str, problems: &mut FieldErrors) {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if let Some(prefix) = prefix
        && !is_dns_subdomain(prefix)
    {
        problems.push(FieldError::invalid(
            at,
            key,
            "prefix part must be a lowercase RFC 1123 subdomain of at most 253 characters",
        ));
    }
    if name.is_empty() || name.len() > LABEL_VALUE_MAX || !is_word(name) {
        problems.push(FieldError::invalid(
            at,
            key,
            "name part must be 1 to 63 characters of [A-Za-z0-9], '-', '_' or '.', starting and ending with an alphanumeric",
        ));
    }
}

pub(super) fn label_value(value: &str, at: &str, problems: &mut FieldErrors) {
    if value.len() > LABEL_VALUE_MAX || !(value.is_empty() || is_word(value)) {
        problems.push(FieldError::invalid(
            at,
            value,
            "a label value must be empty or at most 63 characters of [A-Za-z0-9], '-', '_' or '.', starting and ending with an alphanumeric",
        ));
    }
}

pub(super) fn annotations<'a>(
    pairs: impl Iterator<Item = (&'a String, &'a String)>,
    at: &str,
    problems: &mut FieldErrors,
) {
    let mut size = 0;
    for (key, value) in pairs {
        label_key(&key.to_lowercase(), at, problems);
        size += key.len() + value.len();
    }
    if size > ANNOTATIONS_MAX {
        problems.push(FieldError::invalid(
            at,
            format!("{size} bytes"),
            format!("must have at most {ANNOTATIONS_MAX} bytes"),
        ));
    }
}

/// Keys of ConfigMaps and Secrets (<https://kubernetes.io/docs/concepts/configuration/configmap/#configmap-object>).
pub(super) fn data_key(key: &str, at: &str, problems: &mut FieldErrors) {
    let charset = key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if key.is_empty() || key.len() > 253 || !charset || key == "." || key.starts_with("..") {
        problems.push(FieldError::invalid(
            at,
            key,
            "a key must be 1 to 253 characters of [A-Za-z0-9], '-', '_' or '.', and not start with '..'",
        ));
    }
}

/// Whether the text can be the name of an object of most kinds: an RFC 1123 subdomain
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>).
#[must_use]
pub fn is_dns_subdomain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

fn is_word(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}
