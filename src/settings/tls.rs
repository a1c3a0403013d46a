//! Settings of TLS.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// TLS towards clients. The files are read at start, and again on SIGHUP.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "TLS")]
pub struct TlsConfig {
    /// Certificate of the server in PEM, with those between it and its CA; plain text without it.
    #[arg(long, env = "CRM_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// Private key of the certificate in PEM.
    #[arg(long, env = "CRM_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Certificates, in PEM, of the CA whose client certificates are accepted.
    #[arg(long, env = "CRM_TLS_CLIENT_CA", value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,

    /// Whether clients must show a certificate; with --tls-client-ca the default is `required`.
    #[arg(long, env = "CRM_TLS_CLIENT_AUTH", value_name = "WHETHER")]
    pub tls_client_auth: Option<ClientAuth>,
}

/// Whether clients must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClientAuth {
    /// A shown certificate must be valid. For servers that accept other credentials too.
    Optional,
    /// A connection without a certificate is refused.
    Required,
}
