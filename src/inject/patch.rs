//! Changes of a pod as a JSON Patch (RFC 6902).

use std::fmt::{self, Write as _};

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// A JSON Patch, as it is sent.
///
/// All operations are `add`, which also replaces the value of an existing member: nothing is ever removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JsonPatch(String);

impl JsonPatch {
    /// Returns whether the patch changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the list of operations as JSON, in the order in which they have to be applied.
    #[must_use]
    pub fn as_json(&self) -> &str {
        if self.is_empty() { "[]" } else { &self.0 }
    }
}

impl Serialize for JsonPatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json: &RawValue = serde_json::from_str(self.as_json()).map_err(serde::ser::Error::custom)?;
        json.serialize(serializer)
    }
}

/// A builder of a patch.
///
/// The patch is built as JSON text, so that an operation costs its own length.
/// Paths (RFC 6901) consist of field names and indices that need no escapes. Values are JSON.
#[derive(Debug, Default)]
pub(super) struct PatchOperations(String);

impl PatchOperations {
    /// Adds an operation that sets a member of an object.
    pub(super) fn set(&mut self, path: fmt::Arguments<'_>, value: &str) {
        self.0.push(if self.0.is_empty() { '[' } else { ',' });
        write!(self.0, r#"{{"op":"add","path":"{path}","value":{value}}}"#).expect("writing to a String never fails");
    }

    /// Adds operations that append items to a list, or one that creates the list unless it `is_present`.
    pub(super) fn append<'a>(
        &mut self,
        list: fmt::Arguments<'_>,
        is_present: bool,
        items: impl IntoIterator<Item = &'a str>,
    ) {
        if is_present {
            for item in items {
                self.set(format_args!("{list}/-"), item);
            }
            return;
        }
        let mut items = items.into_iter();
        let Some(first) = items.next() else { return };
        self.set(list, "");
        self.0.pop();
        self.0.push('[');
        self.0.push_str(first);
        for item in items {
            self.0.push(',');
            self.0.push_str(item);
        }
        self.0.push_str("]}");
    }

    /// Inserts the operations of `first` before these.
    pub(super) fn prepend(&mut self, Self(mut first): Self) {
        if !self.is_empty() && !first.is_empty() {
            first.push(',');
            self.0.replace_range(..1, &first);
        } else if self.is_empty() {
            self.0 = first;
        }
    }

    /// Returns whether there are no operations.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the length of the operations so far, in bytes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the finished patch.
    pub(super) fn finish(mut self) -> JsonPatch {
        if !self.is_empty() {
            self.0.push(']');
        }
        JsonPatch(self.0)
    }
}

/// Returns a text or an object as JSON.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("maps with text keys serialize to JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_join_a_list_one_by_one_or_make_one() {
        let patch = |is_present| {
            let mut operations = PatchOperations::default();
            operations.append(format_args!("/a"), is_present, ["1", "2"]);
            operations.append(format_args!("/b"), is_present, []);
            operations.finish()
        };
        assert_eq!(
            patch(true).as_json(),
            r#"[{"op":"add","path":"/a/-","value":1},{"op":"add","path":"/a/-","value":2}]"#
        );
        assert_eq!(patch(false).as_json(), r#"[{"op":"add","path":"/a","value":[1,2]}]"#);
        assert!(PatchOperations::default().finish().is_empty());
        assert_eq!(JsonPatch::default().as_json(), "[]");
    }

    #[test]
    fn operations_are_put_before_others() {
        let of = |paths: &[&str]| {
            let mut operations = PatchOperations::default();
            for path in paths {
                operations.set(format_args!("/{path}"), "0");
            }
            operations
        };
        for (first, then) in [(&[][..], &["a"][..]), (&["a"], &[]), (&["a"], &["b", "c"]), (&[], &[])] {
            let mut operations = of(then);
            operations.prepend(of(first));
            assert_eq!(operations.finish(), of(&[first, then].concat()).finish());
        }
    }
}
