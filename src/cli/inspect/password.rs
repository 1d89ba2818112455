//! Passwords of keystores: from a flag, a file or a prompt.

use std::fs;
use std::io::{ErrorKind, IsTerminal};
use std::path::Path;

use anyhow::Context;

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
    let typed = rpassword::prompt_password(format!("Password of {}: ", text::Escaped(what)));
    // Input that ends at once (Ctrl-D) is the empty password.
    let typed = typed.or_else(|error| match error.kind() {
        ErrorKind::UnexpectedEof => Ok(String::new()),
        _ => Err(error),
    });
    Ok(Some(Password::new(typed.context("read the password")?)))
}
