//! Admission: reviews in over TLS, verdicts out.
//!
//! ```text
//! connection --TLS (tls: the certificate of the moment)--> request --review: read--> decision --review: answer--> response
//! ```
//!
//! Certificates come from files or from the cluster and may change at any moment; what is decided comes from whoever
//! serves. This room knows neither the cluster nor the command line.
