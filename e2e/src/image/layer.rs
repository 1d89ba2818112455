//! A layer: files with modes, owned by root, without times.

use std::path::Path;

use anyhow::{Context as _, Result};
use tar::{Builder, EntryType, Header};

/// The files of one layer, as an uncompressed tar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer(Vec<u8>);

/// What a layer puts at a path.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// A file with this mode. Folders above it are made by whoever unpacks it.
    File(u32, &'a [u8]),
    /// A folder with this mode.
    Folder(u32),
    /// A symbolic link to there.
    Link(&'a str),
}

impl Layer {
    /// These files, in this order, by their paths from the root.
    ///
    /// # Errors
    /// When a path leads out of the root.
    pub fn new<'a>(entries: impl IntoIterator<Item = (&'a str, Entry<'a>)>) -> Result<Self> {
        let mut tar = Builder::new(Vec::new());
        for (path, entry) in entries {
            add(&mut tar, path.trim_start_matches('/'), entry).with_context(|| format!("adding {path} to a layer"))?;
        }
        Ok(Self(tar.into_inner()?))
    }

    /// A tar that was made elsewhere, as it is.
    #[must_use]
    pub fn from_tar(tar: Vec<u8>) -> Self {
        Self(tar)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

fn add(tar: &mut Builder<Vec<u8>>, path: &str, entry: Entry<'_>) -> Result<()> {
    let path = Path::new(path);
    Ok(match entry {
        Entry::File(mode, bytes) => {
            let mut header = header(EntryType::Regular, mode);
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, path, bytes)
        }
        Entry::Folder(mode) => tar.append_data(&mut header(EntryType::Directory, mode), path, &[][..]),
        Entry::Link(to) => tar.append_link(&mut header(EntryType::Symlink, 0o777), path, to),
    }?)
}

/// The header of an entry of root's, without time and size.
pub(super) fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}
