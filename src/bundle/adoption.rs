//! Adoption: which foreign objects of a Bundle's name may be written.
//!
//! An object is a Bundle's own if its label names the Bundle and it has our hash or our field manager. Everything in it
//! is then ours; but where the annotation [`api::KEYS_ANNOTATION`] names keys, only these. All else is judged by its
//! bytes: managed fields prove nothing, since a client that may change an object may remove them.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use crate::{api, limits};

use super::decision::Desired;
use super::inputs::AdoptionPolicy;
use super::object_kind::ObjectKind;
use super::observed_metadata::{FieldOwnership, ObservedMetadata};
use super::payload::{Payload, PayloadValue};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Prefix of the cause where a foreign object keeps a target from being written.
pub const TARGET_EXISTS: &str = "TargetExists";

/// What an object's content holds under the keys that its Bundle writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContentSummary {
    /// Number of keys in the object.
    pub keys: usize,
    /// Whether the object has keys that the Bundle does not write.
    pub has_foreign_keys: bool,
    /// Keys that the Bundle writes and whose values may not be replaced.
    pub taken: BTreeSet<String>,
    /// Type of a Secret, if it is not `Opaque`.
    pub secret_type: Option<String>,
}

/// Why a foreign object is not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The object holds a foreign value under this key.
    Value(String),
    /// The object is a Secret of this type.
    Type(String),
    /// The object has too many keys: this number.
    Keys(usize),
}

/// Whether an object may be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdoptionVerdict {
    /// The content has to be read first.
    NeedsContent,
    /// The object may be written.
    Write {
        /// Whether the object holds foreign keys: then our keys are named in it, and it outlives its Bundle.
        shared: bool,
    },
    /// The object may not be written.
    Refuse(Obstacle),
}

impl ContentSummary {
    /// Summarizes the content of a ConfigMap whose desired content is `payload`.
    #[must_use]
    pub fn of_config_map(object: &ConfigMap, payload: Option<&Payload>) -> Self {
        let (text, binary) = (object.data.as_ref(), object.binary_data.as_ref());
        let is_taken = |(key, value): (&String, &PayloadValue)| {
            let text = text.and_then(|text| text.get(key));
            let binary = binary.and_then(|binary| binary.get(key));
            // A key is in one of the two maps only.
            match value {
                PayloadValue::Text(_) => binary.is_some() || text.is_some_and(|text| !is_replaceable(text)),
                PayloadValue::Binary(_) => text.is_some() || binary.is_some_and(|bytes| !bytes.0.is_empty()),
            }
        };
        let has = |key: &String| {
            text.is_some_and(|text| text.contains_key(key)) || binary.is_some_and(|binary| binary.contains_key(key))
        };
        let keys = text.map_or(0, std::collections::BTreeMap::len) + binary.map_or(0, std::collections::BTreeMap::len);
        Self::new(keys, payload, has, is_taken, None)
    }

    /// Summarizes the content of a Secret whose desired content is `payload`.
    #[must_use]
    pub fn of_secret(object: &Secret, payload: Option<&Payload>) -> Self {
        let data = object.data.as_ref();
        let at = |key: &String| data.and_then(|data| data.get(key));
        let secret_type = object.type_.clone().filter(|type_| type_ != "Opaque");
        let is_taken = |(key, _): (&String, &PayloadValue)| at(key).is_some_and(|bytes| !bytes.0.is_empty());
        Self::new(
            data.map_or(0, std::collections::BTreeMap::len),
            payload,
            |key| at(key).is_some(),
            is_taken,
            secret_type,
        )
    }

    fn new(
        keys: usize,
        payload: Option<&Payload>,
        has: impl Fn(&String) -> bool,
        is_taken: impl Fn((&String, &PayloadValue)) -> bool,
        secret_type: Option<String>,
    ) -> Self {
        let values = || payload.into_iter().flat_map(|payload| &payload.values);
        Self {
            keys,
            has_foreign_keys: keys > values().filter(|(key, _)| has(key)).count(),
            taken: values().filter(|value| is_taken(*value)).map(|(key, _)| key.clone()).collect(),
            secret_type,
        }
    }
}

impl Desired {
    /// Returns whether an existing object may be written; `content` is its content, if that was read.
    #[must_use]
    pub fn may_write(
        &self,
        payload: &Payload,
        found: &ObservedMetadata,
        content: Option<&ContentSummary>,
        adopt: AdoptionPolicy,
    ) -> AdoptionVerdict {
        let ours = found.is_target_of(&self.name);
        let consents = adopt == AdoptionPolicy::Always
            || found.annotations.get(api::ADOPT_ANNOTATION).is_some_and(|name| *name == self.name);
        // A key of ours that the Bundle names no more: what it names instead may be a key of others.
        let renamed = found.own_keys.iter().any(|key| !payload.values.contains_key(key));
        let is_ours = |key: &String| {
            ours && match &found.annotated_keys {
                Some(keys) => keys.contains(key),
                None => !renamed || found.own_keys.contains(key) || !found.may_be_foreign(key),
            }
        };
        let blind =
            found.ownership == FieldOwnership::Unknown || (found.annotated_keys.is_some() && found.more_foreign_keys);
        let free = ours || payload.kind == ObjectKind::ConfigMap;
        let known = if consents { free } else { ours && !blind && payload.values.keys().all(is_ours) };
        let write =
            |others: bool| AdoptionVerdict::Write { shared: found.annotated_keys.is_some() || (others && !consents) };
        if known {
            let has_extra_keys = found.extra_foreign_key(|key| payload.values.contains_key(key)).is_some();
            return write(has_extra_keys || found.more_foreign_keys);
        }
        let Some(ContentSummary { keys, has_foreign_keys, taken, secret_type }) = content else {
            return AdoptionVerdict::NeedsContent;
        };
        if let Some(secret_type) = secret_type.as_ref().filter(|_| !ours) {
            return AdoptionVerdict::Refuse(Obstacle::Type(secret_type.clone()));
        }
        if consents || (ours && found.annotated_keys.is_none() && payload.values.keys().all(is_ours)) {
            return write(*has_foreign_keys);
        }
        if *keys > limits::ADOPTED_KEYS.max {
            return AdoptionVerdict::Refuse(Obstacle::Keys(*keys));
        }
        match taken.iter().find(|key| !is_ours(key)) {
            Some(key) => AdoptionVerdict::Refuse(Obstacle::Value(key.clone())),
            None => write(*has_foreign_keys),
        }
    }
}

impl Obstacle {
    /// Returns why the object stays as it is, and the remedy. `manager` returns the field manager of a key, if it is
    /// known.
    #[must_use]
    pub fn explain<'a>(
        &self,
        bundle: &str,
        kind: ObjectKind,
        namespace: &str,
        manager: impl Fn(&str) -> Option<&'a str>,
    ) -> String {
        let (cause, remedy) = self.cause_and_remedy(bundle, manager);
        format!("{TARGET_EXISTS}: {} {namespace}/{bundle} {cause}: {remedy}", kind.as_str())
    }

    /// Returns why the object is not written and what follows from that, and the remedy.
    #[must_use]
    pub fn cause_and_remedy<'a>(&self, bundle: &str, manager: impl Fn(&str) -> Option<&'a str>) -> (String, String) {
        let consent = format!("annotate it with {}={bundle} to have the value replaced", api::ADOPT_ANNOTATION);
        let (cause, remedy) = match self {
            Self::Value(key) => {
                let who =
                    manager(key).map_or_else(String::new, |manager| format!(", written by field manager {manager:?}"));
                (
                    format!("holds a value of others under key {key:?}{who}"),
                    format!("delete that key, {consent}, or give the Bundle another key or name"),
                )
            }
            Self::Type(type_) => (
                format!("is of type {type_:?}, and only Opaque ones are written"),
                "delete it, or give the Bundle another name".to_owned(),
            ),
            Self::Keys(count) => (
                format!(
                    "holds {count} keys, and others' objects of more than {} are not looked through",
                    limits::ADOPTED_KEYS.max
                ),
                format!("delete keys, {consent}, or give the Bundle another name"),
            ),
        };
        (format!("{cause}; it stays as it is, and pods that ask for the Bundle there mount it so"), remedy)
    }
}

/// Whether a value that is not known to be ours may be replaced: it is empty, or at least one certificate and only
/// blank lines and comments beside.
fn is_replaceable(text: &str) -> bool {
    let (mut inside, mut blocks) = (false, 0);
    let fits = text.split('\n').all(|line| match (inside, line.trim()) {
        (false, BEGIN) => {
            inside = true;
            true
        }
        (true, END) => {
            (inside, blocks) = (false, blocks + 1);
            true
        }
        (true, base64) => base64.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"+/=".contains(&octet)),
        (false, outside) => outside.is_empty() || line.starts_with('#'),
    });
    text.is_empty() || (fits && !inside && blocks > 0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;

    use super::*;
    use crate::bundle::fixture::{labels, pem};
    use crate::bundle::{DeletionPolicy, ExistingTargets, Labels, Output, Selector};

    /// A Bundle `b` with the keys `ca` and `jks`.
    fn desired() -> (Desired, Payload) {
        let values = [("ca", PayloadValue::Text("x".into())), ("jks", PayloadValue::Binary(b"x".as_slice().into()))];
        let payload = Payload {
            kind: ObjectKind::ConfigMap,
            values: values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            labels: Labels::new(),
            annotations: Labels::new(),
            hash: String::new(),
            partial: false,
        };
        let desired = Desired {
            name: "b".to_owned(),
            uid: "uid".to_owned(),
            namespaces: Selector::default(),
            output: Output::default(),
            payloads: [(payload.kind, payload.clone())].into(),
            all_denied: false,
            secrets_off: false,
            protected: None,
            deletion: DeletionPolicy::Delete,
            existing: ExistingTargets::Update,
            deleted: false,
        };
        (desired, payload)
    }

    fn set(keys: &[&str]) -> BTreeSet<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    fn managed(keys: &[&str]) -> BTreeMap<String, String> {
        keys.iter().map(|key| ((*key).to_owned(), "kubectl".to_owned())).collect()
    }

    fn ours() -> ObservedMetadata {
        ObservedMetadata {
            labels: labels(&[(api::BUNDLE_LABEL, "b")]),
            annotations: labels(&[(api::HASH_ANNOTATION, "hash")]),
            own_keys: set(&["ca", "jks"]),
            ownership: FieldOwnership::Shared,
            ..ObservedMetadata::default()
        }
    }

    fn holding(keys: usize, others: bool, taken: &[&str]) -> ContentSummary {
        ContentSummary { keys, has_foreign_keys: others, taken: set(taken), secret_type: None }
    }

    #[test]
    fn a_value_is_replaced_if_it_is_empty_or_certificates_alone() {
        let pem = pem("rsa");
        let indented = pem.lines().flat_map(|line| ["  ", line, "\n"]).collect::<String>();
        let rows = [
            (String::new(), true),
            (pem.clone(), true),
            (format!("# one\n\n{pem}\r\n# two\n{pem}"), true),
            (indented, true),
            ("\n".to_owned(), false),
            ("# only a comment".to_owned(), false),
            ("text".to_owned(), false),
            (format!("roots: |\n{pem}"), false),
            (format!("{pem}server {{ }}\n"), false),
            (format!("{pem}-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), false),
            (pem.replace(END, ""), false),
            (format!("{BEGIN}\npassword: secret\n{END}\n"), false),
            (format!("  # not at the beginning of its line\n{pem}"), false),
        ];
        for (text, expected) in rows {
            assert_eq!(is_replaceable(&text), expected, "{text}");
        }
    }

    #[test]
    fn the_content_shows_whose_keys_an_object_holds() {
        let (_, payload) = desired();
        let text = |pairs: &[(&str, &str)]| Some(labels(pairs));
        let binary = |key: &str, value: &[u8]| Some([(key.to_owned(), ByteString(value.to_vec()))].into());
        let of = |data, binary_data| {
            let object = ConfigMap { data, binary_data, ..ConfigMap::default() };
            ContentSummary::of_config_map(&object, Some(&payload))
        };
        assert_eq!(of(None, None), holding(0, false, &[]));
        assert_eq!(of(text(&[("ca", ""), ("x", "y")]), None), holding(2, true, &[]));
        assert_eq!(of(text(&[("ca", &pem("rsa"))]), binary("jks", b"")), holding(2, false, &[]));
        assert_eq!(of(text(&[("ca", "text")]), binary("jks", b"x")), holding(2, false, &["ca", "jks"]));
        assert_eq!(of(text(&[("jks", "")]), binary("ca", b"")), holding(2, false, &["ca", "jks"]), "in the other map");

        let secret = |type_: &str, key: &str, value: &[u8]| {
            let object = Secret { data: binary(key, value), type_: Some(type_.to_owned()), ..Secret::default() };
            ContentSummary::of_secret(&object, Some(&payload))
        };
        assert_eq!(secret("Opaque", "ca", b""), holding(1, false, &[]));
        assert_eq!(secret("Opaque", "ca", pem("rsa").as_bytes()), holding(1, false, &["ca"]));
        let typed = ContentSummary { secret_type: Some("kubernetes.io/tls".to_owned()), ..holding(1, true, &[]) };
        assert_eq!(secret("kubernetes.io/tls", "tls.key", b"x"), typed);
    }

    #[test]
    fn what_is_ours_is_written_whatever_it_holds_and_of_all_else_the_bytes_decide() {
        type Row = (&'static str, ObservedMetadata, Option<ContentSummary>, AdoptionVerdict);
        let write = |shared| AdoptionVerdict::Write { shared };
        let value = |key: &str| AdoptionVerdict::Refuse(Obstacle::Value(key.to_owned()));
        let named = |keys: &[&str]| ObservedMetadata { annotated_keys: Some(set(keys)), ..ours() };
        let taken = || ObservedMetadata { own_keys: set(&[]), foreign_keys: managed(&["ca", "jks"]), ..ours() };
        let theirs = || ObservedMetadata {
            foreign_keys: managed(&["database"]),
            ownership: FieldOwnership::Shared,
            ..ObservedMetadata::default()
        };
        let consenting = || ObservedMetadata { annotations: labels(&[(api::ADOPT_ANNOTATION, "b")]), ..theirs() };
        let renamed = || ObservedMetadata { own_keys: set(&["old", "jks"]), foreign_keys: managed(&["ca"]), ..ours() };
        let rows: Vec<Row> = vec![
            ("a target", ours(), None, write(false)),
            ("a target that others edited", taken(), None, write(false)),
            (
                "a target with a key of others",
                ObservedMetadata { foreign_keys: managed(&["x"]), ..ours() },
                None,
                write(true),
            ),
            (
                "one whose managed fields are gone",
                ObservedMetadata { ownership: FieldOwnership::Unknown, ..ours() },
                None,
                AdoptionVerdict::NeedsContent,
            ),
            (
                "and is seen",
                ObservedMetadata { ownership: FieldOwnership::Unknown, ..ours() },
                Some(holding(3, true, &["ca"])),
                write(true),
            ),
            ("a key was renamed to one of others", renamed(), None, AdoptionVerdict::NeedsContent),
            ("which holds their value", renamed(), Some(holding(3, true, &["ca"])), value("ca")),
            ("or may be replaced", renamed(), Some(holding(3, true, &[])), write(true)),
            ("a completed one", named(&["ca", "jks"]), None, write(true)),
            ("a completed one gains a key", named(&["ca"]), None, AdoptionVerdict::NeedsContent),
            ("that is free", named(&["ca"]), Some(holding(2, true, &["ca"])), write(true)),
            ("that is of others", named(&["ca"]), Some(holding(2, true, &["jks"])), value("jks")),
            ("an object of others", theirs(), None, AdoptionVerdict::NeedsContent),
            ("with nothing at our keys", theirs(), Some(holding(1, true, &[])), write(true)),
            ("with nothing but our keys", theirs(), Some(holding(1, false, &[])), write(false)),
            ("with a value of theirs", theirs(), Some(holding(1, true, &["ca"])), value("ca")),
            (
                "with too many keys",
                theirs(),
                Some(holding(2_001, true, &[])),
                AdoptionVerdict::Refuse(Obstacle::Keys(2_001)),
            ),
            (
                "with our label alone",
                ObservedMetadata { annotations: labels(&[]), own_keys: set(&[]), ..ours() },
                None,
                AdoptionVerdict::NeedsContent,
            ),
            (
                "with keys named, but no label",
                ObservedMetadata { annotated_keys: Some(set(&["ca"])), ..theirs() },
                Some(holding(1, false, &["ca"])),
                value("ca"),
            ),
            ("that consents", consenting(), None, write(false)),
            (
                "that consents to another",
                ObservedMetadata { annotations: labels(&[(api::ADOPT_ANNOTATION, "other")]), ..theirs() },
                Some(holding(1, true, &["ca"])),
                value("ca"),
            ),
        ];
        for (name, observed, content, expected) in rows {
            let (desired, payload) = desired();
            assert_eq!(
                desired.may_write(&payload, &observed, content.as_ref(), AdoptionPolicy::Consent),
                expected,
                "{name}"
            );
        }
        let (desired, payload) = desired();
        assert_eq!(desired.may_write(&payload, &theirs(), None, AdoptionPolicy::Always), write(false));
    }

    #[test]
    fn a_secret_of_another_type_is_never_adopted() {
        let (desired, payload) = desired();
        let payload = Payload { kind: ObjectKind::Secret, ..payload };
        let tls = ContentSummary { secret_type: Some("kubernetes.io/tls".to_owned()), ..holding(2, true, &[]) };
        let observed =
            ObservedMetadata { annotations: labels(&[(api::ADOPT_ANNOTATION, "b")]), ..ObservedMetadata::default() };
        for adopt in [AdoptionPolicy::Consent, AdoptionPolicy::Always] {
            assert_eq!(desired.may_write(&payload, &observed, None, adopt), AdoptionVerdict::NeedsContent);
            let refused = AdoptionVerdict::Refuse(Obstacle::Type("kubernetes.io/tls".to_owned()));
            assert_eq!(desired.may_write(&payload, &observed, Some(&tls), adopt), refused);
            let opaque = holding(2, true, &["ca"]);
            assert_eq!(
                desired.may_write(&payload, &observed, Some(&opaque), adopt),
                AdoptionVerdict::Write { shared: false }
            );
        }
    }

    #[test]
    fn an_obstacle_names_object_key_manager_and_remedy() {
        let message = Obstacle::Value("ca".to_owned())
            .explain("b", ObjectKind::ConfigMap, "team", |key| (key == "ca").then_some("kubectl"));
        assert_eq!(
            message,
            "TargetExists: ConfigMap team/b holds a value of others under key \"ca\", written by field manager \"kubectl\"; it stays as it is, and pods that ask for the Bundle there mount it so: delete that key, annotate it with rootcast.dev/adopt=b to have the value replaced, or give the Bundle another key or name"
        );
    }
}
