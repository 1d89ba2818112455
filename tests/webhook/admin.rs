//! Probes and metrics over plain TCP: they are answered whoever else is connected, and whoever does nothing is let go.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use rootcast::webhook::{ServerLimits, serve_plain};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::stage::SOON;

const REQUEST: &str = "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";

async fn start(limits: ServerLimits) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(serve_plain(listener, Router::new().route("/healthz", get(async || "ok")), limits));
    address
}

/// What comes back for these bytes before the connection is closed, or soon.
async fn exchange(stream: &mut TcpStream, bytes: &str) -> String {
    let mut read = Vec::new();
    // Whoever is closed upon while sending hears of it by reading.
    let _ = stream.write_all(bytes.as_bytes()).await;
    let _ = timeout(Duration::from_millis(300), stream.read_to_end(&mut read)).await;
    String::from_utf8(read).expect("text")
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("a connection")
}

async fn assert_probed(address: SocketAddr) {
    let answer = exchange(&mut connect(address).await, REQUEST).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("ok"), "{answer}");
}

/// Waits until a connection is closed.
async fn closed(mut stream: TcpStream) {
    let mut sink = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut sink)).await.expect("it is closed");
}

#[tokio::test]
async fn a_probe_is_answered_among_more_half_open_requests_than_there_is_room_for() {
    let address = start(ServerLimits::admin()).await;
    let mut strangers = Vec::new();
    for number in 0..600 {
        let mut stranger = connect(address).await;
        match number % 3 {
            0 => {}
            1 => stranger.write_all(b"GET /hea").await.expect("sent"),
            _ => drop(stranger.write_all(&[b'x'; 8 * 1024 - 1]).await),
        }
        strangers.push(stranger);
        if number % 100 == 99 {
            assert_probed(address).await;
        }
    }
    // Those that are left are let go of before long, and nobody has to come for that.
    let began = Instant::now();
    for stranger in strangers {
        closed(stranger).await;
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_request_is_refused_where_it_has_what_no_probe_has() {
    let address = start(ServerLimits::admin()).await;
    let many = (0..2000).map(|number| format!("h{number}: x")).collect::<Vec<_>>().join("\r\n") + "\r\n";
    let head = |headers: &str| format!("GET /healthz HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
    for (request, code) in [
        (head(&format!("x: {}\r\n", "y".repeat(390_000))), "431"),
        (head(&many), "431"),
        (
            head("transfer-encoding: chunked\r\n") + "fff\r\n" + &"x".repeat(4095) + "\r\nfff\r\n" + &"x".repeat(4095),
            "413",
        ),
        (head("content-length: 5000\r\n") + &"x".repeat(5000), "413"),
        ("\0nonsense\r\n\r\n".to_owned(), "400"),
    ] {
        let answer = exchange(&mut connect(address).await, &request).await;
        assert!(answer.is_empty() || answer.starts_with(&format!("HTTP/1.1 {code} ")), "{code}: {answer}");
    }
    assert_probed(address).await;
}

#[tokio::test]
async fn a_body_that_never_ends_and_an_idle_connection_have_their_time_and_no_more() {
    let short = Duration::from_millis(500);
    let address =
        start(ServerLimits { request_timeout: short, idle_timeout: 2 * short, ..ServerLimits::admin() }).await;
    let mut idle = connect(address).await;
    assert!(exchange(&mut idle, REQUEST).await.ends_with("ok"));
    let mut endless = connect(address).await;
    endless
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
        .await
        .expect("sent");
    closed(endless).await;
    closed(idle).await;
    assert_probed(address).await;
}

#[tokio::test]
async fn requests_follow_each_other_over_one_connection() {
    let address = start(ServerLimits::admin()).await;
    let mut client = connect(address).await;
    for _ in 0..3 {
        let answer = exchange(&mut client, &REQUEST.repeat(20)).await;
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 20, "{answer}");
    }
}
