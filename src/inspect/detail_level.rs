//! How much of a certificate is shown.

/// How much of a certificate is shown, in tables and documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetailLevel {
    /// What bundles need: names, validity, key.
    Brief,
    /// That, and the serial number, usages, alternative names, key identifiers and algorithms.
    Full,
}
