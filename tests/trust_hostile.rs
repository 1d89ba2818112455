//! Input that means harm, and input that nobody thought of.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use p12_keystore::{KeyStore, Pkcs12ImportPolicy};
use proptest::prelude::*;
use rootcast::trust::{Anchor, Anchors, Password, Profile, jks, pem, pkcs12};
use sha1::{Digest, Sha1};

fn roots() -> Vec<Anchor> {
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    roots.map(|der| Anchor::from_der(der.to_vec()).unwrap()).collect()
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    let short = match content.len() {
        0..=0x7f => vec![length[3]],
        0x80..=0xff => vec![0x81, length[3]],
        0x100..=0xffff => [&[0x82], &length[2..]].concat(),
        _ => [&[0x83], &length[1..]].concat(),
    };
    [&[tag], &short[..], content].concat()
}

/// A certificate of version 1 with an unknown kind of key and this common name and signature.
fn certificate(name: &str, signature: &[u8]) -> Vec<u8> {
    let algorithm = der(0x30, &[6, 2, 0x2a, 3]);
    let attribute = der(0x30, &[&[6, 3, 0x55, 4, 3][..], &der(0x0c, name.as_bytes())].concat());
    let name = der(0x30, &der(0x31, &attribute));
    let validity = der(0x30, b"\x17\x0d700101000000Z\x17\x0d700101000000Z");
    let key = der(0x30, &[&algorithm[..], &[3, 1, 0]].concat());
    let tbs = der(0x30, &[&[2, 1, 1][..], &algorithm, &name, &validity, &name, &key].concat());
    der(0x30, &[&tbs[..], &algorithm, &der(3, &[&[0], signature].concat())].concat())
}

fn armour(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(length).collect()
}

/// The fastest of three, so that a busy machine does not count.
fn time(work: impl Fn()) -> Duration {
    let run = |_| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..3).map(run).min().unwrap()
}

#[test]
fn hostile_text_of_a_mebibyte_is_read_or_refused_at_once() {
    const SIZE: usize = 1 << 20;
    let filled = |pattern: &str| pattern.repeat(SIZE / pattern.len()).into_bytes();
    let big = certificate(&"n".repeat(900 << 10), b"");
    let table: [(&str, Vec<u8>, Option<usize>); 14] = [
        ("random bytes", noise(SIZE), Some(0)),
        ("NUL bytes", vec![0; SIZE], Some(0)),
        ("newlines", vec![b'\n'; SIZE], Some(0)),
        ("dashes", vec![b'-'; SIZE], Some(0)),
        ("begin markers", filled("-----BEGIN CERTIFICATE-----\n"), None),
        ("end markers", filled("-----END CERTIFICATE-----\n"), None),
        ("half markers", filled("-----BEGIN"), None),
        ("almost markers", filled("-----BEGI\n"), Some(0)),
        ("comments", filled("# -----BEGIN CERTIFICATE-----\n"), Some(0)),
        ("empty blocks", armour(b"").repeat(10_000).into_bytes(), None),
        ("tiny blocks", armour(&[0x30, 0]).repeat(10_000).into_bytes(), None),
        ("small certificates", armour(&certificate("n", b"")).repeat(4000).into_bytes(), Some(4000)),
        ("a certificate of 900 KiB", armour(&big).into_bytes(), Some(1)),
        ("a line without end", [&b"-----BEGIN CERTIFICATE-----\n"[..], &vec![b'A'; SIZE]].concat(), None),
    ];
    for (what, text, expected) in table {
        assert_eq!(pem::read(&text).ok().map(|blocks| blocks.len()), expected, "{what}");
        let whole = time(|| drop(pem::read(&text)));
        assert!(whole < Duration::from_secs(3), "{what}: {whole:?}");
    }
}

#[test]
fn many_extensions_attributes_or_nested_elements_take_linear_time() {
    let attributes = |count| {
        let attribute = der(0x31, &der(0x30, &[&[6, 3, 0x55, 4, 11][..], &der(0x0c, b"u")].concat()));
        der(0x30, &attribute.repeat(count))
    };
    let nested = |depth| (0..depth).fold(vec![5, 0], |inner, _| der(0x30, &inner));
    let subject = |name: &[u8]| {
        let algorithm = der(0x30, &[6, 2, 0x2a, 3]);
        let validity = der(0x30, b"\x17\x0d700101000000Z\x17\x0d700101000000Z");
        let key = der(0x30, &[&algorithm[..], &[3, 1, 0]].concat());
        let empty = der(0x30, b"");
        let tbs = der(0x30, &[&[2, 1, 1][..], &algorithm, &empty, &validity, name, &key].concat());
        der(0x30, &[&tbs[..], &algorithm, &[3, 1, 0]].concat())
    };
    let wide = subject(&attributes(50_000));
    assert_eq!(Anchor::from_der(wide.clone()).unwrap().subject().len(), 50_000 * 5 - 1);
    let took = time(|| drop(Anchor::from_der(wide.clone())));
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(Anchor::from_der(subject(&nested(300))).is_err());
    assert!(Anchor::from_der(nested(300)).is_err());
}

#[test]
fn line_ends_and_blanks_do_not_matter_but_anything_before_a_marker_does() {
    let plain = armour(&certificate("n", b"some signature"));
    for text in [
        plain.replace('\n', "\r\n"),
        plain.replace('\n', " \t\n"),
        plain.replace('\n', "\n\n"),
        plain.trim_end().to_owned(),
        format!("{plain}\0"),
        format!("text: with colon\n#{plain}").replace("#-----", "#\n-----"),
    ] {
        assert_eq!(pem::read(text.as_bytes()).unwrap().len(), 1, "{text:?}");
    }
    for text in [
        format!("\u{feff}{plain}"),
        format!("\0{plain}"),
        format!(" {plain}"),
        plain.replace('\n', "\r"),
        plain.replace('\n', "\\n"),
        plain.replace("-----BEGIN", "----BEGIN"),
        plain.replace("-----\n", "----\n"),
        plain.replace("END CERTIFICATE", "END PRIVATE KEY"),
        plain.replace("-----END", "\u{a0}-----END"),
    ] {
        assert!(pem::read(text.as_bytes()).is_err(), "{text:?}");
    }
}

#[test]
fn messages_never_hold_what_is_inside_a_block() {
    let secret = "c2VjcmV0LXNlY3JldA";
    for text in [
        format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n"),
        format!("-----BEGIN PRIVATE KEY-----{secret}-----END PRIVATE KEY-----\n"),
        format!("-----BEGIN CERTIFICATE-----\n{secret}\n-----END CERTIFICATE-----\n"),
        format!("-----BEGIN CERTIFICATE-----\nKey: {secret}\n\n{secret}\n-----END CERTIFICATE-----\n"),
        format!("-----BEGIN CERTIFICATE-----\n{secret}!\n-----END CERTIFICATE-----\n"),
        format!("-----BEGIN CERTIFICATE-----\n{secret}"),
    ] {
        let error = pem::read(text.as_bytes()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
    }
}

#[test]
fn two_certificates_of_one_subject_and_equal_first_digits_keep_different_aliases() {
    let mut seen = std::collections::HashMap::new();
    let (left, right) = (0_u32..)
        .find_map(|number| {
            let der = certificate("Twin", &number.to_be_bytes());
            let digits = <[u8; 4]>::try_from(&sha2::Sha256::digest(&der)[..4]).unwrap();
            seen.insert(digits, der.clone()).map(|twin| (der, twin))
        })
        .unwrap();
    let anchors = Anchors::collect([left, right].map(|der| Anchor::from_der(der).unwrap())).unwrap();
    let aliases: Vec<String> =
        read_jks(&jks::encode(&anchors, &Password::new("")), "").into_iter().map(|(alias, _)| alias).collect();
    let expected: Vec<String> = anchors.iter().map(|anchor| format!("{}|cn=twin", anchor.fingerprint())).collect();
    assert_eq!(aliases, expected);
}

#[test]
fn an_alias_too_long_for_the_format_is_cut_and_one_beyond_the_basic_plane_is_readable() {
    let long = Anchor::from_der(certificate(&"é".repeat(40_000), b"")).unwrap();
    let key = Anchor::from_der(certificate("🔑", b"")).unwrap();
    let anchors = Anchors::collect([long, key]).unwrap();
    let store = jks::encode(&anchors, &Password::new("p"));
    let aliases: Vec<String> = read_jks(&store, "p").into_iter().map(|(alias, _)| alias).collect();
    assert!(aliases.iter().any(|alias| alias.ends_with("|cn=🔑")));
    assert!(aliases.iter().any(|alias| alias.len() > 65_530 && alias.len() <= 65_535));
}

/// Aliases and certificates of a JKS store, read as `java.io.DataInput` would.
fn read_jks(store: &[u8], password: &str) -> Vec<(String, Vec<u8>)> {
    let (content, digest) = store.split_at(store.len() - 20);
    let password: Vec<u8> = password.bytes().flat_map(|octet| [0, octet]).collect();
    let expected = Sha1::new().chain_update(password).chain_update("Mighty Aphrodite").chain_update(content).finalize();
    assert_eq!(digest, &expected[..]);
    let mut rest = content;
    let mut take = |length: usize| {
        let (taken, after) = rest.split_at(length);
        rest = after;
        taken
    };
    let number = |octets: &[u8]| octets.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet));
    assert_eq!(take(8), [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2]);
    let count = number(take(4));
    let entries = (0..count).map(|_| {
        assert_eq!(number(take(4)), 2);
        let length = number(take(2));
        let alias = modified_utf8(take(length));
        take(8);
        assert_eq!(take(6), b"\0\x04X509");
        let length = number(take(4));
        (alias, take(length).to_vec())
    });
    let entries = entries.collect();
    assert!(rest.is_empty());
    entries
}

fn modified_utf8(mut octets: &[u8]) -> String {
    let mut units = Vec::new();
    while let [first, ..] = octets {
        let wide = |octets: &[u8]| octets.iter().fold(0, |sum, octet| sum << 6 | u16::from(octet & 0x3f));
        let (unit, length) = match first {
            0..=0x7f => (u16::from(*first), 1),
            0xc0..=0xdf => (u16::from(first & 0x1f) << 6 | wide(&octets[1..2]), 2),
            0xe0..=0xef => (u16::from(first & 0x0f) << 12 | wide(&octets[1..3]), 3),
            _ => panic!("not in modified UTF-8: {first:x}"),
        };
        units.push(unit);
        octets = &octets[length..];
    }
    String::from_utf16(&units).unwrap()
}

fn ders(anchors: &Anchors) -> Vec<Vec<u8>> {
    anchors.iter().map(|anchor| anchor.der().to_vec()).collect()
}

/// Some of Mozilla's roots and some made up.
fn some_anchors() -> impl Strategy<Value = Anchors> {
    let made_up = ("\\PC{0,40}", any::<[u8; 8]>()).prop_map(|(name, signature)| certificate(&name, &signature));
    let made_up = proptest::collection::vec(made_up, 1..6);
    (proptest::sample::subsequence(roots(), 0..8), made_up).prop_map(|(roots, made_up)| {
        let made_up = made_up.into_iter().map(|der| Anchor::from_der(der).unwrap());
        Anchors::collect(roots.into_iter().chain(made_up)).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(text: Vec<u8>) {
        let _ = pem::read(&text);
        let _ = Anchor::from_der(text);
    }

    #[test]
    fn any_lines_are_read_whole_or_refused(lines in proptest::collection::vec(
        prop_oneof![
            Just("-----BEGIN CERTIFICATE-----".to_owned()),
            Just("-----END CERTIFICATE-----".to_owned()),
            Just(STANDARD.encode(certificate("n", b""))),
            "[-A-Za-z #:=]{0,20}",
        ],
        0..12,
    )) {
        let begun = lines.iter().filter(|line| line.starts_with("-----BEGIN")).count();
        if let Ok(blocks) = pem::read(lines.join("\n").as_bytes()) {
            prop_assert_eq!(blocks.len(), begun);
        }
    }

    #[test]
    fn what_is_written_as_pem_reads_back(anchors in some_anchors()) {
        let blocks = pem::read(anchors.to_pem().as_bytes()).unwrap();
        let read = Anchors::collect(blocks.into_iter().map(|block| block.certificate.unwrap()));
        prop_assert_eq!(read, Some(anchors));
    }

    #[test]
    fn what_is_written_as_jks_reads_back(anchors in some_anchors(), password in "\\PC{0,12}") {
        let mut read: Vec<Vec<u8>> = read_jks(&jks::encode(&anchors, &Password::new(&*password)), &password).into_iter().map(|(_, der)| der).collect();
        let mut written = ders(&anchors);
        read.sort();
        written.sort();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn what_is_written_as_pkcs12_reads_back(anchors in some_anchors(), password in "[ -~]{1,12}") {
        for profile in [Profile::LegacyRc2, Profile::LegacyDes, Profile::Modern2023] {
            let store = pkcs12::encode(&anchors, &Password::new(&*password), profile);
            prop_assert_eq!(&store, &pkcs12::encode(&anchors, &Password::new(&*password), profile));
            let mut read = read_pkcs12(&store, &password);
            let mut written = ders(&anchors);
            read.sort();
            written.sort();
            prop_assert_eq!(read, written);
        }
    }
}

fn read_pkcs12(store: &[u8], password: &str) -> Vec<Vec<u8>> {
    let store = KeyStore::from_pkcs12(store, password, Pkcs12ImportPolicy::Relaxed).unwrap();
    let certificates = store.entries().filter_map(|(_, entry)| match entry {
        p12_keystore::KeyStoreEntry::Certificate(certificate) => Some(certificate.as_der().to_vec()),
        _ => None,
    });
    certificates.collect()
}
