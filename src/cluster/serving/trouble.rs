//! What is in the way, said once for as long as it lasts.

use std::collections::BTreeMap;

use kube::core::Status;
use kube::runtime::watcher;
use tracing::{info, warn};

use super::ServingSettings;
use crate::webhook::rotation::Entry;

/// Everything that is in the way, by what it concerns.
#[derive(Debug)]
pub(super) struct Troubles {
    settings: ServingSettings,
    now: BTreeMap<&'static str, String>,
}

/// One of the two objects, as it is called in the log.
#[derive(Debug)]
pub(super) struct Object {
    kind: Kind,
    /// What fails when it cannot be watched.
    pub(super) watch: &'static str,
    /// What fails when it cannot be written.
    pub(super) write: &'static str,
}

#[derive(Debug)]
enum Kind {
    Secret,
    Configuration,
}

/// The Secret.
pub(super) const SECRET: &Object =
    &Object { kind: Kind::Secret, watch: "watching the Secret", write: "writing the Secret" };

/// The webhook configuration.
pub(super) const CONFIGURATION: &Object = &Object {
    kind: Kind::Configuration,
    watch: "watching the MutatingWebhookConfiguration",
    write: "writing the MutatingWebhookConfiguration",
};

/// What the trouble with a configuration that asks nothing of us is filed under.
const CALLS: &str = "calls by the API server";

impl Troubles {
    /// None yet.
    pub(super) fn new(settings: &ServingSettings) -> Self {
        Self { settings: settings.clone(), now: BTreeMap::new() }
    }

    /// Says what is in the way, unless that is known.
    pub(super) fn say(&mut self, what: &'static str, trouble: String) {
        if self.now.get(what) != Some(&trouble) {
            warn!("{what}: {trouble}");
            self.now.insert(what, trouble);
        }
    }

    /// Nothing is in the way any more.
    pub(super) fn over(&mut self, what: &'static str) {
        if self.now.remove(what).is_some() {
            info!("{what}: in order again");
        }
    }

    /// A watch was interrupted.
    pub(super) fn watch(&mut self, what: &Object, error: &watcher::Error) {
        use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
        let status = match error {
            InitialListFailed(error) | WatchStartFailed(error) | WatchFailed(error) => status(error),
            WatchError(status) => Some(&**status),
            watcher::Error::NoResourceVersion => None,
        };
        self.say(what.watch, self.explain(what, status, error));
    }

    /// A request has failed.
    pub(super) fn request(&mut self, what: &Object, error: &kube::Error) {
        self.say(what.write, self.explain(what, status(error), error));
    }

    /// Tells when nobody can call us: there is no configuration, or it has no entry with our Service.
    pub(super) fn entries(&mut self, entries: Option<&[Entry]>) {
        let ServingSettings { namespace, service, configuration, .. } = &self.settings;
        let trouble = match entries {
            None => format!("there is no MutatingWebhookConfiguration {configuration}; waiting for it"),
            Some([]) => format!(
                "no entry of MutatingWebhookConfiguration {configuration} names Service {namespace}/{service}; waiting for one"
            ),
            Some(_) => return self.over(CALLS),
        };
        self.say(CALLS, trouble);
    }

    /// The trouble in words; with its cure, where a permission is lacking.
    fn explain(&self, what: &Object, status: Option<&Status>, error: &impl std::fmt::Display) -> String {
        let Some(status) = status.filter(|status| status.is_forbidden()) else { return error.to_string() };
        let ServingSettings { namespace, secret, configuration, .. } = &self.settings;
        let rule = match what.kind {
            Kind::Secret => format!(
                "a Role in namespace {namespace} with the verb create on secrets, and get, list, watch and update on the one named {secret}"
            ),
            Kind::Configuration => format!(
                "a ClusterRole with the verbs get, list, watch and patch on mutatingwebhookconfigurations.admissionregistration.k8s.io named {configuration}"
            ),
        };
        format!("{}; the injector's ServiceAccount needs {rule}, or start it with --cert-dir", status.message)
    }
}

fn status(error: &kube::Error) -> Option<&Status> {
    match error {
        kube::Error::Api(status) => Some(status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn troubles() -> Troubles {
        Troubles::new(&ServingSettings {
            namespace: "cert-manager".to_owned(),
            secret: "rootcast-injector-tls".to_owned(),
            configuration: "rootcast-injector".to_owned(),
            service: "rootcast-injector".to_owned(),
            lifetime: Duration::from_hours(2160),
        })
    }

    fn refused(reason: &str) -> kube::Error {
        kube::Error::Api(Box::new(Status::failure("it is forbidden", reason)))
    }

    #[test]
    fn a_lacking_permission_is_named_with_its_cure_and_other_trouble_as_it_is() {
        let mut troubles = troubles();
        troubles.watch(SECRET, &watcher::Error::InitialListFailed(refused("Forbidden")));
        troubles.request(CONFIGURATION, &refused("Forbidden"));
        troubles.request(SECRET, &refused("InternalError"));
        assert_eq!(
            troubles.now[SECRET.watch],
            "it is forbidden; the injector's ServiceAccount needs a Role in namespace cert-manager with the verb create on \
             secrets, and get, list, watch and update on the one named rootcast-injector-tls, or start it with --cert-dir"
        );
        assert_eq!(
            troubles.now[CONFIGURATION.write],
            "it is forbidden; the injector's ServiceAccount needs a ClusterRole with the verbs get, list, watch and patch on \
             mutatingwebhookconfigurations.admissionregistration.k8s.io named rootcast-injector, or start it with --cert-dir"
        );
        assert!(!troubles.now[SECRET.write].contains("Role"), "{:?}", troubles.now[SECRET.write]);
    }

    #[test]
    fn that_nobody_can_call_is_trouble_until_an_entry_names_the_service() {
        let mut troubles = troubles();
        troubles.entries(None);
        assert_eq!(troubles.now[CALLS], "there is no MutatingWebhookConfiguration rootcast-injector; waiting for it");
        troubles.entries(Some(&[]));
        assert_eq!(
            troubles.now[CALLS],
            "no entry of MutatingWebhookConfiguration rootcast-injector names Service cert-manager/rootcast-injector; waiting for one"
        );
        let entry =
            Entry { name: "a".to_owned(), trusted: crate::webhook::rotation::Authorities::default(), flaw: None };
        troubles.entries(Some(&[entry]));
        assert!(troubles.now.is_empty());
    }
}
