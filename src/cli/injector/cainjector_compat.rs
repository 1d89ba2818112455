//! Compatibility with cainjector's manifest, for a Deployment in which only the image was replaced.

use std::ffi::{OsStr, OsString};

/// The arguments that cainjector's manifest implies: it mounts the certificate there, and grants no permission to read
/// Bundles.
const DEFAULTS: [&str; 3] = ["injector", "--cert-dir=/etc/webhook/certs", "--bundles=optional"];

/// Returns the arguments of the injector if the environment is that of cainjector's manifest, else `given`.
///
/// The manifest names no command, but sets `OPERATOR_NAME` or `OPERATOR_DOMAIN`; flags may have one dash, as in Go.
#[must_use]
pub(in crate::cli) fn cainjector_arguments(
    given: impl IntoIterator<Item = OsString>,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Vec<OsString> {
    let mut given: Vec<_> = given.into_iter().collect();
    let is_set = |name: &&str| environment(name).is_some_and(|value| !value.is_empty());
    let is_flag = |argument: &OsString| argument.as_encoded_bytes().starts_with(b"-");
    let is_help_or_version =
        |argument: &OsString| ["-h", "--help", "-V", "--version"].map(OsStr::new).contains(&&**argument);
    let rest = given.get(1..).unwrap_or_default();
    if !["OPERATOR_NAME", "OPERATOR_DOMAIN"].iter().any(is_set)
        || !rest.first().is_none_or(is_flag)
        || rest.iter().any(is_help_or_version)
    {
        return given;
    }
    let rest = given.split_off(given.len().min(1));
    given.extend(DEFAULTS.map(OsString::from));
    given.extend(rest.into_iter().map(two_dashes));
    given
}

fn two_dashes(argument: OsString) -> OsString {
    match argument.as_encoded_bytes() {
        [b'-', letter, _, ..] if letter.is_ascii_alphabetic() => {
            let mut written = OsString::from("-");
            written.push(argument);
            written
        }
        _ => argument,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effective_arguments(environment: &[(&str, &str)], given: &[&str]) -> Vec<String> {
        let environment = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
        let given = ["rootcast"].iter().chain(given).map(Into::into);
        cainjector_arguments(given, environment).into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn without_a_command_the_environment_of_cainjectors_manifest_makes_it_the_injector() {
        let implied = ["rootcast", "injector", "--cert-dir=/etc/webhook/certs", "--bundles=optional"];
        let name = [("OPERATOR_NAME", "cainjector")];
        for environment in [&name[..], &[("OPERATOR_DOMAIN", "lestak.sh")]] {
            assert_eq!(effective_arguments(environment, &[]), implied);
        }
        let with_flags = effective_arguments(&name, &["-port", "9443", "--cert-dir=/tls", "-config=/a/b"]);
        assert_eq!(with_flags[..4], implied);
        assert_eq!(with_flags[4..], ["--port", "9443", "--cert-dir=/tls", "--config=/a/b"]);
    }

    #[test]
    fn a_command_a_question_or_another_environment_changes_nothing() {
        let name = [("OPERATOR_NAME", "cainjector")];
        for (environment, given) in [
            (&[][..], &[][..]),
            (&[], &["-v5"]),
            (&[("OPERATOR_NAME", "")], &[]),
            (&name, &["controller", "-v5"]),
            (&name, &["injector"]),
            (&name, &["--help"]),
            (&name, &["-V"]),
        ] {
            assert_eq!(effective_arguments(environment, given)[1..], *given);
        }
    }
}
