//! Progress of long work, for people at a terminal.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// What is done sooner than this needs no words.
const SHOW_AFTER: Duration = Duration::from_millis(500);

/// One line on standard error, written over and over and gone in the end.
pub(super) struct ReadProgress {
    began: Instant,
    terminal: bool,
    shown: Cell<bool>,
}

impl ReadProgress {
    pub(super) fn begin() -> Self {
        Self { began: Instant::now(), terminal: std::io::stderr().is_terminal(), shown: Cell::new(false) }
    }

    pub(super) fn update(&self, what: &str, count: usize) {
        if self.terminal && self.began.elapsed() > SHOW_AFTER {
            self.shown.set(true);
            eprint!("\r\u{1b}[Kreading {what}: {count}");
        }
    }
}

impl Drop for ReadProgress {
    fn drop(&mut self) {
        if self.shown.get() {
            eprint!("\r\u{1b}[K");
        }
    }
}
