//! Certificates: parsing, checks, order and encoding.
//!
//! ```text
//! PEM text --pem::read--> blocks --collect--> Anchors --to_pem, jks::encode, pkcs12::encode--> bytes
//! keystore --jks::read, pkcs12::read--> Keystore, for `inspect`
//! chain --Issuers::vouchers--> Vouchers, for evidence of use
//! ```
//!
//! This module does not depend on Kubernetes, and it has no clock, no randomness and no input or output: the same input
//! always gives the same bytes in the same order.

mod anchor;
mod anchors;
mod base64_engine;
mod chain;
mod der;
#[cfg(test)]
pub(crate) mod fixture;
mod java;
pub mod jks;
mod keystore;
mod non_pem_format;
mod password;
pub mod pem;
pub mod pkcs12;
mod stray_text;
mod structure;
mod x509;

pub use anchor::{Anchor, Fingerprint, InvalidCertificateError, ParseFingerprintError, PublicKeyDigest};
pub use anchors::Anchors;
pub use chain::{Issuers, Vouchers};
pub use der::oid_to_string;
pub use java::JavaParseError;
pub use keystore::{KdfBudget, Keystore, KeystoreEntry, KeystoreError};
pub use non_pem_format::NonPemFormat;
pub use password::Password;
pub use pem::{Block, PemError, SkippedCertificateError};
pub use pkcs12::Profile;
pub use structure::Structure;
pub use x509::{PublicKeyType, X509ParseError, name_to_string};
