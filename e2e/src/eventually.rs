//! Waiting for a condition, never for a time.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::Result;

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// Tries `probe` until it succeeds and returns its value.
///
/// # Panics
/// After `timeout`, with `what` and the last error; the panic also prints where
/// the logs of the control planes in use are. A probe that does not answer
/// counts as well.
pub async fn eventually<T, F>(what: &str, timeout: Duration, mut probe: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T>>,
{
    let began = Instant::now();
    let mut last = None;
    let found = tokio::time::timeout(timeout, async {
        loop {
            match probe().await {
                Ok(value) => return value,
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
    match (found, last) {
        (Ok(value), _) => value,
        (Err(_), Some(error)) => panic!("{what}: not within {:.1?}: {error:#}", began.elapsed()),
        (Err(_), None) => panic!("{what}: no answer within {:.1?}", began.elapsed()),
    }
}

/// How long one answer may take before it is asked for again.
const ANSWER: Duration = Duration::from_secs(5);

/// [`eventually`] for programs that are starting: gives up, with its error, as soon as `alive` fails.
///
/// # Errors
/// That of `alive`, or the last of `probe` after `timeout`.
pub(crate) async fn until<T, F>(
    what: &str,
    timeout: Duration,
    mut alive: impl FnMut() -> Result<()>,
    mut probe: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let began = Instant::now();
    loop {
        let trouble = match tokio::time::timeout(ANSWER, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(late) => late.into(),
        };
        alive()?;
        if began.elapsed() > timeout {
            return Err(trouble.context(format!("{what}: not within {timeout:?}")));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use anyhow::ensure;

    use super::*;

    #[tokio::test]
    async fn the_first_success_is_returned() {
        let tries = AtomicUsize::new(0);
        let found = eventually("three tries", Duration::from_secs(10), async || {
            let now = tries.fetch_add(1, Ordering::Relaxed);
            ensure!(now >= 2, "only {now}");
            Ok(now)
        })
        .await;
        assert_eq!(found, 2);
    }

    #[tokio::test]
    #[should_panic(expected = "the impossible: not within")]
    async fn a_timeout_names_what_was_waited_for() {
        eventually("the impossible", Duration::from_millis(120), async || -> Result<()> { anyhow::bail!("still not") })
            .await;
    }
}
