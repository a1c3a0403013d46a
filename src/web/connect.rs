//! Connect (connectrpc.com): an RPC at the path that it has in gRPC, with JSON or protobuf as the body, over HTTP/1 too.
//! And gRPC-Web, whose requests are those of gRPC, and whose answers have their trailers at the end of the body.

mod base64_body;
mod envelopes;
mod messages;
mod trouble;

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, request};
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Service, ServiceExt};

use self::base64_body::{Decoded, Encoded};
use self::envelopes::{Envelopes, Trailers};
use self::messages::{BodyDecoder, Parts};
use super::answers::{Content, ended, message, written};
use super::gzip::{self, Coding, GZIP};
use super::json::write::Style;
use super::lazy::Whole;
use super::metadata;
use super::stream_body::StreamBody;
use crate::error::Error;
use crate::pb::CONTRACT;

/// What the paths of reflection and health begin with. Their messages pass as they are: tools read the contract by
/// reflection before they call.
const FOREIGN: &str = "/grpc.";

/// The header that names the encoding of messages of gRPC.
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// The headers that name the encoding of envelopes of Connect.
const ENVELOPE_ENCODING: HeaderName = HeaderName::from_static("connect-content-encoding");
const ACCEPT_ENVELOPE_ENCODING: HeaderName = HeaderName::from_static("connect-accept-encoding");

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Json,
    Proto,
}

/// What a request is, by its method and its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One message, one answer.
    Unary(Encoding),
    /// One message in a query, one answer.
    Get,
    /// Streams.
    Stream(Encoding),
    /// gRPC for browsers.
    GrpcWeb(WebForm),
}

/// How the frames of gRPC-Web are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WebForm {
    /// As they are.
    Binary,
    /// In base64.
    Text,
}

impl Kind {
    /// Returns what a request at the path of an RPC is; `None` if it is of neither protocol.
    pub(super) fn of(request: &Request<Body>) -> Option<Self> {
        if *request.method() == Method::GET {
            let query = request.uri().query().unwrap_or_default();
            return query.split('&').any(|pair| pair.starts_with("encoding=")).then_some(Self::Get);
        }
        let content_type = request.headers().get(CONTENT_TYPE)?.to_str().ok()?;
        let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let kind = match media_type.as_str() {
            "application/json" => Self::Unary(Encoding::Json),
            "application/proto" => Self::Unary(Encoding::Proto),
            "application/connect+json" => Self::Stream(Encoding::Json),
            "application/connect+proto" => Self::Stream(Encoding::Proto),
            "application/grpc-web" | "application/grpc-web+proto" => Self::GrpcWeb(WebForm::Binary),
            "application/grpc-web-text" | "application/grpc-web-text+proto" => Self::GrpcWeb(WebForm::Text),
            _ => return None,
        };
        (*request.method() == Method::POST).then_some(kind)
    }

    fn is_stream(self) -> bool {
        matches!(self, Self::Stream(_))
    }
}

/// Answers a request of this kind.
pub(super) async fn answer<S>(
    inner: S,
    kind: Kind,
    request: Request<Body>,
    max_request_bytes: usize,
) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Send + 'static,
{
    let (mut head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    if let Kind::GrpcWeb(form) = kind {
        let encoding = head.headers.get(GRPC_ENCODING).cloned();
        become_call(&mut head, &path, encoding);
        return grpc_web(inner, Request::from_parts(head, body), form).await;
    }
    let Some(coding) = coding(&head.headers, kind) else { return unknown_coding(kind) };
    // tonic inflates messages of protobuf, within its limit.
    let encoding = (kind.is_stream() && coding == Coding::Gzip).then_some(GZIP);
    if kind == Kind::Stream(Encoding::Proto) && path.starts_with(FOREIGN) {
        become_call(&mut head, &path, encoding);
        let Ok(response) = inner.oneshot(Request::from_parts(head, body)).await;
        return stream(response, None, kind);
    }
    let Some(rpc) = rpc(&path) else { return trouble::response(&unknown()) };
    let streams = rpc.is_client_streaming() || rpc.is_server_streaming();
    if streams != kind.is_stream() || (kind == Kind::Get && !reads_only(&rpc)) {
        return wrong_kind(kind);
    }
    let (query, takes_gzip) =
        (head.uri.query().unwrap_or_default().to_owned(), gzip::is_accepted(&head.headers));
    become_call(&mut head, &path, encoding);
    let (limit, input) = (max_request_bytes, rpc.input());
    let decoder = |encoding| BodyDecoder { input: rpc.input(), is_json: encoding == Encoding::Json };
    let body = match kind {
        Kind::Unary(encoding) => Body::new(Whole::new(body, limit, coding, decoder(encoding))),
        Kind::Get => {
            let decoder = messages::QueryDecoder { input, query: query.clone(), limit };
            Body::new(Whole::new(Body::empty(), limit, Coding::Identity, decoder))
        }
        Kind::Stream(Encoding::Json) => Body::new(Parts::new(body, limit, coding, decoder(Encoding::Json))),
        Kind::Stream(Encoding::Proto) | Kind::GrpcWeb(_) => body,
    };
    let Ok(response) = inner.oneshot(Request::from_parts(head, body)).await;
    let encoding = match kind {
        Kind::Unary(encoding) => encoding,
        Kind::Get if query.split('&').any(|pair| pair == "encoding=proto") => Encoding::Proto,
        Kind::Get => Encoding::Json,
        Kind::Stream(Encoding::Json) => return stream(response, Some(rpc.output()), kind),
        Kind::Stream(Encoding::Proto) | Kind::GrpcWeb(_) => return stream(response, None, kind),
    };
    unary(response, Answer { output: rpc.output(), encoding, takes_gzip }).await
}

/// Makes the head that of a call, whose messages are in this encoding. The path is one that HTTP took.
fn become_call(head: &mut request::Parts, path: &str, encoding: Option<HeaderValue>) {
    metadata::become_call(head, path.parse().unwrap_or_else(|_| Uri::from_static("/")));
    if let Some(encoding) = encoding {
        head.headers.insert(GRPC_ENCODING, encoding);
    }
}

/// Answers gRPC-Web: an answer without a body is the same, and another has its trailers at its end.
async fn grpc_web<S>(inner: S, request: Request<Body>, form: WebForm) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Send + 'static,
{
    let (kind, request) = match form {
        WebForm::Binary => ("application/grpc-web+proto", request),
        WebForm::Text => ("application/grpc-web-text+proto", request.map(Decoded::body)),
    };
    let Ok(response) = inner.oneshot(request).await;
    let is_over = ended(response.headers()).is_err();
    let mut response = if is_over { response } else { response.map(|call| StreamBody::body(call, Trailers)) };
    if form == WebForm::Text && !is_over {
        response = response.map(Encoded::body);
    }
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// How the answer of a call is sent.
struct Answer {
    output: MessageDescriptor,
    encoding: Encoding,
    takes_gzip: bool,
}

impl Answer {
    fn write(self, bytes: Bytes) -> Result<Content, Status> {
        if self.encoding == Encoding::Proto {
            return Ok(Content::new(bytes, self.takes_gzip));
        }
        let message = DynamicMessage::decode(self.output, bytes).map_err(Error::internal)?;
        let mut json = Vec::new();
        Style::CONNECT.write(&mut json, &message);
        Ok(Content::new(json.into(), self.takes_gzip))
    }
}

async fn unary(response: Response<Body>, answer: Answer) -> Response<Body> {
    let kind = if answer.encoding == Encoding::Proto { "application/proto" } else { "application/json" };
    let answered = async {
        let (bytes, call) = message(response).await?;
        let content = written(bytes.len(), move || answer.write(bytes)).await?;
        Ok::<_, Status>(content.into_response(HeaderValue::from_static(kind), call))
    };
    let mut response = match answered.await {
        Ok(response) => response,
        Err(status) => trouble::response(&status),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    response
}

/// Answers with a stream: as JSON of a type, or as it is.
fn stream(response: Response<Body>, output: Option<MessageDescriptor>, kind: Kind) -> Response<Body> {
    if let Err(status) = ended(response.headers()) {
        return refused(kind, &status);
    }
    with_kind(Response::new(StreamBody::body(response.into_body(), Envelopes(output))), kind)
}

/// Answers with an error. An answer with a stream has it at its end, and is 200.
fn refused(kind: Kind, status: &Status) -> Response<Body> {
    if !kind.is_stream() {
        return trouble::response(status);
    }
    let end = http_body_util::Full::<Bytes>::from(envelopes::end(Some(status)));
    with_kind(Response::new(Body::new(end)), kind)
}

fn with_kind(mut response: Response<Body>, kind: Kind) -> Response<Body> {
    let name = match kind {
        Kind::Stream(Encoding::Json) => "application/connect+json",
        _ => "application/connect+proto",
    };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(name));
    response
}

/// Answers a content type that is not for the RPC, as the protocol says.
fn wrong_kind(kind: Kind) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    if kind == Kind::Get {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(http::header::ALLOW, HeaderValue::from_static("POST"));
    } else {
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        let kinds = if kind.is_stream() {
            "application/json, application/proto"
        } else {
            "application/connect+json, application/connect+proto"
        };
        response.headers_mut().insert("accept-post", HeaderValue::from_static(kinds));
    }
    response
}

/// Returns the RPC at a path.
fn rpc(path: &str) -> Option<MethodDescriptor> {
    let (service, name) = path.strip_prefix('/')?.split_once('/')?;
    let service =
        CONTRACT.get_service_by_name(service).filter(|service| service.package_name() == "crm.v1")?;
    service.methods().find(|method| method.name() == name)
}

fn reads_only(rpc: &MethodDescriptor) -> bool {
    const NO_SIDE_EFFECTS: i32 = 1;
    let level = rpc.options().get_field_by_name("idempotency_level").and_then(|value| value.as_enum_number());
    level == Some(NO_SIDE_EFFECTS)
}

/// Returns how messages are coded; `None` if that is not known here. Envelopes are coded one by one.
fn coding(headers: &HeaderMap, kind: Kind) -> Option<Coding> {
    let whole = Coding::of(headers, &CONTENT_ENCODING);
    match kind.is_stream() {
        true => Coding::of(headers, &ENVELOPE_ENCODING).filter(|_| whole == Some(Coding::Identity)),
        false => whole,
    }
}

/// Answers a request in an unknown coding, as the protocol says.
fn unknown_coding(kind: Kind) -> Response<Body> {
    let text = "the request is compressed in a way that is not known here; send gzip, or no compression";
    let mut response = refused(kind, &Status::new(Code::Unimplemented, text));
    let name = if kind.is_stream() { ACCEPT_ENVELOPE_ENCODING } else { ACCEPT_ENCODING };
    response.headers_mut().insert(name, GZIP);
    response
}

fn unknown() -> Status {
    Status::new(Code::Unimplemented, "there is no such service or RPC; reflection lists those that there are")
}
