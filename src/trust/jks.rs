//! Java keystores of the old kind (JKS, version 2), with trusted certificates only.
//!
//! The format is described by the source of `sun.security.provider.JavaKeyStore`; all numbers are big-endian. The
//! creation time of an entry is the certificate's start of validity, so that nothing in the file depends on when it
//! was made.

use sha1::{Digest, Sha1};

use super::{Anchors, Password};

const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;
const TRUSTED_CERTIFICATE: u32 = 2;
const CERTIFICATE_TYPE: &str = "X509";

/// Writes a keystore, entries ascending by alias. Never fails: an alias too long for the format is cut at its end, where
/// nothing is that tells certificates apart.
///
/// The digest at the end covers each octet of the password's UTF-8 as one character, as the keystores of the Go world
/// do. A Java program has to be given a password beyond ASCII in that form too.
#[must_use]
pub fn encode(anchors: &Anchors, password: &Password) -> Vec<u8> {
    let mut entries: Vec<_> = anchors.aliased().map(|(alias, anchor)| (lower_case(&alias), anchor)).collect();
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
    let digest = integrity(password, &out);
    out.extend(digest);
    out
}

/// SHA-1 over password, a fixed text and everything before it.
fn integrity(password: &Password, content: &[u8]) -> [u8; 20] {
    let widened: Vec<u8> = password.reveal().bytes().flat_map(|octet| [0, octet]).collect();
    Sha1::new().chain_update(widened).chain_update("Mighty Aphrodite").chain_update(content).finalize().into()
}

fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("below 4 GiB").to_be_bytes()
}

/// "Modified UTF-8" of `java.io.DataInput`: characters beyond the basic plane as two surrogates of three octets each.
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
