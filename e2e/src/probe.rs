//! A plain HTTP GET to a server on this machine: probes and metrics.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

/// Asks for `path` on a port of this machine, in HTTP/1.0, so that the answer
/// ends with the connection.
///
/// # Errors
/// When there is no whole answer in 5 seconds.
pub async fn http_get(port: u16, path: &str) -> Result<Answer> {
    let step = || format!("GET http://127.0.0.1:{port}{path}");
    timeout(Duration::from_secs(5), exchange(port, path)).await.with_context(step)?.with_context(step)
}

async fn exchange(port: u16, path: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").context("the answer has no end of headers")?;
    let status =
        head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).context("the answer has no status")?;
    Ok(Answer { status, body: body.to_owned() })
}
