//! Cleaning up after us, however we end: by return, panic or a kill.
//!
//! A janitor is a tiny shell process that holds the read end of a pipe whose only
//! write end is ours. The kernel closes it when we end, and then the janitor does its
//! duty. A static, which is never dropped, needs no care of its own.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result};

/// A janitor at work. Dropping it sees its duty done.
#[derive(Debug)]
pub(crate) struct Janitor(Child);

impl Janitor {
    /// Hires one whose duty is this shell script, with these arguments.
    pub(crate) fn hire(duty: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Self> {
        Self::hire_with(duty, args, Stdio::null())
    }

    /// The same, who holds a file open for as long as it is at work.
    pub(crate) fn hire_holding(
        file: File,
        duty: &str,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<Self> {
        Self::hire_with(duty, args, file.into())
    }

    fn hire_with(duty: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>, out: Stdio) -> Result<Self> {
        let janitor = Command::new("sh")
            .args(["-c", &format!("read -r _\n{duty}"), "janitor"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("starting a janitor")?;
        Ok(Self(janitor))
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It ends by itself; waiting makes "dropped" mean "gone".
        let _: io::Result<_> = self.0.wait();
    }
}
