//! The model beside a real API server: the same requests on both, and the same to be read afterwards.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{PartialObjectMeta, WatchEvent};
use kube::{
    Api, Client, Error, Resource as _,
    api::{DeleteParams, ListParams},
};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use rootcast::api::{BUNDLE_LABEL, FIELD_MANAGER};
use rootcast::bundle::{ObjectKind, ObservedMetadata};
use rootcast_e2e::{ControlPlane, eventually};
use serde_json::{Map, Value, json};

use crate::model::{Call, Change, Failure, Field, Fields, Key, Part, Server, Told, Verb, told};

const NAMESPACE: &str = "model";
const SEQUENCES: usize = 300;
const SOON: Duration = Duration::from_secs(30);
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// For which version of an object a request is.
#[derive(Clone, Copy, Debug)]
enum Guard {
    None,
    Current,
    Stale,
}

#[derive(Clone, Debug)]
struct Step {
    manager: &'static str,
    guard: Guard,
    verb: Verb,
}

/// What the fan-out can tell of an object: who else owns a key is only for the eye.
fn look(metadata: &ObjectMeta) -> ObservedMetadata {
    let mut look = ObservedMetadata::from_metadata(metadata, |_, _| true);
    look.foreign_keys.values_mut().for_each(String::clear);
    look
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_api_server_does_what_the_model_says() -> Result<()> {
    let control_plane = ControlPlane::shared().await;
    let client = control_plane.client();
    control_plane.namespace(NAMESPACE, &[]).await?;
    let began = Instant::now();
    let since = list_version(&client).await?;
    let mut runner = TestRunner::deterministic();
    let sequences = (0..SEQUENCES).map(|index| {
        let kind = ObjectKind::ALL[index % 2];
        let steps = prop::collection::vec(step(kind), 3..9).new_tree(&mut runner).expect("no filters").current();
        (Key { kind, namespace: NAMESPACE.to_owned(), name: format!("case-{index}") }, steps)
    });
    let expected: BTreeMap<Key, Vec<(&str, ObservedMetadata)>> = stream::iter(sequences)
        .map(|(key, steps)| {
            let client = client.clone();
            async move {
                let told = play(&client, &key, &steps).await.with_context(|| format!("{key:?}: {steps:#?}"))?;
                Ok::<_, anyhow::Error>((key, told))
            }
        })
        .buffer_unordered(16)
        .try_collect()
        .await?;
    for kind in ObjectKind::ALL {
        let heard = watched(&client, kind, &since).await?;
        for (key, told) in expected.iter().filter(|(key, _)| key.kind == kind) {
            let heard = heard.get(&key.name).map(Vec::as_slice).unwrap_or_default();
            assert_eq!(heard, told, "what a watch tells of {key:?}");
        }
    }
    println!("{SEQUENCES} sequences in {:.1?}", began.elapsed());
    Ok(())
}

/// Plays the steps on both; returns what a watch has to tell of them.
async fn play(client: &Client, key: &Key, steps: &[Step]) -> Result<Vec<(&'static str, ObservedMetadata)>> {
    let mut server = Server::default();
    server.set_namespace(NAMESPACE, BTreeMap::new());
    // Versions that stand for each other.
    let (mut real, mut stale) = (None::<String>, None::<String>);
    for (number, Step { manager, guard, verb }) in steps.iter().enumerate() {
        let before = server.objects.get(key).map(|object| object.version);
        let (version, given) = match guard {
            Guard::None => (None, None),
            Guard::Current => (before, real.clone().filter(|_| before.is_some())),
            Guard::Stale => (stale.as_ref().map(|_| 0), stale.clone()),
        };
        let expected = server.call(key, Call { manager, version, verb: verb.clone() });
        let found = request(client, key, manager, given.as_deref(), verb).await?;
        let step = format!("step {number}, {verb:?} by {manager} with {guard:?}");
        ensure!(
            expected.as_ref().err() == found.as_ref().err(),
            "{step}: {expected:?} in the model, {found:?} in truth"
        );
        let after = metadata(client, key).await?;
        let model = server.objects.get(key);
        ensure!(model.is_some() == after.is_some(), "{step}: {model:?} in the model, {after:?} in truth");
        let (Some(after), Some(model)) = (after, model) else {
            stale = real.take().or(stale);
            continue;
        };
        let (in_truth, in_model) = (look(&after), look(&model.metadata()));
        ensure!(in_truth == in_model, "{step}: {in_model:#?} in the model, {in_truth:#?} in truth");
        let moved = after.resource_version != real;
        ensure!(moved == (Some(model.version) != before), "{step}: moved in truth: {moved}");
        if moved {
            stale = std::mem::replace(&mut real, after.resource_version).or(stale);
        }
    }
    let tell = |change: &Change| match change {
        Change::Namespace(..) => None,
        Change::Object { before, after, version, .. } => {
            Some(match told(BUNDLE_LABEL, before.as_ref(), after.as_ref(), *version)? {
                Told::Added(object) => ("ADDED", look(&object.metadata())),
                Told::Modified(object) => ("MODIFIED", look(&object.metadata())),
                Told::Deleted(object) => ("DELETED", look(&object.metadata())),
            })
        }
    };
    Ok(server.log.iter().filter_map(tell).collect())
}

fn step(kind: ObjectKind) -> impl Strategy<Value = Step> {
    let manager = prop_oneof![3 => Just(FIELD_MANAGER), 1 => Just("kubectl-edit"), 1 => Just("rival")];
    let guard = prop_oneof![2 => Just(Guard::None), 4 => Just(Guard::Current), 1 => Just(Guard::Stale)];
    let verb = prop_oneof![
        3 => fields(kind).prop_map(Verb::Create),
        3 => fields(kind).prop_map(Verb::Replace),
        4 => patch(kind).prop_map(Verb::Merge),
        4 => fields(kind).prop_map(Verb::Apply),
        1 => Just(Verb::Delete),
        1 => Just(Verb::Disown),
    ];
    (manager, guard, verb).prop_map(|(manager, guard, verb)| Step { manager, guard, verb })
}

fn value(field: &Field) -> BoxedStrategy<String> {
    match (field.part, field.name.as_deref()) {
        (Part::Owners, Some(uid)) => Just(owner(uid, uid != "bystander")).boxed(),
        (Part::Immutable, _) => Just("true".to_owned()).boxed(),
        _ => prop_oneof!["a", "b"].boxed(),
    }
}

/// Fields to choose from, each with its weight.
fn known(kind: ObjectKind) -> Vec<(f64, Field)> {
    let mut known = vec![
        (0.7, Field::new(Part::Data, "one")),
        (0.4, Field::new(Part::Data, "two")),
        (0.7, Field::new(Part::Labels, BUNDLE_LABEL)),
        (0.3, Field::new(Part::Labels, "other")),
        (0.5, Field::new(Part::Annotations, "note")),
        (0.5, Field::new(Part::Owners, "ours")),
        (0.1, Field::new(Part::Owners, "bystander")),
        (0.1, Field::new(Part::Owners, "theirs")),
        (0.03, Field::whole(Part::Immutable)),
    ];
    if kind == ObjectKind::ConfigMap {
        known.push((0.3, Field::new(Part::BinaryData, "three")));
    }
    known
}

fn fields(kind: ObjectKind) -> impl Strategy<Value = Fields> {
    let each: Vec<_> = known(kind)
        .into_iter()
        .map(|(weight, field)| {
            prop::option::weighted(weight, value(&field)).prop_map(move |value| Some((field.clone(), value?)))
        })
        .collect();
    each.prop_map(|chosen| chosen.into_iter().flatten().collect())
}

fn patch(kind: ObjectKind) -> impl Strategy<Value = BTreeMap<Field, Option<String>>> {
    let each: Vec<_> = known(kind)
        .into_iter()
        .map(|(weight, field)| {
            let change = prop::option::weighted(0.6, value(&field));
            prop::option::weighted(weight / 2.0, change).prop_map(move |change| Some((field.clone(), change?)))
        })
        .collect();
    each.prop_map(|chosen| chosen.into_iter().flatten().collect())
}

/// An owner of a kind that the garbage collector does not know.
fn owner(uid: &str, controller: bool) -> String {
    json!({ "apiVersion": "example.com/v1", "kind": "Thing", "name": uid, "uid": uid, "controller": controller })
        .to_string()
}

/// What the real server says to a request.
async fn request(
    client: &Client,
    key: &Key,
    manager: &str,
    version: Option<&str>,
    verb: &Verb,
) -> Result<Result<(), Failure>> {
    let (method, media_type, query, body) = match verb {
        Verb::Create(fields) => ("POST", "application/json", "", object(key, with_values(fields))),
        Verb::Replace(fields) => ("PUT", "application/json", "", object(key, with_values(fields))),
        Verb::Merge(patch) => ("PATCH", "application/strategic-merge-patch+json", "", object(key, patch.clone())),
        Verb::Apply(fields) => {
            ("PATCH", "application/apply-patch+yaml", "&force=true", object(key, with_values(fields)))
        }
        Verb::Disown => ("PATCH", "application/merge-patch+json", "", json!({ "metadata": { "managedFields": [{}] } })),
        Verb::Delete => ("DELETE", "application/json", "", json!({ "preconditions": { "resourceVersion": version } })),
    };
    let mut body = body;
    if let (Some(version), true) = (version, !matches!(verb, Verb::Create(_) | Verb::Delete)) {
        body["metadata"]["resourceVersion"] = version.into();
    }
    let uri = if method == "POST" { collection(key) } else { format!("{}/{}", collection(key), key.name) };
    let request = http::Request::builder()
        .method(method)
        .uri(format!("{uri}?fieldManager={manager}{query}"))
        .header("Content-Type", media_type)
        .body(body.to_string().into_bytes())?;
    let status = match client.request_text(request).await {
        Ok(_) => return Ok(Ok(())),
        Err(Error::Api(status)) => status,
        Err(error) => return Err(error).with_context(|| format!("{method} {uri}: {body}")),
    };
    let details = status.details.as_ref();
    let caused =
        |reason: &str| details.is_some_and(|details| details.causes.iter().any(|cause| cause.reason == reason));
    Ok(Err(match (status.code, status.reason.as_str()) {
        (404, _) if details.is_some_and(|details| details.kind == "namespaces") => Failure::NamespaceNotFound,
        (404, _) => Failure::NotFound,
        (409, "AlreadyExists") => Failure::Exists,
        (409, _) => Failure::Conflict,
        (403, _) if caused("NamespaceTerminating") => Failure::NamespaceTerminating,
        (422, _) if status.message.contains("field is immutable when `immutable` is set") => Failure::Immutable,
        (422, _) if status.message.contains("Only one reference can have Controller set") => Failure::TwoControllers,
        _ => bail!("{method} {uri}: {body}: {status:?}"),
    }))
}

fn with_values(fields: &Fields) -> BTreeMap<Field, Option<String>> {
    fields.iter().map(|(field, value)| (field.clone(), Some(value.clone()))).collect()
}

/// A manifest or patch with these fields; what has no value is taken out.
fn object(key: &Key, fields: BTreeMap<Field, Option<String>>) -> Value {
    let mut maps = BTreeMap::<_, Map<String, Value>>::new();
    let mut owners = Vec::new();
    let mut object = json!({ "apiVersion": "v1", "kind": key.kind.as_str(), "metadata": { "name": key.name } });
    for (Field { part, name }, value) in fields {
        let name = name.unwrap_or_default();
        match part {
            Part::Immutable => object["immutable"] = json!(value.map(|_| true)),
            Part::Owners => owners.push(match value {
                Some(owner) => serde_json::from_str(&owner).expect("an owner is JSON"),
                None => json!({ "$patch": "delete", "uid": name }),
            }),
            Part::BinaryData => drop(maps.entry(part).or_default().insert(name, json!(value.as_deref().map(encoded)))),
            Part::Data if key.kind == ObjectKind::Secret => {
                maps.entry(part).or_default().insert(name, json!(value.as_deref().map(encoded)));
            }
            _ => drop(maps.entry(part).or_default().insert(name, json!(value))),
        }
    }
    for (part, map) in maps {
        match part {
            Part::Data => object["data"] = map.into(),
            Part::BinaryData => object["binaryData"] = map.into(),
            Part::Labels => object["metadata"]["labels"] = map.into(),
            Part::Annotations => object["metadata"]["annotations"] = map.into(),
            Part::Owners | Part::Immutable | Part::Type => {}
        }
    }
    if !owners.is_empty() {
        object["metadata"]["ownerReferences"] = owners.into();
    }
    object
}

/// Base64 of the few values that there are.
fn encoded(value: &str) -> &'static str {
    if value == "a" { "YQ==" } else { "Yg==" }
}

fn collection(key: &Key) -> String {
    format!("/api/v1/namespaces/{}/{}", key.namespace, plural(key.kind))
}

fn plural(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::ConfigMap => "configmaps",
        ObjectKind::Secret => "secrets",
    }
}

async fn metadata(client: &Client, key: &Key) -> Result<Option<ObjectMeta>> {
    let request = http::Request::get(format!("{}/{}", collection(key), key.name))
        .header("Accept", METADATA_ONLY)
        .body(Vec::new())?;
    match client.request::<PartialObjectMeta<ConfigMap>>(request).await {
        Ok(object) => Ok(Some(object.metadata)),
        Err(Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn list_version(client: &Client) -> Result<String> {
    let list = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE).list_metadata(&ListParams::default()).await?;
    list.metadata.resource_version.context("a list has a version")
}

/// What a watch for the Bundle label tells of each object since a version.
async fn watched(
    client: &Client,
    kind: ObjectKind,
    since: &str,
) -> Result<BTreeMap<String, Vec<(&'static str, ObservedMetadata)>>> {
    let barrier = Key { kind, namespace: NAMESPACE.to_owned(), name: "barrier".to_owned() };
    let labelled = Fields::from([(Field::new(Part::Labels, BUNDLE_LABEL), "barrier".to_owned())]);
    request(client, &barrier, "barrier", None, &Verb::Create(labelled)).await?.expect("a new object");
    let uri = format!(
        "{}?watch=true&resourceVersion={since}&labelSelector={BUNDLE_LABEL}&timeoutSeconds=1",
        collection(&barrier)
    );
    Ok(eventually("everything that the watch has to tell", SOON, async || {
        let request = http::Request::get(&uri).header("Accept", METADATA_ONLY).body(Vec::new())?;
        let mut heard = BTreeMap::<_, Vec<_>>::new();
        for line in client.request_text(request).await?.lines() {
            let (what, object) = match serde_json::from_str::<WatchEvent<PartialObjectMeta<ConfigMap>>>(line)? {
                WatchEvent::Added(object) => ("ADDED", object),
                WatchEvent::Modified(object) => ("MODIFIED", object),
                WatchEvent::Deleted(object) => ("DELETED", object),
                other => bail!("{other:?}"),
            };
            let name = object.meta().name.clone().context("a name")?;
            heard.entry(name).or_default().push((what, look(&object.metadata)));
        }
        ensure!(heard.contains_key(&barrier.name), "not all yet");
        Ok(heard)
    })
    .await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_that_are_gone_or_going_refuse_what_the_model_says() -> Result<()> {
    let control_plane = ControlPlane::shared().await;
    let client = control_plane.client();
    control_plane.namespace("going", &[]).await?;
    let finalizer = json!({ "metadata": { "name": "held", "finalizers": ["example.com/hold"] } });
    control_plane.kubectl_ok(
        &["create", "-n", "going", "-f", "-"],
        &json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": finalizer["metadata"] }).to_string(),
    )?;
    let namespaces = Api::<Namespace>::all(client.clone());
    namespaces.delete("going", &DeleteParams::default()).await?;

    let mut server = Server::default();
    server.set_namespace("going", BTreeMap::new());
    server.terminate("going");
    let fields = Fields::from([(Field::new(Part::Data, "one"), "a".to_owned())]);
    let verbs = [
        Verb::Create(fields.clone()),
        Verb::Replace(fields.clone()),
        Verb::Merge(with_values(&fields)),
        Verb::Apply(fields),
        Verb::Delete,
    ];
    for namespace in ["going", "nowhere"] {
        for verb in &verbs {
            let key = Key { kind: ObjectKind::ConfigMap, namespace: namespace.to_owned(), name: "x".to_owned() };
            let expected = server.call(&key, Call { manager: FIELD_MANAGER, version: None, verb: verb.clone() });
            let found = request(&client, &key, FIELD_MANAGER, None, verb).await?;
            assert_eq!(found, expected.map(|_| ()), "{verb:?} in {namespace}");
        }
    }
    Ok(())
}
