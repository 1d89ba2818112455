//! One control plane: etcd behind a socket, the API server on a free port, the
//! controller manager with the four controllers that tests and the demo need.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Mutex, PoisonError, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Error, Result, bail, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use tokio::sync::OnceCell;

use crate::{
    access::{self, Access, Caller},
    audit::{self, Audit},
    controller::IDENTITY,
    pki::Pki,
    programs::Program,
    scratch::Scratch,
    supervised::{Signal, Supervised},
};

/// How long a program may take to be ready on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// How often a start is tried when another process takes the free port that was
/// found, before the program can.
const PORT_TRIES: usize = 5;

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
    _etcd: Supervised,
    pub(crate) access: Access,
    admin_kubeconfig: PathBuf,
    controller_manager_command: Command,
    pub(crate) scratch: Scratch,
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
        let mut etcd = Supervised::start(&etcd(options, &scratch)?, &scratch.logs().join("etcd.log"))?;
        let (api_server, access) = start_api_server(options, &scratch, &pki, &mut etcd).await?;
        let admin_kubeconfig = access.kubeconfig(Caller::Admin)?;
        let controller_manager_command = controller_manager(&access, &pki)?;
        let controller_manager = start_controller_manager(&controller_manager_command, &scratch)?;
        Ok(Self {
            controller_manager: Mutex::new(controller_manager),
            api_server: Mutex::new(api_server),
            _etcd: etcd,
            access,
            admin_kubeconfig,
            controller_manager_command,
            scratch,
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
        Audit::new(self)
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

    /// Ends the control plane.
    ///
    /// # Errors
    /// When the controller's identity was ever denied anything.
    pub async fn finish(self) -> Result<()> {
        let denied = self.audit().denied(IDENTITY, audit::Mark::default()).await?;
        ensure!(denied.is_empty(), "the controller was denied: {denied:#?}");
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

fn lock(program: &Mutex<Supervised>) -> std::sync::MutexGuard<'_, Supervised> {
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

fn socket(scratch: &Scratch, name: &str) -> String {
    format!("unix://{}", scratch.data().join(format!("{name}.sock")).display())
}

async fn start_api_server(
    options: &Options,
    scratch: &Scratch,
    pki: &Pki,
    etcd: &mut Supervised,
) -> Result<(Supervised, Access)> {
    let log = scratch.logs().join("kube-apiserver.log");
    let policy = scratch.keys().join("audit-policy.yaml");
    fs::write(&policy, audit::POLICY).context("writing the audit policy")?;
    let server = pki.server("kube-apiserver")?;
    let tokens = pki.token_keys()?;
    for _ in 0..PORT_TRIES {
        let access = Access {
            port: free_port()?,
            authority_file: pki.authority_file(),
            authority_der: pki.authority_der(),
            admin: pki.client("admin", "system:masters")?,
            folder: scratch.keys(),
            written: AtomicUsize::new(0),
        };
        let mut command = Command::new(Program::ApiServer.path()?);
        command
            .current_dir(scratch.data())
            .arg(format!("--etcd-servers={}", socket(scratch, "client")))
            .arg("--bind-address=127.0.0.1")
            .arg("--advertise-address=127.0.0.1")
            .arg(format!("--secure-port={}", access.port))
            .arg(flag("--tls-cert-file", &server.certificate))
            .arg(flag("--tls-private-key-file", &server.key))
            .arg(flag("--client-ca-file", &access.authority_file))
            .arg("--authorization-mode=RBAC")
            .arg("--enable-admission-plugins=OwnerReferencesPermissionEnforcement")
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(flag("--service-account-key-file", &tokens.certificate))
            .arg(flag("--service-account-signing-key-file", &tokens.key))
            .arg("--service-cluster-ip-range=10.0.0.0/24")
            .arg("--endpoint-reconciler-type=none")
            .arg(flag("--audit-policy-file", &policy))
            .arg(flag("--audit-log-path", &audit::file(scratch)))
            .args(&options.api_server_flags);
        let mut program = Supervised::start(&command, &log)?;
        match ready(&access, &mut program, etcd).await {
            Ok(()) => return Ok((program, access)),
            Err(error) if !lost_port(&mut program)? => return Err(error),
            Err(_) => {}
        }
    }
    bail!("kube-apiserver lost its port {PORT_TRIES} times to other processes")
}

/// Waits until the server answers, its own roles exist and so does the
/// namespace that events of cluster-wide objects go to.
async fn ready(access: &Access, program: &mut Supervised, etcd: &mut Supervised) -> Result<()> {
    let client = access.client(Caller::Admin);
    let namespaces = Api::<Namespace>::all(client.clone());
    let began = Instant::now();
    loop {
        let answer = async {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            client.request_text(request).await?;
            namespaces.get("default").await?;
            Ok::<_, Error>(())
        };
        let trouble = match tokio::time::timeout(Duration::from_secs(5), answer).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(late) => late.into(),
        };
        for (name, program) in [("etcd", &mut *etcd), ("kube-apiserver", &mut *program)] {
            if let Some(exit) = program.exit()? {
                let log = fs::read_to_string(program.log()).unwrap_or_default();
                bail!("{name} ended before it was ready ({exit:?}):\n{log}");
            }
        }
        let log = program.log().display();
        if began.elapsed() > PATIENCE {
            return Err(trouble.context(format!("kube-apiserver is not ready after {PATIENCE:?}; its log is {log}")));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether a program ended because its port was taken.
pub(crate) fn lost_port(program: &mut Supervised) -> Result<bool> {
    let ended = program.exit()?.is_some();
    let log = fs::read_to_string(program.log()).context("reading a program's log")?;
    Ok(ended && log.to_lowercase().contains("address already in use"))
}

/// A port of the loopback address that nobody uses at this moment.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}

fn controller_manager(access: &Access, pki: &Pki) -> Result<Command> {
    let manager = Access {
        port: access.port,
        authority_file: access.authority_file.clone(),
        authority_der: access.authority_der.clone(),
        admin: pki.client("kube-controller-manager", "system:masters")?,
        folder: pki.authority_file().with_file_name("controller-manager"),
        written: AtomicUsize::new(0),
    };
    fs::create_dir(&manager.folder).context("preparing the controller manager's folder")?;
    let mut command = Command::new(Program::ControllerManager.path()?);
    command
        .arg(flag("--kubeconfig", &manager.kubeconfig(Caller::Admin)?))
        .arg(flag("--root-ca-file", &access.authority_file))
        .arg("--controllers=garbage-collector-controller,namespace-controller,serviceaccount-controller,root-ca-certificate-publisher-controller")
        // Its own default, 20 requests a second, would take minutes for a thousand namespaces.
        .args(["--kube-api-qps=1000", "--kube-api-burst=1000"])
        .arg("--leader-elect=false")
        .arg("--secure-port=0");
    Ok(command)
}

fn start_controller_manager(command: &Command, scratch: &Scratch) -> Result<Supervised> {
    Supervised::start(command, &scratch.logs().join("kube-controller-manager.log"))
}

fn flag(name: &str, value: &Path) -> String {
    format!("{name}={}", value.display())
}
