//! Formats of certificates other than PEM, and how they are converted to PEM.

use base64::Engine;

use super::base64_engine::BASE64;
use super::{Anchor, Structure, jks, pkcs12};

/// Format of certificates other than PEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum NonPemFormat {
    /// Base64 inside the base64 that Kubernetes itself applies.
    #[error("it is PEM in base64 once more than it should be: decode it once with base64 -d")]
    Base64,
    /// Text of two or four octets for each character, as some Windows programs write it.
    #[error("it is PEM in UTF-16 or UTF-32: convert it with iconv -t UTF-8")]
    Utf16,
    /// One certificate in DER.
    #[error("it is a certificate in DER: convert it with openssl x509 -inform DER")]
    Der,
    /// PKCS#7 collection of certificates, such as a file `.p7b`.
    #[error("it is PKCS#7: convert it with openssl pkcs7 -inform DER -print_certs")]
    Pkcs7,
    /// Keystore: JKS or PKCS#12.
    #[error("it is a keystore: write its certificates as PEM with keytool -list -rfc")]
    Keystore,
    /// A compressed file or an archive.
    #[error("it is compressed: unpack it")]
    Compressed,
}

const COMPRESSED: [&[u8]; 5] = [b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"];

const MARKER: &[u8] = b"-----BEGIN ";

impl NonPemFormat {
    /// Recognises the format of bytes by their beginning or by what they decode to.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<NonPemFormat> {
        if COMPRESSED.iter().any(|magic| bytes.starts_with(magic)) {
            return Some(NonPemFormat::Compressed);
        }
        if jks::is_jks(bytes) || pkcs12::is_pkcs12(bytes) {
            return Some(NonPemFormat::Keystore);
        }
        if bytes.first() == Some(&0x30) {
            if Structure::of_der(bytes) == Some(Structure::Pkcs7) {
                return Some(NonPemFormat::Pkcs7);
            }
            if Anchor::from_der(bytes).is_ok() {
                return Some(NonPemFormat::Der);
            }
        }
        let narrow: Vec<u8> = bytes.iter().copied().filter(|octet| *octet != 0).collect();
        if narrow.len() <= bytes.len().div_ceil(2) + 2 && holds(&narrow, MARKER) {
            return Some(NonPemFormat::Utf16);
        }
        let digits: Vec<u8> = bytes.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
        let decoded = BASE64.decode(digits).ok().filter(|decoded| !decoded.is_empty())?;
        (holds(&decoded, MARKER) || NonPemFormat::of(&decoded).is_some()).then_some(NonPemFormat::Base64)
    }
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
