//! The password of a keystore, kept out of logs.

use std::fmt;

/// The password of a keystore.
///
/// Trust stores hold nothing secret, but people reuse passwords: `Debug` prints none of it and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Takes any text, the empty one included (which [`pkcs12::encode`](super::pkcs12::encode) reads as "no password").
    pub fn new(text: impl Into<String>) -> Password {
        Password(text.into())
    }

    /// The text itself, for those who must feed it to a key derivation or a digest.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_holds_nothing_of_the_password() {
        assert_eq!(format!("{:?}", Password::new("changeit")), "Password(..)");
    }
}
