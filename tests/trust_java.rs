//! The verdict on certificates that Java refuses, beside a real JVM.
//!
//! `MUTATIONS` in the environment sets how many certificates are tried.

mod absent;
mod mutation;

use std::path::Path;
use std::process::Command;

use absent::absent;
use mutation::{Random, ask, hex, mutate, restructure, seeds};
use rootcast::trust::{Anchor, Anchors, JavaParseError, Password, Profile, jks, pkcs12};

/// What the JVM at hand makes of each certificate; `None` if there is no JVM.
fn ask_java(anchors: &[Anchor]) -> Option<Vec<String>> {
    if Command::new("java").arg("-version").output().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        absent("java");
        return None;
    }
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trust_data/Verdict.java");
    let line = |anchor: &Anchor| {
        let alone = Anchors::collect([anchor.clone()]).unwrap();
        let jks = jks::encode(&alone, &Password::new("changeit"));
        let pkcs12 = pkcs12::encode(&alone, &Password::new(""), Profile::Modern2023);
        format!("{} {} {}\n", hex(anchor.der()), hex(&jks), hex(&pkcs12))
    };
    Some(ask(
        Command::new("java").args(["-Xshare:auto", "-Duser.language=en"]).arg(program),
        anchors.iter().map(line).collect(),
    ))
}

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let header = match content.len() {
        0..=0x7f => vec![tag, length[1]],
        0x80..=0xff => vec![tag, 0x81, length[1]],
        _ => vec![tag, 0x82, length[0], length[1]],
    };
    [header, content].concat()
}

/// A name with one organization, or an empty one.
fn name(organization: &str) -> Vec<u8> {
    let pair = der(0x30, &[&[6, 3, 0x55, 4, 10], &der(12, &[organization.as_bytes()])]);
    if organization.is_empty() { der(0x30, &[]) } else { der(0x30, &[&der(0x31, &[&pair])]) }
}

/// An RSA key whose modulus has so many bits.
fn rsa(bits: usize, exponent: &[u8]) -> Vec<u8> {
    let mut modulus = vec![0xff; bits.div_ceil(8)];
    modulus[0] >>= (8 - bits % 8) % 8;
    let padding: &[u8] = if modulus[0] & 0x80 == 0 { &[] } else { &[0] };
    let key = der(0x30, &[&der(2, &[padding, &modulus]), &der(2, &[exponent])]);
    let algorithm = der(0x30, &[&der(6, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1]]), &[5, 0]]);
    der(0x30, &[&algorithm, &der(3, &[&[0], &key])])
}

fn extension(arc: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
    der(0x30, &[&[6, 3, 0x55, 29, arc], critical, &der(4, &[value])])
}

/// A certificate of this version (from 0); what follows its key is given as it is.
fn certificate(version: u8, issuer: &str, subject: &str, key: &[u8], rest: &[u8]) -> Anchor {
    let algorithm = der(0x30, &[&der(6, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11]]), &[5, 0]]);
    let version = if version == 0 { Vec::new() } else { der(0xa0, &[&[2, 1, version]]) };
    let validity = der(0x30, &[b"\x17\x0d200101000000Z", b"\x17\x0d490101000000Z"]);
    let tbs = der(0x30, &[&version, &[2, 1, 1], &algorithm, &name(issuer), &validity, &name(subject), key, rest]);
    Anchor::from_der(der(0x30, &[&tbs, &algorithm, &der(3, &[&[0], &[1; 64]])])).unwrap()
}

/// Every kind that was met in the wild, and what is just inside.
#[test]
fn each_kind_of_certificate_that_java_refuses_is_known() {
    const E: &[u8] = &[1, 0, 1];
    let v3 = |rest: &[&[u8]]| der(0xa3, &[&der(0x30, rest)]);
    let ca = extension(19, true, &[0x30, 3, 1, 1, 0xff]);
    let alternative = |critical| extension(17, critical, &[0x30, 4, 0x82, 2, b'a', b'b']);
    let policy = |value: &[u8]| v3(&[&ca, &extension(36, true, value)]);
    let (key, with_ca) = (rsa(2048, E), v3(&[&ca]));
    let named = |version, rest: &[u8]| certificate(version, "a", "a", &key, rest);
    let keyed = |key: &[u8]| certificate(2, "a", "a", key, &with_ca);
    let malformed = JavaParseError::Extension("policy constraints");
    let table: Vec<(Anchor, Option<JavaParseError>)> = vec![
        (named(2, &with_ca), None),
        (named(0, &with_ca), Some(JavaParseError::Version)),
        (named(1, &with_ca), Some(JavaParseError::Version)),
        (named(0, &[]), None),
        (named(1, &der(0x81, &[&[0, 1]])), None),
        (certificate(2, "", "a", &key, &with_ca), Some(JavaParseError::Issuer)),
        (certificate(2, "a", "", &key, &with_ca), Some(JavaParseError::Subject)),
        (certificate(0, "a", "", &key, &[]), Some(JavaParseError::Subject)),
        (certificate(2, "a", "", &key, &v3(&[&ca, &alternative(false)])), Some(JavaParseError::Subject)),
        (certificate(2, "a", "", &key, &v3(&[&ca, &alternative(true)])), None),
        (certificate(2, "a", "", &key, &[]), None),
        (keyed(&rsa(504, E)), Some(JavaParseError::RsaSize(504))),
        (keyed(&rsa(505, E)), None),
        (keyed(&rsa(512, E)), None),
        (keyed(&rsa(16384, E)), None),
        (keyed(&rsa(16385, E)), Some(JavaParseError::RsaSize(16385))),
        (keyed(&rsa(2048, &[1])), Some(JavaParseError::RsaExponent)),
        (keyed(&rsa(2048, &[2])), Some(JavaParseError::RsaExponent)),
        (keyed(&rsa(2048, &[3])), None),
        (keyed(&rsa(2048, &[4])), None),
        (keyed(&rsa(2048, &[0x7f; 8])), None),
        (named(2, &policy(&[0x30, 3, 0x80, 1, 0])), None),
        (named(2, &policy(&[0x30, 0])), None),
        (named(2, &policy(&[0x30, 7, 0x80, 5, 1, 0, 0, 0, 0])), Some(malformed)),
        (named(2, &policy(&[0x30, 3, 2, 1, 0])), Some(malformed)),
        (named(2, &policy(&[0x30, 3, 0x80, 1, 0, 5, 0])), Some(malformed)),
        (named(2, &policy(&[0x30, 6, 0x80, 1, 0, 0x82, 1, 0])), Some(malformed)),
    ];
    for (anchor, flaw) in &table {
        assert_eq!(anchor.check_for_java().err(), *flaw, "{}", hex(anchor.der()));
    }
    let anchors: Vec<Anchor> = table.into_iter().map(|(anchor, _)| anchor).collect();
    if let Some(verdicts) = ask_java(&anchors) {
        assert_eq!(differences(&anchors, &verdicts), Vec::<String>::new());
    }
}

fn differences(anchors: &[Anchor], verdicts: &[String]) -> Vec<String> {
    assert_eq!(anchors.len(), verdicts.len());
    let pairs = anchors.iter().zip(verdicts);
    let differs = pairs.filter(|(anchor, verdict)| anchor.check_for_java().is_ok() != (*verdict == "accepted"));
    differs
        .map(|(anchor, verdict)| format!("Java: {verdict}\nwe: {:?}\n{}", anchor.check_for_java(), hex(anchor.der())))
        .collect()
}

#[test]
fn mutated_certificates_are_judged_as_java_judges_them() {
    let count: usize = std::env::var("MUTATIONS").map_or(10_000, |count| count.parse().unwrap());
    let mut seeds = seeds();
    seeds.extend(seeds.clone().iter().take(40).cycle().take(400).cloned());
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut certificates = seeds.clone();
    certificates.extend((0..count).map(|_| mutate(&seeds, &mut random)));
    certificates.extend((0..3 * count).map(|_| restructure(&seeds, &mut random)));
    certificates.sort();
    certificates.dedup();
    let anchors: Vec<Anchor> = certificates.into_iter().filter_map(|der| Anchor::from_der(der).ok()).collect();
    let Some(verdicts) = ask_java(&anchors) else { return };
    let refused = verdicts.iter().filter(|verdict| *verdict != "accepted").count();
    assert!(refused > anchors.len() / 20 && refused < anchors.len() / 2, "{refused} of {} refused", anchors.len());
    let differences = differences(&anchors, &verdicts);
    let shown = differences.iter().take(10).cloned().collect::<Vec<_>>().join("\n\n");
    assert!(differences.is_empty(), "{} of {} differ\n{shown}", differences.len(), anchors.len());
}
