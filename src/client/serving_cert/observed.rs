//! The last observed state of the Secret and the webhook configuration.

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
use crate::client::watch::WatchBackoff;
use crate::fanout::ResourceVersion;
use crate::serving_cert::{Generation, RotationView, SecretData, StoredGenerations, TrustedCas, WebhookEntry};

/// The last observed state of both objects.
#[derive(Debug)]
pub(super) struct ObservedObjects {
    namespace: String,
    service: String,
    secret: ObservedObject<Secret>,
    stored: StoredGenerations,
    configuration: ObservedObject<MutatingWebhookConfiguration>,
    entries: Vec<WebhookEntry>,
    /// The time since when the entries are unchanged.
    unchanged_since: Option<Instant>,
}

/// The last observed state of one object.
#[derive(Debug)]
struct ObservedObject<K> {
    presence: Presence<K>,
    /// The object in the list in progress: all that a list of one name can show, so that no tracker is needed.
    listed: Option<K>,
}

/// The presence of an object.
#[derive(Debug)]
enum Presence<K> {
    /// The object was not listed yet.
    Unknown,
    Absent,
    Present(K),
}

/// Watches the one object of a name. The watch restarts by itself, with a backoff.
pub(super) fn watch_one<K>(api: Api<K>, name: &str) -> BoxStream<'static, watcher::Result<Event<K>>>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    Box::pin(watcher(api, config).backoff(WatchBackoff::default()))
}

/// Returns the API of Secrets in the namespace of the settings.
pub(super) fn secrets(client: &Client, settings: &ServingSettings) -> Api<Secret> {
    Api::namespaced(client.clone(), &settings.namespace)
}

/// Returns the API of webhook configurations.
pub(super) fn configurations(client: &Client) -> Api<MutatingWebhookConfiguration> {
    Api::all(client.clone())
}

impl ObservedObjects {
    /// Creates the state before any observation.
    pub(super) fn new(settings: &ServingSettings) -> Self {
        Self {
            namespace: settings.namespace.clone(),
            service: settings.service.clone(),
            secret: ObservedObject::default(),
            stored: StoredGenerations::default(),
            configuration: ObservedObject::default(),
            entries: Vec::new(),
            unchanged_since: None,
        }
    }

    /// Returns the Secret, if it exists.
    pub(super) fn secret(&self) -> Option<&Secret> {
        self.secret.object()
    }

    /// Returns the configuration, if it exists.
    pub(super) fn configuration(&self) -> Option<&MutatingWebhookConfiguration> {
        self.configuration.object()
    }

    /// Returns the entries that name the Service; `None` if there is no configuration.
    pub(super) fn entries(&self) -> Option<&[WebhookEntry]> {
        self.configuration().map(|_| &self.entries[..])
    }

    /// Returns the generations in the Secret.
    pub(super) fn stored(&self) -> &StoredGenerations {
        &self.stored
    }

    /// Returns the generation to serve.
    pub(super) fn current(&self, now: Timestamp) -> Option<&Generation> {
        self.stored.content.current.as_ref().filter(|current| now <= current.not_after())
    }

    /// Returns the input of a rotation step; `None` before both objects have been observed.
    pub(super) fn view<'a>(
        &'a self,
        remembered: &'a SecretData,
        now: Timestamp,
        clock: Instant,
    ) -> Option<RotationView<'a>> {
        if matches!(self.secret.presence, Presence::Unknown) {
            return None;
        }
        let unchanged_for = clock.duration_since(self.unchanged_since?);
        Some(RotationView { secret: &self.stored, entries: &self.entries, unchanged_for, remembered, now })
    }

    /// Applies an event of the watch of the Secret.
    pub(super) fn apply_secret_event(&mut self, event: Event<Secret>, _: Instant) {
        if self.secret.apply_event(event) {
            self.parse_secret();
        }
    }

    /// Applies an event of the watch of the configuration.
    pub(super) fn apply_configuration_event(&mut self, event: Event<MutatingWebhookConfiguration>, clock: Instant) {
        let before = self.identity();
        if self.configuration.apply_event(event) {
            self.parse_configuration(&before, clock);
        }
    }

    /// Sets the Secret to the result of a request; `None` if it does not exist.
    pub(super) fn set_secret(&mut self, found: Option<Secret>, _: Instant) {
        self.secret.presence = Presence::of(found);
        self.parse_secret();
    }

    /// Sets the configuration to the result of a request; `None` if it does not exist.
    pub(super) fn set_configuration(&mut self, found: Option<MutatingWebhookConfiguration>, clock: Instant) {
        let before = self.identity();
        self.configuration.presence = Presence::of(found);
        self.parse_configuration(&before, clock);
    }

    fn parse_secret(&mut self) {
        let data = self.secret().and_then(|secret| secret.data.as_ref());
        self.stored = StoredGenerations::read(|key| data?.get(key).map(|value| &value.0[..]));
    }

    fn parse_configuration(&mut self, before: &(String, i64), clock: Instant) {
        let webhooks = self.configuration().and_then(|configuration| configuration.webhooks.as_ref());
        let entries = webhooks.into_iter().flatten().filter(|webhook| self.is_ours(webhook)).map(entry).collect();
        self.entries = entries;
        if self.unchanged_since.is_none() || self.identity() != *before {
            self.unchanged_since = Some(clock);
        }
    }

    /// Returns uid and generation of the configuration, which change whenever an entry does.
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

fn entry(webhook: &MutatingWebhook) -> WebhookEntry {
    let bundle = webhook.client_config.ca_bundle.as_ref().map(|bundle| &bundle.0[..]).unwrap_or_default();
    let (trusted, flaw) = TrustedCas::read(bundle);
    WebhookEntry { name: webhook.name.clone(), trusted, flaw }
}

impl<K: Resource> ObservedObject<K> {
    /// Applies an event; returns whether the observed state may have changed.
    fn apply_event(&mut self, event: Event<K>) -> bool {
        match event {
            Event::Init => self.listed = None,
            Event::InitApply(object) => self.listed = Some(object),
            Event::InitDone => {
                self.presence = Presence::of(self.listed.take());
                return true;
            }
            // The responses to writes may be ahead of the watch.
            Event::Apply(object) if self.is_newer(&object) => {
                self.presence = Presence::Present(object);
                return true;
            }
            Event::Delete(object) if self.is_newer(&object) => {
                self.presence = Presence::Absent;
                return true;
            }
            Event::Apply(_) | Event::Delete(_) => {}
        }
        false
    }

    fn object(&self) -> Option<&K> {
        match &self.presence {
            Presence::Present(object) => Some(object),
            Presence::Unknown | Presence::Absent => None,
        }
    }

    fn is_newer(&self, object: &K) -> bool {
        self.object().is_none_or(|known| ResourceVersion::of(known.meta()) < ResourceVersion::of(object.meta()))
    }
}

impl<K> Default for ObservedObject<K> {
    fn default() -> Self {
        Self { presence: Presence::Unknown, listed: None }
    }
}

impl<K> Presence<K> {
    fn of(found: Option<K>) -> Self {
        found.map_or(Self::Absent, Self::Present)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use Event::{Apply, Delete, Init, InitApply, InitDone};

    fn observed() -> ObservedObjects {
        ObservedObjects::new(&ServingSettings {
            namespace: "ns".to_owned(),
            secret: "s".to_owned(),
            configuration: "c".to_owned(),
            service: "injector".to_owned(),
            lifetime: Duration::from_hours(2160),
        })
    }

    fn configuration(version: u64, generation: u64) -> MutatingWebhookConfiguration {
        let entry = |name: &str, client: serde_json::Value| {
            json!({
                "name": name, "clientConfig": client, "admissionReviewVersions": ["v1"], "sideEffects": "None",
            })
        };
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

    fn quiet(observed: &ObservedObjects, clock: Instant) -> Option<Duration> {
        observed.view(&SecretData::default(), Timestamp::UNIX_EPOCH, clock).map(|view| view.unchanged_for)
    }

    #[test]
    fn nothing_is_decided_before_both_objects_have_been_listed() {
        let clock = Instant::now();
        let mut observed = observed();
        observed.apply_secret_event(Init, clock);
        observed.apply_secret_event(InitDone, clock);
        assert_eq!(quiet(&observed, clock), None);
        observed.apply_configuration_event(Init, clock);
        observed.apply_configuration_event(InitApply(configuration(1, 1)), clock);
        assert_eq!(quiet(&observed, clock), None);
        observed.apply_configuration_event(InitDone, clock);
        assert_eq!(quiet(&observed, clock), Some(Duration::ZERO));
        let names: Vec<_> = observed.entries().into_iter().flatten().map(|entry| &entry.name).collect();
        assert_eq!(names, ["ours"]);
    }

    #[test]
    fn entries_are_quiet_for_as_long_as_none_changes() {
        let second = Duration::from_secs(1);
        let clock = Instant::now();
        let mut observed = observed();
        observed.set_secret(None, clock);
        observed.set_configuration(None, clock);
        assert_eq!(quiet(&observed, clock + second), Some(second), "there are none");
        assert!(observed.entries().is_none());
        observed.apply_configuration_event(Apply(configuration(2, 1)), clock + second);
        observed.apply_configuration_event(Apply(configuration(3, 1)), clock + 2 * second);
        assert_eq!(quiet(&observed, clock + 3 * second), Some(2 * second), "something else than an entry changed");
        observed.set_configuration(Some(configuration(4, 2)), clock + 3 * second);
        assert_eq!(quiet(&observed, clock + 3 * second), Some(Duration::ZERO));
    }

    #[test]
    fn an_event_older_than_a_response_is_ignored() {
        let clock = Instant::now();
        let version =
            |observed: &ObservedObjects| observed.secret().map(|secret| ResourceVersion::of(&secret.metadata));
        let mut observed = observed();
        observed.set_secret(Some(secret(10)), clock);
        observed.apply_secret_event(Apply(secret(9)), clock);
        observed.apply_secret_event(Delete(secret(9)), clock);
        assert_eq!(version(&observed), Some(ResourceVersion::parse("10")));
        observed.apply_secret_event(Apply(secret(11)), clock);
        assert_eq!(version(&observed), Some(ResourceVersion::parse("11")));
        observed.apply_secret_event(Delete(secret(12)), clock);
        assert_eq!(version(&observed), None);
        observed.apply_secret_event(Init, clock);
        observed.apply_secret_event(InitApply(secret(5)), clock);
        assert_eq!(version(&observed), None, "a list counts when it has ended");
        observed.apply_secret_event(InitDone, clock);
        assert_eq!(version(&observed), Some(ResourceVersion::parse("5")), "and is right, whatever was seen before");
    }
}
