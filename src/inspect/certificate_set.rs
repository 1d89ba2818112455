//! Certificates read from one source in any format.

use std::sync::Arc;

use crate::trust::pem::PemCause;
use crate::trust::{
    Anchor, Anchors, Block, Fingerprint, InvalidCertificateError, KdfBudget, Keystore, KeystoreError, NonPemFormat,
    Password, PemError, SkippedCertificateError, Structure, jks, pem, pkcs12,
};

use super::remedy::{describe_pem_cause, describe_structure};

/// Certificates of one source: a file, an object, or the chain that a server sends.
#[derive(Debug, Clone, Default)]
pub struct CertificateSet {
    /// Name of the source, for people.
    pub name: String,
    /// Certificates in the order of the source.
    pub certificates: Vec<LocatedCertificate>,
    /// Remarks on the source and its certificates.
    pub remarks: Vec<Remark>,
}

/// Certificate with its location.
#[derive(Debug, Clone)]
pub struct LocatedCertificate {
    /// Place of the value that it was read from.
    pub place: ValuePlace,
    /// Location in the file or in the value of the key.
    pub location: Location,
    /// The certificate, or the error for which Go and others, and so every bundle, reject it.
    pub certificate: Result<Anchor, InvalidCertificateError>,
}

/// Place of a value in its source: the default is the source as a whole, such as a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ValuePlace {
    /// Object, by kind, namespace and name, if the source has several.
    pub object: Option<Arc<str>>,
    /// Key of the object.
    pub key: Option<Arc<str>>,
}

/// Location of a certificate in a file or value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// Line of the begin marker, from 1.
    Line(usize),
    /// Alias in a keystore.
    Alias(Arc<str>),
    /// Number of the certificate, from 1, if there is neither line nor alias.
    Number(usize),
}

/// Remark on a source or on one of its certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// Place of what the remark is about.
    pub place: ValuePlace,
    /// Text, with the remedy.
    pub text: String,
    /// Whether the remark is about something that cannot be read or used.
    pub damage: bool,
}

/// Passwords that are tried on a keystore.
#[derive(Debug, Clone)]
pub enum Passwords {
    /// The usual ones of trust stores: `changeit`, `changeme`, none.
    WellKnown,
    /// Password that the user gave.
    Given(Password),
}

/// Error for a keystore that none of the passwords opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("none of the passwords opens the keystore")]
pub struct KeystoreLockedError;

/// Maximum number of PEM errors that are reported for one text.
const MAX_PEM_ERRORS: usize = 20;

const WELL_KNOWN: [&str; 3] = ["changeit", "changeme", ""];

impl ValuePlace {
    /// Returns the place of a key where the source is the object that has it.
    #[must_use]
    pub fn of_key(key: &str) -> Self {
        Self { object: None, key: Some(key.into()) }
    }
}

impl LocatedCertificate {
    /// Returns the fingerprint, whether the certificate is usable or not.
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

impl CertificateSet {
    /// Creates an empty set with the name of its source.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Reads PEM, DER, JKS or PKCS#12, whichever it is, from a file or the value of an object's key.
    ///
    /// What cannot be read becomes a remark.
    ///
    /// # Errors
    /// [`KeystoreLockedError`] if another password is needed. Nothing is added then: the caller may try again with one.
    pub fn read(&mut self, place: &ValuePlace, bytes: &[u8], passwords: &Passwords) -> Result<(), KeystoreLockedError> {
        let mut reader = ValueReader { set: self, place };
        if jks::is_jks(bytes) {
            reader.read_jks(bytes, passwords)
        } else if pkcs12::is_pkcs12(bytes) {
            reader.read_pkcs12(bytes, passwords)
        } else {
            if bytes.first() == Some(&0x30) && !bytes.is_ascii() {
                reader.read_der(bytes);
            } else {
                reader.read_pem(bytes);
            }
            Ok(())
        }
    }

    /// Adds the chain of a server: certificates in DER, numbered from 1.
    pub fn add_chain<'a>(&mut self, ders: impl IntoIterator<Item = &'a [u8]>) {
        let mut reader = ValueReader { set: self, place: &ValuePlace::default() };
        for (der, number) in ders.into_iter().zip(1..) {
            reader.add(Location::Number(number), Anchor::from_der(der));
        }
    }

    /// Adds a remark on something that is no damage.
    pub fn add_remark(&mut self, place: &ValuePlace, text: impl Into<String>) {
        self.remarks.push(Remark { place: place.clone(), text: text.into(), damage: false });
    }

    /// Adds a remark on something that could not be read.
    pub fn add_damage(&mut self, place: &ValuePlace, text: impl Into<String>) {
        self.remarks.push(Remark { place: place.clone(), text: text.into(), damage: true });
    }

    /// Iterates over the usable certificates, in the order of the source.
    pub fn anchors(&self) -> impl Iterator<Item = &Anchor> {
        self.certificates.iter().filter_map(|found| found.certificate.as_ref().ok())
    }

    /// Returns whether something could not be read or used.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.remarks.iter().any(|remark| remark.damage)
            || self.certificates.iter().any(|found| found.certificate.is_err())
    }

    /// Encodes the usable certificates as PEM, as in a bundle.
    ///
    /// Each occurs once, sorted by fingerprint; the text is empty if there are none.
    #[must_use]
    pub fn to_pem(&self) -> String {
        Anchors::collect(self.anchors().cloned()).map(|anchors| anchors.to_pem() + "\n").unwrap_or_default()
    }
}

/// A set, and the place of the value that is being read.
struct ValueReader<'a> {
    set: &'a mut CertificateSet,
    place: &'a ValuePlace,
}

impl ValueReader<'_> {
    fn add(&mut self, location: Location, certificate: Result<Anchor, InvalidCertificateError>) {
        if let Some(Err(error)) = certificate.as_ref().ok().map(Anchor::check_for_java) {
            let which = match &location {
                Location::Line(line) => format!("line {line}"),
                Location::Alias(alias) => format!("{alias:?}"),
                Location::Number(number) => format!("no. {number}"),
            };
            self.push_remark(
                false,
                format!(
                    "{which}: Java refuses it, and every keystore that holds it: {error}; \
                     have it issued anew, or take it out of what Java programs read"
                ),
            );
        }
        self.set.certificates.push(LocatedCertificate { place: self.place.clone(), location, certificate });
    }

    fn push_remark(&mut self, damage: bool, text: impl Into<String>) {
        self.set.remarks.push(Remark { place: self.place.clone(), text: text.into(), damage });
    }

    fn read_pem(&mut self, text: &[u8]) {
        let (mut any, mut reported) = (false, 0);
        for block in pem::blocks(text) {
            any = true;
            match block {
                Ok(Block { line, certificate }) => {
                    let usable = certificate.map_err(|SkippedCertificateError { fingerprint, subject, cause }| {
                        InvalidCertificateError { cause, fingerprint, subject: Some(subject) }
                    });
                    self.add(Location::Line(line), usable);
                }
                Err(PemError { line, cause: PemCause::Certificate(malformed), .. }) => {
                    self.add(Location::Line(line), Err(malformed));
                }
                Err(PemError { line, .. }) if reported == MAX_PEM_ERRORS => {
                    return self
                        .push_remark(true, format!("line {line}: and further faults; what follows was not read"));
                }
                Err(PemError { line, cause, .. }) => {
                    reported += 1;
                    let private_key = |label| Structure::of_label(label) == Some(Structure::PrivateKey);
                    let harmless = matches!(&cause, PemCause::Label(label) if private_key(label));
                    self.push_remark(!harmless, format!("line {line}: {}", describe_pem_cause(&cause)));
                }
            }
        }
        if !any {
            let reason = NonPemFormat::of(text)
                .map_or("it is neither PEM, DER, JKS nor PKCS#12".to_owned(), |of| of.to_string());
            self.push_remark(false, format!("holds no certificate: {reason}"));
        }
    }

    /// Reads one certificate, or several in a row, up to something that is none.
    fn read_der(&mut self, bytes: &[u8]) {
        let (mut rest, mut number) = (bytes, 1);
        while !rest.is_empty() {
            let Some((der, after)) = split_element(rest) else {
                let at = bytes.len() - rest.len();
                return self.push_remark(
                    true,
                    format!("byte {}: DER that is cut off; copy the file again, as binary", at + 1),
                );
            };
            let certificate = Anchor::from_der(der);
            if let (Err(_), Some(structure)) = (&certificate, Structure::of_der(rest)) {
                let at = bytes.len() - rest.len() + 1;
                return self.push_remark(
                    structure != Structure::PrivateKey,
                    format!("byte {at}: {}", describe_structure(structure, true)),
                );
            }
            let after = if certificate.is_ok() { after } else { &[] };
            self.add(Location::Number(number), certificate);
            (rest, number) = (after, number + 1);
        }
    }

    fn read_jks(&mut self, bytes: &[u8], passwords: &Passwords) -> Result<(), KeystoreLockedError> {
        let fitting = passwords.candidates().into_iter().find(|password| jks::is_intact(bytes, password));
        match (jks::read(bytes), fitting) {
            (Ok(keystore), Some(password)) => self.add_keystore("JKS", keystore, &password_remark(&password)),
            (Ok(keystore), None) => self.add_unverified("JKS", keystore, passwords)?,
            (Err(error), _) => self.remark_unreadable("JKS", &error),
        }
        Ok(())
    }

    fn read_pkcs12(&mut self, bytes: &[u8], passwords: &Passwords) -> Result<(), KeystoreLockedError> {
        let mut budget = KdfBudget::default();
        for password in passwords.candidates() {
            match pkcs12::read(bytes, Some(&password), &mut budget) {
                Err(KeystoreError::WrongPassword) => {}
                Err(error) => {
                    self.remark_unreadable("PKCS#12", &error);
                    return Ok(());
                }
                Ok(keystore) => {
                    let password_remark = if keystore.password_protected {
                        password_remark(&password)
                    } else {
                        "without a password".to_owned()
                    };
                    self.add_keystore("PKCS#12", keystore, &password_remark);
                    return Ok(());
                }
            }
        }
        match pkcs12::read(bytes, None, &mut budget) {
            Ok(keystore) => self.add_unverified("PKCS#12", keystore, passwords),
            Err(KeystoreError::WrongPassword) => Err(KeystoreLockedError),
            Err(error) => {
                self.remark_unreadable("PKCS#12", &error);
                Ok(())
            }
        }
    }

    /// Adds a keystore that is readable though no password fits, unless the user gave one, which is then wrong.
    fn add_unverified(
        &mut self,
        format: &str,
        keystore: Keystore,
        passwords: &Passwords,
    ) -> Result<(), KeystoreLockedError> {
        if matches!(passwords, Passwords::Given(_)) {
            return Err(KeystoreLockedError);
        }
        self.add_keystore(
            format,
            keystore,
            "none of the well-known passwords fits, so nobody knows whether it is undamaged",
        );
        Ok(())
    }

    fn add_keystore(&mut self, format: &str, keystore: Keystore, password: &str) {
        let Keystore { entries, private_keys, password_protected: _ } = keystore;
        self.push_remark(false, format!("{format}, {password}"));
        let untrusted = entries.iter().filter(|entry| !entry.trusted).count();
        if private_keys > 0 {
            self.push_remark(false, format!("private keys are not read ({private_keys}), but for their chains"));
        } else if untrusted > 0 {
            self.push_remark(
                false,
                format!(
                    "Java ignores {untrusted} of {} certificates, which lack Oracle's attribute trustedKeyUsage: \
                     write the store with keytool -importcert, or with a Bundle",
                    entries.len()
                ),
            );
        }
        if entries.is_empty() {
            self.push_remark(false, "the keystore holds no certificate");
        }
        for (entry, number) in entries.into_iter().zip(1..) {
            self.add(entry.alias.map_or(Location::Number(number), Location::Alias), Anchor::from_der(entry.der));
        }
    }

    fn remark_unreadable(&mut self, format: &str, error: &KeystoreError) {
        let remedy = match error {
            KeystoreError::Unsupported(_) => "; write it anew with keytool -importkeystore or openssl pkcs12 -export",
            KeystoreError::TooManyRounds => "",
            _ => "; copy the file again, as binary",
        };
        self.push_remark(true, format!("{format}: {error}{remedy}"));
    }
}

fn password_remark(password: &Password) -> String {
    match password.reveal() {
        "" => "the empty password fits".to_owned(),
        known if WELL_KNOWN.contains(&known) => format!("the password {known:?} fits"),
        _ => "the given password fits".to_owned(),
    }
}

/// Splits off the first DER element.
fn split_element(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[_, first], rest) = bytes.split_first_chunk()?;
    let octets = if first < 0x80 { 0 } else { usize::from(first & 0x7f) };
    let length = match rest.get(..octets).filter(|_| octets <= 4)? {
        [] => first.into(),
        octets => octets.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)),
    };
    bytes.split_at_checked(2 + octets + length)
}
