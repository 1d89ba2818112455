//! The controller's account.

use anyhow::{Context as _, Result};
use kube::{
    Api, Error,
    api::{DeleteParams, DynamicObject, PostParams},
};
use rootcast_e2e::scenario::{certificate, objects};
use serde_json::json;

use crate::stage::{ITS_NAME, NAMESPACE, Object, Try, attempt, guarded};

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

#[tokio::test(flavor = "multi_thread")]
async fn the_controllers_account_writes_ledgers_in_the_trust_namespace_and_no_other_object_there() -> Result<()> {
    let control_plane = guarded().await?;
    let (admin, account) = (control_plane.client(), control_plane.account_client("rootcast").await?);
    let ledger = "rootcast-ledger.bundle.corporate";
    let object = |name: &str, labels: &serde_json::Value, value: &str| {
        serde_json::from_value::<DynamicObject>(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "labels": labels}, "data": {"ledger.json": value},
        }))
    };
    let (labelled, bare) = (json!({"rootcast.dev/ledger": "bundle"}), json!({}));
    for (what, permitted, namespace, name, labels) in [
        ("a ledger", true, "cert-manager", ledger, &labelled),
        ("one without its label", false, "cert-manager", ledger, &bare),
        ("one of another name", false, "cert-manager", "corporate", &labelled),
        ("one in another namespace", false, NAMESPACE, ledger, &labelled),
    ] {
        let theirs: Api<DynamicObject> = objects(&admin, "ConfigMap", namespace)?;
        let ours: Api<DynamicObject> = objects(&account, "ConfigMap", namespace)?;
        let create = ours.create(&PostParams::default(), &object(name, labels, "{}")?).await;
        if permitted {
            create.context(what)?;
        } else {
            assert!(is_refused(&create), "{what} is created: {create:?}");
            theirs.create(&PostParams::default(), &object(name, labels, "{}")?).await.context(what)?;
        }
        // Label and value at once: the label makes nothing a ledger that is none by name and namespace.
        let mut changed = object(name, &labelled, "changed")?;
        changed.metadata.resource_version = theirs.get(name).await?.metadata.resource_version;
        let update = ours.replace(name, &PostParams::default(), &changed).await;
        let is_ledger = (namespace, name) == ("cert-manager", ledger);
        assert!(if is_ledger { update.is_ok() } else { is_refused(&update) }, "{what} is changed: {update:?}");
        let delete = ours.delete(name, &DeleteParams::default()).await;
        assert!(if is_ledger { delete.is_ok() } else { is_refused(&delete) }, "{what} is deleted: {delete:?}");
    }
    control_plane.finish().await
}

/// Whether the policy, and not a role, refused a request.
fn is_refused<T>(result: &Result<T, Error>) -> bool {
    let Err(Error::Api(status)) = result else { return false };
    status.message.contains("ValidatingAdmissionPolicy 'rootcast-targets'")
}

/// The names that the shipped policy protects.
fn protected_names() -> Result<Vec<String>> {
    let policy = include_str!("../../../config/guard/controller.yaml");
    let (_, list) = policy.split_once("name: protectedNames").context("no list")?;
    let list = list.split_once('[').and_then(|(_, rest)| rest.split_once(']')).context("no brackets")?.0;
    Ok(list.split(',').map(|name| name.trim().trim_matches('\'').to_owned()).collect())
}
