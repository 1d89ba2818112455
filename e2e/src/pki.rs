//! Keys and certificates of one control plane: a CA that exists only as long as
//! it does, the API server's certificate, one client certificate per user.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

/// The CA and the folder that its files are written to.
pub(crate) struct Pki {
    folder: PathBuf,
    authority: CertifiedIssuer<'static, KeyPair>,
    issued: AtomicUsize,
}

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The certificate.
    pub(crate) certificate: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
}

impl Pki {
    /// Makes a CA and writes its certificate into `folder`.
    pub(crate) fn new(folder: PathBuf) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "rootcast test control plane");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let pki = Self { folder, authority, issued: AtomicUsize::new(0) };
        write(&pki.authority_file(), &pki.authority.pem())?;
        Ok(pki)
    }

    /// The CA's certificate, as a PEM file.
    pub(crate) fn authority_file(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// The CA's certificate, in DER.
    pub(crate) fn authority_der(&self) -> Vec<u8> {
        self.authority.der().to_vec()
    }

    /// A certificate for a server that is asked for by these host names and addresses, or by this machine's loopback
    /// address.
    pub(crate) fn server(&self, name: &str, hosts: &[&str]) -> Result<Identity> {
        let mut params = CertificateParams::new(hosts.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(name, params)
    }

    /// A client certificate, as the API server reads it: the common name is the
    /// user, the organisation its group.
    pub(crate) fn client(&self, user: &str, group: &str) -> Result<Identity> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.distinguished_name.push(DnType::CommonName, user);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue("client", params)
    }

    /// The pair of keys that signs and checks `ServiceAccount` tokens: the public
    /// one in place of a certificate.
    pub(crate) fn token_keys(&self) -> Result<Identity> {
        let keys = KeyPair::generate()?;
        let pair = Identity {
            certificate: self.folder.join("service-accounts.pub"),
            key: self.folder.join("service-accounts.key"),
        };
        write(&pair.certificate, &keys.public_key_pem())?;
        write(&pair.key, &keys.serialize_pem())?;
        Ok(pair)
    }

    fn issue(&self, name: &str, mut params: CertificateParams) -> Result<Identity> {
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate =
            params.signed_by(&key, &self.authority).with_context(|| format!("signing a certificate for {name}"))?;
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        let identity = Identity {
            certificate: self.folder.join(format!("{name}-{number}.crt")),
            key: self.folder.join(format!("{name}-{number}.key")),
        };
        write(&identity.certificate, &certificate.pem())?;
        write(&identity.key, &key.serialize_pem())?;
        Ok(identity)
    }
}

fn write(file: &Path, pem: &str) -> Result<()> {
    fs::write(file, pem).with_context(|| format!("writing {}", file.display()))
}
