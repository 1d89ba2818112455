//! `make demo`: rootcast at its main job, on a throwaway control plane of this machine.
//!
//! With `--once` it ends after the scenario; without, it stays up until Ctrl-C, so that one can try things. Either way
//! nothing is left behind. Any step that fails ends it with an exit code other than 0 and keeps the logs. It runs the
//! program that `--program` names, or else the release binary, which it has built.

mod certificates;
mod injector;
mod scenario;
mod stage;

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use rootcast_e2e::{
    Balancer, ControlPlane, Controller, ControllerManager, Exit, Injector, Launch, Options, kubectl_binary,
    release_binary,
};
use tokio::signal::unix::{SignalKind, signal};

use stage::{Stage, say, title};

const USAGE: &str = "usage: demo [--once] [--program FILE]";

/// What is asked for.
#[derive(Default)]
struct Arguments {
    once: bool,
    program: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match arguments(env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error:#}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = demo(&arguments).await {
        panic!("the demo broke off: {error:#}");
    }
    ExitCode::SUCCESS
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments> {
    let mut arguments = Arguments::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--once" => arguments.once = true,
            "--program" => arguments.program = Some(words.next().context("--program: a file is missing")?.into()),
            _ => bail!("{word}: there is no such argument"),
        }
    }
    Ok(arguments)
}

async fn demo(Arguments { once, program }: &Arguments) -> Result<()> {
    let began = Instant::now();
    title("A throwaway Kubernetes");
    say("etcd, kube-apiserver and, where it was built, kube-controller-manager start as child processes of this");
    say("program, unless ROOTCAST_E2E_KUBECONFIG names a cluster.");
    let options = Options { controller_manager: ControllerManager::IfBuilt, ..Options::default() };
    let control_plane = ControlPlane::given_with(&options).await?;
    let version = control_plane.client().apiserver_version().await?.git_version;
    let address = control_plane.url();
    say(&format!("Kubernetes {version} answers at {address} after {:.1} s.", began.elapsed().as_secs_f64()));

    title("Install rootcast");
    say("The CRD, the permissions and the webhook are those that `kubectl apply -k config/with-injector` installs.");
    let balancer = Balancer::start()?;
    control_plane.install().await?;
    control_plane.install_injector(&balancer, &[])?;
    let program = match program {
        Some(program) => program.canonicalize().with_context(|| format!("the program {}", program.display()))?,
        None => release_binary().await?.to_owned(),
    };
    let launch = Launch { binary: Some(&program), ..Launch::default() };
    let controller = Controller::start_with(&control_plane, launch).await?;
    let injector = Injector::start_with(&control_plane, &balancer, launch).await?;
    say("Controller and injector, each with the token of its shipped ServiceAccount, are ready.");

    scenario::tell(&Stage::new(&control_plane)).await?;
    if !once {
        stay(&control_plane, &program).await?;
    }
    for exit in [injector.stop().await?, controller.stop().await?] {
        ensure!(exit == Exit::Code(0), "one of the two ended with {exit:?}");
    }
    control_plane.finish().await?;
    say("Everything is stopped and removed; neither was ever denied anything.");
    Ok(())
}

/// Until Ctrl-C.
async fn stay(control_plane: &ControlPlane, program: &Path) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
    let kubectl = kubectl_binary()?;
    let programs = kubectl.parent().context("kubectl is in a folder")?;
    title("Your turn");
    say("Control plane, controller and injector stay up until Ctrl-C. In another terminal, in this folder:");
    println!();
    println!("    export KUBECONFIG={}", control_plane.kubeconfig().display());
    println!("    export PATH=\"$PATH:{}\"   # a kubectl, if you have none", programs.display());
    println!("    kubectl get bundles");
    println!("    {} status payments", program.display());
    println!("    kubectl get configmaps --all-namespaces --selector trust.cert-manager.io/bundle");
    println!("    kubectl create namespace mine && kubectl get configmaps --namespace mine");
    println!("    kubectl edit configmap corporate-ca --namespace cert-manager");
    println!("    kubectl run other --image=busybox --namespace payments");
    println!("    kubectl explain bundle.spec");
    println!();
    if !control_plane.has_controller_manager() {
        say(
            "kube-controller-manager was never built and does not run: targets of deleted Bundles and deleted namespaces",
        );
        say(
            "stay, and new namespaces have no ServiceAccount, which pods need. `make control-plane` builds it, once, for",
        );
        say("the next demo.");
    }
    say(&format!("Logs of controller, injector and API server: {}", control_plane.logs().display()));
    interrupt.recv().await;
    println!();
    Ok(())
}
