//! The end of a server.

use std::time::{Duration, Instant};

use rootcast::webhook::ServerLimits;
use tokio::time::{sleep, timeout};

use crate::stage::{SOON, Server, sizes};

#[tokio::test]
async fn what_is_in_flight_is_answered_and_nothing_else_is_waited_for() {
    let mut server = Server::start(sizes(), ServerLimits::default()).await;
    let _silent = tokio::net::TcpStream::connect(server.address).await.expect("a connection");
    let _fresh = server.client().await;
    let mut idle = server.client().await;
    idle.post("/size", "x").await.expect("an answer");
    let mut busy = server.client().await;
    busy.announce("/slow", 3).await.expect("a head");
    let mut receiving = server.client().await;
    receiving.announce("/size", 3).await.expect("a head");
    sleep(Duration::from_millis(200)).await;

    server.stop();
    idle.closed().await;
    assert!(server.try_client().await.is_err(), "nobody is let in");
    busy.send("123").await.expect("the body");
    receiving.send("123").await.expect("the body");
    for client in [&mut busy, &mut receiving] {
        let response = client.response().await.expect("an answer");
        assert_eq!((response.code, &*response.body), (200, "3"));
        assert!(response.head.contains("connection: close"), "{}", response.head);
        client.closed().await;
    }
    timeout(SOON, server.task).await.expect("it ends").expect("without a panic");
}

#[tokio::test]
async fn what_never_comes_to_an_end_is_cut_when_the_time_for_it_is_over() {
    let limits = ServerLimits { drain_timeout: Duration::from_secs(1), ..ServerLimits::default() };
    let mut server = Server::start(sizes(), limits).await;
    let mut client = server.client().await;
    client.announce("/size", 3).await.expect("a head");
    client.send("12").await.expect("most of the body");
    sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    server.stop();
    timeout(SOON, &mut server.task).await.expect("it ends").expect("without a panic");
    assert!((1.0..3.0).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
    client.closed().await;
}

#[tokio::test]
async fn while_it_lingers_everybody_gets_an_answer_and_is_told_to_go() {
    let limits = ServerLimits { shutdown_delay: Duration::from_secs(1), ..ServerLimits::default() };
    let mut server = Server::start(sizes(), limits).await;
    let mut idle = server.client().await;
    assert!(!idle.post("/size", "x").await.expect("an answer").head.contains("connection: close"));
    server.stop();
    sleep(Duration::from_millis(200)).await;
    let mut late = server.client().await;
    for client in [&mut idle, &mut late] {
        let response = client.post("/size", "x").await.expect("an answer");
        assert!(response.code == 200 && response.head.contains("connection: close"), "{}", response.head);
    }
    timeout(SOON, server.task).await.expect("it ends").expect("without a panic");
}
