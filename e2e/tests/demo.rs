//! The demo tells its whole story and leaves nothing behind.

use std::process::Command;

#[test]
fn the_demo_tells_its_story_and_ends_well() {
    let output = Command::new(env!("CARGO_BIN_EXE_demo")).arg("--once").output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    let mut rest = told.as_str();
    for words in STORY {
        let Some(at) = rest.find(words) else {
            panic!("{words:?} is missing, or not in its place, in:\n{told}");
        };
        rest = &rest[at + words.len()..];
    }
}

const STORY: [&str; 13] = [
    "Kubernetes v1.36",
    "bundle.trust.cert-manager.io/public-and-private created",
    "CN=Example Lab Root CA,O=Example Corp",
    "public CAs",
    "truststore.p12, ",
    "The new root is in all 16 targets",
    "CN=Example Corp Root CA 2,O=Example Corp",
    "Its 3 ConfigMaps are there",
    "SourceBuildError",
    "not one target was touched",
    "must request default CAs either once or not at all but got 2 requests",
    "37 targets had to be written in this story; the audit log shows 37 writes.",
    "Everything is stopped and removed",
];
