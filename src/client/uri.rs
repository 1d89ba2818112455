//! Parts of request URIs.

use crate::bundle::ObjectKind;

/// Returns the path of the objects of a kind, in one namespace or in all.
pub(super) fn collection(kind: ObjectKind, namespace: Option<&str>) -> String {
    let resource = kind.resource();
    match namespace {
        Some(namespace) => format!("/api/v1/namespaces/{namespace}/{resource}"),
        None => format!("/api/v1/{resource}"),
    }
}

/// Percent-encodes the value of a query parameter (RFC 3986, 2.1 and 2.3).
pub(super) fn encode(value: &str) -> String {
    let encoded = value.bytes().map(|byte| match byte {
        byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    encoded.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_mean_something_in_a_query_is_encoded() {
        assert_eq!(encode("env in (a,b),!old,x/y=1"), "env%20in%20%28a%2Cb%29%2C%21old%2Cx%2Fy%3D1");
    }
}
