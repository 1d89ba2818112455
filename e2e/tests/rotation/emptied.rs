//! Every CA of a Bundle is denied: what is left says so to people, and makes programs of others trust nobody, rather than
//! whomever their system trusts.

use std::{env, fs, io::Write as _, net::Ipv4Addr, path::Path};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use rootcast_e2e::{Authority, TlsServer, eventually, scenario::apply};
use serde_json::json;
use tokio::process::Command;

use crate::{
    distrust::{distrust, is_enforced},
    program::told,
    rotating::{Ca, KEY, Rotating, SOON},
    stage::Stage,
};

/// Asks a server by trust in one file, as a path or as text.
const PYTHON: &str = "
import socket, ssl, sys
how, file, port = sys.argv[1:]
trust = {'cafile': file} if how == 'cafile' else {'cadata': open(file).read()}
context = ssl.create_default_context(**trust)
with context.wrap_socket(socket.create_connection(('127.0.0.1', int(port))), server_hostname='127.0.0.1'):
    print('trusted')
";

/// Programs that ask a server, `PORT`, by trust in one `FILE`, whatever else the system trusts.
const CLIENTS: [(&str, &[&str]); 4] = [
    ("python3", &["-c", PYTHON, "cafile", "FILE", "PORT"]),
    ("python3", &["-c", PYTHON, "cadata", "FILE", "PORT"]),
    (
        "openssl",
        &[
            "s_client",
            "-connect",
            "127.0.0.1:PORT",
            "-verify_ip",
            "127.0.0.1",
            "-verify_return_error",
            "-brief",
            "-CAfile",
            "FILE",
        ],
    ),
    ("curl", &["--silent", "--show-error", "--max-time", "20", "--cacert", "FILE", "https://127.0.0.1:PORT/"]),
];

#[tokio::test]
async fn where_everything_is_distrusted_stores_are_empty_and_programs_trust_neither_the_ca_nor_a_public_one()
-> Result<()> {
    let stage = Stage::shared().await;
    let client = stage.control_plane.client();
    let a = &Ca::new("A")?;
    let public = Authority::new("public")?;
    let emptied = Rotating::prepare(stage.control_plane, "emptied", 1, &[a]).await?;
    let mut manifest = emptied.manifest(&json!({"rootcast.dev/retain": "1h"}));
    manifest["spec"]["target"]["additionalFormats"] = json!({
        "jks": {"key": "trust.jks", "password": "changeit"},
        "pkcs12": {"key": "trust.p12", "password": "changeit", "profile": "Modern2023"},
    });
    apply(&client, &manifest).await?;
    emptied.holds(&[a]).await;
    emptied.is_settled(&[a]).await;

    let servers = [
        TlsServer::start(Ipv4Addr::LOCALHOST.into(), &a.authority)?,
        TlsServer::start(Ipv4Addr::LOCALHOST.into(), &public)?,
    ];
    let folder = tempfile::tempdir()?;
    let system = folder.path().join("system.pem");
    fs::write(&system, public.pem())?;
    write_target(&emptied, folder.path()).await?;
    for verdicts in verdicts(folder.path(), &servers).await? {
        ensure!(verdicts.1 == [true, false], "before: {verdicts:?}");
    }

    distrust(&client, "incident-3", &[json!({"sha256": a.sha256()})]).await?;
    eventually("nothing is left", SOON, async || {
        let targets = emptied.targets().await?;
        let text = targets.values().next().context("a target")?;
        ensure!(text == "# no CA: all are distrusted (emptied)\n", "{text:?}");
        Ok(())
    })
    .await;
    emptied.says("Synced", "False", "EverythingDistrusted", &["add a CA"]).await;
    emptied.says("SourcesComplete", "False", "NeedsAttention", &["CN=A", "incident-3"]).await;
    is_enforced(&client, "incident-3").await;
    write_target(&emptied, folder.path()).await?;
    for verdicts in verdicts(folder.path(), &servers).await? {
        ensure!(verdicts.1 == [false, false], "after: {verdicts:?}");
    }
    for store in ["trust.jks", "trust.p12"] {
        let mut keytool = Command::new("keytool");
        keytool.args(["-list", "-storepass", "changeit", "-keystore"]).arg(folder.path().join(store));
        if is_absent("keytool") {
            return Ok(());
        }
        let told = told(keytool).await?;
        ensure!(told.code == Some(0) && told.out.contains("contains 0 entries"), "{store}: {told:?}");
    }
    Ok(())
}

/// Writes each key of the Bundle's target as a file of its name.
async fn write_target(bundle: &Rotating<'_>, folder: &Path) -> Result<()> {
    let target = Api::<ConfigMap>::namespaced(bundle.client.clone(), &bundle.namespaces[0]).get(&bundle.name).await?;
    for (key, text) in target.data.unwrap_or_default() {
        fs::write(folder.join(key), text)?;
    }
    for (key, bytes) in target.binary_data.unwrap_or_default() {
        fs::write(folder.join(key), bytes.0)?;
    }
    Ok(())
}

/// Which of these servers each program trusts.
async fn verdicts(folder: &Path, servers: &[TlsServer; 2]) -> Result<Vec<(&'static str, [bool; 2])>> {
    let mut all = Vec::new();
    for (program, arguments) in CLIENTS.iter().filter(|(program, _)| !is_absent(program)) {
        let mut verdicts = [false; 2];
        for (verdict, server) in verdicts.iter_mut().zip(servers) {
            let url = server.url();
            let port = url.rsplit(':').next().context("a URL with a port")?.trim_end_matches('/');
            let file = folder.join(KEY).display().to_string();
            let mut command = Command::new(program);
            command.args(arguments.iter().map(|argument| argument.replace("FILE", &file).replace("PORT", port)));
            // What the system trusts.
            command.env("SSL_CERT_FILE", folder.join("system.pem"));
            *verdict = told(command).await?.code == Some(0);
        }
        all.push((*program, verdicts));
    }
    Ok(all)
}

/// Whether a program is absent on this machine, which is said; where CI is set, it is not to be.
fn is_absent(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    if env::split_paths(&path).any(|folder| folder.join(program).exists()) {
        return false;
    }
    let in_ci = env::var_os("CI").is_some_and(|value| !value.is_empty());
    assert!(!in_ci, "{program}: absent; this test needs it where CI is set");
    std::io::stderr().write_all(format!("{program}: absent, not checked\n").as_bytes()).expect("standard error");
    true
}
