//! Real TLS servers on this machine: their certificates, and their verification.

use std::fs;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rootcast::trust::Fingerprint;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::TLS12;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::{ProgramOutput, inspect};

type Authority = CertifiedIssuer<'static, KeyPair>;

/// Parameters of a certificate that is valid now, for servers and for localhost.
fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2080, 1, 1));
    params
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2090, 1, 1));
    params
}

fn root(name: &str) -> Authority {
    Authority::self_signed(authority_params(name), KeyPair::generate().unwrap()).unwrap()
}

/// The chain that a server presents, and the key to its own certificate.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

fn issue(params: &CertificateParams, by: &Authority, and: &[&Authority]) -> Identity {
    let key = KeyPair::generate().unwrap();
    let own = params.signed_by(&key, by).unwrap();
    let chain = std::iter::once(own.der().clone()).chain(and.iter().map(|authority| authority.der().clone()));
    Identity { chain: chain.collect(), key }
}

fn config(identity: &Identity) -> ServerConfig {
    let key = PrivateKeyDer::try_from(identity.key.serialize_der()).unwrap();
    ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(identity.chain.clone(), key)
        .unwrap()
}

/// Serves for as long as the test runs; returns the port.
async fn serve(config: ServerConfig) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(acceptor.accept(stream).await);
        }
    });
    port
}

fn bundle(authorities: &[&Authority]) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bundle.pem").display().to_string();
    fs::write(&file, authorities.iter().map(|authority| authority.pem()).collect::<String>()).unwrap();
    (folder, file)
}

async fn run(arguments: &[&str]) -> ProgramOutput {
    let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
    tokio::task::spawn_blocking(move || inspect(&arguments.iter().map(String::as_str).collect::<Vec<_>>()))
        .await
        .unwrap()
}

async fn verify(identity: &Identity, host: &str, trusted: &[&Authority]) -> ProgramOutput {
    let port = serve(config(identity)).await;
    let (_folder, bundle) = bundle(trusted);
    let mut output = run(&[&bundle, "--verify", &format!("{host}:{port}")]).await;
    let opening = format!("{host}:{port}: ");
    output.out = output
        .out
        .strip_prefix(&opening)
        .unwrap_or_else(|| panic!("{}{}", output.out, output.errors))
        .replace(&bundle, "BUNDLE");
    output
}

fn short(authority: &Authority) -> String {
    Fingerprint::of(authority.der()).short()
}

#[tokio::test]
async fn of_those_that_vouch_for_a_server_one_that_is_valid_is_named() {
    let mut expired = authority_params("Old Root");
    expired.not_after = date_time_ymd(2021, 9, 30);
    let old = Authority::self_signed(expired, KeyPair::generate().unwrap()).unwrap();
    let new = root("New Root");
    let same_key = KeyPair::try_from(new.key().serialize_der()).unwrap();
    let cross = Authority::signed_by(authority_params("New Root"), same_key, &old).unwrap();
    let identity = issue(&params("web"), &new, &[&cross]);

    let output = verify(&identity, "localhost", &[&old, &new]).await;
    assert_eq!(output.code, 0, "{}{}", output.out, output.errors);
    let last = output.out.lines().last().unwrap();
    assert_eq!(last, format!("  CN=New Root ({}) vouches for it", short(&new)));
    assert!(!output.out.contains("Old Root"), "{}", output.out);

    let output = verify(&identity, "localhost", &[&old, &cross]).await;
    assert_eq!(output.code, 0, "{}{}", output.out, output.errors);
    assert!(output.out.contains(&format!("  CN=New Root ({}) vouches for it\n", short(&cross))), "{}", output.out);
    assert!(
        output.out.contains("  that is no root: programs with OpenSSL's defaults want its issuer, CN=Old Root, too\n"),
        "{}",
        output.out
    );
}

#[tokio::test]
async fn a_server_is_accepted_by_its_root_and_by_its_intermediate_alone() {
    let root = root("Root");
    let intermediate =
        Authority::signed_by(authority_params("Issuing CA"), KeyPair::generate().unwrap(), &root).unwrap();
    let identity = issue(&params("web"), &intermediate, &[&intermediate]);
    let own = Fingerprint::of(&identity.chain[0]).short();

    let output = verify(&identity, "localhost", &[&root]).await;
    assert_eq!(output.code, 0, "{}{}", output.out, output.errors);
    let lines: Vec<&str> = output.out.lines().collect();
    assert_eq!(lines[0], "accepted by programs that trust BUNDLE");
    assert!(
        lines[1].starts_with(&format!("  its certificate CN=web ({own}) is valid until 2080-01-01, ")),
        "{}",
        lines[1]
    );
    assert_eq!(lines[2..], [format!("  CN=Root ({}) vouches for it", short(&root))]);

    let output = verify(&identity, "localhost", &[&intermediate]).await;
    assert_eq!(output.code, 0, "{}{}", output.out, output.errors);
    assert!(
        output.out.contains("  that is no root: programs with OpenSSL's defaults want its issuer, CN=Root, too\n"),
        "{}",
        output.out
    );
}

/// A server that is refused: why, what it shows, the host it is reached by, what is trusted, and the printed reasons.
/// `OWN` stands for the fingerprint of its certificate.
type Refused<'a> = (&'static str, Identity, &'static str, &'a Authority, String);

async fn refused(table: Vec<Refused<'_>>) {
    for (what, identity, host, trusted, expected) in table {
        let output = verify(&identity, host, &[trusted]).await;
        let own = Fingerprint::of(&identity.chain[0]).short();
        let days = output.out.split_once("2021-01-01, ").and_then(|(_, rest)| rest.split(' ').next()).unwrap_or("no");
        let out = output.out.replace(&own, "OWN").replace(&format!(", {days} days ago"), ", DAYS days ago");
        assert_eq!(out, format!("refused by programs that trust BUNDLE\n{expected}"), "{what}");
        assert_eq!((output.code, output.errors.as_str()), (1, ""), "{what}");
    }
}

#[tokio::test]
async fn a_missing_issuer_is_named_with_the_cure() {
    let (root, other, namesake) = (root("Root"), root("Other"), root("Root"));
    let intermediate =
        Authority::signed_by(authority_params("Issuing CA"), KeyPair::generate().unwrap(), &root).unwrap();
    let good = params("web");
    let neither = |issuer: &str| {
        format!(
            "  unknown issuer: {issuer}, which issued CN=web (OWN), is neither sent by the server nor trusted\n    cure: add {issuer} to the sources; if it is an intermediate of a trusted root, have the server send it instead\n"
        )
    };
    let sent = format!(
        "  unknown issuer: the root: CN=Root ({}) is not among the trusted certificates\n    cure: add it to the sources, once its owner has confirmed the SHA-256 {}\n",
        short(&root),
        Fingerprint::of(root.der())
    );
    let replaced = format!(
        "  unknown issuer: CN=Root ({}) is trusted, but with another key than the one that signed CN=web (OWN)\n    cure: that CA has a successor, or an impostor, of the same name: ask its owner for the present certificate and add it to the sources\n",
        short(&namesake)
    );
    let and_name = neither("CN=Root")
        + "  its certificate is not for 127.0.0.1, but for localhost\n    cure: have the certificate issued for 127.0.0.1, too, or connect by a name that it has\n";
    refused(vec![
        ("the root is sent, but not trusted", issue(&good, &root, &[&root]), "localhost", &other, sent),
        ("nor is it sent", issue(&good, &root, &[]), "localhost", &other, neither("CN=Root")),
        (
            "the intermediate is not sent",
            issue(&good, &intermediate, &[]),
            "localhost",
            &root,
            neither("CN=Issuing CA"),
        ),
        ("the root was replaced by one of its name", issue(&good, &root, &[]), "localhost", &namesake, replaced),
        ("the name is wrong, too", issue(&good, &root, &[]), "127.0.0.1", &other, and_name),
    ])
    .await;
}

#[tokio::test]
async fn wrong_dates_names_and_purposes_are_named_with_the_cure() {
    let root = root("Root");
    let mut old = authority_params("Old Root");
    old.not_after = date_time_ymd(2021, 1, 1);
    let old = Authority::self_signed(old, KeyPair::generate().unwrap()).unwrap();
    let issued_with = |change: fn(&mut CertificateParams)| {
        let mut params = params("web");
        change(&mut params);
        issue(&params, &root, &[])
    };
    let old_root = format!(
        "  the CA CN=Old Root ({}) expired on 2021-01-01, DAYS days ago\n    cure: put the CA's successor into the sources, and have the server's certificate issued by that\n",
        short(&old)
    );
    refused(vec![
        (
            "the certificate has expired",
            issued_with(|params| params.not_after = date_time_ymd(2021, 1, 1)),
            "localhost",
            &root,
            "  its certificate CN=web (OWN) expired on 2021-01-01, DAYS days ago\n    cure: renew the server's certificate\n".to_owned(),
        ),
        (
            "the certificate is of the future",
            issued_with(|params| params.not_before = date_time_ymd(2079, 1, 1)),
            "localhost",
            &root,
            "  the certificate CN=web (OWN) is not valid before 2079-01-01\n    cure: wait, or correct the clock of the one who issued it or of this machine\n".to_owned(),
        ),
        (
            "it is for no name",
            issued_with(|params| params.subject_alt_names.clear()),
            "localhost",
            &root,
            "  its certificate has no alternative name at all, let alone localhost; programs no longer read the common name\n    cure: have the certificate issued for localhost, too, or connect by a name that it has\n".to_owned(),
        ),
        (
            "it is reached by address, for which it is not",
            issued_with(|_| {}),
            "127.0.0.1",
            &root,
            "  its certificate is not for 127.0.0.1, but for localhost\n    cure: have the certificate issued for 127.0.0.1, too, or connect by a name that it has\n".to_owned(),
        ),
        (
            "it is for clients",
            issued_with(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
            "localhost",
            &root,
            "  its certificate is not for servers (extended key usage)\n    cure: have one issued with the usage serverAuth (cert-manager: usages: [server auth])\n".to_owned(),
        ),
        ("the CA has expired", issue(&params("web"), &old, &[]), "localhost", &old, old_root),
    ])
    .await;
}

#[tokio::test]
async fn a_self_signed_server_is_refused_unless_it_is_itself_trusted() {
    for (what, params) in [
        ("no CA", params("web")),
        ("a CA", {
            let mut params = authority_params("web");
            params.subject_alt_names = params_of_localhost();
            params
        }),
    ] {
        let itself = Authority::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::from_pem(&itself.key().serialize_pem()).unwrap();
        let identity = Identity { chain: vec![itself.der().clone()], key };
        let output = verify(&identity, "localhost", &[&itself]).await;
        assert_eq!(output.code, 0, "{what}: {}", output.out);
        assert!(output.out.starts_with("accepted"), "{what}: {}", output.out);
        let output = verify(&identity, "localhost", &[&root("Other")]).await;
        assert_eq!(output.code, 1, "{what}: {}", output.out);
        assert!(output.out.contains("cure: "), "{what}: {}", output.out);
    }
}

fn params_of_localhost() -> Vec<rcgen::SanType> {
    params("").subject_alt_names
}

#[tokio::test]
async fn what_a_server_shows_can_be_seen_compared_and_saved() {
    let root = root("Root");
    let port = serve(config(&issue(&params("web"), &root, &[&root]))).await;
    let place = format!("https://localhost:{port}");
    let output = run(&[&place, "-o", "json"]).await;
    let document = output.json();
    let names = [0, 1].map(|at| document["certificates"][at]["subject"].clone());
    assert_eq!((output.code, names), (0, ["CN=web", "CN=Root"].map(Into::into)));
    assert_eq!(document["source"], format!("server localhost:{port}"));
    let (_folder, bundle) = bundle(&[&root]);
    let output = run(&[&bundle, &place]).await;
    assert_eq!(output.code, 1);
    assert!(output.out.ends_with("1 added, 0 removed, 1 the same\n"), "{}", output.out);
    let document = run(&[&bundle, "--verify", &format!("localhost:{port}"), "-o", "json"]).await.json();
    assert_eq!((&document["accepted"], document["chain"].as_array().unwrap().len()), (&true.into(), 2));
}

#[tokio::test]
async fn a_server_that_requires_a_certificate_of_its_client_is_verified_all_the_same() {
    let root = root("Root");
    let identity = issue(&params("web"), &root, &[]);
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
    let key = PrivateKeyDer::try_from(identity.key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(identity.chain.clone(), key)
        .unwrap();
    let port = serve(config).await;
    let (_folder, bundle) = bundle(&[&root]);
    let output = run(&[&bundle, "--verify", &format!("localhost:{port}")]).await;
    assert_eq!(output.code, 0, "{}{}", output.out, output.errors);
    let output = run(&[&format!("https://localhost:{port}")]).await;
    assert_eq!(output.code, 0);
    assert!(output.errors.contains("after showing its certificates it ended the handshake: "), "{}", output.errors);
}

#[tokio::test]
async fn a_server_that_does_not_answer_or_speaks_no_tls_is_an_error_with_a_cure() {
    let (_folder, bundle) = bundle(&[&root("Root")]);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = plain.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            drop(tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await);
        }
    });
    for (server, words) in [
        (closed.to_string(), "is it the right address, and does a firewall let you through?: Connection refused"),
        (address.to_string(), "shows no certificate: received corrupt message"),
        ("no-such-host.invalid:443".to_owned(), "connect to no-such-host.invalid:443"),
    ] {
        let output = run(&[&bundle, "--verify", &server]).await;
        assert_eq!((output.code, output.out.as_str()), (2, ""), "{server}");
        assert!(output.errors.contains(words), "{server}: {}", output.errors);
    }
}
