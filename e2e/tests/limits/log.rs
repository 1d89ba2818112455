//! What may be in a log, and what may not.

/// The longest run of base64 that is not taken for content, in characters.
const RUN: usize = 60;

/// A value that scenarios put into Secrets beside certificates.
pub(crate) const PASSWORD: &str = "correct-horse-battery-staple";

/// Neither certificates nor what is beside them in a Secret.
///
/// # Panics
/// With the line that holds any.
pub(crate) fn betrays_nothing(log: &str) {
    assert!(!log.is_empty(), "there is a log");
    for line in log.lines() {
        assert!(!line.contains("BEGIN CERTIFICATE") && !line.contains(PASSWORD), "{line}");
        let run = line.split(|letter: char| !is_base64(letter)).find(|run| run.len() > RUN && !is_digest(run));
        assert_eq!(run, None, "{line}");
    }
}

fn is_base64(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '+' | '/' | '=')
}

/// SHA-256 names a certificate and is no part of it.
fn is_digest(run: &str) -> bool {
    run.len() == 64 && run.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit))
}

#[test]
fn content_is_recognised_and_digests_are_not_taken_for_it() {
    let digest = "0123456789abcdef".repeat(4);
    betrays_nothing(&format!("certificate SHA-256 {digest} expired\nsource ConfigMap cert-manager/a changed"));
    for line in [format!("x{digest}"), "MIIB+/".repeat(11), "-----BEGIN CERTIFICATE-----".into(), PASSWORD.into()] {
        let told = std::panic::catch_unwind(|| betrays_nothing(&line));
        assert!(told.is_err(), "{line}");
    }
}
