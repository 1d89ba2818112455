//! Time passes: nobody changes anything, and certificates begin and end.

use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::events::v1::Event;
use kube::{Api, api::ListParams};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use rootcast::{
    api::SOURCES_COMPLETE,
    trust::{Anchors, pem},
};
use rootcast_e2e::{
    Barrier, ControlPlane, Controller, eventually,
    scenario::{Content, Scenario, bundle, source},
};

/// How long after a scenario begins something is to happen: it has to be set up before that, on a busy machine.
const AHEAD: SignedDuration = SignedDuration::from_secs(12);

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// How late it may be noticed.
const LATE: Duration = Duration::from_secs(40);

#[tokio::test]
async fn certificates_are_named_before_and_at_their_end_by_condition_and_event() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    let barrier = Barrier::start(&control_plane, false).await?;
    let controller = Controller::start(&control_plane, &[]).await?;
    let scenario = Scenario::begin(&barrier, "named", &["a"]).await?;
    let then = Timestamp::now() + AHEAD;
    let authorities = [
        authority("ends", then - DAY, then)?,
        authority("nears", then - DAY, then + DAY * 7)?,
        authority("begins", then, then + DAY * 90)?,
    ];
    distribute(&scenario, "named", &authorities).await?;
    let before = ["CN=ends (", "within 1 day;", "CN=nears (", "within 30 days;", "CN=begins (", "is not valid before"];
    says(&scenario, "before", "named", &before).await;
    says(&scenario, "after", "named", &["CN=ends (", " expired on ", "CN=nears (", "within 7 days"]).await;
    let events = [
        ("CertificateExpiresSoon", "CN=ends ("),
        ("CertificateExpiresSoon", "within 30 days"),
        ("CertificateExpiresSoon", "within 7 days"),
        ("CertificateNotYetValid", "CN=begins ("),
        ("CertificateExpired", "CN=ends ("),
    ];
    for (reason, words) in events {
        eventually(&format!("{reason}: {words}"), LATE, async || is_told(&scenario, reason, words).await).await;
    }
    let all = scenario.synced(&["a"], &published(&authorities));
    scenario.then("all of them stay published", "named", 1, &all).await?;
    controller.stop().await?;
    control_plane.finish().await
}

#[tokio::test]
async fn with_the_filter_on_a_certificate_is_taken_out_of_the_targets_as_it_ends() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    let barrier = Barrier::start(&control_plane, false).await?;
    let controller = Controller::start(&control_plane, &["--filter-expired-certificates"]).await?;
    let scenario = Scenario::begin(&barrier, "dropped", &["a", "b"]).await?;
    let then = Timestamp::now() + AHEAD;
    let (ends, stays) = (authority("ends", then - DAY, then)?, authority("stays", then - DAY, then + DAY * 90)?);
    distribute(&scenario, "dropped", &[ends.clone(), stays.clone()]).await?;
    let both = scenario.synced(&["a", "b"], &published(&[ends, stays.clone()]));
    scenario.becomes("both are published", "dropped", &both).await;
    let one = scenario.synced(&["a", "b"], &published(&[stays]));
    scenario.then("one is left", "dropped", 4, &one).await?;
    says(&scenario, "the condition", "dropped", &["CN=ends (", "left out: expired on "]).await;
    eventually("the event", LATE, async || is_told(&scenario, "CertificateExpired", "left out: expired on ").await)
        .await;
    controller.stop().await?;
    control_plane.finish().await
}

/// A Bundle of these certificates for the scenario's namespaces.
async fn distribute(scenario: &Scenario<'_>, name: &str, authorities: &[String]) -> Result<()> {
    let spec = format!(
        "{{sources: [{{configMap: {{name: {name}-source, key: ca}}}}],
           target: {{configMap: {{key: ca}}, namespaceSelector: {{matchLabels: {{scenario: {name}}}}}}}}}"
    );
    scenario.apply(&source("ConfigMap", &format!("{name}-source"), &[], &[("ca", &authorities.concat())])).await?;
    scenario.apply(&bundle(name, &spec)).await?;
    Ok(())
}

fn published(authorities: &[String]) -> Content {
    let blocks = pem::read(authorities.concat().as_bytes()).expect("PEM");
    let anchors = blocks.into_iter().map(|block| block.certificate.expect("a certificate"));
    Content::key("ca", Anchors::collect(anchors).expect("there are some").to_pem())
}

/// A CA certificate with so long a life.
fn authority(name: &str, start: Timestamp, end: Timestamp) -> Result<String> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = epoch + Duration::from_secs(start.as_second().try_into()?);
    params.not_after = epoch + Duration::from_secs(end.as_second().try_into()?);
    Ok(params.self_signed(&KeyPair::generate()?)?.pem())
}

/// Waits until the condition says all of this.
async fn says(scenario: &Scenario<'_>, when: &str, bundle: &str, words: &[&str]) {
    eventually(when, LATE, async || {
        let said = scenario.condition(bundle, SOURCES_COMPLETE).await?;
        ensure!(said.status == "False" && words.iter().all(|words| said.message.contains(words)), "{said:?}");
        Ok(())
    })
    .await;
}

async fn is_told(scenario: &Scenario<'_>, reason: &str, words: &str) -> Result<()> {
    let of_reason = ListParams::default().fields(&format!("reason={reason}"));
    let events = Api::<Event>::all(scenario.client.clone()).list(&of_reason).await?;
    let notes: Vec<_> = events.into_iter().filter(|event| event.type_.as_deref() == Some("Warning")).collect();
    let told = |event: &Event| event.note.as_ref().is_some_and(|note| note.contains(words));
    ensure!(notes.iter().any(told), "not in {:?}", notes.iter().map(|event| &event.note).collect::<Vec<_>>());
    Ok(())
}
