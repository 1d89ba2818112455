//! Where the control plane's programs are: in the folder that
//! `KUBEBUILDER_ASSETS` names, else in the user's cache folder, where
//! `e2e/control-plane/build` puts them. Other tools are in a folder beside that,
//! where `e2e/tools/build` puts them.

use std::{
    env,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::access::workspace;

/// A program of Kubernetes' own, or its store.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    /// The store behind the API server.
    Etcd,
    /// The API server.
    ApiServer,
    /// Garbage collection and the end of namespaces.
    ControllerManager,
    /// The command line client, with kustomize built in.
    Kubectl,
    /// Gives pods their node.
    Scheduler,
    /// Runs a node's pods.
    Kubelet,
    /// Leads to the pods behind Services.
    Proxy,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
            Self::Scheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::Proxy => "kube-proxy",
        }
    }

    /// What builds it.
    fn cure(self) -> &'static str {
        match self {
            Self::Etcd | Self::ApiServer | Self::ControllerManager | Self::Kubectl => "make control-plane",
            Self::Scheduler | Self::Kubelet | Self::Proxy => "make node",
        }
    }

    /// The program's file. Fails, naming the cure, when it was never built.
    pub(crate) fn path(self) -> Result<PathBuf> {
        let (folder, name, cure) = (cache_folder()?, self.name(), self.cure());
        self.find()?.with_context(|| {
            format!(
                "{name} is neither in the folder that KUBEBUILDER_ASSETS names nor in {}: run `{cure}` first (once per machine, up to 9 minutes)",
                folder.display()
            )
        })
    }

    /// The program's file, or `None` when it was never built.
    pub(crate) fn find(self) -> Result<Option<PathBuf>> {
        let folders = [env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from), Some(cache_folder()?)];
        Ok(folders.iter().flatten().map(|folder| folder.join(self.name())).find(|file| file.is_file()))
    }
}

/// Helm, which installs the chart. Fails, naming the cure, when it was never built.
pub(crate) fn helm() -> Result<PathBuf> {
    tool("helm", required(include_str!("../tools/helm/go.mod"), "helm.sh/helm/v4"))
}

/// Prometheus' tool, which tests alerts: the one that was built, or else Debian's. Fails as [`helm`] does.
pub(crate) fn promtool() -> Result<PathBuf> {
    let version = required(include_str!("../tools/promtool/go.mod"), "github.com/prometheus/prometheus");
    tool("promtool", version).or_else(|error| tool("promtool", "debian").map_err(|_| error))
}

fn tool(name: &str, version: &str) -> Result<PathBuf> {
    let file = cache()?.join("tools").join(format!("{name}-{version}-{}", platform()));
    ensure!(file.is_file(), "there is no {}: run `make tools` first (once per machine)", file.display());
    Ok(file)
}

/// The folder with Debian's programs for a node, fetched where they are missing.
pub(crate) fn debian() -> Result<PathBuf> {
    let script = workspace().join("e2e/node/build");
    let output = Command::new(&script)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("running {}", script.display()))?;
    ensure!(output.status.success(), "{} failed", script.display());
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim_end()))
}

/// The folder that `e2e/control-plane/build` fills, by the versions that it
/// builds: both read them from the same go.mod files.
fn cache_folder() -> Result<PathBuf> {
    let kubernetes = required(include_str!("../control-plane/kubernetes/go.mod"), "k8s.io/kubernetes");
    let etcd = required(include_str!("../control-plane/etcd/go.mod"), "go.etcd.io/etcd/server/v3");
    Ok(cache()?.join("control-plane").join(format!("{kubernetes}-{etcd}-{}", platform())))
}

/// The project's folder in the user's cache.
pub(crate) fn cache() -> Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME")
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(cache.join("rootcast"))
}

/// The platform in Go's words, `linux-amd64` for one.
fn platform() -> String {
    let architecture = match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let os = match env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    format!("{os}-{architecture}")
}

/// The version, without its `v`, at which a go.mod file requires a module.
fn required<'a>(go_mod: &'a str, module: &str) -> &'a str {
    go_mod
        .lines()
        .find_map(|line| line.trim().strip_prefix(module)?.trim_start().strip_prefix('v'))
        .and_then(|rest| rest.split_whitespace().next())
        .expect("go.mod requires the module that it builds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_the_line_that_requires_the_module() {
        let go_mod = "module x\n\ntool a/b\n\nrequire (\n\ta/b/c v0.1.0 // indirect\n\ta/b v1.36.3 // indirect\n)\n";
        assert_eq!(required(go_mod, "a/b"), "1.36.3");
    }
}
