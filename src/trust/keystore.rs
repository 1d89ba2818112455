//! What a keystore holds, whatever its format, as those see it who look into one.

use std::sync::Arc;

/// The certificates of a keystore, and what is beside them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keystore {
    /// Certificates in the order of the file, the chains of private keys included.
    pub entries: Vec<KeystoreEntry>,
    /// How many private keys there are, of which nothing is read.
    pub private_keys: usize,
    /// Whether a password guards it, against damage or readers.
    pub password_protected: bool,
}

/// A certificate of a keystore, unchecked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeystoreEntry {
    /// Its name in the keystore, if it has one.
    pub alias: Option<Arc<str>>,
    /// The certificate.
    pub der: Box<[u8]>,
    /// Whether it is marked as trusted, the way Java wants it. The chains of private keys are not.
    pub trusted: bool,
}

/// Why a keystore cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeystoreError {
    /// The password is wrong; or, which looks the same, the store has been damaged.
    #[error("the password does not fit, or the keystore is damaged")]
    WrongPassword,
    /// The named part is missing or not what the format wants there.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// Something that the format permits and this program does not read.
    #[error("not read here: {0}")]
    Unsupported(String),
    /// Its passwords take so many rounds of key derivation that it must mean harm.
    #[error("it asks for more than {} rounds of key derivation", KdfBudget::ROUNDS)]
    TooManyRounds,
}

/// How many rounds of key derivation are left for a keystore and all passwords that are tried on it.
#[derive(Debug)]
pub struct KdfBudget(u64);

impl KdfBudget {
    /// Some seconds of work. Java's keystores take 10,000 rounds, others up to some hundred thousands.
    const ROUNDS: u64 = 20_000_000;

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
