//! Whether programs that trust a collection would accept a server, and why not, with the cure.

use std::fmt;

use jiff::Timestamp;

use super::collection::Collection;
use super::table::{Paint, day, days_left, printable};
use crate::trust::Anchor;

/// What is to be judged.
pub struct Trial<'a> {
    /// The server, as the user calls it.
    pub server: &'a str,
    /// The name or address that its certificate has to be for.
    pub host: &'a str,
    /// What is trusted.
    pub trusted: &'a Collection,
    /// What the server shows, its own certificate first.
    pub chain: &'a Collection,
    /// Which of the trusted certificates, each alone, vouch for the server by signatures, dates and purposes of the chain.
    pub vouching: Vec<Anchor>,
    /// What TLS has against the server.
    pub troubles: Vec<Trouble>,
    /// The time.
    pub now: Timestamp,
}

/// What TLS has against a server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// No way leads from it to a trusted certificate.
    UnknownIssuer,
    /// Something in the chain is not valid now.
    Time,
    /// It is for other names: these.
    Name(Vec<String>),
    /// It is not for servers.
    Purpose,
    /// It says that it is a CA's.
    CaAsServer,
    /// A signature does not fit.
    Signature,
    /// This program cannot check it.
    NotChecked(String),
    /// Something else.
    Other(String),
}

/// The judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The server, as the user calls it.
    pub server: String,
    /// The judgement in a word.
    pub answer: Answer,
    /// Causes, and the cure for each that is one to be cured.
    pub reasons: Vec<(String, Option<String>)>,
}

/// The judgement in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Programs that trust this accept the server.
    Accepted,
    /// They refuse it.
    Refused,
    /// This program cannot tell.
    Unknown,
}

impl Answer {
    /// Whether the server is accepted, if that can be told.
    #[must_use]
    pub fn accepted(self) -> Option<bool> {
        match self {
            Self::Accepted => Some(true),
            Self::Refused => Some(false),
            Self::Unknown => None,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

type Reason = (String, Option<String>);

impl Trial<'_> {
    /// Judges as most programs would. Stricter than TLS of this program in one thing: a CA that has expired vouches for
    /// nobody, as OpenSSL and Go see it.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let mut reasons: Vec<Reason> = Vec::new();
        let mut answer = Answer::Accepted;
        let pinned = self.own().filter(|own| self.trusted.anchors().any(|anchor| anchor == *own));
        for trouble in &self.troubles {
            match (trouble, pinned) {
                (Trouble::UnknownIssuer | Trouble::CaAsServer | Trouble::Signature, Some(_)) => {}
                (Trouble::NotChecked(what), _) => {
                    answer = Answer::Unknown;
                    reasons.push((
                        format!("this program cannot check {what}"),
                        Some(format!(
                            "ask openssl s_client -verify_return_error -CAfile FILE -connect {}",
                            self.server
                        )),
                    ));
                }
                _ => reasons.push(self.reason(trouble)),
            }
        }
        reasons.extend(self.stale_anchors());
        if !reasons.is_empty() && answer == Answer::Accepted {
            answer = Answer::Refused;
        }
        if answer == Answer::Accepted {
            reasons = self.grounds(pinned);
        }
        Verdict { server: self.server.to_owned(), answer, reasons }
    }

    /// The server's own certificate.
    fn own(&self) -> Option<&Anchor> {
        self.chain.certificates.first()?.certificate.as_ref().ok()
    }

    /// The CAs that would vouch for the server, were they not all out of date.
    fn stale_anchors(&self) -> Option<Reason> {
        let now = self.now.as_second();
        let valid = |anchor: &Anchor| anchor.not_before() <= now && now <= anchor.not_after();
        if self.vouching.iter().any(valid) {
            return None;
        }
        let stale = self.vouching.first()?;
        Some((
            format!("the CA {}", validity(stale, self.now)),
            Some(
                "put the CA's successor into the sources, and have the server's certificate issued by that".to_owned(),
            ),
        ))
    }

    /// Why the server is accepted.
    fn grounds(&self, pinned: Option<&Anchor>) -> Vec<Reason> {
        let mut grounds = Vec::new();
        if let Some(own) = self.own() {
            let left = days_left(own.not_after(), self.now);
            grounds.push((
                format!("its certificate {} is valid until {}, {left} days", label(own), day(own.not_after())),
                None,
            ));
        }
        match (self.vouching.first(), pinned) {
            (Some(anchor), _) => {
                grounds.push((format!("{} vouches for it", label(anchor)), None));
                if anchor.issuer_der() != anchor.subject_der()
                    && self.vouching.iter().all(|other| other.issuer_der() != other.subject_der())
                {
                    grounds.push((
                        format!(
                            "that is no root: programs with OpenSSL's defaults want its issuer, {}, too",
                            quoted(&anchor.issuer())
                        ),
                        None,
                    ));
                }
            }
            (None, Some(_)) => grounds.push((
                "it is itself among the trusted certificates; programs that insist on a CA may refuse it all the same"
                    .to_owned(),
                None,
            )),
            (None, None) => {}
        }
        grounds
    }

    fn reason(&self, trouble: &Trouble) -> Reason {
        match trouble {
            Trouble::UnknownIssuer | Trouble::Signature => self.missing_issuer(),
            Trouble::Time => self.out_of_date(),
            Trouble::Name(names) => self.wrong_name(names),
            Trouble::Purpose => (
                "its certificate is not for servers (extended key usage)".to_owned(),
                Some("have one issued with the usage serverAuth (cert-manager: usages: [server auth])".to_owned()),
            ),
            Trouble::CaAsServer => (
                "its certificate is a CA's, and not among the trusted ones".to_owned(),
                Some("have a server certificate issued (without CA:TRUE)".to_owned()),
            ),
            Trouble::NotChecked(what) | Trouble::Other(what) => (what.clone(), None),
        }
    }

    fn out_of_date(&self) -> Reason {
        let now = self.now.as_second();
        let (early, late) = (|anchor: &Anchor| now < anchor.not_before(), |anchor: &Anchor| anchor.not_after() < now);
        let which = self.chain.anchors().find(|anchor| early(anchor) || late(anchor));
        let Some(which) = which else {
            return ("a certificate of its chain is not valid now".to_owned(), None);
        };
        let (what, cure) = match (Some(which) == self.own(), early(which)) {
            (true, false) => ("its certificate", "renew the server's certificate"),
            (false, false) => ("the intermediate", "have the server send the renewed intermediate"),
            (_, true) => ("the certificate", "wait, or correct the clock of the one who issued it or of this machine"),
        };
        (format!("{what} {}", validity(which, self.now)), Some(cure.to_owned()))
    }

    fn wrong_name(&self, names: &[String]) -> Reason {
        let host = self.host;
        let cure = format!("have the certificate issued for {host}, too, or connect by a name that it has");
        let cause = if names.is_empty() {
            format!(
                "its certificate has no alternative name at all, let alone {host}; programs no longer read the common name"
            )
        } else {
            const SHOWN: usize = 5;
            let more = names.len().saturating_sub(SHOWN);
            let shown = printable(&names[..names.len() - more].join(", "));
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("its certificate is not for {host}, but for {shown}{more}")
        };
        (cause, Some(cure))
    }

    /// Follows the chain up to where it breaks off.
    fn missing_issuer(&self) -> Reason {
        let Some(mut top) = self.own() else {
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
                Some("that CA has a successor, or an impostor, of the same name: ask its owner for the present certificate and add it to the sources".to_owned()),
            );
        }
        if top.issuer_der() == top.subject_der() {
            let what = if Some(top) == self.own() { "it is self-signed" } else { "unknown issuer: the root" };
            return (
                format!("{what}: {} is not among the trusted certificates", label(top)),
                Some(format!("add it to the sources, once its owner has confirmed the SHA-256 {}", top.fingerprint())),
            );
        }
        (
            format!("unknown issuer: {issuer}, which issued {}, is neither sent by the server nor trusted", label(top)),
            Some(format!(
                "add {issuer} to the sources; if it is an intermediate of a trusted root, have the server send it instead"
            )),
        )
    }
}

/// A certificate in a sentence.
fn label(anchor: &Anchor) -> String {
    format!("{} ({})", quoted(anchor.subject()), anchor.fingerprint().short())
}

fn quoted(name: &str) -> String {
    if name.is_empty() { "(no name)".to_owned() } else { printable(name) }
}

fn validity(anchor: &Anchor, now: Timestamp) -> String {
    let label = label(anchor);
    if now.as_second() < anchor.not_before() {
        format!("{label} is not valid before {}", day(anchor.not_before()))
    } else {
        format!("{label} expired on {}, {} days ago", day(anchor.not_after()), -days_left(anchor.not_after(), now) - 1)
    }
}

impl Verdict {
    /// The answer in the first line, a line for each reason, and one for its cure.
    #[must_use]
    pub fn text(&self, trusted: &Collection, paint: Paint) -> String {
        let word = paint.emphasise(self.answer.word(), self.answer == Answer::Accepted);
        format!("{}: {word} by programs that trust {}\n{self}", self.server, trusted.name)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (cause, cure) in &self.reasons {
            writeln!(f, "  {cause}")?;
            if let Some(cure) = cure {
                writeln!(f, "    cure: {cure}")?;
            }
        }
        Ok(())
    }
}
