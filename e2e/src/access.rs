//! Ways into a running API server: clients, kubeconfigs, kubectl.

use std::{
    fs,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, Result, ensure};
use kube::{Client, Config, config::AuthInfo};
use serde_json::json;

use crate::{
    pki::{Identity, Pki},
    programs::Program,
    scratch::Scratch,
};

/// What it takes to reach one API server as its administrator.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// Where the API server is.
    pub(crate) server: SocketAddr,
    /// The name that it is asked for by, instead of its address.
    pub(crate) host: Option<&'static str>,
    /// The CA that signed the API server's certificate, as a PEM file.
    pub(crate) authority_file: PathBuf,
    /// The same certificate in DER.
    pub(crate) authority_der: Vec<u8>,
    /// The administrator's client certificate.
    pub(crate) admin: Identity,
    /// Where kubeconfigs are written.
    pub(crate) folder: PathBuf,
    /// How many kubeconfigs there are, for their names.
    pub(crate) written: Arc<AtomicUsize>,
}

/// As whom to come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller<'a> {
    /// A member of `system:masters`.
    Admin,
    /// A user and groups, impersonated by the administrator.
    User(&'a str, &'a [&'a str]),
    /// The owner of a bearer token.
    Token(&'a str),
    /// Whoever the requests themselves say.
    Bearer,
}

impl Access {
    /// The administrator's way to an API server with a certificate of this authority.
    pub(crate) fn administrator(server: SocketAddr, pki: &Pki, scratch: &Scratch) -> Result<Self> {
        Ok(Self {
            server,
            host: None,
            authority_file: pki.authority_file(),
            authority_der: pki.authority_der(),
            admin: pki.client("admin", "system:masters")?,
            folder: scratch.keys(),
            written: Arc::default(),
        })
    }

    /// The API server's address.
    pub(crate) fn url(&self) -> String {
        match self.host {
            Some(host) => format!("https://{host}:{}", self.server.port()),
            None => format!("https://{}", self.server),
        }
    }

    /// The same API server behind another port of the loopback address.
    pub(crate) fn at(&self, port: u16) -> Self {
        Self { server: (Ipv4Addr::LOCALHOST, port).into(), ..self.clone() }
    }

    /// A kubeconfig for the owner of a client certificate.
    pub(crate) fn kubeconfig_of(&self, identity: Identity) -> Result<PathBuf> {
        Self { admin: identity, ..self.clone() }.kubeconfig(Caller::Admin)
    }

    /// A new client, at home in the current runtime.
    pub(crate) fn client(&self, caller: Caller<'_>) -> Client {
        Client::try_from(self.config(caller)).expect("the control plane's own certificates are readable")
    }

    /// What a client is made of. It sends each request once, so that a test sees what the server said.
    pub(crate) fn config(&self, caller: Caller<'_>) -> Config {
        let url = self.url().parse().expect("an address is a URL");
        let mut config = Config::new(url);
        config.root_cert = Some(vec![self.authority_der.clone()]);
        config.auth_info = self.auth_info(caller);
        config.default_retry = false;
        config
    }

    /// Writes a kubeconfig with one context and returns its path.
    pub(crate) fn kubeconfig(&self, caller: Caller<'_>) -> Result<PathBuf> {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let file = self.folder.join(format!("kubeconfig-{number}.yaml"));
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "rootcast",
            "clusters": [{"name": "rootcast", "cluster": {
                "server": self.url(),
                "certificate-authority": self.authority_file,
            }}],
            "users": [{"name": "rootcast", "user": self.auth_info(caller)}],
            "contexts": [{"name": "rootcast", "context": {"cluster": "rootcast", "user": "rootcast"}}],
        });
        let text = serde_json::to_vec_pretty(&kubeconfig).context("writing a kubeconfig")?;
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        Ok(file)
    }

    fn auth_info(&self, caller: Caller<'_>) -> AuthInfo {
        let text = |file: &Path| Some(file.display().to_string());
        let admin = AuthInfo {
            client_certificate: text(&self.admin.certificate),
            client_key: text(&self.admin.key),
            ..AuthInfo::default()
        };
        match caller {
            Caller::Admin => admin,
            Caller::User(user, groups) => AuthInfo {
                impersonate: Some(user.to_owned()),
                impersonate_groups: Some(groups.iter().map(ToString::to_string).collect()),
                ..admin
            },
            Caller::Token(token) => AuthInfo { token: Some(token.to_owned().into()), ..AuthInfo::default() },
            Caller::Bearer => AuthInfo::default(),
        }
    }
}

/// Runs kubectl in the workspace's folder and waits for its end; `stdin` is
/// what it reads.
pub(crate) fn kubectl(kubeconfig: &Path, args: &[&str], stdin: &[u8]) -> Result<Output> {
    let folder = kubeconfig.parent().context("a kubeconfig is in a folder")?;
    let mut child = Command::new(Program::Kubectl.path()?)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .arg("--cache-dir")
        .arg(folder.join("kubectl-cache"))
        .args(args)
        .current_dir(workspace())
        .env_remove("KUBECONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting kubectl")?;
    let mut pipe = child.stdin.take().expect("kubectl's input is piped");
    std::thread::scope(|scope| {
        // kubectl may end without reading all: its answer says why.
        scope.spawn(move || pipe.write_all(stdin));
        child.wait_with_output()
    })
    .context("waiting for kubectl")
}

/// [`kubectl`], where anything but success is an error that quotes it.
pub(crate) fn kubectl_ok(kubeconfig: &Path, args: &[&str], stdin: &[u8]) -> Result<String> {
    let output = kubectl(kubeconfig, args, stdin)?;
    ensure!(
        output.status.success(),
        "kubectl {}: {}{}",
        args.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What kubectl prints that needs no cluster, such as `kustomize`, run in the workspace's folder.
///
/// # Errors
/// When kubectl fails; the error quotes it.
pub fn kubectl_without_cluster(args: &[&str]) -> Result<String> {
    let home = tempfile::tempdir().context("making a home for kubectl")?;
    kubectl_ok(&home.path().join("kubeconfig"), args, b"")
}

/// Where kubectl is, for those that run it in a way of their own.
///
/// # Errors
/// When it was never built.
pub fn kubectl_binary() -> Result<PathBuf> {
    Program::Kubectl.path()
}

/// The folder of the workspace's Cargo.toml.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate is a member of a workspace")
}
