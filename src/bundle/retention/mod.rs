//! Retention: how long a certificate stays published after the last source has lost it.
//!
//! [`retain`] is one step of a state machine for each own certificate of a Bundle; default CAs are never retained. A
//! certificate is withdrawn only when nothing needs it any more, as far as can be known, or when it is denied.

mod conditions;
mod events;
mod facts;
mod ledger;
mod memory;
mod notes;
mod record;
mod recovery;
mod rotation;
mod step;

pub use facts::{CertificateUse, Clock, Evidence, Facts, OwnCertificate, OwnCertificates, RetentionPolicy};
pub use ledger::{CERTIFICATES_KEY, DOCUMENT_KEY, Ledger, LedgerError, check_ledger_size, ledger_name, ledger_of};
pub use memory::{ContentDigest, Memory, MemoryEntry, Phase, UnknownFields, WithdrawalReason};
pub use notes::{RetiringNote, settle_time};
pub use record::RecordedRetention;
pub use recovery::{Recovery, StoredState, TargetContent, recover};
pub use rotation::{Rotation, RotationPhase};
pub use step::{LEAVING_MAX, Retained, RetentionInput, Wait, retain};
