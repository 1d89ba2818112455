//! Reader and writer of Java keystores of the old format (JKS, version 2).
//!
//! Keystores of any content are read; those written contain trusted certificates only.
//!
//! The format is described by the source of `sun.security.provider.JavaKeyStore`; all numbers are big-endian. The
//! creation time of an entry is the certificate's start of validity, so that nothing in the file depends on when it
//! was made.

use std::sync::Arc;

use sha1::{Digest, Sha1};

use super::keystore::{Keystore, KeystoreEntry, KeystoreError};
use super::{Anchors, Password};

const MAGIC: u32 = 0xfeed_feed;
/// Magic number of `com.sun.crypto.provider.JceKeyStore`, which differs in how it protects keys.
const JCEKS_MAGIC: u32 = 0xcece_cece;
const VERSION: u32 = 2;
const PRIVATE_KEY: u32 = 1;
const TRUSTED_CERTIFICATE: u32 = 2;
const SECRET_KEY: u32 = 3;
const CERTIFICATE_TYPE: &str = "X509";
const DIGEST_LEN: usize = 20;
/// Maximum number of certificates that are read for one private key.
const MAX_CHAIN_LEN: u32 = 32;

/// Encodes a keystore with entries ascending by alias; with none if there are no anchors.
///
/// Never fails: an alias too long for the format is cut at its end, where nothing distinguishes certificates.
///
/// The digest at the end covers each octet of the password's UTF-8 as one character, as Go libraries do. A Java program
/// has to be given a password beyond ASCII in that form, too.
#[must_use]
pub fn encode<'a>(anchors: impl Into<Option<&'a Anchors>>, password: &Password) -> Vec<u8> {
    let aliased = anchors.into().into_iter().flat_map(Anchors::aliased);
    let mut entries: Vec<_> = aliased.map(|(alias, anchor)| (lower_case(&alias), anchor)).collect();
    entries.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));

    let size: usize = entries.iter().map(|(alias, anchor)| alias.len() + anchor.der().len() + 24).sum();
    let mut out = Vec::with_capacity(size + 32);
    out.extend(MAGIC.to_be_bytes());
    out.extend(VERSION.to_be_bytes());
    out.extend(length(entries.len()));
    for (alias, anchor) in entries {
        out.extend(TRUSTED_CERTIFICATE.to_be_bytes());
        write_text(&mut out, &alias);
        out.extend(anchor.not_before().wrapping_mul(1000).to_be_bytes());
        write_text(&mut out, CERTIFICATE_TYPE);
        out.extend(length(anchor.der().len()));
        out.extend_from_slice(anchor.der());
    }
    let digest = integrity(&widened(password), &out);
    out.extend(digest);
    out
}

/// Returns whether the bytes begin like a keystore that [`read`] reads.
#[must_use]
pub fn is_jks(store: &[u8]) -> bool {
    store.first_chunk().is_some_and(|magic| [MAGIC, JCEKS_MAGIC].contains(&u32::from_be_bytes(*magic)))
}

/// Reads the certificates of a keystore, JCEKS included, in their order; the chains of private keys, too.
///
/// No password is needed: it only guards against damage, see [`is_intact`].
///
/// # Errors
///
/// [`KeystoreError`] if the keystore is cut off, malformed, or contains a secret key, whose length the format does not
/// give.
pub fn read(store: &[u8]) -> Result<Keystore, KeystoreError> {
    let (content, _digest) = split_digest(store).ok_or(KeystoreError::Malformed("JKS header"))?;
    let mut input = Input(content);
    let header = (input.number(), input.number(), input.number());
    let (Some(MAGIC | JCEKS_MAGIC), Some(version @ 1..=VERSION), Some(count)) = header else {
        return Err(KeystoreError::Malformed("JKS header"));
    };
    let mut keystore = Keystore { password_protected: true, ..Keystore::default() };
    for _ in 0..count {
        if input.entry(version, &mut keystore).ok_or(KeystoreError::Malformed("JKS entry"))? == SECRET_KEY {
            return Err(KeystoreError::Unsupported("a secret key in a JCEKS keystore".to_owned()));
        }
    }
    if input.0.is_empty() { Ok(keystore) } else { Err(KeystoreError::Malformed("end of a JKS keystore")) }
}

/// Returns whether a keystore was written with this password and is unchanged since.
#[must_use]
pub fn is_intact(store: &[u8], password: &Password) -> bool {
    let utf16: Vec<u8> = password.reveal().encode_utf16().flat_map(u16::to_be_bytes).collect();
    split_digest(store).is_some_and(|(content, digest)| {
        [utf16, widened(password)].iter().any(|password| integrity(password, content) == *digest)
    })
}

fn split_digest(store: &[u8]) -> Option<(&[u8], &[u8; DIGEST_LEN])> {
    store.split_last_chunk()
}

/// Encodes each octet of the password's UTF-8 as one character.
fn widened(password: &Password) -> Vec<u8> {
    password.reveal().bytes().flat_map(|octet| [0, octet]).collect()
}

/// SHA-1 over password, a fixed text and everything before it.
fn integrity(password: &[u8], content: &[u8]) -> [u8; DIGEST_LEN] {
    Sha1::new().chain_update(password).chain_update("Mighty Aphrodite").chain_update(content).finalize().into()
}

/// Unread rest, with the methods of `java.io.DataInput`.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        self.take(4).and_then(|octets| octets.first_chunk()).map(|octets| u32::from_be_bytes(*octets))
    }

    fn block(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(usize::try_from(length).ok()?)
    }

    fn text(&mut self) -> Option<String> {
        let length = u16::from_be_bytes(*self.take(2)?.first_chunk()?);
        read_text(self.take(length.into())?)
    }

    /// Reads an entry up to its end, but for a secret key; returns its kind.
    fn entry(&mut self, version: u32, keystore: &mut Keystore) -> Option<u32> {
        let kind = self.number()?;
        let alias: Arc<str> = self.text()?.into();
        let _created = self.take(8)?;
        let certificates = match kind {
            TRUSTED_CERTIFICATE => 1,
            PRIVATE_KEY => {
                let _protected = self.block()?;
                keystore.private_keys += 1;
                self.number().filter(|length| *length <= MAX_CHAIN_LEN)?
            }
            SECRET_KEY => 0,
            _ => return None,
        };
        for _ in 0..certificates {
            if version > 1 {
                let _kind = self.text()?;
            }
            let der = self.block()?.into();
            let trusted = kind == TRUSTED_CERTIFICATE;
            keystore.entries.push(KeystoreEntry { alias: Some(alias.clone()), der, trusted });
        }
        Some(kind)
    }
}

fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("below 4 GiB").to_be_bytes()
}

/// Writes the "modified UTF-8" of `java.io.DataInput`.
///
/// Characters beyond the basic plane become two surrogates of three octets each.
fn write_text(out: &mut Vec<u8>, text: &str) {
    let mut encoded = Vec::with_capacity(text.len());
    for character in text.chars() {
        let start = encoded.len();
        if u32::from(character) < 0x1_0000 {
            encoded.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let [high, low] = unit.to_be_bytes();
                encoded.extend([0xe0 | high >> 4, 0x80 | (high & 0x0f) << 2 | low >> 6, 0x80 | low & 0x3f]);
            }
        }
        if encoded.len() > usize::from(u16::MAX) {
            encoded.truncate(start);
            break;
        }
    }
    let length = u16::try_from(encoded.len()).expect("cut to fit");
    out.extend(length.to_be_bytes());
    out.extend(encoded);
}

/// Aliases are compared without case: Java and the Go library both store them in lower case, character by character.
fn lower_case(text: &str) -> String {
    text.chars().map(|character| character.to_lowercase().next().unwrap_or(character)).collect()
}

/// The inverse of [`write_text`]; halves of characters become U+FFFD.
fn read_text(mut octets: &[u8]) -> Option<String> {
    let mut units = Vec::with_capacity(octets.len());
    while let [first, rest @ ..] = octets {
        let bits = |octet: &u8| (octet & 0xc0 == 0x80).then_some(u16::from(octet & 0x3f));
        let (unit, rest) = match (first, rest) {
            (0..=0x7f, rest) => (u16::from(*first), rest),
            (0xc0..=0xdf, [second, rest @ ..]) => (u16::from(first & 0x1f) << 6 | bits(second)?, rest),
            (0xe0..=0xef, [second, third, rest @ ..]) => {
                (u16::from(first & 0x0f) << 12 | bits(second)? << 6 | bits(third)?, rest)
            }
            _ => return None,
        };
        units.push(unit);
        octets = rest;
    }
    Some(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::pem;

    #[test]
    fn what_is_written_reads_back_and_only_its_password_fits() {
        let text = include_str!("../../tests/cases/certs/unicode.pem");
        let blocks = pem::read(text.as_bytes()).unwrap();
        let anchors = Anchors::collect(blocks.into_iter().map(|block| block.certificate.unwrap())).unwrap();
        for password in ["changeit", "päss", ""] {
            let store = encode(&anchors, &Password::new(password));
            let keystore = read(&store).unwrap();
            let [KeystoreEntry { alias: Some(alias), der, trusted: true }] = &keystore.entries[..] else {
                panic!("{keystore:?}")
            };
            let anchor = anchors.iter().next().unwrap();
            assert_eq!(&**alias, lower_case(&format!("{}|{}", anchor.fingerprint().short(), anchor.subject())));
            assert_eq!(&**der, anchor.der());
            for other in ["changeit", "päss", ""] {
                assert_eq!(is_intact(&store, &Password::new(other)), other == password);
            }
            assert_eq!(read(&store[..store.len() - 1]), Err(KeystoreError::Malformed("JKS entry")));
        }
    }

    #[test]
    fn texts_beyond_the_basic_plane_read_back_and_halves_of_characters_are_replaced() {
        let mut out = Vec::new();
        write_text(&mut out, "a\0é€🔑");
        assert_eq!(read_text(&out[2..]).as_deref(), Some("a\0é€🔑"));
        assert_eq!(read_text(&[0xc0, 0x80, 0xed, 0xa0, 0x80]).as_deref(), Some("\0\u{fffd}"));
        for malformed in [&[0x80][..], &[0xc3], &[0xc3, 0x41], &[0xe2, 0x82], &[0xf0, 0x9f, 0x94, 0x91]] {
            assert_eq!(read_text(malformed), None);
        }
    }
}
