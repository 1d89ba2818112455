//! Pods that are made to be expensive: through the API server by a tenant, and straight to the port by anybody.

use anyhow::{Context as _, Result, ensure};
use http::Method;
use rootcast_e2e::{
    INJECTOR_IDENTITY,
    attack::{Connection, names, pod_text, post, review},
    http_get,
};
use serde_json::{Value, json};

use crate::stage::{BUNDLE, Stage, TENANT, dry_pods, pod, send};

/// The most that a webhook takes of one request.
const BODY_MAX: usize = 8 << 20;

/// Reviews to ask for, at a port where nobody else asks.
const REVIEWS: usize = 5_000;

/// As many as make the largest request that is taken.
fn as_many_as_fit(container: &str) -> usize {
    (BODY_MAX - 4_096) / (container.len() + 1)
}

#[tokio::test]
async fn a_tenants_pod_of_13_000_containers_leaves_others_injected() -> Result<()> {
    let stage = Stage::shared().await;
    let mut site = stage.site(&[]).await?;
    let mallory = stage.mallory();
    let hostile = pod("p", &vec![json!({}); 13_000].into());
    // Whatever it is answered: the API server itself refuses such containers, when it gets to look at them.
    let attack = async { send(&mallory, Method::POST, &dry_pods(TENANT), &hostile).await };
    let answer = site.lives_during(attack).await?;
    ensure!(answer.code >= 400, "{answer:#?}");
    site.end("a pod of 13,000 containers").await
}

#[tokio::test]
async fn reviews_of_expensive_pods_that_anybody_asks_for_leave_others_injected() -> Result<()> {
    let stage = Stage::shared().await;
    let mut site = stage.site(&[]).await?;
    let tls = stage.tls().await?;
    let port = site.injector.port();
    let named = r#"{"name":"b"}"#;
    let exclude = "inject.rootcast.dev/excludeContainers";
    let mounted = format!(r#"{{"name":"b","volumeMounts":[{}]}}"#, vec!["{}"; 1_000].join(","));
    let (many, million) = (names(500_000), names(1_000_000));
    let runtimes = "java,".repeat(200_000);
    let bundles = "corporate,".repeat(200_000);
    let pods = [
        ("a product of names and containers", pod_text(BUNDLE, named, 80_000, (exclude, &many))),
        ("names without containers of that name", pod_text(BUNDLE, "{}", 100_000, (exclude, &names(700_000)))),
        ("containers without a name", pod_text(BUNDLE, "{}", 700_000, ("a", ""))),
        ("as many of them as fit", pod_text(BUNDLE, "{}", as_many_as_fit("{}"), ("a", ""))),
        ("as many containers with a name as fit", pod_text(BUNDLE, named, as_many_as_fit(named), ("a", ""))),
        ("mounts", pod_text(BUNDLE, &mounted, as_many_as_fit(&mounted), ("a", ""))),
        ("runtimes", pod_text(BUNDLE, named, 1_000, ("inject.rootcast.dev/runtimes", &runtimes))),
        ("bundles", pod_text(BUNDLE, named, 1_000, ("inject.rootcast.dev/bundle", &bundles))),
        (
            "names for cainjector",
            pod_text(BUNDLE, named, 300_000, ("cainjector.lestak.sh/excludeContainers", &million)),
        ),
    ];
    for path in ["/inject", "/mutate"] {
        for (what, pod) in &pods {
            let body = review("default", pod);
            ensure!(body.len() <= BODY_MAX, "{what}: {} bytes", body.len());
            let attack = post(&tls, port, path, body);
            let (status, _) = site.lives_during(attack).await.with_context(|| format!("{path}: {what}"))?;
            ensure!(status == 200, "{path}: {what}: {status}");
        }
    }
    site.end("reviews of expensive pods").await
}

#[tokio::test]
async fn a_review_may_have_8_mib_and_a_large_pod_is_injected_through_the_api_server() -> Result<()> {
    let stage = Stage::shared().await;
    let mut site = stage.site(&[]).await?;
    let tls = stage.tls().await?;
    let padding = "x".repeat(BODY_MAX - 4_096);
    let padded = json!({
        "metadata": {"name": "p", "annotations": {"inject.rootcast.dev/bundle": BUNDLE}},
        "spec": {"containers": [{"name": "app", "args": [padding]}]},
    });
    let (status, answer) = post(&tls, site.injector.port(), "/inject", review("default", &padded.to_string())).await?;
    ensure!(status == 200 && answer["response"]["patch"].is_string(), "{status}: {answer}");

    // The API server sends the pod twice, as it was and as it is to be.
    let mallory = stage.mallory();
    let path = format!("/api/v1/namespaces/{TENANT}/pods");
    let args = "x".repeat(1_100_000);
    let mut large = pod("large", &json!([{"name": "app", "image": "busybox", "args": [args]}]));
    large["spec"]["serviceAccountName"] = "default".into();
    let created = send(&stage.control_plane.client(), Method::POST, &path, &large).await?;
    ensure!(created.code < 300, "{}: {}", created.code, created.body["message"]);
    let guest = json!({"spec": {"ephemeralContainers": [{"name": "guest", "image": "busybox"}]}});
    let answer = send(&mallory, Method::PATCH, &format!("{path}/large/ephemeralcontainers"), &guest).await?;
    ensure!(answer.code < 300, "{}: {}", answer.code, answer.body["message"]);
    let mounts = &answer.body["spec"]["ephemeralContainers"][0]["volumeMounts"];
    let mounts = mounts.as_array().map_or(0, Vec::len);
    ensure!(mounts > 0, "the guest of a large pod mounts nothing");
    send(&mallory, Method::DELETE, &format!("{path}/large?gracePeriodSeconds=0"), &Value::Null).await?;
    site.lives().await?;
    site.end("a review of 8 MiB").await
}

#[tokio::test]
async fn reviews_of_namespaces_that_do_not_exist_are_no_lever_on_the_api_server_or_the_log() -> Result<()> {
    let stage = Stage::shared().await;
    let mut site = stage.site(&[]).await?;
    let tls = stage.tls().await?;
    let port = site.injector.port();
    let mark = stage.control_plane.audit().mark().await?;
    let lines = site.injector.logs()?.lines().count();
    let pod = pod_text(BUNDLE, r#"{"name":"app"}"#, 1, ("a", ""));
    let began = std::time::Instant::now();
    let attack = async {
        let askers = (0..8).map(async |asker| {
            let mut connection = Connection::open(&tls, port).await?;
            for number in 0..REVIEWS / 8 {
                // Half of them are about the same one.
                let unknown = if number % 2 == 0 { "nowhere".to_owned() } else { format!("nowhere-{asker}-{number}") };
                connection.post("/inject", review(&unknown, &pod).into()).await?;
            }
            Ok::<_, anyhow::Error>(())
        });
        futures::future::try_join_all(askers).await
    };
    site.lives_during(attack).await?;
    let seconds = usize::try_from(began.elapsed().as_secs())? + 1;
    let mut looks = stage.control_plane.audit().since(mark).await?;
    looks.retain(|look| look.user == INJECTOR_IDENTITY && look.resource == "namespaces" && look.verb == "get");
    let about_one = looks.iter().filter(|look| look.name == "nowhere").count();
    let lines = site.injector.logs()?.lines().count() - lines;
    println!("{REVIEWS} reviews in {seconds} s: {} looks, {about_one} at one namespace, {lines} lines", looks.len());
    // What is remembered for a second is asked for by each connection at most once in it.
    ensure!(about_one <= 2 * seconds, "{about_one} looks in {seconds} s at a namespace that does not exist");
    ensure!(lines <= 10 * seconds + 20, "{lines} lines in {seconds} s");
    ensure!(http_get(site.injector.probe_port(), "/readyz").await?.status == 200);
    site.end("reviews of unknown namespaces").await
}
