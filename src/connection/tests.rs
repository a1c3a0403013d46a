//! What a service learns about the connection of a request.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;

use clap::Parser;
use crm_testkit::certificates::{Ca, Files};
use http::{Request, Response};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;

use super::{Listener, PeerCertificate, Tls, serve};
use crate::config::{Cli, Command};
use crate::metrics::Metrics;
use crate::settings::{ClientAuth, ConnectionLimits, TlsConfig};

/// The name of the server.
const NAME: &str = "localhost";

fn limits() -> ConnectionLimits {
    match Cli::parse_from(["crm-backend"]).into_command() {
        Command::Serve(config) => config.limits.connections,
        Command::Migrate(_) | Command::Recount(_) | Command::Keys(_) | Command::Mcp(_) => {
            unreachable!("serve is the default")
        }
    }
}

/// Sends two requests over one connection.
async fn call_twice(listener: std::net::SocketAddr, config: ClientConfig) {
    let tcp = TcpStream::connect(listener).await.expect("it listens");
    let name = ServerName::try_from(NAME).expect("a name");
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.expect("a handshake");
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.expect("HTTP/2");
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    for _ in 0..2 {
        let request = Request::post("https://localhost/").body(Body::empty()).expect("a request");
        sender.ready().await.expect("the connection lives");
        sender.send_request(request).await.expect("an answer");
    }
}

#[tokio::test]
async fn every_request_has_the_certificate_of_its_connection() {
    let directory = tempfile::tempdir().expect("a directory");
    let ca = Ca::generate();
    let files = Files::write(directory.path(), &ca, NAME);
    let config = TlsConfig {
        tls_cert: Some(files.certificate),
        tls_key: Some(files.key),
        tls_client_ca: Some(files.client_ca),
        tls_client_auth: Some(ClientAuth::Optional),
    };
    let tls = Tls::load(&config).expect("good files").map(Arc::new);
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = tcp.local_addr().expect("an address");
    let (tell, mut told) = mpsc::unbounded_channel::<Option<CertificateDer<'static>>>();
    let service = tower::service_fn(move |request: Request<Body>| {
        let shown = request.extensions().get::<PeerCertificate>();
        let _ = tell.send(shown.map(|PeerCertificate(certificate)| certificate.clone()));
        async { Ok::<_, Infallible>(Response::new(Body::empty())) }
    });
    let mut server = JoinSet::new();
    server.spawn(async move {
        let stop = CancellationToken::new();
        serve(Listener::new(tcp, tls), service, limits(), &TaskTracker::new(), &Metrics::default(), stop)
            .await;
    });
    let identity = ca.sign("agent.example");
    for shown in [Some(&identity), None, Some(&ca.sign("other.example"))] {
        call_twice(address, ca.client(shown)).await;
        for _ in 0..2 {
            let certificate = told.recv().await.expect("a request");
            assert_eq!(certificate.as_ref(), shown.map(|identity| &identity.certificate));
        }
    }
}
