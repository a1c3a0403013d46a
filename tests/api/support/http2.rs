//! A client that adds nothing of its own: it has no timers, and knows nothing of gRPC.

use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use crm_backend::identity::TENANT_HEADER;
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::body::Body;
use uuid::Uuid;

use super::soon;

/// A connection.
pub(crate) struct Http2 {
    sender: SendRequest<Body>,
    /// The same socket, for an end of which HTTP/2 is not told.
    socket: std::net::TcpStream,
    _driver: JoinSet<()>,
}

impl Http2 {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).await.expect("the service listens");
        let tcp = tcp.into_std().expect("a socket");
        let socket = tcp.try_clone().expect("a socket");
        let tcp = TcpStream::from_std(tcp).expect("a socket");
        let (sender, connection) =
            handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.expect("it speaks HTTP/2");
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            let _ = connection.await;
        });
        Self { sender, socket, _driver: driver }
    }

    /// Cuts the connection, with calls in progress or not.
    pub(crate) fn vanish(self) {
        self.socket.shutdown(Shutdown::Both).expect("it was open");
    }

    /// Sends a request, and waits for the head of its answer.
    pub(crate) async fn call(&mut self, request: Request<Body>) -> Response<Incoming> {
        soon(self.sender.ready()).await.expect("the connection lives");
        soon(self.sender.send_request(request)).await.expect("an answer")
    }

    /// Sends a request, and returns the error that answers it.
    pub(crate) async fn refusal(&mut self, request: Request<Body>) -> Status {
        let mut response = self.call(request).await;
        if let Some(status) = Status::from_header_map(response.headers()) {
            return status;
        }
        let trailers = trailers(response.body_mut()).await;
        Status::from_header_map(&trailers).expect("a status")
    }
}

/// Returns the trailers at the end of a body.
async fn trailers(body: &mut Incoming) -> HeaderMap {
    loop {
        let frame = soon(std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context))).await;
        let frame = frame.expect("trailers").expect("no reset");
        if let Ok(trailers) = frame.into_trailers() {
            return trailers;
        }
    }
}

/// Returns a call of a tenant, with a body that begins with these bytes and never ends.
pub(crate) fn begun(
    rpc: &str,
    tenant: Uuid,
    headers: &[(&'static str, &str)],
    bytes: Vec<u8>,
) -> Request<Body> {
    request(rpc, tenant, headers, Body::new(Begun(Some(bytes))))
}

/// Returns a call of a tenant, with exactly this body.
pub(crate) fn whole(
    rpc: &str,
    tenant: Uuid,
    headers: &[(&'static str, &str)],
    bytes: Vec<u8>,
) -> Request<Body> {
    request(rpc, tenant, headers, Body::new(Full::<Bytes>::from(bytes)))
}

fn request(rpc: &str, tenant: Uuid, headers: &[(&'static str, &str)], body: Body) -> Request<Body> {
    let mut request = Request::builder()
        .method("POST")
        .uri(format!("http://localhost/crm.v1.{rpc}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header(TENANT_HEADER, tenant.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).expect("a request")
}

/// Returns a message in a gRPC frame.
pub(crate) fn framed(message: &impl prost::Message) -> Vec<u8> {
    let length = u32::try_from(message.encoded_len()).expect("a short message");
    [&[0][..], &length.to_be_bytes(), &message.encode_to_vec()].concat()
}

/// A body of these bytes that never ends.
struct Begun(Option<Vec<u8>>);

impl http_body::Body for Begun {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.0.take().filter(|bytes| !bytes.is_empty()) {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes.into())))),
            None => Poll::Pending,
        }
    }
}
