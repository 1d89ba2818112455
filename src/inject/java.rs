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
