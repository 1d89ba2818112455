//! trust-manager itself, built from a checkout of its public repository, in images for the node.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rootcast_e2e::{
    Node, eventually,
    image::{Config, Entry, Image, Layer},
    scenario::{SOON, TRUST_NAMESPACE, bundle},
};
use serde_json::{Value, json};

/// Its name in the cluster.
pub(crate) const NAME: &str = "trust-manager";

/// Package of default CAs, the recorded cases' own.
const PACKAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/cases/package.json");

pub(crate) struct Peer {
    /// Its chart.
    pub(crate) chart: String,
    authority: String,
}

impl Peer {
    /// Builds it from the checkout that `TRUST_MANAGER` names, and gives the node its images.
    pub(crate) async fn prepare(node: &Node) -> Result<Self> {
        let checkout = env::var_os("TRUST_MANAGER").map(PathBuf::from);
        let checkout = checkout.context("TRUST_MANAGER names no checkout of trust-manager's repository")?;
        let controller = go_build(&checkout, "./cmd/trust-manager")?;
        let copy = go_build(&Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/go"), "./copyandmaybepause")?;
        let package = fs::read(PACKAGE)?;
        let nobody = Config { user: "65532".to_owned(), ..Config::default() };
        let config = Config { entrypoint: vec!["/trust-manager".to_owned()], ..nobody.clone() };
        import(node, "localhost/trust-manager:peer", config, &[("/trust-manager", Entry::File(0o755, &controller))])?;
        let files = [
            ("/copyandmaybepause", Entry::File(0o755, &copy)),
            ("/debian-package/cert-manager-package-debian.json", Entry::File(0o644, &package)),
        ];
        import(node, "localhost/package:peer", nobody, &files)?;
        let authority = certify(node).await?;
        Ok(Self { chart: checkout.join("deploy/charts/trust-manager").display().to_string(), authority })
    }

    /// Does for its webhook what cert-manager would do.
    pub(crate) async fn open_webhook(&self, node: &Node) -> Result<()> {
        let group = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration");
        let all = Api::<DynamicObject>::all_with(node.client(), &ApiResource::from_gvk(&group));
        let patch = json!([{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": self.authority}]);
        let patch = Patch::Json::<()>(serde_json::from_value(patch)?);
        all.patch(NAME, &PatchParams::default(), &patch).await.context("telling API servers whom to trust")?;
        let probe =
            bundle("probe", "{sources: [{useDefaultCAs: true}], target: {configMap: {key: ca.pem}}}").to_string();
        eventually("the webhook is answered", SOON, async || {
            node.kubectl_ok(&["create", "--dry-run=server", "-f", "-"], &probe).map(drop)
        })
        .await;
        Ok(())
    }
}

/// What an administrator has in the values file.
pub(crate) fn values() -> Value {
    json!({
        "image": {"repository": "localhost/trust-manager", "tag": "peer"},
        "defaultPackageImage": {"repository": "localhost/package", "tag": "peer"},
        "secretTargets": {"enabled": true, "authorizedSecretsAll": true},
        "app": {"logLevel": 2, "podLabels": {"team": "platform"}},
        "resources": {"requests": {"cpu": "10m"}},
    })
}

/// A static program.
fn go_build(module: &Path, package: &str) -> Result<Vec<u8>> {
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join("program");
    let mut go = Command::new("go");
    go.args(["build", "-trimpath", "-ldflags", "-s -w", "-o"]).arg(&file).arg(package);
    let status = go.current_dir(module).env("CGO_ENABLED", "0").status().context("running go")?;
    ensure!(status.success(), "go build {package} in {}: {status}", module.display());
    Ok(fs::read(file)?)
}

fn import(node: &Node, name: &str, config: Config, files: &[(&str, Entry<'_>)]) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let archive = scratch.path().join("image.tar");
    Image { config, layers: vec![Layer::new(files.iter().copied())?] }.write(name, &archive)?;
    node.import(&archive)
}

/// The serving certificate of its webhook, and what cert-manager's own kinds are to the API server; returns the CA for
/// `caBundle`.
async fn certify(node: &Node) -> Result<String> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let mut leaf = CertificateParams::new([format!("{NAME}.{TRUST_NAMESPACE}.svc")])?;
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf = leaf.signed_by(&key, &authority)?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": format!("{NAME}-tls"), "namespace": TRUST_NAMESPACE},
        "stringData": {"tls.crt": leaf.pem(), "tls.key": key.serialize_pem()},
    });
    Api::<Secret>::namespaced(node.client(), TRUST_NAMESPACE)
        .create(&kube::api::PostParams::default(), &serde_json::from_value(secret)?)
        .await?;
    for (kind, plural) in [("Issuer", "issuers"), ("Certificate", "certificates")] {
        node.kubectl_ok(&["create", "-f", "-"], &anything(kind, plural).to_string())?;
        node.kubectl_ok(&["wait", "--for=condition=Established", "crd", &format!("{plural}.cert-manager.io")], "")?;
    }
    let bundle = json!(k8s_openapi::ByteString(authority.pem().into_bytes()));
    Ok(bundle.as_str().context("base64 is text")?.to_owned())
}

/// A kind of cert-manager's that takes anything.
fn anything(kind: &str, plural: &str) -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.cert-manager.io")},
        "spec": {
            "group": "cert-manager.io", "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    })
}
