//! Decisions: from a Bundle's spec and the objects of the cluster to the targets that have to be written.
//!
//! Everything here is a pure function of its arguments: no client, no clock, no log. The controller calls [`decide`]
//! with inputs from watches, `rootcast render` with inputs from files.

mod adoption;
mod certificate_uses;
mod decision;
mod denial;
mod denied_content;
mod dependents;
mod diff;
mod distrust;
mod enforcement;
mod expiry;
mod field_error;
mod finding;
#[cfg(test)]
pub(crate) mod fixture;
mod hand_back;
mod id;
mod inputs;
mod intent;
mod last_status;
mod object_kind;
mod observed_metadata;
mod parse;
mod payload;
mod policy;
mod protected;
mod reason;
mod refusal;
mod related;
mod report;
mod retained_decision;
mod retention;
mod selector;
mod size;
mod source_cycle;
mod source_error;
mod sources;
mod syntax;
mod trust_namespaces;
mod unstable;

pub use adoption::{AdoptionVerdict, ContentSummary, Obstacle, TARGET_EXISTS};
pub use certificate_uses::CertificateUses;
pub use decision::{Decision, Desired, ExistingTargets, decide};
pub use denial::{Denials, DeniedCertificates, Denier};
pub use dependents::{InputChange, affected_bundles};
pub use diff::{Diff, Drift, Release};
pub use enforcement::{DistrustProgress, DistrustedBundle, Enforcement, report_distrust};
pub use expiry::{EXPIRIES_MAX, Expiry, ExpirySummary, LeftOutReason};
pub use field_error::{FieldError, FieldErrors};
pub use finding::{EXPIRY_WARNING_DAYS, Finding, Observation};
pub use hand_back::upgrade_managed_fields;
pub use id::{BundleId, SourceId, TargetRef};
pub use inputs::{
    AdoptionPolicy, DecisionSettings, DefaultCas, EvidenceSource, Inputs, Namespace, OutputKeys, SourceContent,
    SourceObject, SourceValue, TLS_SECRET_TYPE,
};
pub use intent::{
    CertificateSource, Intent, JksOutput, Keys, ObjectOutput, ObjectSource, Output, Pkcs12Output, Select,
};
pub use last_status::LastStatus;
pub use object_kind::ObjectKind;
pub use observed_metadata::{FieldOwnership, ObjectPart, ObservedMetadata, OwnerRef};
pub use payload::{Content, Manifest, Payload, PayloadValue, SIZE_MAX, encode};
pub use policy::{
    BundlePolicy, DeletionPolicy, InvalidRetentionTimeError, RetentionDefaults, parse_retention_time,
    policy_annotations,
};
pub use protected::{PROTECTED_NAMES, ProtectedName};
pub use reason::Reason;
pub use refusal::Refusal;
pub use report::{
    BundleEvent, ROLLOUT_HELD, Report, RolloutOutcome, RolloutProgress, report_held_rollout, report_outcome,
    report_progress, report_refusal,
};
pub use retained_decision::{RetainedDecision, decide_retained, published_last};
pub use retention::{
    CERTIFICATES_KEY, CertificateUse, Clock, ContentDigest, DOCUMENT_KEY, Evidence, Facts, LEAVING_MAX, Ledger,
    LedgerError, Memory, MemoryEntry, OwnCertificate, OwnCertificates, Phase, RecordedRetention, Recovery, Retained,
    RetentionInput, RetentionPolicy, RetiringNote, Rotation, RotationPhase, StoredState, TargetContent, UnknownFields,
    Wait, WithdrawalReason, check_ledger_size, ledger_name, ledger_of, recover, retain, settle_time,
};
pub use selector::{LabelSet, Labels, PackedLabels, Selector};
pub use sources::{AnchorOrigin, ResolvedSources, resolve, resolve_default_cas};
pub use syntax::is_dns_subdomain;
pub use trust_namespaces::TrustNamespaces;
pub use unstable::Unstable;
