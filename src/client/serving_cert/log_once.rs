//! Log of problems, each of which is logged once for as long as it lasts.

use std::collections::BTreeMap;

use kube::core::Status;
use kube::runtime::watcher;
use tracing::{info, warn};

use super::ServingSettings;
use crate::serving_cert::WebhookEntry;

/// A log of the active problems, by subject.
#[derive(Debug)]
pub(super) struct LogOnce {
    settings: ServingSettings,
    /// The active problems, by subject.
    active: BTreeMap<&'static str, String>,
}

/// An object and the subjects of its problems in the log.
#[derive(Debug)]
pub(super) struct LoggedObject {
    kind: Kind,
    /// The subject of a failure to watch the object.
    pub(super) watch: &'static str,
    /// The subject of a failure to write the object.
    pub(super) write: &'static str,
}

#[derive(Debug)]
enum Kind {
    Secret,
    Configuration,
}

/// The Secret in the log.
pub(super) const SECRET: &LoggedObject =
    &LoggedObject { kind: Kind::Secret, watch: "watching the Secret", write: "writing the Secret" };

/// The webhook configuration in the log.
pub(super) const CONFIGURATION: &LoggedObject = &LoggedObject {
    kind: Kind::Configuration,
    watch: "watching the MutatingWebhookConfiguration",
    write: "writing the MutatingWebhookConfiguration",
};

/// The subject of a configuration without an entry for the Service.
const API_SERVER_CALLS: &str = "calls by the API server";

impl LogOnce {
    /// Creates a log without problems.
    pub(super) fn new(settings: &ServingSettings) -> Self {
        Self { settings: settings.clone(), active: BTreeMap::new() }
    }

    /// Logs a problem of a subject, unless it is active already.
    pub(super) fn warn_once(&mut self, subject: &'static str, problem: String) {
        if self.active.get(subject) != Some(&problem) {
            warn!("{subject}: {problem}");
            self.active.insert(subject, problem);
        }
    }

    /// Logs that the problem of a subject, if there was one, is over.
    pub(super) fn resolved(&mut self, subject: &'static str) {
        if self.active.remove(subject).is_some() {
            info!("{subject}: in order again");
        }
    }

    /// Logs the interruption of a watch.
    pub(super) fn watch_failed(&mut self, object: &LoggedObject, error: &watcher::Error) {
        use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
        let status = match error {
            InitialListFailed(error) | WatchStartFailed(error) | WatchFailed(error) => status(error),
            WatchError(status) => Some(&**status),
            watcher::Error::NoResourceVersion => None,
        };
        self.warn_once(object.watch, self.describe(object, status, error));
    }

    /// Logs the failure of a write.
    pub(super) fn write_failed(&mut self, object: &LoggedObject, error: &kube::Error) {
        self.warn_once(object.write, self.describe(object, status(error), error));
    }

    /// Logs a configuration that does not exist or has no entry with the Service, so that no API server calls it.
    pub(super) fn check_entries(&mut self, entries: Option<&[WebhookEntry]>) {
        let ServingSettings { namespace, service, configuration, .. } = &self.settings;
        let problem = match entries {
            None => format!("there is no MutatingWebhookConfiguration {configuration}; waiting for it"),
            Some([]) => format!(
                "no entry of MutatingWebhookConfiguration {configuration} names Service {namespace}/{service}; waiting \
                 for one"
            ),
            Some(_) => return self.resolved(API_SERVER_CALLS),
        };
        self.warn_once(API_SERVER_CALLS, problem);
    }

    /// Formats an error; with its remedy, where a permission is missing.
    fn describe(&self, object: &LoggedObject, status: Option<&Status>, error: &impl std::fmt::Display) -> String {
        let Some(status) = status.filter(|status| status.is_forbidden()) else { return error.to_string() };
        let ServingSettings { namespace, secret, configuration, .. } = &self.settings;
        let rule = match object.kind {
            Kind::Secret => format!(
                "a Role in namespace {namespace} with the verb create on secrets, and get, list, watch and update on \
                 the one named {secret}"
            ),
            Kind::Configuration => format!(
                "a ClusterRole with the verbs get, list, watch and patch on \
                 mutatingwebhookconfigurations.admissionregistration.k8s.io named {configuration}"
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

    fn log() -> LogOnce {
        LogOnce::new(&ServingSettings {
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
    fn a_missing_permission_is_logged_with_its_remedy_and_other_errors_verbatim() {
        let mut log = log();
        log.watch_failed(SECRET, &watcher::Error::InitialListFailed(refused("Forbidden")));
        log.write_failed(CONFIGURATION, &refused("Forbidden"));
        log.write_failed(SECRET, &refused("InternalError"));
        assert_eq!(
            log.active[SECRET.watch],
            "it is forbidden; the injector's ServiceAccount needs a Role in namespace cert-manager with the verb \
             create on secrets, and get, list, watch and update on the one named rootcast-injector-tls, or start it \
             with --cert-dir"
        );
        assert_eq!(
            log.active[CONFIGURATION.write],
            "it is forbidden; the injector's ServiceAccount needs a ClusterRole with the verbs get, list, watch and \
             patch on mutatingwebhookconfigurations.admissionregistration.k8s.io named rootcast-injector, or start it \
             with --cert-dir"
        );
        assert!(!log.active[SECRET.write].contains("Role"), "{:?}", log.active[SECRET.write]);
    }

    #[test]
    fn a_configuration_without_our_service_is_logged_until_an_entry_names_it() {
        let mut log = log();
        log.check_entries(None);
        assert_eq!(
            log.active[API_SERVER_CALLS],
            "there is no MutatingWebhookConfiguration rootcast-injector; waiting for it"
        );
        log.check_entries(Some(&[]));
        assert_eq!(
            log.active[API_SERVER_CALLS],
            "no entry of MutatingWebhookConfiguration rootcast-injector names Service cert-manager/rootcast-injector; \
             waiting for one"
        );
        let entry =
            WebhookEntry { name: "a".to_owned(), trusted: crate::serving_cert::TrustedCas::default(), flaw: None };
        log.check_entries(Some(&[entry]));
        assert!(log.active.is_empty());
    }
}
