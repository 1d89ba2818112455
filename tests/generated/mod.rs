//! Parts of the documentation that are generated.

use std::fs;
use std::path::Path;

/// Checks that a page holds a text between the marks of its name, or puts it there where `REWRITE` is set.
pub(crate) fn check(page: &str, name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let written = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{page}: {error}"));
    let (start, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = written.split_once(&start).unwrap_or_else(|| panic!("{page} has no mark {start:?}"));
    let (between, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{page} has no mark {end:?}"));
    if between == text {
        return;
    }
    assert!(
        std::env::var_os("REWRITE").is_some(),
        "{page} is not what the program says: run `make references`; between {start:?} and {end:?} has to be:\n{text}"
    );
    fs::write(&file, format!("{before}{start}{text}{end}{after}")).unwrap_or_else(|error| panic!("{page}: {error}"));
}
