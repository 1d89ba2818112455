//! A whole node on this machine, to run the product as it is installed: its image in
//! pods, with their own identities, from the chart.
//!
//! ```text
//! lock ──▶ scratch, pki ──▶ blueprint: which programs, with which flags and files
//!                              │
//!          cgroup ──▶ machine ─┴▶ etcd, kube-apiserver, containerd ──▶ the others ──▶ Ready
//! ```
//!
//! Takes root on a Debian, and nothing installed there: see `e2e/node/build`. The
//! machine's own settings, network and mounts stay as they are; nothing can be pulled.

mod blueprint;
mod machine;
mod settings;

use std::{
    fs::{self, File},
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node as KubeNode, ServiceAccount};
use kube::{Api, Client};
use tokio::sync::OnceCell;

use self::{
    blueprint::{Blueprint, Program},
    machine::Machine,
};
use crate::{
    access::{self, Access, Caller},
    api_server::ready,
    audit::{Audit, Starts},
    cgroup::Cgroup,
    eventually::until,
    pki::Pki,
    programs,
    scratch::Scratch,
    supervised::Supervised,
};

/// An image that every node has: a static busybox with a link for each of its programs, which sleeps unless told
/// otherwise.
pub const BUSYBOX: &str = "localhost/busybox:1";

/// How long the programs may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// A running node with its control plane. Dropping it, or the end of the process however it comes, ends everything that
/// runs on it and removes its files; after a panic its logs stay. One at a time: a second one waits for the first.
pub struct Node {
    // Dropped from top to bottom.
    running: Mutex<Option<Running>>,
    blueprint: Blueprint,
    access: Access,
    kubeconfig: PathBuf,
    _cgroup: Cgroup,
    scratch: Scratch,
    starts: Starts,
    _lock: File,
}

/// From boot to shutdown.
struct Running {
    machine: Machine,
    programs: Vec<(&'static str, Supervised)>,
}

impl Node {
    /// Starts a node that is ready for pods; about 10 seconds on 2 cores.
    ///
    /// # Errors
    /// When this is not root on a Debian, when a program was never built, or when it is not ready in two minutes.
    pub async fn start() -> Result<Self> {
        ensure!(fs::metadata("/proc/self")?.uid() == 0, "a node takes root: it makes namespaces, mounts and cgroups");
        let lock = tokio::task::spawn_blocking(queue).await??;
        let scratch = Scratch::new()?;
        let pki = Pki::new(scratch.keys()).context("making the node's keys")?;
        let access = Access::administrator(machine::API_SERVER, &pki, &scratch)?;
        let debian = programs::debian()?;
        let cgroup = Cgroup::new()?;
        let blueprint = Blueprint::new(&scratch, &pki, &access, &cgroup, &debian)?;
        let kubeconfig = access.kubeconfig(Caller::Admin)?;
        let running = Mutex::default();
        let node = Self {
            running,
            blueprint,
            access,
            kubeconfig,
            _cgroup: cgroup,
            scratch,
            starts: Starts::default(),
            _lock: lock,
        };
        node.boot().await?;
        Ok(node)
    }

    /// The one node that the tests of a binary share, started by the first that asks. It ends with the process.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Node> = OnceCell::const_new();
        SHARED
            .get_or_init(|| async {
                match Self::start().await {
                    Ok(node) => node,
                    Err(error) => panic!("starting the shared node: {error:#}"),
                }
            })
            .await
    }

    /// As if its power was cut and came back: everything that runs on it is killed and starts again with what is stored.
    /// Returns when it is ready for pods; those that it had start meanwhile.
    ///
    /// # Errors
    /// When it is not ready in two minutes.
    pub async fn restart(&self) -> Result<()> {
        drop(self.running().take());
        self.boot().await
    }

    /// A client of the administrator's, at home in the current runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn client(&self) -> Client {
        self.access.client(Caller::Admin)
    }

    /// The administrator's kubeconfig file.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The audit log, over all restarts.
    #[must_use]
    pub fn audit(&self) -> Audit<'_> {
        Audit::new(&self.scratch, &self.access, &self.starts)
    }

    /// Where the programs' logs are.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.scratch.logs()
    }

    /// The address at which pods reach servers of this process, which listen on it or on all addresses. The other way
    /// round, this process reaches pods and Services at their own addresses.
    #[must_use]
    pub fn host_address(&self) -> IpAddr {
        machine::HOST
    }

    /// Makes the images of an archive known to the node; the archive is an OCI layout or what `docker save` writes.
    ///
    /// # Errors
    /// When containerd does not take it; the error quotes it.
    pub fn import(&self, archive: &Path) -> Result<()> {
        let file = File::open(archive).with_context(|| format!("opening the image {}", archive.display()))?;
        self.ctr(&["images", "import", "-"], file.into())
            .with_context(|| format!("importing the image {}", archive.display()))
    }

    /// Runs a program in a container of a running pod, and waits for its end.
    ///
    /// # Errors
    /// When kubectl cannot be run. Any exit code is a success here.
    pub fn exec(&self, namespace: &str, pod: &str, container: &str, command: &[&str]) -> Result<Output> {
        let exec = ["exec", "--namespace", namespace, pod, "--container", container, "--"];
        self.kubectl(&[&exec, command].concat(), "")
    }

    /// Runs kubectl as the administrator, in the workspace's folder, with `stdin` as its input, and waits for its end.
    ///
    /// # Errors
    /// When kubectl cannot be run. Any exit code is a success here.
    pub fn kubectl(&self, args: &[&str], stdin: &str) -> Result<Output> {
        access::kubectl(&self.kubeconfig, args, stdin.as_bytes())
    }

    /// What kubectl prints.
    ///
    /// # Errors
    /// When kubectl fails; the error quotes it.
    pub fn kubectl_ok(&self, args: &[&str], stdin: &str) -> Result<String> {
        access::kubectl_ok(&self.kubeconfig, args, stdin.as_bytes())
    }

    async fn boot(&self) -> Result<()> {
        let Blueprint { environment: _, first, then, busybox } = &self.blueprint;
        *self.running() =
            Some(Running { machine: Machine::boot(&self.scratch, &self.blueprint.environment)?, programs: Vec::new() });
        self.launch(first)?;
        let alive = || self.alive();
        ready(&self.access, alive).await?;
        until("containerd answers", PATIENCE, alive, async || self.ctr(&["version"], Stdio::null())).await?;
        self.import(busybox)?;
        let began = Timestamp::new(Timestamp::now().as_second(), 0)?;
        self.launch(then)?;
        let client = self.client();
        let (nodes, accounts) =
            (Api::<KubeNode>::all(client.clone()), Api::<ServiceAccount>::default_namespaced(client));
        until("the node is ready for pods", PATIENCE, alive, async || {
            let status = nodes.get(machine::NAME).await?.status.unwrap_or_default();
            let mut conditions = status.conditions.iter().flatten();
            // What is stored may tell of the time before this boot.
            let ready = conditions.any(|one| {
                let fresh = one.last_heartbeat_time.as_ref().is_some_and(|time| time.0 >= began);
                fresh && one.type_ == "Ready" && one.status == "True"
            });
            ensure!(ready, "it is not Ready");
            accounts.get("default").await.context("pods have no account")?;
            Ok(())
        })
        .await
    }

    fn launch(&self, programs: &[Program]) -> Result<()> {
        let mut running = self.running();
        let Running { machine, programs: launched } = running.as_mut().expect("programs are launched while it runs");
        for Program { name, file, args } in programs {
            let log = self.scratch.logs().join(format!("{name}.log"));
            launched.push((name, Supervised::start(machine.command(file).args(args), &log)?));
        }
        Ok(())
    }

    /// Fails when one of its programs has ended.
    fn alive(&self) -> Result<()> {
        let mut running = self.running();
        let programs = running.iter_mut().flat_map(|running| &mut running.programs);
        programs.into_iter().try_for_each(|(name, program)| program.still_runs(name))
    }

    /// containerd's own client.
    fn ctr(&self, args: &[&str], stdin: Stdio) -> Result<()> {
        let mut ctr = match &*self.running() {
            Some(Running { machine, .. }) => machine.command(Path::new("ctr")),
            None => bail!("the node is down"),
        };
        run(ctr.args(["--namespace", "k8s.io"]).args(args).stdin(stdin))
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until this process is the one that may have a node: its network's names and addresses are the machine's.
fn queue() -> Result<File> {
    const LOCK: &str = "/run/rootcast-node.lock";
    let lock = File::options().create(true).append(true).open(LOCK).with_context(|| format!("opening {LOCK}"))?;
    lock.lock().context("waiting for another node's end")?;
    Ok(lock)
}

/// Runs a command to its end, which is to be a success.
fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdout(Stdio::null()).stderr(Stdio::piped()).output().with_context(|| format!("running {name}"))?;
    let trouble = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{:?}: {}", command, trouble.trim_end());
    Ok(())
}
