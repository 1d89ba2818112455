//! Kubeconfig files, found, merged and read as kubectl does it
//! (<https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/>).

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use http::Uri;
use kube::config::{Cluster, Config, KubeConfigOptions, Kubeconfig, KubeconfigError};

use crate::client::Proxy;

use super::cluster_access::ClusterAccess;
use super::proxy;

/// The paths of kubeconfig files, by what names them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KubeconfigFiles {
    /// The file of `--kubeconfig`.
    Flag(PathBuf),
    /// The files of `KUBECONFIG`, of which some may not exist.
    Variable(Vec<PathBuf>),
    /// The default file, where neither is given.
    Default(PathBuf),
}

/// The merged content of kubeconfig files.
pub(super) struct MergedKubeconfig {
    content: Kubeconfig,
    /// The files that are not empty.
    files: Vec<PathBuf>,
}

impl KubeconfigFiles {
    /// Chooses the files to read. `get` reads an environment variable.
    pub(super) fn find(flag: Option<&Path>, get: impl Fn(&str) -> Option<std::ffi::OsString>) -> Self {
        if let Some(file) = flag {
            return Self::Flag(file.to_owned());
        }
        let listed: Vec<PathBuf> = get("KUBECONFIG").iter().flat_map(std::env::split_paths).collect();
        let listed: Vec<PathBuf> = listed.into_iter().filter(|file| !file.as_os_str().is_empty()).collect();
        if !listed.is_empty() {
            return Self::Variable(listed);
        }
        Self::Default(Path::new(&get("HOME").unwrap_or_default()).join(".kube/config"))
    }

    fn paths(&self) -> &[PathBuf] {
        match self {
            Self::Flag(file) | Self::Default(file) => std::slice::from_ref(file),
            Self::Variable(files) => files,
        }
    }

    /// Reads and merges the files; `None` if all of them are absent or empty.
    pub(super) fn read(&self) -> anyhow::Result<Option<MergedKubeconfig>> {
        let (mut content, mut files) = (Kubeconfig::default(), Vec::new());
        for path in self.paths() {
            let Some(next) = self.read_one(path)? else { continue };
            content = content.merge(next).map_err(|error| anyhow!("kubeconfig {}: {error}", path.display()))?;
            files.push(path.clone());
        }
        Ok((!files.is_empty()).then_some(MergedKubeconfig { content, files }))
    }

    fn read_one(&self, path: &Path) -> anyhow::Result<Option<Kubeconfig>> {
        let mut found = match Kubeconfig::read_from(path) {
            Ok(found) => found,
            Err(KubeconfigError::ReadConfig(error, _))
                if error.kind() == io::ErrorKind::NotFound && !matches!(self, Self::Flag(_)) =>
            {
                return Ok(None);
            }
            Err(KubeconfigError::ReadConfig(error, _)) => {
                return Err(error).with_context(|| format!("read kubeconfig {}", path.display()));
            }
            Err(KubeconfigError::Parse(error)) => bail!("kubeconfig {}: {}", path.display(), error.without_snippet()),
            Err(error) => bail!("kubeconfig {}: {error}", path.display()),
        };
        let other = [("kind", &found.kind, "Config"), ("apiVersion", &found.api_version, "v1")];
        for (field, value, expected) in other {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty() && *value != expected) {
                bail!("{} is no kubeconfig: its {field} is {value:?} instead of {expected:?}", path.display());
            }
        }
        found.current_context = found.current_context.filter(|name| !name.is_empty());
        let empty = found.current_context.is_none()
            && found.contexts.is_empty()
            && found.clusters.is_empty()
            && found.auth_infos.is_empty();
        Ok((!empty).then_some(found))
    }

    /// Describes why the files name no cluster.
    pub(super) fn describe_missing(&self) -> String {
        let what = |path: &PathBuf| {
            let why = if path.exists() { "is empty" } else { "does not exist" };
            format!("{} {why}", path.display())
        };
        let found = self.paths().iter().map(what).collect::<Vec<_>>().join(", ");
        match self {
            Self::Flag(_) => format!("--kubeconfig: {found}"),
            Self::Variable(_) => format!("KUBECONFIG: {found}"),
            Self::Default(_) => found,
        }
    }
}

impl MergedKubeconfig {
    /// Returns the access to the cluster of a context, by default the current one.
    pub(super) async fn access(self, context: Option<&str>) -> anyhow::Result<ClusterAccess> {
        let Self { mut content, files } = self;
        let paths = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
        let list = |names: &mut dyn Iterator<Item = &String>| {
            let names: Vec<_> = names.map(|name| format!("{name:?}")).collect();
            if names.is_empty() { "there is none".to_owned() } else { format!("there are: {}", names.join(", ")) }
        };
        let contexts = || list(&mut content.contexts.iter().map(|named| &named.name));
        let Some(name) = context.or(content.current_context.as_deref()) else {
            bail!(
                "kubeconfig {paths} has no current-context: give --context, or set one with kubectl config use-context; {}",
                contexts()
            );
        };
        let named = content.contexts.iter().find(|named| named.name == name);
        let Some(selected) = named.and_then(|named| named.context.as_ref()) else {
            let who = if context.is_some() { "--context" } else { "current-context" };
            bail!("kubeconfig {paths} has no context {name:?}, which {who} names; {}", contexts());
        };
        let user = selected.user.as_ref().filter(|user| !user.is_empty());
        if let Some(user) = user.filter(|user| content.auth_infos.iter().all(|named| named.name != **user)) {
            let users = list(&mut content.auth_infos.iter().map(|named| &named.name));
            bail!("kubeconfig {paths} has no user {user:?}, which context {name:?} names; {users}");
        }
        let (options, cluster_name) =
            (KubeConfigOptions { context: Some(name.to_owned()), ..KubeConfigOptions::default() }, &selected.cluster);
        let clusters = list(&mut content.clusters.iter().map(|named| &named.name));
        let cluster = content.clusters.iter_mut().find(|named| named.name == *cluster_name);
        let Some(cluster) = cluster.and_then(|named| named.cluster.as_mut()) else {
            bail!("kubeconfig {paths} has no cluster {cluster_name:?}, which context {name:?} names; {clusters}");
        };
        let within = || format!("cluster {cluster_name:?} of kubeconfig {paths}");
        let server = server(cluster).with_context(within)?;
        let proxy = match cluster.proxy_url.as_deref().filter(|url| !url.is_empty()) {
            Some(url) => Some(Proxy::new("proxy-url", url).with_context(within)?),
            None => proxy::from_environment(&server, |name| std::env::var(name).ok())?,
        };
        let within = format!("context {name:?} of kubeconfig {paths}");
        let config = Config::from_custom_kubeconfig(content, &options).await;
        let config = config.map_err(|error| match error {
            KubeconfigError::ParseProxyUrl(error) => anyhow!("HTTPS_PROXY is no URL of a proxy: {error}"),
            error => anyhow!("{within}: {error}"),
        })?;
        if config.root_cert.as_ref().is_some_and(Vec::is_empty) {
            bail!("{within}: the certificate authority of its cluster holds no certificate in PEM");
        }
        let plugin = config.auth_info.exec.as_ref().and_then(|exec| exec.command.as_deref());
        let origin = plugin.map_or(within.clone(), |plugin| format!("{within} and its plugin {plugin:?}"));
        Ok(ClusterAccess { config, proxy, origin })
    }
}

/// Returns the address of a cluster's API server. A missing scheme is added as kubectl does it.
fn server(cluster: &mut Cluster) -> anyhow::Result<Uri> {
    cluster.tls_server_name = cluster.tls_server_name.take().filter(|name| !name.is_empty());
    let Some(text) = cluster.server.as_deref().map(str::trim).filter(|server| !server.is_empty()) else {
        bail!("it has no server");
    };
    let tls = cluster.certificate_authority.is_some()
        || cluster.certificate_authority_data.is_some()
        || cluster.insecure_skip_tls_verify == Some(true);
    let text = match text.contains("://") {
        true => text.to_owned(),
        false if tls => format!("https://{text}"),
        false => format!("http://{text}"),
    };
    let server: Uri = text.parse().with_context(|| format!("its server {text:?}"))?;
    if !["http", "https"].contains(&server.scheme_str().unwrap_or_default()) || server.host().is_none_or(str::is_empty)
    {
        bail!("its server {text:?} is no address: write https://HOST:PORT");
    }
    cluster.server = Some(text);
    Ok(server)
}
