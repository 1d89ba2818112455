//! Bundles as objects that pods can mount.

use crate::bundle::{CertificateSource, DecisionSettings, FieldError, Intent, Namespace, ObjectKind, Selector};
use crate::text;
use crate::trust::Password;

use super::blocker::Blocker;

/// A Bundle that pods can mount: the one object of its target that is mounted, and its keys.
#[derive(Clone, Debug)]
pub struct InjectableBundle {
    /// The kind of the object, which has the name of the Bundle.
    pub kind: ObjectKind,
    /// The key of the object that holds the certificates as PEM.
    pub pem_key: String,
    /// The trust store for Java, if the Bundle has one.
    pub keystore: Option<MountedKeystore>,
    /// Whether the default CAs are a source of the Bundle.
    pub default_cas: bool,
    /// The namespaces that the Bundle selects.
    namespaces: Selector,
}

/// A trust store for Java in the mounted object.
#[derive(Clone, Debug)]
pub struct MountedKeystore {
    /// The format of the trust store.
    pub kind: KeystoreKind,
    /// The key of the object that holds the trust store.
    pub key: String,
    /// The password of the trust store; empty for none.
    pub password: Password,
}

/// The format of a trust store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeystoreKind {
    /// JKS, the keystore of Java.
    Jks,
    /// PKCS#12 (RFC 7292).
    Pkcs12,
}

/// The result of checking whether pods can mount a Bundle.
#[derive(Clone, Debug)]
pub enum Injectability {
    /// Pods can mount the Bundle.
    Usable(InjectableBundle),
    /// No pod can mount the Bundle.
    Unusable {
        /// The cause, in words.
        cause: String,
        /// The remedy, in words.
        remedy: String,
    },
}

impl Injectability {
    /// Checks whether pods can mount a Bundle, given the settings of the controller.
    #[must_use]
    pub fn of(bundle: Result<&Intent, &[FieldError]>, settings: &DecisionSettings) -> Self {
        let intent = match bundle {
            Ok(intent) => intent,
            Err(errors) => {
                let first = errors.first().map_or_else(String::new, ToString::to_string);
                return Self::unusable(&format!("it is invalid: {first}"), "mend it");
            }
        };
        if let Some(protected) = settings.protection(intent.id.name()) {
            let remedy =
                format!("give the Bundle another name, or controller and injector --allow-names={}", intent.id);
            return Self::unusable(&protected.cause(), &remedy);
        }
        // Both kinds hold the same; reading a ConfigMap needs no permission on Secrets.
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
    /// Checks that the object is, or will be, in the namespace `name`.
    ///
    /// # Errors
    ///
    /// The reason why the namespace receives no object of the Bundle.
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
            let cause = format!("it does not select namespace {quoted}: {}", self.namespaces);
            Err(Blocker::of_pod(cause, "label the namespace or mend spec.target.namespaceSelector"))
        }
    }
}
