//! The API of Bundles and Distrusts: wire types, the schema and rules that the API server enforces, and names that other programs
//! rely on.
//!
//! Everything of Bundles is trust-manager's API `trust.cert-manager.io/v1alpha1`, unchanged, so that either program reads
//! what the other wrote. Distrusts are an API of our own. Nothing here validates an object: the types accept what any API
//! server once stored, and the module `bundle` validates it. The rules in [`crd()`] are the same validation, made earlier,
//! by the API server.

mod bundle;
mod certificate_request;
mod crd;
mod distrust;
mod rules;
mod schema;

pub use bundle::{
    AdditionalFormats, Bundle, BundleSource, BundleSpec, BundleStatus, BundleTarget, Jks, KeyTarget, ObjectRefSource,
    Pkcs12, Pkcs12Profile, TargetMetadata, WirePassword,
};
pub use certificate_request::{CertificateRequest, CertificateRequestStatus};
pub use crd::{CRDS, crd, crd_yaml, distrust_crd, distrust_crd_yaml};
pub use distrust::{Distrust, DistrustSpec, DistrustStatus, DistrustedCertificate};

/// `apiVersion` of a Bundle.
pub const API_VERSION: &str = "trust.cert-manager.io/v1alpha1";

/// `kind` of a Bundle.
pub const KIND: &str = "Bundle";

/// Label on every target: the name of the Bundle that wrote it.
pub const BUNDLE_LABEL: &str = "trust.cert-manager.io/bundle";

/// Annotation on every target: the digest of what was written.
pub const HASH_ANNOTATION: &str = "trust.cert-manager.io/hash";

/// Annotation on a target that holds keys of others, too: the keys that are ours, comma-separated.
pub const KEYS_ANNOTATION: &str = "rootcast.dev/keys";

/// Annotation with which an object of others consents to be overwritten: the name of the Bundle that may.
pub const ADOPT_ANNOTATION: &str = "rootcast.dev/adopt";

/// Annotation of a Bundle: how long a certificate stays published at least after the last source has lost it.
pub const RETAIN_ANNOTATION: &str = "rootcast.dev/retain";

/// Annotation of a Bundle: fingerprints of certificates that are never published.
pub const EXCLUDE_ANNOTATION: &str = "rootcast.dev/exclude";

/// Annotation of a Bundle: the first digits of the digest of the lost content whose loss is accepted.
pub const LEDGER_LOST_ANNOTATION: &str = "rootcast.dev/ledger-lost";

/// Annotation of a Bundle: what becomes of its targets when it is deleted.
pub const DELETION_POLICY_ANNOTATION: &str = "rootcast.dev/deletion-policy";

/// Annotation of a Bundle: the namespace that its sources are read in.
pub const TRUST_NAMESPACE_ANNOTATION: &str = "rootcast.dev/trust-namespace";

/// Field manager of every write; trust-manager's own name, so that fields change hands without a rewrite.
pub const FIELD_MANAGER: &str = "trust-manager";

/// Condition type: whether every target is as the Bundle specifies.
pub const SYNCED: &str = "Synced";

/// Condition type: whether everything in the sources could be used, and will be for a while yet.
pub const SOURCES_COMPLETE: &str = "SourcesComplete";

/// Condition type: a rollout is under way
/// (<https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md>).
pub const RECONCILING: &str = "Reconciling";

/// Condition type: whether the content changes too often, and when it is rolled out next; absent while it does not.
pub const SOURCE_UNSTABLE: &str = "SourceUnstable";

/// Condition type: whether every node can have written the newest certificates of the Bundle's sources to files; absent
/// while certificates are not retained.
pub const SETTLED: &str = "Settled";

/// Condition type: whether certificates that are in no source any more are still published, or may still be in a target;
/// absent while certificates are not retained.
pub const RETIRING: &str = "Retiring";

/// Condition type of a Distrust: whether no target of a Bundle holds what it names.
pub const ENFORCED: &str = "Enforced";

/// Label on the ledger of a bundle, the ConfigMap with what is remembered of its certificates: the kind of the bundle in
/// lower case.
pub const LEDGER_LABEL: &str = "rootcast.dev/ledger";

/// Maximum length of a Bundle's name in bytes: the name is the value of [`BUNDLE_LABEL`], and a label value holds no
/// more.
pub const MAX_NAME: usize = 63;
