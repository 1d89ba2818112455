//! Output formats: text for people, in the forms that a command has, or a document for programs.

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::Value;

/// The output format of a command: text in one of the forms `T`, or a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutputFormat<T> {
    /// Text for people.
    Text(T),
    /// A document for programs.
    Document(DocumentFormat),
}

/// The format of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum DocumentFormat {
    /// JSON, with all details.
    Json,
    /// YAML, with all details.
    Yaml,
}

/// The text of a command that has one form of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TableFormat {
    /// Text for people.
    Table,
}

impl<T: ValueEnum + Send + Sync + 'static> OutputFormat<T> {
    /// Returns the parser of `--output`.
    pub(super) fn parser() -> impl TypedValueParser<Value = Self> {
        let texts = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let documents = DocumentFormat::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        PossibleValuesParser::new(texts.chain(documents)).map(|name| match T::from_str(&name, false) {
            Ok(text) => Self::Text(text),
            Err(_) => Self::Document(
                DocumentFormat::from_str(&name, false).expect("a possible value is that of a text or a document"),
            ),
        })
    }
}

impl<T> OutputFormat<T> {
    /// Returns the format with another text; an error where the text has no counterpart.
    pub(super) fn try_map_text<U>(self, text: impl FnOnce(T) -> anyhow::Result<U>) -> anyhow::Result<OutputFormat<U>> {
        Ok(match self {
            Self::Text(form) => OutputFormat::Text(text(form)?),
            Self::Document(format) => OutputFormat::Document(format),
        })
    }

    /// Formats the output.
    pub(super) fn format(
        self,
        text: impl FnOnce(T) -> String,
        document: impl FnOnce() -> Value,
    ) -> anyhow::Result<String> {
        match self {
            Self::Text(form) => Ok(text(form)),
            Self::Document(format) => format.format(&document()),
        }
    }
}

impl DocumentFormat {
    /// Formats a document.
    pub(super) fn format(self, document: &Value) -> anyhow::Result<String> {
        Ok(match self {
            Self::Json => serde_json::to_string_pretty(document)? + "\n",
            Self::Yaml => serde_saphyr::to_string(document)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use clap::Command;

    use super::*;

    #[test]
    fn a_command_offers_its_texts_and_all_documents() {
        let parser = OutputFormat::<TableFormat>::parser();
        let names = parser.possible_values().expect("values").map(|value| value.get_name().to_owned());
        assert_eq!(names.collect::<Vec<_>>(), ["table", "json", "yaml"]);
        let parsed = |name: &str| parser.parse_ref(&Command::new("test"), None, OsStr::new(name)).ok();
        assert_eq!(parsed("table"), Some(OutputFormat::Text(TableFormat::Table)));
        assert_eq!(parsed("yaml"), Some(OutputFormat::Document(DocumentFormat::Yaml)));
        assert_eq!(parsed("pem"), None);
    }
}
