//! Remedies for PEM that cannot be read, and for structures that are no certificates.

use crate::trust::Structure;
use crate::trust::pem::PemCause;

/// Describes a structure in place of a certificate, with the remedy. `der` is true if it is not in PEM.
pub(super) fn describe_structure(structure: Structure, der: bool) -> String {
    let (what, remedy) = match structure {
        Structure::OldCertificate => ("a certificate of another form", "convert it with openssl x509 -in FILE"),
        Structure::Pkcs7 => ("certificates as PKCS#7", "convert them with openssl pkcs7 -print_certs -in FILE"),
        Structure::Cms => (
            "certificates as CMS",
            "convert them with openssl cms -cmsout -noout -inform PEM -certsout NEWFILE -in FILE",
        ),
        Structure::Crl => (
            "a list of revoked certificates (CRL)",
            "take it out; the certificate of its CA, if that is wanted here, \
             is the one of openssl crl -noout -issuer -in FILE",
        ),
        Structure::Request => (
            "a request for a certificate",
            "take it out, and put in what its CA has issued for openssl req -noout -subject -in FILE",
        ),
        Structure::PrivateKey => ("a private key, which is not read", "a bundle must not hold it"),
        Structure::PublicKey => ("a public key alone", "take it out, and put in the certificate of it"),
        Structure::Parameters => ("parameters of keys", "take them out"),
        Structure::OpenPgp => ("data of OpenPGP, which has no X.509 certificates", "take it out"),
    };
    let remedy = if der { remedy.replace(" -in FILE", " -inform DER -in FILE") } else { remedy.to_owned() };
    format!("{what}; {remedy}")
}

/// Describes a fault of PEM, with the remedy.
pub(super) fn describe_pem_cause(cause: &PemCause) -> String {
    let (what, remedy) = match cause {
        PemCause::Label(label) => {
            let remedy =
                Structure::of_label(label).map_or("take it out".to_owned(), |of| describe_structure(of, false));
            return format!("a block {label:?} instead of CERTIFICATE: {remedy}");
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
    format!("{what}; {remedy}")
}
