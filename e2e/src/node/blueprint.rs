//! What runs on the node: programs in the order of their start, with flags, files and
//! identities that stay the same over restarts.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    BUSYBOX,
    machine::{ADDRESS, API_SERVER, KUBERNETES, NAME, SERVICES},
    settings,
};
use crate::{
    access::Access,
    audit,
    cgroup::Cgroup,
    image::{Config, Entry, Image, Layer},
    pki::Pki,
    processes::flag,
    programs,
    scratch::Scratch,
};

/// Where etcd listens, on the node.
const ETCD: &str = "http://127.0.0.1:2379";

/// How to start the node's programs.
pub(super) struct Blueprint {
    /// Variables of all of them.
    pub(super) environment: Vec<(&'static str, String)>,
    /// Those that the others ask.
    pub(super) first: Vec<Program>,
    /// The others.
    pub(super) then: Vec<Program>,
    /// The archive of the image [`BUSYBOX`].
    pub(super) busybox: PathBuf,
}

/// One program.
pub(super) struct Program {
    /// Its name, and that of its log.
    pub(super) name: &'static str,
    pub(super) file: PathBuf,
    pub(super) args: Vec<String>,
}

impl Blueprint {
    pub(super) fn new(scratch: &Scratch, pki: &Pki, access: &Access, cgroup: &Cgroup, debian: &Path) -> Result<Self> {
        let drawer = Drawer { scratch, pki, access };
        Ok(Self {
            environment: environment(debian)?,
            first: vec![drawer.etcd()?, drawer.api_server()?, drawer.containerd(debian)?],
            then: vec![drawer.controller_manager()?, drawer.scheduler()?, drawer.kubelet(cgroup)?, drawer.proxy()?],
            busybox: busybox(debian, &scratch.data())?,
        })
    }
}

struct Drawer<'a> {
    scratch: &'a Scratch,
    pki: &'a Pki,
    access: &'a Access,
}

impl Drawer<'_> {
    fn etcd(&self) -> Result<Program> {
        let args = [
            flag("--data-dir", &self.scratch.data().join("etcd")),
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
            format!("--listen-client-urls={ETCD}"),
            format!("--advertise-client-urls={ETCD}"),
        ];
        Ok(Program { name: "etcd", file: programs::Program::Etcd.path()?, args: args.to_vec() })
    }

    fn api_server(&self) -> Result<Program> {
        let policy = self.file("audit-policy.yaml", audit::POLICY)?;
        let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"];
        let addresses = [ADDRESS, KUBERNETES].map(|address| address.to_string());
        let hosts: Vec<_> = names.into_iter().chain(addresses.iter().map(String::as_str)).collect();
        let server = self.pki.server("kube-apiserver", &hosts)?;
        let to_kubelet = self.pki.client("kube-apiserver", "system:masters")?;
        let tokens = self.pki.token_keys()?;
        let authority = &self.access.authority_file;
        let args = [
            format!("--etcd-servers={ETCD}"),
            format!("--advertise-address={ADDRESS}"),
            format!("--secure-port={}", API_SERVER.port()),
            flag("--tls-cert-file", &server.certificate),
            flag("--tls-private-key-file", &server.key),
            flag("--client-ca-file", authority),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            flag("--service-account-key-file", &tokens.certificate),
            flag("--service-account-signing-key-file", &tokens.key),
            format!("--service-cluster-ip-range={SERVICES}"),
            flag("--kubelet-client-certificate", &to_kubelet.certificate),
            flag("--kubelet-client-key", &to_kubelet.key),
            flag("--kubelet-certificate-authority", authority),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            flag("--audit-policy-file", &policy),
            flag("--audit-log-path", &audit::file(self.scratch)),
        ];
        Ok(Program { name: "kube-apiserver", file: programs::Program::ApiServer.path()?, args: args.to_vec() })
    }

    fn containerd(&self, debian: &Path) -> Result<Program> {
        let network = self.scratch.keys().join("network");
        fs::create_dir(&network)?;
        self.settings("network/pods.conflist", &settings::network())?;
        let config = settings::containerd(&self.scratch.data(), &network, debian);
        let args = vec![flag("--config", &self.file("containerd.toml", &config)?)];
        Ok(Program { name: "containerd", file: debian.join("usr/bin/containerd"), args })
    }

    fn controller_manager(&self) -> Result<Program> {
        let name = "kube-controller-manager";
        let args = [
            self.kubeconfig("system:kube-controller-manager", name)?,
            flag("--root-ca-file", &self.access.authority_file),
            "--use-service-account-credentials".to_owned(),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ];
        Ok(Program { name, file: programs::Program::ControllerManager.path()?, args: args.to_vec() })
    }

    fn scheduler(&self) -> Result<Program> {
        let name = "kube-scheduler";
        let args = [
            self.kubeconfig("system:kube-scheduler", name)?,
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ];
        Ok(Program { name, file: programs::Program::Scheduler.path()?, args: args.to_vec() })
    }

    fn kubelet(&self, cgroup: &Cgroup) -> Result<Program> {
        let address = ADDRESS.to_string();
        let serving = self.pki.server("kubelet", &[NAME, &address])?;
        let settings = settings::kubelet(&self.access.authority_file, &serving, &cgroup.path());
        let args = [
            flag("--config", &self.settings("kubelet.yaml", &settings)?),
            self.kubeconfig(&format!("system:node:{NAME}"), "system:nodes")?,
            format!("--hostname-override={NAME}"),
            format!("--node-ip={ADDRESS}"),
        ];
        Ok(Program { name: "kubelet", file: programs::Program::Kubelet.path()?, args: args.to_vec() })
    }

    fn proxy(&self) -> Result<Program> {
        let identity = self.pki.client("system:kube-proxy", "kube-proxy")?;
        let settings = settings::proxy(&self.access.kubeconfig_of(identity)?);
        let args = vec![flag("--config", &self.settings("kube-proxy.yaml", &settings)?)];
        Ok(Program { name: "kube-proxy", file: programs::Program::Proxy.path()?, args })
    }

    /// The flag that gives a program its identity.
    fn kubeconfig(&self, user: &str, group: &str) -> Result<String> {
        Ok(flag("--kubeconfig", &self.access.kubeconfig_of(self.pki.client(user, group)?)?))
    }

    fn settings(&self, name: &str, settings: &Value) -> Result<PathBuf> {
        self.file(name, &settings.to_string())
    }

    fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let file = self.scratch.keys().join(name);
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        Ok(file)
    }
}

/// Where programs find others and their libraries: among what was fetched, then on this system.
fn environment(debian: &Path) -> Result<Vec<(&'static str, String)>> {
    let path = env::var("PATH").context("reading PATH")?;
    let fetched = ["usr/bin", "usr/sbin"].map(|folder| debian.join(folder).display().to_string());
    let libraries: Vec<_> = ["usr/lib", "lib"]
        .iter()
        .filter_map(|folder| fs::read_dir(debian.join(folder)).ok())
        .flat_map(|folder| folder.filter_map(Result::ok))
        .map(|entry| entry.path().display().to_string())
        .filter(|folder| folder.contains("-linux-gnu"))
        .collect();
    Ok(vec![
        ("PATH", format!("{}:{path}:/usr/sbin:/sbin", fetched.join(":"))),
        ("LD_LIBRARY_PATH", libraries.join(":")),
    ])
}

/// Makes the image [`BUSYBOX`].
fn busybox(debian: &Path, folder: &Path) -> Result<PathBuf> {
    let candidates = ["bin/busybox", "usr/bin/busybox"].map(|file| debian.join(file));
    let file = candidates.iter().find(|file| file.is_file());
    let file = file.with_context(|| format!("there is no busybox in {}", debian.display()))?;
    let listed = Command::new(file).arg("--list").output().context("asking busybox for its programs")?.stdout;
    let names = String::from_utf8(listed)?;
    let links: Vec<_> = names.lines().filter(|name| *name != "busybox").map(|name| format!("bin/{name}")).collect();
    let program = fs::read(file)?;
    let fixed = [("tmp", Entry::Folder(0o1777)), ("bin/busybox", Entry::File(0o755, &program))];
    let layer = Layer::new(fixed.into_iter().chain(links.iter().map(|link| (link.as_str(), Entry::Link("busybox")))))?;
    let config = Config {
        env: vec!["PATH=/bin".to_owned()],
        cmd: vec!["sleep".to_owned(), "infinity".to_owned()],
        ..Config::default()
    };
    let archive = folder.join("busybox.tar");
    Image { config, layers: vec![layer] }.write(BUSYBOX, &archive)?;
    Ok(archive)
}
