//! Files and standard input: forms of output, differences, errors.

use std::fs;

use serde_json::json;

use super::{certificate, inspect, inspect_with, repository};

#[test]
fn a_file_is_shown_as_a_table_with_the_line_of_each_certificate() {
    let text = ["leaf", "ec"].map(|name| fs::read_to_string(certificate(name)).unwrap()).concat();
    let output = inspect_with(&["-"], format!("# comment\n{text}").as_bytes());
    let lines: Vec<Vec<&str>> = output
        .out
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    assert_eq!(lines[0], ["SUBJECT", "ISSUER", "EXPIRES", "KEY", "CA", "SHA-256", "FOUND AT"]);
    let [subject, issuer, expires, key, ca, fingerprint, place] = lines[1][..] else { panic!("{}", output.out) };
    assert_eq!(
        [subject, issuer, key, ca, fingerprint, place],
        ["CN=leaf.example.com A", "(itself)", "EC P-256", "no", "3d487214", "line 2"]
    );
    assert!(expires.starts_with("2049-01-01, ") && expires.ends_with(" days"), "{expires}");
    assert_eq!(lines[2][6], "line 12");
    assert_eq!((output.code, output.errors.as_str()), (0, ""));
    assert!(!output.out.contains('\u{1b}'), "no colour without a terminal");
}

#[test]
fn documents_hold_all_there_is_and_pem_is_what_a_bundle_holds() {
    let file = certificate("multirdn");
    let mut document = inspect(&[&file, "-o", "json"]).json();
    let days = document["certificates"][0]["expiresInDays"].take();
    assert!(days.as_i64().unwrap() > 0, "{days}");
    let expected = json!({
        "source": file,
        "remarks": [],
        "certificates": [{
            "subject": "CN=Multi A,OU=one,O=first+O=second",
            "issuer": "CN=Multi A,OU=one,O=first+O=second",
            "notBefore": "2020-01-01T00:00:00Z",
            "notAfter": "2049-01-01T00:00:00Z",
            "expiresInDays": null,
            "key": "EC P-256",
            "ca": true,
            "keyAlgorithm": "EC",
            "keySize": 256,
            "serialNumber": document["certificates"][0]["serialNumber"],
            "signatureAlgorithm": "ECDSA with SHA-256",
            "keyUsage": null,
            "extendedKeyUsage": null,
            "subjectAltNames": null,
            "subjectKeyId": document["certificates"][0]["subjectKeyId"],
            "authorityKeyId": null,
            "unreadable": [],
            "fingerprint": document["certificates"][0]["fingerprint"],
            "line": 1,
        }],
    });
    assert_eq!(document, expected);
    assert_eq!(document["certificates"][0]["fingerprint"].as_str().unwrap().len(), 64);
    let yaml = inspect(&[&file, "-o", "yaml"]).out;
    let mut yaml: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
    yaml["certificates"][0]["expiresInDays"].take();
    assert_eq!(yaml, expected);

    let twice =
        [fs::read_to_string(certificate("rsa")).unwrap(), fs::read_to_string(&file).unwrap()].concat().repeat(2);
    let pem = inspect_with(&["-", "-o", "pem"], twice.as_bytes());
    let blocks = rootcast::trust::pem::read(twice.as_bytes()).unwrap();
    let anchors =
        rootcast::trust::Anchors::collect(blocks.into_iter().map(|block| block.certificate.unwrap())).unwrap();
    assert_eq!(pem.out, anchors.to_pem() + "\n");
}

#[test]
fn wide_is_the_table_with_more_columns_before_the_place() {
    let file = repository("tests/trust_data/rsa-pss.pem");
    let cells = |line: &str| -> Vec<String> {
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
    };
    let output = inspect(&[&file, "-o", "wide"]);
    assert_eq!((output.code, output.errors.as_str()), (0, ""));
    let lines: Vec<Vec<String>> = output.out.lines().map(cells).collect();
    assert_eq!(
        lines[0][6..],
        [
            "SERIAL",
            "SIGNATURE",
            "KEY USAGE",
            "EXT KEY USAGE",
            "ALT NAMES",
            "SUBJECT KEY ID",
            "AUTHORITY KEY ID",
            "FOUND AT"
        ]
    );
    let id = "f153038513403dc3c04e4889415aec40e24ed7c1";
    assert_eq!(
        lines[1][3..],
        [
            "RSA-PSS 2048",
            "no",
            &lines[1][5],
            "f1e2",
            "RSA-PSS with SHA-256",
            "keyCertSign, cRLSign",
            "serverAuth, 1.2.3.4",
            "DNS:example.com, IP:10.0.0.1, IP:2001:db8::1, email:a@example.c…",
            id,
            id,
            "line 1"
        ]
    );
    let table = inspect(&[&file]).out;
    let cells_of_table: Vec<Vec<String>> = table.lines().map(cells).collect();
    assert_eq!(cells_of_table[0][..6], lines[0][..6]);
    assert_eq!(cells_of_table[1][3], "1.2.840.113549.1.1.10", "the table stays as it is");

    let refused = inspect(&[&certificate("brainpool"), "-o", "wide"]);
    assert!(refused.out.lines().nth(1).unwrap().contains("  -  "), "{}", refused.out);
    let difference = inspect(&[&file, &certificate("ec"), "-o", "wide"]);
    assert!(difference.code == 1 && difference.out.contains("RSA-PSS with SHA-256"), "{}", difference.out);
    let verify = inspect(&[&file, "--verify", "localhost:1", "-o", "wide"]);
    assert!(verify.code == 2 && verify.errors.contains("-o wide prints certificates"), "{}", verify.errors);
}

#[test]
fn der_is_read_alone_and_behind_each_other_and_an_error_when_cut_off() {
    let pem = fs::read(certificate("p384")).unwrap();
    let der = rootcast::trust::pem::read(&pem).unwrap().remove(0).certificate.unwrap().der().to_vec();
    let output = inspect_with(&["-", "-o", "json"], &der.repeat(2));
    assert_eq!(output.fingerprints().len(), 2);
    assert_eq!(output.json()["certificates"][1]["number"], 2);
    let cut = inspect_with(&["-"], &[&der[..], &der[..100]].concat());
    assert_eq!(cut.code, 1);
    assert!(
        cut.errors.contains(&format!("standard input: byte {}: DER that is cut off", der.len() + 1)),
        "{}",
        cut.errors
    );
}

#[test]
fn what_is_damaged_is_named_by_line_with_cause_and_cure_and_the_rest_is_shown() {
    let good = fs::read_to_string(certificate("ec")).unwrap();
    let line = good.lines().count() + 1;
    let table: [(String, i32, String); 5] = [
        (good[..300].to_owned(), 1, format!("line {line}: the block has no END line; the text is cut off")),
        (good.replacen("\nM", "\n!", 2), 1, format!("line {}: the content of the block is not base64; copy", line + 1)),
        (format!(" {good}"), 1, format!("line {line}: a BEGIN or END marker that is cut off, indented")),
        (
            good.replace(" CERT", " TRUSTED CERT"),
            1,
            format!(
                "line {line}: a block \"TRUSTED CERTIFICATE\" instead of CERTIFICATE: a certificate of another form; convert it with openssl x509 -in"
            ),
        ),
        (
            good.replace("CERTIFICATE", "EC PRIVATE KEY"),
            0,
            format!("line {line}: a block \"EC PRIVATE KEY\" instead of CERTIFICATE: a private key, which is not read"),
        ),
    ];
    for (second, code, words) in table {
        let output = inspect_with(&["-"], format!("{good}{second}\n{good}").as_bytes());
        assert_eq!((output.code, output.out.lines().count()), (code, 3), "{second}\n{}", output.errors);
        assert!(output.errors.contains(&format!("rootcast: standard input: {words}")), "{}", output.errors);
    }
}

#[test]
fn two_places_differ_by_fingerprint_and_the_exit_code_is_that_of_diff() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, certificates: &[&str]| {
        let path = folder.path().join(name).display().to_string();
        let text: String = certificates.iter().map(|name| fs::read_to_string(certificate(name)).unwrap()).collect();
        fs::write(&path, text).unwrap();
        path
    };
    let (old, new, turned) =
        (file("old", &["rsa", "ec"]), file("new", &["ec", "p384", "ec"]), file("turned", &["ec", "rsa"]));
    let output = inspect(&[&old, &new]);
    assert_eq!(output.code, 1);
    let lines: Vec<&str> = output.out.lines().collect();
    assert!(lines[0].starts_with("-  CN=Alpha Root CA A,O=Example Corp,C=US"), "{}", output.out);
    assert!(lines[1].starts_with("+  CN=Delta P384 A"), "{}", output.out);
    assert_eq!(lines[2..], ["1 added, 1 removed, 1 the same"]);
    let document = inspect(&[&old, &new, "-o", "json"]).json();
    let lengths = ["added", "removed", "same"].map(|list| document[list].as_array().unwrap().len());
    assert_eq!(lengths, [1, 1, 1]);
    let output = inspect(&[&old, &turned]);
    assert_eq!((output.code, output.out.as_str()), (0, "0 added, 0 removed, 2 the same\n"));
    fs::write(&new, "-----BEGIN CERTIFICATE-----\n").unwrap();
    fs::write(&old, fs::read_to_string(&turned).unwrap() + "-----BEGIN CERTIFICATE-----\n").unwrap();
    assert_eq!(inspect(&[&turned, &new]).code, 2);
    assert_eq!(inspect(&[&turned, &old]).code, 2, "a part is not known");
}

#[test]
fn what_cannot_be_read_at_all_ends_with_code_2_and_the_cause() {
    let leaf = certificate("leaf");
    let table: [(&[&str], &str); 11] = [
        (&["/absent.pem"], "rootcast: read /absent.pem: No such file"),
        (&["/"], "rootcast: read /: Is a directory"),
        (&["-"], "standard input: holds no certificate: it is neither PEM, DER, JKS nor PKCS#12"),
        (&["/dev/zero"], "rootcast: read /dev/zero: it is longer than 16 MiB, so it is no trust store"),
        (
            &["configmap/a"],
            "give configmap/NAMESPACE/NAME or configmap/NAMESPACE/NAME/KEY; a file of this name is ./configmap/...",
        ),
        (&["bundle/A"], "\"A\" is no name of an object"),
        (&["https://"], "is no server: give HOST or HOST:PORT"),
        (&[&leaf, &leaf, "-o", "pem"], "-o pem prints the certificates of one place"),
        (&[&leaf, &leaf, "--verify", "x"], "cannot be used with"),
        (&[&leaf, "--password-file", "/absent"], "read password file /absent"),
        (&["bundle/x", "--kubeconfig", "/absent"], "read kubeconfig /absent"),
    ];
    for (arguments, words) in table {
        let output = inspect(arguments);
        assert_eq!((output.code, output.out.as_str()), (2, ""), "{arguments:?} {}", output.errors);
        assert!(output.errors.contains(words), "{arguments:?}: {}", output.errors);
    }
}

#[test]
fn certificates_that_bundles_refuse_are_shown_with_the_flaw() {
    for (name, subject, flaw) in [
        ("brainpool", "CN=Brainpool Root A", "unsupported elliptic curve"),
        ("negserial", "CN=Negative A", "negative serial number"),
        ("univ", "(unreadable)", "unsupported string type 28 in a name"),
    ] {
        let output = inspect(&[&certificate(name)]);
        assert_eq!(output.code, 1);
        let line = output.out.lines().nth(1).unwrap();
        assert!(line.starts_with(subject) && line.ends_with(&format!("line 1: refused by bundles: {flaw}")), "{line}");
    }
}
