//! Lines of the log about a review.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use rootcast::inject::CainjectorOptions;
use rootcast::webhook::{INJECT, MUTATE, ServerLimits, mutations};
use serde_json::json;
use tokio::sync::watch;
use tracing::level_filters::LevelFilter;

use crate::answers::{Small, operator, pod, review};
use crate::stage::Server;

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no holder of the lock panics").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn each_line_about_a_review_has_its_uid_and_where_they_are_known_namespace_and_pod() {
    let written = Written::default();
    let writer = written.clone();
    let log = tracing_subscriber::fmt().with_max_level(LevelFilter::DEBUG).with_writer(move || writer.clone());
    let _log = tracing::subscriber::set_default(log.with_ansi(false).with_target(false).without_time().finish());
    let (_, options) = watch::channel(Arc::new(CainjectorOptions::default()));
    let router = mutations(Small { native: true }, operator(), options, Arc::new(|_, _| {}));
    let server = Server::start(router, ServerLimits::default()).await;
    let mut client = server.client().await;
    let mut named = review("Pod", "CREATE", &pod(&json!({})));
    named["request"]["name"] = json!("web-1");
    let mut lost = named.clone();
    lost["request"]["namespace"] = json!("lost");
    for (path, body) in [
        (MUTATE, named.to_string()),
        (MUTATE, review("Service", "CREATE", &json!({})).to_string()),
        (INJECT, lost.to_string()),
        (INJECT, String::new()),
    ] {
        client.post(path, &body).await.expect("a response");
    }
    let written = String::from_utf8(written.0.lock().expect("no holder of the lock panics").clone()).expect("text");
    let lines: Vec<_> = written.lines().map(str::trim_start).collect();
    let expected = [
        r#"INFO review{uid="0b4d" namespace="shop" pod="web-1"}: cainjector.lestak.sh: pod not injected: "#,
        r#"DEBUG review{uid="0b4d"}: reviewed namespace="shop" pod="" outcome=Unchanged"#,
        r#"WARN review{uid="0b4d" namespace="lost" pod="web-1"}: a review is not decided: namespace lost: "#,
        "DEBUG review: a malformed review: this is no AdmissionReview: ",
    ];
    assert_eq!(lines.len(), expected.len(), "{written}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}");
    }
}
