//! `mcp`: the tools for AI agents on standard streams.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Uri, header};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::config::McpConfig;
use crate::identity::{TENANT_HEADER, TenantId};
use crate::mcp::{Calls, StdioError, serve_stdio};

/// How long a connection to the server may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How often an idle connection is tried, so that one that was lost is noticed before the next call.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Why the tools are not served. The messages say what to do.
#[derive(Debug, thiserror::Error)]
pub enum McpError {
    /// The URL does not name a server.
    #[error(
        "--url {url:?} is not the URL of a server: {cause}. Write it as in https://crm.example.com or http://127.0.0.1:50051."
    )]
    Url {
        /// What was given.
        url: String,
        /// What is wrong.
        cause: String,
    },
    /// The tenant is no UUID.
    #[error("--tenant must be the UUID of your tenant, such as 018f4e0a-7b7c-7000-8000-000000000000.")]
    Tenant,
    /// A file cannot be read.
    #[error("{setting} {}: {cause}. Name a file that this user may read.", .path.display())]
    File {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The file has no credential.
    #[error("--api-key-file {}: it must have one line with an API key (`crm-backend keys create` makes one) or a token.", .0.display())]
    Key(PathBuf),
    /// The session ended badly.
    #[error(transparent)]
    Session(#[from] StdioError),
}

/// Serves the tools on standard input and output, until the client closes them.
///
/// # Errors
///
/// Why that failed, in a sentence that says what to do.
pub async fn mcp(config: McpConfig) -> Result<(), McpError> {
    let headers = headers(&config)?;
    let (channel, url) = channel(&config)?;
    let is_open = url.scheme_str() == Some("http") && !is_loopback(&url);
    if is_open && config.api_key_file.is_some() {
        tracing::warn!(
            "the credential crosses the network in plain text: use an https URL, unless nobody listens"
        );
    }
    Ok(serve_stdio(Calls::over(channel), headers, url).await?)
}

/// Returns the headers of all calls.
fn headers(config: &McpConfig) -> Result<HeaderMap, McpError> {
    let mut headers = HeaderMap::new();
    if let Some(tenant) = &config.tenant {
        let tenant = TenantId::parse(tenant).ok_or(McpError::Tenant)?;
        let tenant = HeaderValue::try_from(tenant.to_string()).map_err(|_| McpError::Tenant)?;
        headers.insert(TENANT_HEADER, tenant);
    }
    if let Some(path) = &config.api_key_file {
        let text = read("--api-key-file", path)?;
        let (key, wrong) = (text.trim(), || McpError::Key(path.clone()));
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(wrong());
        }
        let mut value = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    Ok(headers)
}

/// Returns a connection that is opened by the first call, and again after it was lost; and the URL of the server.
fn channel(config: &McpConfig) -> Result<(Channel, Uri), McpError> {
    let wrong = |cause: String| McpError::Url { url: config.url.clone(), cause };
    let url: Uri = config.url.parse().map_err(|error: http::uri::InvalidUri| wrong(error.to_string()))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err(wrong("it begins with neither https:// nor http://".to_owned()));
    }
    let mut endpoint = Endpoint::from(url.clone())
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_while_idle(true);
    if url.scheme_str() == Some("https") {
        let tls = match &config.ca {
            Some(path) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read("--ca", path)?)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        endpoint = endpoint.tls_config(tls).map_err(|error| wrong(error.to_string()))?;
    }
    Ok((endpoint.connect_lazy(), url))
}

fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn read(setting: &'static str, path: &Path) -> Result<String, McpError> {
    std::fs::read_to_string(path).map_err(|cause| McpError::File { setting, path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Cli, Command};
    use clap::Parser;

    fn config(arguments: &[&str]) -> McpConfig {
        match Cli::parse_from(["crm-backend", "mcp"].iter().chain(arguments)).into_command() {
            Command::Mcp(config) => config,
            other => panic!("another command: {other:?}"),
        }
    }

    #[test]
    fn headers_are_those_of_the_settings() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        std::fs::write(&path, "crm_secret\n").expect("written");
        let path = path.to_str().expect("letters");
        let tenant = "01939a3c-7d4e-7000-8000-0123456789ab";
        let headers = headers(&config(&["--tenant", tenant, "--api-key-file", path])).expect("good settings");
        assert_eq!(headers["authorization"], "Bearer crm_secret");
        assert!(headers["authorization"].is_sensitive());
        assert_eq!(headers[TENANT_HEADER], tenant);
        assert!(self::headers(&config(&[])).expect("nothing is required").is_empty());
    }

    #[test]
    fn what_is_wrong_says_what_to_write() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        std::fs::write(&path, "two words").expect("written");
        let path = path.to_str().expect("letters");
        let refused = |arguments: &[&str]| headers(&config(arguments)).expect_err("refused").to_string();
        assert!(refused(&["--tenant", "one"]).contains("must be the UUID"));
        assert!(refused(&["--api-key-file", path]).contains("one line with an API key"));
        assert!(refused(&["--api-key-file", "/nowhere/key"]).contains("may read"));
        for url in ["crm.example.com", "ftp://crm.example.com", "", "https://"] {
            let refused = channel(&config(&["--url", url])).map(|_| ()).expect_err(url).to_string();
            assert!(refused.contains("https://crm.example.com"), "{refused}");
        }
    }
}
