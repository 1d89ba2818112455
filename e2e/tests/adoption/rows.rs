//! What becomes of an object that is there before its Bundle, and when the Bundle is deleted.

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::future::try_join_all;
use kube::api::{DeleteParams, DynamicObject};
use rootcast::api::{ADOPT_ANNOTATION, BUNDLE_LABEL, HASH_ANNOTATION, KEYS_ANNOTATION};
use rootcast_e2e::{
    eventually,
    scenario::{anchors, certificate},
};
use serde_json::{Value, json};

use crate::stage::{KEY, PATIENCE, Stage};

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Becomes {
    /// It is written, and is the Bundle's.
    Ours,
    /// It has the Bundle's key beside its own.
    Completed,
    /// It stays as it is, and the condition says this.
    Stays(&'static str),
}

/// A name, what the object has, and what becomes of it.
type Row = (&'static str, Value, Becomes);

#[allow(clippy::too_many_lines, reason = "one table")]
fn rows() -> Vec<Row> {
    use Becomes::{Completed, Ours, Stays};
    let pem = certificate("rsa");
    let secret = |type_: &str, data: &[(&str, &str)]| {
        let data: serde_json::Map<_, _> =
            data.iter().map(|(key, value)| ((*key).to_owned(), json!(STANDARD.encode(value)))).collect();
        json!({ "kind": "Secret", "type": type_, "data": data })
    };
    let consenting = |name: &str| json!({ "annotations": { ADOPT_ANNOTATION: name } });
    let many: serde_json::Map<_, _> = (0..2_001).map(|number| (format!("k{number}"), json!("v"))).collect();
    let embedded = format!("roots: |\n{pem}");
    let tls = [("tls.crt", pem.as_str()), ("tls.key", "key")];
    let mut typed = secret("kubernetes.io/tls", &[(KEY, "x"), ("tls.crt", &pem), ("tls.key", "key")]);
    typed["metadata"] = consenting("tls-consenting");
    vec![
        ("other-keys", json!({ "data": { "database": "postgres" } }), Completed),
        ("other-binary", json!({ "binaryData": { "blob": "AAAA" } }), Completed),
        ("nothing", json!({}), Ours),
        ("empty", json!({ "data": { KEY: "" } }), Ours),
        ("empty-beside", json!({ "data": { KEY: "", "database": "postgres" } }), Completed),
        ("certificates", json!({ "data": { KEY: pem } }), Ours),
        ("commented", json!({ "data": { KEY: format!("# one\n\n{pem}# two\n{pem}"), "x": pem } }), Completed),
        ("embedded", json!({ "data": { KEY: embedded } }), Stays("a value of others")),
        ("followed", json!({ "data": { KEY: format!("{pem}server {{ }}\n") } }), Stays("a value of others")),
        ("text", json!({ "data": { KEY: "text", "x": "y" } }), Stays("\"kubectl-create\"")),
        ("binary", json!({ "binaryData": { KEY: "AAAA" } }), Stays("a value of others")),
        (
            "restored",
            json!({ "metadata": { "labels": { BUNDLE_LABEL: "restored" }, "annotations": { HASH_ANNOTATION: "old" } },
                "data": { KEY: "older" } }),
            Ours,
        ),
        (
            "labelled",
            json!({ "metadata": { "labels": { BUNDLE_LABEL: "labelled" } }, "data": { KEY: "text" } }),
            Stays("a value of others"),
        ),
        (
            "keys-named",
            json!({ "metadata": { "annotations": { KEYS_ANNOTATION: "database,ca.crt" } },
                "data": { KEY: "text", "database": "postgres" } }),
            Stays("a value of others"),
        ),
        ("consenting", json!({ "metadata": consenting("consenting"), "data": { KEY: "text" } }), Ours),
        (
            "consents-to-another",
            json!({ "metadata": consenting("consenting"), "data": { KEY: "text" } }),
            Stays("rootcast.dev/adopt=consents-to-another"),
        ),
        ("many", json!({ "data": many }), Stays("2001 keys")),
        ("secret-free", secret("Opaque", &[("password", "x")]), Completed),
        ("secret-empty", secret("Opaque", &[(KEY, "")]), Ours),
        ("secret-taken", secret("Opaque", &[(KEY, &pem)]), Stays("a value of others")),
        ("secret-tls", secret("kubernetes.io/tls", &tls), Stays("kubernetes.io/tls")),
        ("tls-consenting", typed, Stays("kubernetes.io/tls")),
        ("helm-release", secret("helm.sh/release.v1", &[("release", "H4sI")]), Stays("helm.sh/release.v1")),
    ]
}

/// The whole object of a row.
fn object((name, body, _): &Row) -> Value {
    let mut object = body.clone();
    object["apiVersion"] = json!("v1");
    object["kind"] = json!(kind(body));
    object["metadata"]["name"] = json!(name);
    object["metadata"]["namespace"] = json!(name);
    object
}

fn kind(body: &Value) -> &str {
    body["kind"].as_str().unwrap_or("ConfigMap")
}

/// All that an object holds.
fn content(object: &DynamicObject) -> serde_json::Map<String, Value> {
    let fields = ["data", "binaryData"].map(|field| object.data.get(field).and_then(Value::as_object));
    fields.into_iter().flatten().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// What it holds beside the Bundle's key.
fn others(object: &DynamicObject) -> serde_json::Map<String, Value> {
    content(object).into_iter().filter(|(key, _)| key != KEY).collect()
}

#[tokio::test]
async fn what_a_bundle_finds_is_completed_or_stays_and_outlives_it() -> Result<()> {
    let stage = Stage::shared().await;
    let rows = rows();
    let begin = async |row: &Row| {
        stage.namespace(row.0).await?;
        let before = stage.put(&object(row)).await?;
        stage.write_bundle(row.0, row.0, kind(&row.1), KEY).await?;
        anyhow::Ok(before)
    };
    let before = try_join_all(rows.iter().map(begin)).await?;
    let pem = anchors(&["ec"]).to_pem();
    let check = async |(row, before): (&Row, &DynamicObject)| {
        let (name, body, becomes) = row;
        let reason = match becomes {
            Becomes::Stays(_) if kind(body) == "Secret" => "SyncSecretTargetFailed",
            Becomes::Stays(_) => "SyncConfigMapTargetFailed",
            _ => "Synced",
        };
        let opening = format!("Failed to sync bundle {} to namespace {name:?}: TargetExists: ", kind(body));
        let words = if let Becomes::Stays(words) = becomes { vec![opening.as_str(), words] } else { Vec::new() };
        stage.says(name, reason, &words).await.with_context(|| (*name).to_owned())?;
        let found = stage.object(kind(body), name, name).await?.with_context(|| format!("{name} is gone"))?;
        if let Becomes::Stays(_) = becomes {
            ensure!(found == *before, "{name} was touched: {found:?}");
            return Ok(());
        }
        ensure!(others(&found) == others(before), "{name}: {found:?}");
        let expected = if kind(body) == "Secret" { STANDARD.encode(&pem) } else { pem.clone() };
        ensure!(content(&found)[KEY] == json!(expected), "{name}: {found:?}");
        let keys = found.metadata.annotations.as_ref().and_then(|annotations| annotations.get(KEYS_ANNOTATION));
        let owners: Vec<_> =
            found.metadata.owner_references.iter().flatten().map(|owner| owner.kind.as_str()).collect();
        let (named, owned) = match becomes {
            Becomes::Completed => (Some(KEY), &["Bundle", "Namespace"][..]),
            _ => (None, &["Bundle"][..]),
        };
        ensure!(keys.map(String::as_str) == named && owners == owned, "{name}: {found:?}");
        Ok(())
    };
    try_join_all(rows.iter().zip(&before).map(check)).await?;

    let ways = [DeleteParams::background(), DeleteParams::foreground(), DeleteParams::orphan()];
    for (row, how) in rows.iter().zip(ways.iter().cycle()) {
        stage.delete_bundle(row.0, how).await?;
    }
    stage.garbage_is_collected("rows").await?;
    for ((row, before), how) in rows.iter().zip(&before).zip(ways.iter().cycle()) {
        let (name, body, becomes) = row;
        let found = stage.object(kind(body), name, name).await?;
        if *becomes == Becomes::Ours {
            continue;
        }
        let found = found.with_context(|| format!("{name} was destroyed"))?;
        if let Becomes::Stays(_) = becomes {
            ensure!(found == *before, "{name} was touched: {found:?}");
            continue;
        }
        ensure!(others(&found) == others(before), "{name}: {found:?}");
        if how != &DeleteParams::orphan() {
            eventually(&format!("what is ours is taken out of {name}"), PATIENCE, async || {
                let found = stage.object(kind(body), name, name).await?.context("it was destroyed")?;
                let all = |object: &DynamicObject| {
                    let kube::api::ObjectMeta { labels, annotations, owner_references, .. } = object.metadata.clone();
                    let owners = owner_references.unwrap_or_default();
                    (labels.unwrap_or_default(), annotations.unwrap_or_default(), owners, others(object))
                };
                ensure!(all(&found) == all(before) && !content(&found).contains_key(KEY), "{found:?}");
                Ok(())
            })
            .await;
        }
    }
    Ok(())
}
