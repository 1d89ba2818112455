//! Access to the cluster by the program: kubeconfig files, and proxies.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// A kubeconfig with one context, cluster and user, all of this name.
fn kubeconfig(name: &str, cluster: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [{ "name": name, "context": { "cluster": name, "user": name } }],
        "clusters": [{ "name": name, "cluster": cluster }],
        "users": [{ "name": name, "user": { "token": "secret-token" } }],
    })
}

/// Runs `rootcast status` in a folder, with nothing but this in its environment, and returns its error output.
fn status(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_rootcast"))
        .arg("status")
        .args(arguments)
        .env_clear()
        .env("HOME", folder.join("home"))
        .envs(environment.iter().copied())
        .current_dir(folder)
        .output()
        .expect("rootcast starts");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).expect("text")
}

/// Returns a port that is closed.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

/// A folder with these files.
fn folder(files: &[(&str, String)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("written");
    }
    folder
}

#[test]
fn a_kubeconfig_that_cannot_be_used_is_named_with_the_cause_and_each_cause_once() {
    let good = kubeconfig("good", &json!({ "server": "http://127.0.0.1:1" }));
    let with = |changes: &[(&str, Value)]| {
        let mut changed = good.clone();
        for (pointer, value) in changes {
            *changed.pointer_mut(pointer).expect("there") = value.clone();
        }
        changed.to_string()
    };
    let folder = folder(&[
        ("good", good.to_string()),
        ("empty", String::new()),
        ("broken", "apiVersion: v1\nkind: Config\nclusters: [\n".to_owned()),
        ("wrong-type", "apiVersion: v1\nkind: Config\ncontexts: 5\n".to_owned()),
        ("secret", json!({ "apiVersion": "v1", "kind": "Secret" }).to_string()),
        ("no-current", with(&[("/current-context", json!(""))])),
        ("no-context", with(&[("/current-context", json!("gone"))])),
        ("no-cluster", with(&[("/contexts/0/context/cluster", json!("gone"))])),
        ("no-user", with(&[("/contexts/0/context/user", json!("gone"))])),
        ("no-server", with(&[("/clusters/0/cluster", json!({}))])),
        ("bad-server", with(&[("/clusters/0/cluster/server", json!("ftp://x"))])),
        (
            "no-ca",
            with(&[("/clusters/0/cluster", json!({ "server": "https://x", "certificate-authority": "absent" }))]),
        ),
        (
            "bad-ca",
            with(&[("/clusters/0/cluster", json!({ "server": "https://x", "certificate-authority-data": "?" }))]),
        ),
        (
            "other-ca",
            with(&[("/clusters/0/cluster", json!({ "server": "https://x", "certificate-authority-data": "eA==" }))]),
        ),
        ("bad-proxy", with(&[("/clusters/0/cluster", json!({ "server": "https://x", "proxy-url": "ftp://u:pw@p" }))])),
        (
            "no-plugin",
            with(&[(
                "/users/0/user",
                json!({ "exec": { "apiVersion": "client.authentication.k8s.io/v1", "command": "/absent/plugin" } }),
            )]),
        ),
        ("no-key", with(&[("/users/0/user", json!({ "client-certificate": "absent", "client-key": "absent" }))])),
    ]);
    let table: &[(&str, &[&str])] = &[
        ("absent", &["no cluster is named: KUBECONFIG: absent does not exist, and this is no pod"]),
        ("absent:gone", &["KUBECONFIG: absent does not exist, gone does not exist, and this is no pod"]),
        ("empty", &["KUBECONFIG: empty is empty, and this is no pod"]),
        (".", &["read kubeconfig .: Is a directory"]),
        ("broken", &["kubeconfig broken: ", "line 3"]),
        ("absent:broken:good", &["kubeconfig broken: "]),
        ("wrong-type", &["kubeconfig wrong-type: ", "line 3"]),
        ("secret", &["secret is no kubeconfig: its kind is \"Secret\" instead of \"Config\""]),
        ("no-current", &["kubeconfig no-current has no current-context: give --context", "there are: \"good\""]),
        (
            "no-context",
            &["kubeconfig no-context has no context \"gone\", which current-context names; there are: \"good\""],
        ),
        (
            "no-cluster",
            &["kubeconfig no-cluster has no cluster \"gone\", which context \"good\" names; there are: \"good\""],
        ),
        ("no-user", &["kubeconfig no-user has no user \"gone\", which context \"good\" names; there are: \"good\""]),
        ("absent:no-user:empty", &["kubeconfig no-user has no user \"gone\""]),
        ("no-server", &["cluster \"good\" of kubeconfig no-server: it has no server"]),
        ("bad-server", &["cluster \"good\" of kubeconfig bad-server: its server \"ftp://x\" is no address"]),
        (
            "no-ca",
            &["context \"good\" of kubeconfig no-ca: failed to load certificate authority", "absent", "No such file"],
        ),
        ("bad-ca", &["context \"good\" of kubeconfig bad-ca: failed to load certificate authority"]),
        ("other-ca", &["kubeconfig other-ca: the certificate authority of its cluster holds no certificate"]),
        (
            "bad-proxy",
            &["cluster \"good\" of kubeconfig bad-proxy: proxy-url names a proxy by ftp://, which is not supported"],
        ),
        ("no-plugin", &["context \"good\" of kubeconfig no-plugin", "/absent/plugin"]),
        ("no-key", &["context \"good\" of kubeconfig no-key", "No such file"]),
    ];
    for (files, words) in table {
        let message = status(folder.path(), &[], &[("KUBECONFIG", files)]);
        assert!(words.iter().all(|words| message.contains(words)), "{files}: {message}");
        assert_eq!(message.lines().count(), 1, "{files}: {message}");
        for once in ["No such file", "no KUBECONFIG", "u:pw", "secret-token"] {
            assert!(message.matches(once).count() <= usize::from(once == "No such file"), "{files}: {message}");
        }
    }
    let message = status(folder.path(), &["--context", "other"], &[("KUBECONFIG", "good")]);
    assert!(
        message.contains("kubeconfig good has no context \"other\", which --context names; there are: \"good\""),
        "{message}"
    );
    let message = status(folder.path(), &["--kubeconfig", "absent"], &[("KUBECONFIG", "good")]);
    assert!(message.contains("read kubeconfig absent: No such file"), "{message}");
    let message = status(folder.path(), &[], &[("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("KUBECONFIG", "absent")]);
    assert!(message.contains("the service account of this pod (KUBERNETES_SERVICE_HOST is set): "), "{message}");
}

#[test]
fn without_a_kubeconfig_the_cause_is_given_once() {
    let folder = folder(&[]);
    let message = status(folder.path(), &[], &[]);
    let file = folder.path().join("home/.kube/config");
    assert_eq!(
        message,
        format!(
            "rootcast: no cluster is named: {} does not exist, and this is no pod: name a kubeconfig by --kubeconfig or KUBECONFIG\n",
            file.display()
        )
    );
}

/// The head of the request on each connection of a server.
type Received = Arc<Mutex<Vec<String>>>;

/// A server that answers each head of a request with this and closes.
fn answering(answer: &'static str) -> (u16, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let received = Received::default();
    let log = received.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut request = Vec::new();
            let mut octet = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut octet).is_ok_and(|read| read > 0) {
                request.extend(octet);
            }
            log.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    (port, received)
}

/// Parses the received requests, headers in lower case.
fn requests(received: &Received) -> Vec<(String, BTreeMap<String, String>)> {
    let received = received.lock().unwrap();
    let parse = |request: &String| {
        let mut lines = request.lines();
        let first = lines.next().unwrap_or_default().to_owned();
        let headers = lines.filter_map(|line| line.split_once(": "));
        (first, headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect())
    };
    received.iter().map(parse).collect()
}

const FORBIDDEN: &str =
    "HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: 4\r\nConnection: close\r\n\r\nno!\n";
const CREDENTIALS: &str =
    "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

#[test]
fn a_proxy_that_refuses_is_named_with_its_answer_and_the_cure() {
    let (forbidding, received) = answering(FORBIDDEN);
    let (unauthorized, _) = answering(CREDENTIALS);
    let closed = closed_port();
    let (no_http, _) = answering("SSH-2.0-OpenSSH_9.2\r\n");
    let table = [
        (
            format!("http://127.0.0.1:{forbidding}"),
            "refuses to connect to apiserver.invalid:6443: 403 Forbidden: have it allow",
        ),
        (
            format!("http://127.0.0.1:{unauthorized}"),
            "407 Proxy Authentication Required: put the user and the password",
        ),
        (
            format!("http://u:pw@127.0.0.1:{unauthorized}"),
            "407 Proxy Authentication Required: correct the user and the password",
        ),
        (format!("http://127.0.0.1:{closed}"), "cannot be reached: "),
        (format!("http://127.0.0.1:{no_http}"), "gives no answer that is HTTP: is it an HTTP proxy?"),
    ];
    for (proxy, words) in &table {
        let cluster = json!({ "server": "https://apiserver.invalid:6443", "proxy-url": proxy });
        let plain = json!({ "server": "https://apiserver.invalid:6443" });
        let folder = folder(&[
            ("by-url", kubeconfig("good", &cluster).to_string()),
            ("by-variable", kubeconfig("good", &plain).to_string()),
        ]);
        let shown = proxy.replace("u:pw@", "");
        for (environment, origin) in [
            (&[("KUBECONFIG", "by-url"), ("NO_PROXY", "*")][..], "proxy-url"),
            (&[("KUBECONFIG", "by-variable"), ("HTTPS_PROXY", proxy)], "HTTPS_PROXY"),
            (&[("KUBECONFIG", "by-variable"), ("https_proxy", proxy), ("NO_PROXY", "other")], "https_proxy"),
        ] {
            let message = status(folder.path(), &[], environment);
            let named = format!("the proxy {shown} ({origin}) ");
            assert!(
                message.contains(&named) && message.contains(words) && !message.contains("pw@"),
                "{proxy}: {message}"
            );
        }
        let exempt = [("KUBECONFIG", "by-variable"), ("HTTPS_PROXY", proxy), ("NO_PROXY", ".invalid:6443")];
        let message = status(folder.path(), &[], &exempt);
        assert!(!message.contains("proxy http") && message.contains("dns error"), "{message}");
    }
    for (line, headers) in requests(&received) {
        assert_eq!(line, "CONNECT apiserver.invalid:6443 HTTP/1.1");
        assert_eq!(headers["host"], "apiserver.invalid:6443");
        assert!(!headers.contains_key("authorization") && !headers.contains_key("proxy-authorization"));
    }
}

#[test]
fn requests_to_a_plain_server_are_forwarded_by_the_proxy_with_its_credentials() {
    for (answer, words) in [
        (FORBIDDEN, ") refuses to connect to apiserver.invalid:8080: 403 Forbidden"),
        (CREDENTIALS, ") refuses to connect to apiserver.invalid:8080: 407"),
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: 81\r\nConnection: close\r\n\r\n{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\"message\":\"mine\",\"code\":403}",
            "mine",
        ),
    ] {
        let (port, received) = answering(answer);
        let folder = folder(&[(
            "config",
            kubeconfig("good", &json!({ "server": "http://apiserver.invalid:8080" })).to_string(),
        )]);
        let proxy = format!("http://us%40er:pw@127.0.0.1:{port}");
        let message = status(folder.path(), &[], &[("KUBECONFIG", "config"), ("HTTP_PROXY", &proxy)]);
        assert!(message.contains(words), "{message}");
        let requests = requests(&received);
        assert!(!requests.is_empty());
        for (line, headers) in requests {
            assert!(line.starts_with("GET http://apiserver.invalid:8080/"), "{line}");
            // us@er:pw
            assert_eq!(headers["proxy-authorization"], "Basic dXNAZXI6cHc=");
            assert_eq!(headers["authorization"], "Bearer secret-token");
        }
        let exempt = [("KUBECONFIG", "config"), ("HTTPS_PROXY", &*proxy)];
        assert!(status(folder.path(), &[], &exempt).contains("dns error"));
    }
}

#[test]
fn a_socks_proxy_gets_the_name_of_the_server_and_the_credentials() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let target = Arc::new(Mutex::new(Vec::new()));
    let received = target.clone();
    std::thread::spawn(move || {
        let serve = |mut stream: TcpStream| -> std::io::Result<()> {
            let mut take = |length: usize| {
                let mut bytes = vec![0; length];
                stream.read_exact(&mut bytes).map(|()| bytes)
            };
            let methods = take(2)?[1];
            take(methods.into())?;
            stream.write_all(&[5, 2])?;
            let mut take = |length: usize| {
                let mut bytes = vec![0; length];
                stream.read_exact(&mut bytes).map(|()| bytes)
            };
            let name = take(2)?[1];
            let mut credentials = take(name.into())?;
            let password = take(1)?[0];
            credentials.extend(take(password.into())?);
            stream.write_all(&[1, 0])?;
            let mut head = [0; 5];
            stream.read_exact(&mut head)?;
            let mut name = vec![0; usize::from(head[4]) + 2];
            stream.read_exact(&mut name)?;
            received.lock().unwrap().push((credentials, name));
            // Not allowed by the rules (RFC 1928, 6).
            stream.write_all(&[5, 2, 0, 1, 0, 0, 0, 0, 0, 0])
        };
        for stream in listener.incoming() {
            drop(serve(stream.expect("a connection")));
        }
    });
    let cluster =
        json!({ "server": "https://apiserver.invalid", "proxy-url": format!("socks5://u:pw@127.0.0.1:{port}") });
    let folder = folder(&[("config", kubeconfig("good", &cluster).to_string())]);
    let message = status(folder.path(), &[], &[("KUBECONFIG", "config")]);
    assert!(
        message.contains(&format!(
            "the proxy socks5://127.0.0.1:{port} (proxy-url) does not connect to apiserver.invalid:443: "
        )),
        "{message}"
    );
    let expected = (b"upw".to_vec(), [&b"apiserver.invalid"[..], &443_u16.to_be_bytes()].concat());
    assert_eq!(target.lock().unwrap().first(), Some(&expected));
}
