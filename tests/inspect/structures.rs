//! Structures other than certificates: each kind that OpenSSL writes is named, and the advised command converts it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::absent::absent;
use super::{certificate, inspect};

/// Runs OpenSSL in a folder.
fn openssl(folder: &Path, arguments: &[&str]) -> std::io::Result<Output> {
    Command::new("openssl").args(arguments).current_dir(folder).output()
}

/// Files with the arguments by which OpenSSL makes them, each from those before.
const MADE: [(&str, &str); 23] = [
    ("key", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key"),
    ("key.der", "pkey -in key -outform DER -out key.der"),
    ("rsa", "genrsa -traditional -out rsa 2048"),
    ("rsa.der", "rsa -in rsa -traditional -outform DER -out rsa.der"),
    ("sec1", "ec -in key -out sec1"),
    ("sec1.der", "ec -in key -outform DER -out sec1.der"),
    ("locked", "pkcs8 -topk8 -in key -passout pass:secret -out locked"),
    ("locked.der", "pkcs8 -topk8 -in key -passout pass:secret -outform DER -out locked.der"),
    ("public", "pkey -in key -pubout -out public"),
    ("public.der", "pkey -in key -pubout -outform DER -out public.der"),
    ("public-rsa", "rsa -in rsa -RSAPublicKey_out -out public-rsa"),
    ("public-rsa.der", "rsa -in rsa -RSAPublicKey_out -outform DER -out public-rsa.der"),
    ("parameters", "ecparam -name prime256v1 -out parameters"),
    ("dh", "genpkey -genparam -algorithm DH -pkeyopt group:ffdhe2048 -out dh"),
    ("dh.der", "dhparam -in dh -outform DER -out dh.der"),
    ("ca", "req -x509 -key key -subj /CN=ca -days 30 -out ca"),
    ("trusted", "x509 -in ca -trustout -addtrust serverAuth -out trusted"),
    ("chain.pem.p7b", "crl2pkcs7 -nocrl -certfile ca -out chain.pem.p7b"),
    ("chain.p7b", "crl2pkcs7 -nocrl -certfile ca -outform DER -out chain.p7b"),
    ("request", "req -new -key key -subj /CN=web -out request"),
    ("request.der", "req -new -key key -subj /CN=web -outform DER -out request.der"),
    ("crl", "ca -gencrl -config config -keyfile key -cert ca -crldays 1 -out crl"),
    ("crl.der", "crl -in crl -outform DER -out crl.der"),
];

/// The configuration of `openssl ca`.
const CONFIG: &str = "[ca]\ndefault_ca = d\n[d]\ndatabase = index\ndefault_md = sha256\n";

/// Files that differ from others in the label.
const RELABELLED: [(&str, &str, &str, &str); 4] = [
    ("cms", "chain.pem.p7b", "PKCS7", "CMS"),
    ("signed", "chain.pem.p7b", "PKCS7", "PKCS #7 SIGNED DATA"),
    ("x509", "ca", "CERTIFICATE", "X509 CERTIFICATE"),
    ("new-request", "request", "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"),
];

/// Blocks that OpenSSL does not write, by label.
const OTHERS: [(&str, &str); 8] = [
    ("DSA PARAMETERS", "parameters of keys; take them out"),
    ("X9.42 DH PARAMETERS", "parameters of keys; take them out"),
    ("PGP PUBLIC KEY BLOCK", "data of OpenPGP, which has no X.509 certificates; take it out"),
    ("PGP SIGNATURE", "data of OpenPGP, which has no X.509 certificates; take it out"),
    ("OPENSSH PRIVATE KEY", "a private key, which is not read; a bundle must not hold it"),
    ("DSA PRIVATE KEY", "a private key, which is not read; a bundle must not hold it"),
    ("SSH2 PUBLIC KEY", "a public key alone; take it out, and put in the certificate of it"),
    ("ATTRIBUTE CERTIFICATE", "take it out"),
];

#[test]
fn what_is_no_certificate_is_named_and_the_advised_command_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    if openssl(folder, &["version"]).is_err() {
        return absent("openssl");
    }
    fs::write(folder.join("config"), CONFIG).unwrap();
    fs::write(folder.join("index"), "").unwrap();
    for (name, command) in MADE {
        let made = openssl(folder, &command.split(' ').collect::<Vec<_>>()).unwrap();
        assert!(made.status.success(), "{name}: {}", String::from_utf8_lossy(&made.stderr));
    }
    for (name, from, label, instead) in RELABELLED {
        let text = fs::read_to_string(folder.join(from)).unwrap();
        let text = ["BEGIN", "END"]
            .iter()
            .fold(text, |text, word| text.replace(&format!("{word} {label}-"), &format!("{word} {instead}-")));
        fs::write(folder.join(name), text).unwrap();
    }
    // What is to be said, and whether the command that it advises makes PEM of it.
    let table = [
        ("chain.pem.p7b", "line 1: a block \"PKCS7\" instead of CERTIFICATE: certificates as PKCS#7; ", true),
        ("chain.p7b", "byte 1: certificates as PKCS#7; ", true),
        ("signed", "a block \"PKCS #7 SIGNED DATA\" instead of CERTIFICATE: certificates as PKCS#7; ", true),
        ("cms", "a block \"CMS\" instead of CERTIFICATE: certificates as CMS; ", true),
        ("trusted", "a block \"TRUSTED CERTIFICATE\" instead of CERTIFICATE: ", true),
        ("x509", "a block \"X509 CERTIFICATE\" instead of CERTIFICATE: ", true),
        (
            "crl",
            "a block \"X509 CRL\" instead of CERTIFICATE: a list of revoked certificates (CRL); take it out",
            false,
        ),
        ("crl.der", "byte 1: a list of revoked certificates (CRL); take it out", false),
        ("request", "a block \"CERTIFICATE REQUEST\" instead of CERTIFICATE: a request for a certificate; ", false),
        ("new-request", "a block \"NEW CERTIFICATE REQUEST\" instead of CERTIFICATE: a request", false),
        ("request.der", "byte 1: a request for a certificate; ", false),
        ("public", "a public key alone; take it out", false),
        ("public.der", "byte 1: a public key alone; take it out", false),
        ("public-rsa", "a public key alone; take it out", false),
        ("public-rsa.der", "byte 1: a public key alone; take it out", false),
        ("parameters", "a block \"EC PARAMETERS\" instead of CERTIFICATE: parameters of keys; take them out", false),
        ("dh", "a block \"DH PARAMETERS\" instead of CERTIFICATE: parameters of keys; take them out", false),
        ("dh.der", "byte 1: parameters of keys; take them out", false),
        ("key", "a block \"PRIVATE KEY\" instead of CERTIFICATE: a private key, which is not read; ", false),
        ("key.der", "byte 1: a private key, which is not read; ", false),
        ("rsa", "a block \"RSA PRIVATE KEY\" instead of CERTIFICATE: a private key, which is not read; ", false),
        ("rsa.der", "byte 1: a private key, which is not read; ", false),
        ("sec1", "a block \"EC PRIVATE KEY\" instead of CERTIFICATE: a private key, which is not read; ", false),
        ("sec1.der", "byte 1: a private key, which is not read; ", false),
        ("locked", "a block \"ENCRYPTED PRIVATE KEY\" instead of CERTIFICATE: a private key, which ", false),
        ("locked.der", "byte 1: a private key, which is not read; ", false),
    ];
    for (name, words, converts) in table {
        let output = inspect(&[&folder.join(name).display().to_string()]);
        assert_eq!(output.code, 2, "{name}: {}{}", output.out, output.errors);
        assert!(output.errors.contains(words), "{name}: {}", output.errors);
        let Some((_, command)) = output.errors.trim_end().split_once("openssl ") else {
            assert!(!converts, "{name}: {}", output.errors);
            continue;
        };
        let arguments: Vec<&str> = command
            .split(' ')
            .map(|word| match word {
                "FILE" => name,
                "NEWFILE" => "made",
                word => word,
            })
            .collect();
        let ran = openssl(folder, &arguments).unwrap();
        assert!(ran.status.success(), "{name}: {command}: {}", String::from_utf8_lossy(&ran.stderr));
        let made = fs::read_to_string(folder.join("made")).unwrap_or_default() + &String::from_utf8_lossy(&ran.stdout);
        assert_eq!(made.contains("-----BEGIN CERTIFICATE-----"), converts, "{name}: {command}: {made}");
        drop(fs::remove_file(folder.join("made")));
    }
}

#[test]
fn blocks_of_other_programs_are_named_by_their_label_beside_the_certificates() {
    let good = fs::read_to_string(certificate("ec")).unwrap();
    for (label, words) in OTHERS {
        let text = format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n{good}");
        let output = super::inspect_with(&["-"], text.as_bytes());
        let line = format!("rootcast: standard input: line 1: a block {label:?} instead of CERTIFICATE: {words}\n");
        assert_eq!(output.errors, line);
        assert_eq!(output.code, i32::from(!label.ends_with("PRIVATE KEY")), "{label}");
        assert!(output.out.contains("line 4"), "{}", output.out);
    }
}

#[test]
fn the_name_of_a_file_neither_commands_a_terminal_nor_begins_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a\u{1b}]0;owned\u{7}\nrootcast: \u{202e}b.pem").display().to_string();
    let good = fs::read_to_string(certificate("ec")).unwrap();
    fs::write(&file, format!("-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n{good}")).unwrap();
    let other = certificate("rsa");
    for arguments in [&[&*file][..], &[&file, &other], &["/absent/\u{1b}[2J\n", &file]] {
        let output = inspect(arguments);
        let lines = output.errors.lines().filter(|line| line.starts_with("rootcast: ")).count();
        assert!(lines > 0 && lines == output.errors.lines().count(), "{:?}", output.errors);
        let shown = output.errors.replace('\n', "") + &output.out.replace('\n', "");
        assert!(!shown.contains(|character: char| character.is_control() || character == '\u{202e}'), "{shown:?}");
    }
}
