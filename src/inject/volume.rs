//! Names of injected volumes.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// The maximum length of a volume's name, in characters: that of an RFC 1123 label.
const NAME_MAX: usize = 63;

/// The number of bytes of the digest in a name.
const DIGEST: usize = 4;

/// Returns the name of the volume for an object.
///
/// It is `owner-object` if that is an RFC 1123 label, else the nearest such label and a digest of the plain name. Equal
/// arguments give equal names in every version: reviews of an injected pod find its volume by the name.
pub(super) fn volume_name(owner: &str, object: &str) -> String {
    let plain = format!("{owner}-{object}");
    if is_label(&plain) {
        return plain;
    }
    let prefix_max = NAME_MAX - 2 * DIGEST - 1;
    let prefix: String =
        plain.to_ascii_lowercase().chars().map(|c| if is_inner(c) { c } else { '-' }).take(prefix_max).collect();
    let mut name = prefix.trim_matches('-').to_owned();
    if !name.is_empty() {
        name.push('-');
    }
    for byte in Sha256::digest(plain).iter().take(DIGEST) {
        write!(name, "{byte:02x}").expect("writing to a String never fails");
    }
    name
}

fn is_label(text: &str) -> bool {
    text.len() <= NAME_MAX && text.chars().all(is_inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_inner(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_plain_name_stays_and_others_get_a_digest() {
        let long = "a".repeat(253);
        let table = [
            ("rootcast", "corp", "rootcast-corp".to_owned()),
            ("cainjector", "my-org.com", "cainjector-my-org-com-b24f3702".to_owned()),
            ("rootcast", &long, format!("rootcast-{}-", "a".repeat(45))),
            ("Our_CA", "x", "our-ca-x-".to_owned()),
            ("", "", String::new()),
        ];
        for (owner, object, expected) in table {
            let name = volume_name(owner, object);
            assert!(name.starts_with(&expected), "{owner} {object}: {name}");
        }
        assert_ne!(volume_name("rootcast", "a.b"), volume_name("rootcast", "a-b"));
        assert_ne!(volume_name("rootcast", &long), volume_name("rootcast", &long[1..]));
    }

    proptest! {
        #[test]
        fn every_name_is_a_label_and_stable(owner in ".{0,80}", object in "[a-z0-9.-]{0,253}|.{0,80}") {
            let name = volume_name(&owner, &object);
            prop_assert!(!name.is_empty() && is_label(&name), "{}", name);
            prop_assert_eq!(name, volume_name(&owner, &object));
        }
    }
}
