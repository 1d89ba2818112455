//! PKCS#12 trust stores (RFC 7292): certificate bags only, each marked as trusted the way Java wants it.
//!
//! The same input gives the same bytes: salts and initialisation vectors are derived from the certificates instead of
//! drawn. They are not derived from the password: that would hand out a fast check for guessed passwords, which the
//! slow derivation of keys is there to prevent.

mod protection;

use super::der::{element, small_integer, tag};
use super::{Anchors, Password};
use protection::{Protection, Salts};

/// How a keystore with a password is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// 40 bit RC2 and a SHA-1 MAC: for Java 8 before 8u301 and other old programs. OpenSSL 3 needs its legacy provider.
    LegacyRc2,
    /// Triple DES and a SHA-1 MAC: readable nearly everywhere.
    LegacyDes,
    /// AES-256-CBC under PBKDF2 and a SHA-256 MAC: Java 8u301, OpenSSL 1.1.1 and later.
    Modern2023,
}

/// Writes a keystore, entries ascending by fingerprint. An empty password makes one without encryption and MAC, whatever
/// the profile.
#[must_use]
pub fn encode(anchors: &Anchors, password: &Password, profile: Profile) -> Vec<u8> {
    let bags = safe_contents(anchors);
    if password.reveal().is_empty() {
        return pfx(&authenticated_safe(&data(&bags)), &[]);
    }
    let salts = Salts::new(anchors);
    let protection = Protection::new(profile, password);
    let safe = authenticated_safe(&protection.encrypt(&bags, &salts));
    let mac = protection.mac(&safe, &salts);
    pfx(&safe, &mac)
}

/// `PFX`, section 4: version 3, the authenticated safe, and `MacData` (or nothing).
fn pfx(safe: &[u8], mac: &[u8]) -> Vec<u8> {
    element(tag::SEQUENCE, &[&small_integer(3), &data(safe), mac])
}

/// `AuthenticatedSafe`, section 4.1, of one part.
fn authenticated_safe(content_info: &[u8]) -> Vec<u8> {
    element(tag::SEQUENCE, &[content_info])
}

/// A `ContentInfo` of type `data`.
fn data(content: &[u8]) -> Vec<u8> {
    content_info(oid::DATA, &element(tag::OCTET_STRING, &[content]))
}

/// `ContentInfo` (RFC 5652, section 3).
fn content_info(oid: &[u8], content: &[u8]) -> Vec<u8> {
    let oid = element(tag::OID, &[oid]);
    element(
        tag::SEQUENCE,
        &[&oid, &element(tag::explicit(0), &[content])],
    )
}

/// `SafeContents`, section 4.2: one certificate bag per anchor.
fn safe_contents(anchors: &Anchors) -> Vec<u8> {
    let usage = element(tag::OID, &[oid::ANY_EXTENDED_KEY_USAGE]);
    let trusted = attribute(oid::JAVA_TRUSTED_KEY_USAGE, &usage);
    let bags: Vec<Vec<u8>> = anchors
        .aliased()
        .map(|(alias, anchor)| {
            let name = attribute(
                oid::FRIENDLY_NAME,
                &element(tag::BMP_STRING, &[&bmp(&alias)]),
            );
            cert_bag(anchor.der(), &[&trusted, &name])
        })
        .collect();
    let bags: Vec<&[u8]> = bags.iter().map(Vec::as_slice).collect();
    element(tag::SEQUENCE, &bags)
}

/// `SafeBag` with a `CertBag`, section 4.2.3. The attributes have to be given in DER's order.
fn cert_bag(der: &[u8], attributes: &[&[u8]]) -> Vec<u8> {
    let certificate = element(tag::explicit(0), &[&element(tag::OCTET_STRING, &[der])]);
    let bag = element(
        tag::SEQUENCE,
        &[&element(tag::OID, &[oid::X509_CERTIFICATE]), &certificate],
    );
    let bag = element(tag::explicit(0), &[&bag]);
    element(
        tag::SEQUENCE,
        &[
            &element(tag::OID, &[oid::CERT_BAG]),
            &bag,
            &element(tag::SET, attributes),
        ],
    )
}

fn attribute(oid: &[u8], value: &[u8]) -> Vec<u8> {
    element(
        tag::SEQUENCE,
        &[&element(tag::OID, &[oid]), &element(tag::SET, &[value])],
    )
}

/// UTF-16, big-endian: what Java and OpenSSL read where section B.1 says `BMPString`.
fn bmp(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

mod oid {
    /// `data` (RFC 5652).
    pub(super) const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
    /// `certBag` (RFC 7292).
    pub(super) const CERT_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 3];
    /// `x509Certificate` (RFC 2985).
    pub(super) const X509_CERTIFICATE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 22, 1];
    /// `friendlyName` (RFC 2985).
    pub(super) const FRIENDLY_NAME: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 20];
    /// Oracle's `trustedKeyUsage`, 2.16.840.1.113894.746875.1.1, without which Java ignores a certificate.
    pub(super) const JAVA_TRUSTED_KEY_USAGE: &[u8] = &[
        0x60, 0x86, 0x48, 1, 0x86, 0xf9, 0x66, 0xad, 0xca, 0x7b, 1, 1,
    ];
    /// `anyExtendedKeyUsage` (RFC 5280).
    pub(super) const ANY_EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25, 0];
}
