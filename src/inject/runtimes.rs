//! The variables that make runtimes trust a bundle.

use std::fmt::Write as _;

/// The variable that every JVM reads options from.
pub(super) const JAVA_TOOL_OPTIONS: &str = "JAVA_TOOL_OPTIONS";

/// A row of the table of variables.
#[derive(Debug)]
pub(super) struct RuntimeVariable {
    /// The name of the variable.
    pub(super) variable: &'static str,
    /// The runtimes that read the variable, by the names that users choose them by.
    names: &'static [&'static str],
    /// The effect of the variable on the program's own roots.
    effect: Effect,
    /// The file that the variable points at.
    pub(super) points_at: PointsAt,
    /// Whether the variable is set in pods that name no runtimes.
    by_default: bool,
    /// Programs that read the variable, as Markdown.
    programs: &'static str,
}

/// The effect of a variable on the roots that a program has of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// The program's own roots stay.
    Adds,
    /// Roots in a file are replaced; those in the image's certificate directory stay.
    ReplacesFile,
    /// The program's own roots are replaced.
    Replaces,
}

/// The file that a variable points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PointsAt {
    /// The PEM file.
    Pem,
    /// The keystore, which not every Bundle has.
    Keystore,
}

/// All variables, in the order in which they are set.
const TABLE: [RuntimeVariable; 11] = [
    RuntimeVariable {
        variable: "SSL_CERT_FILE",
        names: &["openssl", "go", "ruby", "dotnet", "curl", "python"],
        effect: Effect::ReplacesFile,
        points_at: PointsAt::Pem,
        by_default: true,
        programs: "What uses OpenSSL's defaults (Ruby, Python's `ssl`, PHP, Perl), Go, .NET on Linux, curl in most builds",
    },
    RuntimeVariable {
        variable: "CURL_CA_BUNDLE",
        names: &["curl"],
        effect: Effect::Replaces,
        points_at: PointsAt::Pem,
        by_default: true,
        programs: "curl; Python's requests where `REQUESTS_CA_BUNDLE` is not set",
    },
    RuntimeVariable {
        variable: "REQUESTS_CA_BUNDLE",
        names: &["python"],
        effect: Effect::Replaces,
        points_at: PointsAt::Pem,
        by_default: true,
        programs: "Python's requests and what is built on it",
    },
    RuntimeVariable {
        variable: "PIP_CERT",
        names: &["python"],
        effect: Effect::Replaces,
        points_at: PointsAt::Pem,
        by_default: true,
        programs: "pip",
    },
    RuntimeVariable {
        variable: "AWS_CA_BUNDLE",
        names: &["aws"],
        effect: Effect::Replaces,
        points_at: PointsAt::Pem,
        by_default: false,
        programs: "AWS CLI, boto3, AWS SDK for Go, which does not start with it where a program brings an HTTP client of its own",
    },
    RuntimeVariable {
        variable: "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
        names: &["grpc"],
        effect: Effect::Replaces,
        points_at: PointsAt::Pem,
        by_default: false,
        programs: "gRPC in C++, Python, Ruby, PHP and Node.js; not in Go and Java",
    },
    RuntimeVariable {
        variable: "GIT_SSL_CAINFO",
        names: &["git"],
        effect: Effect::Replaces,
        points_at: PointsAt::Pem,
        by_default: true,
        programs: "git over HTTPS",
    },
    RuntimeVariable {
        variable: "NODE_EXTRA_CA_CERTS",
        names: &["node"],
        effect: Effect::Adds,
        points_at: PointsAt::Pem,
        by_default: true,
        programs: "Node.js and what runs on it: npm, yarn",
    },
    RuntimeVariable {
        variable: "DENO_CERT",
        names: &["deno"],
        effect: Effect::Adds,
        points_at: PointsAt::Pem,
        by_default: true,
        programs: "Deno",
    },
    RuntimeVariable {
        variable: "CARGO_HTTP_CAINFO",
        names: &["cargo"],
        effect: Effect::Replaces,
        points_at: PointsAt::Pem,
        by_default: true,
        programs: "Cargo",
    },
    RuntimeVariable {
        variable: JAVA_TOOL_OPTIONS,
        names: &["java"],
        effect: Effect::Replaces,
        points_at: PointsAt::Keystore,
        by_default: false,
        programs: "Every JVM; from the Bundle's JKS or PKCS#12",
    },
];

/// The variables of a user's choice of runtimes.
#[derive(Debug)]
pub(super) struct RuntimeChoice<'a> {
    /// The chosen variables, in the order of the table.
    pub(super) variables: Vec<&'static RuntimeVariable>,
    /// Names that are no runtimes, in the order of the list.
    pub(super) unknown: Vec<&'a str>,
}

/// Returns the index of a variable in the table.
pub(super) fn index(variable: &str) -> Option<usize> {
    TABLE.iter().position(|row| row.variable == variable)
}

/// Parses a list of runtimes, separated by commas, in upper or lower case; `None` is the default choice.
pub(super) fn choose(names: Option<&str>) -> RuntimeChoice<'_> {
    let Some(names) = names else {
        return RuntimeChoice { variables: TABLE.iter().filter(|row| row.by_default).collect(), unknown: Vec::new() };
    };
    let mut chosen = [false; TABLE.len()];
    let mut unknown = Vec::new();
    for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let mut is_known = false;
        for (row, chosen) in TABLE.iter().zip(&mut chosen) {
            let is_named = row.names.iter().any(|own| own.eq_ignore_ascii_case(name));
            *chosen |= is_named;
            is_known |= is_named;
        }
        if !is_known {
            unknown.push(name);
        }
    }
    let variables = TABLE.iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(row, _)| row).collect();
    RuntimeChoice { variables, unknown }
}

/// Returns the names that users choose runtimes by, each once, in the order of the table.
pub(super) fn runtime_names() -> Vec<&'static str> {
    let mut names = Vec::new();
    for name in TABLE.iter().flat_map(|row| row.names) {
        if !names.contains(name) {
            names.push(*name);
        }
    }
    names
}

impl RuntimeVariable {
    /// Returns whether programs that read the variable trust only the file that it points at.
    pub(super) fn is_exclusive(&self) -> bool {
        self.effect == Effect::Replaces
    }
}

/// Returns the variables as a table in Markdown, for docs/inject.md.
#[must_use]
pub fn markdown_table() -> String {
    let mut table =
        "| Variable | `runtimes` | By default | The program's own roots | Read by |\n|---|---|---|---|---|\n"
            .to_owned();
    for RuntimeVariable { variable, names, effect, by_default, programs, .. } in &TABLE {
        let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        let effect = match effect {
            Effect::Adds => "stay",
            Effect::ReplacesFile => "file replaced; the image's certificate directory is still read",
            Effect::Replaces => "replaced",
        };
        let by_default = if *by_default { "set" } else { "-" };
        writeln!(table, "| `{variable}` | {} | {by_default} | {effect} | {programs} |", names.join(", "))
            .expect("writing to a String never fails");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(names: Option<&str>) -> Vec<&'static str> {
        choose(names).variables.iter().map(|row| row.variable).collect()
    }

    #[test]
    fn a_profile_chooses_variables() {
        let named_only = ["AWS_CA_BUNDLE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", JAVA_TOOL_OPTIONS];
        assert_eq!(variables(None).len(), TABLE.len() - named_only.len());
        assert!(named_only.iter().all(|name| !variables(None).contains(name)));
        let table: &[(&str, &[&str])] = &[
            ("openssl", &["SSL_CERT_FILE"]),
            ("go", &["SSL_CERT_FILE"]),
            ("ruby", &["SSL_CERT_FILE"]),
            ("dotnet", &["SSL_CERT_FILE"]),
            ("curl", &["SSL_CERT_FILE", "CURL_CA_BUNDLE"]),
            ("python", &["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT"]),
            ("aws", &["AWS_CA_BUNDLE"]),
            ("git", &["GIT_SSL_CAINFO"]),
            ("node", &["NODE_EXTRA_CA_CERTS"]),
            ("deno", &["DENO_CERT"]),
            ("cargo", &["CARGO_HTTP_CAINFO"]),
            ("java", &[JAVA_TOOL_OPTIONS]),
            (" node , go,node,", &["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"]),
            ("Node,\tGO,JaVa", &["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", JAVA_TOOL_OPTIONS]),
            ("grpc", &["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"]),
            (",", &[]),
        ];
        for (names, expected) in table {
            assert_eq!(variables(Some(names)), *expected, "{names}");
        }
    }

    #[test]
    fn every_name_is_known_and_others_are_reported() {
        assert!(runtime_names().iter().all(|name| choose(Some(name)).unknown.is_empty()));
        assert_eq!(choose(Some("node, jvm, ,Javac")).unknown, ["jvm", "Javac"]);
    }
}
