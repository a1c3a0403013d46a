//! The caller on standard streams, who is the same for all requests.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tonic::body::Body;
use tower::BoxError;

use super::PATH;
use super::calls::{Calls, Passed};

/// How long a tool may take: as long as the server lets a call run that names no deadline.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the server may take to say which tools there are for this credential.
const PATIENCE_FOR_LIST: Duration = Duration::from_secs(5);

/// The most bytes of the server's list of tools. It has about eight thousand.
const MOST_BYTES_OF_LIST: usize = 1 << 20;

/// The caller on standard streams.
pub(super) struct Session {
    headers: HeaderMap,
    /// The URL of the server.
    server: http::Uri,
    offered: OnceCell<Option<BTreeSet<String>>>,
}

impl Session {
    /// Creates the caller with these headers, of this server.
    pub(super) fn new(headers: HeaderMap, server: http::Uri) -> Self {
        Self { headers, server, offered: OnceCell::new() }
    }

    /// Returns what a call has, which begins now.
    pub(super) fn passed(&self) -> Passed {
        Passed::of(&self.headers, http::Extensions::new(), Instant::now() + PATIENCE)
    }

    /// Returns the names of the tools that the credential's scopes allow, as the server's own `/mcp` lists them. `None`
    /// if it does not answer: then all are shown, and a tool that is not allowed says so.
    pub(super) async fn offered(&self, calls: &Calls) -> Option<&BTreeSet<String>> {
        let ask = async || {
            let asked = tokio::time::timeout(PATIENCE_FOR_LIST, self.ask(calls)).await;
            match asked.map_err(BoxError::from).flatten() {
                Ok(names) => Some(names),
                Err(error) => {
                    tracing::warn!("the server does not say which tools this credential may use: {error}");
                    None
                }
            }
        };
        self.offered.get_or_init(ask).await.as_ref()
    }

    async fn ask(&self, calls: &Calls) -> Result<BTreeSet<String>, BoxError> {
        let mut parts = self.server.clone().into_parts();
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static(PATH));
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(http::Uri::from_parts(parts)?)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .body(Body::new(Full::from(body)))?;
        request.headers_mut().extend(self.headers.clone());
        let response = calls.send(request).await?;
        if !response.status().is_success() {
            return Err(format!("it answers {}", response.status()).into());
        }
        let body = Limited::new(response.into_body(), MOST_BYTES_OF_LIST).collect().await?.to_bytes();
        names(&serde_json::from_slice(&body)?).ok_or_else(|| "its answer has no tools".into())
    }
}

/// Returns the names of the tools in an answer.
fn names(answer: &Value) -> Option<BTreeSet<String>> {
    let tools = answer.pointer("/result/tools")?.as_array()?;
    Some(tools.iter().filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_answer() {
        let answer = json!({"result": {"tools": [{"name": "b"}, {"name": "a"}, {}]}});
        assert_eq!(names(&answer), Some(["a", "b"].map(str::to_owned).into()));
        assert_eq!(names(&json!({"error": {}})), None);
    }
}
