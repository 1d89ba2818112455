//! Keystores: recorded ones of trust-manager, our own, the JDK's, Debian's, and those of keytool and openssl.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rootcast::trust::{Anchors, Fingerprint, Password, Profile, jks, pem, pkcs12};
use serde_json::Value;

use super::absent::{absent, unchecked};
use super::{certificate, inspect, inspect_with, repository};

/// Passwords of recorded keystores that are not the well-known ones.
const PASSWORDS: [(&str, &str); 3] =
    [("all-formats-both-kinds", "x"), ("jks-password", "pässwörd 🔑"), ("p12-default-profile", "pw")];

#[test]
fn every_recorded_keystore_holds_the_certificates_of_the_pem_beside_it() {
    let mut count = 0;
    for case in fs::read_dir(repository("tests/cases")).unwrap() {
        let folder = case.unwrap().path();
        let Ok(text) = fs::read_to_string(folder.join("result.yaml")) else { continue };
        let recorded: Value = serde_saphyr::from_str(&text).unwrap();
        let values = |field: &str| {
            let values = recorded.pointer(field).and_then(Value::as_object).into_iter().flatten();
            values.map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect::<Vec<_>>()
        };
        let binary = values("/configmap/binaryData").into_iter().chain(values("/secret/data"));
        let binary: Vec<_> = binary.map(|(key, value)| (key, STANDARD.decode(value).unwrap())).collect();
        let is_pem = |value: &[u8]| value.starts_with(b"-----BEGIN");
        let text = values("/configmap/data").into_iter().map(|(_, value)| value.into_bytes());
        let Some(pem) = text.chain(binary.iter().map(|(_, value)| value.clone())).find(|value| is_pem(value)) else {
            continue;
        };
        let expected = inspect_with(&["-", "-o", "json"], &pem).fingerprints();
        for (key, store) in binary.iter().filter(|(_, value)| !is_pem(value)) {
            let name = folder.file_name().unwrap().to_str().unwrap();
            let mut arguments = vec!["-", "-o", "json"];
            let mut output = inspect_with(&arguments, store);
            if output.code != 0 || output.out.contains("well-known passwords fits") {
                let (_, password) = PASSWORDS
                    .iter()
                    .find(|(case, _)| *case == name)
                    .unwrap_or_else(|| panic!("{name} {key}: {}", output.errors));
                arguments.extend(["--password", password]);
                output = inspect_with(&arguments, store);
            }
            assert_eq!(output.code, 0, "{name} {key}: {}", output.errors);
            assert_eq!(output.fingerprints(), expected, "{name} {key}");
            count += 1;
        }
    }
    assert!(count >= 10, "only {count} recorded keystores were found");
}

#[test]
fn debians_and_the_jdks_own_stores_are_read_as_keytool_reads_them() {
    let mut stores = vec![PathBuf::from("/etc/ssl/certs/java/cacerts")];
    stores.extend(env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("lib/security/cacerts")));
    let installed = fs::read_dir("/usr/lib/jvm").into_iter().flatten().filter_map(Result::ok);
    stores.extend(installed.map(|jdk| jdk.path().join("lib/security/cacerts")));
    stores.retain(|store| store.exists());
    if stores.is_empty() {
        return absent("a JDK's cacerts");
    }
    for store in stores {
        let path = store.to_str().unwrap();
        let output = inspect(&[path, "-o", "json"]);
        let found = output.fingerprints();
        assert!(output.code == 0 && found.len() > 50, "{path}: {} certificates, {}", found.len(), output.errors);
        let Some(listed) = listed_by_keytool(&store) else { continue };
        assert_eq!(found, listed, "{path}");
    }
}

/// Returns the fingerprints of a store, as keytool lists them.
fn listed_by_keytool(store: &Path) -> Option<Vec<String>> {
    let list = ["-J-Duser.language=en", "-list", "-rfc", "-storepass", "changeit", "-keystore"];
    let Ok(output) = Command::new("keytool").args(list).arg(store).output() else {
        absent("keytool");
        return None;
    };
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    let blocks = text.split("-----BEGIN CERTIFICATE-----").skip(1).map(|block| {
        let (base64, _) = block.split_once("-----END CERTIFICATE-----").unwrap();
        Fingerprint::of(&STANDARD.decode(base64.split_whitespace().collect::<String>()).unwrap()).to_string()
    });
    let mut fingerprints: Vec<String> = blocks.collect();
    fingerprints.sort();
    Some(fingerprints)
}

#[test]
fn stores_that_keytool_and_openssl_write_are_read_whatever_protects_them() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = certificate("rsa");
    let expected = inspect(&[&certificate, "-o", "json"]).fingerprints();
    let keytool = "keytool -importcert -noprompt -file CERT -alias corporate -keystore FILE";
    let openssl = "openssl pkcs12 -export -nokeys -in CERT -out FILE";
    let none = "-J-Dkeystore.pkcs12.certProtectionAlgorithm=NONE";
    // The command, the password to be given, what is said of it.
    let table = [
        (format!("{keytool} -storetype JKS -storepass changeit"), None, "JKS, the password \"changeit\" fits"),
        (format!("{keytool} -storetype JKS -storepass secret"), None, "JKS, none of the well-known passwords fits"),
        (format!("{keytool} -storetype JCEKS -storepass secret"), Some("secret"), "JKS, the given password fits"),
        (format!("{keytool} -storetype PKCS12 -storepass changeme"), None, "PKCS#12, the password \"changeme\" fits"),
        (format!("{keytool} -storetype PKCS12 -storepass secret"), Some("secret"), "PKCS#12, the given password fits"),
        (
            format!("{keytool} {none} -storetype PKCS12 -storepass secret"),
            None,
            "PKCS#12, none of the well-known passwords fits",
        ),
        (
            format!("{keytool} {none} -J-Dkeystore.pkcs12.macAlgorithm=NONE -storetype PKCS12 -storepass secret"),
            None,
            "PKCS#12, without a password",
        ),
        (format!("{openssl} -passout pass:"), None, "PKCS#12, the empty password fits"),
        (format!("{openssl} -passout pass:changeit -macalg sha512"), None, "Java ignores 1 of 1 certificates"),
        (format!("{openssl} -passout pass:changeit -nomac -certpbe AES-128-CBC"), None, "PKCS#12"),
        (
            format!("{openssl} -passout pass:é -certpbe AES-192-CBC -iter 100000"),
            Some("é"),
            "PKCS#12, the given password fits",
        ),
        (
            format!("{openssl} -passout pass:secret -certpbe DES-EDE3-CBC -macalg sha1"),
            Some("secret"),
            "PKCS#12, the given password fits",
        ),
        (
            format!("{openssl} -passout pass:secret -certpbe PBE-SHA1-3DES"),
            Some("secret"),
            "PKCS#12, the given password fits",
        ),
        (format!("{openssl} -passout pass: -legacy"), None, "PKCS#12, the empty password fits"),
        (
            format!("{openssl} -passout pass:secret -legacy -certpbe PBE-SHA1-RC2-128"),
            Some("secret"),
            "PKCS#12, the given password fits",
        ),
    ];
    for (number, (command, password, words)) in table.iter().enumerate() {
        let file = folder.path().join(format!("{number}")).display().to_string();
        let words_of_command = command.split(' ').map(|word| word.replace("CERT", &certificate).replace("FILE", &file));
        let mut parts = words_of_command.collect::<Vec<_>>().into_iter();
        let program = parts.next().unwrap();
        match Command::new(&program).args(parts).output() {
            Err(_) => {
                absent(&program);
                continue;
            }
            Ok(output) if !output.status.success() => {
                unchecked(&format!(
                    "{command}: {}",
                    String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default()
                ));
                continue;
            }
            Ok(_) => {}
        }
        let mut arguments = vec![file.as_str(), "-o", "json"];
        arguments.extend(password.iter().flat_map(|password| ["--password", password]));
        let output = inspect(&arguments);
        assert_eq!((output.code, &output.fingerprints()), (0, &expected), "{command}");
        let remarks = output.json()["remarks"].to_string().replace("\\\"", "\"");
        assert!(remarks.contains(words), "{command}: {remarks}");
    }
}

#[test]
fn a_certificate_that_java_refuses_is_named_in_files_and_in_stores_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store.p12").display().to_string();
    let (refused, taken) = (certificate("nosubject"), certificate("rsa"));
    let words = "Java refuses it, and every keystore that holds it: its issuer is empty";
    for (file, expected) in [(&refused, true), (&taken, false)] {
        let output = inspect(&[file]);
        assert_eq!((output.code, output.errors.contains(words)), (0, expected), "{file}: {}", output.errors);
    }
    let export = ["pkcs12", "-export", "-nokeys", "-passout", "pass:changeit", "-in", &refused, "-out", &store];
    match Command::new("openssl").args(export).output() {
        Ok(made) if made.status.success() => {
            let output = inspect(&[&store, "-o", "json"]);
            let remarks = output.json()["remarks"].to_string();
            assert!(output.code == 0 && remarks.contains(words), "{remarks}");
        }
        _ => absent("openssl"),
    }
}

fn anchors(names: &[&str]) -> Anchors {
    let blocks = names.iter().flat_map(|name| pem::read(&fs::read(certificate(name)).unwrap()).unwrap());
    Anchors::collect(blocks.map(|block| block.certificate.unwrap())).unwrap()
}

#[test]
fn a_store_with_another_password_is_named_with_the_cure_and_the_given_one_must_fit() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (p12, jks_file, password) = (path("trust.p12"), path("trust.jks"), path("password"));
    let (trusted, secret) = (anchors(&["ec", "rsa"]), Password::new("secret word"));
    fs::write(&p12, pkcs12::encode(&trusted, &secret, Profile::Modern2023)).unwrap();
    fs::write(&jks_file, jks::encode(&trusted, &secret)).unwrap();
    fs::write(&password, "secret word\nsecond line\n").unwrap();

    let output = inspect(&[&p12]);
    assert_eq!(
        (output.code, output.errors),
        (
            2,
            format!(
                "rootcast: {p12}: a keystore with another password than changeit, changeme and none: give it by --password-file or --password\n"
            )
        )
    );
    for file in [&p12, &jks_file] {
        let output = inspect(&[file, "--password", "wrong"]);
        assert_eq!(output.code, 2, "{}", output.out);
        assert!(
            output.errors.contains("the given password does not fit, or the keystore is damaged"),
            "{}",
            output.errors
        );
        let output = inspect(&[file, "--password-file", &password]);
        assert_eq!((output.code, output.out.lines().count()), (0, 3), "{}", output.errors);
        assert!(output.out.lines().nth(1).unwrap().contains('|'), "the alias is shown: {}", output.out);
        assert!(!(output.out + &output.errors).contains("secret word"), "the password is not shown");
    }
    assert_eq!(inspect(&[&p12, &jks_file, "--password-file", &password]).code, 0, "they trust the same");
}

#[test]
fn a_store_that_was_damaged_or_cut_off_is_an_error_with_a_cure() {
    let trusted = anchors(&["ec"]);
    let jks = jks::encode(&trusted, &Password::new("changeit"));
    let p12 = pkcs12::encode(&trusted, &Password::new("changeit"), Profile::Modern2023);
    let mut flipped = jks.clone();
    flipped[100] ^= 1;
    for (store, code, words) in [
        (&jks[..jks.len() / 2], 2, "JKS: malformed JKS entry; copy the file again, as binary"),
        (&flipped[..], 1, "none of the well-known passwords fits, so nobody knows whether it is undamaged"),
        (&p12[..p12.len() / 2], 2, "PKCS#12: malformed PKCS#12 store; copy the file again, as binary"),
    ] {
        let output = inspect_with(&["-"], store);
        assert!(output.errors.contains(words), "{}", output.errors);
        assert!(output.code == code || output.code == 0, "{}", output.code);
    }
}
