//! The parser beside Go's: the same verdict, subject, validity and CA flag for certificates that are nearly right.
//!
//! Needs Go. `MUTATIONS` in the environment sets how many certificates are tried.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rootcast::trust::{Anchor, pem};

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

/// The recorded certificates and Mozilla's roots.
fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/certs");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let recorded = paths.iter().filter_map(|path| pem::read(&std::fs::read(path).unwrap()).ok()).flatten();
    let mut seeds: Vec<Vec<u8>> = recorded.map(|block| block.certificate.unwrap().der().to_vec()).collect();
    seeds.push(everything());
    let rare = seeds.clone();
    seeds.extend(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|der| der.to_vec()));
    // The recorded ones are where the odd structures are.
    seeds.extend(rare.iter().cycle().take(200).cloned());
    seeds
}

/// A certificate with every extension that is checked.
fn everything() -> Vec<u8> {
    let text = include_bytes!("trust_data/everything.pem");
    pem::read(text).unwrap().remove(0).certificate.unwrap().der().to_vec()
}

/// One to three octets changed, where structure is likelier than where keys and signatures are.
fn mutate(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut der = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(3) {
        let at = match random.below(4) {
            0 => random.below(der.len()),
            _ => structural(&der, random),
        };
        match random.below(6) {
            0 => der[at] ^= 1 << random.below(8),
            1 => der[at] = [0, 1, 2, 3, 5, 6, 12, 19, 23, 24, 30, 48, 49, 128, 160, 255][random.below(16)],
            2 => der[at] = u8::try_from(random.below(256)).unwrap(),
            3 => der[at] = der[at].wrapping_add(1),
            4 => der[at] = der[random.below(der.len())],
            _ => der[at] = b"%:/@[]#?. *&\\\"09Zz+-"[random.below(20)],
        }
    }
    der
}

/// A place that is no part of a long run of content.
fn structural(der: &[u8], random: &mut Random) -> usize {
    let mut places = Vec::new();
    let mut at = 0;
    while at + 2 < der.len() {
        let length = match der[at + 1] {
            short @ 0..=0x7f => 2 + usize::from(short),
            0x81 => 3 + usize::from(der[at + 2]),
            0x82 if at + 3 < der.len() => 4 + (usize::from(der[at + 2]) << 8) + usize::from(der[at + 3]),
            _ => 2,
        };
        let inner = der[at] & 0x20 != 0 || der[at] == 4 && length < 200;
        let content = if length > 60 { at + 12 } else { at + length };
        places.extend(at..content.min(der.len()));
        at += if inner {
            if length > 257 {
                4
            } else if length > 130 {
                3
            } else {
                2
            }
        } else {
            length
        };
    }
    places.get(random.below(places.len().max(1))).copied().unwrap_or(0)
}

/// Xorshift: the same certificates in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
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

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut digits, octet| {
        write!(digits, "{octet:02x}").unwrap();
        digits
    })
}

fn ask_go(certificates: &[Vec<u8>]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("verdict");
    let build = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg("./verdict")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/encode-go"))
        .output()
        .expect("this test needs Go");
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));

    let mut go = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = go.stdin.take().unwrap();
    let lines: String = certificates.iter().map(|der| hex(der) + "\n").collect();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()).unwrap());
    let output = go.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}
