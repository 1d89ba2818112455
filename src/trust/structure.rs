//! Structures of PKIX, PKCS and `OpenPGP` that are found where certificates should be.

use super::der::{Reader, tag};

/// Structure that is no X.509 certificate, or not in its standard form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Structure {
    /// Certificate under an old label, or with OpenSSL's trust settings.
    OldCertificate,
    /// PKCS#7 (RFC 2315), nearly always a collection of certificates.
    Pkcs7,
    /// CMS (RFC 5652), the successor of PKCS#7, by its label.
    Cms,
    /// Certificate revocation list (RFC 5280, section 5).
    Crl,
    /// Certificate request (PKCS#10, RFC 2986).
    Request,
    /// Private key of any kind, encrypted or not.
    PrivateKey,
    /// Public key.
    PublicKey,
    /// Parameters of keys.
    Parameters,
    /// Keys, messages and signatures of `OpenPGP` (RFC 9580, section 6.2).
    OpenPgp,
}

/// `id-signedData` (RFC 5652, section 5.1), an element.
const SIGNED_DATA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];

/// Octets of the exponent 65537, by which an RSA public key differs from parameters, which are two numbers, too.
const EXPONENT_LEN: usize = 3;

/// Minimum of numbers in a private key of an old format; parameters have fewer.
const MIN_PRIVATE_KEY_INTEGERS: usize = 6;

impl Structure {
    /// Recognises the label of a PEM block.
    #[must_use]
    pub fn of_label(label: &str) -> Option<Self> {
        Some(match label {
            "TRUSTED CERTIFICATE" | "X509 CERTIFICATE" => Self::OldCertificate,
            "PKCS7" | "PKCS #7 SIGNED DATA" => Self::Pkcs7,
            "CMS" => Self::Cms,
            "X509 CRL" => Self::Crl,
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => Self::Request,
            _ if label.starts_with("PGP ") => Self::OpenPgp,
            _ if label.ends_with("PRIVATE KEY") => Self::PrivateKey,
            _ if label.ends_with("PUBLIC KEY") => Self::PublicKey,
            _ if label.ends_with("PARAMETERS") => Self::Parameters,
            _ => return None,
        })
    }

    /// Recognises bytes that begin with a structure in DER, or with PKCS#7 in BER.
    #[must_use]
    pub fn of_der(bytes: &[u8]) -> Option<Self> {
        if bytes.first() != Some(&tag::SEQUENCE) {
            return None;
        }
        let begin = &bytes[..bytes.len().min(SIGNED_DATA.len() + 6)];
        if begin.windows(SIGNED_DATA.len()).any(|window| window == SIGNED_DATA) {
            return Some(Self::Pkcs7);
        }
        let parts = parts(bytes)?;
        let tags: Vec<u8> = parts.iter().map(|(tag, _)| *tag).collect();
        let numbers = tags.iter().take_while(|found| **found == tag::INTEGER).count();
        match tags[..] {
            [tag::SEQUENCE, tag::SEQUENCE, tag::BIT_STRING] => {
                Self::of_signed(Reader::new(bytes).enter(tag::SEQUENCE)?.rest())
            }
            [tag::INTEGER, tag::OCTET_STRING, ..]
            | [tag::INTEGER, tag::SEQUENCE, tag::OCTET_STRING, ..]
            | [tag::SEQUENCE, tag::OCTET_STRING] => Some(Self::PrivateKey),
            [tag::SEQUENCE, tag::BIT_STRING] => Some(Self::PublicKey),
            [tag::INTEGER, tag::INTEGER] if parts[1].1.len() >= EXPONENT_LEN => Some(Self::PublicKey),
            _ if numbers >= MIN_PRIVATE_KEY_INTEGERS => Some(Self::PrivateKey),
            _ if numbers >= 2 => Some(Self::Parameters),
            _ => None,
        }
    }

    /// Recognises signed content by its beginning.
    fn of_signed(content: &[u8]) -> Option<Self> {
        let parts = parts(content)?;
        let tags: Vec<u8> = parts.iter().map(|(tag, _)| *tag).collect();
        match tags[..] {
            [tag::INTEGER, tag::SEQUENCE, tag::SEQUENCE, tag::UTC_TIME | tag::GENERALIZED_TIME, ..]
            | [tag::SEQUENCE, tag::SEQUENCE, tag::UTC_TIME | tag::GENERALIZED_TIME, ..] => Some(Self::Crl),
            [tag::INTEGER, tag::SEQUENCE, tag::SEQUENCE] => Some(Self::Request),
            [tag::INTEGER, tag::SEQUENCE, tag::SEQUENCE, attributes] if attributes == tag::explicit(0) => {
                Some(Self::Request)
            }
            _ => None,
        }
    }
}

/// Reads the first elements of a SEQUENCE, at most [`MAX_PARTS`]: their tags and contents.
fn parts(der: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut reader = Reader::new(der).enter(tag::SEQUENCE)?;
    let mut parts = Vec::new();
    while !reader.is_empty() && parts.len() < MAX_PARTS {
        parts.push(reader.any()?);
    }
    Some(parts)
}

/// Number of elements that suffice to recognise a structure.
const MAX_PARTS: usize = 10;
