//! From a URL to an open connection.

use std::borrow::Cow;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use diesel::ConnectionError;
use diesel_async::AsyncPgConnection;
use futures_util::stream::{Stream, poll_fn};
use percent_encoding::percent_decode_str;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use url::Url;

use super::{Pulse, Wire};

/// How long the host of Postgres may leave what was sent unacknowledged before the connection is lost; TCP's
/// default is a quarter of an hour. On Linux it also ends a connection whose keepalives are not answered,
/// instead of [`KEEPALIVE_RETRIES`].
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection is silent before its host is asked whether it is there: a connection on which an
/// answer is awaited has nothing unacknowledged, so that the limit above does not apply. TCP's default is two
/// hours.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);

/// How often it is asked again.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);

/// How often it is asked in vain before the connection is lost, where [`TCP_USER_TIMEOUT`] is not known.
const KEEPALIVE_RETRIES: u32 = 3;

/// What a connection over TLS reads and writes.
type TlsStream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// Why there is no connection. Messages say what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL is not one.
    #[error(
        "DATABASE_URL is not understood: {0}. It looks like postgres://user:password@host:5432/database?sslmode=verify-full."
    )]
    Url(String),
    /// The certificates are not there.
    #[error("sslrootcert={path} cannot be read: {cause}. Name a PEM file with the certificates to trust.")]
    RootCertificates {
        /// The file.
        path: String,
        /// Why not.
        cause: String,
    },
    /// TLS cannot be set up.
    #[error("TLS to Postgres cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// A database, and how to reach it.
#[derive(Clone)]
pub struct Target {
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
    /// Where it is, for people: without user and password.
    place: String,
    /// What all connections to it know together.
    pulse: Pulse,
}

impl Target {
    /// Understands a connection URL, `sslmode` as libpq does, and `sslrootcert`.
    ///
    /// # Errors
    ///
    /// What is wrong with the URL or the certificates that it names.
    pub fn parse(url: &str) -> Result<Self, ConnectError> {
        let mut url = Url::parse(url).map_err(|error| ConnectError::Url(error.to_string()))?;
        let (verification, root_certificates) = take_tls_parameters(&mut url)?;
        let mut config: tokio_postgres::Config = url
            .as_str()
            .parse()
            .map_err(|error: tokio_postgres::Error| ConnectError::Url(error.to_string()))?;
        config
            .application_name("crm-backend")
            .connect_timeout(super::CONNECT_TIMEOUT)
            .tcp_user_timeout(TCP_USER_TIMEOUT)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES)
            .ssl_mode(match verification {
                Verification::Disabled => SslMode::Disable,
                Verification::Preferred => SslMode::Prefer,
                Verification::Nothing | Verification::Issuer | Verification::Full => SslMode::Require,
            });
        let place = format!(
            "{}:{}{}",
            url.host_str().unwrap_or("localhost"),
            url.port().unwrap_or(5432),
            url.path(),
        );
        let tls = MakeRustlsConnect::new(tls_config(verification, root_certificates.as_deref())?);
        Ok(Self { config, tls, place, pulse: Pulse::default() })
    }

    /// Where it is, for people: host, port and database.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What all connections to it know together of how it answers.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Opens one connection, on which no answer is awaited without a limit.
    ///
    /// # Errors
    ///
    /// What Postgres or the network said.
    pub async fn open(&self) -> diesel::ConnectionResult<Wire> {
        Ok(Wire::new(self.open_bare().await?, self.pulse.clone()))
    }

    /// Opens one connection whose answers may take for ever. For migrations, which may take long, and for
    /// what a person waits for.
    ///
    /// # Errors
    ///
    /// As [`Target::open`].
    pub async fn open_bare(&self) -> diesel::ConnectionResult<AsyncPgConnection> {
        in_time(async {
            let (client, connection) = self.connect().await?;
            // Asks the first questions.
            AsyncPgConnection::try_from_client_and_connection(client, connection).await
        })
        .await
    }

    /// Opens one connection as a client and what Postgres says without being asked, notifications
    /// above all. The client has answers only while somebody reads the other; after an error, or
    /// its end, it must not be read again.
    ///
    /// # Errors
    ///
    /// As [`Target::open`].
    pub(crate) async fn open_listening(
        &self,
    ) -> diesel::ConnectionResult<(
        Wire<Client>,
        impl Stream<Item = Result<AsyncMessage, tokio_postgres::Error>> + Send + Unpin + use<>,
    )> {
        let (client, mut connection) = in_time(self.connect()).await?;
        Ok((Wire::new(client, self.pulse.clone()), poll_fn(move |context| connection.poll_message(context))))
    }

    async fn connect(&self) -> diesel::ConnectionResult<(Client, Connection<Socket, TlsStream>)> {
        let connecting = self.config.connect(self.tls.clone()).await;
        connecting.map_err(|error| ConnectionError::BadConnection(describe(&error)))
    }
}

/// The driver's own limit is for the socket; a peer may take it and then say nothing.
async fn in_time<T>(
    connecting: impl Future<Output = diesel::ConnectionResult<T>>,
) -> diesel::ConnectionResult<T> {
    let late = |_| ConnectionError::BadConnection("no answer in time".to_owned());
    tokio::time::timeout(super::CONNECT_TIMEOUT, connecting).await.map_err(late)?
}

/// The driver's text says only `db error` or `error connecting to server`; its cause says which.
pub(crate) fn describe(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// What of the server's certificate is checked: libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verification {
    /// `disable`: no TLS.
    Disabled,
    /// `prefer`: TLS where the server has it, unchecked.
    Preferred,
    /// `require`: TLS, unchecked.
    Nothing,
    /// `verify-ca`: who issued it.
    Issuer,
    /// `verify-full`: who issued it, and for which host.
    Full,
}

/// Takes what the driver does not understand out of the URL.
fn take_tls_parameters(url: &mut Url) -> Result<(Verification, Option<String>), ConnectError> {
    let mut verification = None;
    let mut root_certificates = None;
    // The others stay as they were written. A `+` is a plus to libpq and the driver, and no space.
    let mut rest = Vec::new();
    for pair in url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "sslmode" => {
                verification = Some(match value {
                    "disable" => Verification::Disabled,
                    "allow" | "prefer" => Verification::Preferred,
                    "require" => Verification::Nothing,
                    "verify-ca" => Verification::Issuer,
                    "verify-full" => Verification::Full,
                    _ => {
                        return Err(ConnectError::Url(
                            "sslmode is one of disable, prefer, require, verify-ca, verify-full".to_owned(),
                        ));
                    }
                });
            }
            "sslrootcert" => root_certificates = Some(decoded(value)?),
            _ => rest.push(pair),
        }
    }
    let rest = (!rest.is_empty()).then(|| rest.join("&"));
    url.set_query(rest.as_deref());
    // As with libpq, naming certificates to trust makes `require` check them.
    let verification = match verification.unwrap_or(Verification::Preferred) {
        Verification::Nothing if root_certificates.is_some() => Verification::Issuer,
        verification => verification,
    };
    Ok((verification, root_certificates))
}

/// The text of a parameter.
fn decoded(value: &str) -> Result<String, ConnectError> {
    let text = percent_decode_str(value).decode_utf8();
    text.map(Cow::into_owned).map_err(|error| ConnectError::Url(error.to_string()))
}

fn tls_config(
    verification: Verification,
    root_certificates: Option<&str>,
) -> Result<ClientConfig, ConnectError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let check_host = match verification {
        Verification::Disabled | Verification::Preferred | Verification::Nothing => None,
        Verification::Issuer => Some(false),
        Verification::Full => Some(true),
    };
    let chain = match check_host {
        None => None,
        Some(_) => {
            let unreadable = |cause| {
                let path = root_certificates.unwrap_or_default().to_owned();
                ConnectError::RootCertificates { path, cause }
            };
            let roots = Arc::new(roots(root_certificates.map(Path::new)).map_err(unreadable)?);
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?;
            Some(verifier)
        }
    };
    let verifier = Arc::new(Verifier { chain, check_host: check_host.unwrap_or(false), provider });
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// The certificates of a PEM file, or those of the system.
///
/// # Errors
///
/// Why the file is of no use.
pub(crate) fn roots(path: Option<&Path>) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let Some(path) = path else {
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(store);
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| error.to_string())?;
        store.add(certificate).map_err(|error| error.to_string())?;
    }
    if store.is_empty() {
        return Err("it has no certificate".to_owned());
    }
    Ok(store)
}

/// libpq's weaker modes, which rustls has no switch for: a certificate from anybody (`require`), or
/// for any host (`verify-ca`). Signatures are checked in all of them.
#[derive(Debug)]
struct Verifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    check_host: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::Error::InvalidCertificate;
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.check_host => Ok(ServerCertVerified::assertion()),
            outcome => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_parameters_are_taken_out() {
        let mut url = Url::parse(
            "postgres://u:p@db:5433/crm?sslmode=verify-full&options=-c%20a%3Db&sslrootcert=/a%20b/ca+1.pem",
        )
        .expect("a URL");
        let taken = take_tls_parameters(&mut url).expect("known parameters");
        assert_eq!(taken, (Verification::Full, Some("/a b/ca+1.pem".to_owned())));
        assert_eq!(url.query(), Some("options=-c%20a%3Db"));
    }

    #[test]
    fn what_the_driver_reads_is_what_was_written() {
        for (query, options) in [
            ("options=-c%20work_mem%3D64MB", "-c work_mem=64MB"),
            ("sslmode=require&options=-c%20work_mem%3D64MB", "-c work_mem=64MB"),
            ("options=-c+work_mem%3D64MB&sslmode=require", "-c+work_mem=64MB"),
            ("options=-c%20a%3Dx%26y%2525&sslmode=prefer", "-c a=x&y%25"),
        ] {
            let target = Target::parse(&format!("postgres://u@h/db?{query}")).expect("a target");
            assert_eq!(target.config.get_options(), Some(options), "{query}");
        }
    }

    #[test]
    fn a_host_that_is_lost_shows_before_anybody_waits_for_it() {
        // Also where the URL says otherwise.
        let target = Target::parse("postgres://u@h/db?keepalives=0&tcp_user_timeout=0").expect("a target");
        assert!(target.config.get_keepalives());
        let longest = target.config.get_keepalives_idle()
            + target.config.get_keepalives_interval().expect("an interval") * KEEPALIVE_RETRIES;
        let user_timeout = target.config.get_tcp_user_timeout().copied().expect("a limit");
        assert!(longest.max(user_timeout + KEEPALIVE_IDLE) <= Duration::from_secs(15));
    }

    #[test]
    fn trusted_certificates_are_checked_under_require() {
        let mut url = Url::parse("postgres://db/crm?sslmode=require&sslrootcert=/ca.pem").expect("a URL");
        assert_eq!(take_tls_parameters(&mut url).map(|taken| taken.0).ok(), Some(Verification::Issuer));
    }

    #[test]
    fn the_place_has_no_password() {
        let target = Target::parse("postgres://user:secret@db.example/crm").expect("a target");
        assert_eq!(target.place(), "db.example:5432/crm");
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "crm", "postgres://db/crm?sslmode=yes", "postgres://db/crm?nonsense=1"] {
            assert!(matches!(Target::parse(bad), Err(ConnectError::Url(_))), "{bad}");
        }
        let missing = Target::parse("postgres://db/crm?sslmode=verify-ca&sslrootcert=/does/not/exist");
        assert!(matches!(missing, Err(ConnectError::RootCertificates { .. })));
    }
}
