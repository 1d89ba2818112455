//! The fault proxy: each of its faults once, between a plain client and the real API server.

use std::{
    collections::BTreeMap,
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures::{Stream, StreamExt as _, future::try_join_all};
use http::Request;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Error, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams, WatchEvent, WatchParams},
    client::Body,
};
use rootcast_e2e::{
    ControlPlane, eventually,
    proxy::{Effect, On, Proxy, Turns},
};

const SOON: Duration = Duration::from_secs(30);

/// A namespace of a test's own and a proxy to reach it through.
struct Stage {
    proxy: Proxy,
    namespace: &'static str,
    /// Through the proxy.
    near: Api<ConfigMap>,
    /// Around it.
    far: Api<ConfigMap>,
}

impl Stage {
    async fn set(namespace: &'static str) -> Result<Self> {
        let control_plane = ControlPlane::shared().await;
        control_plane.namespace(namespace, &[]).await?;
        let proxy = Proxy::start(control_plane)?;
        let config_maps = |client: Client| Api::<ConfigMap>::namespaced(client, namespace);
        // It comes to every namespace, and would be one event more in some tests.
        let root = config_maps(control_plane.client());
        eventually("the cluster's CA comes", SOON, async || Ok(root.get_metadata("kube-root-ca.crt").await?)).await;
        Ok(Self { near: config_maps(proxy.client()), far: config_maps(control_plane.client()), proxy, namespace })
    }

    async fn create(&self, name: &str) -> kube::Result<ConfigMap> {
        self.near.create(&PostParams::default(), &config_map(name, "")).await
    }

    async fn names(&self) -> Result<Vec<String>> {
        let found = self.far.list_metadata(&ListParams::default()).await?;
        Ok(found.iter().map(ResourceExt::name_any).filter(|name| name != "kube-root-ca.crt").collect())
    }

    /// Through the proxy, from here on.
    async fn watch(&self) -> Result<impl Stream<Item = kube::Result<WatchEvent<ConfigMap>>>> {
        let version = self.far.list_metadata(&ListParams::default()).await?.metadata.resource_version;
        Ok(self.near.watch(&WatchParams::default(), &version.context("a list has a version")?).await?)
    }
}

fn config_map(name: &str, text: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([("k".to_owned(), text.to_owned())])),
        ..ConfigMap::default()
    }
}

/// Neither an answer of the API server's nor one of the proxy's.
fn is_cut(error: &Error) -> bool {
    !matches!(error, Error::Api(_))
}

fn added(event: Option<kube::Result<WatchEvent<ConfigMap>>>) -> Result<String> {
    match event.context("the watch ended")?? {
        WatchEvent::Added(found) => Ok(found.name_any()),
        other => anyhow::bail!("{other:?}"),
    }
}

#[tokio::test]
async fn without_faults_everything_passes() -> Result<()> {
    let stage = Stage::set("plain").await?;
    let text = "x".repeat(220_000);
    let names: Vec<_> = (0..32).map(|number| format!("large-{number}")).collect();
    let mut watch = pin!(stage.watch().await?);
    let create = async |name: &String| stage.near.create(&PostParams::default(), &config_map(name, &text)).await;
    try_join_all(names.iter().map(create)).await?;
    for _ in &names {
        added(watch.next().await)?;
    }
    let read = stage.near.get("large-7").await?;
    assert_eq!(read.data.context("data")?["k"], text);

    let creates = stage.proxy.exchanges(&On::writes().resource("configmaps").namespace("plain"));
    assert_eq!(creates.len(), 32);
    assert!(creates.iter().all(|create| create.answer.is_some_and(|(status, _)| status == 201) && !create.faulted));
    assert_eq!(stage.proxy.count(&On::watches()), 1);
    assert_eq!(stage.proxy.count(&On::default().path("/api/v1/namespaces/plain/configmaps/large-7")), 1);

    let stranger: Api<ConfigMap> = Api::namespaced(stage.proxy.client_as("stranger", &[]), stage.namespace);
    let Err(Error::Api(refusal)) = stranger.get("large-7").await else { anyhow::bail!("a stranger may read") };
    assert!(refusal.message.contains("\"stranger\""), "{refusal:?}");
    Ok(())
}

#[tokio::test]
async fn a_token_passes() -> Result<()> {
    let stage = Stage::set("token").await?;
    let control_plane = ControlPlane::shared().await;
    eventually("the account comes", SOON, async || {
        control_plane.kubectl_ok(&["-n", "token", "get", "serviceaccount", "default"], "")
    })
    .await;
    let token = control_plane.kubectl_ok(&["-n", "token", "create", "token", "default"], "")?;
    let request = Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews")
        .header("authorization", format!("Bearer {}", token.trim()))
        .header("content-type", "application/json")
        .body(br#"{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}"#.to_vec())?;
    let review: serde_json::Value = stage.proxy.client().request(request).await?;
    assert_eq!(review["status"]["userInfo"]["username"], "system:serviceaccount:token:default");
    Ok(())
}

#[tokio::test]
async fn a_request_is_delayed() -> Result<()> {
    let stage = Stage::set("delay").await?;
    let delay = Duration::from_millis(400);
    let _fault = stage.proxy.inject(On::writes(), Turns::First(1), Effect::Delay(delay));
    let began = Instant::now();
    stage.create("late").await?;
    assert!(began.elapsed() >= delay);
    Ok(())
}

#[tokio::test]
async fn a_cut_request_never_arrives_and_a_lost_answer_changes_nothing_of_what_was_done() -> Result<()> {
    let stage = Stage::set("cut").await?;
    let cut = stage.proxy.inject(On::writes(), Turns::First(1), Effect::Cut);
    assert!(is_cut(&stage.create("cut").await.unwrap_err()));
    drop(cut);
    let lost = stage.proxy.inject(On::writes(), Turns::Nth(2), Effect::LoseAnswer);
    stage.create("first").await?;
    assert!(is_cut(&stage.create("second").await.unwrap_err()));
    stage.create("third").await?;
    assert_eq!(lost.hits(), 1);
    assert_eq!(stage.names().await?, ["first", "second", "third"]);
    let answers = stage.proxy.exchanges(&On::writes());
    let answers: Vec<_> = answers.iter().map(|exchange| exchange.answer.map(|(status, _)| status)).collect();
    assert_eq!(answers, [None, Some(201), None, Some(201)]);
    Ok(())
}

#[tokio::test]
async fn an_answer_is_cut_in_its_middle() -> Result<()> {
    let stage = Stage::set("half").await?;
    let _fault = stage.proxy.inject(On::writes(), Turns::First(1), Effect::CutLine(0));
    assert!(is_cut(&stage.create("half").await.unwrap_err()));
    assert_eq!(stage.names().await?, ["half"]);
    Ok(())
}

#[tokio::test]
async fn too_many_requests_are_told_when_to_come_again() -> Result<()> {
    let stage = Stage::set("busy").await?;
    let _fault = stage.proxy.inject(On::writes().namespace("busy"), Turns::First(1), Effect::too_many_requests(2));
    let request = Request::post("/api/v1/namespaces/busy/configmaps").body(Body::empty())?;
    let answer = stage.proxy.client().send(request).await?;
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str()?), (429, "2"));
    assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
    let text = answer.into_body().collect_bytes().await?;
    assert_eq!(text, "Too many requests, please try again later.\n");
    stage.create("then").await?;
    Ok(())
}

#[tokio::test]
async fn a_refusal_is_for_one_namespace_and_verb() -> Result<()> {
    let stage = Stage::set("refused").await?;
    for (code, reason) in [(403, "Forbidden"), (500, "InternalError"), (503, "ServiceUnavailable"), (504, "Timeout")] {
        let here = On::default().verbs(&["create", "delete"]).namespace("refused");
        let _fault = stage.proxy.inject(here, Turns::Each, Effect::refuse(code, reason));
        let Err(Error::Api(refusal)) = stage.create("x").await else { anyhow::bail!("{code} did not come") };
        assert_eq!((refusal.code, refusal.reason.as_str()), (code, reason));
        let deletion = stage.near.delete("kube-root-ca.crt", &DeleteParams::default()).await;
        assert!(matches!(deletion, Err(Error::Api(_))), "{code}");
        stage.near.list(&ListParams::default()).await?;
        let elsewhere: Api<ConfigMap> = Api::namespaced(stage.proxy.client(), "default");
        elsewhere.create(&PostParams::default(), &config_map(&format!("elsewhere-{code}"), "")).await?;
    }
    assert_eq!(stage.names().await?, [] as [&str; 0]);
    Ok(())
}

#[tokio::test]
async fn a_version_has_expired() -> Result<()> {
    let stage = Stage::set("expired").await?;
    let fault = stage.proxy.inject(On::resumes(), Turns::Each, Effect::expire());
    stage.near.list(&ListParams::default()).await?;
    let first = stage.watch().await?;
    let mut second = pin!(stage.watch().await?);
    let Some(Ok(WatchEvent::Error(status))) = second.next().await else { anyhow::bail!("no error event") };
    assert_eq!(status.code, 410);
    assert!(second.next().await.is_none());
    assert_eq!(fault.hits(), 1, "the watch after the list resumes nothing");
    drop(first);
    Ok(())
}

#[tokio::test]
async fn what_is_stalled_neither_moves_nor_closes() -> Result<()> {
    let stage = Stage::set("stall").await?;
    let mut watch = pin!(stage.watch().await?);
    stage.create("before").await?;
    assert_eq!(added(watch.next().await)?, "before");

    let stall = stage.proxy.inject(On::default().namespace("stall"), Turns::Each, Effect::Stall);
    stage.far.create(&PostParams::default(), &config_map("meanwhile", "")).await?;
    let silence = Duration::from_millis(300);
    let (event, write) = tokio::join!(
        tokio::time::timeout(silence, watch.next()),
        tokio::time::timeout(silence, stage.create("stalled")),
    );
    assert!(event.is_err() && write.is_err());
    assert_eq!(stage.names().await?, ["before", "meanwhile"]);

    drop(stall);
    assert_eq!(added(watch.next().await)?, "meanwhile");
    stage.create("after").await?;
    Ok(())
}

#[tokio::test]
async fn a_watch_is_cut_in_the_middle_of_a_line() -> Result<()> {
    let stage = Stage::set("line").await?;
    let fault = stage.proxy.inject(On::watches(), Turns::First(1), Effect::CutLine(2));
    let request = Request::get("/api/v1/namespaces/line/configmaps?watch=true&resourceVersion=0").body(Body::empty())?;
    let mut frames = stage.proxy.client().send(request).await?.into_body();
    let read = async {
        let mut read = Vec::new();
        while let Some(frame) = http_body_util::BodyExt::frame(&mut frames).await {
            match frame {
                Ok(frame) => read.extend_from_slice(frame.data_ref().expect("a watch has no trailers")),
                Err(_) => return Ok((read, true)),
            }
        }
        Ok((read, false))
    };
    let write = async {
        for name in ["a", "b", "c"] {
            stage.far.create(&PostParams::default(), &config_map(name, "")).await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    let ((read, failed), ()) = tokio::try_join!(read, write)?;
    let lines: Vec<_> = read.split(|&byte| byte == b'\n').collect();
    assert_eq!(lines.len(), 3, "two lines and a part");
    assert!(lines[2].starts_with(b"{\"type\":\"") && failed && fault.hits() == 1);
    Ok(())
}

#[tokio::test]
async fn open_watches_are_cut_now() -> Result<()> {
    let stage = Stage::set("now").await?;
    let mut watch = pin!(stage.watch().await?);
    stage.create("before").await?;
    assert_eq!(added(watch.next().await)?, "before");
    stage.proxy.cut(&On::watches().namespace("elsewhere"));
    stage.create("still").await?;
    assert_eq!(added(watch.next().await)?, "still");
    stage.proxy.cut(&On::watches());
    assert!(!matches!(watch.next().await, Some(Ok(_))));
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_killed_answers_nothing_and_comes_back_with_its_data() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    let proxy = Proxy::start(&control_plane)?;
    let config_maps: Api<ConfigMap> = Api::default_namespaced(proxy.client());
    config_maps.create(&PostParams::default(), &config_map("kept", "")).await?;
    control_plane.kill_api_server().await?;
    assert!(is_cut(&config_maps.get("kept").await.unwrap_err()));
    control_plane.restart_api_server().await?;
    config_maps.get("kept").await?;

    control_plane.freeze_etcd();
    let mut write = pin!(async { config_maps.create(&PostParams::default(), &config_map("late", "")).await });
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut write).await.is_err());
    control_plane.thaw_etcd();
    write.await?;
    control_plane.finish().await
}
