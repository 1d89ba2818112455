//! Clients get metrics in the format that they ask for, and Prometheus' own tool has nothing against them.

use anyhow::{Context as _, Result, ensure};
use rootcast_e2e::{ControlPlane, Controller, promtool_metrics_ok};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What clients ask for, and the content type of what they get.
const CLIENTS: [(&str, Option<&str>, &str); 6] = [
    ("nobody in particular", None, TEXT),
    ("curl", Some("*/*"), TEXT),
    ("a browser", Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), TEXT),
    (
        "Prometheus",
        Some(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
        ),
        OPEN_METRICS,
    ),
    ("a client of OpenMetrics alone", Some("application/openmetrics-text"), OPEN_METRICS),
    ("a client of the text format alone", Some("text/plain"), TEXT),
];

/// Content type and body of an answer.
async fn scrape(port: u16, accept: Option<&str>) -> Result<(String, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let accept = accept.map(|accept| format!("Accept: {accept}\r\n")).unwrap_or_default();
    stream.write_all(format!("GET /metrics HTTP/1.0\r\nHost: localhost\r\n{accept}\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no end of the head")?;
    ensure!(head.contains(" 200 "), "{head}");
    let content_type = head.lines().find_map(|line| line.strip_prefix("content-type: ")).context("no content type")?;
    Ok((content_type.to_owned(), body.to_owned()))
}

#[tokio::test]
async fn each_client_gets_the_format_that_it_asks_for() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    let controller = Controller::start(&control_plane, &[]).await?;
    for (client, accept, expected) in CLIENTS {
        let (content_type, body) = scrape(controller.metrics_port(), accept).await?;
        ensure!(content_type == expected, "{client}: {content_type}");
        ensure!(body.ends_with("# EOF\n") == (expected == OPEN_METRICS), "{client}: {body}");
        ensure!(body.contains("rootcast_leader 1"), "{client}: {body}");
        if expected == TEXT {
            promtool_metrics_ok(&body).context(client)?;
        }
    }
    drop(controller);
    control_plane.finish().await
}
