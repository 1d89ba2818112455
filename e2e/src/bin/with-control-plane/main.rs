//! `with-control-plane COMMAND [ARGUMENT...]`: starts a control plane, for the command to find as any existing cluster is
//! found, in `ROOTCAST_E2E_KUBECONFIG`. Ends when the command does, with its exit code.

use std::{
    env,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};
use rootcast_e2e::ControlPlane;

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<_> = env::args_os().skip(1).collect();
    let Some((program, args)) = words.split_first() else {
        eprintln!("usage: with-control-plane COMMAND [ARGUMENT...]");
        return ExitCode::from(2);
    };
    let mut command = Command::new(program);
    command.args(args);
    run(command).await.unwrap_or_else(|error| panic!("{error:#}"))
}

async fn run(mut command: Command) -> Result<ExitCode> {
    let control_plane = ControlPlane::start().await?;
    command.env("ROOTCAST_E2E_KUBECONFIG", control_plane.kubeconfig());
    let status = tokio::task::spawn_blocking(move || command.status().with_context(|| format!("running {command:?}")));
    let code = status.await??.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
