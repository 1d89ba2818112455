//! What a live trust-manager made of certificates, and what we make of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rootcast::trust::{Anchor, Anchors, Password, PemError, Profile, jks, pem, pkcs12};
use serde::Deserialize;
use tokio_rustls::rustls::RootCertStore;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The recorded certificates that Go refuses.
const REFUSED_BY_GO: [&str; 5] = ["brainpool", "explicit", "negserial", "secp256k1", "univ"];

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

fn case_names() -> Vec<String> {
    let names = std::fs::read_dir(cases()).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<String> = names
        .filter(|entry| entry.path().join("result.yaml").exists())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn anchors(text: &[u8]) -> Anchors {
    let blocks = pem::read(text).unwrap();
    Anchors::collect(blocks.into_iter().map(|block| block.certificate.unwrap())).unwrap()
}

#[derive(Deserialize)]
struct Recorded {
    configmap: Option<Object>,
    secret: Option<Object>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    #[serde(default)]
    data: BTreeMap<String, String>,
    #[serde(default)]
    binary_data: BTreeMap<String, String>,
}

/// Every output in a recorded result.
fn outputs(case: &str) -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(cases().join(case).join("result.yaml")).unwrap();
    let Recorded { configmap, secret } = serde_saphyr::from_str(&text).unwrap();
    let decode = |values: BTreeMap<String, String>| values.into_values().map(|value| STANDARD.decode(value).unwrap());
    let mut outputs = Vec::new();
    if let Some(Object { data, binary_data }) = configmap {
        outputs.extend(data.into_values().map(String::into_bytes));
        outputs.extend(decode(binary_data));
    }
    if let Some(Object { data, binary_data }) = secret {
        outputs.extend(decode(data).chain(decode(binary_data)));
    }
    outputs
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Document {
    kind: String,
    spec: Spec,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Spec {
    sources: Vec<Source>,
    target: Target,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Source {
    in_line: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Target {
    additional_formats: BTreeMap<String, Format>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Format {
    password: Option<String>,
}

fn bundle(case: &str) -> Spec {
    let text = std::fs::read_to_string(cases().join(case).join("input.yaml")).unwrap();
    let documents: Vec<Document> = serde_saphyr::from_multiple(&text).unwrap();
    documents.into_iter().find(|document| document.kind == "Bundle").unwrap().spec
}

#[test]
fn pem_jks_and_passwordless_pkcs12_are_recorded_byte_for_byte() {
    let mut compared = [0; 3];
    for case in case_names() {
        let outputs = outputs(&case);
        let Some(text) = outputs.iter().find(|output| output.starts_with(b"-----BEGIN")) else {
            continue;
        };
        let anchors = anchors(text);
        let Target { additional_formats } = bundle(&case).target;
        let password = |format: &str, default: &str| {
            let password = additional_formats.get(format).and_then(|format| format.password.clone());
            Password::new(password.unwrap_or(default.to_owned()))
        };
        for output in &outputs {
            let (kind, ours) = match output[0] {
                b'-' => (0, anchors.to_pem().into_bytes()),
                0xfe => (1, jks::encode(&anchors, &password("jks", "changeit"))),
                _ if password("pkcs12", "").reveal().is_empty() => {
                    (2, pkcs12::encode(&anchors, &Password::new(""), Profile::LegacyDes))
                }
                _ => continue,
            };
            assert!(ours == *output, "{case}: output {kind} differs");
            compared[kind] += 1;
        }
    }
    assert!(compared[0] >= 40 && compared[1] >= 10 && compared[2] >= 10, "too few recordings: {compared:?}");
}

fn inline(case: &str) -> Result<usize, PemError> {
    let sources = bundle(case).sources;
    let text = sources.iter().find_map(|source| source.in_line.as_ref()).unwrap();
    pem::read(text.as_bytes()).map(|blocks| blocks.len())
}

#[test]
fn what_trust_manager_reads_whole_is_read() {
    for (case, blocks) in [("text-around", 2), ("long-lines", 1), ("garbage-only", 0), ("inline-one", 1)] {
        assert_eq!(inline(case), Ok(blocks), "{case}");
    }
}

#[test]
fn what_trust_manager_refuses_or_loses_is_refused_with_its_words_and_the_place() {
    let bundle = "invalid PEM block in bundle";
    let table = [
        ("bad-base64", "; its content is not base64 (block "),
        ("bad-der", "; invalid PEM certificate: malformed certificate, SHA-256 "),
        ("truncated-last", "; it has no END line (block "),
        ("truncated-first", "; it has no END line (block 1, line 1)"),
        ("two-on-one-line", "; a BEGIN or END marker must be whole and alone on its line"),
        ("indented-pem", "; a BEGIN or END marker must be whole and alone on its line"),
        ("pem-headers", "; blocks are not permitted to have PEM headers (block 1, line 2)"),
        ("x509-certificate", ": only CERTIFICATE blocks are permitted but found 'X509 CERTIFICATE' (block "),
        (
            "trusted-certificate",
            ": only CERTIFICATE blocks are permitted but found 'TRUSTED CERTIFICATE' (block 2, line 21)",
        ),
        ("trailing-der", "; invalid PEM certificate: trailing data, subject \"CN="),
        ("odd-negserial", "; invalid PEM certificate: negative serial number, subject \"CN="),
        ("odd-explicit", "; invalid PEM certificate: explicit or invalid elliptic curve parameters, subject \"CN="),
        ("odd-brainpool", "; invalid PEM certificate: unsupported elliptic curve, subject \"CN="),
        ("odd-secp256k1", "; invalid PEM certificate: unsupported elliptic curve, subject \"CN="),
        ("odd-univ", "; invalid PEM certificate: unsupported string type 28 in a name, SHA-256 "),
    ];
    for (case, words) in table {
        let message = inline(case).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{bundle}{words}")), "{case}: {message}");
        assert!(message.contains("(block ") && message.ends_with(')'), "{case}: {message}");
    }
}

#[test]
fn every_odd_certificate_gets_the_verdict_that_go_gives() {
    let mut read = 0;
    for entry in std::fs::read_dir(cases().join("certs")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let verdict = pem::read(&std::fs::read(&path).unwrap());
        assert_eq!(verdict.is_err(), REFUSED_BY_GO.contains(&name), "{name}: {verdict:?}");
        read += 1;
    }
    assert_eq!(read, 28);
}

/// Why the parser is our own: others read what Go refuses.
#[test]
fn other_parsers_read_certificates_that_go_refuses() {
    for name in REFUSED_BY_GO {
        let text = std::fs::read(cases().join(format!("certs/{name}.pem"))).unwrap();
        let der = ::pem::parse(text).unwrap().into_contents();
        assert!(Anchor::from_der(der.as_slice()).is_err(), "{name}");
        assert!(X509Certificate::from_der(&der).is_ok(), "{name}: x509-parser");
        assert!(RootCertStore::empty().add(der.into()).is_ok(), "{name}: webpki");
    }
}

#[test]
fn the_one_known_root_with_a_negative_serial_number_is_left_out_and_others_are_refused() {
    let certs = cases().join("certs");
    let [mut text, other] =
        ["rsa", "negserial"].map(|name| std::fs::read(certs.join(name).with_extension("pem")).unwrap());
    text.push(b'\n');
    text.extend_from_slice(include_bytes!("trust_data/ec-acc.pem"));
    let blocks = pem::read(&text).unwrap();
    let verdicts: Vec<_> = blocks.iter().map(|block| block.certificate.as_ref().map_err(ToString::to_string)).collect();
    let [Ok(_), Err(left_out)] = &verdicts[..] else { panic!("{verdicts:?}") };
    assert!(left_out.starts_with("negative serial number, subject \"CN=EC-ACC,"), "{left_out}");
    assert!(
        left_out.ends_with("SHA-256 88497f01602f3154246ae28c4d5aef10f1d87ebb76626f4ae0b7f95ba7968799"),
        "{left_out}"
    );
    assert!(pem::read(&other).is_err());
}

#[test]
fn a_prefix_of_a_recording_has_all_certificates_up_to_a_block_boundary_or_is_refused() {
    let mut whole = vec![std::fs::read_to_string(cases().join("package.json")).unwrap().replace("\\n", "\n")];
    whole.extend(case_names().iter().flat_map(|case| bundle(case).sources).filter_map(|source| source.in_line));
    whole.sort();
    whole.dedup();
    for text in whole {
        let text = text.get(text.find("-----BEGIN").unwrap_or(0)..).unwrap().as_bytes();
        if pem::read(text).is_err() || text.len() > 8000 {
            continue;
        }
        let mut before = Vec::new();
        for end in 0..=text.len() {
            let Ok(blocks) = pem::read(&text[..end]) else {
                continue;
            };
            let begun = text[..end].windows(11).filter(|window| window == b"-----BEGIN ").count();
            assert_eq!(blocks.len(), begun, "cut off at {end}");
            let certificates: Vec<Anchor> = blocks.into_iter().filter_map(|block| block.certificate.ok()).collect();
            assert!(certificates.starts_with(&before), "cut off at {end}");
            before = certificates;
        }
    }
}
