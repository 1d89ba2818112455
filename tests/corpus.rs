//! Replays the seeds and the finds of the fuzzers: tests/corpus/NAME, each file one input.

#[path = "corpus/targets.rs"]
mod targets;

use std::fs;
use std::path::Path;

#[test]
fn no_input_of_a_corpus_is_a_panic() {
    for (name, target) in targets::ALL {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
        let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!files.is_empty(), "there is no input in {}", folder.display());
        for file in files {
            println!("{}", file.display());
            target(&fs::read(file).unwrap());
        }
    }
}
