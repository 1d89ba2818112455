//! What a Bundle has to offer to pods.

use crate::bundle::{CertificateSource, DecisionSettings, FieldError, Intent, Namespace, ObjectKind, Selector};
use crate::text;
use crate::trust::Password;

use super::blocker::Blocker;

/// A Bundle as pods may have it: the one object that they mount, and what is in it.
#[derive(Clone, Debug)]
pub struct InjectableBundle {
    /// Kind of the object; its name is the Bundle's.
    pub kind: ObjectKind,
    /// The key that holds the PEM.
    pub pem_key: String,
    /// The trust store for Java, if the Bundle makes one.
    pub keystore: Option<MountedKeystore>,
    /// Whether the Bundle has the default CAs in it.
    pub default_cas: bool,
    /// The namespaces that it reaches.
    namespaces: Selector,
}

/// A trust store that Java reads.
#[derive(Clone, Debug)]
pub struct MountedKeystore {
    /// Its format.
    pub kind: KeystoreKind,
    /// The key of the object that holds it.
    pub key: String,
    /// Its password; empty for none.
    pub password: Password,
}

/// The formats of trust stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeystoreKind {
    /// A Java keystore.
    Jks,
    /// PKCS#12 (RFC 7292).
    Pkcs12,
}

/// What a Bundle comes to for pods.
#[derive(Clone, Debug)]
pub enum Injectability {
    /// Pods may mount it.
    Usable(InjectableBundle),
    /// They may not.
    Unusable {
        /// Why.
        cause: String,
        /// What to do about it.
        remedy: String,
    },
}

impl Injectability {
    /// Reads it off a Bundle, under the controller's settings.
    #[must_use]
    pub fn of(bundle: Result<&Intent, &[FieldError]>, settings: &DecisionSettings) -> Self {
        let intent = match bundle {
            Ok(intent) => intent,
            Err(errors) => {
                let first = errors.first().map_or_else(String::new, ToString::to_string);
                return Self::unusable(&format!("it is invalid: {first}"), "mend it");
            }
        };
        if let Some(protected) = settings.protection(&intent.name) {
            let remedy =
                format!("give the Bundle another name, or controller and injector --allow-names={}", intent.name);
            return Self::unusable(&protected.cause(), &remedy);
        }
        // Both kinds hold the same; a ConfigMap needs no permission on Secrets to look at.
        let enabled = |kind| kind != ObjectKind::Secret || settings.secret_targets;
        let Some(object) = intent.output.objects.iter().find(|object| enabled(object.kind)) else {
            return if intent.output.objects.is_empty() {
                Self::unusable("it has no target", "give it spec.target.configMap.key")
            } else {
                Self::unusable("its target is a Secret", "give controller and injector --secret-targets-enabled")
            };
        };
        // Every Java reads a Java keystore, whatever its password.
        let jks = intent.output.jks.as_ref().map(|jks| (KeystoreKind::Jks, &jks.key, &jks.password));
        let pkcs12 = intent.output.pkcs12.as_ref().map(|pkcs12| (KeystoreKind::Pkcs12, &pkcs12.key, &pkcs12.password));
        let keystore = jks.or(pkcs12);
        Self::Usable(InjectableBundle {
            kind: object.kind,
            pem_key: object.pem_key.clone(),
            keystore: keystore.map(|(kind, key, password)| MountedKeystore {
                kind,
                key: key.clone(),
                password: password.clone(),
            }),
            default_cas: intent.sources.iter().any(|source| matches!(source, CertificateSource::DefaultCas)),
            namespaces: intent.namespaces.clone(),
        })
    }

    fn unusable(cause: &str, remedy: &str) -> Self {
        Self::Unusable { cause: cause.to_owned(), remedy: remedy.to_owned() }
    }
}

impl InjectableBundle {
    /// Whether its object is, or will be, in a namespace; if not, what keeps it out.
    pub(super) fn check_reach(
        &self,
        settings: &DecisionSettings,
        name: &str,
        namespace: &Namespace,
    ) -> Result<(), Blocker> {
        let quoted = text::quote_name(name);
        if settings.reaches(&self.namespaces, name, namespace) {
            Ok(())
        } else if !settings.allows_namespace(name) {
            let remedy = "add it to --target-namespaces of controller and injector";
            Err(Blocker::of_pod(format!("namespace {quoted} receives no targets"), remedy))
        } else if namespace.terminating {
            Err(Blocker::of_pod(format!("namespace {quoted} is being deleted"), "wait for its end"))
        } else {
            let why = format!("it does not select namespace {quoted}: {}", self.namespaces);
            Err(Blocker::of_pod(why, "label the namespace or mend spec.target.namespaceSelector"))
        }
    }
}
