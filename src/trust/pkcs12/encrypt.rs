//! Encryption and MAC of a keystore: PBES1 of RFC 7292, appendix C, and PBES2 of RFC 8018.

use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherEncrypt, BlockModeEncrypt, InnerIvInit};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::digest::block_api::BlockSizeUser;
use sha2::{Digest, Sha256};

use super::{Profile, bmp, content_info, element, enclose, small_integer, tag};
use crate::trust::{Anchors, Password};

/// Rounds of each key derivation, except for the legacy MAC, which has one.
const ITERATIONS: u16 = 2048;

/// Encryption and MAC of a safe under one profile and password.
pub(super) struct SafeEncryptor<'a> {
    profile: Profile,
    password: &'a Password,
    /// See [`terminated_bmp`].
    bmp: Vec<u8>,
}

impl SafeEncryptor<'_> {
    /// Prepares the encryption of one keystore.
    pub(super) fn new(profile: Profile, password: &Password) -> SafeEncryptor<'_> {
        SafeEncryptor { profile, password, bmp: terminated_bmp(password) }
    }

    /// Encrypts a safe to a `ContentInfo` of type `encryptedData` (RFC 5652, section 8).
    pub(super) fn encrypt(&self, plain: &[u8], salts: &Salts) -> Vec<u8> {
        let (algorithm, cipher) = match self.profile {
            Profile::LegacyRc2 => {
                let (algorithm, key, iv) = self.pbes1::<5>(oid::RC2_40, salts);
                (algorithm, cbc(rc2::Rc2::new_with_eff_key_len(&key, 40), &iv, plain))
            }
            Profile::LegacyDes => {
                let (algorithm, key, iv) = self.pbes1::<24>(oid::TRIPLE_DES, salts);
                (algorithm, cbc(des::TdesEde3::new(&key.into()), &iv, plain))
            }
            Profile::Modern2023 => {
                let Salts { encryption: salt, iv, mac: _ } = salts;
                let password = self.password.reveal().as_bytes();
                let key = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password, salt, ITERATIONS.into());
                (pbes2(salt, iv), cbc(aes::Aes256::new(&key.into()), iv, plain))
            }
        };
        let kind = element(tag::OID, &[super::oid::DATA]);
        let info = enclose(tag::SEQUENCE, &[&kind, &algorithm], enclose(tag::context(0), &[], cipher));
        content_info(oid::ENCRYPTED_DATA, enclose(tag::SEQUENCE, &[&small_integer(0)], info))
    }

    /// Derives the algorithm, the key and the initialisation vector.
    fn pbes1<const KEY: usize>(&self, algorithm: &[u8], salts: &Salts) -> (Vec<u8>, [u8; KEY], [u8; 8]) {
        let salt = legacy(&salts.encryption);
        let parameters = element(tag::SEQUENCE, &[&octets(salt), &small_integer(ITERATIONS)]);
        let key = derive::<Sha1, KEY>(Purpose::Key, &self.bmp, salt, ITERATIONS.into());
        let iv = derive::<Sha1, 8>(Purpose::Iv, &self.bmp, salt, ITERATIONS.into());
        (identifier(algorithm, &parameters), key, iv)
    }

    /// Computes the `MacData` (RFC 7292, section 4) of the authenticated safe.
    pub(super) fn mac(&self, safe: &[u8], salts: &Salts) -> Vec<u8> {
        let (digest, algorithm, salt, iterations) = match self.profile {
            Profile::LegacyRc2 | Profile::LegacyDes => {
                let salt = legacy(&salts.mac);
                let key = derive::<Sha1, 20>(Purpose::Mac, &self.bmp, salt, 1);
                // One iteration is the default and therefore not written.
                (hmac::<Hmac<Sha1>>(&key, safe), oid::SHA1, salt, vec![])
            }
            Profile::Modern2023 => {
                let salt = &salts.mac[..];
                let key = derive::<Sha256, 32>(Purpose::Mac, &self.bmp, salt, ITERATIONS.into());
                (hmac::<Hmac<Sha256>>(&key, safe), oid::SHA256, salt, small_integer(ITERATIONS))
            }
        };
        let digest = element(tag::SEQUENCE, &[&identifier(algorithm, &[]), &octets(&digest)]);
        element(tag::SEQUENCE, &[&digest, &octets(salt), &iterations])
    }
}

/// Encodes a password as section B.1 requires: UTF-16 with a terminator.
pub(super) fn terminated_bmp(password: &Password) -> Vec<u8> {
    [bmp(password.reveal()), vec![0, 0]].concat()
}

/// Salts and initialisation vector.
///
/// The legacy profiles use the first eight octets of the salts.
pub(super) struct Salts {
    /// Salt of the encryption key.
    pub(super) encryption: [u8; 16],
    /// Initialisation vector of the encryption with [`Profile::Modern2023`].
    pub(super) iv: [u8; 16],
    /// Salt of the MAC key.
    pub(super) mac: [u8; 16],
}

impl Salts {
    /// Derives each by HMAC-SHA256 of the fingerprints under a label of its own.
    pub(super) fn derive(anchors: Option<&Anchors>) -> Salts {
        let derive_salt = |label: &str| {
            let mut mac = Hmac::<Sha256>::new_from_slice(label.as_bytes()).expect("HMAC takes keys of any length");
            for anchor in anchors.into_iter().flatten() {
                mac.update(anchor.fingerprint().as_bytes());
            }
            *mac.finalize().into_bytes().first_chunk().expect("a SHA-256 HMAC has 32 octets")
        };
        Salts {
            encryption: derive_salt("pkcs12 encryption salt"),
            iv: derive_salt("pkcs12 initialisation vector"),
            mac: derive_salt("pkcs12 mac salt"),
        }
    }
}

fn legacy(salt: &[u8; 16]) -> &[u8] {
    &salt[..8]
}

/// Use of a derived key: the `ID` of RFC 7292, section B.3.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Key = 1,
    Iv = 2,
    Mac = 3,
}

/// Derives a key by RFC 7292, section B.2.
pub(super) fn derive<D: Digest + BlockSizeUser, const N: usize>(
    purpose: Purpose,
    password: &[u8],
    salt: &[u8],
    iterations: u32,
) -> [u8; N] {
    let block = D::block_size();
    let fill = |octets: &[u8]| -> Vec<u8> {
        octets.iter().copied().cycle().take(octets.len().next_multiple_of(block)).collect()
    };
    let mut input = [salt, password].map(fill).concat();
    let diversifier = vec![purpose as u8; block];
    let mut out = Vec::with_capacity(N + block);
    loop {
        let mut digest = D::new().chain_update(&diversifier).chain_update(&input).finalize();
        for _ in 1..iterations {
            digest = D::digest(&digest);
        }
        out.extend_from_slice(&digest);
        if let Some(key) = out.first_chunk() {
            return *key;
        }
        let addend: Vec<u8> = digest.iter().copied().cycle().take(block).collect();
        for number in input.chunks_exact_mut(block) {
            add(number, &addend);
        }
    }
}

/// Adds `addend` and one to a big-endian number of the same length, without its last carry.
fn add(number: &mut [u8], addend: &[u8]) {
    let mut carry = 1;
    for (octet, addend) in number.iter_mut().zip(addend).rev() {
        let [high, low] = (u16::from(*octet) + u16::from(*addend) + carry).to_be_bytes();
        *octet = low;
        carry = high.into();
    }
}

/// Computes an HMAC.
pub(super) fn hmac<M: Mac + KeyInit>(key: &[u8], content: &[u8]) -> Vec<u8> {
    let mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.chain_update(content).finalize().into_bytes().to_vec()
}

fn cbc<C: BlockCipherEncrypt>(cipher: C, iv: &[u8], plain: &[u8]) -> Vec<u8> {
    let mode = cbc::Encryptor::inner_iv_slice_init(cipher, iv).expect("the vector is one block long");
    mode.encrypt_padded_vec::<Pkcs7>(plain)
}

/// Encodes `PBES2-params` (RFC 8018, section A.4) with PBKDF2 under HMAC-SHA256 and AES-256-CBC.
fn pbes2(salt: &[u8], iv: &[u8]) -> Vec<u8> {
    let pseudo_random = identifier(oid::HMAC_SHA256, &[]);
    let kdf = element(tag::SEQUENCE, &[&octets(salt), &small_integer(ITERATIONS), &pseudo_random]);
    let (kdf, scheme) = (identifier(oid::PBKDF2, &kdf), identifier(oid::AES256_CBC, &octets(iv)));
    identifier(oid::PBES2, &element(tag::SEQUENCE, &[&kdf, &scheme]))
}

fn identifier(oid: &[u8], parameters: &[u8]) -> Vec<u8> {
    element(tag::SEQUENCE, &[&element(tag::OID, &[oid]), parameters])
}

fn octets(content: &[u8]) -> Vec<u8> {
    element(tag::OCTET_STRING, &[content])
}

/// Object identifiers of algorithms, including those that are only read.
pub(super) mod oid {
    pub(in crate::trust::pkcs12) const ENCRYPTED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 7, 6];
    pub(in crate::trust::pkcs12) const RC2_128: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 12, 1, 5];
    pub(in crate::trust::pkcs12) const RC2_40: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 12, 1, 6];
    pub(in crate::trust::pkcs12) const TRIPLE_DES: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 12, 1, 3];
    pub(in crate::trust::pkcs12) const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 5, 13];
    pub(in crate::trust::pkcs12) const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 5, 12];
    pub(in crate::trust::pkcs12) const PBMAC1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 5, 14];
    pub(in crate::trust::pkcs12) const HMAC_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 2, 9];
    pub(in crate::trust::pkcs12) const TRIPLE_DES_CBC: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 3, 7];
    pub(in crate::trust::pkcs12) const AES128_CBC: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 2];
    pub(in crate::trust::pkcs12) const AES192_CBC: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 0x16];
    pub(in crate::trust::pkcs12) const AES256_CBC: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 42];
    pub(in crate::trust::pkcs12) const SHA1: &[u8] = &[0x2b, 14, 3, 2, 0x1a];
    pub(in crate::trust::pkcs12) const SHA224: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 4];
    pub(in crate::trust::pkcs12) const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
    pub(in crate::trust::pkcs12) const SHA384: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2];
    pub(in crate::trust::pkcs12) const SHA512: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3];
}
