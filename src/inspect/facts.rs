//! Facts of a certificate beyond those that bundles need, as `x509-parser` reads them.
//!
//! It reads less than the verdict accepts, and a fact that it cannot read is no reason to refuse a certificate: the fact
//! is shown as unreadable. Names that identify a certificate are not read here: their text is the one of [`Anchor`].

use std::fmt::Write as _;
use std::net::IpAddr;

use num_bigint::BigUint;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{
    OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_EXTENDED_KEY_USAGE, OID_X509_EXT_KEY_USAGE,
    OID_X509_EXT_SUBJECT_ALT_NAME, OID_X509_EXT_SUBJECT_KEY_IDENTIFIER, Oid,
};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::RSAPublicKey;
use x509_parser::signature_algorithm::RsaSsaPssParams;

use super::algorithm;
use crate::trust::{Anchor, PublicKeyType, name_to_string, oid_to_string};

/// Kind of fact about a certificate.
pub(super) struct FactKind {
    /// Name in documents.
    pub(super) field: &'static str,
    /// Heading in tables.
    pub(super) heading: &'static str,
    read: fn(&X509Certificate<'_>) -> Fact,
}

/// Fact about a certificate, as far as it can be read.
#[derive(Debug, PartialEq)]
pub(super) enum Fact {
    /// The certificate says nothing of it.
    Absent,
    /// The certificate says something that cannot be read.
    Unreadable,
    /// One value.
    Text(String),
    /// Any number of values.
    List(Vec<String>),
}

/// All kinds of facts, in the order of columns.
pub(super) const KINDS: [FactKind; 7] = [
    FactKind { field: "serialNumber", heading: "SERIAL", read: serial_number },
    FactKind { field: "signatureAlgorithm", heading: "SIGNATURE", read: signature_algorithm },
    FactKind { field: "keyUsage", heading: "KEY USAGE", read: key_usage },
    FactKind { field: "extendedKeyUsage", heading: "EXT KEY USAGE", read: extended_key_usage },
    FactKind { field: "subjectAltNames", heading: "ALT NAMES", read: subject_alt_names },
    FactKind { field: "subjectKeyId", heading: "SUBJECT KEY ID", read: subject_key_id },
    FactKind { field: "authorityKeyId", heading: "AUTHORITY KEY ID", read: authority_key_id },
];

/// Reads the facts of a certificate, in the order of [`KINDS`].
pub(super) fn read(anchor: &Anchor) -> [Fact; KINDS.len()] {
    let certificate = X509Certificate::from_der(anchor.der()).ok().map(|(_, certificate)| certificate);
    KINDS.each_ref().map(|kind| certificate.as_ref().map_or(Fact::Unreadable, kind.read))
}

/// Returns the name of a key's algorithm, and the key's size in bits if the algorithm has keys of several sizes.
pub(super) fn key(anchor: &Anchor) -> (String, Option<u64>) {
    match anchor.key() {
        PublicKeyType::Rsa(bits) => ("RSA".to_owned(), Some(bits)),
        PublicKeyType::Dsa(bits) => ("DSA".to_owned(), Some(bits)),
        PublicKeyType::Ec(bits) => ("EC".to_owned(), Some(bits)),
        PublicKeyType::Other(oid) => {
            let name = algorithm::name(&oid);
            (name.to_owned(), if name == algorithm::RSA_PSS { modulus_bits(anchor) } else { None })
        }
        named @ (PublicKeyType::Ed25519 | PublicKeyType::Ed448) => (named.to_string(), None),
    }
}

/// Formats the kind and size of a key as [`PublicKeyType`] does, but algorithms by name.
pub(super) fn key_text(anchor: &Anchor) -> String {
    match (anchor.key(), key(anchor)) {
        (PublicKeyType::Other(_), (name, Some(bits))) => format!("{name} {bits}"),
        (PublicKeyType::Other(_), (name, None)) => name,
        (named, _) => named.to_string(),
    }
}

/// Reads the size of a key of RSASSA-PSS, which has the form of one of RSA (RFC 4055, section 1.2).
fn modulus_bits(anchor: &Anchor) -> Option<u64> {
    let (_, certificate) = X509Certificate::from_der(anchor.der()).ok()?;
    let (_, key) = RSAPublicKey::from_der(&certificate.public_key().subject_public_key.data).ok()?;
    Some(BigUint::from_bytes_be(key.modulus).bits())
}

fn serial_number(certificate: &X509Certificate<'_>) -> Fact {
    Fact::Text(hex(&certificate.serial.to_bytes_be()))
}

fn signature_algorithm(certificate: &X509Certificate<'_>) -> Fact {
    let identifier = &certificate.signature_algorithm;
    let name = dotted(&identifier.algorithm).map(|oid| algorithm::name(&oid).to_owned());
    let parameters = identifier.parameters.as_ref().filter(|_| name.as_deref() == Some(algorithm::RSA_PSS));
    let name = match parameters.map(RsaSsaPssParams::try_from) {
        None => name,
        Some(parameters) => parameters.ok().and_then(|parameters| {
            let digest = dotted(parameters.hash_algorithm_oid())?;
            Some(format!("{} with {}", algorithm::RSA_PSS, algorithm::name(&digest)))
        }),
    };
    name.map_or(Fact::Unreadable, Fact::Text)
}

/// Reads the extension of this identifier by `read`, which returns `None` for what it cannot read.
fn extension<'c>(
    certificate: &'c X509Certificate<'_>,
    oid: &Oid<'_>,
    read: impl Fn(&'c ParsedExtension<'c>) -> Option<Fact>,
) -> Fact {
    match certificate.get_extension_unique(oid) {
        Ok(None) => Fact::Absent,
        Ok(Some(found)) => read(found.parsed_extension()).unwrap_or(Fact::Unreadable),
        Err(_) => Fact::Unreadable,
    }
}

/// Lists the usages by their names in RFC 5280, section 4.2.1.3.
fn key_usage(certificate: &X509Certificate<'_>) -> Fact {
    extension(certificate, &OID_X509_EXT_KEY_USAGE, |parsed| {
        let ParsedExtension::KeyUsage(usage) = parsed else { return None };
        let usages = [
            (usage.digital_signature(), "digitalSignature"),
            (usage.non_repudiation(), "nonRepudiation"),
            (usage.key_encipherment(), "keyEncipherment"),
            (usage.data_encipherment(), "dataEncipherment"),
            (usage.key_agreement(), "keyAgreement"),
            (usage.key_cert_sign(), "keyCertSign"),
            (usage.crl_sign(), "cRLSign"),
            (usage.encipher_only(), "encipherOnly"),
            (usage.decipher_only(), "decipherOnly"),
        ];
        Some(Fact::List(names_of(usages).collect()))
    })
}

/// Lists the purposes by their names in RFC 5280, section 4.2.1.12; others by object identifier.
fn extended_key_usage(certificate: &X509Certificate<'_>) -> Fact {
    extension(certificate, &OID_X509_EXT_EXTENDED_KEY_USAGE, |parsed| {
        let ParsedExtension::ExtendedKeyUsage(usage) = parsed else { return None };
        let purposes = [
            (usage.any, "anyExtendedKeyUsage"),
            (usage.server_auth, "serverAuth"),
            (usage.client_auth, "clientAuth"),
            (usage.code_signing, "codeSigning"),
            (usage.email_protection, "emailProtection"),
            (usage.time_stamping, "timeStamping"),
            (usage.ocsp_signing, "OCSPSigning"),
        ];
        names_of(purposes).map(Some).chain(usage.other.iter().map(dotted)).collect::<Option<_>>().map(Fact::List)
    })
}

/// Returns the names of what holds.
fn names_of<const N: usize>(names: [(bool, &str); N]) -> impl Iterator<Item = String> {
    names.into_iter().filter(|(holds, _)| *holds).map(|(_, name)| name.to_owned())
}

/// Lists the names, each behind its kind in the words of OpenSSL's configuration: `DNS:example.com`.
fn subject_alt_names(certificate: &X509Certificate<'_>) -> Fact {
    extension(certificate, &OID_X509_EXT_SUBJECT_ALT_NAME, |parsed| {
        let ParsedExtension::SubjectAlternativeName(names) = parsed else { return None };
        names.general_names.iter().map(general_name).collect::<Option<_>>().map(Fact::List)
    })
}

fn general_name(name: &GeneralName<'_>) -> Option<String> {
    Some(match name {
        GeneralName::OtherName(oid, _) => format!("otherName:{}", dotted(oid)?),
        GeneralName::RFC822Name(text) => format!("email:{text}"),
        GeneralName::DNSName(text) => format!("DNS:{text}"),
        GeneralName::X400Address(_) => "x400Address".to_owned(),
        GeneralName::DirectoryName(name) => format!("dirName:{}", name_to_string(name.as_raw())?),
        GeneralName::EDIPartyName(_) => "ediPartyName".to_owned(),
        GeneralName::URI(text) => format!("URI:{text}"),
        GeneralName::IPAddress(octets) => format!("IP:{}", ip_address(octets)?),
        GeneralName::RegisteredID(oid) => format!("RID:{}", dotted(oid)?),
        GeneralName::Invalid(..) => return None,
    })
}

fn ip_address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

fn subject_key_id(certificate: &X509Certificate<'_>) -> Fact {
    extension(certificate, &OID_X509_EXT_SUBJECT_KEY_IDENTIFIER, |parsed| {
        let ParsedExtension::SubjectKeyIdentifier(id) = parsed else { return None };
        Some(Fact::Text(hex(id.0)))
    })
}

fn authority_key_id(certificate: &X509Certificate<'_>) -> Fact {
    extension(certificate, &OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, |parsed| {
        let ParsedExtension::AuthorityKeyIdentifier(authority) = parsed else { return None };
        Some(authority.key_identifier.as_ref().map_or(Fact::Absent, |id| Fact::Text(hex(id.0))))
    })
}

/// Formats an object identifier. `x509-parser` gets the first two arcs wrong from 2.80 on.
fn dotted(oid: &Oid<'_>) -> Option<String> {
    oid_to_string(oid.as_bytes())
}

/// Formats octets as lower-case hexadecimal digits, as fingerprints are.
fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(2 * octets.len()), |mut digits, octet| {
        let _ = write!(digits, "{octet:02x}");
        digits
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::pem;

    fn certificate(text: &str) -> Anchor {
        pem::read(text.as_bytes()).unwrap().remove(0).certificate.unwrap()
    }

    fn facts(anchor: &Anchor) -> Vec<(&'static str, Fact)> {
        KINDS.iter().map(|kind| kind.field).zip(read(anchor)).collect()
    }

    fn text(text: &str) -> Fact {
        Fact::Text(text.to_owned())
    }

    fn list(texts: &[&str]) -> Fact {
        Fact::List(texts.iter().map(|text| (*text).to_owned()).collect())
    }

    #[test]
    fn all_facts_are_read_and_named_as_the_standards_name_them() {
        let anchor = certificate(include_str!("../../tests/trust_data/rsa-pss.pem"));
        let names = [
            "DNS:example.com",
            "IP:10.0.0.1",
            "IP:2001:db8::1",
            "email:a@example.com",
            "URI:https://example.com/x",
            "RID:2.999.1",
            "dirName:CN=Shop,O=Example Corp",
            "otherName:1.3.6.1.4.1.311.20.2.3",
        ];
        let id = "f153038513403dc3c04e4889415aec40e24ed7c1";
        let expected = [
            ("serialNumber", text("f1e2")),
            ("signatureAlgorithm", text("RSA-PSS with SHA-256")),
            ("keyUsage", list(&["keyCertSign", "cRLSign"])),
            ("extendedKeyUsage", list(&["serverAuth", "1.2.3.4"])),
            ("subjectAltNames", list(&names)),
            ("subjectKeyId", text(id)),
            ("authorityKeyId", text(id)),
        ];
        assert_eq!(facts(&anchor), expected);
        assert_eq!((key(&anchor), key_text(&anchor)), (("RSA-PSS".to_owned(), Some(2048)), "RSA-PSS 2048".to_owned()));
    }

    /// Replaces octets wherever they occur.
    fn replace(der: &[u8], old: &[u8; 9], new: &[u8; 9]) -> Vec<u8> {
        let mut der = der.to_vec();
        for at in 0..der.len() - old.len() {
            if der[at..].starts_with(old) {
                der[at..at + new.len()].copy_from_slice(new);
            }
        }
        der
    }

    #[test]
    fn algorithms_of_keys_and_signatures_have_names_that_x509_parser_does_not_know() {
        const RSA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
        const RSA_WITH_SHA_256: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
        const ML_DSA_65: [u8; 9] = [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 18];
        const ML_DSA_87: [u8; 9] = [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 19];
        let rsa = certificate(include_str!("../../tests/cases/certs/rsa.pem"));
        assert_eq!((key(&rsa), &read(&rsa)[1]), (("RSA".to_owned(), Some(2048)), &text("RSA with SHA-256")));
        let der = replace(&replace(rsa.der(), &RSA, &ML_DSA_65), &RSA_WITH_SHA_256, &ML_DSA_87);
        let anchor = Anchor::from_der(der).unwrap();
        assert_eq!((key(&anchor), &read(&anchor)[1]), (("ML-DSA-65".to_owned(), None), &text("ML-DSA-87")));
        assert_eq!(
            (key_text(&anchor).as_str(), anchor.key().to_string().as_str()),
            ("ML-DSA-65", "2.16.840.1.101.3.4.3.18")
        );
    }

    #[test]
    fn what_a_certificate_does_not_have_is_absent() {
        let anchor = certificate(include_str!("../../tests/cases/certs/v1.pem"));
        assert!(read(&anchor)[2..].iter().all(|fact| *fact == Fact::Absent));
        let keys = [
            include_str!("../../tests/cases/certs/p384.pem"),
            include_str!("../../tests/cases/certs/ed25519.pem"),
            include_str!("../../tests/cases/certs/ed448.pem"),
            include_str!("../../tests/cases/certs/dsa.pem"),
        ]
        .map(|pem| key(&certificate(pem)));
        let expected = [("EC", Some(384)), ("Ed25519", None), ("Ed448", None), ("DSA", Some(2048))];
        assert_eq!(keys, expected.map(|(name, size)| (name.to_owned(), size)));
    }

    #[test]
    fn what_cannot_be_read_is_unreadable() {
        let anchor = certificate(include_str!("../../tests/trust_data/rsa-pss.pem"));
        // The tag of the first name becomes one of no kind of name; Go does not look at it.
        let at = anchor.der().windows(13).position(|window| window == b"\x82\x0bexample.com").unwrap();
        let mut der = anchor.der().to_vec();
        der[at] = 0x0c;
        let unreadable = read(&Anchor::from_der(der).unwrap());
        let fields: Vec<_> = KINDS.iter().zip(&unreadable).filter(|(_, fact)| **fact == Fact::Unreadable).collect();
        assert_eq!(fields.iter().map(|(kind, _)| kind.field).collect::<Vec<_>>(), ["subjectAltNames"]);
    }
}
