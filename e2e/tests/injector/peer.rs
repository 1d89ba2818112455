//! In cainjector's place: its webhook configuration, its annotations, its file, and no permission at all.

use anyhow::{Context as _, Result, ensure};
use kube::Client;
use rootcast_e2e::{
    Balancer,
    CallOutcome::{Changed, Unchanged},
    ControlPlane, Injector, Samples, ServingCertificate, TlsClient, Volume, eventually,
    scenario::SOON,
};
use serde_json::{Value, json};

use crate::{
    pods::{Annotations, calls, create, pod, pods, trust, trusts},
    stage::{BUNDLE, BY_ANNOTATION, create_bundles, in_effect},
};

/// The host name that the API server asks for.
const HOST: &str = "cainjector.cert-manager.svc";

/// cainjector's entry: every new pod, and none of them starts without an answer.
fn webhook_configuration(balancer: &Balancer, certificate: &ServingCertificate) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "cainjector"},
        "webhooks": [{
            "name": "cainjector.lestak.sh",
            "admissionReviewVersions": ["v1", "v1beta1"],
            "sideEffects": "None",
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
            "clientConfig": {
                "caBundle": k8s_openapi::ByteString(certificate.authority.clone().into_bytes()),
                "service": {
                    "name": "cainjector", "namespace": "cert-manager", "path": "/mutate", "port": balancer.port(),
                },
            },
        }],
    })
}

/// What cainjector's manifests have in their ConfigMap.
const CONFIG: &str = "configMap: example-bundle\nmountPath: /cacerts\ncertFile: ca.crt\n\
                      excludeContainers: [istio-proxy]\n\
                      excludeNamespaces: [cert-manager, istio-system, kube-node-lease, kube-public, kube-system]\n";

/// The volume, the mount's path and the variable that a pod got, in words; of the container `app`.
fn got(pod: &Value) -> String {
    let items = |at: &Value| at.as_array().cloned().unwrap_or_default();
    let volume = items(&pod["spec"]["volumes"])
        .into_iter()
        .find(|volume| volume["name"].as_str().is_some_and(|name| name.starts_with("cainjector-")));
    let Some(volume) = volume else { return "nothing".to_owned() };
    let source = match (&volume["configMap"]["name"], &volume["secret"]["secretName"]) {
        (Value::String(name), _) => format!("configMap {name}"),
        (_, name) => format!("secret {name}"),
    };
    let container = &pod["spec"]["containers"][0];
    let mount = items(&container["volumeMounts"]).into_iter().find(|mount| mount["name"] == volume["name"]);
    let at = mount.map(|mount| mount["mountPath"].as_str().unwrap_or_default().to_owned()).unwrap_or_default();
    let variable = items(&container["env"]).into_iter().find(|variable| variable["name"] == "SSL_CERT_FILE");
    let file = variable.map(|variable| variable["value"].as_str().unwrap_or_default().to_owned());
    format!("{source} at {at}, {}", file.as_deref().unwrap_or("no variable"))
}

async fn create_named(client: &Client, name: &str, annotations: &[(&str, &str)]) -> Result<Value> {
    create(client, &pods("default"), &pod(name, annotations)).await?.object().with_context(|| name.to_owned())
}

/// Waits until a pod without annotations gets this.
async fn becomes(client: &Client, what: &str) {
    eventually(what, SOON, async || {
        let path = format!("{}?dryRun=All", pods("default"));
        let got = got(&create(client, &path, &pod("probe", &[])).await?.object()?);
        ensure!(got == what, "{got}");
        Ok(())
    })
    .await;
}

#[tokio::test]
#[cfg_attr(existing_cluster, ignore = "starts an API server of its own")]
async fn it_takes_cainjectors_place_without_any_permission() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    let client = control_plane.client();
    let balancer = Balancer::start()?;
    let certificate = control_plane.serving_certificate(HOST)?;
    let files = |certificate: &ServingCertificate| {
        [("tls.crt", certificate.certificate.clone()), ("tls.key", certificate.key.clone())]
    };
    let show = |volume: &mut Volume, files: &[(&str, String)]| {
        volume.show(&files.iter().map(|(name, text)| (*name, text.as_str())).collect::<Vec<_>>())
    };
    let (mut certs, mut config) = (Volume::new(&control_plane)?, Volume::new(&control_plane)?);
    show(&mut certs, &files(&certificate))?;
    config.show(&[("config.yaml", CONFIG)])?;

    let args = [format!("--cert-dir={}", certs.path().display()), format!("--config={}", config.file("config.yaml"))];
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let mut injector = Injector::start_as_cainjector(&control_plane, &balancer, &args).await?;
    injector.expect_denials();
    let about_native = injector.logs()?.lines().filter(|line| line.contains("native mode")).count();
    assert_eq!(about_native, 1, "{}", injector.logs()?);
    let apply = |object: Value| control_plane.kubectl_ok(&["apply", "--server-side", "-f", "-"], &object.to_string());
    apply(Balancer::service(balancer.address(), "cert-manager", "cainjector"))?;
    apply(webhook_configuration(&balancer, &certificate))?;
    becomes(&client, "configMap example-bundle at /cacerts, /cacerts/ca.crt").await;

    let annotation = |key: &str| format!("cainjector.lestak.sh/{key}");
    let table: [(&str, Annotations<'_>, &str); 5] = [
        ("out", &[("inject", "false")], "nothing"),
        ("secret", &[("secret", "own")], "secret \"own\" at /cacerts, /cacerts/ca.crt"),
        ("dotted", &[("configMap", "my-org.com")], "configMap my-org.com at /cacerts, /cacerts/ca.crt"),
        ("elsewhere", &[("mountPath", "/tls"), ("certFile", "x.pem")], "configMap example-bundle at /tls, /tls/x.pem"),
        ("mute", &[("setEnvVar", "false")], "configMap example-bundle at /cacerts, no variable"),
    ];
    for (name, annotations, expected) in table {
        let annotations: Vec<_> = annotations.iter().map(|(key, value)| (annotation(key), *value)).collect();
        let annotations: Vec<_> = annotations.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        assert_eq!(got(&create_named(&client, name, &annotations).await?), expected, "{name}");
    }
    let both = [(annotation("secret"), "a"), (annotation("configMap"), "b")];
    let both: Vec<_> = both.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let refused = create(&client, &pods("default"), &pod("both", &both)).await?;
    ensure!(refused.refusal()?.contains("both secret and configMap specified"), "{refused:#?}");
    let spared = create(&client, &pods("kube-system"), &pod("spared", &[])).await?.object()?;
    assert_eq!(got(&spared), "nothing");

    // Its ConfigMap changes, then becomes nonsense, then is mended.
    let valid = async || Ok::<_, anyhow::Error>(Samples::parse(&injector.metrics().await?).sum(CONFIG_VALID, &[]));
    config.show(&[("config.yaml", "{\"configMap\": \"second\"}")])?;
    becomes(&client, "configMap second at /cacerts, /cacerts/ca.crt").await;
    assert!((valid().await? - 1.0).abs() < 0.5);
    let log = injector.logs()?.len();
    config.show(&[("config.yaml", "configMap: third\nexcludeNamespaces: 7\n")])?;
    eventually("the metric names the invalid file", SOON, async || {
        ensure!(valid().await?.abs() < 0.5, "it is still said to be valid");
        Ok(())
    })
    .await;
    let said = injector.logs()?[log..].to_owned();
    ensure!(said.contains("config.yaml") && said.contains("excludeNamespaces"), "{said}");
    becomes(&client, "configMap second at /cacerts, /cacerts/ca.crt").await;
    config.show(&[("config.yaml", "configMap: fourth\n")])?;
    becomes(&client, "configMap fourth at /cacerts, /cacerts/ca.crt").await;
    assert!((valid().await? - 1.0).abs() < 0.5);

    // cert-manager renews the certificate. New connections show it.
    let renewed = control_plane.serving_certificate(HOST)?;
    show(&mut certs, &files(&renewed))?;
    eventually("the new certificate is shown", SOON, async || {
        let shown = TlsClient::new(&renewed.authority, HOST)?.shown(injector.port()).await?;
        ensure!(renewed.certificate.replace('\n', "").contains(&shown), "it is not");
        Ok(())
    })
    .await;
    becomes(&client, "configMap fourth at /cacerts, /cacerts/ca.crt").await;
    injector.stop().await?;
    control_plane.finish().await
}

/// Whether the file, as it is, is in use.
const CONFIG_VALID: &str = "rootcast_config_last_reload_successful";

#[tokio::test]
#[cfg_attr(existing_cluster, ignore = "starts an API server of its own")]
async fn its_rules_and_bundles_hold_side_by_side() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    let client = control_plane.client();
    create_bundles(&client).await?;
    let balancer = Balancer::start()?;
    control_plane.install_injector(&balancer, &["cainjector"])?;
    let mut config = Volume::new(&control_plane)?;
    config.show(&[("config.yaml", CONFIG)])?;
    let config = format!("--config={}", config.file("config.yaml"));
    let injector = Injector::start(&control_plane, &balancer, &[&config]).await?;
    in_effect(&client, "default").await;

    let mark = control_plane.audit().mark().await?;
    let created = create_named(&client, "both", &[(BUNDLE, "corporate")]).await?;
    assert_eq!(got(&created), "configMap example-bundle at /cacerts, /etc/rootcast/corporate/ca-bundle.crt");
    assert_eq!(trusts(&created), trust("corporate", &["app"], &[]), "each once");
    let calls = calls(&control_plane, mark, "create", ("default", "both")).await?;
    let calls: Vec<_> = calls.iter().map(|call| (call.webhook.as_str(), call.again, call.outcome)).collect();
    let by_rules = "cainjector.inject.rootcast.dev";
    assert_eq!(calls, [(BY_ANNOTATION, false, Changed), (by_rules, false, Changed), (BY_ANNOTATION, true, Unchanged)]);

    let created = create_named(&client, "plain", &[]).await?;
    assert_eq!(got(&created), "configMap example-bundle at /cacerts, /cacerts/ca.crt");
    injector.stop().await?;
    control_plane.finish().await
}
