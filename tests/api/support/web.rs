//! A client of HTTP that knows nothing of gRPC, over a connection of its own for each request.

use std::net::SocketAddr;

use bytes::Bytes;
use crm_backend::identity::TENANT_HEADER;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::body::Body;
use uuid::Uuid;

use super::{Crm, soon};

/// A tenant that uses REST.
#[derive(Debug, Clone)]
pub(crate) struct Web {
    address: SocketAddr,
    /// The headers of every request.
    headers: Vec<(String, String)>,
    is_http_2: bool,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// Returns the body, which is JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Returns the body of a call that went well.
    #[track_caller]
    pub(crate) fn good(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }

    /// Returns the value of a header; empty without it.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a text"))
    }

    /// Expects an error of this status and reason, and returns it.
    #[track_caller]
    pub(crate) fn is(&self, status: u16, reason: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        let error = self.json();
        assert_eq!(detail(&error, "ErrorInfo")["reason"], reason, "{error}");
        assert_ne!(error["message"].as_str().expect("a text"), "", "an error says what to do");
        error
    }

    /// Expects that exactly these fields are invalid, and returns what is wrong with the first.
    #[track_caller]
    pub(crate) fn is_invalid(&self, fields: &[&str]) -> String {
        let error = self.is(400, "FIELD_INVALID");
        let violations = detail(&error, "BadRequest")["field_violations"].clone();
        let violations = violations.as_array().expect("a list");
        let named: Vec<_> =
            violations.iter().map(|violation| violation["field"].as_str().unwrap_or("")).collect();
        assert_eq!(named, fields, "{error}");
        violations[0]["description"].as_str().expect("a text").to_owned()
    }
}

/// Returns the detail of an error with this name.
pub(crate) fn detail<'e>(error: &'e Value, name: &str) -> &'e Value {
    let kind = format!("type.googleapis.com/google.rpc.{name}");
    let details = error["details"].as_array().unwrap_or_else(|| panic!("no details: {error}"));
    details.iter().find(|detail| detail["@type"] == kind).unwrap_or(&Value::Null)
}

impl Web {
    /// Returns a client of this tenant, over HTTP/1.
    pub(crate) fn new(crm: &Crm, tenant: Uuid) -> Self {
        Self::stranger(crm).with(TENANT_HEADER, &tenant.to_string())
    }

    /// Returns a client that says nothing of itself.
    pub(crate) fn stranger(crm: &Crm) -> Self {
        Self { address: crm.address(), headers: Vec::new(), is_http_2: false }
    }

    /// Returns the same client, with a header.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    /// Returns the same client, over HTTP/2.
    pub(crate) fn over_http_2(&self) -> Self {
        Self { is_http_2: true, ..self.clone() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, Some(body)).await
    }

    /// Sends a request, with a body of JSON or without one.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let client =
            if body.is_some() { self.with("content-type", "application/json") } else { self.clone() };
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        client.send_text(method, path, &body).await
    }

    /// Sends a request with a body of any text.
    pub(crate) async fn send_text(&self, method: Method, path: &str, body: &str) -> Answer {
        let body = Body::new(Full::<Bytes>::from(body.to_owned()));
        let (response, _connection) = self.open(method, path, body).await;
        let (head, body) = response.into_parts();
        let bytes = soon(body.collect()).await.expect("a whole body").to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer { status: head.status.as_u16(), headers: head.headers, text }
    }

    /// Sends a request, and returns its answer while that goes on. The connection ends with what is returned beside it.
    pub(crate) async fn open(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> (Response<Incoming>, JoinSet<()>) {
        let io = TokioIo::new(TcpStream::connect(self.address).await.expect("it listens"));
        let mut driver = JoinSet::new();
        let uri = if self.is_http_2 { format!("http://localhost{path}") } else { path.to_owned() };
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let response = if self.is_http_2 {
            let request = request.body(body).expect("a request");
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
            driver.spawn(async move { drop(connection.await) });
            soon(sender.send_request(request)).await
        } else {
            let request = request.header("host", "localhost").body(body).expect("a request");
            let (mut sender, connection) = http1::handshake(io).await.expect("HTTP/1");
            driver.spawn(async move { drop(connection.await) });
            soon(sender.send_request(request)).await
        };
        (response.expect("an answer"), driver)
    }
}

/// Sends these bytes over a connection of their own, and returns all that comes until the server ends it.
pub(crate) async fn told(crm: &Crm, bytes: &[u8]) -> String {
    let mut tcp = TcpStream::connect(crm.address()).await.expect("it listens");
    tcp.write_all(bytes).await.expect("it is there");
    let mut answer = Vec::new();
    let _ = soon(tcp.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// The lines of an answer that goes on.
pub(crate) struct TextLines {
    body: Incoming,
    text: String,
    _connection: JoinSet<()>,
}

impl TextLines {
    pub(crate) fn new((response, connection): (Response<Incoming>, JoinSet<()>)) -> Self {
        Self { body: response.into_body(), text: String::new(), _connection: connection }
    }

    /// Returns the next line; `None` at the end, however it comes.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((line, rest)) = self.text.split_once('\n') {
                let (line, rest) = (line.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(line);
            }
            let frame = soon(self.body.frame()).await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.text.push_str(std::str::from_utf8(&data).expect("whole characters"));
            }
        }
    }

    /// Returns the next event: its id, its type, and its data; `None` at the end. A part of an event does not count.
    pub(crate) async fn event(&mut self) -> Option<(String, String, Value)> {
        let (mut id, mut kind, mut data) = (String::new(), String::new(), None);
        loop {
            let line = self.next().await?;
            if let Some(value) = line.strip_prefix("id: ") {
                value.clone_into(&mut id);
            } else if let Some(value) = line.strip_prefix("event: ") {
                value.clone_into(&mut kind);
            } else if let Some(value) = line.strip_prefix("data: ") {
                data = Some(serde_json::from_str(value).expect("JSON"));
            } else if let Some(data) = data.take().filter(|_| line.is_empty()) {
                return Some((id, kind, data));
            }
        }
    }
}
