//! Reasons in the variables and arguments of a container not to give Java a trust store.
//!
//! Every reason is that the container may have a trust store of its own.

use super::lenient::{Fold, LenientText};

/// Prefix of all system properties of the trust store.
pub(super) const PROPERTY_PREFIX: &str = "javax.net.ssl.trustStore";

/// The option of a JVM that names a file with more options.
pub(super) const OPTIONS_FILE: &str = "-XX:VMOptionsFile=";

/// The content of a container's `command` or `args` that Java options depend on.
#[derive(Debug, Default)]
pub(super) struct JavaArguments {
    /// The reason not to give Java a trust store, if any.
    pub(super) obstacle: Option<&'static str>,
}

impl<'de> Fold<'de> for JavaArguments {
    type Element = LenientText<'de>;

    fn add(&mut self, _: usize, argument: LenientText<'de>) {
        if self.obstacle.is_some() {
            return;
        }
        if names_trust_store(&argument) {
            self.obstacle = Some("its command or arguments name a trust store already");
        } else if names_file(&argument) {
            self.obstacle = Some("a file among its arguments (@FILE) may name a trust store");
        }
    }
}

/// Returns the reason not to give Java a trust store in a variable other than `JAVA_TOOL_OPTIONS`, if any.
///
/// A JVM reads two more variables, which override `JAVA_TOOL_OPTIONS`. The value of any variable may reach its command
/// line, by a script or by `$(NAME)`. A trust store with one property from there and another from `JAVA_TOOL_OPTIONS`
/// cannot be opened.
pub(super) fn obstacle_in_variable(name: &str, value: &str, has_value_from: bool) -> Option<&'static str> {
    let (named, value_from, file) = match name {
        "JDK_JAVA_OPTIONS" => (
            "JDK_JAVA_OPTIONS names a trust store already",
            "JDK_JAVA_OPTIONS has valueFrom",
            "a file in JDK_JAVA_OPTIONS (@FILE) may name a trust store",
        ),
        "_JAVA_OPTIONS" => (
            "_JAVA_OPTIONS names a trust store already",
            "_JAVA_OPTIONS has valueFrom",
            "a file in _JAVA_OPTIONS may name a trust store",
        ),
        _ => return names_trust_store(value).then_some("another of its variables names a trust store already"),
    };
    if has_value_from {
        Some(value_from)
    } else if names_trust_store(value) {
        Some(named)
    } else {
        names_file(value).then_some(file)
    }
}

/// Returns whether a text names a trust store, as a JVM or a shell reads it: both strip quotes wherever they are.
pub(super) fn names_trust_store(text: &str) -> bool {
    let quotes = ['"', '\'', '\\'];
    text.contains(PROPERTY_PREFIX) || text.contains(quotes) && text.replace(quotes, "").contains(PROPERTY_PREFIX)
}

/// Returns whether a text may make a JVM read options from a file, whose content is not known here.
fn names_file(text: &str) -> bool {
    text.split_ascii_whitespace().any(|word| word.starts_with('@') && word.len() > 1) || text.contains(OPTIONS_FILE)
}
