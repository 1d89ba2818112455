//! Many connections: who stays when there is no room, and whether anybody notices.

use std::time::Duration;

use rootcast::webhook::ServerLimits;
use tokio::time::sleep;

use crate::stage::{Server, sizes};

#[tokio::test]
async fn when_there_is_no_room_strangers_go_first_and_then_who_was_idle_for_longest() {
    let limits = ServerLimits { max_connections: 5, ..ServerLimits::default() };
    let server = Server::start(sizes(), limits).await;
    let (mut first, mut second) = (server.client().await, server.client().await);
    first.post("/size", "x").await.expect("an answer");
    second.post("/size", "x").await.expect("an answer");
    let (mut busy, mut stranger) = (server.client().await, server.client().await);
    busy.announce("/slow", 1).await.expect("a head");
    busy.send("x").await.expect("a body");
    let mut another = server.client().await;
    another.post("/size", "x").await.expect("an answer");
    sleep(Duration::from_millis(100)).await;

    let mut newcomer = server.client().await;
    stranger.closed().await;
    newcomer.post("/size", "x").await.expect("an answer");
    let mut newcomer = server.client().await;
    first.closed().await;
    newcomer.post("/size", "x").await.expect("an answer");
    assert!(!second.is_closed().await && !another.is_closed().await);
    assert_eq!(busy.response().await.expect("an answer").code, 200);
}

#[tokio::test]
async fn whoever_is_served_is_not_pushed_out_by_a_thousand_strangers() {
    let limits = ServerLimits { max_connections: 100, ..ServerLimits::default() };
    let server = Server::start(sizes(), limits).await;
    let mut friend = server.client().await;
    friend.post("/size", "x").await.expect("an answer");
    let mut strangers = Vec::new();
    for number in 0..1000 {
        strangers.push(server.client().await);
        if number % 100 == 0 {
            assert_eq!(friend.post("/size", "x").await.expect("an answer").code, 200);
        }
    }
    assert!(!friend.is_closed().await);
    let mut open = 0;
    for stranger in &mut strangers {
        open += usize::from(!stranger.is_closed().await);
    }
    assert_eq!(open, 99);
}
