//! What happens to every call. It gets an id, a place, a caller and a deadline, and runs detached. It ends with an
//! error that programs can read, one log line, and its counts. A failed call that would have changed something also
//! gets an audit event.
//!
//! *Detached*: gRPC drops a handler when its client goes away, and a transaction that is dropped half way costs its
//! connection. So each call runs as a task of its own, and shutdown waits for these tasks. If the client goes away,
//! only the waiting for the answer ends.

mod admission;
mod audit;
mod body;
mod compression;
mod deadline;
mod envelope;
pub(super) mod freshness;
mod going;
mod metadata;
mod metered;
mod repair;
pub mod room;
mod trace;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as Poller, Poll};
use std::time::{Duration, Instant};

use http::{HeaderMap, Request, Response, StatusCode, header, request};
use opentelemetry::trace::SpanContext;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::Instrument;
use uuid::Uuid;

#[cfg(any(test, fuzzing))]
pub(crate) use deadline::of as timeout;

#[cfg(test)]
pub(crate) use {admission::tests::refused, repair::complete};

use super::Context;
use super::cost::Costs;
use super::method::Method;
use crate::audit::Recorder;
use crate::auth::{Admitted, Authenticator, Validity};
use crate::db::Deadline;
use crate::db::standby::Freshness;
use crate::error::Error;
use crate::identity::{Caller, TenantId};
use crate::metrics::{Called, Limit, Metrics};
use crate::traces::{CallSpan, Trace, Traces};
use admission::{Kind, Place};
use audit::Attempt;
use body::Ends;
use going::{Going, Line};
use metered::Metered;
use room::Room;

pub use admission::Admission;
pub(crate) use compression::shorter;
pub use envelope::Envelope;

/// The prefix of the paths of health checks. Health needs no credential.
const HEALTH: &str = "/grpc.health.";

/// The deadline of a stream without one. The stream may stay open for ever; this only bounds how long its handler
/// takes to start, and starting waits for nothing.
const NO_DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long after its deadline a unary call is abandoned, with all that it holds. Its statements end at the deadline
/// and a COMMIT within ten seconds, so only a call that waits for its own client is still running then.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(15);

/// What all calls share.
#[derive(Debug, Clone)]
pub struct CallLayer {
    /// Identifies callers.
    pub authenticator: Authenticator,
    /// Limits how many calls run.
    pub admission: Admission,
    /// Where costly calls wait for their places.
    pub costs: Costs,
    /// Counts the bytes that streams have read.
    pub room: Room,
    /// Tracks the tasks of calls.
    pub tracker: TaskTracker,
    /// Cancelled when the server stops.
    pub stop: CancellationToken,
    /// The deadline of a unary call without one.
    pub default_deadline: Duration,
    /// Records the audit events of failed calls.
    pub recorder: Recorder,
    /// Where calls are counted.
    pub metrics: Metrics,
    /// Where calls have their spans.
    pub traces: Traces,
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
        // The instance that was polled ready serves this call; its clone takes the next one.
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
        let path = request.uri().path();
        let (is_foreign, method) = (path.starts_with("/grpc."), Method::find(path));
        let called = method.map_or_else(|| Called::foreign(path), |method| Called::of_contract(method.place));
        let mut going = Going::begin(self.metrics.clone(), called);
        if let Err(refusal) = metadata::check(request.headers()) {
            self.metrics.refusals[Limit::Metadata].inc();
            return going.until_end_of(repair::response(refusal.into_http(), Uuid::now_v7()));
        }
        let takes_gzip = compression::is_taken(request.headers());
        let response = if is_foreign {
            self.answer_foreign(inner, request).await
        } else {
            self.answer_own(inner, request, method, &mut going).await
        };
        let response = going.until_end_of(response);
        if takes_gzip { compression::compressed(response) } else { response }
    }

    /// A call of this contract.
    async fn answer_own<S>(
        self,
        inner: S,
        request: Request<Body>,
        method: Option<&'static Method>,
        going: &mut Going,
    ) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send + 'static,
        S::Future: Send + 'static,
    {
        let (head, body) = request.into_parts();
        let id = Uuid::now_v7();
        let parent = trace::parent(&head.headers);
        let call_span = self.call_span(going.called(), &head.headers, parent.as_ref());
        let trace = parent.map(|parent| parent.trace_id()).or(call_span.as_ref().map(CallSpan::id));
        let told = call_span.as_ref().map_or(Trace::NONE, |span| span.trace().clone());
        going.tell(Line { id, tenant: None, trace });
        going.trace(call_span);
        let span = tracing::info_span!(
            "call",
            request_id = %id,
            method = method.map_or("unknown", |method| method.name),
            trace_id = trace.map(tracing::field::display),
        );
        let attempt = Attempt::new(method, id);
        let kind = if method.is_some_and(|method| method.streaming) { Kind::Stream } else { Kind::Unary };
        let waiting = told.wait("wait for a credential");
        let admitted = self.admit(&head, kind, method, &attempt).instrument(span.clone()).await;
        drop(waiting);
        let tenant = admitted.as_ref().ok().and_then(Grant::tenant);
        going.tell(Line { id, tenant, trace });
        let outcome = match admitted {
            Ok(grant) => {
                let request = Request::from_parts(head, body);
                self.run(inner, request, id, &attempt, grant.within(&told)).instrument(span.clone()).await
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
        response
    }

    /// Returns the span of a call, if it is sampled.
    fn call_span(
        &self,
        called: Called,
        headers: &HeaderMap,
        parent: Option<&SpanContext>,
    ) -> Option<CallSpan> {
        if !self.traces.are_on() {
            return None;
        }
        let parent = parent.map(|parent| trace::with_state(parent, headers));
        self.traces.call(called.name(), called.is_stream(), parent.as_ref())
    }

    /// Returns what a call may use. It has no caller and no tenant if the RPC does not exist.
    ///
    /// The limit of all calls is checked first, because authentication takes time as well.
    async fn admit(
        &self,
        head: &request::Parts,
        kind: Kind,
        method: Option<&'static Method>,
        attempt: &Attempt,
    ) -> Result<Grant, Error> {
        let mut place = self.admission.enter(kind)?;
        let asked = deadline::of(&head.headers);
        let default = if kind == Kind::Stream { NO_DEADLINE } else { self.default_deadline };
        // An invalid timeout is reported only to callers that may call.
        let time = Time::new(asked.as_ref().ok().copied().flatten(), default);
        let authenticated = self.authenticator.authenticate(&head.headers, &head.extensions);
        let Admitted { principal, validity } = time.bound(authenticated).await?;
        let Some(method) = method else {
            asked?;
            return Ok(Grant { time, call: None, freshness: None, validity, place });
        };
        let tenant = principal.tenant(TenantId::selected_by(&head.headers)?)?;
        let granted = principal.act(tenant, method.scope);
        attempt.admit(&principal, tenant, granted.as_ref().err());
        let caller = granted?;
        asked?;
        // A call that changes something must read the current state of it.
        let freshness = freshness::of(&head.headers)?.filter(|_| method.resource_type.is_none());
        place.assign(tenant)?;
        Ok(Grant { time, call: Some((method, caller)), freshness, validity, place })
    }

    /// Runs a call of this contract as a task, until its deadline.
    async fn run<S>(
        &self,
        mut inner: S,
        mut request: Request<Body>,
        id: Uuid,
        attempt: &Attempt,
        Grant { time, call, freshness, validity, place }: Grant,
    ) -> Result<Response<Body>, Error>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send + 'static,
        S::Future: Send + 'static,
    {
        let stream = call.as_ref().filter(|(method, _)| method.streaming);
        let streaming = stream.is_some();
        let meter = stream.map(|(_, caller)| self.room.stream(caller.tenant().as_uuid()));
        let allowed = time.left();
        if let Some((method, caller)) = call {
            let (deadline, subject) = (Deadline::after(allowed), attempt.subject.clone());
            let costs = self.costs.clone();
            let context = Context { caller, method, deadline, id, subject, freshness, costs };
            request.extensions_mut().insert(context);
        }
        let ends = Ends { deadline: time.asked.map(|_| allowed), stop: None, validity };
        if let Some(meter) = meter {
            request.extensions_mut().insert(meter.clone());
            request = request.map(|inner| ends.request(Body::new(Metered::new(inner, meter))));
        }
        let call = tokio::time::timeout(allowed.saturating_add(GIVEN_UP_AFTER), inner.call(request));
        // A running call keeps its place even if its client has gone away.
        let call = async { (call.await, place) };
        let task = self.tracker.spawn(call.in_current_span());
        let (response, place) = match tokio::time::timeout(deadline::ours(allowed), task).await {
            Ok(Ok((Ok(Ok(response)), place))) => (response, place),
            // The text of a panic may contain a value; the log says where it happened.
            Ok(Err(_)) => return Err(Error::internal("a call panicked")),
            Ok(Ok((Err(_), _))) | Err(_) => return Err(Error::DeadlineExceeded),
        };
        Ok(response.map(|inner| {
            if streaming { ends.response(inner, Some(id), Some(place)) } else { body::answer(inner, place) }
        }))
    }

    /// Answers health and reflection, which follow the rules of their specifications. Their streams end when the
    /// server stops, and reflection needs a valid credential. Health must answer even if the server is full, so it is
    /// not counted; the number of connections bounds its cost.
    async fn answer_foreign<S>(self, mut inner: S, request: Request<Body>) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    {
        let (head, body) = request.into_parts();
        let admitted = if head.uri.path().starts_with(HEALTH) {
            deadline::of(&head.headers)
                .map(|asked| (Time::new(asked, NO_DEADLINE), Validity::default(), None))
        } else {
            let admitted = self.admit(&head, Kind::Stream, None, &Attempt::new(None, Uuid::nil())).await;
            admitted.map(|Grant { time, validity, place, .. }| (time, validity, Some(place)))
        };
        let (time, validity, place) = match admitted {
            Ok(admitted) => admitted,
            Err(error) => return repair::response(Status::from(error).into_http(), Uuid::now_v7()),
        };
        let ends =
            Ends { deadline: time.asked.map(|_| time.left()), stop: Some(self.stop.clone()), validity };
        // The request's body ends too: reflection reads on until it ends, and would keep the connection open.
        let request = Request::from_parts(head, ends.request(body));
        let Ok(response) = inner.call(request).await;
        response.map(|inner| ends.response(inner, None, place))
    }
}

/// What an admitted call may use.
struct Grant {
    time: Time,
    /// The method and the caller; `None` if there is no such RPC.
    call: Option<(&'static Method, Caller)>,
    /// How old the data that the call reads may be.
    freshness: Option<Freshness>,
    /// How long the caller's credential is valid.
    validity: Validity,
    place: Place,
}

impl Grant {
    /// Returns the same grant, with the caller's work recorded in this trace.
    fn within(mut self, trace: &Trace) -> Self {
        self.call = self.call.map(|(method, caller)| (method, caller.within(trace)));
        self
    }

    fn tenant(&self) -> Option<TenantId> {
        self.call.as_ref().map(|(_, caller)| caller.tenant())
    }
}

/// The time limit of a call, and when the call began.
#[derive(Clone, Copy)]
struct Time {
    started: Instant,
    /// The timeout that the client asked for.
    asked: Option<Duration>,
    allowed: Duration,
}

impl Time {
    /// The time of a call that begins now.
    fn new(asked: Option<Duration>, default: Duration) -> Self {
        Self { started: Instant::now(), asked, allowed: asked.unwrap_or(default) }
    }

    fn left(&self) -> Duration {
        self.allowed.saturating_sub(self.started.elapsed())
    }

    /// Runs work that precedes the call, within the call's time.
    async fn bound<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let done = tokio::time::timeout(deadline::ours(self.left()), work).await;
        done.unwrap_or(Err(Error::DeadlineExceeded))
    }
}

/// Answers requests that are not gRPC with a text that a browser or curl shows.
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

/// Whether the messages have the contract's encoding: gRPC has others, such as `application/grpc+json`.
fn is_grpc(headers: &HeaderMap) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    const PROTO: &[u8] = b"+proto";
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&[][..], header::HeaderValue::as_bytes);
    let Some(rest) = content_type.strip_prefix(GRPC) else { return false };
    matches!(rest.strip_prefix(PROTO).unwrap_or(rest).first(), None | Some(b';'))
}
