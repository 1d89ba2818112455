//! An API server for tests.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::connection::Connection;

/// The first line of each request, in order.
pub(super) type RequestLines = Arc<Mutex<Vec<String>>>;

/// Returns a connection to a server that answers requests in turn with these codes and bodies, and those after them
/// never.
pub(super) async fn server(answers: Vec<(u16, Value)>) -> (Connection, RequestLines) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let requests = RequestLines::default();
    let lines = requests.clone();
    tokio::spawn(async move {
        let mut answers = answers.into_iter();
        let mut unanswered = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a whole head"));
            }
            let head = String::from_utf8(head).expect("a head is text");
            lines
                .lock()
                .expect("no holder of the lock panics")
                .push(head.lines().next().unwrap_or_default().to_owned());
            let Some((code, body)) = answers.next() else {
                unanswered.push(stream);
                continue;
            };
            let body = body.to_string();
            let answer = format!(
                "HTTP/1.1 {code} -\r\ncontent-type: application/json\r\nretry-after: 0\r\nconnection: close\r\n\
                content-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.expect("a reader");
        }
    });
    let config = kube::Config::new(format!("http://{address}").parse().expect("a URL"));
    (Connection::new(&config, None).expect("nothing to load"), requests)
}
