//! `rootcast inspect`, by the program.

#[path = "../absent/mod.rs"]
mod absent;
mod files;
mod hostile;
mod keystores;
mod manifests;
mod servers;
mod structures;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Exit code and output of one run.
struct ProgramOutput {
    code: i32,
    out: String,
    errors: String,
}

impl ProgramOutput {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.errors))
    }

    /// The fingerprints of all certificates, sorted.
    fn fingerprints(&self) -> Vec<String> {
        let document = self.json();
        let found = document["certificates"].as_array().expect("certificates").iter();
        let mut found: Vec<String> =
            found.map(|found| found["fingerprint"].as_str().expect("text").to_owned()).collect();
        found.sort();
        found
    }
}

fn inspect(arguments: &[&str]) -> ProgramOutput {
    inspect_with(arguments, b"")
}

fn inspect_with(arguments: &[&str], input: &[u8]) -> ProgramOutput {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rootcast"))
        .arg("inspect")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("rootcast starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let Output { status, stdout, stderr } = child.wait_with_output().expect("rootcast ends");
    writer.join().expect("written");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    ProgramOutput { code: status.code().expect("it was not killed"), out: text(stdout), errors: text(stderr) }
}

/// The file of a recorded certificate.
fn certificate(name: &str) -> String {
    repository(&format!("tests/cases/certs/{name}.pem"))
}

fn repository(path: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string()
}
