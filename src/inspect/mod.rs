//! Report of the certificates in a file, in an object or on a server, read from any format, as tables and documents.
//!
//! ```text
//! bytes --CertificateSet::read--> CertificateSet --table, document, to_pem--> text
//! two CertificateSets --CertificateDiff::between--> CertificateDiff --table, document--> text
//! CertificateSet, a chain, errors of TLS --Verification::verify--> VerificationResult --text, document--> text
//! ```
//!
//! Unlike a bundle, which must be flawless, the report has whatever can be read, and names what cannot. Everything here
//! is a pure function of its arguments: reading the bytes and asking for passwords is the command line's.

mod algorithm;
mod certificate_diff;
mod certificate_set;
mod detail_level;
mod document;
mod facts;
mod remedy;
mod table;
mod verification;

pub use certificate_diff::{CertificateChange, CertificateDiff};
pub use certificate_set::{
    CertificateSet, KeystoreLockedError, LocatedCertificate, Location, Passwords, Remark, ValuePlace,
};
pub use detail_level::DetailLevel;
pub(crate) use table::{Cell, expiry, render_columns};
pub use verification::{Acceptance, Verification, VerificationError, VerificationResult};
