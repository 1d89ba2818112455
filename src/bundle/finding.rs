//! What was found in sources beside plain certificates.

use std::fmt;

use jiff::Timestamp;

use crate::trust::{JavaParseError, NonPemFormat};

/// How many days before its end a certificate is named, and named anew.
pub const EXPIRY_WARNING_DAYS: [i64; 3] = [30, 7, 1];

/// Something in a source that is not simply a valid certificate. What is most urgent comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// What.
    pub what: Observation,
    /// Where: the source, its key and the line.
    pub location: String,
}

/// What was found. Certificates are named by subject and short fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Observation {
    /// Published although its time is over.
    Expired(String, Timestamp),
    /// Left out because its time is over.
    LeftOutExpired(String, Timestamp),
    /// Its time will be over within so many days.
    ExpiresSoon {
        /// How many days: one of [`SOON`].
        within: i64,
        /// The certificate.
        title: String,
        /// The last moment of its time.
        end: Timestamp,
    },
    /// Published although its time has not begun.
    NotYetValid(String, Timestamp),
    /// Left out because it is no CA certificate.
    LeftOutNonCa(String),
    /// Left out because it is known to break programs.
    LeftOutRejected(String),
    /// Published as PEM, but in no keystore, because Java refuses it and every keystore that holds it.
    NotForJava(String, JavaParseError),
    /// The key holds no PEM at all; what it holds instead, if that is known.
    NoPem(Option<NonPemFormat>),
    /// The object is the output of a Bundle, which a selector does not read.
    OwnOutput,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, location } = self;
        let date = |at: &Timestamp| at.strftime("%Y-%m-%d").to_string();
        match what {
            Observation::Expired(title, at) => {
                write!(f, "{location}: {title} expired on {}", date(at))
            }
            Observation::LeftOutExpired(title, at) => {
                write!(f, "{location}: {title} left out: expired on {}", date(at))
            }
            Observation::LeftOutNonCa(title) => {
                write!(f, "{location}: {title} left out: not a CA certificate")
            }
            Observation::LeftOutRejected(why) => write!(f, "{location}: left out: {why}"),
            Observation::ExpiresSoon { within, title, end } => {
                let (days, date) = (if *within == 1 { "day" } else { "days" }, date(end));
                write!(f, "{location}: {title} expires on {date}, within {within} {days}")
            }
            Observation::NotYetValid(title, at) => {
                write!(f, "{location}: {title} is not valid before {}", date(at))
            }
            Observation::NotForJava(title, flaw) => {
                write!(f, "{location}: {title} left out of the keystores: Java refuses it: {flaw}; have it issued anew")
            }
            Observation::NoPem(None) => write!(f, "{location}: holds no PEM certificate"),
            Observation::NoPem(Some(form)) => write!(f, "{location}: holds no PEM certificate; {form}"),
            Observation::OwnOutput => {
                write!(f, "{location}: not read: it carries the Bundle label, so it is the output of a Bundle")
            }
        }
    }
}
