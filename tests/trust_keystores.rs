//! Other people's programs read our keystores: OpenSSL (required), Java's keytool and Python's cryptography (if present).

mod absent;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use absent::absent;
use rootcast::trust::{Anchor, Anchors, Password, Profile, jks, pem, pkcs12};

const PASSWORD: &str = "changeit \"quoted\" & more";
const PROFILES: [Profile; 3] = [Profile::LegacyRc2, Profile::LegacyDes, Profile::Modern2023];

/// Mozilla's roots and the recorded odd ones, those left out that the program at hand cannot read.
fn anchors(unreadable: &[&str]) -> Anchors {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/certs");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let readable = paths.filter(|path| !unreadable.contains(&path.file_stem().unwrap().to_str().unwrap()));
    let recorded = readable.filter_map(|path| pem::read(&std::fs::read(path).unwrap()).ok()).flatten();
    let mozilla = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|der| Anchor::from_der(der.to_vec()).unwrap());
    Anchors::collect(recorded.map(|block| block.certificate.unwrap()).chain(mozilla)).unwrap()
}

/// Every PKCS#12 keystore: its file, its password, and the profile if there is a password.
fn pkcs12_files(folder: &Path, anchors: &Anchors) -> Vec<(PathBuf, &'static str, Option<Profile>)> {
    let protected = PROFILES.map(|profile| (PASSWORD, Some(profile)));
    let all = protected.into_iter().chain([("", None)]);
    let write = |(password, profile): (&'static str, Option<Profile>)| {
        let path = folder.join(format!("{profile:?}.p12"));
        let store = pkcs12::encode(anchors, &Password::new(password), profile.unwrap_or(Profile::Modern2023));
        std::fs::write(&path, store).unwrap();
        (path, password, profile)
    };
    all.map(write).collect()
}

/// Runs a program; `None` if there is none.
fn run(command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("{command:?}: {error}"),
    }
}

fn text(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{errors}\n{text}");
    text
}

#[test]
fn openssl_reads_every_pkcs12_keystore() {
    let folder = tempfile::tempdir().unwrap();
    let anchors = anchors(&[]);
    for (path, password, profile) in pkcs12_files(folder.path(), &anchors) {
        let mut command = Command::new("openssl");
        command.args(["pkcs12", "-nokeys", "-passin"]).arg(format!("pass:{password}")).arg("-in").arg(&path);
        match profile {
            Some(Profile::LegacyRc2) => command.arg("-legacy"),
            Some(_) => &mut command,
            None => command.arg("-nomacver"),
        };
        let output = text(&run(&mut command).expect("openssl is required by this test"));
        let certificates: Vec<&str> = output.split("-----BEGIN CERTIFICATE-----").skip(1).collect();
        let clean: String = certificates.iter().fold(String::new(), |mut clean, block| {
            let (body, _attributes) = block.split_once("-----END CERTIFICATE-----").unwrap();
            writeln!(clean, "-----BEGIN CERTIFICATE-----{body}-----END CERTIFICATE-----").unwrap();
            clean
        });
        assert_eq!(clean.trim_end(), anchors.to_pem(), "{profile:?}");
        let first = anchors.iter().next().unwrap().fingerprint().short();
        assert!(output.contains(&format!("friendlyName: {first}|")), "{profile:?}");
    }
}

#[test]
fn keytool_lists_every_keystore() {
    // Java refuses a whole keystore over one certificate whose issuer is empty.
    let anchors = anchors(&["nosubject"]);
    let folder = tempfile::tempdir().unwrap();
    let mut files = pkcs12_files(folder.path(), &anchors);
    let store = folder.path().join("store.jks");
    std::fs::write(&store, jks::encode(&anchors, &Password::new(PASSWORD))).unwrap();
    files.push((store, PASSWORD, None));
    for (path, password, profile) in files {
        let mut command = Command::new("keytool");
        command.args(["-J-Duser.language=en", "-list", "-keystore"]).arg(&path).args(["-storepass", password]);
        let Some(output) = run(&mut command) else {
            return absent("keytool");
        };
        let output = text(&output);
        let entries = output.matches("trustedCertEntry").count();
        assert_eq!(entries, anchors.len(), "{} {profile:?}", path.display());
        for anchor in &anchors {
            let digits = anchor.fingerprint().to_string().to_uppercase();
            let pairs: Vec<&str> = (0..32).map(|at| &digits[2 * at..2 * at + 2]).collect();
            assert!(output.contains(&pairs.join(":")), "{anchor:?} is missing in {}", path.display());
        }
    }
}

#[test]
fn openssl_and_keytool_open_keystores_without_any_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (open, protected) = (Password::new(""), Password::new(PASSWORD));
    let stores = PROFILES.map(|profile| (Some(profile), pkcs12::encode(None, &protected, profile)));
    let stores = stores.into_iter().chain([(None, pkcs12::encode(None, &open, Profile::Modern2023))]);
    let mut files = Vec::new();
    for (profile, store) in stores {
        let path = folder.path().join(format!("{profile:?}.p12"));
        std::fs::write(&path, store).unwrap();
        let password = if profile.is_some() { PASSWORD } else { "" };
        let mut command = Command::new("openssl");
        command.args(["pkcs12", "-nokeys", "-passin"]).arg(format!("pass:{password}")).arg("-in").arg(&path);
        match profile {
            Some(Profile::LegacyRc2) => command.arg("-legacy"),
            Some(_) => &mut command,
            None => command.arg("-nomacver"),
        };
        let output = text(&run(&mut command).expect("openssl is required by this test"));
        assert!(!output.contains("BEGIN CERTIFICATE"), "{profile:?}: {output}");
        files.push((path, password, "PKCS12"));
    }
    let store = folder.path().join("store.jks");
    std::fs::write(&store, jks::encode(None, &protected)).unwrap();
    files.push((store, PASSWORD, "JKS"));
    for (path, password, kind) in files {
        let mut command = Command::new("keytool");
        // Programs name the type, or mean PKCS12; keytool alone guesses, by lengths that an empty PKCS12 does not reach.
        command.args(["-J-Duser.language=en", "-list", "-storetype", kind, "-keystore"]).arg(&path);
        command.args(["-storepass", password]);
        let Some(output) = run(&mut command) else {
            return absent("keytool");
        };
        let output = text(&output);
        assert!(output.contains("contains 0 entries"), "{}: {output}", path.display());
    }
}

#[test]
fn python_cryptography_reads_every_pkcs12_keystore() {
    const SCRIPT: &str = "
import sys
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12
store = pkcs12.load_pkcs12(open(sys.argv[1], 'rb').read(), sys.argv[2].encode() or None)
for certificate in store.additional_certs:
    print(certificate.certificate.public_bytes(Encoding.PEM).decode().strip())
";
    let present = run(Command::new("python3").args(["-c", "import cryptography"]));
    if present.is_none_or(|output| !output.status.success()) {
        return absent("python3 with cryptography");
    }
    let folder = tempfile::tempdir().unwrap();
    let anchors = anchors(&[]);
    for (path, password, profile) in pkcs12_files(folder.path(), &anchors) {
        let output = run(Command::new("python3").args(["-c", SCRIPT]).arg(&path).arg(password)).unwrap();
        assert_eq!(text(&output).trim_end(), anchors.to_pem(), "{profile:?}");
    }
}
