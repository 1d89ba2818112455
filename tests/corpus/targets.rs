//! What is done with one input of each corpus, by its replay on stable Rust and by the fuzzers of fuzz/. None may panic,
//! and what was understood has to be understood again when it is written out.

use std::sync::LazyLock;

use rootcast::api;
use rootcast::bundle::{DecisionSettings, FieldError, Intent, Labels, Namespace};
use rootcast::inject::{CainjectorOptions, Injectability, InjectableBundles, Operator, Policy};
use rootcast::inspect::{CertificateSet, DetailLevel, Passwords, ValuePlace};
use rootcast::trust::{Anchor, Anchors, KdfBudget, NonPemFormat, Password, jks, pem, pkcs12};
use rootcast::webhook::{AdmissionReview, ReviewSubject};
use serde_json::{Value, json};

/// A corpus by the name of its folder, and what is done with an input.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Every corpus.
pub(crate) const ALL: [Target; 7] = [
    ("bundle", bundle),
    ("der", der),
    ("jks", read_jks),
    ("kubeconfig", kubeconfig),
    ("pem", read_pem),
    ("pkcs12", read_pkcs12),
    ("review", review),
];

/// PEM of a source: what is published of it reads as the same certificates.
pub(crate) fn read_pem(text: &[u8]) {
    let Ok(blocks) = pem::read(text) else { return };
    if blocks.is_empty() {
        assert!(NonPemFormat::of(text).is_none_or(|form| !form.to_string().is_empty()));
    }
    let found: Vec<_> = blocks.into_iter().filter_map(|block| block.certificate.ok()).collect();
    let Some(anchors) = Anchors::collect(found) else { return };
    let published = anchors.to_pem();
    let again = pem::read(published.as_bytes()).expect("what is published is PEM");
    let again = again.iter().map(|block| block.certificate.as_ref().expect("a certificate").der());
    assert!(again.eq(anchors.iter().map(Anchor::der)), "{published}");
}

/// A certificate: everything that is told of one.
pub(crate) fn der(bytes: &[u8]) {
    let Ok(anchor) = Anchor::from_der(bytes) else { return };
    assert_eq!(anchor.der(), bytes);
    assert!(!anchor.fingerprint().short().is_empty());
    let told = (anchor.subject(), anchor.common_name(), anchor.issuer(), anchor.key(), anchor.is_ca());
    assert!(!format!("{told:?}").is_empty());
    assert!(anchor.check_for_java().err().is_none_or(|flaw| !flaw.to_string().is_empty()));
    assert!(anchor.not_before().checked_sub(anchor.not_after()).is_some());
    let mut set = CertificateSet::new("input");
    assert_eq!(set.read(&ValuePlace::default(), bytes, &Passwords::WellKnown), Ok(()));
    let shown = set.document(jiff::Timestamp::UNIX_EPOCH, DetailLevel::Full);
    assert_eq!(shown["certificates"].as_array().map(Vec::len), Some(1));
    assert!(!set.table(jiff::Timestamp::UNIX_EPOCH, DetailLevel::Full).is_empty());
}

/// A Java keystore.
pub(crate) fn read_jks(store: &[u8]) {
    let read = jks::read(store).is_ok();
    assert!(jks::is_jks(store) || !read, "what is read as a JKS is one");
    // The digest fits whatever it is the digest of.
    let _ = jks::is_intact(store, &password());
}

/// A PKCS#12 keystore, with and without a password.
pub(crate) fn read_pkcs12(store: &[u8]) {
    for password in [None, Some(&password())] {
        let read = pkcs12::read(store, password, &mut KdfBudget::default()).is_ok();
        assert!(pkcs12::is_pkcs12(store) || !read, "what is read as a PKCS#12 is one");
    }
}

/// A kubeconfig, as kube reads it.
pub(crate) fn kubeconfig(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(read) = kube::config::Kubeconfig::from_yaml(text) else { return };
    drop(read.merge(kube::config::Kubeconfig::default()));
}

/// Bundles, as `render` reads them.
pub(crate) fn bundle(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(documents) = serde_saphyr::from_multiple::<Value>(text) else { return };
    for document in documents {
        let Ok(bundle) = serde_json::from_value::<api::Bundle>(document) else { continue };
        if let Err(problems) = Intent::parse(&bundle, &"cert-manager".into()) {
            assert!(problems.iter().all(|problem| !problem.to_string().is_empty()));
        }
    }
}

/// A review of a pod or a Bundle, by both modes: a patch applies to the pod.
pub(crate) fn review(body: &[u8]) {
    let Ok(review) = AdmissionReview::read(body) else { return };
    let pod = match review.subject() {
        Ok(ReviewSubject::Pod(pod)) => pod,
        Ok(ReviewSubject::Bundle(text)) => return bundle(text.as_bytes()),
        Ok(ReviewSubject::Other) | Err(_) => return,
    };
    let labels: Labels = [(rootcast::inject::BUNDLE.to_owned(), "corp".to_owned())].into_iter().collect();
    let namespace = Namespace { labels: (&labels).into(), terminating: false, uid: "".into() };
    let operator = Operator { name: "cainjector".to_owned(), domain: "lestak.sh".to_owned() };
    let options = CainjectorOptions::parse("configMap: corp").expect("these are options");
    let policies = [
        Policy::Native { namespace: &namespace, bundles: &OFFERED },
        Policy::Cainjector { operator: &operator, options: &options },
    ];
    for policy in policies {
        let Ok(verdict) = pod.parse().map(|pod| pod.inject(&policy)) else { continue };
        let patch = serde_json::to_value(&verdict.patch).expect("a patch is JSON");
        let patch: json_patch::Patch = serde_json::from_value(patch).expect("it is a patch");
        let Ok(mut after) = serde_json::from_str::<Value>(pod.pod) else { continue };
        json_patch::patch(&mut after, &patch).unwrap_or_else(|error| panic!("{error}: {:?}", verdict.patch));
    }
}

fn password() -> Password {
    Password::new("changeit")
}

/// A Bundle with a keystore, and one that there is not.
static OFFERED: LazyLock<InjectableBundles> = LazyLock::new(|| {
    let bundle: api::Bundle = serde_json::from_value(json!({
        "apiVersion": api::API_VERSION, "kind": api::KIND, "metadata": {"name": "corp"},
        "spec": {
            "sources": [{"configMap": {"name": "x", "key": "y"}}],
            "target": {"configMap": {"key": "ca.pem"}, "additionalFormats": {"jks": {"key": "k.jks"}}},
        },
    }))
    .expect("a Bundle");
    let intent: Result<Intent, Vec<FieldError>> = Intent::parse(&bundle, &"cert-manager".into());
    let offered = Injectability::of(intent.as_ref().map_err(Vec::as_slice), &DecisionSettings::default());
    InjectableBundles { settings: DecisionSettings::default(), by_id: [("corp".into(), offered)].into() }
});
