//! Public keys: parameters and values as in RFC 3279, 5480 and 8410. Other kinds of keys are not checked.

use std::sync::LazyLock;

use num_bigint::BigUint;

use super::{Algorithm, X509ParseError};
use crate::trust::der::{Reader, tag};

/// Object identifier of RSA (RFC 3279, section 2.3.1).
pub(in crate::trust::x509) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
/// Object identifier of DSA (RFC 3279, section 2.3.2).
pub(in crate::trust::x509) const DSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1];
/// Object identifier of keys on elliptic curves (RFC 5480, section 2.1.1).
pub(in crate::trust::x509) const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
/// Object identifier of Ed25519 (RFC 8410, section 3).
pub(in crate::trust::x509) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// Checks the key in `bits` (unused bits and octets of the BIT STRING).
pub(super) fn check(algorithm: &Algorithm<'_>, bits: (u8, &[u8])) -> Result<(), X509ParseError> {
    let octets = right_aligned(bits);
    let (name, valid) = match algorithm.oid {
        RSA => ("RSA", algorithm.parameters == [5, 0] && is_rsa(&octets).is_some()),
        DSA => ("DSA", is_dsa(algorithm.parameters, &octets).is_some()),
        EC => ("elliptic curve", curve(algorithm.parameters)?.has(&octets)),
        ED25519 => ("Ed25519", algorithm.parameters.is_empty() && octets.len() == 32),
        _ => return Ok(()),
    };
    if valid { Ok(()) } else { Err(X509ParseError::PublicKey(name)) }
}

/// Shifts the bits to a big-endian number of as many octets.
pub(in crate::trust::x509) fn right_aligned((unused, octets): (u8, &[u8])) -> Vec<u8> {
    if unused == 0 {
        return octets.to_vec();
    }
    let previous = std::iter::once(&0).chain(octets);
    previous.zip(octets).map(|(before, octet)| before << (8 - unused) | octet >> unused).collect()
}

fn positive(octets: &[u8]) -> Option<()> {
    (octets[0] & 0x80 == 0 && octets != [0]).then_some(())
}

fn is_rsa(octets: &[u8]) -> Option<()> {
    let mut key = Reader::new(octets).enter(tag::SEQUENCE)?;
    positive(key.integer()?)?;
    let exponent = key.integer()?;
    positive(exponent)?;
    (exponent.len() <= 8).then_some(())
}

fn is_dsa(parameters: &[u8], octets: &[u8]) -> Option<()> {
    positive(Reader::new(octets).integer()?)?;
    let mut parameters = Reader::new(parameters).enter(tag::SEQUENCE)?;
    for _p_q_g in 0..3 {
        positive(parameters.integer()?)?;
    }
    Some(())
}

/// Finds the named curve of the key parameters.
pub(in crate::trust::x509) fn curve(parameters: &[u8]) -> Result<&'static Curve, X509ParseError> {
    let oid = Reader::new(parameters).oid().ok_or(X509ParseError::CurveParameters)?;
    CURVES.iter().find(|curve| curve.oid == oid).ok_or(X509ParseError::Curve)
}

/// Curve y² = x³ - 3x + b over the field of `p`; numbers of `octets` octets.
pub(in crate::trust::x509) struct Curve {
    oid: &'static [u8],
    octets: usize,
    p: BigUint,
    b: BigUint,
}

impl Curve {
    fn new(oid: &'static [u8], octets: usize, [p, b]: [&str; 2]) -> Curve {
        let number = |digits: &str| BigUint::parse_bytes(digits.as_bytes(), 16).expect("hexadecimal digits");
        Curve { oid, octets, p: number(p), b: number(b) }
    }

    /// Returns the size of the field in bits, which names the curve.
    pub(in crate::trust::x509) fn bits(&self) -> u64 {
        self.p.bits()
    }

    /// Returns whether this is an uncompressed point (SEC 1, section 2.3.3) on the curve.
    fn has(&self, point: &[u8]) -> bool {
        let Some((4, xy)) = point.split_first() else {
            return false;
        };
        if xy.len() != 2 * self.octets {
            return false;
        }
        let (x, y) = xy.split_at(self.octets);
        let (x, y) = (BigUint::from_bytes_be(x), BigUint::from_bytes_be(y));
        let right = (&x * &x + &self.p - 3_u8) % &self.p * &x + &self.b;
        x < self.p && y < self.p && &y * &y % &self.p == right % &self.p
    }
}

/// The curves of FIPS 186-4, appendix D.1.2.
static CURVES: LazyLock<[Curve; 4]> = LazyLock::new(|| {
    [
        Curve::new(
            &[0x2b, 0x81, 4, 0, 33],
            28,
            [
                "ffffffffffffffffffffffffffffffff000000000000000000000001",
                "b4050a850c04b3abf54132565044b0b7d7bfd8ba270b39432355ffb4",
            ],
        ),
        Curve::new(
            &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7],
            32,
            [
                "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
                "5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b",
            ],
        ),
        Curve::new(
            &[0x2b, 0x81, 4, 0, 34],
            48,
            [
                "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff",
                "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef",
            ],
        ),
        Curve::new(
            &[0x2b, 0x81, 4, 0, 35],
            66,
            [
                "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
             ffffffffffffffffffffffffffffffffffff",
                "0051953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef109e156193951ec7e937b1652c0bd3bb1\
             bf073573df883d2c34f1ef451fd46b503f00",
            ],
        ),
    ]
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_that_end_within_an_octet_are_shifted_to_the_right() {
        assert_eq!(right_aligned((0, &[1, 2])), [1, 2]);
        assert_eq!(right_aligned((4, &[0x12, 0x30])), [0x01, 0x23]);
        assert!(right_aligned((0, &[])).is_empty());
    }

    #[test]
    fn the_field_of_a_curve_has_as_many_bits_as_its_name_says() {
        assert_eq!(CURVES.each_ref().map(Curve::bits), [224, 256, 384, 521]);
    }

    #[test]
    fn the_base_point_is_on_its_curve_and_a_shifted_one_is_not() {
        let x = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296";
        let y = "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
        let number = |digits: &str| BigUint::parse_bytes(digits.as_bytes(), 16).unwrap().to_bytes_be();
        let mut point = [vec![4], number(x), number(y)].concat();
        assert!(CURVES[1].has(&point));
        assert!(!CURVES[0].has(&point) && !CURVES[1].has(&point[1..]) && !CURVES[1].has(&[]));
        point[64] ^= 1;
        assert!(!CURVES[1].has(&point));
    }
}
