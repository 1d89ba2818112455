//! CAs and certificates for tests.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, date_time_ymd,
};

use super::Anchor;

/// A CA with its key.
pub(crate) struct TestCa {
    pub(crate) anchor: Anchor,
    issuer: Issuer<'static, KeyPair>,
}

impl TestCa {
    /// A self-signed CA, valid in this century.
    pub(crate) fn root(name: &str) -> Self {
        Self::root_with(params(name))
    }

    pub(crate) fn root_with(mut params: CertificateParams) -> Self {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = key();
        let anchor = anchor(&params.self_signed(&key).expect("a certificate"));
        Self { anchor, issuer: Issuer::new(params, key) }
    }

    /// A CA below this one.
    pub(crate) fn intermediate(&self, name: &str) -> Self {
        let (mut params, key) = (params(name), key());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let anchor = self.sign(&params, &key);
        Self { anchor, issuer: Issuer::new(params, key) }
    }

    /// A certificate of another CA's key and name that this CA has signed.
    pub(crate) fn cross_sign(&self, other: &TestCa, name: &str) -> Anchor {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self.sign(&params, other.issuer.key())
    }

    /// A server's certificate of this CA.
    pub(crate) fn leaf(&self, name: &str) -> Anchor {
        self.sign(&params(name), &key())
    }

    pub(crate) fn sign(&self, params: &CertificateParams, key: &KeyPair) -> Anchor {
        anchor(&params.signed_by(key, &self.issuer).expect("a certificate"))
    }
}

/// The parameters of a certificate of a name, for that DNS name, valid in this century.
pub(crate) fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).expect("a DNS name");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2100, 1, 1));
    params
}

pub(crate) fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn anchor(certificate: &Certificate) -> Anchor {
    Anchor::from_der(certificate.der().to_vec()).expect("a certificate")
}
