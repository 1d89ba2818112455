//! CertificateRequests of cert-manager, as far as they show what was issued.

use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

/// Annotation of a CertificateRequest: the name of the Certificate that it was made for.
const CERTIFICATE_NAME: &str = "cert-manager.io/certificate-name";

/// Annotation of a CertificateRequest: how many its Certificate has had, itself included.
const CERTIFICATE_REVISION: &str = "cert-manager.io/certificate-revision";

/// A CertificateRequest of `cert-manager.io/v1`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct CertificateRequest {
    /// Metadata of the object.
    pub metadata: ObjectMeta,
    /// Status of the object.
    pub status: Option<CertificateRequestStatus>,
}

/// The status of a CertificateRequest without what is not read: `ca`, which anybody may have sent, is not to be trusted.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct CertificateRequestStatus {
    /// The issued certificate as PEM, and the intermediates below its root.
    pub certificate: Option<ByteString>,
}

impl CertificateRequest {
    /// Path of all CertificateRequests.
    pub const PATH: &'static str = "/apis/cert-manager.io/v1/certificaterequests";

    /// Returns the name of the Certificate that the request was made for; `None` for one that was made for none, such
    /// as that of a CSI driver or a service mesh.
    #[must_use]
    pub fn certificate_name(&self) -> Option<&str> {
        let annotated = self.annotation(CERTIFICATE_NAME);
        let mut owners = self.metadata.owner_references.iter().flatten();
        let owner =
            owners.find(|owner| owner.kind == "Certificate" && owner.api_version.starts_with("cert-manager.io/"));
        annotated.or_else(|| owner.map(|owner| &*owner.name))
    }

    /// Returns the number of the request among those of its Certificate; 0 if it has none.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.annotation(CERTIFICATE_REVISION).and_then(|revision| revision.parse().ok()).unwrap_or_default()
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }
}
