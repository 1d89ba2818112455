//! Files that are polled for changes of their content.
//!
//! It does not matter how they are replaced: written over, renamed, or a volume of symbolic links swapped, as kubelet
//! does.

use std::convert::Infallible;
use std::fmt;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::str::Utf8Error;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{Identity, IdentityError, ReloadableCertificate};

/// The time between two readings of files.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The time after which changed files are read again, until two readings agree: one reading does not show whether a
/// file is complete.
const SETTLING: Duration = Duration::from_millis(100);

/// The most bytes of a file that is read: no `ConfigMap` or Secret is larger.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Keeps a certificate equal to `tls.crt` and `tls.key` in a folder; never ends.
///
/// Files that are missing or not usable leave the certificate as it was; that is logged once, and again when the files
/// have changed.
pub async fn reload_certificate(folder: PathBuf, certificate: ReloadableCertificate) -> Infallible {
    let mut files = PolledFiles::new(vec![folder.join("tls.crt"), folder.join("tls.key")]);
    loop {
        files.changed().await;
        match identity(&files).and_then(|identity| Ok(certificate.replace(&identity)?)) {
            Ok(()) => info!(folder = %folder.display(), until = %end(&certificate), "serving certificate read"),
            Err(cause) if certificate.is_loaded() => {
                warn!(folder = %folder.display(), "the serving certificate stays as it was: {cause}");
            }
            Err(cause) => info!(folder = %folder.display(), "no serving certificate yet: {cause}"),
        }
    }
}

/// Returns when a certificate ends, for the log.
fn end(certificate: &ReloadableCertificate) -> Timestamp {
    let end = certificate.validity().and_then(|(_, end)| Timestamp::from_second(end).ok());
    end.unwrap_or(Timestamp::MAX)
}

/// The reason why the certificate stays as it was.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error("{}: there is no such file", .0.display())]
    Missing(PathBuf),
    #[error("{}: {cause}", .path.display())]
    Unreadable { path: PathBuf, cause: String },
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

fn identity(files: &PolledFiles) -> Result<Identity, ReloadError> {
    let mut bytes = files.last_contents().map(|(path, content)| match content {
        FileContent::Bytes(bytes) => Ok(bytes.clone()),
        FileContent::Missing => Err(ReloadError::Missing(path.to_owned())),
        FileContent::Unreadable(cause) => Err(ReloadError::Unreadable { path: path.to_owned(), cause: cause.clone() }),
    });
    let mut next = || bytes.next().expect("both files are read");
    Ok(Identity { certificate_pem: next()?, key_pem: next()? })
}

/// A parsed file that is polled for changes; a missing file is taken for an empty one.
pub struct PolledFile<T, E> {
    polled: PolledFiles,
    parse: fn(&str) -> Result<T, E>,
}

/// The reason why a file cannot be used, with its path.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", .path.display())]
pub struct PolledFileError<E: fmt::Display> {
    path: PathBuf,
    cause: FileCause<E>,
}

/// The reason why a file cannot be used.
#[derive(Debug, thiserror::Error)]
enum FileCause<E: fmt::Display> {
    #[error("{0}")]
    Unreadable(String),
    #[error("it is no text in UTF-8: {0}")]
    NotUtf8(Utf8Error),
    #[error("{0}")]
    Invalid(E),
}

impl<T, E: fmt::Display> PolledFile<T, E> {
    /// Returns a reader of the file at `path`; errors of `parse` need not name the file.
    pub fn new(path: PathBuf, parse: fn(&str) -> Result<T, E>) -> Self {
        Self { polled: PolledFiles::new(vec![path]), parse }
    }

    /// Reads and parses the file.
    ///
    /// # Errors
    /// When the file cannot be read or parsed; names the file.
    pub fn read(&mut self) -> Result<T, PolledFileError<E>> {
        self.polled.last_read = self.polled.read_all();
        self.value()
    }

    /// Calls `apply` with the parsed content, or the error, each time the file has changed; never ends.
    pub async fn follow(mut self, mut apply: impl FnMut(Result<T, PolledFileError<E>>)) -> Infallible {
        loop {
            self.polled.changed().await;
            apply(self.value());
        }
    }

    fn value(&self) -> Result<T, PolledFileError<E>> {
        let (path, content) = self.polled.last_contents().next().expect("the file is read");
        let value = match content {
            FileContent::Missing => (self.parse)("").map_err(FileCause::Invalid),
            FileContent::Unreadable(cause) => Err(FileCause::Unreadable(cause.clone())),
            FileContent::Bytes(bytes) => match str::from_utf8(bytes) {
                Ok(text) => (self.parse)(text).map_err(FileCause::Invalid),
                Err(error) => Err(FileCause::NotUtf8(error)),
            },
        };
        value.map_err(|cause| PolledFileError { path: path.to_owned(), cause })
    }
}

/// Files and their contents at the last reading; none before the first one.
struct PolledFiles {
    paths: Vec<PathBuf>,
    last_read: Vec<FileContent>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum FileContent {
    Bytes(Vec<u8>),
    Missing,
    /// Holds the cause as text, by which two readings are compared.
    Unreadable(String),
}

impl PolledFiles {
    fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, last_read: Vec::new() }
    }

    /// Waits until the contents differ from those at the last reading.
    async fn changed(&mut self) {
        let mut found = self.read_all();
        while found == self.last_read {
            sleep(POLL_INTERVAL).await;
            found = self.read_all();
        }
        while found != self.last_read {
            self.last_read = found;
            sleep(SETTLING).await;
            found = self.read_all();
        }
    }

    fn read_all(&self) -> Vec<FileContent> {
        self.paths.iter().map(|path| FileContent::of(path)).collect()
    }

    /// Returns the contents at the last reading.
    fn last_contents(&self) -> impl Iterator<Item = (&Path, &FileContent)> {
        self.paths.iter().map(PathBuf::as_path).zip(&self.last_read)
    }
}

impl FileContent {
    fn of(path: &Path) -> Self {
        let mut bytes = Vec::new();
        match fs::File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)) {
            Ok(_) if bytes.len() as u64 > MAX_FILE_BYTES => {
                Self::Unreadable(format!("it is larger than {MAX_FILE_BYTES} bytes"))
            }
            Ok(_) => Self::Bytes(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => Self::Missing,
            Err(error) => Self::Unreadable(error.to_string()),
        }
    }
}
