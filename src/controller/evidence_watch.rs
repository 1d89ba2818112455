//! The watch of CertificateRequests, which runs only while certificates are leaving Bundles.

use std::future;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::client::{Watch, WatchEvent, WatchResult, start_watches};

use super::Controller;
use super::cache::AffectedBundles;

/// The shortest time between two beginnings of the watch. A list may be of ten thousands of requests, and who may not
/// list them asks again at this interval.
const OPEN_INTERVAL: Duration = Duration::from_mins(1);

/// How long events are gathered before Bundles are reconciled: certificates are issued in masses.
const GATHERING: Duration = Duration::from_secs(2);

/// The watch of CertificateRequests.
#[derive(Default)]
pub(super) struct EvidenceWatch {
    events: Option<SelectAll<BoxStream<'static, WatchResult<WatchEvent>>>>,
    /// When the watch began last.
    opened: Option<Instant>,
    /// When Bundles are reconciled whose evidence has changed.
    due: Option<Instant>,
}

impl EvidenceWatch {
    /// Waits for the next event; for ever while the watch does not run.
    pub(super) async fn next(&mut self) -> WatchResult<WatchEvent> {
        match &mut self.events {
            Some(events) => events.next().await.expect("a watch never ends"),
            None => future::pending().await,
        }
    }
}

/// Begins the watch, begins it anew, or ends it, as the cache needs it.
pub(super) fn refresh(controller: &mut Controller) {
    let (cache, watch) = (controller.cache.evidence(), &mut controller.evidence_watch);
    if !cache.is_needed() {
        (watch.events, watch.due) = (None, None);
        return;
    }
    let begins = watch.events.is_none() || cache.is_outdated();
    if begins && opens_at(watch) <= Instant::now() {
        watch.events = Some(start_watches(
            &controller.connection,
            controller.trust_namespaces.main(),
            &[Watch::CertificateRequests],
        ));
        watch.opened = Some(Instant::now());
    }
}

/// When the watch has something to do next.
pub(super) fn next_wakeup(controller: &Controller) -> Option<Instant> {
    let (cache, watch) = (controller.cache.evidence(), &controller.evidence_watch);
    let begins = cache.is_needed() && (watch.events.is_none() || cache.is_outdated());
    begins.then(|| opens_at(watch)).into_iter().chain(watch.due).min()
}

/// Records that an event has come.
pub(super) fn on_event(controller: &mut Controller) {
    controller.evidence_watch.schedule(Instant::now() + GATHERING);
}

/// Reacts to an interruption of the watch; returns the Bundles to reconcile.
pub(super) fn on_interruption(controller: &mut Controller, refusal: Option<u16>, error: &str) -> AffectedBundles {
    let refused = match refusal {
        Some(404) => Some(
            "the API server has no CertificateRequests (cert-manager.io/v1): install cert-manager, or start the \
             controller without --evidence"
                .to_owned(),
        ),
        Some(401 | 403) => Some(format!(
            "CertificateRequests cannot be read: {error}: let the controller list and watch certificaterequests of \
             cert-manager.io (the chart's app.evidence, or config/evidence), or start it without --evidence"
        )),
        _ => None,
    };
    let temporary = refused.is_none();
    if !temporary {
        controller.evidence_watch.events = None;
    }
    let cause = refused.unwrap_or_else(|| format!("CertificateRequests cannot be read: {error}"));
    controller.cache.evidence_mut().fail(cause, temporary)
}

/// Returns the Bundles to reconcile whose evidence has changed.
pub(super) fn on_timer(controller: &mut Controller) -> AffectedBundles {
    let (now, time) = (Instant::now(), Timestamp::now());
    if controller.evidence_watch.due.take_if(|due| *due <= now).is_none() {
        return AffectedBundles::new();
    }
    let affected = controller.cache.evidence_mut().take_affected(time);
    if let Some(at) = controller.cache.evidence().changes_at() {
        controller.evidence_watch.schedule(now + Duration::try_from(at.duration_since(time)).unwrap_or_default());
    }
    affected
}

impl EvidenceWatch {
    fn schedule(&mut self, at: Instant) {
        self.due = self.due.into_iter().chain([at]).min();
    }
}

fn opens_at(watch: &EvidenceWatch) -> Instant {
    watch.opened.map_or_else(Instant::now, |opened| opened + OPEN_INTERVAL)
}
