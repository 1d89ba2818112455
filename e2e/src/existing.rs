//! A cluster that runs already, kind's for one, in place of a control plane of the harness's own.
//!
//! All that comes from here goes through a [`Proxy`]: it takes down what an audit log would say, and which objects are
//! created. Those are deleted at the end, the newest first, however that end comes.

use std::{
    collections::BTreeSet,
    env, fs,
    fs::File,
    io::Write as _,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ListParams},
    config::{AuthInfo, KubeConfigOptions, Kubeconfig},
};
use rootcast::api::{BUNDLE_LABEL, Bundle};

use crate::{
    access::Access,
    control_plane::PATIENCE,
    eventually::until,
    janitor::Janitor,
    pki::Pki,
    programs::Program,
    proxy::{Proxy, Route},
    scenario,
    scratch::Scratch,
};

/// Names the cluster.
const KUBECONFIG: &str = "ROOTCAST_E2E_KUBECONFIG";

/// The address of this machine that the cluster's API server reaches, for webhooks that are served here.
const ADDRESS: &str = "ROOTCAST_E2E_ADDRESS";

/// `CLEAN_UP FILE KUBECTL KUBECONFIG LABEL`: deletes the objects whose paths are in a file, the newest first, and targets
/// that the garbage collector had no time for.
const CLEAN_UP: &str = r#"
{
    tac "$1" | while read -r path; do "$2" --kubeconfig "$3" delete --raw "$path"; done
    "$2" --kubeconfig "$3" delete configmaps,secrets --all-namespaces --selector "$4"
    rm -f "$1"
} >/dev/null 2>&1 </dev/null
"#;

/// The way to the cluster, and back out of it.
pub(crate) struct Existing {
    proxy: Proxy,
    _janitor: Janitor,
}

/// The file that names the cluster, where there is to be one.
pub(crate) fn kubeconfig() -> Option<PathBuf> {
    env::var_os(KUBECONFIG).filter(|file| !file.is_empty()).map(PathBuf::from)
}

/// Where the API server finds what this machine serves.
pub(crate) fn address() -> Result<Ipv4Addr> {
    match env::var(ADDRESS) {
        Ok(text) => text.parse().with_context(|| format!("{ADDRESS} is {text:?}, which is no IPv4 address")),
        Err(_) => Ok(Ipv4Addr::LOCALHOST),
    }
}

impl Existing {
    /// Waits for those that use the cluster from this machine, and joins it.
    pub(crate) async fn join(kubeconfig: &Path, scratch: &Scratch, pki: &Pki) -> Result<(Self, Access)> {
        let kubeconfig = kubeconfig
            .canonicalize()
            .with_context(|| format!("{KUBECONFIG} is {}, which is to be an absolute path", kubeconfig.display()))?;
        let turn = tokio::task::spawn_blocking(turn).await??;
        let administrator = config(&kubeconfig).await?;
        let client = Client::try_from(administrator.clone()).context("a client for the cluster")?;
        is_free(&client).await.with_context(|| format!("the cluster that {KUBECONFIG} names"))?;
        let mut bearer = administrator.clone();
        bearer.auth_info = AuthInfo::default();
        let access = Access::administrator((Ipv4Addr::LOCALHOST, 0).into(), pki, scratch)?;
        let proxy = Proxy::before(Route { administrator, bearer }, access, pki)?;
        let (mut created, path) = tempfile::Builder::new().prefix("rootcast-created-").tempfile()?.keep()?;
        let mut namespaces = BTreeSet::new();
        proxy.on_creation(move |path| {
            if is_left_to_be_deleted(path, &mut namespaces) {
                writeln!(created, "{path}").expect("the list of what was created can be written");
            }
        });
        let kubectl = Program::Kubectl.path()?;
        let label = Path::new(BUNDLE_LABEL);
        let janitor = Janitor::hire_holding(turn, CLEAN_UP, [&path, &kubectl, &kubeconfig, label])?;
        let access = proxy.access();
        Ok((Self { proxy, _janitor: janitor }, access))
    }

    /// What all requests go through.
    pub(crate) fn proxy(&self) -> &Proxy {
        &self.proxy
    }
}

/// The turn of this process: one at a time, and after the other has cleaned up, for as long as the file is open.
fn turn() -> Result<File> {
    let file = env::temp_dir().join("rootcast-existing-cluster.lock");
    let lock = fs::OpenOptions::new().create(true).append(true).open(&file);
    let lock = lock.with_context(|| format!("opening {}", file.display()))?;
    lock.lock().with_context(|| format!("locking {}", file.display()))?;
    Ok(lock)
}

async fn config(kubeconfig: &Path) -> Result<Config> {
    let read = Kubeconfig::read_from(kubeconfig).with_context(|| format!("reading {}", kubeconfig.display()))?;
    let mut config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("reading {}", kubeconfig.display()))?;
    config.default_retry = false;
    Ok(config)
}

/// Waits until what was deleted before is gone. Fails where there are Bundles: two controllers would write their targets.
async fn is_free(client: &Client) -> Result<()> {
    let (bundles, namespaces) = (Api::<Bundle>::all(client.clone()), Api::<Namespace>::all(client.clone()));
    let targets = (Api::<ConfigMap>::all(client.clone()), Api::<Secret>::all(client.clone()));
    let labelled = ListParams::default().labels(BUNDLE_LABEL).limit(1);
    until(
        "nobody uses it",
        PATIENCE,
        || Ok(()),
        async || {
            match bundles.list_metadata(&ListParams::default().limit(1)).await {
                // There is no such kind.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                answer => ensure!(
                    answer?.items.is_empty(),
                    "it has Bundles; tests need a cluster without any, and without rootcast and trust-manager"
                ),
            }
            let found = targets.0.list_metadata(&labelled).await?.items.len()
                + targets.1.list_metadata(&labelled).await?.items.len();
            ensure!(found == 0, "it has targets of Bundles, with label {BUNDLE_LABEL}, which would be deleted");
            for namespace in namespaces.list_metadata(&ListParams::default()).await? {
                let name = namespace.metadata.name.unwrap_or_default();
                ensure!(namespace.metadata.deletion_timestamp.is_none(), "namespace {name} is being deleted");
            }
            Ok(())
        },
    )
    .await
}

/// Whether an object that was created is not in a namespace that goes anyway. `namespaces` are those, and kept up to date.
fn is_left_to_be_deleted(path: &str, namespaces: &mut BTreeSet<String>) -> bool {
    let parts: Vec<_> = path.split('/').skip(1).collect();
    match parts[..] {
        ["api", "v1", "namespaces", name] => namespaces.insert(name.to_owned()),
        ["api", _, "namespaces", name, ..] | ["apis", _, _, "namespaces", name, ..] => !namespaces.contains(name),
        _ => true,
    }
}

/// Waits until the garbage collector watches Bundles, for which it looks every 30 seconds: until then, one whose targets
/// are to be orphaned stays.
pub(crate) async fn is_garbage_collected(client: &Client) -> Result<()> {
    const NAME: &str = "rootcast-e2e-orphaning";
    scenario::apply(client, &scenario::bundle(NAME, "{sources: [{useDefaultCAs: true}]}")).await?;
    let bundles = Api::<Bundle>::all(client.clone());
    bundles.delete(NAME, &DeleteParams::orphan()).await?;
    let is_gone = async || {
        ensure!(bundles.get_metadata_opt(NAME).await?.is_none(), "it still has Bundle {NAME}");
        Ok(())
    };
    until("the garbage collector knows Bundles", PATIENCE, || Ok(()), is_gone).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_created_namespace_goes_with_it() {
        let mut namespaces = BTreeSet::new();
        for (path, expected) in [
            ("/api/v1/namespaces/default/pods/a", true),
            ("/api/v1/namespaces/ours", true),
            ("/api/v1/namespaces/ours/pods/a", false),
            ("/apis/apps/v1/namespaces/ours/deployments/a", false),
            ("/apis/trust.cert-manager.io/v1alpha1/bundles/a", true),
        ] {
            assert_eq!(is_left_to_be_deleted(path, &mut namespaces), expected, "{path}");
        }
    }
}
