//! A folder as the kubelet shows a ConfigMap or Secret in: each file is a link through `..data`, a link that is swapped
//! when the object changes, so that all files change at once.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::ControlPlane;

/// The mounted folder.
#[derive(Debug)]
pub struct Volume {
    folder: PathBuf,
    versions: usize,
}

impl Volume {
    /// A folder of the control plane's, without a file so far.
    ///
    /// # Errors
    /// When the control plane's files are gone.
    pub fn new(control_plane: &ControlPlane) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("volume-").tempdir_in(control_plane.scratch.data())?.keep();
        Ok(Self { folder, versions: 0 })
    }

    /// The object now has these keys and no others.
    ///
    /// # Errors
    /// When the control plane's files are gone.
    pub fn show(&mut self, files: &[(&str, &str)]) -> Result<()> {
        self.versions += 1;
        let version = format!("..version-{}", self.versions);
        let step = || format!("showing {version} in {}", self.folder.display());
        let [version_folder, data, next] =
            [version.as_str(), "..data", "..data_tmp"].map(|name| self.folder.join(name));
        let before = fs::read_link(&data).ok();
        fs::create_dir(&version_folder).with_context(step)?;
        for (name, text) in files {
            fs::write(version_folder.join(name), text).with_context(step)?;
        }
        symlink(&version, &next).with_context(step)?;
        fs::rename(&next, &data).with_context(step)?;
        for entry in fs::read_dir(&self.folder).with_context(step)? {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            if !name.starts_with("..") && files.iter().all(|(shown, _)| *shown != name) {
                fs::remove_file(self.folder.join(&*name)).with_context(step)?;
            }
        }
        for (name, _) in files {
            let link = self.folder.join(name);
            if !link.is_symlink() {
                symlink(Path::new("..data").join(name), link).with_context(step)?;
            }
        }
        if let Some(before) = before {
            fs::remove_dir_all(self.folder.join(before)).with_context(step)?;
        }
        Ok(())
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The path of one of its files.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}
