//! Limit on the lines of the log that reviews cause: any client of the port can cause them.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::REVIEW_LOG_LINES;

/// The time for which lines are counted.
const PERIOD: Duration = Duration::from_secs(1);

/// Counter of the lines in the current period and of those left out since the last line.
#[derive(Default)]
pub(super) struct LogBudget(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    began: Option<Instant>,
    written: usize,
    left_out: u64,
}

impl LogBudget {
    /// Returns how many lines were left out before this one; `None` if this one is to be left out, too.
    pub(super) fn line(&self) -> Option<u64> {
        let mut lines = self.0.lock().expect("no holder of the lock panics");
        let now = Instant::now();
        if lines.began.is_none_or(|began| now.duration_since(began) >= PERIOD) {
            (lines.began, lines.written) = (Some(now), 0);
        }
        if lines.written == REVIEW_LOG_LINES.max {
            lines.left_out += 1;
            return None;
        }
        lines.written += 1;
        Some(std::mem::take(&mut lines.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_second_has_some_lines_and_the_next_one_counts_those_left_out() {
        let budget = LogBudget::default();
        let written = (0..1_000).filter(|_| budget.line().is_some()).count();
        assert_eq!(written, REVIEW_LOG_LINES.max);
        tokio::time::advance(PERIOD).await;
        assert_eq!(budget.line(), Some(1_000 - written as u64));
        assert_eq!(budget.line(), Some(0));
    }
}
