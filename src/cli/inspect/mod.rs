//! `rootcast inspect`: certificates of a source, differences of two, and verification of a server.

mod password;
mod server;
mod source;
mod tls;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::ValueEnum;
use jiff::Timestamp;
use serde_json::Value;

use crate::inspect::{Acceptance, CertificateDiff, CertificateSet, DetailLevel, Remark, Verification};

use super::args::ClusterArgs;
use super::{REFUSED, paint, print, print_diagnostic, runtime};
use server::Server;
use source::{CertificateReader, InspectSource};

/// The meaning of the exit codes, for the help.
pub(super) const EXIT_CODES: &str = "Exit code 0: all is well, nothing differs, the server would be accepted; 1: something in it cannot be used, something \
differs, the server would be refused; 2: bad usage, nothing could be read, or the answer is not known.";

/// The flags of `inspect`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// FILE (YAML of ConfigMaps and Secrets, too), - (standard input), configmap/NAMESPACE/NAME[/KEY], secret/NAMESPACE/NAME[/KEY], bundle/NAME (its target
    /// in the
    /// first namespace that has one) or `https://HOST[:PORT]` (what the server shows, without a proxy).
    #[arg(value_name = "PLACE")]
    source: InspectSource,
    /// Another place to compare with.
    #[arg(value_name = "PLACE", conflicts_with = "verify")]
    other: Option<InspectSource>,
    /// Connect to this server by TLS, without a proxy, and tell whether programs that trust the certificates of PLACE,
    /// and no others, would
    /// accept it, and why not.
    #[arg(long, value_name = "HOST[:PORT]")]
    verify: Option<Server>,
    /// Form of the output; wide: a table with serial number, signature, usages, alternative names and key identifiers;
    /// pem: each usable certificate once, as a bundle has it.
    #[arg(long, short, value_enum, default_value = "table", value_name = "FORM")]
    output: InspectFormat,
    /// Password of keystores. Other users of this machine may see it: better use --password-file.
    #[arg(long, value_name = "PASSWORD", conflicts_with = "password_file", help_heading = "Keystores")]
    password: Option<String>,
    /// File whose first line is the password of keystores.
    #[arg(long, value_name = "FILE", help_heading = "Keystores")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// How certificates are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum InspectFormat {
    Table,
    Wide,
    Json,
    Yaml,
    Pem,
}

/// Runs `rootcast inspect`.
pub(super) fn run(arguments: &Args) -> anyhow::Result<ExitCode> {
    runtime::block_on(inspect(arguments))
}

async fn inspect(arguments: &Args) -> anyhow::Result<ExitCode> {
    let Args { source, other, verify, output, password, password_file, cluster } = arguments;
    if *output == InspectFormat::Pem && (other.is_some() || verify.is_some()) {
        bail!(
            "-o pem prints the certificates of one place: leave out --verify and the second PLACE, or choose another form"
        );
    }
    if *output == InspectFormat::Wide && verify.is_some() {
        bail!("-o wide prints certificates, and --verify whether a server is accepted: leave out one of them");
    }
    let passwords = password::from_flags(password.as_deref(), password_file.as_deref())?;
    let mut reader = CertificateReader::new(cluster, passwords);
    let first = load_certificates(&mut reader, source).await?;
    match (other, verify) {
        (Some(other), _) => compare(&first, &load_certificates(&mut reader, other).await?, *output),
        (None, Some(server)) => verify_server(&first, server, *output).await,
        (None, None) => show(&first, *output),
    }
}

/// Loads the certificates of a source. One without any is an error.
async fn load_certificates(
    reader: &mut CertificateReader<'_>,
    source: &InspectSource,
) -> anyhow::Result<CertificateSet> {
    let collection = reader.load(source).await?;
    if collection.certificates.is_empty() {
        let remarks: Vec<String> = collection.remarks.iter().map(remark_text).collect();
        let why = if remarks.is_empty() { "it holds no certificate".to_owned() } else { remarks.join("; ") };
        bail!("{}: {why}", collection.name);
    }
    Ok(collection)
}

fn remark_text(Remark { place, text, damage: _ }: &Remark) -> String {
    let place = source::place_text(place);
    if place.is_empty() { text.clone() } else { format!("{place}: {text}") }
}

/// Prints remarks to standard error; documents contain them.
fn print_remarks(collection: &CertificateSet, only_damage: bool) {
    for remark in collection.remarks.iter().filter(|remark| remark.damage || !only_damage) {
        print_diagnostic(&format!("rootcast: {}: {}", collection.name, remark_text(remark)));
    }
}

fn show(collection: &CertificateSet, output: InspectFormat) -> anyhow::Result<ExitCode> {
    let now = Timestamp::now();
    if let InspectFormat::Table | InspectFormat::Wide | InspectFormat::Pem = output {
        print_remarks(collection, false);
    }
    print(&match output {
        InspectFormat::Table => paint(collection.table(now, DetailLevel::Brief)),
        InspectFormat::Wide => paint(collection.table(now, DetailLevel::Full)),
        InspectFormat::Pem => collection.to_pem(),
        InspectFormat::Json | InspectFormat::Yaml => document(&collection.document(now, DetailLevel::Full), output)?,
    })?;
    Ok(if collection.is_damaged() { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS })
}

/// Prints the differences. With damage on either side they are uncertain, which is an error.
fn compare(old: &CertificateSet, new: &CertificateSet, output: InspectFormat) -> anyhow::Result<ExitCode> {
    let now = Timestamp::now();
    let difference = CertificateDiff::between(old, new);
    let unread = [old, new].iter().any(|side| side.remarks.iter().any(|remark| remark.damage));
    print_remarks(old, true);
    print_remarks(new, true);
    print(&match output {
        InspectFormat::Table | InspectFormat::Pem => paint(difference.table(now, DetailLevel::Brief)),
        InspectFormat::Wide => paint(difference.table(now, DetailLevel::Full)),
        InspectFormat::Json | InspectFormat::Yaml => document(&difference.document(now, DetailLevel::Full), output)?,
    })?;
    if unread {
        bail!("a part could not be read, so what differs is not known for certain");
    }
    Ok(if difference.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

async fn verify_server(trusted: &CertificateSet, server: &Server, output: InspectFormat) -> anyhow::Result<ExitCode> {
    print_remarks(trusted, true);
    let now = Timestamp::now();
    let presented = tls::fetch_chain(server).await?;
    let (verifying_anchors, errors) = tls::verify_chain(server, &presented.chain, trusted);
    let chain = presented.collection(server);
    print_remarks(&chain, true);
    let name = server.to_string();
    let verification =
        Verification { server: &name, host: server.host(), trusted, chain: &chain, verifying_anchors, errors, now };
    let verdict = verification.verify();
    print(&match output {
        InspectFormat::Table | InspectFormat::Wide | InspectFormat::Pem => paint(verdict.text(trusted)),
        InspectFormat::Json | InspectFormat::Yaml => document(&verdict.document(&chain, now), output)?,
    })?;
    Ok(match verdict.acceptance {
        Acceptance::Accepted => ExitCode::SUCCESS,
        Acceptance::Refused => ExitCode::from(REFUSED),
        Acceptance::Unknown => ExitCode::from(super::BAD_USAGE),
    })
}

fn document(document: &Value, output: InspectFormat) -> anyhow::Result<String> {
    Ok(match output {
        InspectFormat::Yaml => serde_saphyr::to_string(document)?,
        _ => serde_json::to_string_pretty(document)? + "\n",
    })
}
