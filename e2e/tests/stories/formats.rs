//! Keystores come beside the PEM, change and go.

use anyhow::Result;
use rootcast::trust::{Password, Profile, jks, pkcs12};
use rootcast_e2e::scenario::{Scenario, Scene, anchors, bundle, certificate, pem_key};

use crate::stage;

#[tokio::test]
async fn keystores_come_change_and_go_with_one_write_to_each_target() -> Result<()> {
    let name = "formats";
    let scenario = Scenario::begin(stage().await, name, &["a", "b"]).await?;
    let trusted = anchors(&["ec"]);
    let pem = pem_key("ca.pem", &["ec"]);
    let jks = |password: &str| jks::encode(&trusted, &Password::new(password));
    let pkcs12 = |password: &str, profile| pkcs12::encode(&trusted, &Password::new(password), profile);
    let modern = "pkcs12: {key: ca.p12, password: secret, profile: Modern2023}";
    let steps = [
        ("only PEM", "", pem.clone()),
        ("a JKS comes", "jks: {key: ca.jks}", pem.clone().and("ca.jks", jks("changeit"))),
        ("its password changes", "jks: {key: ca.jks, password: other}", pem.clone().and("ca.jks", jks("other"))),
        (
            "a PKCS#12 comes",
            "jks: {key: ca.jks, password: other}, pkcs12: {key: ca.p12}",
            pem.clone().and("ca.jks", jks("other")).and("ca.p12", pkcs12("", Profile::LegacyRc2)),
        ),
        (
            "the JKS goes, the PKCS#12 gets a password",
            modern,
            pem.clone().and("ca.p12", pkcs12("secret", Profile::Modern2023)),
        ),
        (
            "the key of the PKCS#12 is renamed",
            "pkcs12: {key: trust.p12, password: secret, profile: Modern2023}",
            pem.clone().and("trust.p12", pkcs12("secret", Profile::Modern2023)),
        ),
        (
            "the profile changes",
            "pkcs12: {key: trust.p12, password: secret, profile: LegacyDES}",
            pem.clone().and("trust.p12", pkcs12("secret", Profile::LegacyDes)),
        ),
        ("all go", "", pem.clone()),
    ];
    for (when, formats, content) in steps {
        scenario.apply(&bundle(name, &spec(name, formats))).await?;
        let expected =
            Scene { secrets: scenario.everywhere(&["a", "b"], &content), ..scenario.synced(&["a", "b"], &content) };
        scenario.then(when, name, 4, &expected).await?;
    }
    Ok(())
}

fn spec(scenario: &str, formats: &str) -> String {
    let certificate = serde_json::to_string(&certificate("ec")).expect("text");
    let formats = if formats.is_empty() { String::new() } else { format!("additionalFormats: {{{formats}}},") };
    format!(
        "{{sources: [{{inLine: {certificate}}}],
           target: {{configMap: {{key: ca.pem}}, secret: {{key: ca.pem}}, {formats}
                     namespaceSelector: {{matchLabels: {{scenario: {scenario}}}}}}}}}"
    )
}
