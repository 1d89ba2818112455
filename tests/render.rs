//! `rootcast render` and the command line, by the program.

mod vector;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use rootcast::bundle::{Ledger, Memory, Phase};
use rootcast::trust::{Anchors, pem};
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
    if refused != stderr(&output).starts_with(&format!("Bundle {}: {}: ", case.name, case.reason())) {
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

#[test]
fn what_distrusts_of_the_input_name_is_left_out() {
    let distrust = |certificates: &str| {
        format!(
            "---\napiVersion: rootcast.dev/v1alpha1\nkind: Distrust\nmetadata: {{name: incident}}\nspec: {{certificates: [{certificates}]}}\n"
        )
    };
    let rsa =
        "{sha256: \"E5:33:EB:20:C7:F7:F5:C5:29:9C:B5:03:B0:6F:9E:EB:6F:55:AD:C6:DA:F0:D5:60:FD:ED:AD:0C:50:C4:FC:D0\"}";
    let input = bundle("a") + &source("a");
    let output = rootcast(&["render", "-n=one"], &(input.clone() + &distrust(rsa)));
    assert!(stdout(&output).contains("# no CA: all are distrusted (a)"), "{}", stdout(&output));
    assert!(stderr(&output).contains("EverythingDistrusted: Every certificate of the Bundle is distrusted"));
    let key = "{publicKeySHA256: abc}";
    let output = rootcast(&["render", "-n=one"], &(input + &distrust(key)));
    let expected = "Distrust \"incident\": spec.certificates[0].publicKeySHA256: Invalid value: \"abc\"";
    assert!(!output.status.success() && stderr(&output).contains(expected), "{}", stderr(&output));
}

/// A Bundle of two sources, as a user keeps it in a repository.
#[test]
fn what_a_ledger_remembers_is_rendered_too() {
    let now = Timestamp::now();
    let anchor = |name: &str| {
        let text = fs::read(certificate(name)).expect("a certificate");
        pem::read(&text).expect("PEM").remove(0).certificate.expect("a certificate")
    };
    let anchors = ["rsa", "ec"].map(anchor);
    let mut memory = Memory::begin(anchors.clone(), now - SignedDuration::from_hours(48));
    let leaving = memory.entries.get_mut(&anchors[1].fingerprint()).expect("an entry");
    leaving.phase = Phase::Leaving { since: now };
    let data = Ledger { uid: "uid".to_owned(), memory }.encode();
    let folder = tempfile::tempdir().expect("a folder");
    let written = |name: &str| {
        let file = folder.path().join(name);
        let ledger = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data });
        fs::write(&file, ledger.to_string()).expect("a file");
        format!("--ledger={}", file.display())
    };
    let retained = "{name: a, annotations: {rootcast.dev/retain: 24h}}";
    let input = bundle("a").replace("{name: a}", retained) + &source("a");
    let output = rootcast(&["render", "-n=one", "-o=json", &written("rootcast-ledger.bundle.a")], &input);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let list: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let both = Anchors::collect(anchors).expect("certificates").to_pem();
    assert_eq!(list["items"][0]["data"]["ca.pem"], both);
    for (name, cause) in [
        ("other", ": ConfigMap other is no ledger: those are named rootcast-ledger.bundle.NAME\n"),
        ("rootcast-ledger.bundle.b", "the input holds no Bundle b, whose ledger is given\n"),
    ] {
        let output = rootcast(&["render", &written(name)], &input);
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(stderr(&output).ends_with(cause), "{}", stderr(&output));
    }
}

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
fn a_protected_name_is_refused_in_the_controllers_words_unless_it_is_allowed() {
    let input = bundle("coredns") + &source("coredns");
    let refused = rootcast(&["render", "-n", "team-a"], &input);
    assert_eq!((refused.status.code(), stdout(&refused)), (Some(1), String::new()), "{}", stderr(&refused));
    let words = "Bundle coredns: InvalidSpec: Bundle is invalid: metadata.name: Forbidden: \"coredns\" is a name that CoreDNS keeps objects of its own under, so nothing is written but what is this Bundle's already: give the Bundle another name, or start rootcast with --allow-names=coredns\n";
    assert_eq!(stderr(&refused), words);
    let allowed = rootcast(&["render", "-n", "team-a", "--allow-names=coredns"], &input);
    assert_eq!((allowed.status.code(), stderr(&allowed)), (Some(0), String::new()));
    assert!(stdout(&allowed).contains("name: coredns"), "{}", stdout(&allowed));
}

#[test]
fn a_bundle_reads_its_sources_in_a_listed_namespace_that_it_chooses() {
    let annotations = "annotations: {rootcast.dev/trust-namespace: team}";
    let input = bundle("b").replace("{name: b}", &format!("{{name: b, {annotations}}}"))
        + &source("b").replace("namespace: cert-manager", "namespace: team");
    let refused = rootcast(&["render"], &input);
    assert_eq!(
        (refused.status.code(), stderr(&refused).as_str()),
        (
            Some(1),
            "Bundle b: InvalidSpec: Bundle is invalid: metadata.annotations[rootcast.dev/trust-namespace]: Invalid value: \"team\": rootcast reads no sources in this namespace: name one of --additional-trust-namespaces, or have it added there (chart app.trust.additionalNamespaces)\n"
        )
    );
    let rendered = rootcast(&["render", "--additional-trust-namespaces=other,team"], &input);
    assert_eq!((rendered.status.code(), stderr(&rendered)), (Some(0), String::new()));
    assert!(stdout(&rendered).contains("BEGIN CERTIFICATE"), "{}", stdout(&rendered));
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
        (&["--default-retain=3 days"], "must be a duration from 1s to 87600h, or 0s: write 72h"),
        (&["--settle=soon"], "must be a duration from 1s to 87600h, or 0s: write 24h for a day, 720h for thirty"),
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
fn rust_log_sets_what_is_logged_and_is_named_if_it_cannot_be_parsed() {
    let controller = |variable: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_rootcast"))
            .args(["--leader-elect=false", "--kubeconfig=/absent"])
            .env("RUST_LOG", variable)
            .output()
            .expect("rootcast starts");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        stderr(&output)
    };
    assert!(controller("").contains("INFO starting "));
    assert!(!controller("error").contains("starting"));
    assert!(controller("error,rootcast::cli=info").contains("INFO starting "));
    let refused = controller("rootcast::client=loud");
    assert!(refused.starts_with("rootcast: RUST_LOG=\"rootcast::client=loud\": "), "{refused}");
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

/// A file or folder of input.
fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/render_input").join(name).display().to_string()
}

#[test]
fn values_pass_that_the_api_server_takes_and_secrets_that_no_bundle_reads() {
    let plain = rootcast(&["render", "-f", &fixture("wrapped-elsewhere/in.yaml"), "-n", "team-a"], "");
    for name in ["wrapped-source.yaml", "wrapped-elsewhere", "sops-elsewhere"] {
        let output = rootcast(&["render", "-f", &fixture(name), "-n", "team-a"], "");
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()), "{name}");
        assert_eq!(stdout(&output), stdout(&plain), "{name}");
    }
}

/// A Bundle `all` that reads every key of Secret `src`, a Bundle of the name of each key that reads that one, and the Secret.
fn readers(secret: &Value) -> String {
    let bundle = |name: &str, source: &Value| {
        json!({ "apiVersion": "trust.cert-manager.io/v1alpha1", "kind": "Bundle", "metadata": { "name": name }, "spec": {
            "sources": [{ "secret": source }], "target": { "configMap": { "key": "ca.pem" } } } })
    };
    let fields = ["data", "stringData"].into_iter().filter_map(|field| secret[field].as_object());
    let keys: BTreeSet<_> = fields.flatten().map(|(key, _)| key).collect();
    let mut items = vec![secret.clone(), bundle("all", &json!({ "name": "src", "includeAllKeys": true }))];
    items.extend(keys.into_iter().map(|key| bundle(key, &json!({ "name": "src", "key": key }))));
    json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string()
}

#[test]
fn a_value_that_is_none_refuses_the_bundles_that_read_it_and_no_other() {
    let pem = fs::read_to_string(certificate("rsa")).expect("a certificate");
    let base64 = STANDARD.encode(&pem);
    let wrapped = base64.as_bytes().chunks(76).map(|line| str::from_utf8(line).expect("ASCII"));
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "src", "namespace": "cert-manager" },
        "data": {
            "good": base64,
            "wrapped": wrapped.collect::<Vec<_>>().join("\r\n") + "\n",
            "sops": "ENC[AES256_GCM,data:tH2oJq0=,iv:9XkE5o1u,tag:3kJt0g==,type:str]",
            "plain": pem,
            "blank": format!(" {base64}"),
            "padding": base64.trim_end_matches('='),
            "number": 7,
            "instead": "!",
        },
        "stringData": { "instead": pem },
    });
    assert!(base64.ends_with('='), "the case of missing padding needs a value that has some");
    let output = rootcast(&["render", "-o", "json", "-n", "a"], &readers(&secret));
    assert_eq!(output.status.code(), Some(1));
    let list: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let names: Vec<_> = list["items"].as_array().expect("items").iter().map(|item| &item["metadata"]["name"]).collect();
    assert_eq!(names, ["good", "instead", "wrapped"]);
    let errors = stderr(&output);
    let place = |key: &str| {
        format!("Failed to build bundle sources: invalid value in Secret cert-manager/src at key {key:?}: ")
    };
    let no_base64 = "it is not base64: encode it with base64, or put it under stringData as it is\n";
    for (bundle, key, words) in [
        ("all", "blank", no_base64),
        ("blank", "blank", no_base64),
        ("number", "number", "it is no text: put it in quotes\n"),
        ("padding", "padding", no_base64),
        ("plain", "plain", no_base64),
        ("sops", "sops", "it is encrypted by SOPS: decrypt the file first, with sops --decrypt\n"),
    ] {
        let line = format!("Bundle {bundle}: SourceBuildError: {}{words}", place(key));
        assert!(errors.contains(&line), "{line}{errors}");
    }
    assert_eq!(errors.lines().count(), 6, "{errors}");

    let mut broken = secret.clone();
    broken["data"] = json!("none");
    broken["stringData"] = Value::Null;
    let output = rootcast(&["render", "-n", "a"], &readers(&broken));
    assert_eq!(
        (output.status.code(), stderr(&output)),
        (
            Some(1),
            "Bundle all: SourceBuildError: Failed to build bundle sources: failed to get Secret cert-manager/src: its field data is no map of keys and values\n"
                .to_owned()
        )
    );
}

#[test]
fn findings_are_printed_beside_the_output_and_change_no_exit_code() {
    let filters = ["--filter-expired-certificates", "--filter-non-ca-certs"];
    let table: [(&str, &[&str], i32, &[&str]); 3] = [
        (
            "expired-and-no-ca.json",
            &filters,
            1,
            &["SourceNotFound: ", " left out: expired on ", " left out: not a CA certificate"],
        ),
        ("base64-twice.json", &[], 0, &["holds no PEM certificate; it is PEM in base64 once more than it should be"]),
        ("utf16.json", &[], 0, &["holds no PEM certificate; it is PEM in UTF-16"]),
    ];
    for (name, flags, code, words) in table {
        let path = fixture(name);
        let output = rootcast(&[&["render", "-n", "x", "-f", &path], flags].concat(), "");
        let errors = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{name}: {errors}");
        assert!(words.iter().all(|words| errors.contains(words)), "{name}: {errors}");
        assert!(errors.lines().all(|line| line.starts_with("Bundle ")), "{name}: {errors}");
        assert!(!stdout(&output).contains("left out") && !stdout(&output).contains("holds no PEM"), "{name}");
    }
}

#[test]
fn names_of_the_input_neither_command_a_terminal_nor_begin_a_line() {
    let name = "a\u{1b}]0;owned\u{7}\nBundle b: Synced: \u{202e}x";
    let mut input: Value =
        serde_json::from_str(&fs::read_to_string(fixture("base64-twice.json")).expect("JSON")).expect("JSON");
    for item in input["items"].as_array_mut().expect("items") {
        if item["kind"] == "Bundle" {
            item["metadata"]["name"] = json!(name);
        }
    }
    let shown = "Bundle a\\u{1b}]0;owned\\u{7}\\nBundle b: Synced: \\u{202e}x: ";
    let errors = stderr(&rootcast(&["render", "-n", "x"], &input.to_string()));
    assert!(errors.starts_with(shown) && errors.lines().count() == 1, "{errors:?}");
    let refused = json!({ "apiVersion": "trust.cert-manager.io/v1alpha1", "kind": "Bundle", "metadata": { "name": name }, "spec": {
        "sources": [{ "configMap": { "name": "none", "key": "ca" } }], "target": { "configMap": { "key": "ca.pem" } } } });
    let errors = stderr(&rootcast(&["render", "-n", "x"], &refused.to_string()));
    assert!(errors.starts_with(shown) && errors.lines().count() == 1, "{errors:?}");
}
