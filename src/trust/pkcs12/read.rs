//! Reader of PKCS#12: from `PFX` down to the certificates (RFC 7292, section 4), with MAC verification and decryption.

use std::sync::Arc;

use super::ber::to_der;
use super::decrypt::{EncodedPassword, decrypt, verify};
use super::encrypt::{oid::ENCRYPTED_DATA, terminated_bmp};
use super::oid;
use crate::trust::Password;
use crate::trust::der::{Reader, dotted, tag};
use crate::trust::keystore::{KdfBudget, Keystore, KeystoreEntry, KeystoreError};

/// Maximum nesting of `SafeContents`.
const MAX_DEPTH: usize = 4;

type Result<T> = std::result::Result<T, KeystoreError>;

/// Returns whether the bytes begin like a PKCS#12 keystore: a sequence that begins with version 3.
#[must_use]
pub fn is_pkcs12(store: &[u8]) -> bool {
    const VERSION: &[u8] = &[tag::INTEGER, 1, 3];
    let Some((&[tag::SEQUENCE, length], rest)) = store.split_first_chunk() else {
        return false;
    };
    let octets = if length > 0x80 { usize::from(length & 0x7f) } else { 0 };
    rest.get(octets..).is_some_and(|content| content.starts_with(VERSION))
}

/// Reads the certificates of a keystore in their order.
///
/// Private keys are counted, all else is skipped. Without a password nothing is verified, and only what is not
/// encrypted can be read.
///
/// # Errors
///
/// [`KeystoreError`]; it names the damage only if the MAC matches, since otherwise the password may be wrong.
pub fn read(store: &[u8], password: Option<&Password>, budget: &mut KdfBudget) -> Result<Keystore> {
    let der = to_der(store).ok_or(KeystoreError::Malformed("PKCS#12 store"))?;
    let Pfx { safe, mac } = pfx(&der).ok_or(KeystoreError::Malformed("PFX"))?;
    let Some(password) = password else {
        return contents(safe, None, mac.is_some(), budget);
    };
    // An empty password has two forms: with the terminator, and truly empty.
    let mut forms = vec![terminated_bmp(password)];
    forms.extend(password.reveal().is_empty().then(Vec::new));
    for bmp in forms {
        let encoded = EncodedPassword { bmp: &bmp, octets: password.reveal().as_bytes() };
        let fits = mac.map(|mac| verify(mac, safe, &encoded, budget)).transpose()?;
        if fits == Some(false) {
            continue;
        }
        match contents(safe, Some(&encoded), mac.is_some(), budget) {
            Err(KeystoreError::WrongPassword) => {}
            done => return done,
        }
    }
    Err(KeystoreError::WrongPassword)
}

struct Pfx<'a> {
    /// The octets of `AuthenticatedSafe`, which the MAC covers.
    safe: &'a [u8],
    /// The content of `MacData`.
    mac: Option<Reader<'a>>,
}

fn pfx(der: &[u8]) -> Option<Pfx<'_>> {
    let mut pfx = Reader::new(der).enter(tag::SEQUENCE)?;
    (pfx.integer()? == [3]).then_some(())?;
    let mut content = pfx.enter(tag::SEQUENCE)?;
    (content.oid()? == oid::DATA).then_some(())?;
    let safe = content.enter(tag::explicit(0))?.content(tag::OCTET_STRING)?;
    let mac = if pfx.is_empty() { None } else { Some(pfx.enter(tag::SEQUENCE)?) };
    Some(Pfx { safe, mac })
}

/// Reads the parts of an `AuthenticatedSafe`, each encrypted or not.
fn contents(
    safe: &[u8],
    password: Option<&EncodedPassword<'_>>,
    password_protected: bool,
    budget: &mut KdfBudget,
) -> Result<Keystore> {
    const MALFORMED: KeystoreError = KeystoreError::Malformed("authenticated safe");
    let safe = to_der(safe).ok_or(MALFORMED)?;
    let mut parts = Reader::new(&safe).enter(tag::SEQUENCE).ok_or(MALFORMED)?;
    let mut keystore = Keystore { password_protected, ..Keystore::default() };
    while !parts.is_empty() {
        let (kind, mut content) = part(&mut parts).ok_or(MALFORMED)?;
        match kind {
            oid::DATA => {
                let bags = content.content(tag::OCTET_STRING).and_then(to_der);
                bags.and_then(|bags| safe_contents(&bags, &mut keystore)).ok_or(KeystoreError::Malformed("safe"))?;
            }
            ENCRYPTED_DATA => {
                keystore.password_protected = true;
                let password = password.ok_or(KeystoreError::WrongPassword)?;
                let (algorithm, cipher) = encrypted(&mut content).ok_or(KeystoreError::Malformed("encrypted safe"))?;
                let bags = to_der(&decrypt(algorithm, &cipher, password, budget)?);
                // A wrong password may leave valid padding, but hardly ever a valid structure.
                bags.and_then(|bags| safe_contents(&bags, &mut keystore)).ok_or(KeystoreError::WrongPassword)?;
            }
            other => return Err(KeystoreError::Unsupported(format!("a safe of type {}", dotted(other)))),
        }
    }
    Ok(keystore)
}

/// Reads a `ContentInfo`: its type and content.
fn part<'a>(parts: &mut Reader<'a>) -> Option<(&'a [u8], Reader<'a>)> {
    let mut part = parts.enter(tag::SEQUENCE)?;
    Some((part.oid()?, part.enter(tag::explicit(0))?))
}

/// Reads `EncryptedData` (RFC 5652, section 8): the algorithm and the octets, which BER may split into pieces.
fn encrypted<'a>(content: &mut Reader<'a>) -> Option<(Reader<'a>, Vec<u8>)> {
    let mut data = content.enter(tag::SEQUENCE)?;
    data.integer()?;
    let mut info = data.enter(tag::SEQUENCE)?;
    info.oid()?;
    let algorithm = info.enter(tag::SEQUENCE)?;
    if !info.next_is(tag::explicit(0)) {
        return Some((algorithm, info.content(tag::context(0))?.to_vec()));
    }
    let (mut pieces, mut octets) = (info.enter(tag::explicit(0))?, Vec::new());
    while !pieces.is_empty() {
        octets.extend_from_slice(pieces.content(tag::OCTET_STRING)?);
    }
    Some((algorithm, octets))
}

fn safe_contents(der: &[u8], keystore: &mut Keystore) -> Option<()> {
    bags(Reader::new(der).enter(tag::SEQUENCE)?, MAX_DEPTH, keystore)
}

fn bags(mut list: Reader<'_>, depth: usize, keystore: &mut Keystore) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    while !list.is_empty() {
        let mut bag = list.enter(tag::SEQUENCE)?;
        let kind = bag.oid()?;
        let mut value = bag.enter(tag::explicit(0))?;
        match kind {
            oid::CERT_BAG => {
                let mut certificate = value.enter(tag::SEQUENCE)?;
                if certificate.oid()? == oid::X509_CERTIFICATE {
                    let der = certificate.enter(tag::explicit(0))?.content(tag::OCTET_STRING)?.into();
                    let mut entry = KeystoreEntry { alias: None, der, trusted: false };
                    attributes(bag.enter_if(tag::SET)?, &mut entry)?;
                    keystore.entries.push(entry);
                }
            }
            oid::KEY_BAG | oid::SHROUDED_KEY_BAG => keystore.private_keys += 1,
            oid::SAFE_CONTENTS_BAG => bags(value.enter(tag::SEQUENCE)?, depth, keystore)?,
            _ => {}
        }
    }
    Some(())
}

/// Reads the name of a certificate and whether Java trusts it.
fn attributes(mut set: Reader<'_>, entry: &mut KeystoreEntry) -> Option<()> {
    while !set.is_empty() {
        let mut attribute = set.enter(tag::SEQUENCE)?;
        match attribute.oid()? {
            oid::FRIENDLY_NAME => {
                let name = attribute.enter(tag::SET)?.content(tag::BMP_STRING)?;
                let units: Vec<u16> = name.as_chunks().0.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
                entry.alias = Some(Arc::from(String::from_utf16_lossy(&units)));
            }
            oid::JAVA_TRUSTED_KEY_USAGE => entry.trusted = true,
            _ => {}
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::der::element;
    use crate::trust::{Anchors, Profile, pem, pkcs12};

    fn anchors() -> Anchors {
        let text = include_str!("../../../tests/cases/certs/ec.pem").to_owned()
            + include_str!("../../../tests/cases/certs/unicode.pem");
        let blocks = pem::read(text.as_bytes()).unwrap();
        Anchors::collect(blocks.into_iter().map(|block| block.certificate.unwrap())).unwrap()
    }

    fn open(store: &[u8], password: Option<&str>) -> Result<Keystore> {
        read(store, password.map(Password::new).as_ref(), &mut KdfBudget::default())
    }

    /// With indefinite lengths, and octet strings in pieces of seven octets.
    fn to_ber(der: &[u8]) -> Vec<u8> {
        let mut input = Reader::new(der);
        let mut out = Vec::new();
        while let Some((tag, content)) = input.any() {
            let inner = match tag {
                tag::OCTET_STRING => content.chunks(7).flat_map(|piece| element(tag, &[piece])).collect(),
                // The encrypted content, whose tag is implicit.
                0x80 => content.chunks(7).flat_map(|piece| element(tag::OCTET_STRING, &[piece])).collect(),
                constructed if constructed & 0x20 != 0 => to_ber(content),
                _ => {
                    out.extend(element(tag, &[content]));
                    continue;
                }
            };
            out.extend([&[tag | 0x20, 0x80], &inner[..], &[0, 0]].concat());
        }
        out
    }

    #[test]
    fn what_is_written_reads_back_under_its_password_alone_and_as_ber_too() {
        let anchors = anchors();
        for profile in [Profile::LegacyRc2, Profile::LegacyDes, Profile::Modern2023] {
            let store = pkcs12::encode(&anchors, &Password::new("päss"), profile);
            for store in [&store, &to_ber(&store)] {
                assert!(is_pkcs12(store));
                let keystore = open(store, Some("päss")).unwrap();
                assert!(keystore.password_protected && keystore.private_keys == 0);
                let found: Vec<_> =
                    keystore.entries.iter().map(|entry| (entry.alias.as_deref(), &*entry.der)).collect();
                let aliased: Vec<_> = anchors.aliased().collect();
                let written: Vec<_> =
                    aliased.iter().map(|(alias, anchor)| (Some(alias.as_str()), anchor.der())).collect();
                assert_eq!(found, written);
                assert!(keystore.entries.iter().all(|entry| entry.trusted));
                for other in [Some("pass"), Some(""), None] {
                    assert_eq!(open(store, other), Err(KeystoreError::WrongPassword), "{profile:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn without_encryption_and_mac_any_password_is_accepted() {
        let store = pkcs12::encode(&anchors(), &Password::new(""), Profile::Modern2023);
        for password in [None, Some(""), Some("x")] {
            let keystore = open(&store, password).unwrap();
            assert!(!keystore.password_protected && keystore.entries.len() == 2);
        }
    }

    #[test]
    fn a_store_that_needs_too_many_rounds_is_refused_at_once() {
        let digest = element(
            tag::SEQUENCE,
            &[&element(tag::SEQUENCE, &[&element(tag::OID, &[&[0x2b, 14, 3, 2, 0x1a]])]), &[4, 0]],
        );
        let mac = element(tag::SEQUENCE, &[&digest, &[4, 0], &[2, 4, 0x7f, 0xff, 0xff, 0xff]]);
        let data = element(tag::explicit(0), &[&element(tag::OCTET_STRING, &[&[0x30, 0]])]);
        let content = element(tag::SEQUENCE, &[&element(tag::OID, &[oid::DATA]), &data]);
        let store = element(tag::SEQUENCE, &[&[2, 1, 3], &content, &mac]);
        assert_eq!(open(&store, Some("x")), Err(KeystoreError::TooManyRounds));
    }
}
