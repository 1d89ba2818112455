//! The default CAs: a package file, the built-in Mozilla roots or the machine's own store.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::bundle::DefaultCas;
use crate::trust::{Anchor, Anchors, Fingerprint, PemError, pem};

/// Where default CAs come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A package file, as trust-manager's package images hold it.
    Package(PathBuf),
    /// Mozilla's roots, built into this program.
    Mozilla,
    /// The certificate store of the machine.
    System,
    /// Nowhere: a Bundle that asks for default CAs is refused.
    None,
}

/// Why there are no default CAs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file's name is not that of a package.
    #[error("default package {0}: the file name must end in .json")]
    Name(PathBuf),
    /// The file cannot be read.
    #[error("default package {0}: {1}")]
    Read(PathBuf, #[source] std::io::Error),
    /// The file is no package.
    #[error("default package {0}: {1}")]
    Json(PathBuf, #[source] serde_json::Error),
    /// A field is empty.
    #[error("default package {0}: field {1:?} must not be empty")]
    Empty(PathBuf, &'static str),
    /// The certificates cannot be read.
    #[error("default package {0}: invalid PEM data: {1}")]
    Pem(PathBuf, #[source] PemError),
    /// There is no certificate.
    #[error("{0} holds no certificates")]
    Nothing(String),
    /// The machine's store cannot be read.
    #[error("system certificate store: {0}")]
    System(String),
}

/// The default CAs, and what was left out of them, in words for a log.
pub type Loaded = (Option<DefaultCas>, Vec<String>);

/// Loads the default CAs, once, at start.
///
/// # Errors
/// When they were asked for and cannot be had whole.
pub fn load(origin: &Origin) -> Result<Loaded, Error> {
    match origin {
        Origin::None => Ok((None, Vec::new())),
        Origin::Package(path) => package(path),
        Origin::Mozilla => {
            let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
            from_store("mozilla", roots.iter().map(AsRef::as_ref))
        }
        Origin::System => {
            let found = rustls_native_certs::load_native_certs();
            if found.certs.is_empty() && !found.errors.is_empty() {
                let causes: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
                return Err(Error::System(causes.join("; ")));
            }
            let (cas, mut notes) = from_store("system", found.certs.iter().map(AsRef::as_ref))?;
            notes.extend(found.errors.iter().map(ToString::to_string));
            Ok((cas, notes))
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

fn package(path: &Path) -> Result<Loaded, Error> {
    let at = || path.to_owned();
    if path.extension().is_none_or(|extension| extension != "json") {
        return Err(Error::Name(at()));
    }
    let text = std::fs::read(path).map_err(|error| Error::Read(at(), error))?;
    let Package { name, bundle, version } = serde_json::from_slice(&text).map_err(|error| Error::Json(at(), error))?;
    for (field, value) in [("name", &name), ("version", &version)] {
        if value.is_empty() {
            return Err(Error::Empty(at(), field));
        }
    }
    let mut notes = Vec::new();
    let mut anchors = Vec::new();
    for block in pem::read(bundle.as_bytes()).map_err(|error| Error::Pem(at(), error))? {
        match block.certificate {
            Ok(anchor) => anchors.push(anchor),
            Err(rejected) => notes.push(format!("default package line {}: {rejected}", block.line)),
        }
    }
    if anchors.is_empty() {
        return Err(Error::Nothing(format!("default package {}", path.display())));
    }
    let version = format!("{name}-{version}-{}", digest(&bundle));
    Ok((Some(DefaultCas { version, anchors }), notes))
}

/// A store is somebody else's: a certificate in it that cannot be used is left out and named, the others count.
fn from_store<'a>(name: &str, certificates: impl Iterator<Item = &'a [u8]>) -> Result<Loaded, Error> {
    let mut notes = Vec::new();
    let mut found = Vec::new();
    for der in certificates {
        match Anchor::from_der(der.to_vec()) {
            Ok(anchor) => found.push(anchor),
            Err(malformed) => notes.push(format!("{name} roots: left out: {malformed}")),
        }
    }
    let Some(anchors) = Anchors::collect(found) else {
        return Err(Error::Nothing(format!("{name} roots")));
    };
    let version = format!("{name}-{}", digest(&anchors.to_pem()));
    Ok((Some(DefaultCas { version, anchors: anchors.iter().cloned().collect() }), notes))
}

/// The first eight bytes of the SHA-256 of the text, as 16 hex digits.
fn digest(text: &str) -> String {
    let mut hex = Fingerprint::of(text.as_bytes()).to_string();
    hex.truncate(16);
    hex
}
