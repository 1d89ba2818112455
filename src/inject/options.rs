//! The options file of cainjector.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

/// The options for pods whose annotations do not override them. An option that is not set is empty.
///
/// A text may be written as a boolean or a number: its spelling is the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CainjectorOptions {
    /// Whether pods are injected: not if it is `false`.
    pub inject: String,
    /// The name of the Secret to mount; it takes precedence over `config_map`.
    pub secret: String,
    /// The name of the ConfigMap to mount.
    pub config_map: String,
    /// The key of the PEM in the mounted object.
    pub cert_file: String,
    /// The path at which the object is mounted.
    pub mount_path: String,
    /// Whether `SSL_CERT_FILE` is set: not if it is `false`.
    pub set_env_var: String,
    /// The only namespaces whose pods are injected; empty for all.
    pub include_namespaces: Vec<String>,
    /// Names of containers that are not injected.
    pub exclude_containers: Vec<String>,
    /// Namespaces whose pods are not injected.
    pub exclude_namespaces: Vec<String>,
    /// Keys that are no options, to be reported.
    pub unknown: Vec<String>,
}

/// The keys of the options, as they are spelt in YAML.
const KEYS: [&str; 9] = [
    "inject",
    "secret",
    "configMap",
    "certFile",
    "mountPath",
    "setEnvVar",
    "includeNamespaces",
    "excludeContainers",
    "excludeNamespaces",
];

/// A file of options that cannot be parsed.
#[derive(Debug, thiserror::Error)]
pub enum CainjectorOptionsError {
    /// JSON in which an option has a value of the wrong type.
    #[error(transparent)]
    Json(serde_json::Error),
    /// Text that is no map of options in YAML.
    #[error("{}", .0.without_snippet())]
    Yaml(Box<serde_saphyr::Error>),
}

/// The field of an option.
enum OptionSlot<'a> {
    Text(&'a mut String),
    List(&'a mut Vec<String>),
}

impl CainjectorOptions {
    /// Parses JSON, in which upper and lower case of a key do not matter, or else YAML, in which they do.
    ///
    /// # Errors
    ///
    /// The text is no map of options; the message names the key, and the line in YAML.
    pub fn parse(text: &str) -> Result<Self, CainjectorOptionsError> {
        match serde_json::from_str::<Map<String, Value>>(text) {
            Ok(json) => Self::deserialize(normalize(json)).map_err(CainjectorOptionsError::Json),
            Err(_) => serde_saphyr::from_str::<Option<Self>>(text)
                .map(Option::unwrap_or_default)
                .map_err(|error| CainjectorOptionsError::Yaml(Box::new(error))),
        }
    }

    fn slot(&mut self, key: &str) -> Option<OptionSlot<'_>> {
        Some(match key {
            "inject" => OptionSlot::Text(&mut self.inject),
            "secret" => OptionSlot::Text(&mut self.secret),
            "configMap" => OptionSlot::Text(&mut self.config_map),
            "certFile" => OptionSlot::Text(&mut self.cert_file),
            "mountPath" => OptionSlot::Text(&mut self.mount_path),
            "setEnvVar" => OptionSlot::Text(&mut self.set_env_var),
            "includeNamespaces" => OptionSlot::List(&mut self.include_namespaces),
            "excludeContainers" => OptionSlot::List(&mut self.exclude_containers),
            "excludeNamespaces" => OptionSlot::List(&mut self.exclude_namespaces),
            _ => return None,
        })
    }
}

impl<'de> Deserialize<'de> for CainjectorOptions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = CainjectorOptions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of options")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CainjectorOptions, A::Error> {
                let mut options = CainjectorOptions::default();
                while let Some(key) = map.next_key::<String>()? {
                    let about = |error| A::Error::custom(format!("{key}: {error}"));
                    match options.slot(&key) {
                        Some(OptionSlot::Text(text)) => {
                            *text = map.next_value::<Option<String>>().map_err(about)?.unwrap_or_default();
                        }
                        Some(OptionSlot::List(list)) => {
                            let items: Option<Vec<Option<String>>> = map.next_value().map_err(about)?;
                            *list = items.into_iter().flatten().map(Option::unwrap_or_default).collect();
                        }
                        None => {
                            map.next_value::<IgnoredAny>().map_err(about)?;
                            options.unknown.push(key);
                        }
                    }
                }
                Ok(options)
            }
        }

        deserializer.deserialize_map(Keys)
    }
}

/// Returns JSON with the keys as they are spelt in YAML, and text where YAML would accept text.
fn normalize(json: Map<String, Value>) -> Value {
    json.into_iter().map(|(key, value)| (canonical_key(&key).unwrap_or(key), text(value))).collect()
}

/// Returns how a key is spelt in YAML, if it is an option.
fn canonical_key(key: &str) -> Option<String> {
    let mut words = KEYS.into_iter().filter(|word| key.eq_ignore_ascii_case(word));
    words.next().map(ToOwned::to_owned)
}

fn text(value: Value) -> Value {
    match value {
        Value::Bool(value) => value.to_string().into(),
        Value::Number(value) => value.to_string().into(),
        Value::Array(values) => values.into_iter().map(text).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<CainjectorOptions, String> {
        CainjectorOptions::parse(text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_spelling_of_a_text_is_its_value_and_null_is_not_set() {
        let yaml = "inject: False\nsecret: 0x10\nconfigMap: no\ncertFile: ~\nmountPath:\nsetEnvVar: 1.50\n\
                    excludeNamespaces: [1, ~, true]\nincludeNamespaces:\nexcludeContainers: null\n";
        let expected = CainjectorOptions {
            inject: "False".to_owned(),
            secret: "0x10".to_owned(),
            config_map: "no".to_owned(),
            set_env_var: "1.50".to_owned(),
            exclude_namespaces: ["1", "", "true"].map(ToOwned::to_owned).to_vec(),
            ..CainjectorOptions::default()
        };
        assert_eq!(parse(yaml), Ok(expected));
    }

    #[test]
    fn a_file_without_content_sets_nothing() {
        for text in ["", "# nothing\n", "---\n", "null", "~", "{}"] {
            assert_eq!(parse(text), Ok(CainjectorOptions::default()), "{text:?}");
        }
    }

    #[test]
    fn case_matters_in_yaml_and_not_in_json() {
        let set = CainjectorOptions {
            config_map: "corp".to_owned(),
            set_env_var: "false".to_owned(),
            ..CainjectorOptions::default()
        };
        assert_eq!(parse(r#"{"CONFIGMAP": "corp", "setenvvar": false, "secret": null}"#), Ok(set.clone()));
        assert_eq!(parse("configMap: corp\nsetEnvVar: false\n"), Ok(set.clone()));
        assert_eq!(parse("{configMap: corp, setEnvVar: 'false',}"), Ok(set));
        let unknown = ["ConfigMap", "other"].map(ToOwned::to_owned).to_vec();
        let yaml = "ConfigMap: corp\nother: {a: [1]}\n";
        assert_eq!(parse(yaml), Ok(CainjectorOptions { unknown, ..CainjectorOptions::default() }));
    }

    #[test]
    fn an_error_names_key_and_line() {
        let table = [
            ("inject: [1]", "inject: expected string scalar at line 1, column 9"),
            ("a: 1\nexcludeNamespaces: x", "excludeNamespaces: expected sequence start at line 2, column 20"),
            (
                "secret: a\nsecret: b",
                "duplicate mapping key: secret, set DuplicateKeyPolicy in Options if acceptable at line 2, column 1",
            ),
            ("foo", "expected mapping start at line 1, column 1"),
            (r#"{"inject": {}}"#, "inject: invalid type: map, expected a string"),
            (r#"{"excludeNamespaces": "x"}"#, "excludeNamespaces: invalid type: string \"x\", expected a sequence"),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), Err(expected.to_owned()), "{text}");
        }
    }
}
