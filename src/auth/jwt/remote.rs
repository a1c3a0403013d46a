//! A JSON Web Key Set behind a URL.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use url::{Host, Url};

use crate::auth::Bounds;
use crate::db::connect;

/// How long a fetch may take. A call may wait for it, so it is shorter than most deadlines.
const PATIENCE: Duration = Duration::from_secs(5);

/// The maximum size of a set in bytes: hundreds of keys with their certificates.
const MAX_BYTES: usize = 1 << 20;

/// See the module.
pub(super) struct Remote {
    url: Uri,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    bounds: Bounds,
    /// Notified when a token names an unknown key, or an operator asks for a refresh.
    wanted: Notify,
    /// When the set was last requested, successfully or not.
    asked: watch::Sender<Instant>,
}

impl Remote {
    /// Creates it without fetching anything yet.
    ///
    /// # Errors
    ///
    /// What is wrong with the URL or the certificates, and what to do.
    pub(super) fn new(url: &str, ca: Option<&Path>, bounds: Bounds) -> Result<Self, String> {
        let refused = |why: &str| format!("--jwt-jwks-url {url:?} {why}.");
        let parsed = Url::parse(url).map_err(|error| refused(&format!("is no URL: {error}")))?;
        match parsed.scheme() {
            "https" => {}
            "http" if is_loopback(&parsed) => {}
            _ => {
                return Err(refused(
                    "must begin with https://, or a machine in between could pass for the issuer",
                ));
            }
        }
        let uri = parsed.as_str().parse().map_err(|error| refused(&format!("is no URL: {error}")))?;
        let roots = connect::roots(ca).map_err(|cause| {
            let place = ca.map_or_else(|| "of the system".to_owned(), |ca| format!("in {}", ca.display()));
            format!("The certificates {place} cannot be read: {cause}. Name a PEM file with --jwt-jwks-ca.")
        })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| refused(&format!("cannot be reached over TLS: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        // A connection that is used every five minutes is not worth keeping open.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self {
            url: uri,
            client,
            bounds,
            wanted: Notify::new(),
            asked: watch::Sender::new(Instant::now()),
        })
    }

    /// Fetches the current bytes of the set.
    ///
    /// # Errors
    ///
    /// Why that failed, for an operator.
    pub(super) async fn fetch(&self) -> Result<Bytes, String> {
        let fetched = tokio::time::timeout(PATIENCE, self.get()).await;
        self.asked.send_replace(Instant::now());
        fetched
            .unwrap_or_else(|_| Err(format!("it did not answer within {} s", PATIENCE.as_secs())))
            .map_err(|why| format!("{} could not be read: {why}", self.url))
    }

    async fn get(&self) -> Result<Bytes, String> {
        let response = self.client.get(self.url.clone()).await.map_err(|error| chain(&error))?;
        let status = response.status();
        if status != http::StatusCode::OK {
            return Err(format!(
                "it answered {status}, and nothing but 200 OK is taken, redirections included"
            ));
        }
        let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string())
    }

    /// Resolves when it is time to fetch again: sooner if the last fetch failed, and at once if a token needs an
    /// unknown key.
    pub(super) async fn due(&self, failed: bool) {
        let pause = if failed { self.bounds.jwks_pause } else { self.bounds.jwks_refresh };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.wanted.notified() => {}
        }
    }

    /// Requests a fetch for an unknown key and waits for it, unless the last fetch was a moment ago. Otherwise a
    /// client that invents keys could make us fetch for each of them.
    pub(super) async fn want(&self) {
        let mut asked = self.asked.subscribe();
        let last = *asked.borrow_and_update();
        if last.elapsed() < self.bounds.jwks_pause {
            return;
        }
        self.wanted.notify_one();
        // If no task fetches, because the service stops, the wait ends at the timeout.
        let _ = tokio::time::timeout(PATIENCE, asked.changed()).await;
    }

    /// Requests a fetch because an operator asks for it.
    pub(super) fn refresh(&self) {
        self.wanted.notify_one();
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Returns an error with its causes. The client's own text says only that it could not connect.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
