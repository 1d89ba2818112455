//! What a Distrust names, and the event of what it names no longer.

use crate::{api, text};

use super::denial::DeniedCertificates;
use super::field_error::{FieldError, FieldErrors};
use super::reason::Reason;
use super::report::BundleEvent;

/// Maximum number of digests in an event.
const DIGESTS_SHOWN: usize = 5;

impl DeniedCertificates {
    /// Parses what a Distrust names, as far as it can be read; returns the faults of the rest, too.
    #[must_use]
    pub fn parse(spec: &api::DistrustSpec) -> (Self, Vec<FieldError>) {
        let api::DistrustSpec { reason: _, certificates } = spec;
        let (mut denied, mut errors) = (Self::default(), FieldErrors::default());
        for (index, api::DistrustedCertificate { sha256, public_key_sha256 }) in certificates.iter().enumerate() {
            let at = format!("spec.certificates[{index}]");
            if sha256.is_some() == public_key_sha256.is_some() {
                errors.push(FieldError::required(&*at, "exactly one of sha256 and publicKeySHA256 must be set"));
            }
            if let Some(text) = sha256 {
                match text.parse() {
                    Ok(digest) => _ = denied.certificates.insert(digest),
                    Err(error) => errors.push(invalid(&at, "sha256", text, &error)),
                }
            }
            if let Some(text) = public_key_sha256 {
                match text.parse() {
                    Ok(digest) => _ = denied.public_keys.insert(digest),
                    Err(error) => errors.push(invalid(&at, "publicKeySHA256", text, &error)),
                }
            }
        }
        (denied, errors.end().err().unwrap_or_default())
    }

    fn digests(&self) -> impl Iterator<Item = String> {
        let Self { certificates, public_keys } = self;
        let certificates = certificates.iter().map(|digest| format!("the certificate with SHA-256 {digest}"));
        certificates.chain(public_keys.iter().map(|digest| format!("the public key with SHA-256 {digest}")))
    }
}

fn invalid(at: &str, field: &str, value: &str, error: &dyn std::fmt::Display) -> FieldError {
    FieldError::invalid(format!("{at}.{field}"), value, error.to_string())
}

impl BundleEvent {
    /// Returns the event of a Distrust that was deleted, or names less than before.
    #[must_use]
    pub fn lifted(lifted: &DeniedCertificates) -> Self {
        let shown: Vec<_> = lifted.digests().take(DIGESTS_SHOWN).collect();
        let more = match lifted.digests().count().saturating_sub(DIGESTS_SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let note = format!("No longer distrusted, and published wherever a source has it: {}{more}", shown.join(", "));
        Self { warning: true, reason: Reason::DistrustLifted, note: text::event_note(&note) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bundle::fixture::anchor;

    fn parse(certificates: &serde_json::Value) -> (DeniedCertificates, Vec<String>) {
        let spec = serde_json::from_value(json!({ "certificates": certificates })).expect("a spec");
        let (denied, errors) = DeniedCertificates::parse(&spec);
        (denied, errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn digests_are_read_as_openssl_prints_them() {
        let digits = anchor("rsa").fingerprint().to_string();
        let pairs: Vec<_> = digits.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).expect("ASCII")).collect();
        let key = anchor("ec").public_key_digest();
        let (denied, errors) = parse(&json!([
            { "sha256": pairs.join(":").to_uppercase() },
            { "publicKeySHA256": key.to_string() },
        ]));
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(denied.certificates, [anchor("rsa").fingerprint()].into());
        assert_eq!(denied.public_keys, [key].into());
    }

    #[test]
    fn what_an_older_schema_let_through_counts_as_far_as_it_can_be_read() {
        let digits = anchor("rsa").fingerprint().to_string();
        let (denied, errors) = parse(&json!([
            { "sha256": &digits[1..] },
            {},
            { "sha256": digits, "publicKeySHA256": digits },
            { "publicKeySHA256": "x" },
        ]));
        assert_eq!((denied.certificates.len(), denied.public_keys.len()), (1, 1));
        let paths: Vec<_> = errors.iter().map(|error| error.split_once(": ").expect("a path").0).collect();
        assert_eq!(
            paths,
            [
                "spec.certificates[0].sha256",
                "spec.certificates[1]",
                "spec.certificates[2]",
                "spec.certificates[3].publicKeySHA256"
            ]
        );
        assert!(errors[0].ends_with("a SHA-256 fingerprint has 64 hexadecimal digits, not 63"), "{errors:?}");
    }

    #[test]
    fn an_event_names_what_is_trusted_again_and_counts_the_rest() {
        let certificates = (0..7u8).map(|number| crate::trust::Fingerprint::of(&[number])).collect();
        let lifted = DeniedCertificates { certificates, ..DeniedCertificates::default() };
        let BundleEvent { warning, reason, note } = BundleEvent::lifted(&lifted);
        assert!(warning && reason == Reason::DistrustLifted && note.ends_with(" and 2 more"), "{note}");
    }
}
