//! What a Bundle offers: Secrets, keystores.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::{
    pods::{pod, trusts},
    stage::{BUNDLE, Play},
};

#[tokio::test]
async fn a_bundle_with_a_secret_alone_is_mounted_as_a_secret() -> Result<()> {
    let play = Play::begin("secretive", &[]).await?;
    let trust = trusts(&play.create(&pod("secretive", &[(BUNDLE, "secretive")])).await?.object()?);
    let volume = json!({"name": "rootcast-secretive", "secret": {"secretName": "secretive", "defaultMode": 0o644}});
    assert_eq!(trust.volumes, [volume]);
    let (_, variables) = &trust.containers["app"];
    ensure!(variables.contains(&"SSL_CERT_FILE=/etc/rootcast/secretive/ca-bundle.crt".to_owned()), "{variables:?}");
    play.end().await
}

#[tokio::test]
async fn java_gets_the_keystore_after_its_own_options() -> Result<()> {
    let play = Play::begin("java", &[]).await?;
    let mut wanted = pod("java", &[(BUNDLE, "jvm"), ("inject.rootcast.dev/runtimes", "java")]);
    wanted["spec"]["containers"][0]["env"] = json!([{"name": "JAVA_TOOL_OPTIONS", "value": "-Xmx1g"}]);
    let trust = trusts(&play.create(&wanted).await?.object()?);
    let options = "-Xmx1g -Djavax.net.ssl.trustStore=/etc/rootcast/jvm/trust.jks \
                   -Djavax.net.ssl.trustStoreType=JKS -Djavax.net.ssl.trustStorePassword=changeit";
    assert_eq!(trust.containers["app"].1, [format!("JAVA_TOOL_OPTIONS={options}")]);

    wanted["metadata"]["name"] = "own".into();
    let own = "-Djavax.net.ssl.trustStore=/own";
    wanted["spec"]["containers"][0]["env"] = json!([{"name": "JAVA_TOOL_OPTIONS", "value": own}]);
    let answer = play.create(&wanted).await?;
    ensure!(answer.warnings.iter().any(|warning| warning.contains("JAVA_TOOL_OPTIONS")), "{:?}", answer.warnings);
    let created = answer.object()?;
    assert_eq!(created["spec"]["containers"][0]["env"][0]["value"], own);
    play.end().await
}
