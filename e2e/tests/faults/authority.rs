//! The cluster's CA is replaced while a program runs: the file of its service account is read again.

use std::{
    fs,
    net::Ipv4Addr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use http::Request;
use rootcast::client::Connection;
use rootcast_e2e::{Authority, TlsServer};

/// How long a replaced file may go unnoticed.
const NOTICED: Duration = Duration::from_secs(70);

/// Replaces a file as kubelet does: at once.
fn replace(file: &Path, text: &str) -> Result<()> {
    let next = file.with_extension("next");
    fs::write(&next, text)?;
    fs::rename(next, file).context("replacing the file")
}

#[tokio::test]
async fn a_replaced_ca_file_is_trusted_after_a_minute() -> Result<()> {
    let [old, new] = [Authority::new("old")?, Authority::new("new")?];
    let server = TlsServer::start(Ipv4Addr::LOCALHOST.into(), &old)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("ca.crt");
    replace(&file, &old.pem())?;

    // What `Config::incluster` makes of a service account.
    let mut config = kube::Config::new(server.url().parse()?);
    config.root_cert = Some(vec![old.der().to_vec()]);
    config.root_cert_file = Some(file.clone());
    let client = Connection::new(&config, None)?.client();
    let ask = async || anyhow::Ok(client.request_text(Request::get("/").body(Vec::new())?).await?);
    assert_eq!(ask().await?, "ok\n");

    // First both are trusted, as a rotation has it, and nobody notices when the server changes over.
    replace(&file, &(old.pem() + &new.pem()))?;
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(ask().await?, "ok\n");
    server.show(&new)?;
    assert_eq!(ask().await?, "ok\n");
    ensure!(began.elapsed() < NOTICED, "it took {:?}", began.elapsed());
    Ok(())
}
