//! Where tokens for the tools come from (RFC 9728): a client that has none reads this, and asks the issuer.

use http::{HeaderValue, Response, header, request};
use serde_json::json;
use tonic::body::Body;

use super::PATH;

/// The paths of the metadata: of the whole service, and of the tools alone.
pub(super) const METADATA_PATHS: [&str; 2] =
    ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"];

/// How long clients and proxies may keep the metadata. It changes with the settings of the service.
const KEEP: HeaderValue = HeaderValue::from_static("max-age=3600");

/// The service as a resource whose tokens an issuer makes.
#[derive(Debug, Clone)]
pub(super) struct ProtectedResource {
    issuer: String,
    /// The URL of the tools, if it is set.
    url: Option<String>,
    /// Whether connections are encrypted, for a URL that is made of a request.
    is_secure: bool,
}

impl ProtectedResource {
    /// Creates it. `None` if the issuer is no URL: clients could not find it.
    pub(super) fn new(issuer: &str, url: Option<&str>, is_secure: bool) -> Option<Self> {
        let is_url = url::Url::parse(issuer).is_ok_and(|issuer| matches!(issuer.scheme(), "https" | "http"));
        is_url.then(|| Self { issuer: issuer.to_owned(), url: url.map(str::to_owned), is_secure })
    }

    /// Answers a request for the metadata. It is the same for everyone, so it needs no credential.
    pub(super) fn metadata(&self, head: &request::Parts) -> Response<Body> {
        let metadata = json!({
            "resource": format!("{}{PATH}", self.base(head)),
            "authorization_servers": [self.issuer],
            "scopes_supported": ["read", "write"],
            "bearer_methods_supported": ["header"],
            "resource_name": env!("CARGO_PKG_NAME"),
        });
        let mut response = Response::new(Body::new(metadata.to_string()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, KEEP);
        // Clients in web pages read it before they have a credential.
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        response
    }

    /// Returns the header that tells a caller without a credential where the metadata is.
    pub(super) fn challenge(&self, head: &request::Parts) -> Option<HeaderValue> {
        let [_, path] = METADATA_PATHS;
        let url = format!("{}{path}", self.base(head));
        let is_quotable = !url.contains(['"', '\\']);
        is_quotable.then(|| HeaderValue::try_from(format!("Bearer resource_metadata=\"{url}\"")).ok())?
    }

    /// Returns the URL of the service without a path.
    fn base(&self, head: &request::Parts) -> String {
        if let Some(url) = &self.url {
            return url.trim_end_matches('/').trim_end_matches(PATH).to_owned();
        }
        let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.or_else(|| head.uri.authority().map(http::uri::Authority::as_str));
        let scheme = if self.is_secure { "https" } else { "http" };
        format!("{scheme}://{}", host.unwrap_or("localhost"))
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http_body_util::BodyExt;

    use super::*;

    const ISSUER: &str = "https://issuer.example.com/realms/crm";

    fn head(host: &str) -> request::Parts {
        Request::builder().uri("/mcp").header("host", host).body(()).expect("a request").into_parts().0
    }

    async fn metadata(resource: &ProtectedResource, host: &str) -> serde_json::Value {
        let body = resource.metadata(&head(host)).into_body().collect().await.expect("a body").to_bytes();
        serde_json::from_slice(&body).expect("JSON")
    }

    #[tokio::test]
    async fn the_issuer_is_named_for_the_url_that_the_client_uses() {
        let resource = ProtectedResource::new(ISSUER, None, true).expect("a URL");
        let metadata = metadata(&resource, "crm.example.com").await;
        assert_eq!(metadata["resource"], "https://crm.example.com/mcp");
        assert_eq!(metadata["authorization_servers"][0], ISSUER);
        let challenge = resource.challenge(&head("crm.example.com")).expect("a header");
        let expected =
            "Bearer resource_metadata=\"https://crm.example.com/.well-known/oauth-protected-resource/mcp\"";
        assert_eq!(challenge, expected);
    }

    #[tokio::test]
    async fn a_url_of_the_settings_wins() {
        let url = Some("https://public.example.com/mcp");
        let resource = ProtectedResource::new(ISSUER, url, false).expect("a URL");
        assert_eq!(metadata(&resource, "inner:50051").await["resource"], "https://public.example.com/mcp");
    }

    #[test]
    fn an_issuer_that_is_no_url_is_not_named() {
        assert!(ProtectedResource::new("crm", None, true).is_none());
        assert!(ProtectedResource::new("urn:issuer", None, true).is_none());
    }

    #[test]
    fn a_host_with_a_quote_gets_no_header_of_its_making() {
        let resource = ProtectedResource::new(ISSUER, None, true).expect("a URL");
        assert!(resource.challenge(&head("a\"b")).is_none());
    }
}
