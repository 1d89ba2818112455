//! One control plane: etcd behind a socket, the API server on a free port, the
//! controller manager with the controllers that tests and the demo need.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use kube::Client;
use tokio::sync::OnceCell;

use crate::{
    access::{self, Access, Caller},
    api_server::{both_run, ready, socket, start_api_server},
    audit::{self, Audit, Starts},
    controller::IDENTITY,
    injector::INJECTOR_IDENTITY,
    pki::Pki,
    programs::Program,
    scratch::Scratch,
    supervised::{Signal, Supervised},
};

/// How long a program may take to be ready on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// What runs in the controller manager: the life of namespaces and owned objects, and where pods come from.
const CONTROLLERS: [&str; 6] = [
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "root-ca-certificate-publisher-controller",
    "deployment-controller",
    "replicaset-controller",
];

/// What may differ between control planes.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// etcd's quota in bytes; etcd's own default of 2 GiB when `None`. Full
    /// means read-only.
    pub etcd_quota_bytes: Option<u64>,
    /// Further flags of kube-apiserver; a flag given twice counts as given last.
    pub api_server_flags: Vec<String>,
}

/// A running control plane. Dropping it ends its programs and removes its
/// files; after a panic in any thread of the process its logs stay.
pub struct ControlPlane {
    // Dropped from top to bottom: nobody talks to a server that is gone.
    controller_manager: Mutex<Supervised>,
    api_server: Mutex<Supervised>,
    pub(crate) etcd: Mutex<Supervised>,
    pub(crate) etcd_command: Command,
    api_server_command: Command,
    pub(crate) access: Access,
    pub(crate) pki: Pki,
    admin_kubeconfig: PathBuf,
    controller_manager_command: Command,
    pub(crate) scratch: Scratch,
    starts: Starts,
}

impl ControlPlane {
    /// Starts a control plane that answers and collects garbage; 3 to 5 seconds
    /// on 2 cores.
    ///
    /// # Errors
    /// When a program was never built or does not get ready in 90 seconds.
    pub async fn start() -> Result<Self> {
        Self::start_with(&Options::default()).await
    }

    /// [`ControlPlane::start`] with other options.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub async fn start_with(options: &Options) -> Result<Self> {
        let scratch = Scratch::new()?;
        let pki = Pki::new(scratch.keys()).context("making the control plane's keys")?;
        let etcd_command = etcd(options, &scratch)?;
        let etcd = Mutex::new(Supervised::start(&etcd_command, &scratch.logs().join("etcd.log"))?);
        let (api_server, api_server_command, access) = start_api_server(options, &scratch, &pki, &etcd).await?;
        let admin_kubeconfig = access.kubeconfig(Caller::Admin)?;
        let controller_manager_command = controller_manager(&access, &pki)?;
        let controller_manager = start_controller_manager(&controller_manager_command, &scratch)?;
        Ok(Self {
            controller_manager: Mutex::new(controller_manager),
            api_server,
            etcd,
            etcd_command,
            api_server_command,
            access,
            pki,
            admin_kubeconfig,
            controller_manager_command,
            scratch,
            starts: Starts::default(),
        })
    }

    /// The one control plane that the tests of a binary may share, started by
    /// the first that asks. It ends with the process.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
        SHARED
            .get_or_init(|| async {
                match Self::start().await {
                    Ok(control_plane) => control_plane,
                    Err(error) => panic!("starting the shared control plane: {error:#}"),
                }
            })
            .await
    }

    /// A client of the administrator's. Clients belong to the runtime that they
    /// were made in, so every test asks for its own.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn client(&self) -> Client {
        self.access.client(Caller::Admin)
    }

    /// A client for a user in some groups (`system:authenticated` is not
    /// implied), as whom RBAC and the audit log see it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn client_as(&self, user: &str, groups: &[&str]) -> Client {
        self.access.client(Caller::User(user, groups))
    }

    /// The API server's address.
    #[must_use]
    pub fn url(&self) -> String {
        self.access.url()
    }

    /// The administrator's kubeconfig file.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.admin_kubeconfig
    }

    /// A new kubeconfig file for a user in some groups.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> Result<PathBuf> {
        self.access.kubeconfig(Caller::User(user, groups))
    }

    /// Runs kubectl as the administrator, in the workspace's folder, with
    /// `stdin` as its input, and waits for its end.
    ///
    /// # Errors
    /// When kubectl cannot be run. Any exit code is a success here.
    pub fn kubectl(&self, args: &[&str], stdin: &str) -> Result<Output> {
        access::kubectl(&self.admin_kubeconfig, args, stdin.as_bytes())
    }

    /// What kubectl prints.
    ///
    /// # Errors
    /// When kubectl fails; the error quotes it.
    pub fn kubectl_ok(&self, args: &[&str], stdin: &str) -> Result<String> {
        access::kubectl_ok(&self.admin_kubeconfig, args, stdin.as_bytes())
    }

    /// The audit log.
    #[must_use]
    pub fn audit(&self) -> Audit<'_> {
        Audit::new(&self.scratch, &self.access, &self.starts)
    }

    /// Where the programs' logs are.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.scratch.logs()
    }

    /// The API server stands still until [`ControlPlane::thaw`]: connections
    /// stay open and nobody answers.
    pub fn freeze(&self) {
        lock(&self.api_server).signal(Signal::Stop);
    }

    /// Ends [`ControlPlane::freeze`].
    pub fn thaw(&self) {
        lock(&self.api_server).signal(Signal::Continue);
    }

    /// Kills the API server (SIGKILL): its port refuses connections from then on.
    ///
    /// # Errors
    /// When the operating system does not tell that it has ended.
    pub async fn kill_api_server(&self) -> Result<()> {
        lock(&self.api_server).signal(Signal::Kill);
        while lock(&self.api_server).exit()?.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Starts the API server again after [`ControlPlane::kill_api_server`], on the same port and data with the same
    /// flags, and waits until it is ready.
    ///
    /// # Errors
    /// When it is not ready in 90 seconds.
    pub async fn restart_api_server(&self) -> Result<()> {
        let log = lock(&self.api_server).log().to_owned();
        let began = Timestamp::now();
        *lock(&self.api_server) = Supervised::start(&self.api_server_command, &log)?;
        ready(&self.access, || both_run(&self.etcd, &self.api_server)).await?;
        self.starts.add(began..Timestamp::now());
        Ok(())
    }

    /// etcd stands still until [`ControlPlane::thaw_etcd`]: the API server answers from its caches or not at all.
    pub fn freeze_etcd(&self) {
        lock(&self.etcd).signal(Signal::Stop);
    }

    /// Ends [`ControlPlane::freeze_etcd`].
    pub fn thaw_etcd(&self) {
        lock(&self.etcd).signal(Signal::Continue);
    }

    /// Ends the control plane.
    ///
    /// # Errors
    /// When the controller's identity or the injector's was ever denied anything.
    pub async fn finish(self) -> Result<()> {
        for identity in [IDENTITY, INJECTOR_IDENTITY] {
            let denied = self.audit().denied(identity, audit::Mark::default()).await?;
            ensure!(denied.is_empty(), "{identity} was denied: {denied:#?}");
        }
        Ok(())
    }

    /// Restarts the controller manager. A garbage collector that is new to a
    /// kind looks for it only every 30 seconds, and at its start.
    pub(crate) fn restart_controller_manager(&self) -> Result<()> {
        let mut running = lock(&self.controller_manager);
        *running = start_controller_manager(&self.controller_manager_command, &self.scratch)?;
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

/// A port of the loopback address that nobody uses at this moment.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}

fn controller_manager(access: &Access, pki: &Pki) -> Result<Command> {
    let kubeconfig = access.kubeconfig_of(pki.client("kube-controller-manager", "system:masters")?)?;
    let mut command = Command::new(Program::ControllerManager.path()?);
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

fn start_controller_manager(command: &Command, scratch: &Scratch) -> Result<Supervised> {
    Supervised::start(command, &scratch.logs().join("kube-controller-manager.log"))
}

/// A flag whose value is a file.
pub(crate) fn flag(name: &str, value: &Path) -> String {
    format!("{name}={}", value.display())
}
