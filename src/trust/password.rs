//! Password of a keystore, kept out of logs.

use std::fmt;

/// Password of a keystore.
///
/// Trust stores contain nothing secret, but people reuse passwords: `Debug` does not print it, and there is no
/// `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps any text; [`pkcs12::encode`](super::pkcs12::encode) takes the empty one as "no password".
    pub fn new(text: impl Into<String>) -> Password {
        Password(text.into())
    }

    /// Returns the text, for a key derivation or a digest.
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
