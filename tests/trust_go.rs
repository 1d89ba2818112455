//! The parser beside Go's: the same verdict, subject, validity and CA flag for certificates that are nearly right.
//!
//! Needs Go. `MUTATIONS` in the environment sets how many certificates are tried.

mod mutation;

use std::path::Path;
use std::process::Command;

use mutation::{Random, ask, hex, mutate, seeds};
use rootcast::trust::Anchor;

#[test]
fn mutated_certificates_are_judged_as_go_judges_them() {
    let count = std::env::var("MUTATIONS").map_or(20_000, |count| count.parse().unwrap());
    let seeds = seeds();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut certificates = seeds.clone();
    certificates.extend((0..count).map(|_| mutate(&seeds, &mut random)));

    let verdicts = ask_go(&certificates);
    assert_eq!(verdicts.len(), certificates.len());
    let ours = certificates.iter().map(|der| verdict(der));
    let mut accepted = 0;
    let mut differences = Vec::new();
    for ((theirs, ours), der) in verdicts.iter().zip(ours).zip(&certificates) {
        accepted += usize::from(theirs.starts_with("accepted"));
        let both_refuse = theirs.starts_with("refused") && ours.starts_with("refused");
        if !both_refuse && *theirs != ours {
            differences.push(format!("Go: {theirs}\nwe: {ours}\n{}", hex(der)));
        }
    }
    assert!(accepted > count / 20 && accepted < count * 19 / 20, "mutations too wild or too tame: {accepted}");
    let shown = differences.iter().take(10).cloned().collect::<Vec<_>>().join("\n\n");
    assert!(differences.is_empty(), "{} of {} differ\n{shown}", differences.len(), certificates.len());
}

fn verdict(der: &[u8]) -> String {
    match Anchor::from_der(der) {
        Ok(anchor) => format!(
            "accepted\t{}\t{}\t{}\t{}",
            hex(anchor.subject().as_bytes()),
            anchor.not_before(),
            anchor.not_after(),
            anchor.is_ca(),
        ),
        Err(malformed) => format!("refused\t{malformed}"),
    }
}

fn ask_go(certificates: &[Vec<u8>]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("verdict");
    let build = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg("./verdict")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/encode-go"))
        .output()
        .expect("this test needs Go");
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));

    let lines: String = certificates.iter().map(|der| hex(der) + "\n").collect();
    ask(&mut Command::new(program), lines)
}
