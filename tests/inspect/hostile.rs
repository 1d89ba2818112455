//! Hostile input: a result, never a panic, with work and memory in proportion to the length of the input.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use proptest::prelude::*;
use rootcast::inspect::{CertificateDiff, CertificateSet, DetailLevel, Passwords, ValuePlace};
use rootcast::trust::{Anchor, Anchors, Password, Profile, jks, pem, pkcs12};

/// Reads bytes, and formats the result in every way.
fn read_and_format(bytes: &[u8], passwords: &Passwords) -> usize {
    let mut collection = CertificateSet::new("hostile");
    if collection.read(&ValuePlace::of_key("key"), bytes, passwords).is_err() {
        assert!(collection.certificates.is_empty() && collection.remarks.is_empty());
    }
    let now = Timestamp::UNIX_EPOCH;
    let texts = [
        collection.table(now, DetailLevel::Brief),
        collection.table(now, DetailLevel::Full),
        collection.document(now, DetailLevel::Full).to_string(),
        collection.to_pem(),
        CertificateDiff::between(&collection, &CertificateSet::default()).table(now, DetailLevel::Full),
    ];
    texts.iter().map(String::len).sum()
}

/// One file of each format.
static ORIGINALS: LazyLock<[Vec<u8>; 7]> = LazyLock::new(|| {
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().take(3);
    let anchors = Anchors::collect(roots.map(|der| Anchor::from_der(der.to_vec()).unwrap())).unwrap();
    let (secret, none) = (Password::new("changeit"), Password::new(""));
    [
        anchors.to_pem().into_bytes(),
        anchors.iter().next().unwrap().der().to_vec(),
        jks::encode(&anchors, &secret),
        pkcs12::encode(&anchors, &none, Profile::Modern2023),
        pkcs12::encode(&anchors, &secret, Profile::LegacyRc2),
        pkcs12::encode(&anchors, &secret, Profile::LegacyDes),
        pkcs12::encode(&anchors, &secret, Profile::Modern2023),
    ]
});

/// A change of a file.
#[derive(Clone, Debug)]
enum Mutation {
    Set(usize, u8),
    Flip(usize, u8),
    Cut(usize),
    Drop(usize, usize),
    Repeat(usize, usize),
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        // The beginning is where formats say what they are and how long.
        let at = |at: &usize, bytes: &[u8]| {
            if at.is_multiple_of(2) { at % bytes.len().max(1) } else { at % 64.min(bytes.len().max(1)) }
        };
        if bytes.is_empty() {
            return;
        }
        match self {
            Self::Set(place, value) => {
                let place = at(place, bytes);
                bytes[place] = *value;
            }
            Self::Flip(place, bit) => {
                let place = at(place, bytes);
                bytes[place] ^= 1 << (bit % 8);
            }
            Self::Cut(place) => bytes.truncate(at(place, bytes)),
            Self::Drop(place, length) => {
                let place = at(place, bytes);
                let end = (place + length % 16).min(bytes.len());
                bytes.drain(place..end);
            }
            Self::Repeat(place, length) => {
                let place = at(place, bytes);
                let end = (place + length % 512).min(bytes.len());
                let part = bytes[place..end].to_vec();
                bytes.splice(place..place, part);
            }
        }
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = 0..100_000_usize;
    prop_oneof![
        (at.clone(), prop_oneof![any::<u8>(), Just(0), Just(0x80), Just(0xff), Just(0x84)])
            .prop_map(|(at, value)| Mutation::Set(at, value)),
        (at.clone(), any::<u8>()).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        at.clone().prop_map(Mutation::Cut),
        (at.clone(), any::<usize>()).prop_map(|(at, length)| Mutation::Drop(at, length)),
        (at, any::<usize>()).prop_map(|(at, length)| Mutation::Repeat(at, length)),
    ]
}

/// The first bytes of each format.
const MAGIC: &[&[u8]] = &[
    b"",
    b"\xfe\xed\xfe\xed\0\0\0\x02",
    b"\xce\xce\xce\xce\0\0\0\x01",
    b"\x30\x80\x02\x01\x03",
    b"\x30\x82\x10\x00\x02\x01\x03\x30\x80",
    b"\x30\x82",
    b"-----BEGIN CERTIFICATE-----\n",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_files_of_every_format_are_read_or_refused(
        which in 0..ORIGINALS.len(),
        mutations in proptest::collection::vec(mutation(), 0..5),
        given: bool,
    ) {
        let mut bytes = ORIGINALS[which].clone();
        for mutation in &mutations {
            mutation.apply(&mut bytes);
        }
        let passwords = if given { Passwords::Given(Password::new("changeit")) } else { Passwords::WellKnown };
        let shown = read_and_format(&bytes, &passwords);
        prop_assert!(shown < 100 * (bytes.len() + 1000), "{shown} characters of {} bytes", bytes.len());
    }

    #[test]
    fn any_bytes_behind_any_magic_are_read_or_refused(
        magic in proptest::sample::select(MAGIC),
        rest: Vec<u8>,
    ) {
        read_and_format(&[magic, &rest].concat(), &Passwords::WellKnown);
    }
}

#[test]
fn a_hostile_mebibyte_is_read_or_refused_soon() {
    const SIZE: usize = 1 << 20;
    let jks = |entries: Vec<u8>| {
        let count = u32::MAX.to_be_bytes();
        [&[0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2][..], &count, &entries, &[0; 20]].concat()
    };
    let long_alias =
        [&[0, 0, 0, 1, 0xff, 0xff][..], &vec![b'a'; 65_535], &[0; 8], &[0; 4], &0xffff_u32.to_be_bytes()].concat();
    let empty_certificates = [&long_alias[..], &[0; 6].repeat(100_000)].concat();
    let table: [(&str, Vec<u8>); 9] = [
        ("open brackets", [&[0x30, 0x80, 2, 1, 3][..], &[0x30, 0x80].repeat(SIZE / 2)].concat()),
        ("empty sequences", [&[0x30, 0x80, 2, 1, 3][..], &[0x30, 0].repeat(SIZE / 2), &[0, 0]].concat()),
        ("empty DER", [0x30, 0].repeat(SIZE / 2).into_iter().chain([0xff]).collect()),
        ("a JKS of trusted nothing", jks([0, 0, 0, 2].repeat(SIZE / 4))),
        ("a JKS with one long alias for a long chain", jks(empty_certificates)),
        ("a length beyond all bounds", [0x30, 0x84, 0xff, 0xff, 0xff, 0xff].repeat(SIZE / 6)),
        ("private keys", b"-----BEGIN PRIVATE KEY-----\n".repeat(SIZE / 28)),
        ("end lines", b"-----END CERTIFICATE-----\n".repeat(SIZE / 26)),
        ("half markers", b" -----BEGIN\n".repeat(SIZE / 12)),
    ];
    for (what, bytes) in table {
        let start = Instant::now();
        let shown = read_and_format(&bytes, &Passwords::WellKnown);
        assert!(start.elapsed() < Duration::from_secs(30), "{what}: {:?}", start.elapsed());
        assert!(shown < 1 << 28, "{what}: {shown} characters");
    }
}

#[test]
fn reading_goes_on_behind_what_pem_refuses_and_finds_what_it_reads() {
    let text = &ORIGINALS[0];
    let count = pem::read(text).unwrap().len();
    let twice = [&text[..], b"\n-----BEGIN CERTIFICATE-----\n?\n", text].concat();
    let mut collection = CertificateSet::new("");
    collection.read(&ValuePlace::default(), &twice, &Passwords::WellKnown).unwrap();
    assert_eq!((collection.certificates.len(), collection.is_damaged()), (2 * count, true));
}
