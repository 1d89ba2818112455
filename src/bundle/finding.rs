//! Findings: what sources hold beside plain certificates.

use std::fmt;

use jiff::Timestamp;

use crate::trust::{JavaParseError, NonPemFormat};

use super::denial::Denier;

/// Days before its expiry at which a certificate is reported.
pub const EXPIRY_WARNING_DAYS: [i64; 3] = [30, 7, 1];

/// Something in a source that is not simply a valid certificate. Ordered by urgency, the most urgent first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// What was found.
    pub what: Observation,
    /// The source, its key and the line.
    pub location: String,
}

/// The kind of a finding. Certificates are named by subject and short fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Observation {
    /// A published certificate that has expired.
    Expired(String, Timestamp),
    /// A certificate left out because it has expired.
    LeftOutExpired(String, Timestamp),
    /// A published certificate that expires soon.
    ExpiresSoon {
        /// Number of days within which it expires: one of [`EXPIRY_WARNING_DAYS`].
        within: i64,
        /// The certificate.
        title: String,
        /// Expiry of the certificate.
        end: Timestamp,
    },
    /// A published certificate that is not valid yet.
    NotYetValid(String, Timestamp),
    /// A certificate left out because it is not of a CA.
    LeftOutNonCa(String),
    /// A certificate left out because it is known to break programs.
    LeftOutRejected(String),
    /// A certificate left out because it is denied.
    Denied(String, Denier),
    /// A certificate published as PEM but in no keystore, because Java refuses it and every keystore that holds it.
    NotForJava(String, JavaParseError),
    /// A key without PEM; with the format that it holds instead, if that is known.
    NoPem(Option<NonPemFormat>),
    /// An object that is the output of a Bundle, which a selector does not read.
    OwnOutput,
    /// An annotation of the Bundle that means nothing here.
    UnknownAnnotation,
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
            Observation::Denied(title, denier) => {
                write!(f, "{location}: {title} left out: {denier}: {}", denier.remedy())
            }
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
            Observation::UnknownAnnotation => {
                write!(
                    f,
                    "{location}: not known, so it changes nothing: known are retain, exclude, ledger-lost, deletion-policy and trust-namespace"
                )
            }
        }
    }
}
