//! The raw writer: the same body to one object in each namespace, from a fixed number of concurrent requests, without
//! any logic. What it takes is what the API server takes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::Method;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, ResourceExt as _};
use rootcast::api::{FIELD_MANAGER, HASH_ANNOTATION};

use crate::{
    material::Content,
    object::{Encoding, Metadata, Owner, Tail},
    process::{Processes, Used},
    protobuf,
    subject::{KEY, LABEL},
    wire,
};

/// A way to write an object.
#[derive(Debug)]
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    pub(crate) effect: Effect,
    method: Method,
    encoding: Encoding,
    content_type: &'static str,
    query: &'static str,
}

/// What a verb does to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Creates it.
    Create,
    /// Replaces it whole if it still has the version that is known.
    Replace,
    /// Sets its data.
    Patch,
    /// Sets its data, or creates it.
    Apply,
    /// Removes it.
    Delete,
}

const JSON: &str = "application/json";

const fn json(name: &'static str, effect: Effect, method: Method, content_type: &'static str) -> Verb {
    Verb { name, effect, method, encoding: Encoding::Json, content_type, query: "&fieldValidation=Ignore" }
}

const fn protobuf(name: &'static str, effect: Effect, method: Method) -> Verb {
    Verb { name, effect, method, encoding: Encoding::Protobuf, content_type: protobuf::CONTENT_TYPE, query: "" }
}

pub(crate) static POST_JSON: Verb = json("POST JSON", Effect::Create, Method::POST, JSON);
static POST_PROTOBUF: Verb = protobuf("POST protobuf", Effect::Create, Method::POST);
static PUT_JSON: Verb = json("PUT JSON", Effect::Replace, Method::PUT, JSON);
pub(crate) static PUT_PROTOBUF: Verb = protobuf("PUT protobuf", Effect::Replace, Method::PUT);
pub(crate) static STRATEGIC_MERGE: Verb =
    json("strategic merge patch", Effect::Patch, Method::PATCH, "application/strategic-merge-patch+json");
static JSON_MERGE: Verb = json("JSON merge patch", Effect::Patch, Method::PATCH, "application/merge-patch+json");
pub(crate) static APPLY: Verb = Verb {
    name: "server-side apply",
    effect: Effect::Apply,
    method: Method::PATCH,
    encoding: Encoding::Json,
    content_type: "application/apply-patch+yaml",
    query: "&fieldValidation=Ignore&force=true",
};
pub(crate) static DELETE: Verb = json("DELETE", Effect::Delete, Method::DELETE, JSON);

/// Every verb, so that each finds objects that it can do something with.
pub(crate) static ROUND: [&Verb; 9] =
    [&POST_JSON, &DELETE, &POST_PROTOBUF, &PUT_JSON, &PUT_PROTOBUF, &STRATEGIC_MERGE, &JSON_MERGE, &APPLY, &DELETE];

impl Verb {
    /// Whether it changes objects that are there.
    pub(crate) fn is_update(&self) -> bool {
        matches!(self.effect, Effect::Replace | Effect::Patch | Effect::Apply)
    }

    pub(crate) fn is_json(&self) -> bool {
        self.encoding == Encoding::Json
    }
}

/// One object of the same name in each of some namespaces.
pub(crate) struct Raw<'a> {
    client: Client,
    processes: Processes,
    owner: &'a Owner,
    name: String,
    namespaces: &'a [String],
    /// By namespace: the object's present version.
    versions: Vec<String>,
}

impl<'a> Raw<'a> {
    /// No object is there yet.
    pub(crate) fn new(
        client: Client,
        processes: Processes,
        owner: &'a Owner,
        name: &str,
        namespaces: &'a [String],
    ) -> Self {
        let versions = vec![String::new(); namespaces.len()];
        Self { client, processes, owner, name: name.to_owned(), namespaces, versions }
    }

    /// Writes `content` to every object.
    pub(crate) async fn write(&mut self, verb: &Verb, content: &Content, in_flight: usize) -> Result<Used> {
        let start = self.processes.usage()?;
        let tail = Tail::new(verb.encoding, KEY, &content.pem);
        let numbers = 0..self.namespaces.len();
        let requests = numbers.map(|number| self.send(verb, content, &tail, number));
        let versions: Vec<_> = stream::iter(requests).buffer_unordered(in_flight).try_collect().await?;
        let used = self.processes.since(&start)?;
        for (number, version) in versions {
            self.versions[number] = version;
        }
        Ok(used)
    }

    /// Looks whether the server has understood what was written last.
    pub(crate) async fn verify(&self, content: &Content) -> Result<()> {
        let namespace = self.namespaces.last().context("there are namespaces")?;
        let object = Api::<ConfigMap>::namespaced(self.client.clone(), namespace).get(&self.name).await?;
        let data = object.data.iter().flatten().map(|(key, value)| (key.as_str(), value.as_str()));
        let owners = object.metadata.owner_references.iter().flatten();
        ensure!(data.eq([(KEY, content.pem.as_str())]), "{} does not hold what was written", self.name);
        ensure!(object.annotations().get(HASH_ANNOTATION) == Some(&content.hash), "{} has no hash", self.name);
        ensure!(object.labels().get(LABEL.0).is_some_and(|value| value == LABEL.1), "{} has no label", self.name);
        ensure!(owners.map(|owner| &owner.uid).eq([&self.owner.uid]), "{} has no owner", self.name);
        Ok(())
    }

    /// Writes `content` to the object in one namespace; how long that took.
    pub(crate) async fn write_one(&mut self, verb: &Verb, content: &Content, number: usize) -> Result<Duration> {
        let tail = Tail::new(verb.encoding, KEY, &content.pem);
        let began = Instant::now();
        (_, self.versions[number]) = self.send(verb, content, &tail, number).await?;
        Ok(began.elapsed())
    }

    async fn send(&self, verb: &Verb, content: &Content, tail: &Tail, number: usize) -> Result<(usize, String)> {
        let Verb { name: _, effect, method, encoding: _, content_type, query } = verb;
        let name = &self.name;
        let metadata = Metadata {
            name,
            resource_version: (*effect == Effect::Replace).then_some(&self.versions[number]),
            labels: &[LABEL, ("example.com/bundle", name)],
            annotations: &[(HASH_ANNOTATION, &content.hash)],
            owner: self.owner,
        };
        let (head, body) = match effect {
            Effect::Delete => (None, Bytes::new()),
            _ => (Some(tail.head(&metadata)), tail.bytes.clone()),
        };
        let object = if *effect == Effect::Create { String::new() } else { format!("/{name}") };
        let namespace = &self.namespaces[number];
        let uri = format!("/api/v1/namespaces/{namespace}/configmaps{object}?fieldManager={FIELD_MANAGER}{query}");
        Ok((number, wire::send(&self.client, method.clone(), &uri, content_type, head, body).await?))
    }
}
