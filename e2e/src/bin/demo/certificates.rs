//! Certificates for people: subject and last day, no walls of base64.

use anyhow::{Context as _, Result, anyhow};
use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, date_time_ymd};
use rootcast::trust::{Anchor, pem};

/// The organisation of the samples' CAs, as their subjects spell it.
const SAMPLES: &str = "O=Example Corp";

/// One line for each certificate of the samples, and one for how many others there are.
pub(crate) fn lines(text: &str) -> Result<Vec<String>> {
    let anchors = pem::read(text.as_bytes())?
        .into_iter()
        .map(|block| block.certificate.map_err(|rejected| anyhow!("{rejected}")))
        .collect::<Result<Vec<_>>>()?;
    let (samples, others): (Vec<_>, Vec<_>) = anchors.iter().partition(|anchor| anchor.subject().contains(SAMPLES));
    let mut lines = samples.into_iter().map(line).collect::<Result<Vec<_>>>()?;
    if !others.is_empty() {
        lines.push(format!("and {} public CAs (Mozilla's)", others.len()));
    }
    Ok(lines)
}

fn line(anchor: &Anchor) -> Result<String> {
    let end = Timestamp::from_second(anchor.not_after()).context("a sample's end is in the calendar")?;
    Ok(format!("{:<44} until {}", anchor.subject(), end.strftime("%Y-%m-%d")))
}

/// A new CA of the samples' organisation, as PEM. Its key is forgotten.
pub(crate) fn new_ca(common_name: &str) -> Result<String> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::OrganizationName, "Example Corp");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2046, 1, 1);
    Ok(params.self_signed(&KeyPair::generate()?)?.pem())
}
