//! Certificates gathered from one place, in whatever format they are there.

use std::sync::Arc;

use crate::trust::pem::PemCause;
use crate::trust::{
    Anchor, Anchors, Block, Fingerprint, Form, Keystore, Malformed, Password, PemError, Rejected, Structure,
    Unreadable, Work, jks, pem, pkcs12,
};

use super::mend::{convert, mend};

/// What is in one place: a file, an object, or the chain that a server shows.
#[derive(Debug, Clone, Default)]
pub struct Collection {
    /// The place, as people call it.
    pub name: String,
    /// The certificates, in the order in which they are there.
    pub certificates: Vec<Found>,
    /// What else there is to know.
    pub remarks: Vec<Remark>,
}

/// A certificate, and where it was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// The key of the object, if the place is an object.
    pub key: Option<Arc<str>>,
    /// Where in the file or the key's value.
    pub at: At,
    /// The certificate, or why Go and others, and so every bundle, refuse it.
    pub certificate: Result<Anchor, Malformed>,
}

/// A place within a file or a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// The line of the begin marker, from 1.
    Line(usize),
    /// The name in a keystore.
    Alias(Arc<str>),
    /// Neither is there: it is the n-th certificate, from 1.
    Number(usize),
}

/// Something to know beside the certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The key of the object, if it is about one.
    pub key: Option<Arc<str>>,
    /// What, and how it is mended.
    pub text: String,
    /// Whether something cannot be read or used.
    pub damage: bool,
}

/// Which passwords a keystore may have.
#[derive(Debug, Clone)]
pub enum Passwords {
    /// Those that trust stores nearly always have: `changeit`, `changeme`, none.
    WellKnown,
    /// This one.
    Given(Password),
}

/// A keystore that no password at hand opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locked;

/// After so many faults of a text nobody wants to be told of more.
const MOST_FAULTS: usize = 20;

const WELL_KNOWN: [&str; 3] = ["changeit", "changeme", ""];

impl Found {
    /// The fingerprint of what was found, usable or not.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        match &self.certificate {
            Ok(anchor) => anchor.fingerprint(),
            Err(malformed) => malformed.fingerprint,
        }
    }
}

impl Passwords {
    fn candidates(&self) -> Vec<Password> {
        match self {
            Self::WellKnown => WELL_KNOWN.map(Password::new).into(),
            Self::Given(password) => vec![password.clone()],
        }
    }
}

impl Collection {
    /// An empty one of this name.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Reads PEM, DER, JKS or PKCS#12, whichever it is, from a file or the value of an object's key. What cannot be read
    /// becomes a remark.
    ///
    /// # Errors
    /// [`Locked`] if it takes another password. Nothing is added then: ask for one and call again.
    pub fn read(&mut self, key: Option<&str>, bytes: &[u8], passwords: &Passwords) -> Result<(), Locked> {
        let key: Option<Arc<str>> = key.map(Arc::from);
        let mut place = Place { collection: self, key };
        if jks::is_jks(bytes) {
            place.jks(bytes, passwords)
        } else if pkcs12::is_pkcs12(bytes) {
            place.pkcs12(bytes, passwords)
        } else {
            if bytes.first() == Some(&0x30) && !bytes.is_ascii() {
                place.der(bytes);
            } else {
                place.pem(bytes);
            }
            Ok(())
        }
    }

    /// Adds certificates in DER, numbered from 1: the chain that a server shows.
    pub fn chain<'a>(&mut self, ders: impl IntoIterator<Item = &'a [u8]>) {
        let mut place = Place { collection: self, key: None };
        for (der, number) in ders.into_iter().zip(1..) {
            place.add(At::Number(number), Anchor::from_der(der));
        }
    }

    /// Adds a remark that nothing is wrong about.
    pub fn remark(&mut self, key: Option<&str>, text: impl Into<String>) {
        self.remarks.push(Remark { key: key.map(Arc::from), text: text.into(), damage: false });
    }

    /// Adds a remark on something that could not be read.
    pub fn damage(&mut self, key: Option<&str>, text: impl Into<String>) {
        self.remarks.push(Remark { key: key.map(Arc::from), text: text.into(), damage: true });
    }

    /// The usable certificates, in the order of the place.
    pub fn anchors(&self) -> impl Iterator<Item = &Anchor> {
        self.certificates.iter().filter_map(|found| found.certificate.as_ref().ok())
    }

    /// Whether something could not be read or used.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.remarks.iter().any(|remark| remark.damage)
            || self.certificates.iter().any(|found| found.certificate.is_err())
    }

    /// PEM of the usable certificates, as a bundle has it: each once, sorted by fingerprint; empty if there are none.
    #[must_use]
    pub fn pem(&self) -> String {
        Anchors::collect(self.anchors().cloned()).map(|anchors| anchors.to_pem() + "\n").unwrap_or_default()
    }
}

/// A collection, and the key that is being read.
struct Place<'a> {
    collection: &'a mut Collection,
    key: Option<Arc<str>>,
}

impl Place<'_> {
    fn add(&mut self, at: At, certificate: Result<Anchor, Malformed>) {
        if let Some(Err(flaw)) = certificate.as_ref().ok().map(Anchor::check_for_java) {
            let which = match &at {
                At::Line(line) => format!("line {line}"),
                At::Alias(alias) => format!("{alias:?}"),
                At::Number(number) => format!("no. {number}"),
            };
            self.say(false, format!("{which}: Java refuses it, and every keystore that holds it: {flaw}; have it issued anew, or take it out of what Java programs read"));
        }
        self.collection.certificates.push(Found { key: self.key.clone(), at, certificate });
    }

    fn say(&mut self, damage: bool, text: impl Into<String>) {
        self.collection.remarks.push(Remark { key: self.key.clone(), text: text.into(), damage });
    }

    fn pem(&mut self, text: &[u8]) {
        let (mut any, mut told) = (false, 0);
        for block in pem::blocks(text) {
            any = true;
            match block {
                Ok(Block { line, certificate }) => {
                    let usable = certificate.map_err(|Rejected { fingerprint, subject, why }| Malformed {
                        flaw: why,
                        fingerprint,
                        subject: Some(subject),
                    });
                    self.add(At::Line(line), usable);
                }
                Err(PemError { line, cause: PemCause::Certificate(malformed), .. }) => {
                    self.add(At::Line(line), Err(malformed));
                }
                Err(PemError { line, .. }) if told == MOST_FAULTS => {
                    return self.say(true, format!("line {line}: and further faults; what follows was not read"));
                }
                Err(PemError { line, cause, .. }) => {
                    told += 1;
                    let private_key = |label| Structure::of_label(label) == Some(Structure::PrivateKey);
                    let harmless = matches!(&cause, PemCause::Label(label) if private_key(label));
                    self.say(!harmless, format!("line {line}: {}", mend(&cause)));
                }
            }
        }
        if !any {
            let what = Form::of(text).map_or("it is neither PEM, DER, JKS nor PKCS#12".to_owned(), |of| of.to_string());
            self.say(false, format!("holds no certificate: {what}"));
        }
    }

    /// One certificate, or several behind each other, up to something that is none.
    fn der(&mut self, bytes: &[u8]) {
        let (mut rest, mut number) = (bytes, 1);
        while !rest.is_empty() {
            let Some((der, after)) = split_element(rest) else {
                let at = bytes.len() - rest.len();
                return self.say(true, format!("byte {}: DER that is cut off; copy the file again, as binary", at + 1));
            };
            let certificate = Anchor::from_der(der);
            if let (Err(_), Some(structure)) = (&certificate, Structure::of_der(rest)) {
                let at = bytes.len() - rest.len() + 1;
                return self
                    .say(structure != Structure::PrivateKey, format!("byte {at}: {}", convert(structure, true)));
            }
            let after = if certificate.is_ok() { after } else { &[] };
            self.add(At::Number(number), certificate);
            (rest, number) = (after, number + 1);
        }
    }

    fn jks(&mut self, bytes: &[u8], passwords: &Passwords) -> Result<(), Locked> {
        let fitting = passwords.candidates().into_iter().find(|password| jks::is_intact(bytes, password));
        match (jks::read(bytes), fitting) {
            (Ok(keystore), Some(password)) => self.keystore("JKS", keystore, &fits(&password)),
            (Ok(keystore), None) => self.unverified("JKS", keystore, passwords)?,
            (Err(error), _) => self.unreadable("JKS", &error),
        }
        Ok(())
    }

    fn pkcs12(&mut self, bytes: &[u8], passwords: &Passwords) -> Result<(), Locked> {
        let mut work = Work::default();
        for password in passwords.candidates() {
            match pkcs12::read(bytes, Some(&password), &mut work) {
                Err(Unreadable::Password) => {}
                Err(error) => {
                    self.unreadable("PKCS#12", &error);
                    return Ok(());
                }
                Ok(keystore) => {
                    let words = if keystore.sealed { fits(&password) } else { "without a password".to_owned() };
                    self.keystore("PKCS#12", keystore, &words);
                    return Ok(());
                }
            }
        }
        match pkcs12::read(bytes, None, &mut work) {
            Ok(keystore) => self.unverified("PKCS#12", keystore, passwords),
            Err(Unreadable::Password) => Err(Locked),
            Err(error) => {
                self.unreadable("PKCS#12", &error);
                Ok(())
            }
        }
    }

    /// Whose certificates can be read, though no password fits. Who has given one wants to know whether it does.
    fn unverified(&mut self, format: &str, keystore: Keystore, passwords: &Passwords) -> Result<(), Locked> {
        if matches!(passwords, Passwords::Given(_)) {
            return Err(Locked);
        }
        self.keystore(
            format,
            keystore,
            "none of the well-known passwords fits, so nobody knows whether it is undamaged",
        );
        Ok(())
    }

    fn keystore(&mut self, format: &str, keystore: Keystore, password: &str) {
        let Keystore { entries, private_keys, sealed: _ } = keystore;
        self.say(false, format!("{format}, {password}"));
        let untrusted = entries.iter().filter(|entry| !entry.trusted).count();
        if private_keys > 0 {
            self.say(false, format!("private keys are not read ({private_keys}), but for their chains"));
        } else if untrusted > 0 {
            self.say(
                false,
                format!(
                    "Java ignores {untrusted} of {} certificates, which lack Oracle's attribute trustedKeyUsage: write the store with keytool -importcert, or with a Bundle",
                    entries.len()
                ),
            );
        }
        if entries.is_empty() {
            self.say(false, "the keystore holds no certificate");
        }
        for (entry, number) in entries.into_iter().zip(1..) {
            self.add(entry.alias.map_or(At::Number(number), At::Alias), Anchor::from_der(entry.der));
        }
    }

    fn unreadable(&mut self, format: &str, error: &Unreadable) {
        let cure = match error {
            Unreadable::Unsupported(_) => "; write it anew with keytool -importkeystore or openssl pkcs12 -export",
            Unreadable::TooMuchWork => "",
            _ => "; copy the file again, as binary",
        };
        self.say(true, format!("{format}: {error}{cure}"));
    }
}

fn fits(password: &Password) -> String {
    match password.reveal() {
        "" => "the empty password fits".to_owned(),
        known if WELL_KNOWN.contains(&known) => format!("the password {known:?} fits"),
        _ => "the given password fits".to_owned(),
    }
}

/// The first DER element and what follows.
fn split_element(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[_, first], rest) = bytes.split_first_chunk()?;
    let octets = if first < 0x80 { 0 } else { usize::from(first & 0x7f) };
    let length = match rest.get(..octets).filter(|_| octets <= 4)? {
        [] => first.into(),
        octets => octets.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)),
    };
    bytes.split_at_checked(2 + octets + length)
}
