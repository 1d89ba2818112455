//! Two hundred namespaces that are always there, and Bundles that reach them together with a scenario's own.

use anyhow::Result;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rootcast::trust::{Anchors, pem};
use rootcast_e2e::{
    ControlPlane,
    scenario::{Content, bundle, source},
};
use serde_json::Value;

/// How many.
pub(crate) const SIZE: usize = 200;

/// Their names.
pub(crate) fn names() -> Vec<String> {
    (0..SIZE).map(|number| format!("crowd-{number:03}")).collect()
}

/// Gives a scenario a namespace of its own.
pub(crate) async fn join(control_plane: &ControlPlane, scenario: &str, name: &str) -> Result<()> {
    control_plane.namespace(name, &[("crowd", scenario)]).await?;
    Ok(())
}

/// A Bundle that reads `<name>-source` into one key, and reaches the crowd and the namespaces that [`join`] its name.
pub(crate) fn reaching_all(name: &str) -> Value {
    reaching(name, "ca.pem", &format!("[everyone, {name}]"))
}

/// A Bundle that reads `<name>-source` into one key, and reaches the namespaces that [`join`] its name.
pub(crate) fn reaching_few(name: &str) -> Value {
    reaching(name, "ca.pem", &format!("[{name}]"))
}

/// A Bundle that reads `<name>-source` into this key, and reaches these crowds.
pub(crate) fn reaching(name: &str, key: &str, crowds: &str) -> Value {
    bundle(
        name,
        &format!(
            "{{sources: [{{configMap: {{name: {name}-source, key: k}}}}], target: {{configMap: {{key: {key}}},
               namespaceSelector: {{matchExpressions: [{{key: crowd, operator: In, values: {crowds}}}]}}}}}}"
        ),
    )
}

/// The source of such a Bundle.
pub(crate) fn filled(name: &str, text: &str) -> Value {
    source("ConfigMap", &format!("{name}-source"), &[], &[("k", text)])
}

/// What its targets then hold.
pub(crate) fn content(text: &str) -> Content {
    let blocks = pem::read(text.as_bytes()).expect("a certificate");
    let anchors = blocks.into_iter().map(|block| block.certificate.expect("a usable certificate"));
    Content::key("ca.pem", Anchors::collect(anchors).expect("at least one certificate").to_pem())
}

/// A certificate of about so many bytes, so that a rollout takes its time.
pub(crate) fn certificate_of_size(bytes: usize) -> String {
    let mut params = CertificateParams::default();
    params.custom_extensions.push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 32473, 1], vec![0; bytes]));
    let key = KeyPair::generate().expect("a key");
    params.self_signed(&key).expect("a certificate").pem().replace('\r', "")
}
