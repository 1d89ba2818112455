//! Kind and size of public keys.

use std::fmt;

use num_bigint::BigUint;

use super::verdict::{Algorithm, key};
use crate::trust::der::{Reader, dotted, tag};

const ED448: &[u8] = &[0x2b, 0x65, 0x71];

/// Kind and size of a public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKeyType {
    /// RSA, with the length of the modulus in bits.
    Rsa(u64),
    /// DSA, with the length of the prime p in bits.
    Dsa(u64),
    /// Elliptic curve of FIPS 186-4, with the length of its prime in bits, as in P-256.
    Ec(u64),
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// Ed448 (RFC 8032).
    Ed448,
    /// Other kind, by its object identifier: numbers between dots.
    Other(String),
}

impl PublicKeyType {
    /// Reads the kind and size of a key that the verdict accepts, from unused bits and octets of its BIT STRING.
    pub(super) fn of(algorithm: &Algorithm<'_>, bits: (u8, &[u8])) -> Option<PublicKeyType> {
        let length = |octets: &[u8]| BigUint::from_bytes_be(octets).bits();
        Some(match algorithm.oid {
            key::RSA => {
                let octets = key::right_aligned(bits);
                PublicKeyType::Rsa(length(Reader::new(&octets).enter(tag::SEQUENCE)?.integer()?))
            }
            key::DSA => PublicKeyType::Dsa(length(Reader::new(algorithm.parameters).enter(tag::SEQUENCE)?.integer()?)),
            key::EC => PublicKeyType::Ec(key::curve(algorithm.parameters).ok()?.bits()),
            key::ED25519 => PublicKeyType::Ed25519,
            ED448 => PublicKeyType::Ed448,
            other => PublicKeyType::Other(dotted(other)),
        })
    }
}

impl fmt::Display for PublicKeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PublicKeyType::Rsa(bits) => write!(f, "RSA {bits}"),
            PublicKeyType::Dsa(bits) => write!(f, "DSA {bits}"),
            PublicKeyType::Ec(bits) => write!(f, "EC P-{bits}"),
            PublicKeyType::Ed25519 => f.write_str("Ed25519"),
            PublicKeyType::Ed448 => f.write_str("Ed448"),
            PublicKeyType::Other(oid) => f.write_str(oid),
        }
    }
}
