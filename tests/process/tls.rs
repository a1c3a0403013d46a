//! TLS from its operator's view: on, with replaced files, and with invalid files.

use std::fs;
use std::path::Path;

use crm_testkit::certificates::{Ca, Files};
use crm_testkit::{Server, eventually, run, within};
use rustix::process::Signal;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::scratch;

/// The name of the server.
const NAME: &str = "localhost";

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of letters")
}

/// Whether a client that trusts this CA can connect to the server.
async fn trusts(ca: &Ca, server: &Server) -> bool {
    let connector = TlsConnector::from(std::sync::Arc::new(ca.client(None)));
    let tcp = TcpStream::connect(server.address).await.expect("it listens");
    let name = ServerName::try_from(NAME).expect("a name");
    within(connector.connect(name, tcp)).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_hangup_has_the_files_read_again() {
    let scratch = scratch();
    let (old, new) = (Ca::generate(), Ca::generate());
    let files = Files::write(&scratch.path(""), &old, NAME);
    let arguments = ["--ephemeral", "--tls-cert", text(&files.certificate), "--tls-key", text(&files.key)];
    let mut server = Server::start_with(&scratch, &arguments);
    assert_eq!(server.program.says("  TLS        "), "on");
    assert!(trusts(&old, &server).await);
    assert!(!trusts(&new, &server).await);

    fs::write(&files.certificate, "no certificate").expect("a file");
    server.program.signal(Signal::HUP);
    eventually("the mistake is told", || server.program.stderr().contains("TLS stays as it was"));
    assert!(server.program.stderr().contains("--tls-cert"), "{}", server.program.stderr());
    assert!(trusts(&old, &server).await);

    files.renew(&new, NAME);
    server.program.signal(Signal::HUP);
    eventually("the files are read", || server.program.stderr().contains("TLS was read again"));
    assert!(trusts(&new, &server).await);
    assert!(!trusts(&old, &server).await);
    server.terminate().succeeded();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_hangup_without_tls_is_survived() {
    let scratch = scratch();
    let mut server = Server::start_with(&scratch, &["--ephemeral"]);
    assert_eq!(server.program.says("  TLS        "), "off: plain text");
    server.program.signal(Signal::HUP);
    eventually("it is told", || server.program.stderr().contains("SIGHUP"));
    server.terminate().succeeded();
}

#[test]
fn tls_that_cannot_be_is_refused_with_what_to_do() {
    let scratch = scratch();
    let ca = Ca::generate();
    let files = Files::write(&scratch.path(""), &ca, NAME);
    let other = scratch.path("other.key");
    fs::write(&other, ca.sign(NAME).key_pem).expect("a file");
    let empty = scratch.path("empty.pem");
    fs::write(&empty, "").expect("a file");
    let missing = scratch.path("missing.pem");
    let (certificate, key, client_ca) = (text(&files.certificate), text(&files.key), text(&files.client_ca));
    let good = ["--tls-cert", certificate, "--tls-key", key];
    for (arguments, mentions) in [
        (vec!["--tls-cert", certificate], vec!["--tls-key"]),
        (vec!["--tls-key", key], vec!["--tls-cert"]),
        (vec!["--tls-client-ca", client_ca], vec!["--tls-client-ca", "--tls-cert"]),
        (
            [&good[..], &["--tls-client-auth", "required"]].concat(),
            vec!["--tls-client-auth", "--tls-client-ca"],
        ),
        (vec!["--tls-cert", text(&missing), "--tls-key", key], vec!["--tls-cert", text(&missing)]),
        (vec!["--tls-cert", text(&empty), "--tls-key", key], vec!["--tls-cert", text(&empty)]),
        (vec!["--tls-cert", key, "--tls-key", key], vec!["--tls-cert", key]),
        (vec!["--tls-cert", certificate, "--tls-key", certificate], vec!["--tls-key", certificate]),
        (vec!["--tls-cert", certificate, "--tls-key", text(&other)], vec![certificate, text(&other)]),
        ([&good[..], &["--tls-client-ca", text(&empty)]].concat(), vec!["--tls-client-ca", text(&empty)]),
    ] {
        let arguments = [&["--listen", "127.0.0.1:0", "--ephemeral"][..], &arguments].concat();
        let ended = run(&scratch, &arguments);
        ended.refused(&mentions);
        assert!(scratch.leftovers().is_empty(), "no Postgres was made for {arguments:?}");
    }
}
