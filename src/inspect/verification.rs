//! Verification of a server: whether programs that trust a certificate set accept it, and why not, with the remedy.

use std::fmt;

use jiff::Timestamp;

use super::certificate_set::CertificateSet;
use super::table::{BAD, GOOD, day, days_left};
use crate::text::escape;
use crate::trust::Anchor;

/// Inputs of the verification of a server.
pub struct Verification<'a> {
    /// Name of the server as the user gave it.
    pub server: &'a str,
    /// Name or address for which the certificate has to be valid.
    pub host: &'a str,
    /// Trusted certificates.
    pub trusted: &'a CertificateSet,
    /// Chain that the server sends, its own certificate first.
    pub chain: &'a CertificateSet,
    /// Trusted certificates that, each alone, verify the chain by signatures, dates and purposes.
    pub verifying_anchors: Vec<Anchor>,
    /// Errors of the TLS handshake.
    pub errors: Vec<VerificationError>,
    /// Current time.
    pub now: Timestamp,
}

/// Error of TLS about a server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerificationError {
    /// Chain that leads to no trusted certificate.
    UnknownIssuer,
    /// Certificate of the chain that is expired or not valid yet.
    NotValidNow,
    /// Certificate for other names, which are listed.
    NotValidForName(Vec<String>),
    /// Certificate that is not for servers (extended key usage).
    InvalidPurpose,
    /// Certificate of a CA in place of a server's.
    CaUsedAsEndEntity,
    /// Signature that does not verify.
    BadSignature,
    /// Feature of the certificate that this program cannot check.
    NotChecked(String),
    /// Any other error, as its text.
    Other(String),
}

/// Result of the verification of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerificationResult {
    /// Name of the server as the user gave it.
    pub server: String,
    /// Whether the server is accepted.
    pub acceptance: Acceptance,
    /// Reasons, each with its remedy if it needs one.
    pub reasons: Vec<(String, Option<String>)>,
}

/// Whether programs accept a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// Programs that trust the set accept the server.
    Accepted,
    /// Programs that trust the set refuse the server.
    Refused,
    /// Something could not be checked.
    Unknown,
}

impl Acceptance {
    /// Returns whether the server is accepted; `None` if unknown.
    #[must_use]
    pub fn accepted(self) -> Option<bool> {
        match self {
            Self::Accepted => Some(true),
            Self::Refused => Some(false),
            Self::Unknown => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

type Reason = (String, Option<String>);

impl Verification<'_> {
    /// Decides as most programs do.
    ///
    /// Stricter than this program's TLS in one point: as for OpenSSL and Go, a CA that has expired verifies nothing.
    #[must_use]
    pub fn verify(&self) -> VerificationResult {
        let pinned = self.leaf().filter(|leaf| self.trusted.anchors().any(|anchor| anchor == *leaf));
        let mut refusal_reasons: Vec<Reason> =
            self.errors.iter().filter_map(|error| self.refusal_reason(error, pinned)).collect();
        refusal_reasons.extend(self.stale_anchors());
        let unchecked = self.errors.iter().filter_map(|error| self.unchecked_reason(error));
        let (acceptance, reasons) = match (refusal_reasons.is_empty(), unchecked.collect::<Vec<_>>()) {
            (false, _) => (Acceptance::Refused, refusal_reasons),
            (true, unchecked) if !unchecked.is_empty() => (Acceptance::Unknown, unchecked),
            (true, _) => (Acceptance::Accepted, self.acceptance_reasons(pinned)),
        };
        VerificationResult { server: self.server.to_owned(), acceptance, reasons }
    }

    /// Returns the server's own certificate.
    fn leaf(&self) -> Option<&Anchor> {
        self.chain.certificates.first()?.certificate.as_ref().ok()
    }

    /// Returns a reason if all CAs that verify the chain have expired.
    fn stale_anchors(&self) -> Option<Reason> {
        if self.verifying_anchors.iter().any(|anchor| is_valid(anchor, self.now)) {
            return None;
        }
        let stale = self.verifying_anchors.first()?;
        Some((
            format!("the CA {}", validity(stale, self.now)),
            Some(
                "put the CA's successor into the sources, and have the server's certificate issued by that".to_owned(),
            ),
        ))
    }

    /// Returns the reasons for which the server is accepted.
    fn acceptance_reasons(&self, pinned: Option<&Anchor>) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if let Some(leaf) = self.leaf() {
            let left = days_left(leaf.not_after(), self.now);
            reasons.push((
                format!("its certificate {} is valid until {}, {left} days", label(leaf), day(leaf.not_after())),
                None,
            ));
        }
        // An expired CA verifies nothing.
        let verifying: Vec<_> = self.verifying_anchors.iter().filter(|anchor| is_valid(anchor, self.now)).collect();
        match (verifying.first(), pinned) {
            (Some(anchor), _) => {
                reasons.push((format!("{} vouches for it", label(anchor)), None));
                if verifying.iter().all(|anchor| anchor.issuer_der() != anchor.subject_der()) {
                    reasons.push((
                        format!(
                            "that is no root: programs with OpenSSL's defaults want its issuer, {}, too",
                            quoted(&anchor.issuer())
                        ),
                        None,
                    ));
                }
            }
            (None, Some(_)) => reasons.push((
                "it is itself among the trusted certificates; programs that insist on a CA may refuse it all the same"
                    .to_owned(),
                None,
            )),
            (None, None) => {}
        }
        reasons
    }

    /// Returns the reason for a refusal. If the server's own certificate is trusted (`pinned`), only the time counts.
    fn refusal_reason(&self, error: &VerificationError, pinned: Option<&Anchor>) -> Option<Reason> {
        Some(match (error, pinned) {
            (VerificationError::NotChecked(_), _) => return None,
            (
                VerificationError::UnknownIssuer
                | VerificationError::BadSignature
                | VerificationError::CaUsedAsEndEntity,
                Some(leaf),
            ) => {
                return (!is_valid(leaf, self.now)).then(|| self.out_of_date());
            }
            (VerificationError::UnknownIssuer | VerificationError::BadSignature, None) => self.missing_issuer(),
            (VerificationError::NotValidNow, _) => self.out_of_date(),
            (VerificationError::NotValidForName(names), _) => self.wrong_name(names),
            (VerificationError::InvalidPurpose, _) => (
                "its certificate is not for servers (extended key usage)".to_owned(),
                Some("have one issued with the usage serverAuth (cert-manager: usages: [server auth])".to_owned()),
            ),
            (VerificationError::CaUsedAsEndEntity, None) => (
                "its certificate is a CA's, and not among the trusted ones".to_owned(),
                Some("have a server certificate issued (without CA:TRUE)".to_owned()),
            ),
            (VerificationError::Other(text), _) => (escape(text).into_owned(), None),
        })
    }

    fn unchecked_reason(&self, error: &VerificationError) -> Option<Reason> {
        let VerificationError::NotChecked(feature) = error else { return None };
        let command = format!("openssl s_client -verify_return_error -CAfile FILE -connect {}", self.server);
        Some((format!("this program cannot check {feature}"), Some(format!("ask {command}"))))
    }

    fn out_of_date(&self) -> Reason {
        let now = self.now.as_second();
        let (early, late) = (|anchor: &Anchor| now < anchor.not_before(), |anchor: &Anchor| anchor.not_after() < now);
        let which = self.chain.anchors().find(|anchor| early(anchor) || late(anchor));
        let Some(which) = which else {
            return ("a certificate of its chain is not valid now".to_owned(), None);
        };
        let (what, remedy) = match (Some(which) == self.leaf(), early(which)) {
            (true, false) => ("its certificate", "renew the server's certificate"),
            (false, false) => ("the intermediate", "have the server send the renewed intermediate"),
            (_, true) => ("the certificate", "wait, or correct the clock of the one who issued it or of this machine"),
        };
        (format!("{what} {}", validity(which, self.now)), Some(remedy.to_owned()))
    }

    fn wrong_name(&self, names: &[String]) -> Reason {
        let host = self.host;
        let remedy = format!("have the certificate issued for {host}, too, or connect by a name that it has");
        let cause = if names.is_empty() {
            format!(
                "its certificate has no alternative name at all, let alone {host}; \
                 programs no longer read the common name"
            )
        } else {
            const SHOWN: usize = 5;
            let more = names.len().saturating_sub(SHOWN);
            let shown = escape(&names[..names.len() - more].join(", ")).into_owned();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("its certificate is not for {host}, but for {shown}{more}")
        };
        (cause, Some(remedy))
    }

    /// Follows the chain to its last link and returns what is missing there.
    fn missing_issuer(&self) -> Reason {
        let Some(mut top) = self.leaf() else {
            return ("its certificate cannot be read".to_owned(), None);
        };
        let mut rest: Vec<&Anchor> = self.chain.anchors().skip(1).collect();
        while top.issuer_der() != top.subject_der() {
            let Some(at) = rest.iter().position(|issuer| issuer.subject_der() == top.issuer_der()) else { break };
            top = rest.swap_remove(at);
        }
        let issuer = quoted(&top.issuer());
        let namesake = self.trusted.anchors().find(|anchor| anchor.subject_der() == top.issuer_der() && *anchor != top);
        if let Some(namesake) = namesake {
            return (
                format!(
                    "unknown issuer: {} is trusted, but with another key than the one that signed {}",
                    label(namesake),
                    label(top)
                ),
                Some(
                    "that CA has a successor, or an impostor, of the same name: \
                     ask its owner for the present certificate and add it to the sources"
                        .to_owned(),
                ),
            );
        }
        if top.issuer_der() == top.subject_der() {
            let what = if Some(top) == self.leaf() { "it is self-signed" } else { "unknown issuer: the root" };
            return (
                format!("{what}: {} is not among the trusted certificates", label(top)),
                Some(format!("add it to the sources, once its owner has confirmed the SHA-256 {}", top.fingerprint())),
            );
        }
        (
            format!("unknown issuer: {issuer}, which issued {}, is neither sent by the server nor trusted", label(top)),
            Some(format!(
                "add {issuer} to the sources; \
                 if it is an intermediate of a trusted root, have the server send it instead"
            )),
        )
    }
}

fn is_valid(anchor: &Anchor, now: Timestamp) -> bool {
    (anchor.not_before()..=anchor.not_after()).contains(&now.as_second())
}

/// Formats a certificate for a sentence.
fn label(anchor: &Anchor) -> String {
    format!("{} ({})", quoted(anchor.subject()), anchor.fingerprint().short())
}

fn quoted(name: &str) -> String {
    if name.is_empty() { "(no name)".to_owned() } else { escape(name).into_owned() }
}

fn validity(anchor: &Anchor, now: Timestamp) -> String {
    let (label, end) = (label(anchor), day(anchor.not_after()));
    if now.as_second() < anchor.not_before() {
        format!("{label} is not valid before {}", day(anchor.not_before()))
    } else {
        let ago = -days_left(anchor.not_after(), now);
        format!("{label} expired on {end}, {ago} days ago")
    }
}

impl VerificationResult {
    /// Formats the acceptance in the first line, then a line for each reason, and one for its remedy.
    #[must_use]
    pub fn text(&self, trusted: &CertificateSet) -> String {
        let (word, style) =
            (self.acceptance.as_str(), if self.acceptance == Acceptance::Accepted { GOOD } else { BAD });
        let (server, trusted) = (escape(&self.server), escape(&trusted.name));
        format!("{server}: {style}{word}{style:#} by programs that trust {trusted}\n{self}")
    }
}

impl fmt::Display for VerificationResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (cause, remedy) in &self.reasons {
            writeln!(f, "  {cause}")?;
            if let Some(remedy) = remedy {
                writeln!(f, "    cure: {remedy}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::{Passwords, ValuePlace};

    /// Verifies a server that sends `shown`, which is trusted if `pinned`, with the errors of TLS.
    fn verify(shown: &str, pinned: bool, errors: Vec<VerificationError>) -> VerificationResult {
        let certificates = |text: &str| {
            let mut set = CertificateSet::new("test");
            set.read(&ValuePlace::default(), text.as_bytes(), &Passwords::WellKnown).unwrap();
            set
        };
        let (chain, trusted) = (certificates(shown), certificates(if pinned { shown } else { "" }));
        let now = "2030-01-01T00:00:00Z".parse().unwrap();
        let verifying_anchors = Vec::new();
        Verification { server: "s:1", host: "s", trusted: &trusted, chain: &chain, verifying_anchors, errors, now }
            .verify()
    }

    #[test]
    fn what_cannot_be_checked_is_unknown_unless_something_else_is_wrong_already() {
        let good = include_str!("../../tests/cases/certs/ec.pem");
        let unchecked = || VerificationError::NotChecked("a signature".to_owned());
        let unknown = verify(good, false, vec![unchecked()]);
        assert_eq!((unknown.acceptance, unknown.acceptance.accepted()), (Acceptance::Unknown, None));
        assert!(unknown.to_string().contains("openssl s_client -verify_return_error -CAfile FILE -connect s:1"));
        let refused = verify(good, false, vec![unchecked(), VerificationError::NotValidForName(vec!["t".to_owned()])]);
        assert_eq!((refused.acceptance, refused.reasons.len()), (Acceptance::Refused, 1));
    }

    #[test]
    fn a_server_that_is_itself_trusted_needs_no_issuer_but_has_to_be_valid() {
        let table = [
            (include_str!("../../tests/cases/certs/ec.pem"), "among the trusted certificates"),
            (include_str!("../../tests/cases/certs/expired.pem"), "expired on 2015-01-01, 5479 days ago"),
            (include_str!("../../tests/cases/certs/future.pem"), "is not valid before 2045-01-01"),
        ];
        for (at, (shown, words)) in table.iter().enumerate() {
            for error in [VerificationError::UnknownIssuer, VerificationError::CaUsedAsEndEntity] {
                let result = verify(shown, true, vec![error]);
                assert_eq!(result.acceptance, if at == 0 { Acceptance::Accepted } else { Acceptance::Refused });
                assert!(result.to_string().contains(words), "{result}");
            }
        }
    }

    #[test]
    fn names_of_a_server_are_escaped_and_only_the_first_few_are_shown() {
        let names = (0..9).map(|number| format!("\u{1b}{number}")).collect();
        let result = verify(
            include_str!("../../tests/cases/certs/ec.pem"),
            false,
            vec![VerificationError::NotValidForName(names)],
        );
        assert_eq!(
            result.reasons[0].0,
            "its certificate is not for s, but for \\u{1b}0, \\u{1b}1, \\u{1b}2, \\u{1b}3, \\u{1b}4 and 4 more"
        );
    }
}
