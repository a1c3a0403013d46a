//! TLS: which clients are accepted, which are refused, and that refused ones do not affect others.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crm_backend::config::{ClientAuth, Limits, TlsConfig};
use crm_backend::connection::Tls;
use crm_testkit::certificates::{Ca, Files};
use rustls::ClientConfig;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::either::Either;

use crate::support::dial::{Dialer, NAME};
use crate::support::{Crm, PATIENCE, Settings, Tenant, soon};

/// A service with TLS, and the CA that it trusts.
struct Secure {
    crm: Crm,
    ca: Ca,
    files: Files,
    tls: Arc<Tls>,
    _directory: TempDir,
}

impl Secure {
    /// Starts a server that asks for no certificates, or as `--tls-client-auth` says.
    async fn start(client_auth: Option<ClientAuth>) -> Self {
        Self::with(client_auth, |_| ()).await
    }

    async fn with(client_auth: Option<ClientAuth>, limits: fn(&mut Limits)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let ca = Ca::generate();
        let files = Files::write(directory.path(), &ca, NAME);
        let tls = Arc::new(load(&files, client_auth));
        let settings = Settings { limits, tls: Some(Arc::clone(&tls)), ..Settings::default() };
        Self { crm: Crm::with(settings).await, ca, files, tls, _directory: directory }
    }

    fn address(&self) -> SocketAddr {
        self.crm.address()
    }

    /// Returns a tenant on a connection of its own.
    async fn tenant(&self, config: ClientConfig) -> Tenant {
        let channel = Dialer::tls(self.address(), config).channel().await;
        self.crm.tenant().over(channel.expect("a connection"))
    }

    /// Returns the error of a client's connection that sends the preface of HTTP/2.
    async fn refusal(&self, config: ClientConfig) -> io::Error {
        let refused = async {
            let mut socket = Dialer::tls(self.address(), config).dial().await?;
            socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
            socket.read_u8().await
        };
        soon(refused).await.expect_err("it is not let in")
    }
}

fn load(files: &Files, client_auth: Option<ClientAuth>) -> Tls {
    let config = TlsConfig {
        tls_cert: Some(files.certificate.clone()),
        tls_key: Some(files.key.clone()),
        tls_client_ca: client_auth.map(|_| files.client_ca.clone()),
        tls_client_auth: client_auth,
    };
    Tls::load(&config).expect("good files").expect("a certificate")
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_answered_under_both_versions_of_tls() {
    let secure = Secure::start(None).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let tenant = secure.tenant(secure.ca.client_of(&[version], None)).await;
        let zoe = tenant.customer("Zoe").await;
        assert_eq!(tenant.get(&zoe.id).await.expect("there"), zoe);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_certificate_is_required_nobody_gets_in_without_a_good_one() {
    let secure = Secure::start(Some(ClientAuth::Required)).await;
    let trusted = secure.ca.sign("agent.example");
    let tenant = secure.tenant(secure.ca.client(Some(&trusted))).await;
    tenant.customer("Zoe").await;
    let error = secure.refusal(secure.ca.client(None)).await;
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
    let forged = Ca::generate().sign("agent.example");
    let error = secure.refusal(secure.ca.client(Some(&forged))).await;
    // The alert with the reason.
    assert!(error.to_string().contains("received fatal alert"), "{error}");
    tenant.customer("Those that are in stay in").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_certificate_is_optional_a_bad_one_is_still_refused() {
    let secure = Secure::start(Some(ClientAuth::Optional)).await;
    let trusted = secure.ca.sign("agent.example");
    secure.tenant(secure.ca.client(Some(&trusted))).await.customer("Zoe").await;
    secure.tenant(secure.ca.client(None)).await.customer("Zoe").await;
    let forged = Ca::generate().sign("agent.example");
    secure.refusal(secure.ca.client(Some(&forged))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_know_the_ca_goes_and_no_other_notices() {
    let secure = Secure::start(None).await;
    let tenant = secure.tenant(secure.ca.client(None)).await;
    let stranger = Ca::generate().client(None);
    Dialer::tls(secure.address(), stranger).dial().await.expect_err("it does not trust the server");
    tenant.customer("Zoe").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_http_are_agreed_on_and_nothing_else() {
    let secure = Secure::start(None).await;
    let config = |protocols: &[&[u8]]| {
        let mut config = secure.ca.client(None);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        config
    };
    let agreed =
        async |protocols: &[&[u8]]| match Dialer::tls(secure.address(), config(protocols)).dial().await {
            Ok(Either::Right(tls)) => tls.get_ref().1.alpn_protocol().expect("one").to_vec(),
            Ok(Either::Left(_)) => panic!("no TLS"),
            Err(error) => error.to_string().into_bytes(),
        };
    assert_eq!(agreed(&[b"http/1.1", b"h2"]).await, b"h2");
    let error = String::from_utf8(agreed(&[b"h3"]).await).expect("text");
    assert!(error.contains("NoApplicationProtocol"), "{error}");
    assert_eq!(agreed(&[b"http/1.1"]).await, b"http/1.1");
    let mut socket =
        Dialer::tls(secure.address(), config(&[b"http/1.1"])).dial().await.expect("a connection");
    let tenant = secure.crm.tenant().id;
    let request = format!(
        "GET /api/v1/customers HTTP/1.1\r\nhost: x\r\nx-tenant-id: {tenant}\r\nconnection: close\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    soon(socket.read_to_string(&mut answer)).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"customers\":[]"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_text_to_a_port_of_tls_ends_at_once() {
    let secure = Secure::with(None, |limits| limits.connections.opening = PATIENCE * 2).await;
    for words in [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut tcp = TcpStream::connect(secure.address()).await.expect("a connection");
        tcp.write_all(words).await.expect("it is there");
        let mut answer = Vec::new();
        let _ = soon(tcp.read_to_end(&mut answer)).await;
        assert!(answer.len() < 16, "no more than an alert: {answer:?}");
    }
    secure.tenant(secure.ca.client(None)).await.customer("Zoe").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_end_is_given_up_and_holds_up_no_other() {
    let secure = Secure::with(None, |limits| limits.connections.opening = Duration::from_millis(500)).await;
    let began = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..20 {
        let mut tcp = TcpStream::connect(secure.address()).await.expect("a connection");
        // The beginning of a record of 512 bytes.
        tcp.write_all(&[0x16, 3, 1, 2, 0, 1]).await.expect("it is there");
        silent.push(tcp);
    }
    secure.tenant(secure.ca.client(None)).await.customer("Zoe").await;
    for mut tcp in silent {
        let mut answer = Vec::new();
        let _ = soon(tcp.read_to_end(&mut answer)).await;
    }
    assert!(began.elapsed() >= Duration::from_millis(450), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn new_files_are_for_new_connections_and_bad_ones_for_none() {
    let mut secure = Secure::start(Some(ClientAuth::Required)).await;
    let old_identity = secure.ca.sign("agent.example");
    let old = secure.tenant(secure.ca.client(Some(&old_identity))).await;
    old.customer("Zoe").await;

    fs::write(&secure.files.key, "no key").expect("a file");
    let error = secure.tls.reload().expect_err("no key").to_string();
    assert!(error.contains("--tls-key") && error.contains("server.key"), "{error}");
    secure.tenant(secure.ca.client(Some(&old_identity))).await.customer("As it was").await;

    let new = Ca::generate();
    secure.files.renew(&new, NAME);
    secure.tls.reload().expect("good files");
    let old_ca = std::mem::replace(&mut secure.ca, new);
    Dialer::tls(secure.address(), old_ca.client(Some(&old_identity)))
        .dial()
        .await
        .expect_err("another server to those that trust the old CA");
    secure.refusal(secure.ca.client(Some(&old_identity))).await;
    let new_identity = secure.ca.sign("agent.example");
    secure.tenant(secure.ca.client(Some(&new_identity))).await.customer("Zoe").await;
    old.customer("What was agreed on goes on").await;
}
