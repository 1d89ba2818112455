//! Text that is plainly part of a certificate is never lost: it is in a well-formed block, or the text is refused.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rootcast::trust::pem::{self, PemCause};
use rootcast::trust::{Anchor, NonPemFormat};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

const GOOD: &str = include_str!("cases/certs/ec.pem");
const OTHER: &str = include_str!("cases/certs/expired.pem");

/// The lines of base64 in a block.
fn base64() -> String {
    GOOD.lines().filter(|line| !line.starts_with('-')).fold(String::new(), |text, line| text + line + "\n")
}

fn refused(text: &str) -> (usize, PemCause) {
    let error = pem::read(text.as_bytes()).expect_err(text);
    (error.line, error.cause)
}

#[test]
fn mangled_markers_around_a_certificate_are_refused_with_their_line() {
    let dashes: Vec<String> = (1..=64).filter(|count| *count != 5).map(|count| "-".repeat(count)).collect();
    let odd = [
        "\u{2013}".repeat(5),
        "\u{2014}\u{2013}".to_owned(),
        "\u{2212}".repeat(5),
        "\u{2011}".repeat(5),
        "\u{2010}----".to_owned(),
        "&#45;".repeat(5),
        "&#x2D;".repeat(5),
        "&ndash;".repeat(5),
        "\\u002d".repeat(5),
        "----- ".to_owned(),
        " ----".to_owned(),
    ];
    for dashes in dashes.iter().chain(&odd) {
        for blank in ["", " "] {
            let text = format!(
                "{OTHER}{dashes}BEGIN{blank} CERTIFICATE{dashes}\n{}{dashes}END CERTIFICATE{dashes}\n{OTHER}",
                base64()
            );
            assert_eq!(refused(&text).0, OTHER.lines().count() + 1, "{text}");
        }
    }
    for (begin, end) in [
        ("-----begin certificate-----", "-----end certificate-----"),
        ("----- BEGIN CERTIFICATE ---", "----- END CERTIFICATE ---"),
        ("BEGIN CERTIFICATE", "END CERTIFICATE"),
        ("-----BEGINCERTIFICATE-----", "-----ENDCERTIFICATE-----"),
        ("-----BEGIN CERTIFICATE", "-----END CERTIFICATE"),
        ("-----BEGIN\u{a0}CERTIFICATE-----", "-----END\u{a0}CERTIFICATE-----"),
        ("\u{feff}-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"),
        ("\u{200b}----BEGIN CERTIFICATE-----", "----END CERTIFICATE-----"),
        ("_____BEGIN CERTIFICATE_____", "_____END CERTIFICATE_____"),
        ("\"-----BEGIN CERTIFICATE-----\",", "\"-----END CERTIFICATE-----\""),
    ] {
        for (begin, end) in [(begin, end), (begin, "-----END CERTIFICATE-----"), ("-----BEGIN CERTIFICATE-----", end)] {
            if (begin, end) != ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----") {
                refused(&format!("{OTHER}{begin}\n{}{end}\n{OTHER}", base64()));
            }
        }
    }
}

#[test]
fn a_certificate_without_markers_is_refused_however_it_is_written() {
    let base64 = base64();
    let flat = base64.replace('\n', "");
    let each_line =
        |before: &str, after: &str| base64.lines().flat_map(|line| [before, line, after]).collect::<String>();
    for (text, line) in [
        (base64.clone(), 1),
        (flat.clone(), 1),
        (format!("{OTHER}\n\n{base64}{OTHER}"), OTHER.lines().count() + 3),
        (base64.replace('\n', "\r\n"), 1),
        (each_line("  ", "\n\n"), 1),
        (each_line("> ", "\n"), 1),
        (each_line("  \"", "\\n\",\n"), 1),
        (base64.replace('\n', "\\n"), 1),
        (base64.replace('\n', "\\\\n"), 1),
        (format!("ca.crt: {flat}\nother: x\n"), 1),
        (format!("words before it\n{base64}and words after it"), 2),
        (base64.replace('\n', "\u{200b}\n"), 1),
    ] {
        assert_eq!(refused(&text), (line, PemCause::Bare), "{text}");
    }
}

/// Why this reader is our own: others pass over what they do not understand.
#[test]
fn other_readers_lose_a_certificate_without_an_error() {
    let of_pem = |text: &str| ::pem::parse_many(text).ok().map(|blocks| blocks.len());
    let of_pki_types = |text: &str| {
        CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>().ok().map(|all| all.len())
    };
    let cut = GOOD[..GOOD.len() / 2].to_owned();
    let unopened = GOOD.replace("-----BEGIN CERTIFICATE-----\n", "");
    let four_hyphens = GOOD.replace("-----", "----");
    let indented = GOOD.replace("-----BEGIN", "  -----BEGIN");
    for (damaged, by_pem, by_pki_types) in [
        (cut, Some(1), None),
        (unopened, Some(1), Some(1)),
        (four_hyphens, Some(1), Some(1)),
        (base64(), Some(1), Some(1)),
        (indented, Some(2), Some(1)),
    ] {
        let text = format!("{OTHER}{damaged}");
        assert!(pem::read(text.as_bytes()).is_err(), "{text}");
        assert_eq!((of_pem(&text), of_pki_types(&text)), (by_pem, by_pki_types), "{text}");
    }
}

#[test]
fn comments_prose_and_other_base64_pass() {
    let commented: String = GOOD.lines().fold(String::new(), |mut text, line| {
        writeln!(text, "  # {line}").unwrap();
        text
    });
    let der = Anchor::from_der(STANDARD.decode(base64().replace('\n', "")).unwrap()).unwrap();
    for before in [
        commented.as_str(),
        "# ----BEGIN CERTIFICATE---- is where it begins\n",
        "Bag Attributes\n    friendlyName: x\n    localKeyID: 01 02\nsubject=CN = a\n\nissuer=CN = a\n\n",
        "This file holds certificates. BEGIN CERTIFICATE marks where one begins.\n",
        "Corporate root\n==============\n--- Root certificate ---\n- a certificate - the END\n",
        "Certificate:\n    Data:\n        Version: 3 (0x2)\n        Signature Algorithm: ecdsa-with-SHA256\n            30:82:01:67:30:82:01:0c\n",
        "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n",
        "caf\u{e9}\u{a0}du \u{200b}monde\n",
        &format!("{}\n", STANDARD.encode(&der.der()[..der.der().len() - 1])),
        &format!("{}\n", STANDARD.encode(der.subject_der())),
    ] {
        let text = format!("{before}{GOOD}{before}");
        assert_eq!(
            pem::read(text.as_bytes()).map(|blocks| blocks.len()).map_err(|error| error.to_string()),
            Ok(1),
            "{before}"
        );
    }
}

#[test]
fn invisible_characters_are_named_by_their_code_point() {
    for character in ['\u{feff}', '\u{a0}', '\u{200b}', '\u{ad}', '\u{2060}', '\u{202e}'] {
        for text in [
            GOOD.replacen("BEGIN ", &format!("BEGIN {character}"), 1),
            GOOD.replacen("-----BEGIN", &format!("{character}-----BEGIN"), 1),
            GOOD.replacen("\nMII", &format!("\n{character}MII"), 1),
            GOOD.replacen("-----END", &format!("-----{character}END"), 1),
        ] {
            let error = pem::read(text.as_bytes()).unwrap_err();
            assert_eq!(error.cause, PemCause::Invisible(character), "{text}");
            assert!(error.to_string().contains(&format!("U+{:04X} ", u32::from(character))), "{error}");
        }
    }
}

#[test]
fn what_is_no_pem_is_recognised() {
    let der = STANDARD.decode(base64().replace('\n', "")).unwrap();
    let wide = |order: fn(u16) -> [u8; 2], mark: &str| format!("{mark}{GOOD}").encode_utf16().flat_map(order).collect();
    let signed_data = [&[0x30, 0x80][..], &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2, 0xa0]].concat();
    let table: [(Vec<u8>, Option<NonPemFormat>); 11] = [
        (STANDARD.encode(GOOD).into_bytes(), Some(NonPemFormat::Base64)),
        (STANDARD.encode(STANDARD.encode(GOOD)).into_bytes(), Some(NonPemFormat::Base64)),
        (wide(u16::to_le_bytes, "\u{feff}"), Some(NonPemFormat::Utf16)),
        (wide(u16::to_be_bytes, "\u{feff}"), Some(NonPemFormat::Utf16)),
        (wide(u16::to_le_bytes, ""), Some(NonPemFormat::Utf16)),
        (wide(u16::to_be_bytes, ""), Some(NonPemFormat::Utf16)),
        (der, Some(NonPemFormat::Der)),
        (signed_data, Some(NonPemFormat::Pkcs7)),
        (b"\x1f\x8b\x08\0".to_vec(), Some(NonPemFormat::Compressed)),
        (Vec::new(), None),
        (b"just words".to_vec(), None),
    ];
    for (bytes, form) in table {
        assert_eq!(pem::read(&bytes).map(|blocks| blocks.len()), Ok(0));
        assert_eq!(NonPemFormat::of(&bytes), form);
    }
}
