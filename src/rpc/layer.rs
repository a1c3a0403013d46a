//! What happens to every call: it gets an id, a caller and a deadline, runs detached, and leaves
//! with an error that programs can read, one line in the log, and an event where it would have changed
//! something and failed.
//!
//! *Detached*: gRPC drops a handler when its client goes away, and a transaction that is dropped
//! half way costs its connection. So calls run as tasks of their own, which shutdown waits for; a
//! client that left only stops listening.

mod audit;
mod body;
mod deadline;
mod repair;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as Poller, Poll};
use std::time::{Duration, Instant};

use http::{HeaderMap, Request, Response, StatusCode, header, request};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::Instrument;
use uuid::Uuid;

use super::Context;
use super::method::Method;
use crate::audit::Recorder;
use crate::auth::{Authenticator, Caller, TenantId};
use crate::db::Deadline;
use crate::error::Error;
use audit::Attempt;

/// Paths of this contract start so.
const OURS: &str = "/crm.v1.";

/// Deadline of a stream that brings none: it may stay open for ever, and this only bounds how long its
/// handler takes to begin, which waits for nothing.
const NO_DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long after its deadline a unary call is given up, with whatever it holds. Its statements end
/// at the deadline and a COMMIT within ten seconds, so only one that waits for its own client is
/// still there.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(15);

/// What calls share.
#[derive(Debug, Clone)]
pub struct CallLayer {
    /// Who finds out who is calling.
    pub authenticator: Authenticator,
    /// Where calls run.
    pub tracker: TaskTracker,
    /// Cancelled when the server stops.
    pub stop: CancellationToken,
    /// Deadline of a unary call that brings none.
    pub default_deadline: Duration,
    /// Who keeps what failed.
    pub recorder: Recorder,
}

impl<S> Layer<S> for CallLayer {
    type Service = CallService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CallService { inner, shared: self.clone() }
    }
}

/// A service whose calls go through [`CallLayer`].
#[derive(Debug, Clone)]
pub struct CallService<S> {
    inner: S,
    shared: CallLayer,
}

impl<S> Service<Request<Body>> for CallService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, poller: &mut Poller<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(poller)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The instance that was polled ready serves; its clone takes the next call.
        let next = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, next);
        let shared = self.shared.clone();
        Box::pin(async move { Ok(shared.answer(inner, request).await) })
    }
}

impl CallLayer {
    async fn answer<S>(self, inner: S, request: Request<Body>) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send + 'static,
        S::Future: Send + 'static,
    {
        if let Some(refusal) = not_grpc(&request) {
            return refusal;
        }
        if request.uri().path().starts_with("/grpc.") {
            return self.answer_foreign(inner, request).await;
        }
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let started = Instant::now();
        let id = Uuid::now_v7();
        let method = Method::find(path);
        let span = tracing::info_span!("call", request_id = %id, method = path.trim_start_matches(OURS));
        let attempt = Attempt::new(method, id);
        let caller = self.admit(&head, method, &attempt).instrument(span.clone()).await;
        let tenant = caller.as_ref().ok().and_then(Option::as_ref).map(Caller::tenant);
        let outcome = match caller {
            Ok(caller) => {
                let (request, call) = (Request::from_parts(head, body), method.zip(caller));
                self.run(inner, request, (id, &attempt), call).instrument(span.clone()).await
            }
            Err(error) => Err(error),
        };
        let response = span.in_scope(|| outcome.unwrap_or_else(|error| Status::from(error).into_http()));
        let response = repair::response(response, id);
        let status = Status::from_header_map(response.headers());
        let code = status.as_ref().map_or(tonic::Code::Ok, Status::code);
        if let Some(status) = status.filter(|_| code != tonic::Code::Ok) {
            span.in_scope(|| attempt.fail(&self.recorder, &status));
        }
        tracing::debug!(
            parent: &span,
            tenant = tenant.map(tracing::field::display),
            code = ?code,
            milliseconds = started.elapsed().as_secs_f64() * 1e3,
            "answered"
        );
        response
    }

    /// Who may have a call answered; nobody in particular where there is no such RPC.
    async fn admit(
        &self,
        head: &request::Parts,
        method: Option<&'static Method>,
        attempt: &Attempt,
    ) -> Result<Option<Caller>, Error> {
        let principal = self.authenticator.authenticate(&head.headers, &head.extensions).await?;
        let Some(method) = method else { return Ok(None) };
        let tenant = TenantId::selected_by(&head.headers)?;
        let granted = principal.act(tenant, method.scope);
        attempt.admit(&principal, tenant, granted.as_ref().err());
        granted.map(Some)
    }

    /// Runs a call of this contract as a task, until its deadline.
    async fn run<S>(
        &self,
        mut inner: S,
        mut request: Request<Body>,
        (id, attempt): (Uuid, &Attempt),
        call: Option<(&'static Method, Caller)>,
    ) -> Result<Response<Body>, Error>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send + 'static,
        S::Future: Send + 'static,
    {
        let streaming = call.as_ref().is_some_and(|(method, _)| method.streaming);
        let asked = deadline::of(request.headers());
        let allowed = match asked {
            Some(asked) => asked,
            None if streaming => NO_DEADLINE,
            None => self.default_deadline,
        };
        if let Some((method, caller)) = call {
            let (deadline, asking) = (Deadline::after(allowed), attempt.asking.clone());
            request.extensions_mut().insert(Context { caller, method, deadline, id, asking });
        }
        let call = tokio::time::timeout(allowed.saturating_add(GIVEN_UP_AFTER), inner.call(request));
        let task = self.tracker.spawn(call.in_current_span());
        let response = match tokio::time::timeout(deadline::ours(allowed), task).await {
            Ok(Ok(Ok(Ok(response)))) => response,
            Ok(Err(panic)) => return Err(Error::internal(panic)),
            Ok(Ok(Err(_))) | Err(_) => return Err(Error::DeadlineExceeded),
        };
        if streaming {
            return Ok(response.map(|inner| Body::new(body::Bounded::ours(inner, asked, id))));
        }
        Ok(response)
    }

    /// Health and reflection: theirs are the rules of their specifications, but their streams end
    /// when the server stops.
    async fn answer_foreign<S>(self, mut inner: S, request: Request<Body>) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    {
        let expiry = deadline::of(request.headers());
        // The request's half as well: reflection reads on until it ends, and would hold the connection.
        let bounded = |inner| Body::new(body::Bounded::foreign(inner, expiry, self.stop.clone()));
        let Ok(response) = inner.call(request.map(bounded)).await;
        response.map(bounded)
    }
}

/// Answers what is not gRPC in words that a browser or curl shows.
fn not_grpc(request: &Request<Body>) -> Option<Response<Body>> {
    let refuse = |status, text: &'static str| {
        let mut response = Response::new(Body::new(text.to_owned()));
        *response.status_mut() = status;
        let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, plain);
        Some(response)
    };
    if request.method() != http::Method::POST {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "This is gRPC: use a gRPC client, e.g. grpcurl.\n");
    }
    if !is_grpc(request.headers()) {
        return refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "This is gRPC: send content-type application/grpc.\n",
        );
    }
    None
}

fn is_grpc(headers: &HeaderMap) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&[][..], header::HeaderValue::as_bytes);
    match content_type.strip_prefix(GRPC) {
        Some(rest) => matches!(rest.first(), None | Some(b'+' | b';')),
        None => false,
    }
}
