//! Our encoders beside those that trust-manager uses, in one run: Mozilla's roots in every format.
//!
//! `make bench-encoders`; needs Go. Runs of both sides alternate, so that a noisy machine disturbs both alike.

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use rootcast::trust::{Anchor, Anchors, Password, Profile, jks, pem, pkcs12};

const ROUNDS: usize = 20;
const RUNS: usize = 6;

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("encode");
    let go = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg("./encode")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("encode-go"))
        .status();
    assert!(go.is_ok_and(|status| status.success()), "go build failed: this benchmark needs Go");

    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    let roots = roots.map(|der| Anchor::from_der(der.to_vec()).expect("a Mozilla root"));
    let anchors = Anchors::collect(roots).expect("Mozilla has roots");
    let text = anchors.to_pem();
    let file = folder.path().join("roots.pem");
    std::fs::write(&file, &text).expect("a file in the temporary folder");

    let password = &Password::new("changeit");
    let none = &Password::new("");
    let keystore = |password, profile| pkcs12::encode(&anchors, password, profile).len();
    let rows: [(&str, &dyn Fn() -> usize); 7] = [
        ("parse", &|| parse(&text).len()),
        ("PEM", &|| anchors.to_pem().len()),
        ("JKS", &|| jks::encode(&anchors, password).len()),
        ("PKCS#12 LegacyRC2", &|| keystore(password, Profile::LegacyRc2)),
        ("PKCS#12 LegacyDES", &|| keystore(password, Profile::LegacyDes)),
        ("PKCS#12 Modern2023", &|| keystore(password, Profile::Modern2023)),
        ("PKCS#12 password-less", &|| keystore(none, Profile::LegacyRc2)),
    ];

    let (count, size, runs) = (anchors.len(), text.len() / 1000, ROUNDS * RUNS);
    println!("{count} roots, {size} KB of PEM; medians of {runs} runs in ms");
    println!("{:<22} {:>8} {:>8} {:>7}", "", "rootcast", "Go", "ratio");
    for (row, work) in rows {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _round in 0..ROUNDS {
            ours.extend(time(work));
            theirs.extend(time_go(&program, &file, row));
        }
        let (ours, theirs) = (median(ours), median(theirs));
        println!("{row:<22} {ours:>8.3} {theirs:>8.3} {:>7.2}", ours / theirs);
    }
}

fn parse(text: &str) -> Anchors {
    let blocks = pem::read(text.as_bytes()).expect("our own PEM");
    let anchors = blocks.into_iter().filter_map(|block| block.certificate.ok());
    Anchors::collect(anchors).expect("our own roots")
}

/// Milliseconds of each run.
fn time(work: &dyn Fn() -> usize) -> Vec<f64> {
    let run = |_| {
        let start = Instant::now();
        black_box(work());
        start.elapsed().as_secs_f64() * 1e3
    };
    (0..RUNS).map(run).collect()
}

/// Milliseconds of each run.
fn time_go(program: &Path, file: &Path, row: &str) -> Vec<f64> {
    let output = Command::new(program).arg(file).arg(row).arg(RUNS.to_string()).output().expect("the Go program");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("numbers");
    text.lines().map(|nanoseconds| nanoseconds.parse::<f64>().expect("a number") / 1e6).collect()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
