//! Changes of a pod, in the words of RFC 6902 (JSON Patch).

use serde::Serialize;
use serde_json::Value;

/// One operation. All are `add`, which also sets a member that is there: nothing is ever removed.
///
/// Paths (RFC 6901) consist of field names and indices that need no escapes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "op", rename = "add")]
pub struct Change {
    path: String,
    value: Value,
}

impl Change {
    /// Sets a member of an object.
    pub(super) fn set(path: String, value: impl Into<Value>) -> Self {
        Self { path, value: value.into() }
    }

    /// Adds items to the end of a list, which is made where there is none.
    pub(super) fn append(list: &str, is_there: bool, items: Vec<Value>) -> Vec<Self> {
        if items.is_empty() {
            Vec::new()
        } else if is_there {
            items.into_iter().map(|item| Self::set(format!("{list}/-"), item)).collect()
        } else {
            vec![Self::set(list.to_owned(), items)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn items_join_a_list_one_by_one_or_make_one() {
        let patch = |is_there| serde_json::to_value(Change::append("/a", is_there, vec![json!(1), json!(2)])).unwrap();
        let add = |path, value| json!({ "op": "add", "path": path, "value": value });
        assert_eq!(patch(true), json!([add("/a/-", json!(1)), add("/a/-", json!(2))]));
        assert_eq!(patch(false), json!([add("/a", json!([1, 2]))]));
        assert!(Change::append("/a", false, vec![]).is_empty());
    }
}
