//! The log: one line an event, to standard error.

use std::ffi::OsStr;
use std::io;

use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::text::{JsonLineWriter, LogLineWriter};

use super::args::LogFormat;

/// The environment variable with levels by module.
const RUST_LOG: &str = "RUST_LOG";

/// The error of a `RUST_LOG` that is no list of levels by module.
#[derive(Debug, thiserror::Error)]
#[error("{RUST_LOG}={value:?}: {cause}: give levels by module, such as rootcast::client=debug,info")]
pub(super) struct InvalidLogFilterError {
    value: String,
    cause: String,
}

/// Starts the log for the life of the process, at `level` but for what `RUST_LOG` sets.
///
/// # Errors
/// When `RUST_LOG` cannot be parsed.
pub(super) fn start(level: LevelFilter, format: LogFormat) -> Result<(), InvalidLogFilterError> {
    let variable = std::env::var_os(RUST_LOG).unwrap_or_default();
    subscriber(filter(level, &variable)?, format, io::stderr).init();
    Ok(())
}

/// Returns the filter of `level` and of `RUST_LOG`, which wins where both set a level. An empty variable sets none.
fn filter(level: LevelFilter, variable: &OsStr) -> Result<Targets, InvalidLogFilterError> {
    let invalid =
        |cause: &str| InvalidLogFilterError { value: variable.to_string_lossy().into_owned(), cause: cause.to_owned() };
    let text = variable.to_str().ok_or_else(|| invalid("it is not UTF-8"))?;
    let directives: Vec<_> = text.split(',').map(str::trim).filter(|directive| !directive.is_empty()).collect();
    let by_module = match &*directives {
        [] => Targets::new(),
        _ => directives.join(",").parse().map_err(|error: ParseError| invalid(&error.to_string()))?,
    };
    let level = by_module.default_level().unwrap_or(level);
    // The sender of a request logs its result: kube's own lines are for debugging.
    let client = if level > LevelFilter::INFO { level } else { LevelFilter::OFF };
    Ok(Targets::new().with_default(level).with_target("kube_client", client).with_targets(by_module))
}

/// Returns the subscriber that writes to what `writer` makes.
fn subscriber<W: io::Write + 'static>(
    filter: Targets,
    format: LogFormat,
    writer: impl Fn() -> W + Send + Sync + 'static,
) -> Box<dyn Subscriber + Send + Sync> {
    let log = tracing_subscriber::fmt::layer().with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => Box::new(registry.with(log.with_ansi(false).with_writer(move || LogLineWriter(writer())))),
        LogFormat::Json => {
            let log = log.with_writer(move || JsonLineWriter(writer()));
            Box::new(registry.with(log.json().flatten_event(true).with_span_list(false)))
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
            self.0.lock().expect("no thread panics while it holds the lock").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn rust_log_sets_levels_by_module_and_the_flag_the_others() {
        use tracing::Level;

        const CLIENT: &str = "rootcast::client::watch";
        const KUBE: &str = "kube_client::client";
        let rows = [
            ("", CLIENT, Level::INFO, true),
            ("", CLIENT, Level::DEBUG, false),
            ("", KUBE, Level::ERROR, false),
            ("rootcast::client=debug", CLIENT, Level::DEBUG, true),
            ("rootcast::client=debug", "rootcast::fanout", Level::DEBUG, false),
            ("rootcast::client=debug", "rootcast::fanout", Level::INFO, true),
            ("rootcast::client=debug, warn,", CLIENT, Level::DEBUG, true),
            ("rootcast::client=debug, warn,", "rootcast::fanout", Level::INFO, false),
            ("rootcast::client=off", CLIENT, Level::ERROR, false),
            ("info", KUBE, Level::ERROR, false),
            ("debug", KUBE, Level::DEBUG, true),
            ("debug,kube_client=warn", KUBE, Level::INFO, false),
            ("kube_client=info", KUBE, Level::INFO, true),
        ];
        for (variable, module, level, expected) in rows {
            let filter = filter(LevelFilter::INFO, variable.as_ref()).expect("a filter");
            assert_eq!(filter.would_enable(module, &level), expected, "{variable}: {module} {level}");
        }
        for variable in ["rootcast=loud", "rootcast=debug=info", "info,=loud"] {
            let error = filter(LevelFilter::INFO, variable.as_ref()).expect_err(variable).to_string();
            assert!(error.starts_with(&format!("RUST_LOG={variable:?}: ")), "{error}");
        }
    }

    /// What is written of an event with this message and this field.
    fn written(format: LogFormat, message: &str, field: &str) -> String {
        let written = Written::default();
        let writer = written.clone();
        let filter = filter(LevelFilter::INFO, OsStr::new("")).expect("nothing to parse");
        let subscriber = subscriber(filter, format, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || tracing::warn!(bundle = field, "{message}"));
        let bytes = written.0.lock().expect("no thread panics while it holds the lock").clone();
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
