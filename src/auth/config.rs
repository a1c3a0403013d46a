//! How callers prove who they are: the settings, and which of them may be combined.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use jsonwebtoken::Algorithm;

/// How callers prove who they are.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Callers")]
pub struct AuthConfig {
    /// How callers prove who they are: `insecure` (no proof: `x-tenant-id` is trusted), or one or more of `jwt`,
    /// `mtls` and `api-key`, separated by commas.
    #[arg(long, env = "CRM_AUTH", value_delimiter = ',', default_value = "insecure", value_name = "MODE,…")]
    pub auth: Vec<Mode>,

    /// Accept tokens and API keys without TLS on an address that others can reach.
    ///
    /// Only behind a proxy on the same machine or network that ends TLS: anyone who can read the traffic can use the
    /// credentials in it.
    #[arg(long, env = "CRM_ALLOW_PLAINTEXT")]
    pub allow_plaintext: bool,

    /// Issuer of tokens: the claim `iss` must be this.
    #[arg(long, env = "CRM_JWT_ISSUER", value_name = "NAME")]
    pub jwt_issuer: Option<String>,

    /// Audience of tokens: the claim `aud` must be this, or contain it.
    #[arg(long, env = "CRM_JWT_AUDIENCE", value_name = "NAME")]
    pub jwt_audience: Option<String>,

    /// Signature algorithms that are accepted. HS256 must stand alone: a public key must never pass for its secret.
    #[arg(
        long,
        env = "CRM_JWT_ALGORITHMS",
        value_delimiter = ',',
        default_value = "RS256,ES256,EdDSA",
        value_name = "NAME,…"
    )]
    pub jwt_algorithms: Vec<Signature>,

    /// File with the issuer's public keys as a JSON Web Key Set; read again on SIGHUP.
    #[arg(long, env = "CRM_JWT_JWKS_FILE", value_name = "FILE")]
    pub jwt_jwks_file: Option<PathBuf>,

    /// URL of a JSON Web Key Set: https, or http on a loopback address. Read again every five minutes, and when a
    /// token names an unknown key.
    #[arg(long, env = "CRM_JWT_JWKS_URL", value_name = "URL")]
    pub jwt_jwks_url: Option<String>,

    /// PEM file with the certificates to trust for the URL's server; otherwise those of the system.
    #[arg(long, env = "CRM_JWT_JWKS_CA", value_name = "FILE")]
    pub jwt_jwks_ca: Option<PathBuf>,

    /// PEM file with the issuer's single public key; read again on SIGHUP.
    #[arg(long, env = "CRM_JWT_PUBLIC_KEY", value_name = "FILE")]
    pub jwt_public_key: Option<PathBuf>,

    /// File with the secret of HS256, 32 bytes or more; read again on SIGHUP.
    #[arg(long, env = "CRM_JWT_SECRET_FILE", value_name = "FILE")]
    pub jwt_secret_file: Option<PathBuf>,

    /// Seconds that the clocks of issuers may differ from ours: a token is accepted for this long after it ends, and
    /// before it begins.
    #[arg(long, env = "CRM_JWT_LEEWAY_S", default_value_t = 10, value_name = "SECONDS",
          value_parser = clap::value_parser!(u16).range(0..=300))]
    pub jwt_leeway: u16,

    /// Claim that names the tenants of a token: a UUID or a list of UUIDs; `*` means all.
    #[arg(long, env = "CRM_JWT_TENANTS_CLAIM", default_value = "tenants", value_name = "CLAIM")]
    pub jwt_tenants_claim: String,

    /// Claim that names its scopes, `read`, `write` and `admin`: separated by spaces, or a list. Other words in it
    /// are ignored.
    #[arg(long, env = "CRM_JWT_SCOPE_CLAIM", default_value = "scope", value_name = "CLAIM")]
    pub jwt_scope_claim: String,

    /// JSON file that says which tenants and scopes each client certificate grants, by its SAN; read again on SIGHUP.
    #[arg(long, env = "CRM_MTLS_PRINCIPALS", value_name = "FILE")]
    pub mtls_principals: Option<PathBuf>,
}

/// A way for callers to prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// No proof: the tenant that a caller names is trusted.
    Insecure,
    /// A token that an issuer signed.
    Jwt,
    /// The client's certificate.
    Mtls,
    /// A key created with `crm-backend keys create`.
    ApiKey,
}

/// The signature algorithms of tokens. There is one for each kind of key, so a key's kind determines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Signature {
    /// RSA, PKCS #1 v1.5, SHA-256.
    #[value(name = "RS256")]
    Rs256,
    /// ECDSA on P-256, SHA-256.
    #[value(name = "ES256")]
    Es256,
    /// Ed25519.
    #[value(name = "EdDSA")]
    EdDsa,
    /// HMAC with SHA-256.
    #[value(name = "HS256")]
    Hs256,
}

impl Signature {
    /// The name that tokens use for it.
    pub(super) fn algorithm(self) -> Algorithm {
        match self {
            Self::Rs256 => Algorithm::RS256,
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
            Self::Hs256 => Algorithm::HS256,
        }
    }
}

/// The settings of other modules that [`AuthConfig::check`] depends on.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings {
    /// The address on which the service listens.
    pub listen: SocketAddr,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// Whether clients can show certificates that are verified.
    pub client_ca: bool,
    /// Whether a proxy in front authenticates callers and sets the tenant.
    pub trust_tenant_header: bool,
}

impl Surroundings {
    /// Whether only this machine can reach the address.
    fn is_loopback(self) -> bool {
        self.listen.ip().is_loopback()
    }
}

/// A check of the settings; the error says what to do.
type Check = Result<(), String>;

impl AuthConfig {
    /// Whether callers may prove themselves in this way.
    pub fn takes(&self, mode: Mode) -> bool {
        self.auth.contains(&mode)
    }

    /// Whether callers may send a credential with each call.
    pub fn takes_bearers(&self) -> bool {
        self.takes(Mode::Jwt) || self.takes(Mode::ApiKey)
    }

    /// Refuses settings that contradict each other, or that would let a caller impersonate another one.
    ///
    /// # Errors
    ///
    /// What to do instead, in a sentence.
    pub fn check(&self, around: Surroundings) -> Result<(), String> {
        self.check_insecure(around)?;
        self.check_strays()?;
        if self.takes(Mode::Jwt) {
            self.check_jwt()?;
        }
        if self.takes(Mode::Mtls) {
            self.check_mtls(around)?;
        }
        self.check_plaintext(around)
    }

    fn check_insecure(&self, around: Surroundings) -> Check {
        let insecure = self.takes(Mode::Insecure);
        if insecure && self.auth.iter().any(|mode| *mode != Mode::Insecure) {
            return refuse(
                "--auth insecure stands alone: beside it no credential would be needed. Leave insecure out.",
            );
        }
        if !insecure && around.trust_tenant_header {
            return refuse(
                "--trust-tenant-header believes whatever tenant a caller names, which is --auth insecure. Leave one of \
                 --trust-tenant-header and --auth out.",
            );
        }
        if insecure && !around.is_loopback() && !around.trust_tenant_header {
            return Err(format!(
                "{} can be reached by others, and whoever can reach it may name any tenant. Listen on a loopback \
                 address (--listen 127.0.0.1:{}), ask for credentials (--auth jwt, mtls or api-key), or say \
                 --trust-tenant-header if something in front of the service authenticates callers and sets x-tenant-id.",
                around.listen,
                around.listen.port(),
            ));
        }
        Ok(())
    }

    /// Refuses a setting of a mode that is off. Usually the operator forgot to name the mode in --auth.
    fn check_strays(&self) -> Check {
        let strays = [
            (Mode::Jwt, "--jwt-issuer", self.jwt_issuer.is_some()),
            (Mode::Jwt, "--jwt-audience", self.jwt_audience.is_some()),
            (Mode::Jwt, "--jwt-jwks-file", self.jwt_jwks_file.is_some()),
            (Mode::Jwt, "--jwt-jwks-url", self.jwt_jwks_url.is_some()),
            (Mode::Jwt, "--jwt-public-key", self.jwt_public_key.is_some()),
            (Mode::Jwt, "--jwt-secret-file", self.jwt_secret_file.is_some()),
            (Mode::Mtls, "--mtls-principals", self.mtls_principals.is_some()),
        ];
        match strays.iter().find(|(mode, _, set)| *set && !self.takes(*mode)) {
            Some((mode, setting, _)) => Err(format!(
                "{setting} is set, but callers are not asked for it. Add {mode} to --auth, or leave {setting} out."
            )),
            None => Ok(()),
        }
    }

    fn check_jwt(&self) -> Check {
        if self.jwt_issuer.as_deref().unwrap_or_default().is_empty() {
            return refuse(
                "--auth jwt needs --jwt-issuer: the `iss` of the tokens that are meant for this service.",
            );
        }
        if self.jwt_audience.as_deref().unwrap_or_default().is_empty() {
            return refuse(
                "--auth jwt needs --jwt-audience: the `aud` of the tokens that are meant for this service.",
            );
        }
        let public =
            [self.jwt_jwks_file.is_some(), self.jwt_jwks_url.is_some(), self.jwt_public_key.is_some()];
        let sources = public.iter().filter(|set| **set).count() + usize::from(self.jwt_secret_file.is_some());
        if sources != 1 {
            return refuse(
                "--auth jwt needs the keys of tokens from exactly one place: --jwt-jwks-file, --jwt-jwks-url, \
                 --jwt-public-key or --jwt-secret-file.",
            );
        }
        if self.jwt_jwks_ca.is_some() && self.jwt_jwks_url.is_none() {
            return refuse("--jwt-jwks-ca is for --jwt-jwks-url. Set that too, or leave it out.");
        }
        let hs256 = self.jwt_algorithms.contains(&Signature::Hs256);
        if hs256 != self.jwt_secret_file.is_some()
            || hs256 && self.jwt_algorithms.iter().any(|signature| *signature != Signature::Hs256)
        {
            return refuse(
                "HS256 signs with a secret, the others with key pairs, and one must not pass for the other. Say either \
                 --jwt-algorithms HS256 with --jwt-secret-file, or leave both out.",
            );
        }
        Ok(())
    }

    fn check_mtls(&self, around: Surroundings) -> Check {
        if self.mtls_principals.is_none() {
            return refuse(
                "--auth mtls needs --mtls-principals: the file that says what each certificate grants.",
            );
        }
        if !around.client_ca {
            return refuse(
                "--auth mtls needs --tls-client-ca: the certificates by which those of clients are believed.",
            );
        }
        Ok(())
    }

    fn check_plaintext(&self, around: Surroundings) -> Check {
        if self.takes_bearers() && !around.is_loopback() && !around.tls && !self.allow_plaintext {
            return refuse(
                "Tokens and keys would cross the network in plain text, and whoever listens in could use them. Set \
                 --tls-cert and --tls-key, listen on a loopback address, or say --allow-plaintext if something in front \
                 of the service ends TLS.",
            );
        }
        Ok(())
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Insecure => "insecure",
            Self::Jwt => "jwt",
            Self::Mtls => "mtls",
            Self::ApiKey => "api-key",
        })
    }
}

fn refuse(what_to_do: &str) -> Check {
    Err(what_to_do.to_owned())
}

#[cfg(test)]
mod tests;
