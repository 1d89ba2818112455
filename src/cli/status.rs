//! `rootcast status`: how Bundles are, and what a namespace is offered.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use jiff::Timestamp;

use crate::cluster::survey::Within;
use crate::survey::{Neighbourhood, Overview};

use super::survey::{Form, Survey, SurveyArguments, document};
use super::{REFUSED, paint, print};

/// What the exit codes mean.
pub(super) const EXIT_CODES: &str = "Exit code 0: everything is as it should be; 1: a Bundle is not synced, a target is not in sync, or nobody leads; 2: bad \
usage, or it could not be found out.";

/// The flags of `status`.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// One Bundle, in full.
    #[arg(value_name = "BUNDLE")]
    bundle: Option<String>,
    /// What this namespace is offered, by every Bundle and to its pods.
    #[arg(long, short, value_name = "NAMESPACE", conflicts_with = "bundle")]
    namespace: Option<String>,
    /// Form of the output.
    #[arg(long, short, value_enum, default_value = "table", value_name = "FORM")]
    output: Form,
    #[command(flatten)]
    survey: SurveyArguments,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(status(arguments))
}

async fn status(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { bundle, namespace, output, survey } = arguments;
    let now = Timestamp::now();
    let well = match (bundle, namespace) {
        (_, Some(name)) => {
            let Survey { snapshot, namespace, .. } = survey.look_closely(Within::Namespace(name), now).await?;
            let namespace = namespace.expect("it was asked for");
            let seen = Neighbourhood::of(name, &namespace, &snapshot, now);
            print(&match output {
                Form::Table => seen.table(paint()),
                form => document(&seen.document(), *form)?,
            })?;
            seen.is_well()
        }
        (Some(name), None) => {
            let Survey { snapshot, .. } = survey.look_closely(Within::Bundle(name), now).await?;
            let overview = Overview::of(&snapshot, now);
            let Some(state) = overview.states.first() else {
                let known: Vec<_> = snapshot.world.intents.keys().map(String::as_str).collect();
                bail!("there is no Bundle {name}; there are: {}", known.join(", "));
            };
            print(&match output {
                Form::Table => state.detail(overview.leadership, overview.settings_from, now, paint()),
                form => document(&overview.document(), *form)?,
            })?;
            overview.is_well()
        }
        (None, None) => {
            let Survey { snapshot, .. } = survey.look_closely(Within::Cluster, now).await?;
            let overview = Overview::of(&snapshot, now);
            print(&match output {
                Form::Table => overview.table(now, paint()),
                form => document(&overview.document(), *form)?,
            })?;
            overview.is_well()
        }
    };
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}
