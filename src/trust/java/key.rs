//! Public keys and algorithms, checked as Java's key factories do.

use num_bigint::BigUint;

use super::{Checked, JavaParseError, int, object_identifier, unaligned_bits};
use crate::trust::der::{Reader, tag};

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
const DSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1];
const DH: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 3, 1];
const DH_X9_42: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3e, 2, 1];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];

/// Curves of RFC 8032 and RFC 7748: the last arc of the object identifier, and the octets of a key.
const EDWARDS_AND_MONTGOMERY: [(u8, usize); 4] = [(110, 32), (111, 56), (112, 32), (113, 57)];

/// Checks an `AlgorithmIdentifier`: nothing may follow its parameters.
pub(super) fn algorithm(mut fields: Reader<'_>) -> Option<()> {
    object_identifier(&mut fields)?;
    if fields.is_empty() {
        return Some(());
    }
    let is_null = fields.next_is(5);
    let (_, content) = fields.any()?;
    (fields.is_empty() && (!is_null || content.is_empty())).then_some(())
}

/// Checks a `SubjectPublicKeyInfo`.
pub(super) fn check(mut info: Reader<'_>) -> Checked {
    let malformed = JavaParseError::Malformed("public key");
    let algorithm = info.enter(tag::SEQUENCE).ok_or(malformed)?;
    self::algorithm(algorithm).ok_or(malformed)?;
    let bits = info.content(tag::BIT_STRING).ok_or(malformed)?;
    unaligned_bits(bits).filter(|()| info.is_empty()).ok_or(malformed)?;
    let mut fields = algorithm;
    let oid = fields.content(tag::OID).ok_or(malformed)?;
    let key = &bits[1..];
    match oid {
        RSA | RSA_PSS => rsa(key),
        DSA => dsa(fields).ok_or(malformed),
        EC => Ok(()),
        DH | DH_X9_42 => diffie_hellman(fields, key).ok_or(malformed),
        [0x2b, 0x65, arc] => {
            let length = EDWARDS_AND_MONTGOMERY.iter().find(|(of, _)| of == arc).map(|(_, length)| *length);
            if length.is_none_or(|length| bits[0] == 0 && key.len() == length) { Ok(()) } else { Err(malformed) }
        }
        _ => Ok(()),
    }
}

fn rsa(key: &[u8]) -> Checked {
    let malformed = JavaParseError::Malformed("public key");
    let mut key = Reader::new(key);
    let mut numbers = key.enter(tag::SEQUENCE).filter(|_| key.is_empty()).ok_or(malformed)?;
    let mut number = || numbers.integer().map(BigUint::from_bytes_be).ok_or(malformed);
    let (modulus, exponent) = (number()?, number()?);
    if !numbers.is_empty() {
        return Err(malformed);
    }
    let bits = modulus.bits();
    if !(505..=16384).contains(&bits) {
        return Err(JavaParseError::RsaSize(bits));
    }
    if exponent < BigUint::from(3_u8) || exponent >= modulus {
        return Err(JavaParseError::RsaExponent);
    }
    Ok(())
}

/// Checks DSA parameters: exactly three numbers.
fn dsa(mut fields: Reader<'_>) -> Option<()> {
    let mut parameters = fields.enter(tag::SEQUENCE)?;
    for _p_q_g in 0..3 {
        parameters.integer()?;
    }
    parameters.is_empty().then_some(())
}

/// Checks parameters of PKCS#3 (prime, base, optional length) and a number. Java reads those of X9.42 as the same.
fn diffie_hellman(mut fields: Reader<'_>, key: &[u8]) -> Option<()> {
    let mut parameters = fields.enter(tag::SEQUENCE)?;
    parameters.integer()?;
    parameters.integer()?;
    if !parameters.is_empty() {
        int(parameters.integer()?)?;
    }
    let mut key = Reader::new(key);
    key.integer()?;
    (parameters.is_empty() && key.is_empty()).then_some(())
}
