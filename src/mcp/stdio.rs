//! MCP on standard streams: for clients that start a program, such as Claude Desktop and IDEs. All calls go to a
//! server, with one credential for one tenant.
//!
//! Nothing but the protocol may be written to standard output. The log is on standard error.

use std::sync::Arc;

use http::HeaderMap;
use rmcp::ServiceExt;
use rmcp::service::ServerInitializeError;
use rmcp::transport::async_rw::AsyncRwTransport;

use super::calls::Calls;
use super::handler::Handler;
use super::session::Session;

/// The most bytes of a message of the client: as much as the server takes, and its escapes.
const MOST_BYTES: usize = 4 << 20;

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

/// Serves one client on the standard streams until it closes them. `headers` are the credential and the tenant of all
/// calls, and `server` is its URL.
///
/// # Errors
///
/// If the client does not speak the protocol.
pub async fn serve(calls: Calls, headers: HeaderMap, server: http::Uri) -> Result<(), StdioError> {
    let session = Arc::new(Session::new(headers, server));
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
