//! A client of the service over HTTP/2, without gRPC.

use std::net::SocketAddr;

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::{Result, client};

/// What ends an event.
const END: &[u8] = b"\n\n";

/// A connection, which its clients share.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    sender: http2::SendRequest<Full<Bytes>>,
    address: SocketAddr,
}

/// A client for one tenant.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    connection: Connection,
    headers: HeaderMap,
}

/// Opens several connections.
pub(crate) async fn connections(address: SocketAddr, count: usize) -> Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        connections.push(Connection::open(address).await?);
    }
    Ok(connections)
}

impl Connection {
    #[expect(clippy::disallowed_methods, reason = "what drives a connection ends with its last client")]
    async fn open(address: SocketAddr) -> Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let (sender, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await?;
        tokio::spawn(driver);
        Ok(Self { sender, address })
    }

    /// Returns a client for a tenant.
    pub(crate) fn client(&self, tenant: Uuid) -> Result<Client> {
        Ok(Client { connection: self.clone(), headers: client::headers(tenant)? })
    }
}

impl Client {
    /// Reads a resource.
    pub(crate) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T> {
        let answer = self.send(Method::GET, path, Bytes::new(), "application/json").await?;
        read(answer).await
    }

    /// Sends JSON.
    pub(crate) async fn post<T: DeserializeOwned>(&mut self, path: &str, body: Bytes) -> Result<T> {
        let answer = self.send(Method::POST, path, body, "application/json").await?;
        read(answer).await
    }

    /// Opens a stream of events, and returns the data of each.
    pub(crate) async fn events<T>(&mut self, path: &str) -> Result<BoxStream<'static, Result<T>>>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let answer = self.send(Method::GET, path, Bytes::new(), "text/event-stream").await?;
        let events = Events { body: answer.into_body(), unread: Vec::new() };
        let events = stream::try_unfold(events, |mut events| async {
            Ok(events.next().await?.map(|event| (event, events)))
        });
        let data = events.try_filter_map(|event| async move { data(&event) });
        Ok(data.boxed())
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        accept: &'static str,
    ) -> Result<Response<Incoming>> {
        let Connection { sender, address } = &mut self.connection;
        let uri: Uri = format!("http://{address}{path}").parse()?;
        let mut request = Request::builder().method(method).uri(uri).header(ACCEPT, accept);
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.headers.clone());
        }
        let request = request.header(CONTENT_TYPE, "application/json").body(Full::new(body))?;
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        if answer.status() == StatusCode::OK {
            return Ok(answer);
        }
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        Err(format!("{path}: {status}: {}", String::from_utf8_lossy(&body)).into())
    }
}

async fn read<T: DeserializeOwned>(answer: Response<Incoming>) -> Result<T> {
    let body = answer.into_body().collect().await?.to_bytes();
    Ok(serde_json::from_slice(&body)?)
}

/// The events of an answer, as they come.
struct Events {
    body: Incoming,
    unread: Vec<u8>,
}

impl Events {
    /// Returns the next event, without what ends it; `None` if the answer has ended.
    async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(length) = self.unread.windows(END.len()).position(|bytes| bytes == END) {
                let rest = self.unread.split_off(length + END.len());
                return Ok(Some(std::mem::replace(&mut self.unread, rest)));
            }
            match self.body.frame().await.transpose()? {
                Some(frame) => self.unread.extend(frame.into_data().unwrap_or_default()),
                None => return Ok(None),
            }
        }
    }
}

/// Returns the data of an event; `None` for a comment.
fn data<T: DeserializeOwned>(event: &[u8]) -> Result<Option<T>> {
    let mut lines = event.split(|byte| *byte == b'\n');
    let data = lines.find_map(|line| line.strip_prefix(b"data: "));
    Ok(data.map(serde_json::from_slice).transpose()?)
}
