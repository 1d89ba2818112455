//! Java, by every keystore that a Bundle can hold.

use anyhow::Result;

use super::{
    pod::{
        ClientPod, Mount,
        Verdict::{Doubts, Trusts},
    },
    programs::JAVA,
    stage::{BUNDLE, Stage},
};

/// A Bundle for each: its name, its format, and what Java has to be told beside the path.
const STORES: [(&str, &str, &str); 5] = [
    ("jks", "jks: {key: truststore, password: changeit}", PASSWORD),
    ("legacy-rc2", "pkcs12: {key: truststore, password: changeit, profile: LegacyRC2}", PASSWORD),
    ("legacy-des", "pkcs12: {key: truststore, password: changeit, profile: LegacyDES}", PASSWORD),
    ("modern-2023", "pkcs12: {key: truststore, password: changeit, profile: Modern2023}", PASSWORD),
    ("no-password", "pkcs12: {key: truststore}", ""),
];

const PASSWORD: &str = "-Djavax.net.ssl.trustStorePassword=changeit";

#[tokio::test]
async fn java_trusts_by_each_keystore_injected_or_mounted_what_it_doubted_before() -> Result<()> {
    let stage = Stage::set().await?;
    stage.namespace("java", &[]).await?;
    let asks = [&stage.private, &stage.public];
    let pod =
        ClientPod { namespace: "java", name: "shop", programs: &[JAVA], asks: &asks, annotations: &[], mount: None };
    let before = pod.start(stage.node)?;
    before.says(&[(&stage.private, Doubts), (&stage.public, Doubts)]).await?;
    before.remove()?;
    for (bundle, format, options) in STORES {
        stage.bundle(bundle, &spec(format)).await?;
        let annotations = [(BUNDLE, bundle), ("inject.rootcast.dev/runtimes", "java")];
        let injected = ClientPod { annotations: &annotations, ..pod }.start(stage.node)?;
        let mount = Mount::keystore(bundle, options);
        let mounting = ClientPod { name: "mounting", mount: Some(&mount), ..pod }.start(stage.node)?;
        for pod in [injected, mounting] {
            pod.says(&[(&stage.private, Trusts), (&stage.public, Trusts)]).await?;
            pod.remove()?;
        }
    }
    stage.end()
}

fn spec(format: &str) -> String {
    format!(
        "
sources: [{{useDefaultCAs: true}}, {{configMap: {{name: private-ca, key: ca.crt}}}}]
target:
  configMap: {{key: ca-bundle.crt}}
  additionalFormats: {{{format}}}
"
    )
}
