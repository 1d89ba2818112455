//! Passwords of keystores: from a flag, a file or a prompt.

use std::fs;
use std::io::{IsTerminal, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::inspect::Passwords;
use crate::text;
use crate::trust::Password;

/// Returns the passwords that the flags give.
pub(super) fn from_flags(password: Option<&str>, file: Option<&Path>) -> anyhow::Result<Passwords> {
    Ok(match (password, file) {
        (Some(password), _) => Passwords::Given(Password::new(password)),
        (None, Some(file)) => {
            let text = fs::read_to_string(file).with_context(|| format!("read password file {}", file.display()))?;
            Passwords::Given(Password::new(text.lines().next().unwrap_or_default()))
        }
        (None, None) => Passwords::WellKnown,
    })
}

/// Prompts for a password at the terminal; `None` if there is no terminal.
pub(super) fn prompt(what: &str) -> anyhow::Result<Option<Password>> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(None);
    }
    let _echo_off = EchoOff::begin()?;
    eprint!("Password of {}: ", text::Escaped(what));
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("read the password")?;
    eprintln!();
    Ok(Some(Password::new(line.trim_end_matches(['\r', '\n']))))
}

/// Guard that turns off the echo of the terminal until it is dropped.
struct EchoOff;

impl EchoOff {
    fn begin() -> anyhow::Result<Self> {
        if stty("-echo") {
            return Ok(Self);
        }
        bail!("there is no stty, so the password would be shown as you type it: use --password-file");
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        stty("echo");
    }
}

fn stty(setting: &str) -> bool {
    let mut stty = Command::new("stty");
    stty.arg(setting).stdin(Stdio::inherit()).stdout(Stdio::null()).stderr(Stdio::null());
    stty.status().is_ok_and(|status| status.success())
}
