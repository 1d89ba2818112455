//! What is distributed: real certificates, as many as fit a size.

use anyhow::{Context as _, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use rootcast::trust::{Anchor, Anchors, Fingerprint};

use crate::subject::LABEL;

/// How many contents of one size there are before they repeat.
const SPARE: usize = 32;

/// Contents of about one size that differ in one certificate.
pub(crate) struct Material {
    common: Vec<Anchor>,
    spare: Vec<Anchor>,
}

/// A content as targets hold it.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    /// The PEM text.
    pub(crate) pem: String,
    /// The hash annotation of a target that has [`LABEL`].
    pub(crate) hash: String,
}

impl Material {
    /// Mozilla's roots, then more of our own, until `bytes` of PEM are reached.
    pub(crate) fn of(bytes: usize) -> Result<Self> {
        let spare = (0..SPARE).map(|number| root(&format!("Spare root {number}"))).collect::<Result<_>>()?;
        let mozilla = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|der| Ok(Anchor::from_der(der.to_vec())?));
        let own = (0..).map(|number| root(&format!("Root {number}")));
        let mut material = Self { common: Vec::new(), spare };
        let mut size = pem_size(&material.spare[0]);
        for anchor in mozilla.chain(own) {
            let anchor = anchor?;
            size += pem_size(&anchor);
            if size > bytes {
                break;
            }
            material.common.push(anchor);
        }
        ensure!(!material.common.is_empty(), "{bytes} bytes hold no certificate");
        Ok(material)
    }

    /// One of the contents: another one for each of [`SPARE`] consecutive numbers.
    pub(crate) fn content(&self, number: usize) -> Result<Content> {
        let spare = &self.spare[number % SPARE];
        let anchors = Anchors::collect(self.common.iter().chain([spare]).cloned()).context("there are certificates")?;
        let pem = anchors.to_pem();
        let hash = Fingerprint::of([&pem, LABEL.0, LABEL.1].concat().as_bytes()).to_string();
        Ok(Content { pem, hash })
    }
}

fn root(name: &str) -> Result<Anchor> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&KeyPair::generate()?)?;
    Ok(Anchor::from_der(certificate.der().to_vec())?)
}

/// Base64 in lines of 64, and the lines around it.
fn pem_size(anchor: &Anchor) -> usize {
    let base64 = anchor.der().len().div_ceil(3) * 4;
    base64 + base64.div_ceil(64) + "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".len()
}
