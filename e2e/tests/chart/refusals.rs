//! What the chart refuses, and in which words: by the path of the value, and with
//! what it would have to be.

use anyhow::{Context as _, Result, ensure};
use rootcast_e2e::{CHART, helm};

/// Values, and what helm says about them.
const REFUSED: &[(&str, &[&str])] = &[
    (
        "{app: {webhook: {tls: {helmCert: {enabled: true}}}}}",
        &[
            "'/app/webhook/tls/helmCert/enabled'",
            "false: a chart must not make keys",
            "cert-manager issues the certificate",
        ],
    ),
    (
        "{app: {webhook: {tls: {approverPolicy: {enabled: true}}}}}",
        &["'/app/webhook/tls/approverPolicy/enabled'", "app.webhook.enabled: true", "no certificate to approve"],
    ),
    (
        "{secretTargets: {enabled: true}}",
        &["'/secretTargets/authorizedSecrets'", "a list of names, or secretTargets.authorizedSecretsAll: true"],
    ),
    (
        "{replicaCount: 2, app: {leaderElection: {enabled: false}}}",
        &["'/replicaCount'", "app.leaderElection.enabled: true", "every replica would write"],
    ),
    (
        "{image: {repository: quay.io/jetstack/trust-manager}}",
        &["'/image/repository'", "the place of an image of rootcast"],
    ),
    (
        "{podDisruptionBudget: {enabled: true, minAvailable: 1, maxUnavailable: 1}}",
        &["'/podDisruptionBudget/maxUnavailable'", "Kubernetes takes one of them"],
    ),
    (
        "{injector: {podDisruptionBudget: {minAvailable: 1, maxUnavailable: 1}}}",
        &["'/injector/podDisruptionBudget/maxUnavailable'", "Kubernetes takes one of them"],
    ),
    ("{enabled: false}", &["'/enabled'", "condition: rootcast.enabled"]),
    ("{writes: null}", &["--reset-then-reuse-values"]),
    // What nobody knows.
    ("{unheardOf: 1}", &["additional properties 'unheardOf' not allowed"]),
    ("{app: {webook: {port: 1}}}", &["'/app'", "additional properties 'webook' not allowed"]),
    ("{injector: {replicas: 1}}", &["'/injector'", "additional properties 'replicas' not allowed"]),
    ("{global: {rbac: {creat: true}}}", &["'/global/rbac'", "additional properties 'creat' not allowed"]),
    // What is of the wrong kind.
    ("{defaultCAs: debian}", &["'/defaultCAs'", "'mozilla', 'system', 'none'"]),
    ("{app: {logLevel: 6}}", &["'/app/logLevel'", "maximum"]),
    ("{app: {logFormat: xml}}", &["'/app/logFormat'", "'text', 'json'"]),
    ("{app: {minTLSVersion: VersionTLS10}}", &["'/app/minTLSVersion'", "'VersionTLS12', 'VersionTLS13'"]),
    ("{app: {leaderElection: {leaseDuration: 15}}}", &["'/app/leaderElection/leaseDuration'", "want string"]),
    ("{writes: {maxConcurrent: 0}}", &["'/writes/maxConcurrent'", "minimum"]),
    ("{app: {retain: 30 days}}", &["'/app/retain'", "does not match pattern"]),
    ("{app: {settle: 180}}", &["'/app/settle'", "want string"]),
    ("{app: {evidence: secrets}}", &["'/app/evidence'", "'certificaterequests'"]),
    ("{app: {trust: {additionalNamespaces: pki}}}", &["'/app/trust/additionalNamespaces'", "want null or array"]),
    ("{app: {targetNamespaces: team-a}}", &["'/app/targetNamespaces'", "want null or array"]),
];

#[test]
fn a_value_that_cannot_be_is_refused_by_its_name_and_with_what_it_would_have_to_be() -> Result<()> {
    for (values, words) in REFUSED {
        let output = helm(&["template", "rootcast", CHART, "--values", "-"], values)?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(!output.status.success(), "{values} is taken");
        for word in *words {
            ensure!(said.contains(word), "{values}: {word:?} is not in:\n{said}");
        }
    }
    Ok(())
}

#[test]
fn one_run_tells_of_everything_that_is_refused() -> Result<()> {
    let values = "{unheardOf: 1, enabled: false, secretTargets: {enabled: true}}";
    let said = String::from_utf8(helm(&["template", "rootcast", CHART, "--values", "-"], values)?.stderr)?;
    for path in ["unheardOf", "'/enabled'", "'/secretTargets/authorizedSecrets'"] {
        ensure!(said.contains(path), "{path} is not in:\n{said}");
    }
    Ok(())
}

#[test]
fn what_a_parent_chart_shares_with_all_its_charts_is_no_concern_of_ours() -> Result<()> {
    let output = helm(&["template", "rootcast", CHART, "--values", "-"], "{global: {imageRegistry: x}}")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn an_older_kubernetes_is_refused() -> Result<()> {
    let output = helm(&["template", "rootcast", CHART, "--kube-version", "1.29.9"], "")?;
    let said = String::from_utf8(output.stderr).context("helm writes UTF-8")?;
    ensure!(!output.status.success() && said.contains(">= 1.30.0"), "{said}");
    let output = helm(&["template", "rootcast", CHART, "--kube-version", "1.30.2-eks-1234567"], "")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
