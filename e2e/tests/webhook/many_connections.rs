//! Ten thousand idle connections and hundreds of bodies that never end keep nobody else from an answer.

use std::{
    convert::Infallible,
    fs,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rootcast_e2e::{ControlPlane, Exit, TlsClient, eventually, scenario::SOON};
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, sync::Semaphore, task::JoinSet, time::sleep};

use crate::stage::{HOST, PATH, Place, ask, review};

/// Connections that do nothing, and connections whose bodies are larger than they are long.
const IDLE: usize = 10_000;
const SLOW: usize = 300;

/// What is sent of each of those bodies at once, in bytes.
const BEGINNING: usize = 256 * 1024;

/// The most that a review may take meanwhile, and the most memory that the controller may have.
const PATIENCE: Duration = Duration::from_secs(2);
const MEMORY_MAX: u64 = 128 * 1024 * 1024;

/// How many files this process may have open.
fn open_files() -> Result<usize> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).context("no such limit")?;
    Ok(line.split_whitespace().nth(3).context("no number")?.parse()?)
}

#[tokio::test]
async fn reviews_are_answered_whoever_else_is_connected() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    let mut place = Place::new(&control_plane)?;
    place.show()?;
    let controller = place.controller(&control_plane).await?;
    let (client, port) = (TlsClient::new(&place.certificate.authority, HOST)?, place.port);
    eventually("the webhook is served", SOON, async || client.connect(port).await.map(drop)).await;
    let before = controller.rss()?;

    let times = Arc::new(Mutex::new(Vec::new()));
    let asking = tokio::spawn(ask_all_the_time(client.clone(), port, times.clone()));

    let room = open_files()?.saturating_sub(1_000);
    let idle = IDLE.min(room);
    if idle < IDLE {
        println!("only {idle} connections: this process may not open more files");
    }
    let turns = Arc::new(Semaphore::new(64));
    let mut opening = JoinSet::new();
    let began = Instant::now();
    for _ in 0..idle {
        let (client, turns) = (client.clone(), turns.clone());
        opening.spawn(async move {
            let _turn = turns.acquire().await?;
            client.connect(port).await
        });
    }
    let connections = opening.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    println!(
        "{} connections in {:?}: {} KiB, {} KiB before",
        connections.len(),
        began.elapsed(),
        controller.rss()? / 1024,
        before / 1024
    );

    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut stream = client.connect(port).await?;
        let head = format!("POST {PATH} HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 8000000\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        // Some are gone before they have sent it all.
        drop(stream.write_all(&vec![b' '; BEGINNING]).await);
        slow.push(stream);
    }
    for _ in 0..20 {
        for stream in &mut slow {
            drop(stream.write_all(b" ").await);
        }
        sleep(Duration::from_millis(50)).await;
    }
    println!(
        "and {} slow bodies: {} KiB, at most {} KiB",
        slow.len(),
        controller.rss()? / 1024,
        controller.peak_rss()? / 1024
    );
    if asking.is_finished() {
        match asking.await?? {}
    }
    asking.abort();
    let mut times = times.lock().expect("nobody has panicked").clone();
    times.sort();
    println!("{} reviews: {:?} in the median, {:?} at most", times.len(), times[times.len() / 2], times.last());
    ensure!(controller.peak_rss()? < MEMORY_MAX, "it uses {} bytes", controller.peak_rss()?);

    drop((connections, slow));
    assert_eq!(controller.stop().await?, Exit::Code(0));
    control_plane.finish().await
}

/// Asks over one connection that is kept, and over a new one each time; fails when an answer is late or is none.
async fn ask_all_the_time(client: TlsClient, port: u16, times: Arc<Mutex<Vec<Duration>>>) -> Result<Infallible> {
    let good = review(&json!([{"useDefaultCAs": true}]));
    let mut kept = client.connect(port).await?;
    loop {
        for is_kept in [true, false] {
            let began = Instant::now();
            let answer = if is_kept {
                ask(&mut kept, &good).await.context("over a connection that is kept")?
            } else {
                ask(&mut client.connect(port).await?, &good).await.context("over a new connection")?
            };
            let took = began.elapsed();
            ensure!(answer["response"]["allowed"] == true, "{answer}");
            ensure!(took < PATIENCE, "it took {took:?}, kept: {is_kept}");
            times.lock().expect("nobody has panicked").push(took);
        }
        sleep(Duration::from_millis(20)).await;
    }
}
