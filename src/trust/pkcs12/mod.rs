//! Reader and writer of PKCS#12 keystores (RFC 7292).
//!
//! Keystores of any content are read, but only their certificates. Those written are trust stores: certificate bags
//! only, each marked as trusted for Java.
//!
//! The same input gives the same bytes: salts and initialisation vectors are derived from the certificates instead of
//! drawn at random. They are not derived from the password: that would provide a fast check for guessed passwords,
//! which the slow derivation of keys prevents.

mod ber;
mod decrypt;
mod encrypt;
mod read;

use super::der::{element, enclose, small_integer, tag};
use super::{Anchors, Password};
use encrypt::{SafeEncryptor, Salts};

pub use read::{is_pkcs12, read};

/// Encryption and MAC of a keystore with a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// 40 bit RC2 and a SHA-1 MAC: for Java 8 before 8u301 and other old programs. OpenSSL 3 needs its legacy provider.
    LegacyRc2,
    /// Triple DES and a SHA-1 MAC: readable nearly everywhere.
    LegacyDes,
    /// AES-256-CBC under PBKDF2 and a SHA-256 MAC: Java 8u301, OpenSSL 1.1.1 and later.
    Modern2023,
}

/// Encodes a keystore with entries ascending by fingerprint; with none if there are no anchors.
///
/// With an empty password it has neither encryption nor MAC, whatever the profile.
#[must_use]
pub fn encode<'a>(anchors: impl Into<Option<&'a Anchors>>, password: &Password, profile: Profile) -> Vec<u8> {
    let anchors = anchors.into();
    encode_with(&Salts::derive(anchors), anchors, password, profile)
}

fn encode_with(salts: &Salts, anchors: Option<&Anchors>, password: &Password, profile: Profile) -> Vec<u8> {
    let bags = safe_contents(anchors);
    if password.reveal().is_empty() {
        return pfx(authenticated_safe(data(bags)), &[]);
    }
    let encryptor = SafeEncryptor::new(profile, password);
    let safe = authenticated_safe(encryptor.encrypt(&bags, salts));
    let mac = encryptor.mac(&safe, salts);
    pfx(safe, &mac)
}

/// Encodes a `PFX`, section 4: version 3, the authenticated safe, and `MacData` (or nothing).
fn pfx(safe: Vec<u8>, mac: &[u8]) -> Vec<u8> {
    let mut content = data(safe);
    content.extend_from_slice(mac);
    enclose(tag::SEQUENCE, &[&small_integer(3)], content)
}

/// Encodes an `AuthenticatedSafe`, section 4.1, of one part.
fn authenticated_safe(content_info: Vec<u8>) -> Vec<u8> {
    enclose(tag::SEQUENCE, &[], content_info)
}

/// Encodes a `ContentInfo` of type `data`.
fn data(content: Vec<u8>) -> Vec<u8> {
    content_info(oid::DATA, enclose(tag::OCTET_STRING, &[], content))
}

/// Encodes a `ContentInfo` (RFC 5652, section 3).
fn content_info(oid: &[u8], content: Vec<u8>) -> Vec<u8> {
    enclose(tag::SEQUENCE, &[&element(tag::OID, &[oid])], enclose(tag::explicit(0), &[], content))
}

/// Encodes `SafeContents`, section 4.2: one certificate bag per anchor.
fn safe_contents(anchors: Option<&Anchors>) -> Vec<u8> {
    let usage = element(tag::OID, &[oid::ANY_EXTENDED_KEY_USAGE]);
    let trusted = attribute(oid::JAVA_TRUSTED_KEY_USAGE, &usage);
    let mut bags = Vec::new();
    for (alias, anchor) in anchors.into_iter().flat_map(Anchors::aliased) {
        let name = attribute(oid::FRIENDLY_NAME, &element(tag::BMP_STRING, &[&bmp(&alias)]));
        bags.extend(cert_bag(anchor.der(), &[&trusted, &name]));
    }
    enclose(tag::SEQUENCE, &[], bags)
}

/// Encodes a `SafeBag` with a `CertBag`, section 4.2.3. The attributes must be in DER's order.
fn cert_bag(der: &[u8], attributes: &[&[u8]]) -> Vec<u8> {
    let certificate = element(tag::explicit(0), &[&element(tag::OCTET_STRING, &[der])]);
    let bag = element(tag::SEQUENCE, &[&element(tag::OID, &[oid::X509_CERTIFICATE]), &certificate]);
    let bag = element(tag::explicit(0), &[&bag]);
    element(tag::SEQUENCE, &[&element(tag::OID, &[oid::CERT_BAG]), &bag, &element(tag::SET, attributes)])
}

fn attribute(oid: &[u8], value: &[u8]) -> Vec<u8> {
    element(tag::SEQUENCE, &[&element(tag::OID, &[oid]), &element(tag::SET, &[value])])
}

/// Encodes UTF-16, big-endian: what Java and OpenSSL read where section B.1 has `BMPString`.
fn bmp(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

mod oid {
    /// `data` (RFC 5652).
    pub(super) const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
    /// `keyBag` (RFC 7292).
    pub(super) const KEY_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 1];
    /// `pkcs8ShroudedKeyBag` (RFC 7292).
    pub(super) const SHROUDED_KEY_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 2];
    /// `safeContentsBag` (RFC 7292).
    pub(super) const SAFE_CONTENTS_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 6];
    /// `certBag` (RFC 7292).
    pub(super) const CERT_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 3];
    /// `x509Certificate` (RFC 2985).
    pub(super) const X509_CERTIFICATE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 22, 1];
    /// `friendlyName` (RFC 2985).
    pub(super) const FRIENDLY_NAME: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 20];
    /// Oracle's `trustedKeyUsage`, 2.16.840.1.113894.746875.1.1, without which Java ignores a certificate.
    pub(super) const JAVA_TRUSTED_KEY_USAGE: &[u8] = &[0x60, 0x86, 0x48, 1, 0x86, 0xf9, 0x66, 0xad, 0xca, 0x7b, 1, 1];
    /// `anyExtendedKeyUsage` (RFC 5280).
    pub(super) const ANY_EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25, 0];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::der::Reader;
    use crate::trust::pem;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    const CASES: [(&str, &str, Profile); 4] = [
        (include_str!("../../../tests/cases/p12-default-profile/result.yaml"), "pw", Profile::LegacyRc2),
        (include_str!("../../../tests/cases/p12-legacyrc2/result.yaml"), "changeit", Profile::LegacyRc2),
        (include_str!("../../../tests/cases/p12-legacydes/result.yaml"), "changeit", Profile::LegacyDes),
        (include_str!("../../../tests/cases/p12-modern2023/result.yaml"), "changeit", Profile::Modern2023),
    ];

    #[test]
    fn with_the_salts_of_trust_manager_the_bytes_are_the_same() {
        for (recorded, password, profile) in CASES {
            let (pem, keystore) = recording(recorded);
            let blocks = pem::read(pem.as_bytes()).unwrap();
            let anchors = Anchors::collect(blocks.into_iter().map(|block| block.certificate.unwrap())).unwrap();
            let salts = salts(&keystore).unwrap();
            assert!(encode_with(&salts, Some(&anchors), &Password::new(password), profile) == keystore, "{profile:?}");
        }
    }

    /// The PEM and the PKCS#12 output of a recorded `ConfigMap`.
    fn recording(yaml: &str) -> (String, Vec<u8>) {
        #[derive(serde::Deserialize)]
        struct Recording {
            configmap: ConfigMap,
        }
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct ConfigMap {
            data: std::collections::BTreeMap<String, String>,
            binary_data: std::collections::BTreeMap<String, String>,
        }
        let Recording { configmap } = serde_saphyr::from_str(yaml).unwrap();
        let pem = configmap.data.into_values().next().unwrap();
        let keystore = configmap.binary_data.into_values().next().unwrap();
        (pem, STANDARD.decode(keystore).unwrap())
    }

    /// The salts in a keystore, as far as its profile has them.
    fn salts(keystore: &[u8]) -> Option<Salts> {
        let mut salts = Salts { encryption: [0; 16], iv: [0; 16], mac: [0; 16] };
        let fill = |salt: &mut [u8; 16], found: &[u8]| salt[..found.len()].copy_from_slice(found);
        let mut pfx = Reader::new(keystore).enter(tag::SEQUENCE)?;
        pfx.integer()?;
        let mut content = pfx.enter(tag::SEQUENCE)?;
        let mut mac = pfx.enter(tag::SEQUENCE)?;
        mac.enter(tag::SEQUENCE)?;
        fill(&mut salts.mac, mac.content(tag::OCTET_STRING)?);

        content.oid()?;
        let mut safe = content.enter(tag::explicit(0))?.enter(tag::OCTET_STRING)?.enter(tag::SEQUENCE)?;
        let mut encrypted = safe.enter(tag::SEQUENCE)?;
        encrypted.oid()?;
        let mut encrypted = encrypted.enter(tag::explicit(0))?.enter(tag::SEQUENCE)?;
        encrypted.integer()?;
        let mut info = encrypted.enter(tag::SEQUENCE)?;
        info.oid()?;
        let mut algorithm = info.enter(tag::SEQUENCE)?;
        algorithm.oid()?;
        let mut parameters = algorithm.enter(tag::SEQUENCE)?;
        if parameters.next_is(tag::OCTET_STRING) {
            fill(&mut salts.encryption, parameters.content(tag::OCTET_STRING)?);
        } else {
            let (mut kdf, mut scheme) = (parameters.enter(tag::SEQUENCE)?, parameters.enter(tag::SEQUENCE)?);
            kdf.oid()?;
            fill(&mut salts.encryption, kdf.enter(tag::SEQUENCE)?.content(tag::OCTET_STRING)?);
            scheme.oid()?;
            fill(&mut salts.iv, scheme.content(tag::OCTET_STRING)?);
        }
        Some(salts)
    }
}
