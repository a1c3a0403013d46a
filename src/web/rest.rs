//! REST: a verb and a path become the call of an RPC, and its answer becomes JSON.
//!
//! - `request`: the route, and what the headers ask for.
//! - `plan`: how the parts of a request become the message of the RPC, when it is asked for.
//! - `answer`, `streams`: an answer, and a stream of answers.

mod answer;
mod headers;
mod plan;
mod request;
mod streams;

use std::convert::Infallible;

use http::{Method, Request, Response};
use tonic::body::Body;
use tower::{Service, ServiceExt};

use super::lazy::{Lines, Whole};
use super::limits::WebLimits;
use super::routes::Streaming;
use request::RestRequest;

/// Answers a request of REST through the service of gRPC.
pub(super) async fn answer<S>(inner: S, request: Request<Body>, limits: WebLimits) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Send + 'static,
{
    let (head, body) = request.into_parts();
    let is_head = head.method == Method::HEAD;
    let request = match RestRequest::of(head, &body) {
        Ok(request) => request,
        Err(refusal) => return if is_head { without_body(*refusal) } else { *refusal },
    };
    let RestRequest { head, coding, plan, options } = request;
    let streaming = plan.route().streaming;
    let body = match streaming {
        Streaming::Unary | Streaming::Server => {
            Body::new(Whole::new(body, limits.request_bytes, coding, plan))
        }
        Streaming::Client | Streaming::Bidi => Body::new(Lines::new(body, limits.request_bytes, plan)),
    };
    let Ok(response) = inner.oneshot(Request::from_parts(head, body)).await;
    let response = match streaming {
        Streaming::Unary | Streaming::Client => answer::unary(response, options).await,
        Streaming::Server | Streaming::Bidi => streams::stream(response, options, limits.keep_alive),
    };
    if is_head { without_body(response) } else { response }
}

/// Returns the answer to HEAD: all but the body, whose length is told.
fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    if let Some(length) = http_body::Body::size_hint(&body).exact() {
        head.headers.insert(http::header::CONTENT_LENGTH, length.into());
    }
    Response::from_parts(head, Body::empty())
}
