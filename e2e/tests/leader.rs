//! Two replicas and one Lease: one writes, and when it ends, however it ends, the other goes on with what is left.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::ConfigMap,
    },
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api,
    api::{ListParams, ObjectMeta, PostParams},
};
use rootcast::api::HASH_ANNOTATION;
use rootcast_e2e::{
    ControlPlane, Controller, Exit, eventually, http_get,
    proxy::{Effect, Exchange, Fault, On, Proxy, Turns},
    scenario::{SOON, anchors, apply, bundle, certificate, source},
};
use tokio::sync::{Mutex, MutexGuard};

/// Short terms, so that a takeover takes seconds.
const ELECTION: [&str; 4] = [
    "--leader-elect=true",
    "--leader-election-namespace=cert-manager",
    "--leader-election-lease-duration=4s",
    "--leader-election-renew-deadline=3s",
];
const TERM: Duration = Duration::from_secs(4);

const LEASE: &str = "trust-manager-leader-election";

/// How many namespaces there are, each with a target of 180 kB.
const NAMESPACES: usize = 120;

/// How many writes make a rollout that has begun.
const BEGUN: usize = 10;

/// A cluster with a Bundle for [`NAMESPACES`] namespaces.
struct Stage {
    control_plane: ControlPlane,
    targets: Api<ConfigMap>,
    leases: Api<Lease>,
    /// Terms are short: one scenario at a time.
    _turn: MutexGuard<'static, ()>,
}

/// A controller, and everything that it asked for.
struct Replica<'a> {
    controller: Controller<'a>,
    proxy: Proxy,
}

impl Stage {
    async fn set() -> Result<Self> {
        static TURN: Mutex<()> = Mutex::const_new(());
        let turn = TURN.lock().await;
        let control_plane = ControlPlane::start().await?;
        control_plane.install().await?;
        let client = control_plane.client();
        stream::iter(0..NAMESPACES)
            .map(async |number| control_plane.namespace(&format!("team-{number}"), &[("team", "")]).await)
            .buffer_unordered(8)
            .try_collect::<Vec<_>>()
            .await?;
        let targets = Api::all(client.clone());
        let leases = Api::namespaced(client, "cert-manager");
        let stage = Self { control_plane, targets, leases, _turn: turn };
        stage.publish("ec").await?;
        let spec = "{sources: [{useDefaultCAs: true}, {configMap: {name: roots, key: k}}],
                     target: {configMap: {key: pem}, namespaceSelector: {matchLabels: {team: ''}}}}";
        apply(&stage.control_plane.client(), &bundle("everywhere", spec)).await?;
        Ok(stage)
    }

    /// Changes the source to this certificate.
    async fn publish(&self, name: &str) -> Result<()> {
        let roots = source("ConfigMap", "roots", &[], &[("k", &certificate(name))]);
        apply(&self.control_plane.client(), &roots).await.map(drop)
    }

    async fn replica(&self) -> Result<Replica<'_>> {
        self.replica_with(&ELECTION).await
    }

    async fn replica_with(&self, args: &[&str]) -> Result<Replica<'_>> {
        let proxy = Proxy::start(&self.control_plane)?;
        Ok(Replica { controller: Controller::start_through(&self.control_plane, &proxy, args).await?, proxy })
    }

    /// Two replicas, of which the first leads and has written everything.
    async fn replicas(&self) -> Result<(Replica<'_>, Replica<'_>)> {
        let first = self.replica().await?;
        first.leads().await;
        let second = self.replica().await?;
        self.holds("ec").await?;
        Ok((first, second))
    }

    /// Changes the source and returns in the middle of the leader's rollout, which the answer slows down.
    async fn rollout(&self, leader: &Replica<'_>, certificate: &str, pause: Duration) -> Result<Fault> {
        let slow = leader.proxy.inject(On::target_writes(), Turns::Each, Effect::Delay(pause));
        let before = leader.proxy.count(&On::target_writes());
        self.publish(certificate).await?;
        eventually("the rollout begins", SOON, async || {
            let begun = leader.proxy.count(&On::target_writes()) - before;
            ensure!(begun >= BEGUN, "only {begun}");
            ensure!(self.hashes().await?.len() > 1, "{begun} are on their way, and none or all have arrived");
            Ok(())
        })
        .await;
        Ok(slow)
    }

    /// Waits until every namespace holds this certificate beside the default CAs.
    async fn holds(&self, name: &str) -> Result<()> {
        let pem = anchors(&[name]).to_pem();
        let block = pem.trim();
        eventually(name, SOON, async || {
            let one = Api::<ConfigMap>::namespaced(self.control_plane.client(), "team-0").get("everywhere").await?;
            ensure!(one.data.context("data")?["pem"].contains(block), "not with {name}");
            let (hashes, found) = (self.hashes().await?, self.count().await?);
            let hash = one.metadata.annotations.context("annotations")?[HASH_ANNOTATION].clone();
            ensure!(hashes == BTreeSet::from([hash]) && found == NAMESPACES, "{found} targets, {hashes:?}");
            Ok(())
        })
        .await;
        let all = self.targets.list(&everywhere()).await?;
        ensure!(all.iter().all(|target| target.data.as_ref().is_some_and(|data| data["pem"].contains(block))));
        Ok(())
    }

    async fn hashes(&self) -> Result<BTreeSet<String>> {
        let all = self.targets.list_metadata(&everywhere()).await?;
        let hash = |metadata: &ObjectMeta| metadata.annotations.as_ref()?.get(HASH_ANNOTATION).cloned();
        Ok(all.iter().filter_map(|target| hash(&target.metadata)).collect())
    }

    async fn count(&self) -> Result<usize> {
        Ok(self.targets.list_metadata(&everywhere()).await?.items.len())
    }

    async fn lease(&self) -> Result<LeaseSpec> {
        self.leases.get(LEASE).await?.spec.context("a Lease has a spec")
    }
}

fn everywhere() -> ListParams {
    ListParams::default().fields("metadata.name=everywhere")
}

fn is_granted(exchange: &Exchange) -> bool {
    exchange.answer.is_some_and(|(status, _)| status < 300)
}

impl Replica<'_> {
    /// Waits until it has the Lease; returns when it asked for that.
    async fn leads(&self) -> Instant {
        eventually("it leads", SOON, async || self.renewals().first().copied().context("it does not")).await
    }

    /// When it asked for the Lease and got it.
    fn renewals(&self) -> Vec<Instant> {
        let writes = self.proxy.exchanges(&On::writes().resource("leases"));
        writes.iter().filter(|exchange| is_granted(exchange)).map(|exchange| exchange.came).collect()
    }

    /// Asserts that it stopped writing before the other could begin.
    fn wrote_only_before(&self, takeover: Instant) {
        let late: Vec<_> = self.proxy.exchanges(&On::writes()).into_iter().filter(|one| one.came >= takeover).collect();
        assert!(late.is_empty(), "it wrote while another led: {late:#?}");
    }

    async fn is_ready_and_healthy(&self) -> Result<()> {
        for path in ["/readyz", "/healthz"] {
            let answer = http_get(self.controller.probe_port(), path).await?;
            ensure!(answer.status == 200, "{path}: {answer:?}");
        }
        Ok(())
    }

    /// Kills it (SIGKILL).
    async fn kill(self) -> Result<Proxy> {
        self.controller.kill().await?;
        Ok(self.proxy)
    }

    /// Asks it to end (SIGTERM), and it does so as it should.
    async fn stop(self) -> Result<Proxy> {
        assert_eq!(self.controller.stop().await?, Exit::Code(0));
        Ok(self.proxy)
    }

    /// Waits until it has ended for the loss of its leadership, which it says once.
    async fn is_deposed(&mut self) -> Result<()> {
        let exit = tokio::time::timeout(SOON, self.controller.ended()).await.context("it goes on")??;
        assert_eq!(exit, Exit::Code(1));
        let log = self.controller.logs()?;
        assert_eq!(log.matches("leadership lost").count(), 1, "{log}");
        Ok(())
    }
}

#[tokio::test]
async fn a_standby_is_ready_and_silent_and_finishes_the_rollout_of_a_leader_that_was_killed() -> Result<()> {
    let stage = Stage::set().await?;
    let (first, second) = stage.replicas().await?;
    let lease = stage.lease().await?;
    assert_eq!((lease.lease_duration_seconds, lease.lease_transitions), (Some(4), Some(0)));
    second.is_ready_and_healthy().await?;

    let slow = stage.rollout(&first, "p384", Duration::from_millis(500)).await?;
    assert_eq!(second.proxy.count(&On::writes()), 0, "the standby wrote");
    let proxy = first.kill().await?;
    let last = stage.lease().await?;
    second.leads().await;
    let taken = stage.lease().await?;
    assert_ne!(taken.holder_identity, last.holder_identity);
    assert_eq!(taken.lease_transitions, Some(1));
    let gap = taken.acquire_time.context("a time")?.0.duration_since(last.renew_time.context("a time")?.0);
    assert!(gap >= SignedDuration::try_from(TERM)?, "taken after {gap}");
    stage.holds("p384").await?;
    drop((slow, proxy, second));
    stage.control_plane.finish().await
}

#[tokio::test]
async fn a_leader_that_stood_still_past_its_term_starts_no_request_when_it_goes_on() -> Result<()> {
    let stage = Stage::set().await?;
    let (mut first, second) = stage.replicas().await?;
    let slow = stage.rollout(&first, "p384", Duration::from_millis(500)).await?;
    first.controller.freeze();
    let takeover = second.leads().await;
    stage.publish("rsa").await?;
    stage.holds("rsa").await?;

    let before = first.proxy.count(&On::writes());
    first.controller.thaw();
    first.is_deposed().await?;
    assert_eq!(first.proxy.count(&On::writes()), before);
    first.wrote_only_before(takeover);
    stage.holds("rsa").await?;
    drop((slow, first, second));
    stage.control_plane.finish().await
}

#[tokio::test]
async fn a_leader_that_is_asked_to_end_answers_for_its_writes_and_hands_over_at_once() -> Result<()> {
    let stage = Stage::set().await?;
    let (first, second) = stage.replicas().await?;
    let slow = stage.rollout(&first, "p384", Duration::from_millis(500)).await?;
    let asked = Instant::now();
    let proxy = first.stop().await?;
    let ended = Instant::now();
    assert!(ended - asked < Duration::from_secs(5), "it took {:?} to end", ended - asked);
    let writes = proxy.exchanges(&On::target_writes());
    assert!(writes.iter().all(is_granted), "a write was left without its answer");

    let takeover = second.leads().await;
    assert!(takeover - ended < TERM + Duration::from_secs(1), "taken {:?} after the end", takeover - ended);
    assert_eq!(stage.lease().await?.lease_transitions, Some(1));
    stage.holds("p384").await?;
    second.stop().await?;
    assert_eq!(stage.lease().await?.holder_identity.as_deref(), Some(""));

    // Started anew where all is in order, it has nothing to write until something happens.
    let third = stage.replica().await?;
    third.leads().await;
    stage.control_plane.namespace("team-new", &[("team", "")]).await?;
    eventually("the new namespace is reached", SOON, async || {
        ensure!(stage.count().await? == NAMESPACES + 1, "it is not");
        Ok(())
    })
    .await;
    assert_eq!(third.proxy.count(&On::target_writes()), 1);
    drop((slow, third));
    stage.control_plane.finish().await
}

#[tokio::test]
async fn a_leader_that_cannot_renew_stops_writing_before_another_begins() -> Result<()> {
    let stage = Stage::set().await?;
    let (mut first, second) = stage.replicas().await?;
    let cut_off = first.proxy.inject(On::default().resource("leases"), Turns::Each, Effect::Stall);
    let slow = stage.rollout(&first, "p384", Duration::from_millis(1500)).await?;
    first.is_deposed().await?;
    let takeover = second.leads().await;
    first.wrote_only_before(takeover);
    stage.holds("p384").await?;
    drop((cut_off, slow, first, second));
    stage.control_plane.finish().await
}

#[tokio::test]
async fn without_an_api_server_the_leader_ends_and_the_standby_stays_ready_until_it_can_lead() -> Result<()> {
    let stage = Stage::set().await?;
    let (mut first, second) = stage.replicas().await?;
    stage.control_plane.freeze();
    first.is_deposed().await?;
    second.is_ready_and_healthy().await?;
    stage.control_plane.thaw();
    second.leads().await;
    stage.publish("p384").await?;
    stage.holds("p384").await?;
    drop((first, second));
    stage.control_plane.finish().await
}

#[tokio::test]
async fn a_lease_of_trust_managers_is_respected_while_it_is_renewed_and_taken_afterwards() -> Result<()> {
    let stage = Stage::set().await?;
    let holder = "trust-manager-5b8c7d9f4-x2x7k_0f8fad5b-d9cb-469f-a165-70867728950e";
    let renewed = || Some(MicroTime(Timestamp::now()));
    let mut lease = Lease {
        metadata: ObjectMeta { name: Some(LEASE.to_owned()), ..ObjectMeta::default() },
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(4),
            lease_transitions: Some(6),
            acquire_time: renewed(),
            renew_time: renewed(),
            ..LeaseSpec::default()
        }),
    };
    lease = stage.leases.create(&PostParams::default(), &lease).await?;
    let standby = stage.replica().await?;
    let looks = On::default().verbs(&["get"]).resource("leases");
    let began = Instant::now();
    while standby.proxy.count(&looks) < 3 || began.elapsed() < 2 * TERM {
        lease.spec.as_mut().context("a spec")?.renew_time = renewed();
        lease = stage.leases.replace(LEASE, &PostParams::default(), &lease).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    standby.is_ready_and_healthy().await?;
    assert_eq!(standby.proxy.count(&On::writes()), 0, "it wrote while trust-manager led");

    standby.leads().await;
    let taken = stage.lease().await?;
    assert_eq!(taken.lease_transitions, Some(7));
    let last = lease.spec.and_then(|spec| spec.renew_time).context("a time")?;
    let gap = taken.acquire_time.context("a time")?.0.duration_since(last.0);
    assert!(gap >= SignedDuration::try_from(TERM)?, "taken after {gap}");
    stage.holds("ec").await?;

    // Who does not take part in elections asks nobody.
    standby.stop().await?;
    let alone = stage.replica_with(&["--leader-elect=false"]).await?;
    stage.publish("p384").await?;
    stage.holds("p384").await?;
    assert_eq!(alone.proxy.count(&On::default().resource("leases")), 0);
    drop(alone);
    stage.control_plane.finish().await
}
