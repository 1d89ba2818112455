//! `make demo`: rootcast at its main job, on a throwaway control plane of this machine.
//!
//! With `--once` it ends after the scenario; without, it stays up until Ctrl-C, so that one can try things. Either way
//! nothing is left behind. Any step that fails ends it with an exit code other than 0 and keeps the logs.

mod certificates;
mod scenario;
mod stage;

use std::{env, process::ExitCode, time::Instant};

use anyhow::{Context as _, Result, ensure};
use rootcast_e2e::{ControlPlane, Controller, Exit};
use tokio::signal::unix::{SignalKind, signal};

use stage::{Stage, say, title};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let once = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--once"] => true,
        _ => {
            eprintln!("usage: demo [--once]");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = demo(once).await {
        panic!("the demo broke off: {error:#}");
    }
    ExitCode::SUCCESS
}

async fn demo(once: bool) -> Result<()> {
    let began = Instant::now();
    title("A throwaway Kubernetes");
    say("etcd, kube-apiserver and kube-controller-manager start as child processes of this program.");
    let control_plane = ControlPlane::start().await?;
    let version = control_plane.client().apiserver_version().await?.git_version;
    let address = control_plane.url();
    say(&format!("Kubernetes {version} answers at {address} after {:.1} s.", began.elapsed().as_secs_f64()));

    title("Install rootcast");
    say("The CRD and the permissions are those that `kubectl apply -k config/default` installs.");
    control_plane.install().await?;
    let controller = Controller::start(&control_plane, &[]).await?;
    say("The controller, the release binary with the shipped ServiceAccount's token, is ready.");

    scenario::tell(&Stage::new(&control_plane)).await?;
    say(&format!("The controller uses {:.1} MiB of memory.", mebibytes(controller.rss()?)));
    if !once {
        stay(&control_plane).await?;
    }
    let exit = controller.stop().await?;
    ensure!(exit == Exit::Code(0), "the controller ended with {exit:?}");
    control_plane.finish().await?;
    say("Everything is stopped and removed; the controller was never denied anything.");
    Ok(())
}

/// Until Ctrl-C.
async fn stay(control_plane: &ControlPlane) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
    title("Your turn");
    say("The control plane and the controller stay up until Ctrl-C. In another terminal, in this folder:");
    println!();
    println!("    export KUBECONFIG={}", control_plane.kubeconfig().display());
    println!("    export PATH=\"$PATH:$(make --silent control-plane)\"   # a kubectl, if you have none");
    println!("    kubectl get bundles");
    println!("    target/static/rootcast status payments");
    println!("    kubectl get configmaps --all-namespaces --selector trust.cert-manager.io/bundle");
    println!("    kubectl create namespace mine && kubectl get configmaps --namespace mine");
    println!("    kubectl edit configmap corporate-ca --namespace cert-manager");
    println!("    kubectl explain bundle.spec");
    println!();
    say(&format!("Logs of the controller and the API server: {}", control_plane.logs().display()));
    interrupt.recv().await;
    println!();
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
