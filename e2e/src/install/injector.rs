//! Installing the injector: what config/injector ships, with the harness's balancer where a cluster has pods behind a
//! Service.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{Balancer, ControlPlane, access::workspace};

/// What needs nodes, or controllers that do not run.
const LEFT_OUT: [&str; 2] = ["Deployment", "PodDisruptionBudget"];

/// A certificate for a webhook, with its key, both as PEM.
#[derive(Clone, Debug)]
pub struct ServingCertificate {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// The CA that signed it, as `caBundle` has it before it is encoded.
    pub authority: String,
}

impl ControlPlane {
    /// Installs the injector as config/injector ships it, with these components of config/ (their folders' names), and
    /// sends its reviews to the balancer. Its namespace and the CRD must be there: [`ControlPlane::install`].
    ///
    /// # Errors
    /// When the API server refuses a manifest.
    pub fn install_injector(&self, balancer: &Balancer, components: &[&str]) -> Result<()> {
        let folder = self.overlay(&["injector"], components)?;
        let folder = folder.display().to_string();
        let manifests = self.kubectl_ok(&["kustomize", &folder], "")?;
        let objects: Vec<Value> = serde_saphyr::from_multiple(&manifests).context("reading kustomize's output")?;
        let objects: Vec<_> = objects.into_iter().filter_map(|object| balancer.adapt(object)).collect();
        let services = objects.iter().filter(|object| object["kind"] == "Service").count();
        ensure!(services == 1, "config/injector has {services} Services and not one");
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        self.kubectl_ok(&["apply", "--server-side", "-f", "-"], &list.to_string())?;
        Ok(())
    }

    /// A kustomization of these folders of config/.
    fn overlay(&self, resources: &[&str], components: &[&str]) -> Result<PathBuf> {
        let folder = tempfile::Builder::new().prefix("overlay-").tempdir_in(self.scratch.data())?.keep();
        let config = relative(&folder.canonicalize()?, &workspace().join("config").canonicalize()?);
        let paths = |names: &[&str]| names.iter().map(|name| config.join(name)).collect::<Vec<_>>();
        let kustomization = json!({"resources": paths(resources), "components": paths(components)});
        fs::write(folder.join("kustomization.yaml"), kustomization.to_string()).context("writing a kustomization")?;
        Ok(folder)
    }

    /// A certificate of this control plane's CA for a webhook that the API server asks for by this host name.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn serving_certificate(&self, host: &str) -> Result<ServingCertificate> {
        let identity = self.pki.server("webhook", &[host])?;
        Ok(ServingCertificate {
            certificate: fs::read_to_string(identity.certificate)?,
            key: fs::read_to_string(identity.key)?,
            authority: fs::read_to_string(self.pki.authority_file())?,
        })
    }
}

impl Balancer {
    /// A Service by which the API server finds what listens at an address of this machine: it looks the names of external
    /// hosts up by itself, and an address is such a name.
    #[must_use]
    pub fn service(address: Ipv4Addr, namespace: &str, name: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"type": "ExternalName", "externalName": address},
        })
    }

    /// A shipped object as it is to be here: the Service leads to this balancer, and webhooks ask at its port.
    fn adapt(&self, mut object: Value) -> Option<Value> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let kind = text("/kind");
        if LEFT_OUT.contains(&kind) {
            return None;
        }
        if kind == "Service" {
            return Some(Self::service(self.address(), text("/metadata/namespace"), text("/metadata/name")));
        }
        let webhooks = object.get_mut("webhooks").and_then(Value::as_array_mut);
        for webhook in webhooks.into_iter().flatten() {
            webhook["clientConfig"]["service"]["port"] = json!(self.port());
        }
        Some(object)
    }
}

/// The way from one folder to another, both absolute: kustomize takes no other.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let up = from.components().filter(|part| matches!(part, Component::Normal(_))).map(|_| Component::ParentDir);
    let down = to.components().filter(|part| matches!(part, Component::Normal(_)));
    up.chain(down).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_goes_up_to_the_root_and_down_again() {
        assert_eq!(relative(Path::new("/a/b"), Path::new("/c")), Path::new("../../c"));
    }
}
