//! `rootcast inspect`: what is inside, what differs, and who would be accepted.

mod password;
mod place;
mod tls;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde_json::Value;

use crate::inspect::{Answer, Collection, Difference, Remark, Trial};

use super::args::ClusterArguments;
use super::{REFUSED, paint, print, tell};
use place::{Looker, Place, Server};

/// What the exit codes mean.
pub(super) const EXIT_CODES: &str = "Exit code 0: all is well, nothing differs, the server would be accepted; 1: something in it cannot be used, something \
differs, the server would be refused; 2: bad usage, nothing could be read, or the answer is not known.";

/// The flags of `inspect`.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// FILE, - (standard input), configmap/NAMESPACE/NAME[/KEY], secret/NAMESPACE/NAME[/KEY], bundle/NAME (its target in the
    /// first namespace that has one) or `https://HOST[:PORT]` (what the server shows, without a proxy).
    #[arg(value_name = "PLACE")]
    place: Place,
    /// Another place to compare with.
    #[arg(value_name = "PLACE", conflicts_with = "verify")]
    other: Option<Place>,
    /// Connect to this server by TLS, without a proxy, and tell whether programs that trust the certificates of PLACE, and no others, would
    /// accept it, and why not.
    #[arg(long, value_name = "HOST[:PORT]")]
    verify: Option<Server>,
    /// Form of the output; pem: each usable certificate once, as a bundle has it.
    #[arg(long, short, value_enum, default_value = "table", value_name = "FORM")]
    output: Form,
    /// Password of keystores. Other users of this machine may see it: better use --password-file.
    #[arg(long, value_name = "PASSWORD", conflicts_with = "password_file", help_heading = "Keystores")]
    password: Option<String>,
    /// File whose first line is the password of keystores.
    #[arg(long, value_name = "FILE", help_heading = "Keystores")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArguments,
}

/// How certificates are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Table,
    Json,
    Yaml,
    Pem,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(inspect(arguments))
}

async fn inspect(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { place, other, verify, output, password, password_file, cluster } = arguments;
    if *output == Form::Pem && (other.is_some() || verify.is_some()) {
        bail!(
            "-o pem prints the certificates of one place: leave out --verify and the second PLACE, or choose another form"
        );
    }
    let passwords = password::given(password.as_deref(), password_file.as_deref())?;
    let mut looker = Looker::new(cluster, passwords);
    let first = look(&mut looker, place).await?;
    match (other, verify) {
        (Some(other), _) => differ(&first, &look(&mut looker, other).await?, *output),
        (None, Some(server)) => judge(&first, server, *output).await,
        (None, None) => show(&first, *output),
    }
}

/// A place without any certificate is a mistake.
async fn look(looker: &mut Looker<'_>, place: &Place) -> anyhow::Result<Collection> {
    let collection = looker.look(place).await?;
    if collection.certificates.is_empty() {
        let remarks: Vec<String> = collection.remarks.iter().map(words).collect();
        let why = if remarks.is_empty() { "it holds no certificate".to_owned() } else { remarks.join("; ") };
        bail!("{}: {why}", collection.name);
    }
    Ok(collection)
}

fn words(Remark { key, text, damage: _ }: &Remark) -> String {
    key.as_ref().map_or_else(|| text.clone(), |key| format!("key {key:?}: {text}"))
}

/// Remarks go beside the output, but for documents, which hold them.
fn say(collection: &Collection, only_damage: bool) {
    for remark in collection.remarks.iter().filter(|remark| remark.damage || !only_damage) {
        tell(&format!("rootcast: {}: {}", collection.name, words(remark)));
    }
}

fn show(collection: &Collection, output: Form) -> anyhow::Result<ExitCode> {
    let now = Timestamp::now();
    if let Form::Table | Form::Pem = output {
        say(collection, false);
    }
    print(&match output {
        Form::Table => collection.table(now, paint()),
        Form::Pem => collection.pem(),
        Form::Json | Form::Yaml => document(&collection.document(now), output)?,
    })?;
    Ok(if collection.is_damaged() { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS })
}

/// Damage on either side makes it impossible to say what differs.
fn differ(old: &Collection, new: &Collection, output: Form) -> anyhow::Result<ExitCode> {
    let now = Timestamp::now();
    let difference = Difference::between(old, new);
    let unread = [old, new].iter().any(|side| side.remarks.iter().any(|remark| remark.damage));
    say(old, true);
    say(new, true);
    print(&match output {
        Form::Table | Form::Pem => difference.table(now, paint()),
        Form::Json | Form::Yaml => document(&difference.document(now), output)?,
    })?;
    if unread {
        bail!("a part could not be read, so what differs is not known for certain");
    }
    Ok(if difference.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

async fn judge(trusted: &Collection, server: &Server, output: Form) -> anyhow::Result<ExitCode> {
    say(trusted, true);
    let now = Timestamp::now();
    let shown = tls::shown(server).await?;
    let (vouching, troubles) = tls::judge(server, &shown.chain, trusted);
    let chain = shown.collection(server);
    say(&chain, true);
    let name = server.to_string();
    let trial = Trial { server: &name, host: server.host(), trusted, chain: &chain, vouching, troubles, now };
    let verdict = trial.verdict();
    print(&match output {
        Form::Table | Form::Pem => verdict.text(trusted, paint()),
        Form::Json | Form::Yaml => document(&verdict.document(&chain, now), output)?,
    })?;
    Ok(match verdict.answer {
        Answer::Accepted => ExitCode::SUCCESS,
        Answer::Refused => ExitCode::from(REFUSED),
        Answer::Unknown => ExitCode::from(super::BAD_USAGE),
    })
}

fn document(document: &Value, output: Form) -> anyhow::Result<String> {
    Ok(match output {
        Form::Yaml => serde_saphyr::to_string(document)?,
        _ => serde_json::to_string_pretty(document)? + "\n",
    })
}
