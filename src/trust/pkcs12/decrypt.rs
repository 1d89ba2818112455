//! Decryption and MAC verification of a keystore, the inverse of `encrypt`.
//!
//! The algorithms are those that other programs use, too: PBES1 of RFC 7292, appendix C, PBES2 of RFC 8018, MACs of
//! RFC 7292 and PBMAC1 of RFC 9579.

use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, InnerIvInit, KeyInit};
use hmac::Hmac;
use sha1::Sha1;
use sha2::digest::block_api::BlockSizeUser;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use super::encrypt::{Purpose, derive, hmac, oid};
use crate::trust::der::{Reader, dotted, tag};
use crate::trust::keystore::{KdfBudget, KeystoreError};

type Result<T> = std::result::Result<T, KeystoreError>;

/// Password in the encodings that algorithms take.
pub(super) struct EncodedPassword<'a> {
    /// UTF-16 with a terminator, for RFC 7292.
    pub(super) bmp: &'a [u8],
    /// UTF-8, for RFC 8018.
    pub(super) octets: &'a [u8],
}

const MALFORMED_MAC: KeystoreError = KeystoreError::Malformed("MAC");
const MALFORMED_ALGORITHM: KeystoreError = KeystoreError::Malformed("encryption algorithm");

/// Reads an `AlgorithmIdentifier`: its object identifier and what follows.
fn identifier<'a>(input: &mut Reader<'a>) -> Option<(&'a [u8], Reader<'a>)> {
    let mut algorithm = input.enter(tag::SEQUENCE)?;
    Some((algorithm.oid()?, algorithm))
}

/// Reads an INTEGER above zero.
fn positive(input: &mut Reader<'_>) -> Option<u32> {
    let octets = input.integer().filter(|octets| octets[0] & 0x80 == 0 && octets.len() <= 5)?;
    let number = octets.iter().fold(0, |sum, octet| sum << 8 | u64::from(*octet));
    u32::try_from(number).ok().filter(|number| *number > 0)
}

fn unsupported<T>(feature: &str, oid: &[u8]) -> Result<T> {
    Err(KeystoreError::Unsupported(format!("{feature} {}", dotted(oid))))
}

/// Hash function of a keystore.
#[derive(Clone, Copy)]
enum Hash {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// Looks a hash up by its own identifier.
    fn named(oid: &[u8]) -> Option<Hash> {
        Some(match oid {
            oid::SHA1 => Hash::Sha1,
            oid::SHA224 => Hash::Sha224,
            oid::SHA256 => Hash::Sha256,
            oid::SHA384 => Hash::Sha384,
            oid::SHA512 => Hash::Sha512,
            _ => return None,
        })
    }

    /// Looks a hash up by the identifier of its HMAC (RFC 8018, section B.1.2).
    fn of_hmac(oid: &[u8]) -> Option<Hash> {
        let (last, family) = oid.split_last()?;
        let hash = match last {
            7 => Hash::Sha1,
            8 => Hash::Sha224,
            9 => Hash::Sha256,
            10 => Hash::Sha384,
            11 => Hash::Sha512,
            _ => return None,
        };
        oid::HMAC_SHA256.starts_with(family).then_some(hash).filter(|_| oid.len() == oid::HMAC_SHA256.len())
    }

    fn hmac(self, key: &[u8], content: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha1 => hmac::<Hmac<Sha1>>(key, content),
            Hash::Sha224 => hmac::<Hmac<Sha224>>(key, content),
            Hash::Sha256 => hmac::<Hmac<Sha256>>(key, content),
            Hash::Sha384 => hmac::<Hmac<Sha384>>(key, content),
            Hash::Sha512 => hmac::<Hmac<Sha512>>(key, content),
        }
    }
}

/// Returns whether the content of a `MacData` matches the authenticated safe.
pub(super) fn verify(
    mut mac: Reader<'_>,
    safe: &[u8],
    password: &EncodedPassword<'_>,
    budget: &mut KdfBudget,
) -> Result<bool> {
    let mut info = mac.enter(tag::SEQUENCE).ok_or(MALFORMED_MAC)?;
    let (algorithm, parameters) = identifier(&mut info).ok_or(MALFORMED_MAC)?;
    let expected = info.content(tag::OCTET_STRING).ok_or(MALFORMED_MAC)?;
    let salt = mac.content(tag::OCTET_STRING).ok_or(MALFORMED_MAC)?;
    let rounds = if mac.is_empty() { 1 } else { positive(&mut mac).ok_or(MALFORMED_MAC)? };
    if algorithm == oid::PBMAC1 {
        return Ok(pbmac1(parameters, safe, password, budget)? == expected);
    }
    let Some(hash) = Hash::named(algorithm) else {
        return unsupported("a MAC with hash function", algorithm);
    };
    budget.spend(rounds.into())?;
    let mac_key = match hash {
        Hash::Sha1 => mac_key::<Sha1, 20>(password, salt, rounds),
        Hash::Sha224 => mac_key::<Sha224, 28>(password, salt, rounds),
        Hash::Sha256 => mac_key::<Sha256, 32>(password, salt, rounds),
        Hash::Sha384 => mac_key::<Sha384, 48>(password, salt, rounds),
        Hash::Sha512 => mac_key::<Sha512, 64>(password, salt, rounds),
    };
    Ok(hash.hmac(&mac_key, safe) == expected)
}

fn mac_key<D: Digest + BlockSizeUser, const N: usize>(
    password: &EncodedPassword<'_>,
    salt: &[u8],
    rounds: u32,
) -> Vec<u8> {
    derive::<D, N>(Purpose::Mac, password.bmp, salt, rounds).to_vec()
}

/// Computes the MAC by `PBMAC1-params` (RFC 9579): the key derivation and the MAC.
fn pbmac1(
    parameters: Reader<'_>,
    safe: &[u8],
    password: &EncodedPassword<'_>,
    budget: &mut KdfBudget,
) -> Result<Vec<u8>> {
    let mut parameters = { parameters }.enter(tag::SEQUENCE).ok_or(MALFORMED_MAC)?;
    let (kdf, scheme) = (identifier(&mut parameters), identifier(&mut parameters));
    let ((kdf, kdf_parameters), (scheme, _)) = kdf.zip(scheme).ok_or(MALFORMED_MAC)?;
    let Some(hash) = Hash::of_hmac(scheme) else {
        return unsupported("a MAC", scheme);
    };
    let kdf = Pbkdf2::read(kdf, kdf_parameters)?;
    let length = kdf.length.ok_or(MALFORMED_MAC)?;
    Ok(hash.hmac(&kdf.derive(length, password, budget)?, safe))
}

/// Decrypts a safe; `algorithm` is the content of its `AlgorithmIdentifier`.
pub(super) fn decrypt(
    mut algorithm: Reader<'_>,
    cipher: &[u8],
    password: &EncodedPassword<'_>,
    budget: &mut KdfBudget,
) -> Result<Vec<u8>> {
    let oid = algorithm.oid().ok_or(MALFORMED_ALGORITHM)?;
    let mut parameters = algorithm.enter(tag::SEQUENCE).ok_or(MALFORMED_ALGORITHM)?;
    if oid == oid::PBES2 {
        return pbes2(parameters, cipher, password, budget);
    }
    let salt = parameters.content(tag::OCTET_STRING).ok_or(MALFORMED_ALGORITHM)?;
    let rounds = positive(&mut parameters).ok_or(MALFORMED_ALGORITHM)?;
    budget.spend(3 * u64::from(rounds))?;
    let iv: [u8; 8] = derive::<Sha1, 8>(Purpose::Iv, password.bmp, salt, rounds);
    let plain = match oid {
        oid::RC2_40 => {
            let key = derive::<Sha1, 5>(Purpose::Key, password.bmp, salt, rounds);
            cbc(rc2::Rc2::new_with_eff_key_len(&key, 40), &iv, cipher)
        }
        oid::RC2_128 => {
            let key = derive::<Sha1, 16>(Purpose::Key, password.bmp, salt, rounds);
            cbc(rc2::Rc2::new_with_eff_key_len(&key, 128), &iv, cipher)
        }
        oid::TRIPLE_DES => {
            let key = derive::<Sha1, 24>(Purpose::Key, password.bmp, salt, rounds);
            cbc(des::TdesEde3::new(&key.into()), &iv, cipher)
        }
        other => return unsupported("encryption with algorithm", other),
    };
    plain.ok_or(KeystoreError::WrongPassword)
}

/// Decrypts by `PBES2-params`: the key derivation and the cipher, whose parameter is the initialisation vector.
fn pbes2(
    mut parameters: Reader<'_>,
    cipher: &[u8],
    password: &EncodedPassword<'_>,
    budget: &mut KdfBudget,
) -> Result<Vec<u8>> {
    let (kdf, scheme) = (identifier(&mut parameters), identifier(&mut parameters));
    let ((kdf, kdf_parameters), (scheme, mut scheme_parameters)) = kdf.zip(scheme).ok_or(MALFORMED_ALGORITHM)?;
    let kdf = Pbkdf2::read(kdf, kdf_parameters)?;
    let iv = scheme_parameters.content(tag::OCTET_STRING);
    let mut derived = |length| kdf.derive(length, password, budget);
    let plain = match scheme {
        oid::AES128_CBC => keyed::<aes::Aes128>(&derived(16)?, iv, cipher),
        oid::AES192_CBC => keyed::<aes::Aes192>(&derived(24)?, iv, cipher),
        oid::AES256_CBC => keyed::<aes::Aes256>(&derived(32)?, iv, cipher),
        oid::TRIPLE_DES_CBC => {
            let iv = iv.filter(|iv| iv.len() == 8).ok_or(MALFORMED_ALGORITHM)?;
            keyed::<des::TdesEde3>(&derived(24)?, Some(iv), cipher)
        }
        other => return unsupported("encryption with cipher", other),
    };
    plain.ok_or(KeystoreError::WrongPassword)
}

/// `PBKDF2-params` (RFC 8018, section A.2).
struct Pbkdf2<'a> {
    salt: &'a [u8],
    rounds: u32,
    length: Option<usize>,
    hash: Hash,
}

impl<'a> Pbkdf2<'a> {
    /// Length of the longest key that is derived.
    const MAX_KEY_LEN: usize = 64;

    fn read(oid: &[u8], mut parameters: Reader<'a>) -> Result<Pbkdf2<'a>> {
        const MALFORMED: KeystoreError = KeystoreError::Malformed("key derivation");
        if oid != oid::PBKDF2 {
            return unsupported("key derivation", oid);
        }
        let mut parameters = parameters.enter(tag::SEQUENCE).ok_or(MALFORMED)?;
        let salt = parameters.content(tag::OCTET_STRING).ok_or(MALFORMED)?;
        let rounds = positive(&mut parameters).ok_or(MALFORMED)?;
        let mut length = None;
        if parameters.next_is(tag::INTEGER) {
            let number = positive(&mut parameters).and_then(|length| usize::try_from(length).ok());
            length = Some(number.filter(|length| *length <= Self::MAX_KEY_LEN).ok_or(MALFORMED)?);
        }
        let mut hash = Hash::Sha1;
        if !parameters.is_empty() {
            let (hmac, _) = identifier(&mut parameters).ok_or(MALFORMED)?;
            hash = match Hash::of_hmac(hmac) {
                Some(hash) => hash,
                None => return unsupported("key derivation with", hmac),
            };
        }
        Ok(Pbkdf2 { salt, rounds, length, hash })
    }

    fn derive(&self, length: usize, password: &EncodedPassword<'_>, budget: &mut KdfBudget) -> Result<Vec<u8>> {
        // Each round hashes twice, and short hashes take up to four blocks for the longest key.
        budget.spend(4 * u64::from(self.rounds))?;
        let mut out = vec![0; length];
        let derive = match self.hash {
            Hash::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>,
            Hash::Sha224 => pbkdf2::pbkdf2_hmac::<Sha224>,
            Hash::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>,
            Hash::Sha384 => pbkdf2::pbkdf2_hmac::<Sha384>,
            Hash::Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>,
        };
        derive(password.octets, self.salt, self.rounds, &mut out);
        Ok(out)
    }
}

/// Decrypts with a key of the cipher's own length; `None` if a length or the padding is wrong.
fn keyed<C: KeyInit + BlockCipherDecrypt>(key: &[u8], iv: Option<&[u8]>, cipher: &[u8]) -> Option<Vec<u8>> {
    cbc(C::new_from_slice(key).ok()?, iv?, cipher)
}

fn cbc<C: BlockCipherDecrypt>(block: C, iv: &[u8], cipher: &[u8]) -> Option<Vec<u8>> {
    cbc::Decryptor::inner_iv_slice_init(block, iv).ok()?.decrypt_padded_vec::<Pkcs7>(cipher).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::der::{element, small_integer};

    #[test]
    fn a_mac_of_rfc_9579_fits_its_password_alone() {
        let octets = |content: &[u8]| element(tag::OCTET_STRING, &[content]);
        let identifier =
            |oid: &[u8], parameters: &[u8]| element(tag::SEQUENCE, &[&element(tag::OID, &[oid]), parameters]);
        let (salt, safe) = (b"salt", b"authenticated safe");
        let key = pbkdf2::pbkdf2_hmac_array::<Sha512, 32>(b"password", salt, 300);
        let digest = Hash::Sha256.hmac(&key, safe);

        let hmac_sha512 = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 11];
        let kdf = [octets(salt), small_integer(300), small_integer(32), identifier(hmac_sha512, &[])].concat();
        let kdf = identifier(oid::PBKDF2, &element(tag::SEQUENCE, &[&kdf]));
        let parameters = element(tag::SEQUENCE, &[&kdf, &identifier(oid::HMAC_SHA256, &[])]);
        let info = [identifier(oid::PBMAC1, &parameters), octets(&digest)].concat();
        let mac = [element(tag::SEQUENCE, &[&info]), octets(b"NOT USED"), small_integer(1)].concat();

        let check = |password: &[u8]| {
            verify(Reader::new(&mac), safe, &EncodedPassword { bmp: &[], octets: password }, &mut KdfBudget::default())
        };
        assert_eq!((check(b"password"), check(b"passwort")), (Ok(true), Ok(false)));
    }
}
