//! `rootcast inspect`: certificates of a source, differences of two, and verification of a server.

mod password;
mod server;
mod source;
mod tls;

use std::path::PathBuf;

use anyhow::bail;
use clap::ValueEnum;
use jiff::Timestamp;

use crate::inspect::{Acceptance, CertificateDiff, CertificateSet, DetailLevel, Remark, Verification};

use super::args::ClusterArgs;
use super::outcome::CommandOutcome;
use super::output::{OutputFormat, TableFormat};
use super::{paint, print, print_diagnostic};
use server::Server;
use source::{CertificateReader, InspectSource};

/// The meaning of the exit codes, for the help.
pub(super) const EXIT_CODES: &str = "Exit code 0: all is well, nothing differs, the server would be accepted; 1: something in it cannot be used, something \
differs, the server would be refused; 2: bad usage, nothing could be read, or the answer is not known.";

/// The number of remarks that are printed for people.
const REMARKS_SHOWN: usize = 100;

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
    /// and no others, would accept it, and why not.
    #[arg(long, value_name = "HOST[:PORT]")]
    verify: Option<Server>,
    /// Output format.
    #[arg(long, short, value_parser = OutputFormat::<CertificateText>::parser(), default_value = "table", value_name = "FORMAT")]
    output: OutputFormat<CertificateText>,
    /// Password of keystores. Other users of this machine may see it: better use --password-file.
    #[arg(long, value_name = "PASSWORD", conflicts_with = "password_file", help_heading = "Keystores")]
    password: Option<String>,
    /// File whose first line is the password of keystores.
    #[arg(long, value_name = "FILE", help_heading = "Keystores")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// How certificates are printed as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CertificateText {
    /// A table.
    Table,
    /// A table with serial number, signature, usages, alternative names and key identifiers.
    Wide,
    /// Each usable certificate once, as a Bundle has it.
    Pem,
}

/// What is printed of the certificates, in a format that it has.
enum InspectTask<'a> {
    /// The certificates.
    Show(OutputFormat<CertificateText>),
    /// The differences to those of another source.
    Compare(&'a InspectSource, OutputFormat<DetailLevel>),
    /// Whether a server would be accepted.
    Verify(&'a Server, OutputFormat<TableFormat>),
}

/// Runs `rootcast inspect`.
pub(super) async fn run(arguments: &Args) -> anyhow::Result<CommandOutcome> {
    let Args { source, other: _, verify: _, output: _, password, password_file, cluster } = arguments;
    let task = arguments.task()?;
    let passwords = password::from_flags(password.as_deref(), password_file.as_deref())?;
    let mut reader = CertificateReader::new(cluster, passwords);
    let first = load_certificates(&mut reader, source).await?;
    match task {
        InspectTask::Show(output) => show(&first, output),
        InspectTask::Compare(other, output) => compare(&first, &load_certificates(&mut reader, other).await?, output),
        InspectTask::Verify(server, output) => verify_server(&first, server, output).await,
    }
}

impl Args {
    fn task(&self) -> anyhow::Result<InspectTask<'_>> {
        const ONE_PLACE: &str = "-o pem prints the certificates of one place: leave out --verify and the second PLACE, or choose another form";
        Ok(match (&self.other, &self.verify) {
            (None, None) => InspectTask::Show(self.output),
            (Some(other), _) => {
                let output = self.output.try_map_text(|text| match text {
                    CertificateText::Table => Ok(DetailLevel::Brief),
                    CertificateText::Wide => Ok(DetailLevel::Full),
                    CertificateText::Pem => bail!(ONE_PLACE),
                });
                InspectTask::Compare(other, output?)
            }
            (None, Some(server)) => {
                let output = self.output.try_map_text(|text| match text {
                    CertificateText::Table => Ok(TableFormat::Table),
                    CertificateText::Wide => bail!(
                        "-o wide prints certificates, and --verify whether a server is accepted: leave out one of them"
                    ),
                    CertificateText::Pem => bail!(ONE_PLACE),
                });
                InspectTask::Verify(server, output?)
            }
        })
    }
}

/// Loads the certificates of a source. One without any is an error.
async fn load_certificates(
    reader: &mut CertificateReader<'_>,
    source: &InspectSource,
) -> anyhow::Result<CertificateSet> {
    let collection = reader.load(source).await?;
    if collection.certificates.is_empty() {
        let remarks = remark_texts(&collection.remarks);
        let why = if remarks.is_empty() { "it holds no certificate".to_owned() } else { remarks.join("; ") };
        bail!("{}: {why}", collection.name);
    }
    Ok(collection)
}

/// Formats the first remarks, and the number of the rest.
fn remark_texts<'a>(remarks: impl IntoIterator<Item = &'a Remark>) -> Vec<String> {
    let mut remarks = remarks.into_iter();
    let mut texts: Vec<_> = remarks.by_ref().take(REMARKS_SHOWN).map(remark_text).collect();
    let rest = remarks.count();
    texts.extend((rest > 0).then(|| format!("and {rest} more remarks, which -o json has")));
    texts
}

fn remark_text(Remark { place, text, damage: _ }: &Remark) -> String {
    let place = source::place_text(place);
    if place.is_empty() { text.clone() } else { format!("{place}: {text}") }
}

/// Prints remarks to standard error; documents contain them.
fn print_remarks(collection: &CertificateSet, only_damage: bool) {
    for text in remark_texts(collection.remarks.iter().filter(|remark| remark.damage || !only_damage)) {
        print_diagnostic(&format!("rootcast: {}: {text}", collection.name));
    }
}

fn show(collection: &CertificateSet, output: OutputFormat<CertificateText>) -> anyhow::Result<CommandOutcome> {
    let now = Timestamp::now();
    let text = |text| {
        print_remarks(collection, false);
        match text {
            CertificateText::Table => paint(collection.table(now, DetailLevel::Brief)),
            CertificateText::Wide => paint(collection.table(now, DetailLevel::Full)),
            CertificateText::Pem => collection.to_pem(),
        }
    };
    print(&output.format(text, || collection.document(now, DetailLevel::Full))?)?;
    Ok(if collection.is_damaged() { CommandOutcome::Damaged } else { CommandOutcome::Success })
}

/// Prints the differences. With damage on either side they are uncertain, which is an error.
fn compare(
    old: &CertificateSet,
    new: &CertificateSet,
    output: OutputFormat<DetailLevel>,
) -> anyhow::Result<CommandOutcome> {
    let now = Timestamp::now();
    let difference = CertificateDiff::between(old, new);
    let unread = [old, new].iter().any(|side| side.remarks.iter().any(|remark| remark.damage));
    print_remarks(old, true);
    print_remarks(new, true);
    let text = |detail| paint(difference.table(now, detail));
    print(&output.format(text, || difference.document(now, DetailLevel::Full))?)?;
    if unread {
        bail!("a part could not be read, so what differs is not known for certain");
    }
    Ok(if difference.is_empty() { CommandOutcome::Success } else { CommandOutcome::Different })
}

async fn verify_server(
    trusted: &CertificateSet,
    server: &Server,
    output: OutputFormat<TableFormat>,
) -> anyhow::Result<CommandOutcome> {
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
    let text = |TableFormat::Table| paint(verdict.text(trusted));
    print(&output.format(text, || verdict.document(&chain, now))?)?;
    Ok(match verdict.acceptance {
        Acceptance::Accepted => CommandOutcome::Success,
        Acceptance::Refused => CommandOutcome::ServerRefused,
        Acceptance::Unknown => CommandOutcome::Inconclusive,
    })
}
