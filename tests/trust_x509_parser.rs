//! `x509-parser`, which reads what `inspect` shows, reads every certificate that the verdict accepts, but for those that
//! are named here. `MUTATIONS` in the environment sets how many certificates that are nearly right are tried.

mod mutation;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use mutation::{Random, hex, mutate, restructure, seeds};
use proptest::prelude::*;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use rootcast::trust::{Anchor, name_to_string, pem};
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

/// Why `x509-parser` does not read an accepted certificate in full.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Exception {
    /// Elements behind the key that are no extensions of version 3, which Go does not look at.
    BehindKey,
    /// Alternative names of no kind that RFC 5280 has, which Go does not look at.
    AlternativeName,
}

/// What `x509-parser` reads of a certificate.
#[derive(Debug, PartialEq)]
enum ReadPart {
    Nothing,
    AllButExtension(String),
    All,
}

fn read(der: &[u8]) -> ReadPart {
    let Ok((rest, certificate)) = X509Certificate::from_der(der) else { return ReadPart::Nothing };
    assert!(rest.is_empty(), "{}", hex(der));
    let shown = |oid: &str| ["2.5.29.14", "2.5.29.15", "2.5.29.17", "2.5.29.35", "2.5.29.37"].contains(&oid);
    let unread = certificate.iter_extensions().find(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => {
            names.general_names.iter().any(|name| matches!(name, GeneralName::Invalid(..)))
        }
        parsed => parsed.error().is_some() && shown(&extension.oid.to_id_string()),
    });
    unread.map_or(ReadPart::All, |extension| ReadPart::AllButExtension(extension.oid.to_id_string()))
}

/// The elements of DER: tag and content; tag 0 with the rest for what is not DER.
fn elements(der: &[u8]) -> Vec<(u8, &[u8])> {
    let (mut found, mut rest) = (Vec::new(), der);
    while !rest.is_empty() {
        let (tag, content, after) = split(rest).unwrap_or((0, rest, &[]));
        found.push((tag, content));
        rest = after;
    }
    found
}

/// Splits off the first element: its tag, its content, and what follows.
fn split(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk()?;
    let (length, rest) = rest.split_at_checked(if first < 0x80 { 0 } else { usize::from(first & 0x7f) })?;
    let long = length.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet));
    let (content, rest) = rest.split_at_checked(if first < 0x80 { first.into() } else { long })?;
    Some((tag, content, rest))
}

/// The exception that an accepted certificate is of.
fn exception(der: &[u8]) -> Option<Exception> {
    let certificate = elements(der)[0].1;
    let tbs = elements(elements(certificate)[0].1);
    let (version, fields) = match tbs[0] {
        (0xa0, version) => (elements(version)[0].1[0], &tbs[1..]),
        _ => (0, &tbs[..]),
    };
    let [_serial, _algorithm, _issuer, _validity, _subject, _key, behind @ ..] = fields else {
        panic!("accepted: {}", hex(der))
    };
    let identifier = |content: &[u8]| content.first().is_some_and(|unused| *unused < 8);
    let known = behind.iter().zip(behind.iter().skip(1)).all(|(one, next)| one.0 & 0x1f < next.0 & 0x1f)
        && behind.iter().all(|(tag, content)| match tag {
            0x81 | 0x82 => identifier(content),
            0xa3 => version == 2 && matches!(elements(content)[..], [(0x30, _)]),
            _ => false,
        });
    if !known {
        return Some(Exception::BehindKey);
    }
    let extensions = behind.iter().find(|(tag, _)| *tag == 0xa3).map_or(&[][..], |(_, list)| elements(list)[0].1);
    let odd_names = elements(extensions).iter().any(|(_, extension)| {
        let fields = elements(extension);
        let value = fields.iter().find(|(tag, _)| *tag == 4).expect("an extension has a value").1;
        fields[0].1 == [0x55, 0x1d, 17]
            && elements(elements(value)[0].1).iter().any(|(tag, name)| !is_general_name(*tag, name))
    });
    odd_names.then_some(Exception::AlternativeName)
}

fn is_general_name(tag: u8, name: &[u8]) -> bool {
    match tag & 0x1f {
        _ if tag & 0xc0 != 0x80 => false,
        0 => elements(name).first().is_some_and(|(tag, _)| *tag == 6),
        4 => name_to_string(name).is_some(),
        number => number <= 8,
    }
}

/// Checks one certificate; returns whether it is accepted.
fn check(der: &[u8]) -> bool {
    if Anchor::from_der(der).is_err() {
        return false;
    }
    let (read, exception) = (read(der), exception(der));
    let allowed = match (&read, exception) {
        (ReadPart::All, _) | (_, Some(Exception::BehindKey)) => true,
        (ReadPart::AllButExtension(oid), Some(Exception::AlternativeName)) => oid == "2.5.29.17",
        _ => false,
    };
    assert!(allowed, "x509-parser reads {read:?}, exception {exception:?}: {}", hex(der));
    true
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn files(folder: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(repository(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

#[test]
fn recorded_certificates_mozillas_roots_and_the_corpora_are_read_in_full() {
    let mut accepted = 0;
    let mut all_read = |der: &[u8]| {
        if check(der) {
            accepted += 1;
            assert_eq!(read(der), ReadPart::All, "{}", hex(der));
        }
    };
    for der in seeds() {
        all_read(&der);
    }
    for file in files("tests/corpus/pem") {
        for block in pem::blocks(&fs::read(file).unwrap()).flatten() {
            if let Ok(anchor) = block.certificate {
                all_read(anchor.der());
            }
        }
    }
    for file in files("tests/corpus/der") {
        check(&fs::read(file).unwrap());
    }
    assert!(accepted > 150, "only {accepted} certificates");
}

#[test]
fn certificates_that_are_nearly_right_are_read_if_they_are_accepted() {
    let count = std::env::var("MUTATIONS").map_or(10_000, |count| count.parse().unwrap());
    let seeds = seeds();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let tries = (0..count).map(|number| match number % 2 {
        0 => mutate(&seeds, &mut random),
        _ => restructure(&seeds, &mut random),
    });
    let accepted = tries.filter(|der| check(der)).count();
    assert!(accepted > count / 20 && accepted < count * 19 / 20, "mutations too wild or too tame: {accepted}");
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("it is short");
    let header = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
    [&header[..], content].concat()
}

/// A certificate with a key of an unknown kind, this issuer and subject, and these elements behind the key.
fn certificate(version: u8, name: &[u8], behind: &[u8]) -> Vec<u8> {
    let algorithm = der(0x30, &[6, 2, 0x2a, 3]);
    let validity = der(0x30, b"\x17\x0d700101000000Z\x17\x0d700101000000Z");
    let key = der(0x30, &[&algorithm[..], &[3, 1, 0]].concat());
    let tbs = [&[0xa0, 3, 2, 1, version, 2, 1, 1][..], &algorithm, name, &validity, name, &key, behind].concat();
    der(0x30, &[&der(0x30, &tbs)[..], &algorithm, &[3, 1, 0]].concat())
}

/// Extensions with this one alone.
fn extension(arc: u8, value: &[u8]) -> Vec<u8> {
    let extension = der(0x30, &[&[6, 3, 0x55, 0x1d, arc][..], &der(4, value)].concat());
    der(0xa3, &der(0x30, &extension))
}

#[test]
fn each_exception_exists() {
    let name = der(0x30, &der(0x31, &der(0x30, b"\x06\x03\x55\x04\x03\x0c\x0cnothing here")));
    let alternative = |names: &[u8]| extension(17, &der(0x30, names));
    let unread = |oid: &str| ReadPart::AllButExtension(oid.to_owned());
    assert!(check(&certificate(2, &name, &alternative(b"\x82\x01a"))), "without an exception");
    let table = [
        (certificate(2, &name, &[5, 0]), Exception::BehindKey, ReadPart::Nothing),
        (certificate(0, &name, &extension(15, &[5, 0])), Exception::BehindKey, unread("2.5.29.15")),
        (certificate(2, &name, &alternative(b"\x0c\x01a")), Exception::AlternativeName, unread("2.5.29.17")),
        (certificate(2, &name, &alternative(b"\xa0\x02\x06\x05")), Exception::AlternativeName, unread("2.5.29.17")),
    ];
    for (der, expected, read_part) in table {
        assert!(check(&der), "{expected:?}: {:?}", Anchor::from_der(der.clone()));
        assert_eq!((exception(&der), read(&der)), (Some(expected), read_part));
    }
}

fn names() -> impl Strategy<Value = Vec<SanType>> {
    let text = "[a-z0-9.-]{1,20}".prop_map(|text| Ia5String::try_from(text).unwrap());
    let name = prop_oneof![
        "[a-z]{1,10}(\\.[a-z]{1,10}){0,3}".prop_map(|text| SanType::DnsName(Ia5String::try_from(text).unwrap())),
        text.prop_map(SanType::Rfc822Name),
        "[a-z]{1,8}:[a-z/]{0,20}".prop_map(|text| SanType::URI(Ia5String::try_from(text).unwrap())),
        any::<IpAddr>().prop_map(SanType::IpAddress),
        ("\\PC{0,20}").prop_map(|text| SanType::OtherName((vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3], text.into()))),
    ];
    proptest::collection::vec(name, 0..6)
}

fn usages() -> impl Strategy<Value = (Vec<KeyUsagePurpose>, Vec<ExtendedKeyUsagePurpose>)> {
    use ExtendedKeyUsagePurpose as Extended;
    use KeyUsagePurpose as Key;
    let key = vec![
        Key::DigitalSignature,
        Key::ContentCommitment,
        Key::KeyEncipherment,
        Key::DataEncipherment,
        Key::KeyAgreement,
        Key::KeyCertSign,
        Key::CrlSign,
        Key::EncipherOnly,
        Key::DecipherOnly,
    ];
    let extended = vec![
        Extended::Any,
        Extended::ServerAuth,
        Extended::ClientAuth,
        Extended::CodeSigning,
        Extended::EmailProtection,
        Extended::TimeStamping,
        Extended::OcspSigning,
        Extended::Other(vec![1, 2, 3, 4]),
    ];
    (proptest::sample::subsequence(key, 0..=9), proptest::sample::subsequence(extended, 0..=8))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_certificates_are_accepted_and_read_in_full(
        subject in "\\PC{0,40}",
        serial in proptest::collection::vec(any::<u8>(), 1..20),
        names in names(),
        (key_usages, extended_key_usages) in usages(),
        ca: bool,
        ed25519: bool,
    ) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, subject);
        params.serial_number = Some(serial.into());
        params.subject_alt_names = names;
        params.key_usages = key_usages;
        params.extended_key_usages = extended_key_usages;
        params.use_authority_key_identifier_extension = true;
        params.is_ca = if ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
        let algorithm = if ed25519 { &rcgen::PKCS_ED25519 } else { &rcgen::PKCS_ECDSA_P256_SHA256 };
        let key = KeyPair::generate_for(algorithm).unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        prop_assert!(check(&der), "{:?}: {}", Anchor::from_der(der.clone()), hex(&der));
        prop_assert_eq!(read(&der), ReadPart::All);
    }
}
