//! MCP on standard streams: for clients that start a program, such as Claude Desktop and IDEs. All calls go to a
//! server, with one credential for one tenant.
//!
//! Nothing but the protocol may be written to standard output. The log is on standard error.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use rmcp::ServiceExt;
use rmcp::service::ServerInitializeError;
use rmcp::transport::async_rw::AsyncRwTransport;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tonic::body::Body;
use tower::BoxError;

use super::calls::{Calls, Passed};
use super::door::PATH;
use super::handler::Handler;

/// How long a tool may take: as long as the server lets a call run that names no deadline.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the server may take to say which tools there are for this credential.
const PATIENCE_FOR_LIST: Duration = Duration::from_secs(5);

/// The most bytes of a message of the client: as much as the server takes, and its escapes.
const MOST_BYTES: usize = 4 << 20;

/// The most bytes of the server's list of tools. It has about eight thousand.
const MOST_BYTES_OF_LIST: usize = 1 << 20;

/// Why the session ended badly.
#[derive(Debug, thiserror::Error)]
pub enum StdioError {
    /// The client did not begin as the protocol says.
    #[error("The client on standard input does not speak MCP: {0}")]
    Begin(String),
    /// The session broke.
    #[error("The session on standard streams broke: {0}")]
    Broken(String),
}

/// The caller on standard streams.
pub(super) struct Session {
    headers: HeaderMap,
    /// The address of the server, as requests name it.
    authority: http::Uri,
    offered: OnceCell<Option<BTreeSet<String>>>,
}

impl Session {
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
        let mut parts = self.authority.clone().into_parts();
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

/// Serves one client on the standard streams until it closes them. `headers` are the credential and the tenant of all
/// calls, and `authority` is the URL of the server.
///
/// # Errors
///
/// If the client does not speak the protocol.
pub async fn serve(calls: Calls, headers: HeaderMap, authority: http::Uri) -> Result<(), StdioError> {
    let session = Arc::new(Session { headers, authority, offered: OnceCell::new() });
    let (input, output) = rmcp::transport::stdio_pipes();
    let transport = AsyncRwTransport::new(input, output).with_max_line_length(MOST_BYTES);
    let running = Handler::of(session, calls).serve(transport).await;
    let running = match running {
        Ok(running) => running,
        // A client that leaves before it says anything has asked for nothing.
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(StdioError::Begin(error.to_string())),
    };
    running.waiting().await.map_err(|error| StdioError::Broken(error.to_string()))?;
    Ok(())
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
