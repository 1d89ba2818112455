//! Numbers for people.

use std::time::Duration;

/// A count as a factor.
#[expect(clippy::cast_precision_loss, reason = "counts and bytes here are far below 2^52")]
pub(crate) fn float(count: usize) -> f64 {
    count as f64
}

/// Seconds.
pub(crate) fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

/// Milliseconds of each of `count` pieces.
pub(crate) fn millis_each(time: Duration, count: usize) -> f64 {
    1e3 * seconds(time) / float(count)
}

/// How many times `base` fits into `time`.
pub(crate) fn ratio(time: Duration, base: Duration) -> f64 {
    seconds(time) / seconds(base)
}

/// Mebibytes.
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    float(usize::try_from(bytes).unwrap_or(usize::MAX)) / f64::from(1 << 20)
}

/// The one in the middle, by a key.
///
/// # Panics
/// When there are none.
pub(crate) fn median_by<T, K: Ord>(mut values: Vec<T>, key: impl FnMut(&T) -> K) -> T {
    values.sort_by_key(key);
    let middle = values.len() / 2;
    values.swap_remove(middle)
}
