//! What to do about PEM that cannot be read.

use crate::trust::pem::PemCause;

/// The cause and the cure.
pub(super) fn mend(cause: &PemCause) -> String {
    let (what, cure) = match cause {
        PemCause::Label(label) if label.ends_with("PRIVATE KEY") => {
            ("a private key, which is not read", "a bundle must not hold it")
        }
        PemCause::Label(label) => {
            return format!(
                "a block {label:?} instead of CERTIFICATE; take it out, or convert it with openssl x509 -in FILE"
            );
        }
        PemCause::Headers => ("the block has headers", "remove the lines between BEGIN and the base64"),
        PemCause::Certificate(malformed) => return malformed.to_string(),
        PemCause::Marker => {
            ("a BEGIN or END marker that is cut off, indented or not alone on its line", "give it a line of its own")
        }
        PemCause::Unterminated => ("the block has no END line", "the text is cut off: copy it again"),
        PemCause::Unopened => ("an END line without its BEGIN line", "the text is cut off: copy it again"),
        PemCause::Mangled => (
            "a BEGIN or END marker that is written wrong",
            "write it with five hyphens and in capitals: -----BEGIN CERTIFICATE----- or -----END CERTIFICATE-----",
        ),
        PemCause::Bare => (
            "a certificate without BEGIN and END lines",
            "put -----BEGIN CERTIFICATE----- before it and -----END CERTIFICATE----- behind it",
        ),
        PemCause::Invisible(character) => {
            return format!(
                "the invisible character U+{:04X}; take it out, or copy the certificate again as plain text",
                u32::from(*character)
            );
        }
        PemCause::Base64 => ("the content of the block is not base64", "copy the certificate again"),
    };
    format!("{what}; {cure}")
}
