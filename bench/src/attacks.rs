//! What others wait for while somebody attacks: a new namespace for its target, a tenant for its pod.
//!
//! Attacks that the API server carries are compared with the same requests without what concerns us: what it takes
//! over them is not ours.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::{
    admissionregistration::v1::MutatingWebhookConfiguration,
    core::v1::{ConfigMap, Namespace, Pod},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};
use rootcast::api::BUNDLE_LABEL;
use rootcast_e2e::{
    Balancer, Controller, Injector, Launch, TlsClient,
    attack::{begin, endless_head, many_keys, pod_text, post, review},
    eventually,
};
use serde_json::{Value, json};

use crate::{
    injector::{BUNDLE, Place},
    numbers::{millis_each, ratio, seconds},
    report::{Report, Row},
    stage::{Stage, create},
    tally::Tally,
};

/// The most that anybody waits while an attack goes past the API server: for a target, and for a pod.
const DIRECT_GOAL: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(250)];

/// At most this many times what it is under the same requests without what concerns us.
const CARRIED_GOAL: f64 = 1.5;

/// How soon a controller is ready beside [`NAMES`] labelled objects, each of another name.
const READY_GOAL: Duration = Duration::from_secs(10);
const NAMES: usize = 60_000;

/// At most this many times what a plain list of them takes, by pages of this many.
const LISTED_GOAL: f64 = 2.0;
const PAGE: u32 = 500;

/// How long each attack goes on.
const TIME: Duration = Duration::from_secs(8);

/// How many connections an attacker opens at once, to each port.
const CONNECTIONS: usize = 200;

/// The product, confined, and those who wait for it.
struct Scene<'a> {
    stage: &'a Stage,
    tls: TlsClient,
    controller: Controller<'a>,
    injector: Injector<'a>,
    tally: Tally,
    created: Cell<usize>,
}

/// What was waited for a target and for a pod: the median, and the longest.
#[derive(Clone, Copy)]
struct Waits {
    median: [Duration; 2],
    longest: [Duration; 2],
}

pub(crate) async fn attacks(report: &mut Report) -> Result<()> {
    let stage = Stage::with_namespaces(0).await?;
    if report.circumstances.is_empty() {
        report.describe(&stage).await?;
    }
    let place = Place::prepare(&stage.control_plane).await?;
    let mut scene = Scene::begin(&stage, &place.balancer).await?;
    scene.tell("nothing goes on", Scene::rest, report).await?;
    scene.tell("heads without an end at the ports of probes and metrics", Scene::heads, report).await?;
    scene.tell("reviews of 700,000 containers straight to the port", Scene::reviews, report).await?;
    let labels = [
        scene.carried(async |scene| scene.objects(false).await).await?,
        scene.carried(async |scene| scene.objects(true).await).await?,
    ];
    tell_carried("objects of 50,000 keys, labelled against not", labels, report);
    let pods = [
        scene.carried(async |scene| scene.pods("plain").await).await?,
        scene.carried(async |scene| scene.pods(BUNDLE).await).await?,
    ];
    tell_carried("pods of 2,000 containers, annotated against not", pods, report);
    scene.controller.is_alive()?;
    scene.injector.is_alive()?;
    scene.names(report).await
}

impl<'a> Scene<'a> {
    async fn begin(stage: &'a Stage, balancer: &Balancer) -> Result<Self> {
        let control_plane = &stage.control_plane;
        let launch = Launch { confined: true, ..Launch::default() };
        let controller = Controller::start_with(control_plane, launch).await?;
        // It has its own certificate, so that the API server knows whom to trust.
        let injector = Injector::start_with(control_plane, balancer, launch).await?;
        let webhooks = Api::<MutatingWebhookConfiguration>::all(control_plane.client());
        let tls = eventually("the injector has told whom to trust", Duration::from_secs(10), async || {
            let webhooks = webhooks.get("rootcast-injector").await?.webhooks.unwrap_or_default();
            let bundle = webhooks.into_iter().find_map(|webhook| webhook.client_config.ca_bundle);
            let bundle = bundle.context("none yet")?;
            TlsClient::new(std::str::from_utf8(&bundle.0)?, "rootcast-injector.cert-manager.svc")
        })
        .await;
        let tally = Tally::start(control_plane.client(), BUNDLE, BUNDLE_LABEL);
        let scene = Self { stage, tls, controller, injector, tally, created: Cell::new(0) };
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok(scene)
    }

    /// What others wait for until the attack has ended.
    async fn during(&self, attack: impl Future<Output = Result<()>>) -> Result<Waits> {
        let (mut targets, mut pods) = (Vec::new(), Vec::new());
        let others = async {
            loop {
                targets.push(self.target().await?);
                pods.push(self.pod().await?);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            done = attack => done?,
            trouble = others => return trouble,
        }
        ensure!(!pods.is_empty(), "nobody got as far as a pod");
        targets.sort();
        pods.sort();
        let middle = |times: &[Duration]| times[times.len() / 2];
        let last = |times: &[Duration]| times[times.len() - 1];
        Ok(Waits { median: [middle(&targets), middle(&pods)], longest: [last(&targets), last(&pods)] })
    }

    /// A namespace is created: how long until its target is there.
    async fn target(&self) -> Result<Duration> {
        let number = self.created.replace(self.created.get() + 1);
        let name = format!("attacked-{number:05}");
        create(&Api::<Namespace>::all(self.stage.control_plane.client()), &name).await?;
        let began = Instant::now();
        let there = self.tally.until(&name, |board| board.target(&name).is_some()).await?;
        Ok(there.saturating_duration_since(began))
    }

    /// A tenant creates a pod that names the Bundle, in a dry run.
    async fn pod(&self) -> Result<Duration> {
        let pods = Api::<Pod>::namespaced(self.stage.control_plane.client(), "default");
        let pod = json!({
            "metadata": {"name": "p", "annotations": {"inject.rootcast.dev/bundle": BUNDLE}},
            "spec": {"containers": [{"name": "app", "image": "busybox"}]},
        });
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let began = Instant::now();
        let pod = pods.create(&dry, &serde_json::from_value(pod)?).await?;
        let time = began.elapsed();
        let volumes = pod.spec.and_then(|spec| spec.volumes).unwrap_or_default();
        ensure!(volumes.iter().any(|volume| volume.name == format!("rootcast-{BUNDLE}")), "a pod was not injected");
        Ok(time)
    }

    /// Measures under an attack that goes past the API server.
    async fn tell(
        &self,
        what: &'static str,
        attack: impl AsyncFn(&Self) -> Result<()>,
        report: &mut Report,
    ) -> Result<()> {
        let waits = self.during(again(|| attack(self))).await?;
        let millis = |time: Duration| millis_each(time, 1);
        let [[target, pod], [longest_target, longest_pod]] = [waits.median.map(millis), waits.longest.map(millis)];
        report.add(Row {
            measure: what,
            goal: "a target within 100 ms, a pod within 250 ms",
            measured: format!(
                "target {target:.0} ms (at most {longest_target:.0}), pod {pod:.0} ms (at most {longest_pod:.0})"
            ),
            met: waits.longest[0] <= DIRECT_GOAL[0] && waits.longest[1] <= DIRECT_GOAL[1],
            cost: "-".to_owned(),
            requests: "-".to_owned(),
        });
        Ok(())
    }

    async fn carried(&self, attack: impl AsyncFn(&Self) -> Result<()>) -> Result<Waits> {
        let waits = self.during(again(|| attack(self))).await?;
        self.stage.quiet().await?;
        Ok(waits)
    }

    async fn rest(&self) -> Result<()> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }

    async fn heads(&self) -> Result<()> {
        let head = endless_head();
        let products = [&*self.controller, &*self.injector];
        let ports = products.map(|product| [product.probe_port(), product.metrics_port()]).concat();
        let attack = async move {
            for port in ports {
                let opened = futures::future::join_all((0..CONNECTIONS).map(|_| begin(port, &head))).await;
                // Refused or not, all that counts is that it was tried.
                drop(opened);
            }
        };
        // On a thread of its own: nobody who is measured waits for the attacker's turn to end.
        let runtime = tokio::runtime::Handle::current();
        Ok(tokio::task::spawn_blocking(move || runtime.block_on(attack)).await?)
    }

    async fn reviews(&self) -> Result<()> {
        let body = review("default", &pod_text(BUNDLE, "{}", 700_000, ("a", "")));
        post(&self.tls, self.injector.port(), "/inject", body).await.map(drop)
    }

    async fn objects(&self, labelled: bool) -> Result<()> {
        let objects = Api::<ConfigMap>::namespaced(self.stage.control_plane.client(), "default");
        let number = self.created.replace(self.created.get() + 1);
        let object: ConfigMap = serde_json::from_value(many_keys(number, labelled))?;
        objects.create(&PostParams::default(), &object).await?;
        let name = object.metadata.name.unwrap_or_default();
        objects.delete(&name, &DeleteParams::default()).await?;
        Ok(())
    }

    async fn pods(&self, bundle: &str) -> Result<()> {
        let pods = "/api/v1/namespaces/default/pods?dryRun=All";
        let mut pod: Value = serde_json::from_str(&pod_text(BUNDLE, "{}", 2_000, ("a", "")))?;
        if bundle != BUNDLE {
            pod["metadata"]["annotations"] = json!({});
        }
        let request = http::Request::post(pods).header("Content-Type", "application/json");
        let request = request.body(kube::client::Body::from(Bytes::from(pod.to_string())))?;
        // It is refused in the end, for containers without a name.
        drop(self.stage.control_plane.client().send(request).await?);
        Ok(())
    }

    /// How soon a controller is ready beside very many labelled objects, and beside half of them, against a plain list of
    /// them: what the API server takes for the pages of a list grows faster than the number of objects.
    async fn names(self, report: &mut Report) -> Result<()> {
        let Self { stage, controller, .. } = self;
        let client = stage.control_plane.client();
        controller.stop().await?;
        let objects = Api::<ConfigMap>::namespaced(client, "default");
        let (mut ready, mut listed) = (Vec::new(), Vec::new());
        for half in [0..NAMES / 2, NAMES / 2..NAMES] {
            let creations = half.map(async |number| {
                let name = format!("name-{number}");
                let object = json!({"metadata": {"name": name, "labels": {BUNDLE_LABEL: name}}});
                objects.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
                Ok::<_, anyhow::Error>(())
            });
            stream::iter(creations).buffer_unordered(64).try_collect::<()>().await?;
            stage.quiet().await?;
            listed.push(plain_list(&objects).await?);
            let launch = Launch { confined: true, ..Launch::default() };
            let began = Instant::now();
            let controller = Controller::start_with(&stage.control_plane, launch).await?;
            ready.push(began.elapsed());
            controller.stop().await?;
        }
        let count = objects.list_metadata(&ListParams::default().limit(1)).await?;
        let count = count.metadata.remaining_item_count.unwrap_or_default();
        report.add(Row {
            measure: "start beside 60,000 labelled objects, each of another name",
            goal: "ready within 10 s; 2 x a plain list of them",
            measured: format!(
                "{:.2} s, a plain list {:.2} s; beside half of them {:.2} s, a plain list {:.2} s ({count} objects more than one)",
                seconds(ready[1]),
                seconds(listed[1]),
                seconds(ready[0]),
                seconds(listed[0])
            ),
            met: ready[1] <= READY_GOAL && ratio(ready[1], listed[1]) <= LISTED_GOAL,
            cost: "-".to_owned(),
            requests: "-".to_owned(),
        });
        Ok(())
    }
}

/// How long a list of the metadata of all labelled objects takes, page by page.
async fn plain_list(objects: &Api<ConfigMap>) -> Result<Duration> {
    let began = Instant::now();
    let mut page = ListParams::default().labels(BUNDLE_LABEL).limit(PAGE);
    loop {
        let next = objects.list_metadata(&page).await?.metadata.continue_.filter(|token| !token.is_empty());
        let Some(token) = next else { return Ok(began.elapsed()) };
        page = page.continue_token(&token);
    }
}

/// Does it again and again for a while.
async fn again<F: Future<Output = Result<()>>>(attack: impl Fn() -> F) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < TIME {
        attack().await?;
    }
    Ok(())
}

fn tell_carried(what: &'static str, [without, with]: [Waits; 2], report: &mut Report) {
    let [target, pod] = [0, 1].map(|place| ratio(with.median[place], without.median[place]));
    let millis = |waits: Waits| waits.median.map(|time| millis_each(time, 1));
    let ([target_with, pod_with], [target_without, pod_without]) = (millis(with), millis(without));
    report.add(Row {
        measure: what,
        goal: "at most 1.5 x without what concerns us",
        measured: format!(
            "target {target_with:.0} ms against {target_without:.0} ms ({target:.2} x), \
             pod {pod_with:.0} ms against {pod_without:.0} ms ({pod:.2} x)"
        ),
        met: target <= CARRIED_GOAL && pod <= CARRIED_GOAL,
        cost: "-".to_owned(),
        requests: "-".to_owned(),
    });
}
