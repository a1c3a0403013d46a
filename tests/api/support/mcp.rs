//! An agent: a client of MCP over HTTP/1.1, which knows the protocol and nothing of the service.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use crm_backend::identity::TENANT_HEADER;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{Crm, Tenant, begin, soon};

/// The revision of the protocol that clients of the handshake speak.
pub(crate) const WITH_HANDSHAKE: &str = "2025-11-25";

/// The revision without a handshake.
pub(crate) const WITHOUT_HANDSHAKE: &str = "2026-07-28";

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answered {
    /// The answer as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The message of a JSON-RPC error.
    #[track_caller]
    pub(crate) fn error(&self) -> String {
        self.json()["error"]["message"].as_str().expect("an error").to_owned()
    }

    /// A header as text, empty if it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("letters"))
    }
}

/// An agent of one tenant.
pub(crate) struct Agent {
    address: SocketAddr,
    headers: Vec<(&'static str, String)>,
    next_id: AtomicU32,
}

impl Crm {
    /// Returns an agent of a tenant.
    pub(crate) fn agent(&self, tenant: &Tenant) -> Agent {
        self.agent_with(&[(TENANT_HEADER, tenant.id.to_string())])
    }

    /// Returns an agent of a tenant with a key or a token.
    pub(crate) fn agent_by(&self, tenant: &Tenant, credential: &str) -> Agent {
        let bearer = format!("Bearer {credential}");
        self.agent_with(&[(TENANT_HEADER, tenant.id.to_string()), ("authorization", bearer)])
    }

    /// Returns an agent with these headers.
    pub(crate) fn agent_with(&self, headers: &[(&'static str, String)]) -> Agent {
        Agent { address: self.address(), headers: headers.to_vec(), next_id: AtomicU32::new(0) }
    }
}

impl Agent {
    /// Sends a request with this body to `/mcp`, with further headers; those of the agent come first.
    pub(crate) async fn post(&self, body: impl Into<String>, headers: &[(&str, &str)]) -> Answered {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/mcp")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream");
        self.send(request, body.into(), headers).await
    }

    /// Sends a GET.
    pub(crate) async fn get(&self, path: &str) -> Answered {
        self.send(Request::builder().uri(path), String::new(), &[]).await
    }

    async fn send(
        &self,
        mut request: http::request::Builder,
        body: String,
        headers: &[(&str, &str)],
    ) -> Answered {
        if headers.iter().all(|(name, _)| *name != "host") {
            request = request.header(header::HOST, self.address.to_string());
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let tcp = TcpStream::connect(self.address).await.expect("the service listens");
        let (mut sender, connection) = handshake(TokioIo::new(tcp)).await.expect("HTTP/1.1");
        let _driver = begin(connection);
        let request: Request<Full<Bytes>> = request.body(Full::from(body)).expect("a request");
        let response = soon(sender.send_request(request)).await.expect("an answer");
        let (head, body) = response.into_parts();
        let body = soon(body.collect()).await.expect("a body").to_bytes();
        let text = String::from_utf8(body.to_vec()).expect("letters");
        Answered { status: head.status, headers: head.headers, text }
    }

    /// Sends a request of JSON-RPC as a client of the handshake does, and returns the whole answer.
    pub(crate) async fn ask(&self, method: &str, params: Value) -> Answered {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let answered = self.post(body.to_string(), &[("mcp-protocol-version", WITH_HANDSHAKE)]).await;
        assert_eq!(answered.json()["id"], id, "{answered:?}");
        answered
    }

    /// Calls a tool. Returns its text, or the text of its error.
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Result<String, String> {
        let answered = self.ask("tools/call", json!({"name": tool, "arguments": arguments})).await;
        let (answer, whole) = (answered.json(), &answered.text);
        let result = &answer["result"];
        assert!(result["structuredContent"].is_null(), "nothing is told twice: {whole}");
        assert_eq!(result["content"].as_array().map(Vec::len), Some(1), "{whole}");
        let text = result["content"][0]["text"].as_str().expect("a text").to_owned();
        if result["isError"] == true { Err(text) } else { Ok(text) }
    }

    /// Calls a tool that must succeed.
    pub(crate) async fn told(&self, tool: &'static str, arguments: Value) -> String {
        self.call(tool, arguments).await.unwrap_or_else(|error| panic!("{tool}: {error}"))
    }

    /// Calls a tool that must fail.
    pub(crate) async fn trouble(&self, tool: &'static str, arguments: Value) -> String {
        match self.call(tool, arguments).await {
            Err(text) => text,
            Ok(text) => panic!("{tool} succeeded: {text}"),
        }
    }

    /// The names of the tools.
    pub(crate) async fn tools(&self) -> Vec<String> {
        let answer = self.ask("tools/list", json!({})).await.json();
        let tools = answer["result"]["tools"].as_array().expect("tools").clone();
        tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect()
    }
}

/// Returns the UUID that follows these words in a text.
#[track_caller]
pub(crate) fn id_after(words: &str, text: &str) -> String {
    let rest = text.split_once(words).unwrap_or_else(|| panic!("no {words:?} in {text}")).1;
    rest.trim_start().chars().take(36).collect()
}
