//! A CA, its certificates, and clients that trust it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

/// A certificate authority.
pub struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub struct Identity {
    /// The certificate, as connections show it.
    pub certificate: CertificateDer<'static>,
    /// The certificate, as files have it.
    pub certificate_pem: String,
    /// Its key.
    pub key_pem: String,
}

impl Ca {
    /// Makes one of a new key.
    pub fn generate() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// Its certificate, as files have it.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Signs a certificate for this name, valid for servers and clients.
    pub fn sign(&self, name: &str) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Identity {
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }

    /// Returns a client that trusts this CA and has this identity.
    pub fn client(&self, identity: Option<&Identity>) -> ClientConfig {
        self.client_of(rustls::ALL_VERSIONS, identity)
    }

    /// The same, with these versions of TLS.
    pub fn client_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<&Identity>,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a CA");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let builder = builder.expect("versions").with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).expect("a key");
                let chain = vec![identity.certificate.clone()];
                builder.with_client_auth_cert(chain, key).expect("a certificate with its key")
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }
}

/// The files of a server's settings.
pub struct Files {
    /// The server's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The CA of its clients.
    pub client_ca: PathBuf,
}

impl Files {
    /// Writes them for a server of this name, whose clients `ca` signs too.
    pub fn write(directory: &Path, ca: &Ca, name: &str) -> Self {
        let files = Self {
            certificate: directory.join("server.pem"),
            key: directory.join("server.key"),
            client_ca: directory.join("ca.pem"),
        };
        files.renew(ca, name);
        files
    }

    /// Writes another certificate with another key into the same files.
    pub fn renew(&self, ca: &Ca, name: &str) {
        let identity = ca.sign(name);
        fs::write(&self.certificate, identity.certificate_pem).expect("a file");
        fs::write(&self.key, identity.key_pem).expect("a file");
        fs::write(&self.client_ca, ca.pem()).expect("a file");
    }
}
