//! Options that make Java use a trust store.
//!
//! The options are system properties in a variable that every JVM reads
//! (<https://docs.oracle.com/en/java/javase/21/troubleshoot/environment-variables-and-system-properties.html>).

use std::borrow::Cow;

use super::injectable::{KeystoreKind, MountedKeystore};
use super::java_obstacle::{OPTIONS_FILE, PROPERTY_PREFIX, names_trust_store};
use super::pod::Container;

/// A change of `JAVA_TOOL_OPTIONS` in a container.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum JavaEnvChange {
    /// No change: the variable has the options.
    Keep,
    /// The variable is added.
    Add,
    /// The variable at this index of `env` gets this value.
    Set(usize, String),
    /// No change, for this reason: the user has to add the options.
    LeaveAlone(&'static str),
}

/// Returns the options that make Java trust a keystore below `mount_path`, as a value of `JAVA_TOOL_OPTIONS` in a pod.
///
/// The JVM splits the value at white space and strips quotes wherever they are; it knows no escapes. Kubernetes expands
/// `$(NAME)` and makes one `$` out of two
/// (<https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/>).
pub(super) fn options(keystore: &MountedKeystore, mount_path: &str) -> String {
    let MountedKeystore { kind, key, password } = keystore;
    let kind = match kind {
        KeystoreKind::Jks => "JKS",
        KeystoreKind::Pkcs12 => "PKCS12",
    };
    let mut properties = vec![("", format!("{mount_path}/{key}")), ("Type", kind.to_owned())];
    if !password.reveal().is_empty() {
        properties.push(("Password", password.reveal().to_owned()));
    }
    let options = properties.iter().map(|(property, value)| format!("-D{PROPERTY_PREFIX}{property}={}", quote(value)));
    options.collect::<Vec<_>>().join(" ").replace('$', "$$")
}

/// Returns the change that gives a container the options.
pub(super) fn env_change(container: &Container<'_>, options: &str) -> JavaEnvChange {
    let own = container.env.java.as_ref();
    if own.is_some_and(|own| !own.has_value_from && own.value.contains(options)) {
        return JavaEnvChange::Keep;
    }
    if let Some(own) = own {
        if own.has_value_from {
            return JavaEnvChange::LeaveAlone("it has valueFrom");
        }
        if names_trust_store(&own.value) {
            return JavaEnvChange::LeaveAlone("it names a trust store already");
        }
        if own.value.contains(OPTIONS_FILE) {
            return JavaEnvChange::LeaveAlone("a file of options that it names may name a trust store");
        }
    }
    let obstacle = container.env.obstacle.or(container.command.obstacle).or(container.args.obstacle);
    match (obstacle.or(container.env_from.0.then_some(ENV_FROM)), own) {
        (Some(cause), _) => JavaEnvChange::LeaveAlone(cause),
        (None, None) => JavaEnvChange::Add,
        (None, Some(own)) if own.value.trim().is_empty() => {
            JavaEnvChange::Set(own.index, format!("{}{options}", &*own.value))
        }
        (None, Some(own)) => JavaEnvChange::Set(own.index, format!("{} {options}", &*own.value)),
    }
}

/// The reason not to add the variable to a container that has `envFrom`.
const ENV_FROM: &str = "envFrom may hold it";

/// Quotes a value that the JVM would split or change.
fn quote(value: &str) -> Cow<'_, str> {
    let special = |c: char| c.is_ascii_whitespace() || c == '\x0b' || c == '"' || c == '\'';
    if !value.contains(special) {
        return value.into();
    }
    // Neither kind of quotes can contain itself, so the two alternate.
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

    fn keystore(kind: KeystoreKind, key: &str, password: &str) -> MountedKeystore {
        MountedKeystore { kind, key: key.to_owned(), password: Password::new(password) }
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
        let set = |index, value: &str| JavaEnvChange::Set(index, value.to_owned());
        let named = JavaEnvChange::LeaveAlone("it names a trust store already");
        let table = [
            ("{}", JavaEnvChange::Add),
            (r#"{"env": [{"name": "OTHER", "value": "x"}], "envFrom": []}"#, JavaEnvChange::Add),
            (r#"{"envFrom": [{"configMapRef": {"name": "x"}}]}"#, JavaEnvChange::LeaveAlone(ENV_FROM)),
            (
                r#"{"env": [{"name": "JAVA_TOOL_OPTIONS", "value": "-Xmx1g"}], "envFrom": [{}]}"#,
                JavaEnvChange::LeaveAlone(ENV_FROM),
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
                JavaEnvChange::LeaveAlone("it has valueFrom"),
            ),
            (r#"{"env": [{"name": "JAVA_TOOL_OPTIONS", "value": "-Djavax.net.ssl.trustStore=/own"}]}"#, named),
            (
                r#"{"env": [{"name": "JAVA_TOOL_OPTIONS", "value": "-D'javax.net.ssl'.trustStoreType=JKS"}]}"#,
                JavaEnvChange::LeaveAlone("it names a trust store already"),
            ),
        ];
        for (text, expected) in table {
            assert_eq!(env_change(&serde_json::from_str(text).unwrap(), OPTIONS), expected, "{text}");
        }
        let own = format!(r#"{{"env": [{{"name": "JAVA_TOOL_OPTIONS", "value": "{more}"}}], "envFrom": [{{}}]}}"#);
        assert_eq!(env_change(&serde_json::from_str(&own).unwrap(), OPTIONS), JavaEnvChange::Keep);
    }

    #[test]
    fn a_trust_store_of_the_users_is_left_alone_wherever_it_is_named() {
        let variable = |name: &str, value: &str| format!(r#"{{"env": [{{"name": "{name}", "value": "{value}"}}]}}"#);
        let store = "-Djavax.net.ssl.trustStore=/own/t.jks";
        let (jdk, jvm) = ("JDK_JAVA_OPTIONS names a trust store already", "_JAVA_OPTIONS names a trust store already");
        let (other, argument) = (
            "another of its variables names a trust store already",
            "its command or arguments name a trust store already",
        );
        let (file, jdk_file) = (
            "a file among its arguments (@FILE) may name a trust store",
            "a file in JDK_JAVA_OPTIONS (@FILE) may name a trust store",
        );
        let mut table = vec![
            (variable("JDK_JAVA_OPTIONS", store), Some(jdk)),
            (variable("JDK_JAVA_OPTIONS", "-Xmx1g '-D'javax.net.ssl.trustStorePassword=x"), Some(jdk)),
            (variable("JDK_JAVA_OPTIONS", "-Xmx1g"), None),
            (variable("JDK_JAVA_OPTIONS", "-Djavax.net.ssl.keyStore=/own"), None),
            (variable("JDK_JAVA_OPTIONS", "-Xmx1g @/opt/options"), Some(jdk_file)),
            (variable("_JAVA_OPTIONS", store), Some(jvm)),
            (variable("_JAVA_OPTIONS", "-Xmx1g"), None),
            (variable("JAVA_OPTS", store), Some(other)),
            (variable("JAVA_OPTS", "-Xmx1g @/opt/options"), None),
            (
                variable("JAVA_TOOL_OPTIONS", "-XX:VMOptionsFile=/o"),
                Some("a file of options that it names may name a trust store"),
            ),
            (
                r#"{"env": [{"name": "JDK_JAVA_OPTIONS", "valueFrom": {}}]}"#.to_owned(),
                Some("JDK_JAVA_OPTIONS has valueFrom"),
            ),
            (
                r#"{"env": [{"name": "_JAVA_OPTIONS", "valueFrom": {}}]}"#.to_owned(),
                Some("_JAVA_OPTIONS has valueFrom"),
            ),
            (r#"{"env": [{"name": "JAVA_OPTS", "valueFrom": {}}]}"#.to_owned(), None),
        ];
        for field in ["command", "args"] {
            let container = |text: &str| format!(r#"{{"{field}": ["java", null, "{text}", "-jar", "a.jar"]}}"#);
            table.extend([
                (container("-Djavax.net.ssl.trustStoreType=PKCS12"), Some(argument)),
                (container("-Djavax.net.ssl.trustStoreProvider=X"), Some(argument)),
                (container("exec java -D\\\"javax.net\\\".ssl.trustStore=/own -jar a.jar"), Some(argument)),
                (container("@/opt/options"), Some(file)),
                (container("java @options -jar a.jar"), Some(file)),
                (container("-XX:VMOptionsFile=/o"), Some(file)),
                (container("me@example.com"), None),
                (container("@"), None),
                (container("-Xmx1g"), None),
            ]);
        }
        for (text, expected) in table {
            let text = text.replace("\\\\\"", "\\\"");
            let expected = expected.map_or(JavaEnvChange::Add, JavaEnvChange::LeaveAlone);
            assert_eq!(env_change(&serde_json::from_str(&text).unwrap(), OPTIONS), expected, "{text}");
        }
    }
}
