//! Progress of long reads, at a terminal.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// The time after which progress is shown.
const SHOW_AFTER: Duration = Duration::from_millis(500);

/// A line on standard error that is overwritten by each update, and cleared on drop.
pub(super) struct ReadProgress {
    began: Instant,
    terminal: bool,
    shown: Cell<bool>,
}

impl ReadProgress {
    /// Starts the clock.
    pub(super) fn begin() -> Self {
        Self { began: Instant::now(), terminal: std::io::stderr().is_terminal(), shown: Cell::new(false) }
    }

    /// Shows that `count` objects of this kind are read, if the reads take long.
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
