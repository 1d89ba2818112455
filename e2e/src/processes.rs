//! The programs of a control plane of the harness's own, and how each is started.

use std::{
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError},
};

use anyhow::Result;

use crate::{
    access::Access,
    api_server::{socket, start_api_server},
    audit::Starts,
    control_plane::{ControllerManager, Options},
    pki::Pki,
    programs::Program,
    scratch::Scratch,
    supervised::Supervised,
};

/// What runs in the controller manager: the life of namespaces and owned objects, and where pods come from.
const CONTROLLERS: [&str; 6] = [
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "root-ca-certificate-publisher-controller",
    "deployment-controller",
    "replicaset-controller",
];

/// Running programs. Dropping this ends them.
pub(crate) struct Processes {
    // Dropped from top to bottom: nobody talks to a server that is gone.
    /// `None` where none was required, and none was built.
    pub(crate) controller_manager: Option<Restartable>,
    pub(crate) api_server: Mutex<Supervised>,
    pub(crate) etcd: Mutex<Supervised>,
    pub(crate) etcd_command: Command,
    pub(crate) api_server_command: Command,
    pub(crate) starts: Starts,
}

/// A running program with the command that starts it again.
pub(crate) struct Restartable {
    running: Mutex<Supervised>,
    command: Command,
}

impl Processes {
    /// Starts all of them; returns when the API server is ready, and how it is reached.
    pub(crate) async fn start(options: &Options, scratch: &Scratch, pki: &Pki) -> Result<(Self, Access)> {
        let etcd_command = etcd(options, scratch)?;
        let etcd = Mutex::new(Supervised::start(&etcd_command, &scratch.logs().join("etcd.log"))?);
        let (api_server, api_server_command, access) = start_api_server(options, scratch, pki, &etcd).await?;
        let controller_manager = match options.controller_manager {
            ControllerManager::Required => Some(Program::ControllerManager.path()?),
            ControllerManager::IfBuilt => Program::ControllerManager.find()?,
        };
        let log = scratch.logs().join("kube-controller-manager.log");
        let controller_manager = controller_manager
            .map(|file| Restartable::start(controller_manager_command(&file, &access, pki)?, &log))
            .transpose()?;
        let processes =
            Self { controller_manager, api_server, etcd, etcd_command, api_server_command, starts: Starts::default() };
        Ok((processes, access))
    }

    /// Restarts the controller manager, where one runs. A garbage collector that is new to a kind looks for it only every
    /// 30 seconds, and at its start.
    pub(crate) fn restart_controller_manager(&self) -> Result<()> {
        self.controller_manager.as_ref().map_or(Ok(()), Restartable::restart)
    }
}

impl Restartable {
    fn start(command: Command, log: &Path) -> Result<Self> {
        Ok(Self { running: Mutex::new(Supervised::start(&command, log)?), command })
    }

    fn restart(&self) -> Result<()> {
        let mut running = lock(&self.running);
        let log = running.log().to_owned();
        *running = Supervised::start(&self.command, &log)?;
        Ok(())
    }
}

/// A program, for this moment.
pub(crate) fn lock(program: &Mutex<Supervised>) -> std::sync::MutexGuard<'_, Supervised> {
    program.lock().unwrap_or_else(PoisonError::into_inner)
}

/// etcd listens on sockets in the data folder: no port to lose, nobody else's
/// etcd to talk to.
fn etcd(options: &Options, scratch: &Scratch) -> Result<Command> {
    let data = scratch.data();
    let mut command = Command::new(Program::Etcd.path()?);
    command
        .current_dir(&data)
        .arg("--data-dir=etcd")
        .arg(format!("--listen-client-urls={}", socket(scratch, "client")))
        .arg(format!("--listen-peer-urls={}", socket(scratch, "peer")))
        // Addresses for members that there are not: etcd wants them to have ports.
        .arg("--advertise-client-urls=http://localhost:2379")
        .arg("--initial-advertise-peer-urls=http://localhost:2380")
        .arg("--initial-cluster=default=http://localhost:2380")
        .arg("--unsafe-no-fsync")
        .arg("--log-level=warn");
    if let Some(bytes) = options.etcd_quota_bytes {
        command.arg(format!("--quota-backend-bytes={bytes}"));
    }
    Ok(command)
}

fn controller_manager_command(file: &Path, access: &Access, pki: &Pki) -> Result<Command> {
    let kubeconfig = access.kubeconfig_of(pki.client("kube-controller-manager", "system:masters")?)?;
    let mut command = Command::new(file);
    command
        .arg(flag("--kubeconfig", &kubeconfig))
        .arg(flag("--root-ca-file", &access.authority_file))
        .arg(format!("--controllers={}", CONTROLLERS.join(",")))
        // Its own default, 20 requests a second, would take minutes for a thousand namespaces.
        .args(["--kube-api-qps=1000", "--kube-api-burst=1000"])
        .arg("--leader-elect=false")
        .arg("--secure-port=0");
    Ok(command)
}

/// A flag whose value is a file.
pub(crate) fn flag(name: &str, value: &Path) -> String {
    format!("{name}={}", value.display())
}
