//! What a connection may take its time for, and what it may not.

use std::time::{Duration, Instant};

use rootcast::webhook::ServerLimits;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::stage::{SOON, Server, short, sizes};

#[tokio::test]
async fn a_connection_that_does_not_get_on_is_closed_whatever_it_is_doing() {
    let server = Server::start(sizes(), ServerLimits { idle_timeout: Duration::from_mins(1), ..short() }).await;
    let began = Instant::now();

    let mut silent = TcpStream::connect(server.address).await.expect("a connection");
    let mut half = TcpStream::connect(server.address).await.expect("a connection");
    tokio::io::AsyncWriteExt::write_all(&mut half, &[22, 3, 1, 2, 0, 1]).await.expect("the start of a hello");
    let mut head = server.client().await;
    head.send("POST /size HTTP/1.1\r\nhost: loc").await.expect("half a head");

    for stream in [&mut silent, &mut half] {
        let read = timeout(SOON, stream.read(&mut [0; 1024])).await.expect("it is closed");
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
    head.closed().await;
    assert!(began.elapsed() >= Duration::from_millis(450), "they had their time");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_answered_as_late() {
    let server = Server::start(sizes(), short()).await;
    let mut client = server.client().await;
    client.announce("/size", 100).await.expect("a head");
    client.send("half of it").await.expect("half a body");
    let response = client.response().await.expect("an answer");
    assert_eq!((response.code, &*response.body), (408, "the body did not arrive in 500ms"));
    client.closed().await;
}

#[tokio::test]
async fn a_decision_that_takes_too_long_is_answered_as_late() {
    let server = Server::start(sizes(), short()).await;
    let response = server.client().await.post("/slow", "x").await.expect("an answer");
    assert_eq!((response.code, &*response.body), (504, "body and decision took longer than 500ms"));
}

#[tokio::test]
async fn an_idle_connection_stays_for_its_time_and_not_for_ever() {
    let server = Server::start(sizes(), short()).await;
    let mut client = server.client().await;
    for size in ["1", "22", "333"] {
        // Longer than a handshake, a head or a request may take.
        sleep(Duration::from_millis(900)).await;
        let response = client.post("/size", size).await.expect("an answer");
        assert_eq!((response.code, response.body), (200, size.len().to_string()));
    }
    let mut fresh = server.client().await;
    client.closed().await;
    fresh.closed().await;
}

#[tokio::test]
async fn requests_may_follow_each_other_without_waiting_for_answers() {
    let server = Server::start(sizes(), ServerLimits::default()).await;
    let mut client = server.client().await;
    let request =
        |body: &str| format!("POST /size HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    client.send(request("1") + &request("22") + &request("333")).await.expect("three requests");
    for size in ["1", "2", "3"] {
        assert_eq!(client.response().await.expect("an answer").body, size);
    }
}

#[tokio::test]
async fn what_is_no_tls_or_no_http_harms_nobody() {
    let server = Server::start(sizes(), ServerLimits::default()).await;
    let mut good = server.client().await;
    let mut plain = TcpStream::connect(server.address).await.expect("a connection");
    tokio::io::AsyncWriteExt::write_all(&mut plain, b"GET / HTTP/1.1\r\n\r\n").await.expect("sent");
    let mut bad = server.client().await;
    bad.send("\0\x01nonsense\r\n\r\n").await.expect("sent");
    assert_eq!(bad.response().await.expect("an answer").code, 400);
    bad.closed().await;
    let mut large = server.client().await;
    large.send(format!("POST /size HTTP/1.1\r\nx: {}", "y".repeat(40_000))).await.expect("sent");
    assert_eq!(large.response().await.expect("an answer").code, 431);
    assert_eq!(good.post("/size", "four").await.expect("an answer").body, "4");
}
