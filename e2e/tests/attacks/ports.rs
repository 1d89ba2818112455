//! Connections to the ports of probes and metrics that never come to a request.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::join_all;
use rootcast_e2e::{
    attack::{begin, endless_head},
    eventually, http_get,
    scenario::SOON,
};

use crate::stage::Stage;

/// How many connections send a head without an end, and how many send hardly anything.
const ENDLESS: usize = 800;
const HALF_OPEN: usize = 1_100;

/// How long the attacker holds on to what it has.
const HOLD: Duration = Duration::from_secs(3);

/// Opens so many connections to each port, and keeps them for a while.
async fn flood(ports: &[u16], count: usize, bytes: &[u8]) -> Result<()> {
    for port in ports {
        let streams = join_all((0..count).map(|_| begin(*port, bytes))).await;
        // Some are refused or closed, where there are too many: but never for want of files on this side.
        let refused = streams.iter().filter_map(|stream| stream.as_ref().err());
        for error in refused {
            ensure!(!format!("{error:#}").contains("Too many open files"), "raise `ulimit -n`: {error:#}");
        }
        for probe in ports {
            eventually("it answers while they are open", SOON, async || http_get(*probe, "/healthz").await.map(drop))
                .await;
        }
        tokio::time::sleep(HOLD).await;
    }
    Ok(())
}

#[tokio::test]
async fn heads_that_never_end_cost_neither_memory_nor_probes() -> Result<()> {
    let stage = Stage::shared().await;
    let mut site = stage.site(&[]).await?;
    let ports = [
        [site.controller.probe_port(), site.controller.metrics_port()],
        [site.injector.probe_port(), site.injector.metrics_port()],
    ];
    for ports in ports {
        site.lives_during(flood(&ports, ENDLESS, &endless_head())).await.context("heads without an end")?;
    }
    site.end("heads that never end").await
}

#[tokio::test]
async fn requests_that_are_never_finished_use_up_no_files() -> Result<()> {
    let stage = Stage::shared().await;
    let mut site = stage.site(&[]).await?;
    let ports = [
        [site.controller.probe_port(), site.controller.metrics_port()],
        [site.injector.probe_port(), site.injector.metrics_port()],
    ];
    for ports in ports {
        site.lives_during(flood(&ports, HALF_OPEN, b"GET / HTTP/1.1\r\nhost:")).await.context("half a request")?;
    }
    site.end("requests that are never finished").await
}
