//! `rootcast render` and the command line as a user meets them.

mod vector;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use vector::Vector;

#[test]
fn every_recorded_case_is_rendered_as_trust_manager_wrote_it() {
    let wrong: Vec<String> = Vector::all().iter().filter_map(|case| check(case).err()).collect();
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// The recorded input, with the Bundle's uid and the recorded namespace, on standard input.
fn check(case: &Vector) -> Result<(), String> {
    let mut bundle = case.bundle().clone();
    bundle["metadata"]["uid"] = json!("UID");
    let labels = json!({ "team": "a", "env": "dev" });
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "team-a", "labels": labels } });
    let mut items = vec![bundle, namespace];
    items.extend(case.sources().into_iter().cloned());
    let input = json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string();

    let package = format!("--default-package-location={}", case.package().display());
    let mut arguments = vec!["render", "--secret-targets-enabled", "-o=json", &package];
    if case.is_filtered() {
        arguments.extend(["--filter-expired-certificates", "--filter-non-ca-certs"]);
    }
    let output = rootcast(&arguments, &input);
    let refused = case.is_refused();
    if output.status.code() != Some(i32::from(refused)) {
        return Err(format!("{}: exit code {:?}: {}", case.name, output.status.code(), stderr(&output)));
    }
    if refused != stderr(&output).starts_with(&format!("Bundle {}: ", case.name)) {
        return Err(format!("{}: {}", case.name, stderr(&output)));
    }
    let list: Value = serde_json::from_slice(&output.stdout).map_err(|error| format!("{}: {error}", case.name))?;
    let objects = list["items"].as_array().expect("a List has items");
    for kind in ["ConfigMap", "Secret"] {
        let mut found = objects.iter().filter(|object| object["kind"] == kind);
        case.check_object(kind, found.next())?;
        if found.next().is_some() {
            return Err(format!("{}: more than one {kind}", case.name));
        }
    }
    Ok(())
}

/// A Bundle of two sources, as a user keeps it in a repository.
fn bundle(name: &str) -> String {
    format!(
        "---\napiVersion: trust.cert-manager.io/v1alpha1\nkind: Bundle\nmetadata: {{name: {name}}}\nspec:\n  sources:\n  - configMap: {{name: {name}-source, key: ca}}\n  target: {{configMap: {{key: ca.pem}}}}\n"
    )
}

fn source(name: &str) -> String {
    let data = json!({ "ca": fs::read_to_string(certificate("rsa")).expect("a certificate") });
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}-source, namespace: cert-manager}}\ndata: {data}\n"
    )
}

#[test]
fn refused_bundles_are_named_and_the_others_printed() {
    let output = rootcast(&["render"], &(bundle("good") + &source("good") + &bundle("bad")));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output),
        "Bundle bad: SourceNotFound: Bundle source was not found: failed to get ConfigMap cert-manager/bad-source: ConfigMap \"bad-source\" not found\n"
    );
    let printed: Vec<Value> = serde_saphyr::from_multiple(&stdout(&output)).expect("YAML");
    assert_eq!(printed.len(), 1);
    assert_eq!(printed[0]["metadata"]["name"], "good");
    assert_eq!(printed[0]["metadata"]["namespace"], "default");
}

#[test]
fn namespaces_of_the_input_decide_and_named_ones_stand_in_for_them() {
    let spaces = |output: &Output| {
        let list: Value = serde_json::from_str(&stdout(output)).expect("JSON");
        let items = list["items"].as_array().expect("items").iter();
        items.map(|item| item["metadata"]["namespace"].as_str().expect("a namespace").to_owned()).collect::<Vec<_>>()
    };
    let input = bundle("good") + &source("good");
    assert_eq!(spaces(&rootcast(&["render", "-o", "json", "-n", "a", "-n", "b"], &input)), ["a", "b"]);
    let namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: c}\n";
    assert_eq!(spaces(&rootcast(&["render", "-o", "json", "-n", "a"], &(input + namespace))), ["c"]);
}

#[test]
fn files_and_folders_are_read_and_other_kinds_passed_over() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("a.yaml"), bundle("good") + "---\nkind: Deployment\napiVersion: apps/v1\n")
        .expect("written");
    fs::write(folder.path().join("b.yml"), source("good")).expect("written");
    fs::write(folder.path().join("notes.txt"), ": not YAML at all: [").expect("written");
    let path = folder.path().to_str().expect("a path");
    let once = rootcast(&["render", "-f", path], "");
    assert_eq!(once.status.code(), Some(0), "{}", stderr(&once));
    let again = rootcast(&["render", "-f", &format!("{path}/b.yml"), "-f", &format!("{path}/a.yaml")], "");
    assert_eq!(stdout(&once), stdout(&again), "the order of the input does not matter");
}

#[test]
fn what_cannot_be_read_ends_with_code_2_and_names_the_place() {
    let table: &[(&[&str], String, &str)] = &[
        (&["render", "-f", "/absent.yaml"], String::new(), "read /absent.yaml"),
        (&["render"], "kind: [".to_owned(), "standard input: not YAML"),
        (&["render"], "---\napiVersion: v1\nkind: ConfigMap\n".to_owned(), "the input holds no Bundle"),
        (
            &["render"],
            bundle("twice") + &bundle("twice"),
            "standard input: document 2: Bundle \"twice\" is in the input twice",
        ),
        (&["render", "--unknown"], String::new(), "unexpected argument '--unknown'"),
        (&["render", "--default-package-location", "/absent.txt"], bundle("b"), "must end in .json"),
    ];
    for (arguments, input, words) in table {
        let output = rootcast(arguments, input);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(words), "{arguments:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn flags_that_cannot_be_obeyed_are_refused_by_name_with_the_cure() {
    let table: &[(&[&str], &str)] = &[
        (
            &["--leader-elect=false", "--tls-min-version=1.2"],
            "--tls-min-version=1.2: give VersionTLS12 or VersionTLS13",
        ),
        (
            &["--leader-elect=false", "--tls-cipher-suites=TLS_RSA_WITH_AES_128_CBC_SHA"],
            "none of them is served; give some of TLS_ECDHE_",
        ),
        (&["--leader-elect"], "name the namespace of the Lease, or run a single replica with --leader-elect=false"),
        (&["--leader-election-lease-duration=10s"], "(10s) must be longer than --leader-election-renew-deadline (10s)"),
        (&["--leader-election-renew-deadline=2400ms"], "(2.4s) must be longer than 2.4s"),
        (&["--leader-election-renew-deadline=10"], "give a number and a unit, such as 15s"),
        (&["--max-concurrent-writes=0"], "number would be zero for non-zero type"),
        (&["--token=x"], "unexpected argument '--token'"),
        (&["--log-level=9"], "9 is not in 1..=5"),
        (&["--log-format=xml"], "[possible values: text, json]"),
    ];
    for (arguments, words) in table {
        let output = rootcast(arguments, "");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(words), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn the_arguments_of_a_trust_manager_deployment_are_taken() {
    let arguments = [
        "--log-format=text",
        "--log-level=1",
        "--metrics-port=0",
        "--readiness-probe-port=0",
        "--readiness-probe-path=/readyz",
        "--leader-elect",
        "--leader-election-lease-duration=15s",
        "--leader-election-renew-deadline=10s",
        "--leader-election-namespace=cert-manager",
        "--trust-namespace=cert-manager",
        "--secret-targets-enabled=true",
        "--filter-expired-certificates=true",
        "--filter-non-ca-certs",
        "--target-namespaces=a,b",
        "--webhook-host=0.0.0.0",
        "--webhook-port=6443",
        "--webhook-certificate-dir=/tls",
        "--tls-min-version=VersionTLS12",
        "--tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_RSA_WITH_AES_128_CBC_SHA",
        "--kubeconfig=/absent",
        "-v",
        "2",
    ];
    let output = rootcast(&arguments, "");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("read kubeconfig /absent"), "all flags taken: {}", stderr(&output));
}

fn certificate(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cases/certs/{name}.pem")).display().to_string()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

fn rootcast(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rootcast"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("rootcast starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let text = input.to_owned();
    let writer = std::thread::spawn(move || drop(stdin.write_all(text.as_bytes())));
    let output = child.wait_with_output().expect("rootcast ends");
    writer.join().expect("written");
    output
}
