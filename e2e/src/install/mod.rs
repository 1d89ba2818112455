//! Installing the product as an administrator would: the CRD from crds/, the
//! identity and permissions from config/.

mod injector;

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
    runtime::{conditions, wait::await_condition},
};
use serde_json::json;

use crate::{ControlPlane, access::workspace};

pub use injector::ServingCertificate;

const CRD: &str = "bundles.trust.cert-manager.io";

/// Which namespaces' ConfigMaps the controller may write.
#[derive(Clone, Debug, Default)]
pub enum TargetScope {
    /// All of them, through a `ClusterRole`.
    #[default]
    Everywhere,
    /// These, through a Role in each; they are created where missing. The
    /// controller then needs `--target-namespaces` with the same names.
    Only(Vec<String>),
}

/// What to install.
#[derive(Clone, Debug, Default)]
pub struct Install {
    /// Where targets may be.
    pub scope: TargetScope,
    /// Whether Secrets may be targets too.
    pub secret_targets: bool,
}

impl ControlPlane {
    /// Installs the CRD and the permissions for ConfigMap targets everywhere.
    ///
    /// # Errors
    /// As [`ControlPlane::install_with`].
    pub async fn install(&self) -> Result<()> {
        self.install_with(&Install::default()).await
    }

    /// Installs the CRD and the named permissions; returns when Bundles can be
    /// created and will be garbage collected, where a controller manager runs.
    ///
    /// # Errors
    /// When the API server refuses a manifest or does not serve the CRD within
    /// 30 seconds.
    pub async fn install_with(&self, install: &Install) -> Result<()> {
        let Install { scope, secret_targets } = install;
        self.install_crd(&shipped_crds()?).await?;
        match scope {
            TargetScope::Everywhere => {
                self.apply(&["-k", "config/rbac"])?;
                if *secret_targets {
                    self.apply(&["-k", "config/secret-targets"])?;
                }
            }
            TargetScope::Only(namespaces) => {
                self.apply(&["-k", "config/rbac/base"])?;
                for namespace in namespaces {
                    self.namespace(namespace, &[]).await?;
                    self.apply(&["-n", namespace, "-k", "config/target-namespaces/role"])?;
                    if *secret_targets {
                        self.apply(&["-n", namespace, "-k", "config/target-namespaces/secret-role"])?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes a namespace whose sources the controller may read, given `--additional-trust-namespaces` with its name.
    ///
    /// # Errors
    /// When the API server refuses a manifest.
    pub async fn read_sources_in(&self, namespace: &str) -> Result<()> {
        self.namespace(namespace, &[]).await?;
        self.apply(&["-n", namespace, "-k", "config/trust-namespaces/role"])?;
        Ok(())
    }

    /// Lets the controller read cert-manager's requests, for `--evidence=certificaterequests`.
    ///
    /// # Errors
    /// When the API server refuses a manifest.
    pub fn read_certificate_requests(&self) -> Result<()> {
        self.apply(&["-f", "config/evidence/role.yaml"])?;
        Ok(())
    }

    /// Installs a definition of cert-manager's requests, as far as the product reads them.
    ///
    /// # Errors
    /// When the API server does not serve it.
    pub async fn serve_certificate_requests(&self) -> Result<()> {
        const NAME: &str = "certificaterequests.cert-manager.io";
        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": NAME},
            "spec": {
                "group": "cert-manager.io", "scope": "Namespaced",
                "names": {
                    "kind": "CertificateRequest", "listKind": "CertificateRequestList",
                    "plural": "certificaterequests", "singular": "certificaterequest",
                },
                "versions": [{
                    "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": schema},
                }],
            },
        });
        self.kubectl_ok(&["apply", "-f", "-"], &definition.to_string())?;
        let definitions = Api::<CustomResourceDefinition>::all(self.client());
        await_condition(definitions, NAME, conditions::is_crd_established()).await?;
        Ok(())
    }

    /// Installs a CRD for Bundles, the peer's for instance, in place of what
    /// there is; returns when it is served and Bundles are garbage collected.
    ///
    /// # Errors
    /// As [`ControlPlane::install_with`].
    pub async fn install_crd(&self, yaml: &str) -> Result<()> {
        let crds = Api::<CustomResourceDefinition>::all(self.client());
        let is_new = crds.get_opt(CRD).await?.is_none();
        self.kubectl_ok(&["apply", "--server-side", "--force-conflicts", "-f", "-"], yaml)?;
        let established = await_condition(crds, CRD, conditions::is_crd_established());
        tokio::time::timeout(Duration::from_secs(30), established).await.context("the CRD is not established")??;
        if is_new {
            self.make_collectable().await?;
        }
        Ok(())
    }

    /// Creates a namespace, or gives one that exists these labels, in place of
    /// those that it got from here before.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn namespace(&self, name: &str, labels: &[(&str, &str)]) -> Result<Namespace> {
        let labels: serde_json::Map<_, _> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let wanted = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": labels},
        });
        Api::<Namespace>::all(self.client())
            .patch(name, &PatchParams::apply("rootcast-e2e").force(), &Patch::Apply(wanted))
            .await
            .with_context(|| format!("applying namespace {name}"))
    }

    fn apply(&self, what: &[&str]) -> Result<String> {
        self.kubectl_ok(&[&["apply", "--server-side"], what].concat(), "")
    }
}

/// All of crds/ as one stream of documents, in the order of file names.
fn shipped_crds() -> Result<String> {
    let folder = workspace().join("crds");
    let mut files: Vec<_> = fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| {
        file.extension().is_some_and(|extension| extension == "yaml") && !file.ends_with("kustomization.yaml")
    });
    files.sort();
    ensure!(!files.is_empty(), "there is no CRD in {}: run `make crds`", folder.display());
    let documents = files
        .iter()
        .map(|file| fs::read_to_string(file).with_context(|| format!("reading {}", file.display())))
        .collect::<Result<Vec<_>>>()?;
    Ok(documents.join("\n---\n"))
}
