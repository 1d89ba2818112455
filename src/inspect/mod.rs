//! What is in a file, an object or on a server, for people: certificates read from any format, as tables and documents.
//!
//! ```text
//! bytes --Collection::read--> Collection --table, document, pem--> text
//! two Collections --Difference::between--> Difference --table, document--> text
//! Collection, a server's chain, what TLS says --verdict--> Verdict --Display, document--> text
//! ```
//!
//! Unlike a bundle, which has to be flawless, this shows whatever can be seen, and says what could not be. Everything here
//! is a pure function of its arguments: who has read the bytes, and asks for passwords, is the command line.

mod certificate_diff;
mod certificate_set;
mod document;
mod remedy;
mod table;
mod verification;

pub use certificate_diff::{CertificateChange, CertificateDiff};
pub use certificate_set::{CertificateSet, KeystoreLockedError, LocatedCertificate, Location, Passwords, Remark};
pub use table::ColorMode;
pub(crate) use table::{Cell, expiry, render_columns};
pub use verification::{Acceptance, Verification, VerificationError, VerificationResult};
