//! Sentences of bounded length.

/// The most characters of a warning that the API server shows for sure
/// (<https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#response>).
pub(super) const WARNING_MAX: usize = 256;

/// The most characters of a name that others chose.
pub(super) const NAME_MAX: usize = 40;

/// A warning as it is sent: no longer than allowed, and without the control characters that a header cannot hold.
pub(super) fn warning(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    shorten(&text, WARNING_MAX)
}

/// At most so many characters; what is cut off is an ellipsis then.
pub(super) fn shorten(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some(_) => text.chars().take(max.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// A name that others chose, in quotes.
pub(super) fn quoted(name: &str) -> String {
    format!("{:?}", shorten(name, NAME_MAX))
}

/// Names that others chose: the first two, and how many there are beside.
pub(super) fn some<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.into_iter().map(quoted).collect();
    match names.as_slice() {
        [first, second, rest @ ..] if !rest.is_empty() => format!("{first}, {second} and {} more", rest.len()),
        few => few.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_ends_with_an_ellipsis_and_a_short_one_stays() {
        assert_eq!(shorten("größer", 6), "größer");
        assert_eq!(shorten("größer", 5), "größ…");
        assert_eq!(shorten("", 0), "");
        assert_eq!(warning(&"ä".repeat(300)).chars().count(), WARNING_MAX);
        assert_eq!(warning("a\nb\u{7f}c"), "a b c");
    }

    #[test]
    fn many_names_are_counted() {
        assert_eq!(some([]), "");
        assert_eq!(some(["a"]), r#""a""#);
        assert_eq!(some(["a", "b"]), r#""a", "b""#);
        assert_eq!(some(["a", "b", "c", "d"]), r#""a", "b" and 2 more"#);
    }
}
