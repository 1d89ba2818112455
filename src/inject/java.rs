//! How Java is told of a trust store: by system properties, in a variable that every JVM reads
//! (<https://docs.oracle.com/en/java/javase/21/troubleshoot/environment-variables-and-system-properties.html>).

use std::borrow::Cow;

use super::offer::{Keystore, KeystoreKind};
use super::pod::Container;

/// The variable.
pub(super) const VARIABLE: &str = "JAVA_TOOL_OPTIONS";

/// What all properties of the trust store begin with.
const PROPERTIES: &str = "javax.net.ssl.trustStore";

/// What has to be done to the variable of a container.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: the options are there.
    Keep,
    /// The variable has to be added.
    Add,
    /// Its value at this index of `env` has to become this one.
    Set(usize, String),
    /// It is the user's affair, for this cause.
    LeaveAlone(&'static str),
}

/// The options that make Java trust a keystore at this path, as a value of the variable in a pod.
///
/// The JVM splits the value at white space and strips quotes wherever they are; it knows no escapes. Kubernetes expands
/// `$(NAME)` and makes one `$` out of two
/// (<https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/>).
pub(super) fn options(keystore: &Keystore, mount_path: &str) -> String {
    let Keystore { kind, key, password } = keystore;
    let kind = match kind {
        KeystoreKind::Jks => "JKS",
        KeystoreKind::Pkcs12 => "PKCS12",
    };
    let mut properties = vec![("", format!("{mount_path}/{key}")), ("Type", kind.to_owned())];
    if !password.reveal().is_empty() {
        properties.push(("Password", password.reveal().to_owned()));
    }
    let options = properties.iter().map(|(property, value)| format!("-D{PROPERTIES}{property}={}", quote(value)));
    options.collect::<Vec<_>>().join(" ").replace('$', "$$")
}

/// What a container needs to have the options.
pub(super) fn step(container: &Container<'_>, options: &str) -> Step {
    let own = container.env.iter().rev().find(|(_, variable)| *variable.name == *VARIABLE);
    let Some((index, own)) = own else {
        return if container.env_from.is_empty() { Step::Add } else { Step::LeaveAlone(ENV_FROM) };
    };
    let value = &*own.value;
    if own.value_from.is_some() {
        Step::LeaveAlone("it has valueFrom")
    } else if value.contains(options) {
        Step::Keep
    } else if value.replace(['"', '\''], "").contains(PROPERTIES) {
        Step::LeaveAlone("it names a trust store already")
    } else if !container.env_from.is_empty() {
        Step::LeaveAlone(ENV_FROM)
    } else if value.trim().is_empty() {
        Step::Set(index, format!("{value}{options}"))
    } else {
        Step::Set(index, format!("{value} {options}"))
    }
}

const ENV_FROM: &str = "envFrom may hold it";

/// In quotes where the JVM would split or change it.
fn quote(value: &str) -> Cow<'_, str> {
    let special = |c: char| c.is_ascii_whitespace() || c == '\x0b' || c == '"' || c == '\'';
    if !value.contains(special) {
        return value.into();
    }
    // Neither kind of quotes may hold itself, so they take turns.
    value
        .split_inclusive('"')
        .fold(String::new(), |quoted, part| match part.strip_suffix('"') {
            Some(part) => format!("{quoted}\"{part}\"'\"'"),
            None => format!("{quoted}\"{part}\""),
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::Password;

    const OPTIONS: &str = "-Djavax.net.ssl.trustStore=/t/k.jks -Djavax.net.ssl.trustStoreType=JKS -Djavax.net.ssl.trustStorePassword=changeit";

    fn keystore(kind: KeystoreKind, key: &str, password: &str) -> Keystore {
        Keystore { kind, key: key.to_owned(), password: Password::new(password) }
    }

    #[test]
    fn the_options_name_path_type_and_password() {
        assert_eq!(options(&keystore(KeystoreKind::Jks, "k.jks", "changeit"), "/t"), OPTIONS);
        let without = "-Djavax.net.ssl.trustStore=/t/k.p12 -Djavax.net.ssl.trustStoreType=PKCS12";
        assert_eq!(options(&keystore(KeystoreKind::Pkcs12, "k.p12", ""), "/t"), without);
    }

    #[test]
    fn values_are_quoted_for_the_jvm_and_escaped_for_kubernetes() {
        let table = [
            ("plain", "plain"),
            ("two words", r#""two words""#),
            ("it's", r#""it's""#),
            (r#"say "hi" there"#, r#""say "'"'"hi"'"'" there""#),
            (r#"""#, r#"""'"'"#),
            (r"back\slash", r"back\slash"),
            ("$(HOME)", "$$(HOME)"),
            ("a$$b$", "a$$$$b$$"),
            ("new\nline", "\"new\nline\""),
        ];
        for (password, expected) in table {
            let options = options(&keystore(KeystoreKind::Jks, "k", password), "/t");
            let (_, value) = options.split_once("trustStorePassword=").unwrap();
            assert_eq!(value, expected, "{password}");
        }
    }

    #[test]
    fn the_users_own_value_is_extended_or_left_alone() {
        let more = format!("-Xmx1g {OPTIONS}");
        let set = |index, value: &str| Step::Set(index, value.to_owned());
        let named = Step::LeaveAlone("it names a trust store already");
        let table = [
            ("{}", Step::Add),
            (r#"{"env": [{"name": "OTHER", "value": "x"}], "envFrom": []}"#, Step::Add),
            (r#"{"envFrom": [{"configMapRef": {"name": "x"}}]}"#, Step::LeaveAlone(ENV_FROM)),
            (
                r#"{"env": [{"name": "JAVA_TOOL_OPTIONS", "value": "-Xmx1g"}], "envFrom": [{}]}"#,
                Step::LeaveAlone(ENV_FROM),
            ),
            (r#"{"env": [null, {"name": "JAVA_TOOL_OPTIONS", "value": "-Xmx1g"}]}"#, set(1, &more)),
            (r#"{"env": [{"name": "JAVA_TOOL_OPTIONS"}]}"#, set(0, OPTIONS)),
            (r#"{"env": [{"name": "JAVA_TOOL_OPTIONS", "value": null, "valueFrom": null}]}"#, set(0, OPTIONS)),
            (
                r#"{"env": [{"name": "JAVA_TOOL_OPTIONS", "value": "a"}, {"name": "JAVA_TOOL_OPTIONS", "value": "-Xmx1g"}]}"#,
                set(1, &more),
            ),
            (
                r#"{"env": [{"name": "JAVA_TOOL_OPTIONS", "valueFrom": {"fieldRef": {}}}]}"#,
                Step::LeaveAlone("it has valueFrom"),
            ),
            (r#"{"env": [{"name": "JAVA_TOOL_OPTIONS", "value": "-Djavax.net.ssl.trustStore=/own"}]}"#, named),
            (
                r#"{"env": [{"name": "JAVA_TOOL_OPTIONS", "value": "-D'javax.net.ssl'.trustStoreType=JKS"}]}"#,
                Step::LeaveAlone("it names a trust store already"),
            ),
        ];
        for (text, expected) in table {
            assert_eq!(step(&serde_json::from_str(text).unwrap(), OPTIONS), expected, "{text}");
        }
        let own = format!(r#"{{"env": [{{"name": "JAVA_TOOL_OPTIONS", "value": "{more}"}}], "envFrom": [{{}}]}}"#);
        assert_eq!(step(&serde_json::from_str(&own).unwrap(), OPTIONS), Step::Keep);
    }
}
