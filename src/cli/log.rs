//! The log: one line an event, to standard error.

use std::io;

use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::text::{JsonLineWriter, LogLineWriter};

use super::args::LogFormat;

/// Starts it, for the life of the process.
pub(super) fn start(level: LevelFilter, format: LogFormat) {
    log(level, format, io::stderr).init();
}

/// The log, written elsewhere.
fn log<W: io::Write + 'static>(
    level: LevelFilter,
    format: LogFormat,
    writer: impl Fn() -> W + Send + Sync + 'static,
) -> Box<dyn Subscriber + Send + Sync> {
    // Whoever sent a request says what became of it: the client's own words are for those who look for the reason.
    let client = if level > LevelFilter::INFO { level } else { LevelFilter::OFF };
    let filter = Targets::new().with_default(level).with_target("kube_client", client);
    let log = tracing_subscriber::fmt::layer().with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => Box::new(registry.with(log.with_ansi(false).with_writer(move || LogLineWriter(writer())))),
        LogFormat::Json => {
            let log = log.with_writer(move || JsonLineWriter(writer()));
            Box::new(registry.with(log.json().flatten_event(true)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::text;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panics with it").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written of an event with this message and this field.
    fn written(format: LogFormat, message: &str, field: &str) -> String {
        let written = Written::default();
        let writer = written.clone();
        let log = log(LevelFilter::INFO, format, move || writer.clone());
        tracing::subscriber::with_default(log, || tracing::warn!(bundle = field, "{message}"));
        let bytes = written.0.lock().expect("nobody panics with it").clone();
        String::from_utf8(bytes).expect("text")
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn an_event_is_one_line_whatever_others_wrote(message in "(.|\\n|\\pC|\\pZ|[\"\\\\\u{9b}\u{202e}\u{200b}]){0,60}", field in "(.|\\n|\\pC|[\"\\\\\u{9b}\u{2066}]){0,60}") {
            for format in [LogFormat::Text, LogFormat::Json] {
                let line = written(format, &message, &field);
                let line = line.strip_suffix('\n').expect("a line");
                prop_assert_eq!(&*text::escape(line), line);
                if let LogFormat::Json = format {
                    let read: Value = serde_json::from_str(line).expect("JSON");
                    let escaped = |text: &str| Value::from(&*text::escape(text));
                    prop_assert_eq!((&read["message"], &read["bundle"]), (&escaped(&message), &escaped(&field)));
                }
            }
        }
    }
}
