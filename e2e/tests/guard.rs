//! What the admission policies on the product's own accounts let through, tried with those accounts' tokens.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use rootcast_e2e::{
    ControlPlane, Install, eventually,
    story::{SOON, certificate, objects},
};
use serde_json::{Value, json};

const NAMESPACE: &str = "shop";
const LABEL: &str = "trust.cert-manager.io/bundle";
const KEYS: &str = "rootcast.dev/keys";
const ADOPT: &str = "rootcast.dev/adopt";

/// What stands in for the object's name, which each row makes anew.
const ITS_NAME: &str = "ITS-NAME";

/// An object as it is, or as the controller's account would have it.
#[derive(Clone, Debug, Default)]
struct Object {
    secret: bool,
    type_: Option<&'static str>,
    labelled: bool,
    keys: Option<String>,
    adopt: Option<&'static str>,
    data: BTreeMap<String, String>,
    binary: BTreeMap<String, String>,
}

impl Object {
    fn of(data: &[(&str, &str)]) -> Self {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self { data, ..Self::default() }
    }

    fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    fn of_type(self, type_: &'static str) -> Self {
        Self { type_: Some(type_), ..self }
    }

    fn labelled(self) -> Self {
        Self { labelled: true, ..self }
    }

    fn keys(self, keys: &str) -> Self {
        Self { keys: Some(keys.to_owned()), ..self }
    }

    fn adopt(self, name: &'static str) -> Self {
        Self { adopt: Some(name), ..self }
    }

    fn binary(mut self, key: &str, value: &str) -> Self {
        self.binary.insert(key.to_owned(), value.to_owned());
        self
    }

    fn and(mut self, key: &str, value: &str) -> Self {
        self.data.insert(key.to_owned(), value.to_owned());
        self
    }

    fn kind(&self) -> &'static str {
        if self.secret { "Secret" } else { "ConfigMap" }
    }

    fn named(&self, name: &str) -> Value {
        let mut annotations = json!({});
        if let Some(keys) = &self.keys {
            annotations[KEYS] = json!(keys);
        }
        if let Some(adopt) = self.adopt {
            annotations[ADOPT] = json!(if adopt == ITS_NAME { name } else { adopt });
        }
        let labels = if self.labelled { json!({LABEL: name}) } else { json!({}) };
        let mut object = json!({
            "apiVersion": "v1", "kind": self.kind(),
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels, "annotations": annotations},
        });
        object[if self.secret { "stringData" } else { "data" }] = json!(self.data);
        if !self.binary.is_empty() {
            object["binaryData"] = json!(self.binary);
        }
        if let Some(type_) = self.type_ {
            object["type"] = json!(type_);
        }
        object
    }
}

/// What the controller's account tries.
#[derive(Clone, Debug)]
enum Try {
    Create(Object),
    Replace(Object, Object),
    /// Forced server-side apply.
    Apply(Object, Object),
    Delete(Object),
}

#[allow(clippy::too_many_lines, reason = "one table")]
fn rows() -> Vec<(&'static str, bool, Try)> {
    use Try::{Apply, Create, Delete, Replace};
    let pem = format!("{}\n", certificate("rsa").trim_end());
    let pem = pem.as_str();
    let certificates = || Object::of(&[("ca", pem)]);
    let theirs = || Object::of(&[("database", "postgres")]);
    let evil = || Object::of(&[("ca", "evil")]).labelled();
    let completed = || theirs().and("ca", pem).labelled().keys("ca");
    let commented = format!("# one\n\n{pem}\n# two\n{pem}");
    let embedded = format!("roots: |\n{pem}");
    let followed = format!("{pem}server {{ }}\n");
    let indented = pem.lines().flat_map(|line| ["  ", line, "\n"]).collect::<String>();
    let begun = "-----BEGIN CERTIFICATE-----\nMIIB";
    let large = pem.repeat(900_000 / pem.len());
    let text = "y".repeat(900_000);
    let many = |number: usize| {
        let keys = (0..number).map(|index| (format!("k{index}"), "v".to_owned())).collect();
        Object { data: keys, ..Object::default() }
    };
    vec![
        ("a target is created", true, Create(certificates().labelled())),
        ("nothing else is created", false, Create(certificates())),
        ("a target Secret is created", true, Create(certificates().secret().labelled())),
        (
            "a Secret of another type is not: the API server fills some with tokens",
            false,
            Create(certificates().secret().of_type("example.com/own").labelled()),
        ),
        ("a target is healed", true, Replace(evil(), certificates().labelled())),
        ("a target is deleted", true, Delete(certificates().labelled())),
        ("an object of others is not deleted", false, Delete(theirs())),
        ("an object of others is completed", true, Replace(theirs(), theirs().and("ca", pem).labelled().keys("ca"))),
        ("not without naming the keys", false, Replace(theirs(), theirs().and("ca", pem).labelled())),
        ("a value of others stays", false, Replace(theirs(), Object::of(&[("database", pem)]).labelled())),
        (
            "under a named key, too",
            false,
            Replace(theirs(), Object::of(&[("database", pem)]).labelled().keys("database")),
        ),
        ("a value of others is not taken out", false, Replace(theirs(), certificates().labelled().keys("ca"))),
        ("the label alone is not put on", false, Replace(theirs(), theirs().labelled())),
        ("the keys of others are not named", false, Replace(theirs(), theirs().keys("database"))),
        ("nor with the label", false, Replace(theirs(), theirs().labelled().keys("database"))),
        ("nobody consents for others", false, Replace(theirs(), theirs().adopt(ITS_NAME))),
        ("a forced apply puts on no label", false, Apply(theirs(), Object::default().labelled())),
        ("a forced apply takes no value", false, Apply(theirs(), Object::of(&[("database", pem)]).labelled())),
        ("a forced apply completes", true, Apply(theirs(), certificates().labelled().keys("ca"))),
        (
            "what consents is taken over",
            true,
            Replace(Object::of(&[("ca", "text")]).adopt(ITS_NAME), certificates().labelled().adopt(ITS_NAME)),
        ),
        (
            "consent to another Bundle is none",
            false,
            Replace(Object::of(&[("ca", "text")]).adopt("other"), certificates().labelled().adopt("other")),
        ),
        (
            "our key is updated",
            true,
            Replace(Object::of(&[("database", "postgres"), ("ca", "old")]).labelled().keys("ca"), completed()),
        ),
        (
            "theirs beside it is not",
            false,
            Replace(completed(), Object::of(&[("database", pem), ("ca", pem)]).labelled().keys("ca")),
        ),
        ("our keys do not grow by theirs", false, Replace(completed(), completed().keys("ca,database"))),
        ("nor are they forgotten", false, Replace(completed(), theirs().and("ca", pem).labelled())),
        ("what was completed is not deleted", false, Delete(completed())),
        ("what was completed is handed over", true, Replace(completed(), theirs())),
        ("a whole target is handed over", true, Replace(certificates().labelled(), certificates())),
        ("an empty value is replaced", true, Replace(Object::of(&[("ca", "")]), certificates().labelled())),
        ("certificates are replaced", true, Replace(Object::of(&[("ca", &commented)]), certificates().labelled())),
        (
            "certificates in a YAML file are not",
            false,
            Replace(Object::of(&[("ca", &embedded)]), certificates().labelled()),
        ),
        ("nor before other text", false, Replace(Object::of(&[("ca", &followed)]), certificates().labelled())),
        ("indented ones are", true, Replace(Object::of(&[("ca", &indented)]), certificates().labelled())),
        ("nor the beginning of one", false, Replace(Object::of(&[("ca", begun)]), certificates().labelled())),
        (
            "a binary value of others stays",
            false,
            Replace(
                Object::default().binary("jks", "AAAA"),
                Object::default().binary("jks", "BBBB").labelled().keys("jks"),
            ),
        ),
        (
            "a value of a Secret stays",
            false,
            Replace(Object::of(&[("k", "x")]).secret(), Object::of(&[("k", "y")]).secret().labelled().keys("k")),
        ),
        (
            "certificates in a Secret, too",
            false,
            Replace(certificates().secret(), Object::of(&[("ca", &commented)]).secret().labelled().keys("ca")),
        ),
        (
            "a Secret is completed",
            true,
            Replace(theirs().secret(), theirs().and("ca", pem).secret().labelled().keys("ca")),
        ),
        (
            "a Secret of another type is not",
            false,
            Replace(
                theirs().secret().of_type("example.com/own"),
                theirs().and("ca", pem).secret().of_type("example.com/own").labelled().keys("ca"),
            ),
        ),
        (
            "not with consent, either",
            false,
            Replace(
                theirs().secret().of_type("example.com/own").adopt(ITS_NAME),
                certificates().secret().of_type("example.com/own").labelled().adopt(ITS_NAME),
            ),
        ),
        ("a target Secret is healed", true, Replace(evil().secret(), certificates().secret().labelled())),
        ("many certificates are replaced", true, Replace(Object::of(&[("ca", &large)]), certificates().labelled())),
        (
            "a large object is completed",
            true,
            Replace(Object::of(&[("text", &text)]), Object::of(&[("text", &text), ("ca", pem)]).labelled().keys("ca")),
        ),
        (
            "one of 2,000 keys is completed",
            true,
            Replace(many(2_000), many(2_000).and("ca", pem).labelled().keys("ca")),
        ),
        ("one of more is not", false, Replace(many(2_001), many(2_001).and("ca", pem).labelled().keys("ca"))),
        (
            "a target is healed, whatever was added to it",
            true,
            Replace(many(20_000).and("ca", "evil").labelled(), many(20_000).and("ca", pem).labelled()),
        ),
    ]
}

/// Carries out a try; whether it was permitted, or the refusal.
async fn attempt(admin: &Client, account: &Client, name: &str, what: &Try) -> Result<Result<(), String>> {
    let (before, after) = match what {
        Try::Create(after) => (None, Some(after)),
        Try::Replace(before, after) | Try::Apply(before, after) => (Some(before), Some(after)),
        Try::Delete(before) => (Some(before), None),
    };
    let kind = before.or(after).map(Object::kind).unwrap_or_default();
    let object = |object: &Object| serde_json::from_value::<DynamicObject>(object.named(name));
    let theirs: Api<DynamicObject> = objects(admin, kind, NAMESPACE)?;
    if let Some(before) = before {
        theirs.create(&PostParams::default(), &object(before)?).await.context("putting the object there")?;
    }
    let ours: Api<DynamicObject> = objects(account, kind, NAMESPACE)?;
    let after = after.map(object).transpose()?;
    let result = match (what, after) {
        (Try::Create(_), Some(after)) => ours.create(&PostParams::default(), &after).await.map(drop),
        (Try::Replace(..), Some(mut after)) => {
            after.metadata.resource_version = theirs.get(name).await?.metadata.resource_version;
            ours.replace(name, &PostParams::default(), &after).await.map(drop)
        }
        (Try::Apply(..), Some(after)) => {
            let params = PatchParams::apply("trust-manager").force();
            ours.patch(name, &params, &Patch::Apply(after)).await.map(drop)
        }
        _ => ours.delete(name, &DeleteParams::default()).await.map(drop),
    };
    let verdict = match result {
        Ok(()) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => return Err(error).with_context(|| format!("{what:?}")),
    };
    if theirs.get_opt(name).await?.is_some() {
        theirs.delete(name, &DeleteParams::default()).await?;
    }
    Ok(verdict)
}

/// A control plane whose policies are in force.
async fn guarded() -> Result<ControlPlane> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install_with(&Install { secret_targets: true, ..Install::default() }).await?;
    control_plane.namespace(NAMESPACE, &[]).await?;
    for folder in ["config/injector", "config/guard"] {
        control_plane.kubectl_ok(&["apply", "--server-side", "-k", folder], "")?;
    }
    let (admin, account) = (control_plane.client(), control_plane.account_client("rootcast").await?);
    eventually("the policy is in force", SOON, async || {
        let verdict = attempt(&admin, &account, "first", &Try::Create(Object::default())).await?;
        ensure!(verdict.is_err(), "not yet");
        Ok(())
    })
    .await;
    Ok(control_plane)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controllers_account_changes_what_is_its_own_and_completes_the_rest() -> Result<()> {
    let control_plane = guarded().await?;
    let (admin, account) = (control_plane.client(), control_plane.account_client("rootcast").await?);
    let mut odd = Vec::new();
    for (index, (what, permitted, try_)) in rows().into_iter().enumerate() {
        let verdict = attempt(&admin, &account, &format!("row-{index}"), &try_).await.context(what)?;
        let by_policy = verdict
            .as_ref()
            .err()
            .is_none_or(|message| message.contains("ValidatingAdmissionPolicy 'rootcast-targets'"));
        if verdict.is_ok() != permitted || !by_policy {
            odd.push(format!("{what}: {verdict:?}"));
        }
    }
    assert!(odd.is_empty(), "{odd:#?}");

    let pem = certificate("rsa");
    let target = Object::of(&[("ca", &pem)]).labelled();
    for name in protected_names()? {
        let verdict = attempt(&admin, &account, &name, &Try::Create(target.clone())).await?;
        let refused = verdict.err().is_some_and(|message| message.contains("protected"));
        assert!(refused || name == "kube-root-ca.crt", "{name} was created");
        if name != "kube-root-ca.crt" {
            let healed = Try::Replace(Object::of(&[("ca", "evil")]).labelled(), target.clone());
            assert_eq!(
                attempt(&admin, &account, &name, &healed).await?,
                Ok(()),
                "{name}: what is there already is kept"
            );
        }
    }
    control_plane.finish().await
}

/// The names that the shipped policy protects.
fn protected_names() -> Result<Vec<String>> {
    let policy = include_str!("../../config/guard/controller.yaml");
    let (_, list) = policy.split_once("name: protectedNames").context("no list")?;
    let list = list.split_once('[').and_then(|(_, rest)| rest.split_once(']')).context("no brackets")?.0;
    Ok(list.split(',').map(|name| name.trim().trim_matches('\'').to_owned()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_injectors_account_writes_ca_bundle_and_its_own_secret() -> Result<()> {
    let control_plane = guarded().await?;
    // With more rights than it is granted, so that it is the policy that refuses.
    let grant = [
        "create",
        "clusterrole",
        "much",
        "--verb=*",
        "--resource=secrets,mutatingwebhookconfigurations.admissionregistration.k8s.io",
    ];
    control_plane.kubectl_ok(&grant, "")?;
    let bind = [
        "create",
        "clusterrolebinding",
        "much",
        "--clusterrole=much",
        "--serviceaccount=cert-manager:rootcast-injector",
    ];
    control_plane.kubectl_ok(&bind, "")?;
    let account = control_plane.account_client("rootcast-injector").await?;
    let configurations: Api<k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration> =
        Api::all(account.clone());
    let patch = async |patch: Value| {
        let patch: Patch<()> = Patch::Json(serde_json::from_value(patch)?);
        anyhow::Ok(configurations.patch("rootcast-injector", &PatchParams::default(), &patch).await)
    };
    let bundle = base64::engine::general_purpose::STANDARD.encode(certificate("rsa"));
    let written = patch(json!([{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle}])).await?;
    assert!(written.is_ok(), "{written:?}");
    let refused = [
        json!({"op": "replace", "path": "/webhooks/0/rules/0/resources", "value": ["*"]}),
        json!({"op": "replace", "path": "/webhooks/0/rules/0/apiGroups", "value": ["*"]}),
        json!({"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}),
        json!({"op": "remove", "path": "/webhooks/0/matchConditions"}),
        json!({"op": "replace", "path": "/webhooks/0/namespaceSelector", "value": {}}),
        json!({"op": "replace", "path": "/webhooks/0/objectSelector", "value": {"matchLabels": {"a": "b"}}}),
        json!({"op": "replace", "path": "/webhooks/0/clientConfig/service/path", "value": "/other"}),
        json!({"op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": 1}),
        json!({"op": "replace", "path": "/webhooks/0/name", "value": "other.example.com"}),
        json!({"op": "remove", "path": "/webhooks/0"}),
        json!({"op": "copy", "from": "/webhooks/0", "path": "/webhooks/1"}),
        json!({"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}),
        json!({"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}),
        json!({"op": "add", "path": "/metadata/finalizers", "value": ["example.com/stay"]}),
        json!({"op": "add", "path": "/metadata/ownerReferences", "value": [{"apiVersion": "v1", "kind": "Namespace", "name": "shop", "uid": "1"}]}),
    ];
    for operation in refused {
        let answer = patch(json!([operation])).await?;
        assert!(answer.is_err(), "{operation}");
    }
    let deleted = configurations.delete("rootcast-injector", &DeleteParams::default()).await;
    assert!(deleted.is_err(), "deleted");

    let secret = |name: &str, namespace: &str, type_: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": type_, "stringData": {"a": "b"},
            "metadata": {"name": name, "namespace": namespace,
                "annotations": {"kubernetes.io/service-account.name": "default"}},
        })
    };
    let own = "rootcast-injector-tls";
    let rows = [
        (own, "cert-manager", "kubernetes.io/service-account-token", false),
        (own, NAMESPACE, "Opaque", false),
        ("other", "cert-manager", "Opaque", false),
        (own, "cert-manager", "Opaque", true),
    ];
    for (name, namespace, type_, permitted) in rows {
        let secrets: Api<DynamicObject> = objects(&account, "Secret", namespace)?;
        let object = serde_json::from_value(secret(name, namespace, type_))?;
        let answer = secrets.create(&PostParams::default(), &object).await;
        assert_eq!(answer.is_ok(), permitted, "{namespace}/{name} of type {type_}: {answer:?}");
    }
    let secrets: Api<DynamicObject> = objects(&account, "Secret", "cert-manager")?;
    assert!(secrets.delete(own, &DeleteParams::default()).await.is_err(), "its Secret was deleted");
    control_plane.finish().await
}
