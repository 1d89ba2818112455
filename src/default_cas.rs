//! Default CAs: a package file, the built-in Mozilla roots or the machine's own store.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::bundle::DefaultCas;
use crate::trust::{Anchor, Anchors, Fingerprint, PemError, pem};

/// Provider of the default CAs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DefaultCasProvider {
    /// Package file in the format of trust-manager's package images.
    Package(PathBuf),
    /// Mozilla's roots, built into this program.
    Mozilla,
    /// Certificate store of the machine.
    System,
    /// No default CAs: a Bundle that includes them is refused.
    None,
}

/// Error that loading the default CAs returns; its text includes the cause, so it has no `source`.
#[derive(Debug, thiserror::Error)]
pub enum DefaultCasError {
    /// File name without the extension `.json`.
    #[error("default package {0}: the file name must end in .json")]
    FileName(PathBuf),
    /// Package file that cannot be read.
    #[error("default package {0}: {1}")]
    Read(PathBuf, std::io::Error),
    /// Package file that is not the JSON of a package.
    #[error("default package {0}: {1}")]
    Json(PathBuf, serde_json::Error),
    /// Package field that is missing or empty.
    #[error("default package {0}: field {1:?} must not be empty")]
    EmptyField(PathBuf, &'static str),
    /// Package whose certificates are not valid PEM.
    #[error("default package {0}: invalid PEM data: {1}")]
    Pem(PathBuf, PemError),
    /// Package or store without any certificate.
    #[error("{0} holds no certificates")]
    NoCertificates(String),
    /// Store of the machine that cannot be read.
    #[error("system certificate store: {0}")]
    System(String),
}

/// Default CAs, and a log message for each certificate that was left out of them.
pub type LoadedDefaultCas = (Option<DefaultCas>, Vec<String>);

/// Loads the default CAs.
///
/// # Errors
/// If the provider has any and they cannot be loaded as a whole.
pub fn load(provider: &DefaultCasProvider) -> Result<LoadedDefaultCas, DefaultCasError> {
    match provider {
        DefaultCasProvider::None => Ok((None, Vec::new())),
        DefaultCasProvider::Package(path) => package(path),
        DefaultCasProvider::Mozilla => {
            let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
            from_store("mozilla", roots.iter().map(AsRef::as_ref))
        }
        DefaultCasProvider::System => {
            let found = rustls_native_certs::load_native_certs();
            if !found.errors.is_empty() {
                let causes: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
                return Err(DefaultCasError::System(causes.join("; ")));
            }
            from_store("system", found.certs.iter().map(AsRef::as_ref))
        }
    }
}

#[derive(Deserialize)]
struct Package {
    #[serde(default)]
    name: String,
    #[serde(default)]
    bundle: String,
    #[serde(default)]
    version: String,
}

fn package(path: &Path) -> Result<LoadedDefaultCas, DefaultCasError> {
    let at = || path.to_owned();
    if path.extension().is_none_or(|extension| extension != "json") {
        return Err(DefaultCasError::FileName(at()));
    }
    let text = std::fs::read(path).map_err(|error| DefaultCasError::Read(at(), error))?;
    let Package { name, bundle, version } =
        serde_json::from_slice(&text).map_err(|error| DefaultCasError::Json(at(), error))?;
    for (field, value) in [("name", &name), ("version", &version)] {
        if value.is_empty() {
            return Err(DefaultCasError::EmptyField(at(), field));
        }
    }
    let mut notes = Vec::new();
    let mut anchors = Vec::new();
    for block in pem::read(bundle.as_bytes()).map_err(|error| DefaultCasError::Pem(at(), error))? {
        match block.certificate {
            Ok(anchor) => anchors.push(anchor),
            Err(rejected) => notes.push(format!("default package line {}: {rejected}", block.line)),
        }
    }
    if anchors.is_empty() {
        return Err(DefaultCasError::NoCertificates(format!("default package {}", path.display())));
    }
    let version = format!("{name}-{version}-{}", digest(&bundle));
    Ok((Some(DefaultCas { version, anchors }), notes))
}

/// Collects the usable certificates of a store; the notes name those that are left out.
fn from_store<'a>(
    name: &str,
    certificates: impl Iterator<Item = &'a [u8]>,
) -> Result<LoadedDefaultCas, DefaultCasError> {
    let mut notes = Vec::new();
    let mut found = Vec::new();
    for der in certificates {
        match Anchor::from_der(der.to_vec()) {
            Ok(anchor) => found.push(anchor),
            Err(malformed) => notes.push(format!("{name} roots: left out: {malformed}")),
        }
    }
    let Some(anchors) = Anchors::collect(found) else {
        return Err(DefaultCasError::NoCertificates(format!("{name} roots")));
    };
    let version = format!("{name}-{}", digest(&anchors.to_pem()));
    Ok((Some(DefaultCas { version, anchors: anchors.iter().cloned().collect() }), notes))
}

/// Formats the first eight bytes of the SHA-256 of a text as 16 hex digits.
fn digest(text: &str) -> String {
    let mut hex = Fingerprint::of(text.as_bytes()).to_string();
    hex.truncate(16);
    hex
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;

    const ROOT: &str = include_str!("../tests/cases/certs/rsa.pem");

    fn load_package(name: &str, content: &Value) -> Result<LoadedDefaultCas, DefaultCasError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        fs::write(&path, content.to_string()).expect("written");
        load(&DefaultCasProvider::Package(path))
    }

    #[test]
    fn a_package_is_versioned_by_name_version_and_content() {
        let package = json!({ "name": "n", "version": "1", "bundle": format!("# a comment\n{ROOT}") });
        let (cas, notes) = load_package("p.json", &package).expect("a package");
        let cas = cas.expect("default CAs");
        assert_eq!((cas.anchors.len(), notes.len()), (1, 0));
        let (start, digest) = cas.version.rsplit_once('-').expect("three parts");
        assert_eq!((start, digest.len()), ("n-1", 16));
    }

    #[test]
    fn a_package_that_cannot_be_loaded_is_refused_with_its_cause() {
        let good = json!({ "name": "n", "version": "1", "bundle": ROOT });
        let with = |field: &str, value: &str| {
            let mut package = good.clone();
            package[field] = json!(value);
            package
        };
        let table = [
            ("p.yaml", good.clone(), "must end in .json"),
            ("p.json", json!("text"), "invalid type"),
            ("p.json", with("name", ""), "\"name\" must not be empty"),
            ("p.json", with("version", ""), "\"version\" must not be empty"),
            ("p.json", with("bundle", "nothing"), "holds no certificates"),
            (
                "p.json",
                with("bundle", "-----BEGIN CERTIFICATE-----\n"),
                "invalid PEM data: invalid PEM block in bundle; it has no END line (block 1, line 1)",
            ),
        ];
        for (name, package, words) in table {
            let error = load_package(name, &package).expect_err(words).to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
        assert!(
            load(&DefaultCasProvider::Package("/absent.json".into()))
                .expect_err("absent")
                .to_string()
                .contains("/absent.json")
        );
    }

    #[test]
    fn the_built_in_roots_are_all_usable_and_always_the_same_version() {
        let (cas, notes) = load(&DefaultCasProvider::Mozilla).expect("built in");
        let cas = cas.expect("default CAs");
        assert!(cas.anchors.len() > 100 && notes.is_empty(), "{notes:?}");
        assert_eq!(load(&DefaultCasProvider::Mozilla).expect("built in").0.expect("default CAs").version, cas.version);
        assert!(cas.version.starts_with("mozilla-"));
    }

    #[test]
    fn a_certificate_of_a_store_that_cannot_be_used_is_left_out_and_named() {
        let root = pem::read(ROOT.as_bytes()).expect("PEM").remove(0).certificate.expect("a certificate");
        let (cas, notes) = from_store("some", [root.der(), b"junk"].into_iter()).expect("one root");
        assert_eq!(cas.expect("default CAs").anchors.len(), 1);
        assert!(notes[0].starts_with("some roots: left out: "), "{notes:?}");
        assert!(from_store("some", [].into_iter()).is_err());
    }
}
