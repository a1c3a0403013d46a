//! TLS of the server, from files that can be replaced while it runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::settings::{ClientAuth, TlsConfig};

/// The protocols that are spoken over TLS, the best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why TLS cannot be used. The messages say what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The settings contradict each other.
    #[error("{0}")]
    Settings(&'static str),
    /// A file is missing or has the wrong contents.
    #[error("{setting} {}: {cause}. Name {wanted} in PEM.", .path.display())]
    File {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
        /// What the file should contain.
        wanted: &'static str,
    },
    /// The key belongs to another certificate, or is of an unknown kind.
    #[error(
        "--tls-cert {} and --tls-key {} do not go together: {cause}. Name a certificate (its own first, then those \
         between it and its CA) and the private key that it was made for.",
        .cert.display(), .key.display()
    )]
    Pair {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong.
        cause: rustls::Error,
    },
    /// The certificates cannot be those of a CA.
    #[error("--tls-client-ca {} cannot be used: {cause}. Name the certificates of the CA that signs your clients'.", .path.display())]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: VerifierBuilderError,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    /// The settings of the next handshake; existing connections keep theirs.
    current: RwLock<Arc<ServerConfig>>,
}

/// The paths of the files.
#[derive(Debug)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<(PathBuf, ClientAuth)>,
}

impl Tls {
    /// Loads TLS as the settings say; `None` if they name no certificate.
    ///
    /// # Errors
    ///
    /// What is wrong with the settings or with the files.
    pub fn load(config: &TlsConfig) -> Result<Option<Self>, TlsError> {
        let Some(files) = Files::of(config)? else { return Ok(None) };
        let current = RwLock::new(files.read()?);
        Ok(Some(Self { files, current }))
    }

    /// Reads the files again, for new connections.
    ///
    /// # Errors
    ///
    /// What is wrong with them. The earlier contents stay in use then.
    pub fn reload(&self) -> Result<(), TlsError> {
        let read = self.files.read()?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    /// Whether clients must show certificates; `None` if they are not asked.
    pub fn client_auth(&self) -> Option<ClientAuth> {
        self.files.client_ca.as_ref().map(|(_, auth)| *auth)
    }

    /// Returns the acceptor of the next handshake.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl Files {
    fn of(config: &TlsConfig) -> Result<Option<Self>, TlsError> {
        let TlsConfig { tls_cert, tls_key, tls_client_ca, tls_client_auth } = config.clone();
        let client_ca = match (tls_client_ca, tls_client_auth) {
            (Some(path), auth) => Some((path, auth.unwrap_or(ClientAuth::Required))),
            (None, None) => None,
            (None, Some(_)) => {
                return Err(TlsError::Settings(
                    "--tls-client-auth is about certificates of clients, and nothing says whose are taken. Name their \
                     CA with --tls-client-ca, or leave --tls-client-auth out.",
                ));
            }
        };
        match (tls_cert, tls_key) {
            (Some(cert), Some(key)) => Ok(Some(Self { cert, key, client_ca })),
            (None, None) if client_ca.is_none() => Ok(None),
            (None, None) => Err(TlsError::Settings(
                "Clients show certificates only under TLS. Name the server's own with --tls-cert and --tls-key, or \
                 leave --tls-client-ca out.",
            )),
            (Some(_), None) => Err(TlsError::Settings(
                "--tls-cert needs the private key of the certificate. Name it with --tls-key.",
            )),
            (None, Some(_)) => Err(TlsError::Settings(
                "--tls-key needs the certificate that the key was made for. Name it with --tls-cert.",
            )),
        }
    }

    fn read(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let chain = certificates("--tls-cert", &self.cert, "the server's certificate")?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| unusable("--tls-key", &self.key, error.to_string(), "its private key"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let unpaired = |cause| TlsError::Pair { cert: self.cert.clone(), key: self.key.clone(), cause };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(unpaired)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some((path, auth)) => {
                let roots = Arc::new(roots(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = match auth {
                    ClientAuth::Optional => verifier.allow_unauthenticated(),
                    ClientAuth::Required => verifier,
                };
                let verifier = verifier.build();
                builder.with_client_cert_verifier(
                    verifier.map_err(|cause| TlsError::ClientCa { path: path.clone(), cause })?,
                )
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(unpaired)?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        // With session resumption the client's certificate would not be checked again. And connections are long: the
        // cost of a handshake is small compared with its calls.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    const SETTING: &str = "--tls-client-ca";
    const WANTED: &str = "the certificates of the CA that signs your clients'";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(SETTING, path, WANTED)? {
        roots.add(certificate).map_err(|error| unusable(SETTING, path, error.to_string(), WANTED))?;
    }
    Ok(roots)
}

/// Reads the certificates of a file, at least one.
fn certificates(
    setting: &'static str,
    path: &Path,
    wanted: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unusable = |cause: String| unusable(setting, path, cause, wanted);
    let found = CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|error| unusable(error.to_string()))?;
    if found.is_empty() {
        return Err(unusable("it has no certificate".to_owned()));
    }
    Ok(found)
}

fn unusable(setting: &'static str, path: &Path, cause: String, wanted: &'static str) -> TlsError {
    TlsError::File { setting, path: path.to_owned(), cause, wanted }
}
