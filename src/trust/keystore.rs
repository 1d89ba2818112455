//! Format-independent view of a keystore (JKS, PKCS#12), for `inspect`.

use std::sync::Arc;

/// Certificates of a keystore, and facts about its other content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keystore {
    /// Certificates in the order of the file, the chains of private keys included.
    pub entries: Vec<KeystoreEntry>,
    /// Number of private keys, which are not read.
    pub private_keys: usize,
    /// Whether a password protects the keystore against damage or readers.
    pub password_protected: bool,
}

/// Certificate of a keystore, not parsed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeystoreEntry {
    /// Name of the entry, if it has one.
    pub alias: Option<Arc<str>>,
    /// The certificate in DER.
    pub der: Box<[u8]>,
    /// Whether the entry is marked as trusted for Java. The chains of private keys are not.
    pub trusted: bool,
}

/// Error that reading a keystore returns.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeystoreError {
    /// Wrong password or, which looks the same, a damaged keystore.
    #[error("the password does not fit, or the keystore is damaged")]
    WrongPassword,
    /// Part that is missing or not as the format requires, by its name.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// Content that the format permits and this program does not read.
    #[error("not read here: {0}")]
    Unsupported(String),
    /// Key derivation of more rounds than [`KdfBudget`] permits, refused as a guard against denial of service.
    #[error("it asks for more than {} rounds of key derivation", KdfBudget::ROUNDS)]
    TooManyRounds,
}

/// Remaining rounds of key derivation for a keystore and all passwords that are tried on it.
#[derive(Debug)]
pub struct KdfBudget(u64);

impl KdfBudget {
    /// Initial budget: some seconds of work. Java's keystores take 10,000 rounds, others some hundred thousand.
    const ROUNDS: u64 = 20_000_000;

    /// Deducts rounds before they are computed.
    pub(super) fn spend(&mut self, rounds: u64) -> Result<(), KeystoreError> {
        self.0 = self.0.checked_sub(rounds).ok_or(KeystoreError::TooManyRounds)?;
        Ok(())
    }
}

impl Default for KdfBudget {
    fn default() -> KdfBudget {
        KdfBudget(KdfBudget::ROUNDS)
    }
}
