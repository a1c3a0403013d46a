//! A call from its first byte to its end, however it ends: it is counted and measured, has one log line, and a span
//! if it is sampled.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};
use opentelemetry::trace::TraceId;
use tonic::body::Body;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::identity::TenantId;
use crate::metrics::{Called, Metrics, code_word};
use crate::traces::CallSpan;

/// The header or trailer in which gRPC says how a call ended.
const STATUS: &str = "grpc-status";

/// A call that has not ended. If it is dropped before its end, its client gave it up.
pub(super) struct Going {
    metrics: Metrics,
    called: Called,
    began: Instant,
    is_over: bool,
    line: Option<Line>,
    span: Option<CallSpan>,
}

/// The log line of a call.
pub(super) struct Line {
    pub(super) id: Uuid,
    pub(super) tenant: Option<TenantId>,
    pub(super) trace: Option<TraceId>,
}

impl Going {
    /// Starts a call.
    pub(super) fn begin(metrics: Metrics, called: Called) -> Self {
        metrics.calls.began(called);
        Self { metrics, called, began: Instant::now(), is_over: false, line: None, span: None }
    }

    /// Sets the log line for its end. Without it there is neither a line nor a span.
    pub(super) fn tell(&mut self, line: Line) {
        self.line = Some(line);
    }

    /// Sets the span that ends with the call.
    pub(super) fn trace(&mut self, span: Option<CallSpan>) {
        self.span = span;
    }

    /// The RPC that is called.
    pub(super) fn called(&self) -> Called {
        self.called
    }

    /// Ends the call with its response, or with the response's body if the call stays open.
    pub(super) fn until_end_of(mut self, response: Response<Body>) -> Response<Body> {
        match code(response.headers()) {
            Some(code) => self.end(code),
            None if !self.called.is_stream() => self.end(Code::Ok),
            None => return response.map(|inner| Body::new(Watched { inner, going: self })),
        }
        response
    }

    /// Ends the call.
    pub(super) fn end(&mut self, code: Code) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let took = self.began.elapsed();
        self.metrics.calls.ended(self.called, code, took);
        if let Some(Line { id, tenant, trace }) = &self.line {
            if let Some(span) = self.span.take() {
                span.end(code, *id, tenant.map(TenantId::as_uuid));
            }
            tracing::info!(
                target: "crm_backend::calls",
                parent: None,
                method = self.called.name(),
                tenant = tenant.map(tracing::field::display),
                code = code_word(code),
                milliseconds = took.as_secs_f64() * 1e3,
                request_id = %id,
                trace_id = trace.map(tracing::field::display),
                "answered"
            );
        }
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

/// Returns how a call ended, if these headers or trailers say so.
fn code(headers: &HeaderMap) -> Option<Code> {
    headers.get(STATUS).map(|value| Code::from_bytes(value.as_bytes()))
}

/// The body of a stream's response.
struct Watched {
    inner: Body,
    going: Going,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let frame = http_body::Body::poll_frame(Pin::new(&mut this.inner), context);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(code) = frame.trailers_ref().and_then(code) {
                    this.going.end(code);
                }
            }
            Poll::Ready(Some(Err(status))) => this.going.end(status.code()),
            Poll::Ready(None) | Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.inner)
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.inner)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http_body_util::BodyExt;

    use super::*;
    use crate::rpc::method::Method;

    const WATCH: &str = "/crm.v1.ConversationService/WatchConversation";

    fn handled(metrics: &Metrics, code: &str) -> bool {
        let end = format!("grpc_method=\"WatchConversation\",grpc_code=\"{code}\"}} 1");
        metrics
            .scrape()
            .lines()
            .any(|line| line.starts_with("grpc_server_handled_total{") && line.ends_with(&end))
    }

    fn begin(metrics: &Metrics) -> Going {
        let place = Method::find(WATCH).expect("an RPC").place;
        Going::begin(metrics.clone(), Called::of_contract(place))
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_trailers_and_not_before() {
        let metrics = Metrics::default();
        let mut trailers = HeaderMap::new();
        trailers.insert(STATUS, HeaderValue::from_static("5"));
        let frames = [Ok::<_, Status>(Frame::data(Bytes::from_static(b"a"))), Ok(Frame::trailers(trailers))];
        let body = Body::new(http_body_util::StreamBody::new(futures_util::stream::iter(frames)));
        let mut body = begin(&metrics).until_end_of(Response::new(body)).into_body();
        assert!(body.frame().await.expect("a frame").expect("no error").is_data());
        assert!(!handled(&metrics, "NotFound"));
        assert!(body.frame().await.expect("a frame").expect("no error").is_trailers());
        assert!(handled(&metrics, "NotFound"));
        drop(body);
        assert!(!handled(&metrics, "Canceled"), "it ended once");
    }

    #[test]
    fn a_stream_whose_client_vanished_was_cancelled() {
        let metrics = Metrics::default();
        drop(begin(&metrics).until_end_of(Response::new(Body::empty())));
        assert!(handled(&metrics, "Canceled"));
    }

    #[test]
    fn an_error_without_a_body_is_the_end() {
        let metrics = Metrics::default();
        let response = Status::unavailable("").into_http();
        let response = begin(&metrics).until_end_of(response);
        assert!(handled(&metrics, "Unavailable"));
        drop(response);
        assert!(!handled(&metrics, "Canceled"));
    }
}
