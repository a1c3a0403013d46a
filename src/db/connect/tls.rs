//! TLS to Postgres, as libpq's `sslmode` and `sslrootcert` ask for it.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::config::SslMode;

use super::ConnectError;

/// What is checked of the server's certificate: libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verification {
    /// `disable`: no TLS.
    Disabled,
    /// `prefer`: TLS if the server offers it, unchecked.
    Preferred,
    /// `require`: TLS, unchecked.
    Nothing,
    /// `verify-ca`: the issuer.
    Issuer,
    /// `verify-full`: the issuer and the host.
    Full,
}

impl Verification {
    /// The part of it that the driver does.
    pub(super) fn mode(self) -> SslMode {
        match self {
            Self::Disabled => SslMode::Disable,
            Self::Preferred => SslMode::Prefer,
            Self::Nothing | Self::Issuer | Self::Full => SslMode::Require,
        }
    }
}

/// Returns the TLS settings for these checks.
pub(super) fn config(
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
/// Why the file cannot be used.
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

/// The weaker modes of libpq, for which rustls has no setting: any certificate (`require`), or any host
/// (`verify-ca`).
///
/// If any certificate is accepted, signatures are not checked either. They would prove nothing, and rustls cannot
/// read the keys of some certificates, such as those of version 1 that Citus makes for its nodes.
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
        if self.chain.is_none() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.chain.is_none() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use rustls::pki_types::PrivateKeyDer;
    use rustls::server::{ClientHello, ResolvesServerCert, ServerConnection};
    use rustls::sign::CertifiedKey;
    use rustls::{ClientConnection, ServerConfig};

    use super::*;

    /// A server that shows this certificate, even an invalid one.
    #[derive(Debug)]
    struct Shows(Arc<CertifiedKey>);

    impl ResolvesServerCert for Shows {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
    }

    /// Whether a handshake succeeds with a server whose certificate cannot be read.
    fn accepts_unreadable(verification: Verification, root: &Path) -> Result<(), rustls::Error> {
        let key = rcgen::KeyPair::generate().expect("a key");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let key = rustls::crypto::ring::sign::any_supported_type(&key).expect("a key that signs");
        let shown = CertifiedKey::new(vec![CertificateDer::from(b"no certificate".to_vec())], key);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Shows(Arc::new(shown))));
        let client = config(verification, root.to_str()).expect("a configuration");
        let host = ServerName::try_from("db.example").expect("a name");
        let mut client = ClientConnection::new(Arc::new(client), host)?;
        let mut server = ServerConnection::new(Arc::new(server))?;
        while client.is_handshaking() {
            let mut told = Vec::new();
            client.write_tls(&mut told).expect("memory takes it");
            server.read_tls(&mut told.as_slice()).expect("it fits");
            server.process_new_packets()?;
            let mut told = Vec::new();
            server.write_tls(&mut told).expect("memory takes it");
            client.read_tls(&mut told.as_slice()).expect("it fits");
            client.process_new_packets()?;
        }
        Ok(())
    }

    #[test]
    fn a_certificate_that_cannot_be_read_is_taken_only_where_none_is_checked() {
        let issuer = rcgen::generate_simple_self_signed(["db.example".to_owned()]).expect("a certificate");
        let mut root = tempfile::NamedTempFile::new().expect("a file");
        root.write_all(issuer.cert.pem().as_bytes()).expect("written");
        for (verification, accepts) in [
            (Verification::Preferred, true),
            (Verification::Nothing, true),
            (Verification::Issuer, false),
            (Verification::Full, false),
        ] {
            let handshake = accepts_unreadable(verification, root.path());
            assert_eq!(handshake.is_ok(), accepts, "{verification:?}: {handshake:?}");
        }
    }
}
