//! Which variable makes which runtime trust a bundle.

use std::fmt::Write as _;

use super::java;

/// One variable.
#[derive(Debug)]
pub(super) struct Runtimes {
    /// Its name.
    pub(super) variable: &'static str,
    /// The runtimes that it is for, by the names that users choose them by.
    names: &'static [&'static str],
    /// What it does to the program's own roots.
    effect: Effect,
    /// What it points at.
    pub(super) points_at: PointsAt,
    /// Programs that read it, as Markdown.
    programs: &'static str,
}

/// What a variable does to the roots that a program has of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// They stay.
    Adds,
    /// Those in a file go; those in the image's certificate directory stay.
    ReplacesFile,
    /// They go.
    Replaces,
}

/// What a variable points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PointsAt {
    /// The PEM.
    Pem,
    /// The keystore. It is not in every Bundle, so that this comes only where it is asked for.
    Keystore,
}

/// All of them, in the order in which they are set.
const TABLE: [Runtimes; 10] = [
    Runtimes {
        variable: "SSL_CERT_FILE",
        names: &["openssl", "go", "ruby", "dotnet", "curl", "python"],
        effect: Effect::ReplacesFile,
        points_at: PointsAt::Pem,
        programs: "What uses OpenSSL's defaults (Ruby, Python's `ssl`, PHP, Perl), Go, .NET on Linux, curl in most builds",
    },
    Runtimes {
        variable: "CURL_CA_BUNDLE",
        names: &["curl"],
        effect: Effect::Replaces,
        points_at: PointsAt::Pem,
        programs: "curl; Python's requests where `REQUESTS_CA_BUNDLE` is not set",
    },
    Runtimes {
        variable: "REQUESTS_CA_BUNDLE",
        names: &["python"],
        effect: Effect::Replaces,
        points_at: PointsAt::Pem,
        programs: "Python's requests and what is built on it",
    },
    Runtimes {
        variable: "PIP_CERT",
        names: &["python"],
        effect: Effect::Replaces,
        points_at: PointsAt::Pem,
        programs: "pip",
    },
    Runtimes {
        variable: "AWS_CA_BUNDLE",
        names: &["aws"],
        effect: Effect::Replaces,
        points_at: PointsAt::Pem,
        programs: "AWS CLI, boto3, AWS SDK for Go",
    },
    Runtimes {
        variable: "GIT_SSL_CAINFO",
        names: &["git"],
        effect: Effect::Replaces,
        points_at: PointsAt::Pem,
        programs: "git over HTTPS",
    },
    Runtimes {
        variable: "NODE_EXTRA_CA_CERTS",
        names: &["node"],
        effect: Effect::Adds,
        points_at: PointsAt::Pem,
        programs: "Node.js and what runs on it: npm, yarn",
    },
    Runtimes {
        variable: "DENO_CERT",
        names: &["deno"],
        effect: Effect::Adds,
        points_at: PointsAt::Pem,
        programs: "Deno",
    },
    Runtimes {
        variable: "CARGO_HTTP_CAINFO",
        names: &["cargo"],
        effect: Effect::Replaces,
        points_at: PointsAt::Pem,
        programs: "Cargo",
    },
    Runtimes {
        variable: java::VARIABLE,
        names: &["java"],
        effect: Effect::Replaces,
        points_at: PointsAt::Keystore,
        programs: "Every JVM; only where `java` is named, and from the Bundle's JKS or PKCS#12",
    },
];

/// Runtimes that were chosen.
#[derive(Debug)]
pub(super) struct Choice<'a> {
    /// Their variables.
    pub(super) variables: Vec<&'static Runtimes>,
    /// Names that no runtime has.
    pub(super) unknown: Vec<&'a str>,
}

/// The runtimes of a list of names, separated by commas; without one, all that the PEM is for.
pub(super) fn choose(names: Option<&str>) -> Choice<'_> {
    let Some(names) = names else {
        let variables = TABLE.iter().filter(|row| row.points_at == PointsAt::Pem).collect();
        return Choice { variables, unknown: Vec::new() };
    };
    let names: Vec<_> = names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    Choice {
        variables: TABLE.iter().filter(|row| names.iter().any(|name| row.names.contains(name))).collect(),
        unknown: names.into_iter().filter(|name| !known().contains(name)).collect(),
    }
}

/// The names that users choose runtimes by.
pub(super) fn known() -> Vec<&'static str> {
    let mut known = Vec::new();
    for name in TABLE.iter().flat_map(|row| row.names) {
        if !known.contains(name) {
            known.push(*name);
        }
    }
    known
}

impl Runtimes {
    /// Whether its programs trust nothing but what it points at.
    pub(super) fn is_exclusive(&self) -> bool {
        self.effect == Effect::Replaces
    }
}

/// All of it as a table in Markdown, for the README.
#[must_use]
pub fn markdown_table() -> String {
    let mut table = "| Variable | `runtimes` | The program's own roots | Read by |\n|---|---|---|---|\n".to_owned();
    for Runtimes { variable, names, effect, programs, .. } in &TABLE {
        let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        let effect = match effect {
            Effect::Adds => "stay",
            Effect::ReplacesFile => "file replaced; the image's certificate directory is still read",
            Effect::Replaces => "replaced",
        };
        writeln!(table, "| `{variable}` | {} | {effect} | {programs} |", names.join(", "))
            .expect("a String takes everything");
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
        assert_eq!(variables(None).len(), TABLE.len() - 1);
        assert!(!variables(None).contains(&java::VARIABLE));
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
            ("java", &[java::VARIABLE]),
            (" node , go,node,", &["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"]),
            ("Node", &[]),
            (",", &[]),
        ];
        for (names, expected) in table {
            assert_eq!(variables(Some(names)), *expected, "{names}");
        }
    }

    #[test]
    fn every_name_is_known_and_others_are_told() {
        assert!(known().iter().all(|name| choose(Some(name)).unknown.is_empty()));
        assert_eq!(choose(Some("node, jvm, ,Java")).unknown, ["jvm", "Java"]);
    }
}
