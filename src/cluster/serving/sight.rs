//! What was last seen of the Secret and the webhook configuration.

use std::fmt::Debug;

use futures::stream::BoxStream;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::ServingSettings;
use crate::cluster::watch::Pauses;
use crate::fanout::Version;
use crate::webhook::rotation::{Authorities, Content, Entry, Generation, Kept, View};

/// Everything that was seen.
#[derive(Debug)]
pub(super) struct Sight {
    namespace: String,
    service: String,
    secret: Seen<Secret>,
    kept: Kept,
    configuration: Seen<MutatingWebhookConfiguration>,
    entries: Vec<Entry>,
    /// Since when the entries are known to be as they are.
    since: Option<Instant>,
}

/// An object as it was last seen.
#[derive(Debug)]
struct Seen<K> {
    now: Now<K>,
    /// What the list that is under way has brought.
    listed: Option<K>,
}

/// Whether an object is there.
#[derive(Debug)]
enum Now<K> {
    /// It was not looked for yet.
    Unknown,
    Absent,
    There(K),
}

/// Watches the one object of a name, from its first list on. Restarts by itself, backing off.
pub(super) fn one<K>(api: Api<K>, name: &str) -> BoxStream<'static, watcher::Result<Event<K>>>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    Box::pin(watcher(api, config).backoff(Pauses::default()))
}

pub(super) fn secrets(client: &Client, settings: &ServingSettings) -> Api<Secret> {
    Api::namespaced(client.clone(), &settings.namespace)
}

pub(super) fn configurations(client: &Client) -> Api<MutatingWebhookConfiguration> {
    Api::all(client.clone())
}

impl Sight {
    /// Nothing yet.
    pub(super) fn new(settings: &ServingSettings) -> Self {
        Self {
            namespace: settings.namespace.clone(),
            service: settings.service.clone(),
            secret: Seen::default(),
            kept: Kept::default(),
            configuration: Seen::default(),
            entries: Vec::new(),
            since: None,
        }
    }

    /// The Secret, if it is there.
    pub(super) fn secret(&self) -> Option<&Secret> {
        self.secret.object()
    }

    /// The configuration, if it is there.
    pub(super) fn configuration(&self) -> Option<&MutatingWebhookConfiguration> {
        self.configuration.object()
    }

    /// The entries that name our Service; `None` if there is no configuration.
    pub(super) fn entries(&self) -> Option<&[Entry]> {
        self.configuration().map(|_| &self.entries[..])
    }

    /// What the Secret holds.
    pub(super) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// What is to be served.
    pub(super) fn current(&self, now: Timestamp) -> Option<&Generation> {
        self.kept.content.current.as_ref().filter(|current| now <= current.not_after())
    }

    /// Everything; `None` before both objects have been looked for.
    pub(super) fn view<'a>(&'a self, remembered: &'a Content, now: Timestamp, clock: Instant) -> Option<View<'a>> {
        if matches!(self.secret.now, Now::Unknown) {
            return None;
        }
        let quiet = clock.duration_since(self.since?);
        Some(View { secret: &self.kept, entries: &self.entries, quiet, remembered, now })
    }

    pub(super) fn hear_secret(&mut self, event: Event<Secret>, _: Instant) {
        if self.secret.hear(event) {
            self.look_into_secret();
        }
    }

    pub(super) fn hear_configuration(&mut self, event: Event<MutatingWebhookConfiguration>, clock: Instant) {
        let before = self.identity();
        if self.configuration.hear(event) {
            self.look_into_configuration(&before, clock);
        }
    }

    /// Takes in what a request found, or that it found nothing.
    pub(super) fn read_secret(&mut self, found: Option<Secret>, _: Instant) {
        self.secret.now = Now::of(found);
        self.look_into_secret();
    }

    /// Takes in what a request found, or that it found nothing.
    pub(super) fn read_configuration(&mut self, found: Option<MutatingWebhookConfiguration>, clock: Instant) {
        let before = self.identity();
        self.configuration.now = Now::of(found);
        self.look_into_configuration(&before, clock);
    }

    fn look_into_secret(&mut self) {
        let data = self.secret().and_then(|secret| secret.data.as_ref());
        self.kept = Kept::read(|key| data?.get(key).map(|value| &value.0[..]));
    }

    fn look_into_configuration(&mut self, before: &(String, i64), clock: Instant) {
        let webhooks = self.configuration().and_then(|configuration| configuration.webhooks.as_ref());
        let entries = webhooks.into_iter().flatten().filter(|webhook| self.is_ours(webhook)).map(entry).collect();
        self.entries = entries;
        if self.since.is_none() || self.identity() != *before {
            self.since = Some(clock);
        }
    }

    /// Changes whenever an entry of the configuration does.
    fn identity(&self) -> (String, i64) {
        let metadata = self.configuration().map(|configuration| &configuration.metadata);
        let uid = metadata.and_then(|metadata| metadata.uid.clone()).unwrap_or_default();
        (uid, metadata.and_then(|metadata| metadata.generation).unwrap_or_default())
    }

    fn is_ours(&self, webhook: &MutatingWebhook) -> bool {
        let service = webhook.client_config.service.as_ref();
        service.is_some_and(|service| service.namespace == self.namespace && service.name == self.service)
    }
}

fn entry(webhook: &MutatingWebhook) -> Entry {
    let bundle = webhook.client_config.ca_bundle.as_ref().map(|bundle| &bundle.0[..]).unwrap_or_default();
    let (trusted, flaw) = Authorities::read(bundle);
    Entry { name: webhook.name.clone(), trusted, flaw }
}

impl<K: Resource> Seen<K> {
    /// Whether that was news.
    fn hear(&mut self, event: Event<K>) -> bool {
        match event {
            Event::Init => self.listed = None,
            Event::InitApply(object) => self.listed = Some(object),
            Event::InitDone => {
                self.now = Now::of(self.listed.take());
                return true;
            }
            // Answers to our requests may be ahead of the watch.
            Event::Apply(object) if self.is_newer(&object) => {
                self.now = Now::There(object);
                return true;
            }
            Event::Delete(object) if self.is_newer(&object) => {
                self.now = Now::Absent;
                return true;
            }
            Event::Apply(_) | Event::Delete(_) => {}
        }
        false
    }

    fn object(&self) -> Option<&K> {
        match &self.now {
            Now::There(object) => Some(object),
            Now::Unknown | Now::Absent => None,
        }
    }

    fn is_newer(&self, object: &K) -> bool {
        self.object().is_none_or(|known| Version::of(known.meta()) < Version::of(object.meta()))
    }
}

impl<K> Default for Seen<K> {
    fn default() -> Self {
        Self { now: Now::Unknown, listed: None }
    }
}

impl<K> Now<K> {
    fn of(found: Option<K>) -> Self {
        found.map_or(Self::Absent, Self::There)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use Event::{Apply, Delete, Init, InitApply, InitDone};

    fn sight() -> Sight {
        Sight::new(&ServingSettings {
            namespace: "ns".to_owned(),
            secret: "s".to_owned(),
            configuration: "c".to_owned(),
            service: "injector".to_owned(),
            lifetime: Duration::from_hours(2160),
        })
    }

    fn configuration(version: u64, generation: u64) -> MutatingWebhookConfiguration {
        let entry = |name: &str, client: serde_json::Value| json!({ "name": name, "clientConfig": client, "admissionReviewVersions": ["v1"], "sideEffects": "None" });
        let service = |namespace: &str, name: &str| json!({ "service": { "namespace": namespace, "name": name } });
        serde_json::from_value(json!({
            "metadata": { "name": "c", "uid": "u", "resourceVersion": version.to_string(), "generation": generation },
            "webhooks": [
                entry("ours", service("ns", "injector")),
                entry("namesake", service("elsewhere", "injector")),
                entry("neighbour", service("ns", "other")),
                entry("url", json!({ "url": "https://injector.ns.svc" })),
            ],
        }))
        .expect("a configuration")
    }

    fn secret(version: u64) -> Secret {
        serde_json::from_value(json!({ "metadata": { "name": "s", "resourceVersion": version.to_string() } }))
            .expect("a Secret")
    }

    fn quiet(sight: &Sight, clock: Instant) -> Option<Duration> {
        sight.view(&Content::default(), Timestamp::UNIX_EPOCH, clock).map(|view| view.quiet)
    }

    #[test]
    fn nothing_is_decided_before_both_objects_have_been_looked_for() {
        let clock = Instant::now();
        let mut sight = sight();
        sight.hear_secret(Init, clock);
        sight.hear_secret(InitDone, clock);
        assert_eq!(quiet(&sight, clock), None);
        sight.hear_configuration(Init, clock);
        sight.hear_configuration(InitApply(configuration(1, 1)), clock);
        assert_eq!(quiet(&sight, clock), None);
        sight.hear_configuration(InitDone, clock);
        assert_eq!(quiet(&sight, clock), Some(Duration::ZERO));
        let names: Vec<_> = sight.entries().into_iter().flatten().map(|entry| &entry.name).collect();
        assert_eq!(names, ["ours"]);
    }

    #[test]
    fn entries_are_quiet_for_as_long_as_none_changes() {
        let second = Duration::from_secs(1);
        let clock = Instant::now();
        let mut sight = sight();
        sight.read_secret(None, clock);
        sight.read_configuration(None, clock);
        assert_eq!(quiet(&sight, clock + second), Some(second), "there are none");
        assert!(sight.entries().is_none());
        sight.hear_configuration(Apply(configuration(2, 1)), clock + second);
        sight.hear_configuration(Apply(configuration(3, 1)), clock + 2 * second);
        assert_eq!(quiet(&sight, clock + 3 * second), Some(2 * second), "something else than an entry changed");
        sight.read_configuration(Some(configuration(4, 2)), clock + 3 * second);
        assert_eq!(quiet(&sight, clock + 3 * second), Some(Duration::ZERO));
    }

    #[test]
    fn a_watch_that_is_behind_an_answer_takes_nothing_back() {
        let clock = Instant::now();
        let version = |sight: &Sight| sight.secret().map(|secret| Version::of(&secret.metadata));
        let mut sight = sight();
        sight.read_secret(Some(secret(10)), clock);
        sight.hear_secret(Apply(secret(9)), clock);
        sight.hear_secret(Delete(secret(9)), clock);
        assert_eq!(version(&sight), Some(Version::parse("10")));
        sight.hear_secret(Apply(secret(11)), clock);
        assert_eq!(version(&sight), Some(Version::parse("11")));
        sight.hear_secret(Delete(secret(12)), clock);
        assert_eq!(version(&sight), None);
        sight.hear_secret(Init, clock);
        sight.hear_secret(InitApply(secret(5)), clock);
        assert_eq!(version(&sight), None, "a list counts when it has ended");
        sight.hear_secret(InitDone, clock);
        assert_eq!(version(&sight), Some(Version::parse("5")), "and is right, whatever was seen before");
    }
}
