//! The demo tells its whole scenario and leaves nothing behind.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

#[test]
fn the_demo_tells_its_story_and_ends_well() {
    let output = demo().arg("--once").output().unwrap();
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

const STORY: [&str; 18] = [
    "Kubernetes v1.36",
    "bundle.trust.cert-manager.io/public-and-private created",
    "CN=Example Lab Root CA,O=Example Corp",
    "public CAs",
    "truststore.p12, ",
    "The new root is in all 16 targets",
    "CN=Example Corp Root CA 2,O=Example Corp",
    "Its 3 ConfigMaps are there",
    "It is back after ",
    "Warning: ",
    "pod/app created",
    "\"name\": \"rootcast-payments\"",
    "SSL_CERT_FILE=/etc/rootcast/payments/ca-bundle.crt",
    "SourceBuildError",
    "not one target was touched",
    "must request default CAs either once or not at all but got 2 requests",
    "37 targets had to be written in this scenario; the controller sent 37 writes.",
    "Everything is stopped and removed",
];

#[test]
fn left_to_itself_it_stays_up_until_ctrl_c_and_removes_everything() {
    let mut demo = demo().stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map(Result::unwrap);
    let kubeconfig = lines.find_map(|line| Some(line.split_once("export KUBECONFIG=")?.1.to_owned())).unwrap();
    lines.find(|line| line.starts_with("Logs of ")).expect("its last words before it waits");
    assert!(Path::new(&kubeconfig).exists());

    let interrupt = Command::new("sh").args(["-c", &format!("kill -s INT {}", demo.id())]).status().unwrap();
    assert!(interrupt.success());
    assert!(lines.any(|line| line.contains("Everything is stopped and removed")));
    assert!(demo.wait().unwrap().success());
    assert!(!Path::new(&kubeconfig).exists());
}

#[test]
fn what_it_does_not_know_it_does_not_do() {
    for (arguments, words) in [
        (&["--twice"][..], "--twice: there is no such argument"),
        (&["--once", "--program"], "--program: a file is missing"),
    ] {
        let output = demo().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let usage = "usage: demo [--once] [--program FILE]";
        assert_eq!(String::from_utf8(output.stderr).unwrap(), format!("{words}\n{usage}\n"));
    }
}

fn demo() -> Command {
    Command::new(env!("CARGO_BIN_EXE_demo"))
}
