//! Certificates that change while they are used.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rootcast::webhook::{Identity, ReloadableCertificate, ServerLimits, reload_certificate};
use tokio::time::{sleep, timeout};

use crate::stage::{Authority, SOON, Server, sizes};

#[tokio::test]
async fn a_server_without_a_certificate_greets_nobody_and_with_the_next_one_everybody() {
    let certificate = ReloadableCertificate::new();
    assert!(!certificate.is_loaded() && certificate.validity().is_none());
    let waiting = tokio::spawn({
        let certificate = certificate.clone();
        async move { certificate.wait_loaded().await }
    });
    let identity = Authority::new().identity();
    certificate.replace(&identity).expect("a good certificate");
    timeout(SOON, waiting).await.expect("in time").expect("without a panic");
    assert!(certificate.is_loaded() && certificate.validity().is_some());
}

#[test]
fn what_is_no_certificate_with_its_key_is_refused_and_the_last_one_stays() {
    let (one, other) = (Authority::new().identity(), Authority::new().identity());
    let certificate = ReloadableCertificate::new();
    let text = |text: &str| text.as_bytes().to_vec();
    let table = [
        (other.certificate_pem.clone(), one.key_pem.clone(), "certificate and key do not belong together"),
        (text(""), one.key_pem.clone(), "there is no certificate in the PEM of the certificate"),
        (text("nonsense"), one.key_pem.clone(), "there is no certificate in the PEM of the certificate"),
        (one.certificate_pem.clone(), text(""), "there is no private key in the PEM of the key"),
        (one.certificate_pem[..200].to_vec(), one.key_pem.clone(), "the certificate is no PEM"),
        (
            text("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"),
            one.key_pem.clone(),
            "the certificate is malformed",
        ),
        (
            one.certificate_pem.clone(),
            text("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"),
            "the private key cannot be used",
        ),
    ];
    for present in [false, true] {
        for (certificate_pem, key_pem, words) in table.clone() {
            let refused = certificate.replace(&Identity { certificate_pem, key_pem }).expect_err(words).to_string();
            assert!(refused.contains(words), "{refused}");
            assert_eq!(certificate.is_loaded(), present);
        }
        certificate.replace(&one).expect("a good certificate");
    }
}

/// A volume as kubelet writes it: files are links into a folder that is itself behind a link, which is swapped.
fn publish(volume: &Path, version: &str, identity: &Identity) {
    let folder = volume.join(version);
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("tls.crt"), &identity.certificate_pem).expect("written");
    fs::write(folder.join("tls.key"), &identity.key_pem).expect("written");
    symlink(version, volume.join("..tmp")).expect("a link");
    fs::rename(volume.join("..tmp"), volume.join("..data")).expect("a swap");
    for file in ["tls.crt", "tls.key"] {
        if !volume.join(file).exists() {
            symlink(Path::new("..data").join(file), volume.join(file)).expect("a link");
        }
    }
}

#[tokio::test]
async fn files_are_followed_behind_links_and_in_place_and_the_last_good_pair_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let volume = folder.path();
    let authority = Authority::new();
    let certificate = ReloadableCertificate::new();
    tokio::spawn(reload_certificate(volume.to_owned(), certificate.clone()));
    sleep(Duration::from_millis(300)).await;
    assert!(!certificate.is_loaded(), "there are no files yet");

    let mut shown = None;
    let mut shows_another = async |what: &str| {
        let another = async {
            while certificate.fingerprint() == shown {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(SOON, another).await.expect(what);
        shown = certificate.fingerprint();
    };
    publish(volume, "one", &authority.identity());
    shows_another("the first pair").await;
    publish(volume, "two", &authority.identity());
    shows_another("after a swap").await;

    // Half of a pair is no pair.
    let three = authority.identity();
    fs::write(volume.join("tls.crt"), &three.certificate_pem).expect("written");
    let before = certificate.fingerprint();
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(certificate.fingerprint(), before);
    fs::write(volume.join("tls.key"), &three.key_pem).expect("written");
    shows_another("in place").await;

    fs::remove_file(volume.join("..data")).expect("removed");
    let before = certificate.fingerprint();
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(certificate.fingerprint(), before, "files that have gone take nothing away");
}

#[tokio::test]
async fn no_request_fails_while_the_certificate_changes() {
    let server = Arc::new(Server::start(sizes(), ServerLimits::default()).await);
    let answered = Arc::new(AtomicUsize::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (server, answered) = (server.clone(), answered.clone());
        clients.spawn(async move {
            let mut long = server.client().await;
            loop {
                assert_eq!(long.post("/size", "long").await.expect("an answer").body, "4");
                assert_eq!(server.client().await.post("/size", "new").await.expect("an answer").body, "3");
                answered.fetch_add(2, Ordering::Relaxed);
            }
        });
    }
    for _ in 0..50 {
        server.certificate.replace(&server.authority.identity()).expect("a good certificate");
        sleep(Duration::from_millis(20)).await;
    }
    assert!(clients.try_join_next().is_none(), "no client has failed");
    assert!(answered.load(Ordering::Relaxed) > 100, "{answered:?}");
}
