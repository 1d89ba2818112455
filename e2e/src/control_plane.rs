//! One control plane: etcd behind a socket, the API server on a free port, the
//! controller manager with the controllers that tests and the demo need; or a
//! cluster that runs already.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use kube::Client;
use tokio::sync::OnceCell;

use crate::{
    access::{self, Access, Caller},
    api_server::{both_run, ready},
    audit::{self, Audit},
    controller::IDENTITY,
    existing::{self, Existing},
    injector::INJECTOR_IDENTITY,
    pki::Pki,
    processes::{Processes, lock},
    scratch::Scratch,
    supervised::{Signal, Supervised},
};

/// How long a program may take to be ready on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// What may differ between control planes.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// etcd's quota in bytes; etcd's own default of 2 GiB when `None`. Full
    /// means read-only.
    pub etcd_quota_bytes: Option<u64>,
    /// Further flags of kube-apiserver; a flag given twice counts as given last.
    pub api_server_flags: Vec<String>,
    /// Whether it runs without a controller manager.
    pub controller_manager: ControllerManager,
}

/// What becomes of a control plane whose kube-controller-manager was never built.
#[derive(Clone, Copy, Debug, Default)]
pub enum ControllerManager {
    /// It does not start.
    #[default]
    Required,
    /// It runs without one: nothing collects garbage, empties deleted namespaces, or gives new ones a `ServiceAccount`.
    IfBuilt,
}

/// A running control plane. Dropping it ends its programs and removes its files, or what was created in a cluster of
/// others; after a panic in any thread of the process its logs stay.
pub struct ControlPlane {
    host: Host,
    pub(crate) access: Access,
    pub(crate) pki: Pki,
    admin_kubeconfig: PathBuf,
    pub(crate) scratch: Scratch,
}

/// Whose it is.
enum Host {
    /// Ours.
    Own(Box<Processes>),
    /// Somebody's, which ran before and runs on.
    Existing(Box<Existing>),
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
        let (processes, access) = Processes::start(options, &scratch, &pki).await?;
        Self::of(Host::Own(Box::new(processes)), access, pki, scratch)
    }

    /// The cluster that `ROOTCAST_E2E_KUBECONFIG` names, where it is set, or else a control plane that is started: for
    /// what needs no API server of its own, with its own flags. What is created in an existing cluster is deleted at the
    /// end, however that comes.
    ///
    /// # Errors
    /// As [`ControlPlane::start`], or when the cluster cannot be reached or has Bundles.
    pub async fn given() -> Result<Self> {
        Self::given_with(&Options::default()).await
    }

    /// [`ControlPlane::given`], where the control plane that is started has other options.
    ///
    /// # Errors
    /// As [`ControlPlane::given`].
    pub async fn given_with(options: &Options) -> Result<Self> {
        let Some(kubeconfig) = existing::kubeconfig() else { return Self::start_with(options).await };
        let scratch = Scratch::new()?;
        let pki = Pki::new(scratch.keys()).context("making the harness' keys")?;
        let (existing, access) = Existing::join(&kubeconfig, &scratch, &pki).await?;
        Self::of(Host::Existing(Box::new(existing)), access, pki, scratch)
    }

    fn of(host: Host, access: Access, pki: Pki, scratch: Scratch) -> Result<Self> {
        let admin_kubeconfig = access.kubeconfig(Caller::Admin)?;
        Ok(Self { host, access, pki, admin_kubeconfig, scratch })
    }

    /// The one control plane that the tests of a binary may share, started by
    /// the first that asks. It ends with the process.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
        SHARED.get_or_init(async || expect(Self::start().await)).await
    }

    /// [`ControlPlane::given`], shared as [`ControlPlane::shared`] is.
    ///
    /// # Panics
    /// When it cannot be had.
    pub async fn shared_given() -> &'static Self {
        static GIVEN: OnceCell<ControlPlane> = OnceCell::const_new();
        GIVEN.get_or_init(async || expect(Self::given().await)).await
    }

    /// The programs.
    ///
    /// # Panics
    /// When they are others'.
    pub(crate) fn processes(&self) -> &Processes {
        match &self.host {
            Host::Own(processes) => processes,
            Host::Existing(_) => panic!("the programs of an existing cluster are not to be touched"),
        }
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
        match &self.host {
            Host::Own(processes) => Audit::new(&self.scratch, &self.access, &processes.starts),
            Host::Existing(existing) => Audit::of(existing.proxy()),
        }
    }

    /// Where the programs' logs are.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.scratch.logs()
    }

    /// Whether a controller manager runs, as in every existing cluster.
    #[must_use]
    pub fn has_controller_manager(&self) -> bool {
        match &self.host {
            Host::Own(processes) => processes.controller_manager.is_some(),
            Host::Existing(_) => true,
        }
    }

    /// The API server stands still until [`ControlPlane::thaw`]: connections
    /// stay open and nobody answers.
    pub fn freeze(&self) {
        lock(&self.processes().api_server).signal(Signal::Stop);
    }

    /// Ends [`ControlPlane::freeze`].
    pub fn thaw(&self) {
        lock(&self.processes().api_server).signal(Signal::Continue);
    }

    /// Kills the API server (SIGKILL): its port refuses connections from then on.
    ///
    /// # Errors
    /// When the operating system does not tell that it has ended.
    pub async fn kill_api_server(&self) -> Result<()> {
        lock(&self.processes().api_server).signal(Signal::Kill);
        while lock(&self.processes().api_server).exit()?.is_none() {
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
        let processes = self.processes();
        let log = lock(&processes.api_server).log().to_owned();
        let began = Timestamp::now();
        *lock(&processes.api_server) = Supervised::start(&processes.api_server_command, &log)?;
        ready(&self.access, || both_run(&processes.etcd, &processes.api_server)).await?;
        processes.starts.add(began..Timestamp::now());
        Ok(())
    }

    /// etcd stands still until [`ControlPlane::thaw_etcd`]: the API server answers from its caches or not at all.
    pub fn freeze_etcd(&self) {
        lock(&self.processes().etcd).signal(Signal::Stop);
    }

    /// Ends [`ControlPlane::freeze_etcd`].
    pub fn thaw_etcd(&self) {
        lock(&self.processes().etcd).signal(Signal::Continue);
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

    /// Waits until Bundles, whose definition is new, are known to the garbage collector, where one runs.
    pub(crate) async fn make_collectable(&self) -> Result<()> {
        match &self.host {
            Host::Own(processes) => processes.restart_controller_manager(),
            Host::Existing(_) => existing::is_garbage_collected(&self.client()).await,
        }
    }
}

/// The control plane, or the end of the test.
fn expect(started: Result<ControlPlane>) -> ControlPlane {
    started.unwrap_or_else(|error| panic!("starting the shared control plane: {error:#}"))
}

/// A port of the loopback address that nobody uses at this moment.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}
