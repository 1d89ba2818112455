//! Bodies: how large they may be, and how much memory all of them together.

use std::sync::Arc;

use rootcast::webhook::{INJECT, MUTATE, ServerLimits, VALIDATE_BUNDLE, mutations, validation};

use crate::answers::{Small, operator};
use crate::stage::{Client, Server, sizes};

const MIB: usize = 1024 * 1024;

async fn chunked(client: &mut Client, body: &[u8]) {
    client.send("POST /size HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await.expect("a head");
    for chunk in body.chunks(100_000) {
        client.send(format!("{:x}\r\n", chunk.len())).await.expect("a size");
        client.send(chunk).await.expect("a chunk");
        client.send("\r\n").await.expect("an end");
    }
    client.send("0\r\n\r\n").await.expect("the end");
}

#[tokio::test]
async fn a_body_may_have_8_mib_and_a_larger_one_is_refused_with_the_limit() {
    let server = Server::start(sizes(), ServerLimits::default()).await;
    let mut client = server.client().await;
    for size in [0, 1, 100_000, 7 * MIB, 8 * MIB] {
        let response = client.post("/size", vec![b'x'; size]).await.expect("an answer");
        assert_eq!((response.code, response.body), (200, size.to_string()));
    }
    chunked(&mut client, &vec![b'x'; 8 * MIB]).await;
    assert_eq!(client.response().await.expect("an answer").body, (8 * MIB).to_string());

    let refusal = "the body is larger than 8388608 bytes, the most that is taken";
    for size in [8 * MIB + 1, 30 * MIB] {
        let mut client = server.client().await;
        let response = client.post("/size", vec![b'x'; size]).await.expect("an answer");
        assert_eq!((response.code, &*response.body), (413, refusal));
        client.closed().await;
    }
    let mut client = server.client().await;
    chunked(&mut client, &vec![b'x'; 30 * MIB]).await;
    assert_eq!(client.response().await.expect("an answer").body, refusal);
}

#[tokio::test]
async fn bodies_that_come_slowly_make_room_for_others_when_memory_is_short() {
    let limits = ServerLimits { max_total_body_bytes: 20 * MIB, ..ServerLimits::default() };
    let server = Server::start(sizes(), limits).await;
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut client = server.client().await;
        client.announce("/size", 8 * MIB).await.expect("a head");
        client.send(vec![b'x'; 8 * MIB - 1]).await.expect("nearly all");
        slow.push(client);
    }
    // There is room for a small one, and for a large one when one of the slow ones has gone.
    let mut client = server.client().await;
    assert_eq!(client.post("/size", "small").await.expect("an answer").body, "5");
    assert_eq!(client.post("/size", vec![b'x'; 8 * MIB]).await.expect("an answer").body, (8 * MIB).to_string());
    assert!(slow[0].send("x").await.is_err() || slow[0].response().await.is_err(), "the slowest has gone");
    slow[1].send("x").await.expect("it is still there");
    assert_eq!(slow[1].response().await.expect("an answer").body, (8 * MIB).to_string());
}

#[tokio::test]
async fn a_body_for_which_nobody_can_make_room_is_refused() {
    let limits = ServerLimits { max_total_body_bytes: MIB, ..ServerLimits::default() };
    let server = Server::start(sizes(), limits).await;
    let response = server.client().await.post("/size", vec![b'x'; 2 * MIB]).await.expect("an answer");
    assert_eq!((response.code, &*response.body), (503, "bodies in flight hold 1048576 bytes already: try again"));
}

#[tokio::test]
async fn reviews_of_up_to_8_mib_get_to_those_who_decide() {
    let (_options, options) = tokio::sync::watch::channel(Arc::default());
    let pods = mutations(Small { native: true }, operator(), options, Arc::new(|_, _| ()));
    for (path, router) in [(INJECT, pods.clone()), (MUTATE, pods), (VALIDATE_BUNDLE, validation("cert-manager".into()))]
    {
        let server = Server::start(router, ServerLimits::default()).await;
        let mut client = server.client().await;
        for size in [1, 64 * 1024, 64 * 1024 + 1, 2 * MIB + 1, 8 * MIB] {
            let response = client.post(path, vec![b' '; size]).await.expect("an answer");
            assert_eq!(response.code, 400, "{path} {size}: {}", response.body);
            assert!(response.body.starts_with("this is no AdmissionReview"), "{path} {size}: {}", response.body);
        }
    }
}
