//! Where the scenarios play: the product as the chart installs it, a server whose CA is private and one whose CA is only
//! in the default package.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rootcast::trust::{Anchor, Anchors};
use rootcast_e2e::{
    Authority, Node, TlsServer, eventually,
    image::{Config, Entry, Image, Layer},
    scenario::{apply, bundle, source},
};
use serde_json::json;
use tokio::sync::OnceCell;

use crate::stage::{helm, installed};

/// The annotation of pods and label of namespaces.
pub(super) const BUNDLE: &str = "inject.rootcast.dev/bundle";

/// The label of Bundles and namespaces of these scenarios.
pub(super) const STORY: (&str, &str) = ("scenario", "clients");

/// How long a Bundle may take to be everywhere.
pub(super) const SOON: Duration = Duration::from_mins(1);

pub(super) struct Stage {
    pub(super) node: &'static Node,
    /// A server whose CA is in the ConfigMap `private-ca` of the trust namespace.
    pub(super) private: TlsServer,
    /// That CA.
    pub(super) private_ca: Authority,
    /// A server whose CA is in the default package and nowhere else.
    pub(super) public: TlsServer,
}

impl Stage {
    /// Gives the product that default package, and starts the servers.
    pub(super) async fn set() -> Result<Self> {
        let node = installed().await?;
        let (private_ca, public_ca) = (Authority::new("Private Root CA")?, Authority::new("Public Root CA")?);
        clients(node).await?;
        let package = json!({"repository": "localhost/package", "tag": package(node, &public_ca)?});
        helm(node, "upgrade", json!({"defaultPackageImage": package}))?;
        let address = node.host_address();
        let (private, public) = (TlsServer::start(address, &private_ca)?, TlsServer::start(address, &public_ca)?);
        let stage = Self { node, private, private_ca, public };
        stage.trust(&[&stage.private_ca]).await?;
        Ok(stage)
    }

    /// Makes these the private CAs.
    pub(super) async fn trust(&self, authorities: &[&Authority]) -> Result<()> {
        let pem: String = authorities.iter().map(|authority| authority.pem()).collect();
        apply(&self.node.client(), &source("ConfigMap", "private-ca", &[], &[("ca.crt", &pem)])).await?;
        Ok(())
    }

    /// A namespace with these labels besides, once pods can be created in it.
    pub(super) async fn namespace(&self, name: &str, labels: &[(&str, &str)]) -> Result<()> {
        let labels: BTreeMap<_, _> = labels.iter().copied().chain([STORY]).collect();
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        apply(&self.node.client(), &namespace).await?;
        eventually("it has an account for pods", SOON, async || {
            self.node.kubectl_ok(&["get", "serviceaccount", "default", "--namespace", name], "")
        })
        .await;
        Ok(())
    }

    /// A Bundle of this spec, once it is synced and the injector has it to offer.
    pub(super) async fn bundle(&self, name: &str, spec: &str) -> Result<()> {
        let mut bundle = bundle(name, spec);
        bundle["metadata"]["labels"] = json!({STORY.0: STORY.1});
        apply(&self.node.client(), &bundle).await?;
        self.node.kubectl_ok(&["wait", "--for=condition=Synced", "--timeout=60s", "bundle", name], "")?;
        let asks = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "asks",
                "namespace": "default",
                "annotations": {BUNDLE: name, "inject.rootcast.dev/required": "true"},
            },
            "spec": {"containers": [{"name": "main", "image": "localhost/clients:1"}]},
        });
        eventually("the injector offers the Bundle", SOON, async || {
            self.node.kubectl_ok(&["create", "--dry-run=server", "-f", "-"], &asks.to_string())
        })
        .await;
        Ok(())
    }

    /// Takes away what the scenario has made.
    pub(super) fn end(self) -> Result<()> {
        let selector = format!("--selector={}={}", STORY.0, STORY.1);
        self.node.kubectl_ok(&["delete", "bundles,namespaces", &selector], "")?;
        Ok(())
    }
}

/// Makes the image of the clients known to the node.
async fn clients(node: &Node) -> Result<()> {
    static IMPORTED: OnceCell<()> = OnceCell::const_new();
    IMPORTED.get_or_try_init(async || node.import(&built()?.join("clients.tar"))).await?;
    Ok(())
}

/// The folder of what `e2e/clients/build` makes.
fn built() -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/build");
    let output = Command::new(&script).output().with_context(|| format!("running {}", script.display()))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim_end().into())
}

/// An image as trust-manager's packages of default CAs are, with Mozilla's and this one. Returns its tag.
fn package(node: &Node, authority: &Authority) -> Result<String> {
    let own = Anchor::from_der(authority.der())?;
    let mozilla = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|der| Anchor::from_der(der.as_ref()));
    let anchors = mozilla.collect::<Result<Vec<_>, _>>()?.into_iter().chain([own.clone()]);
    let anchors = Anchors::collect(anchors).context("a package has CAs")?;
    let tag = own.fingerprint().short();
    let json = json!({"name": "stand-in", "version": tag, "bundle": anchors.to_pem()}).to_string();
    let program = std::fs::read(built()?.join("copyandmaybepause"))?;
    let layer = Layer::new([
        ("/copyandmaybepause", Entry::File(0o755, &program)),
        ("/debian-package", Entry::Folder(0o755)),
        ("/debian-package/cert-manager-package-debian.json", Entry::File(0o644, json.as_bytes())),
    ])?;
    let image = Image { config: Config { user: "65532".to_owned(), ..Config::default() }, layers: vec![layer] };
    let file = tempfile::NamedTempFile::new()?;
    image.write(&format!("localhost/package:{tag}"), file.path())?;
    node.import(file.path())?;
    Ok(tag)
}
