//! A wall clock that jumps while the program that reads it runs.

use std::{fs, os::unix::fs::FileExt as _, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use jiff::SignedDuration;

use crate::ControlPlane;

/// The wall clock of the controllers that are started with it. It takes the C compiler that Rust links with.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    offset: PathBuf,
}

impl Clock {
    /// A clock that is right.
    ///
    /// # Errors
    /// When `cc` is missing.
    pub fn new(control_plane: &ControlPlane) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("clock-").tempdir_in(control_plane.scratch.data())?.keep();
        let clock = Self { library: folder.join("clock.so"), offset: folder.join("offset") };
        let source = folder.join("clock.c");
        fs::write(&source, include_str!("clock.c"))?;
        let output =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&clock.library).arg(&source).output();
        let output = output.context("running cc")?;
        ensure!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
        fs::write(&clock.offset, 0_i64.to_ne_bytes())?;
        Ok(clock)
    }

    /// Jumps to so far from the right time.
    ///
    /// # Errors
    /// When the control plane's files are gone.
    pub fn jump(&self, offset: SignedDuration) -> Result<()> {
        let file = fs::File::options().write(true).open(&self.offset).context("opening the clock's offset")?;
        // In place: programs have it mapped.
        file.write_all_at(&offset.as_secs().to_ne_bytes(), 0).context("writing the clock's offset")
    }

    /// What a program needs in its environment.
    pub(crate) fn environment(&self) -> [(&str, &PathBuf); 2] {
        [("LD_PRELOAD", &self.library), ("ROOTCAST_CLOCK", &self.offset)]
    }
}
