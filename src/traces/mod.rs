//! Spans of calls, for distributed traces (OpenTelemetry).
//!
//! A sampled call has a span (`CallSpan`), and the work for it carries a [`Trace`] through its [`Caller`]: waits
//! and flights to Postgres are its children. Work for many calls together has a span of its own (`Batch`), which
//! links to those of the calls. A stream may stay open for days, so it has one span without children, however many
//! messages it has.
//!
//! If traces are off, or a call is not sampled, a [`Trace`] is `None` and nothing else is created. Spans carry ids,
//! names of the contract, codes and counts, but never a client's content.
//!
//! docs/operations.md lists spans and attributes.
//!
//! [`Caller`]: crate::identity::Caller

mod export;
mod sampler;
mod settings;

use std::collections::HashSet;
use std::fmt::{self, Debug, Formatter};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::{
    Link, Span, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceId, Tracer,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};
use tonic::Code;
use uuid::Uuid;

use crate::metrics::{Closed, Lane, code_word};
use crate::numbers;

pub use export::{Exporting, start};

/// The maximum number of calls that a batch links to: enough to find some of them, and fewer than collectors accept
/// by default (128).
const MAX_LINKS: usize = 64;

/// The shortest wait that gets a span: nearly all calls wait for some microseconds, and a span costs more than that.
const WORTH_TELLING: Duration = Duration::from_millis(1);

/// Creates the spans of calls; none if traces are off. Cheap to clone.
#[derive(Clone, Default)]
pub struct Traces(Option<SdkTracer>);

impl Debug for Traces {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Traces").field(&self.are_on()).finish()
    }
}

impl Traces {
    fn of(tracer: SdkTracer) -> Self {
        Self(Some(tracer))
    }

    /// Whether traces are on, so that a call may have a span.
    pub(crate) fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// Starts the span of a call, as a child of its client's span, if the call is sampled.
    pub(crate) fn call(
        &self,
        method: &'static str,
        is_stream: bool,
        parent: Option<&SpanContext>,
    ) -> Option<CallSpan> {
        let tracer = self.0.as_ref()?;
        let context = parent.map_or_else(Context::new, context_of);
        let builder = SpanBuilder::from_name(method)
            .with_kind(SpanKind::Server)
            .with_attributes([KeyValue::new("rpc.system.name", "grpc"), KeyValue::new("rpc.method", method)]);
        let span = tracer.build_with_context(builder, &context);
        let trace = Trace::within(tracer, &span, is_stream)?;
        Some(CallSpan { span, trace })
    }
}

/// Returns the context for children of this span.
fn context_of(span: &SpanContext) -> Context {
    Context::new().with_remote_span_context(span.clone())
}

/// The span of a call in progress. It ends when this is dropped.
pub(crate) struct CallSpan {
    span: SdkSpan,
    trace: Trace,
}

impl CallSpan {
    pub(crate) fn id(&self) -> TraceId {
        self.span.span_context().trace_id()
    }

    /// The trace for the work of the call.
    pub(crate) fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Ends the span.
    pub(crate) fn end(mut self, code: Code, request_id: Uuid, tenant: Option<Uuid>) {
        self.span.set_attribute(KeyValue::new("rpc.response.status_code", code_word(code)));
        self.span.set_attribute(KeyValue::new("crm.request_id", request_id.to_string()));
        if let Some(tenant) = tenant {
            self.span.set_attribute(KeyValue::new("crm.tenant_id", tenant.to_string()));
        }
        fail(&mut self.span, code);
    }
}

/// Records the code with which a span ended, unless it is OK. Only faults of the service mark the span as an error,
/// by OpenTelemetry's conventions for servers. A request for a missing resource is not such a fault.
fn fail(span: &mut SdkSpan, code: Code) {
    if code != Code::Ok {
        span.set_attribute(KeyValue::new("error.type", code_word(code)));
    }
    let is_fault = matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    );
    if is_fault {
        span.set_status(Status::error(""));
    }
}

/// The span within which some work is done, if it has one. Cheap to clone.
#[derive(Clone, Default)]
pub struct Trace(Option<Arc<Within>>);

struct Within {
    tracer: SdkTracer,
    context: Context,
    /// Whether it is the span of a stream, which has no children.
    is_stream: bool,
}

impl Debug for Trace {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let id = self.0.as_ref().map(|within| within.span_context().trace_id());
        out.debug_tuple("Trace").field(&id).finish()
    }
}

impl Within {
    fn span_context(&self) -> SpanContext {
        self.context.span().span_context().clone()
    }

    fn start(&self, builder: SpanBuilder) -> SdkSpan {
        self.tracer.build_with_context(builder, &self.context)
    }
}

impl Trace {
    /// Outside of any span.
    pub(crate) const NONE: Self = Self(None);

    /// Within this span, if it is sampled.
    fn within(tracer: &SdkTracer, span: &SdkSpan, is_stream: bool) -> Option<Self> {
        let context = span.is_recording().then(|| context_of(span.span_context()))?;
        Some(Self(Some(Arc::new(Within { tracer: tracer.clone(), context, is_stream }))))
    }

    /// Returns the span if it may have children.
    fn parent(&self) -> Option<&Arc<Within>> {
        self.0.as_ref().filter(|within| !within.is_stream)
    }

    /// Records a wait that lasts until this is dropped, if it is long enough.
    pub(crate) fn wait(&self, name: &'static str) -> Option<Wait> {
        let within = Arc::clone(self.parent()?);
        Some(Wait { within, name, began: SystemTime::now(), since: Instant::now() })
    }

    /// Records a round trip to Postgres. The only content of the span is the code of an error.
    pub(crate) async fn flight<R>(
        &self,
        name: &'static str,
        work: impl Future<Output = R>,
        error: impl FnOnce(&R) -> Option<Code>,
    ) -> R {
        let Some(within) = self.parent() else { return work.await };
        let database = KeyValue::new("db.system.name", "postgresql");
        let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Client).with_attributes([database]);
        let mut span = within.start(builder);
        let outcome = work.await;
        if let Some(code) = error(&outcome) {
            fail(&mut span, code);
        }
        outcome
    }
}

/// A wait in progress.
pub(crate) struct Wait {
    within: Arc<Within>,
    name: &'static str,
    began: SystemTime,
    since: Instant,
}

impl Drop for Wait {
    fn drop(&mut self) {
        if self.since.elapsed() >= WORTH_TELLING {
            drop(self.within.start(SpanBuilder::from_name(self.name).with_start_time(self.began)));
        }
    }
}

/// The span of work for many calls at once, until this is dropped. It exists if one of the calls has a span.
#[derive(Default)]
pub(crate) struct Batch {
    span: Option<SdkSpan>,
    trace: Trace,
    /// The span of each call's wait for the batch.
    _waits: Vec<SdkSpan>,
}

impl Batch {
    /// Begins a batch of items, each with the trace of its call and the time at which it was requested.
    pub(crate) fn begin<'t>(lane: Lane, items: impl Iterator<Item = (&'t Trace, Instant)>) -> Self {
        let (mut count, mut traced) = (0_i64, Vec::new());
        for (Trace(within), asked) in items {
            count += 1;
            traced.extend(within.as_ref().map(|within| (within, asked)));
        }
        let Some((first, _)) = traced.first() else { return Self::default() };
        let mut calls = HashSet::<SpanId>::new();
        let mut links = Vec::new();
        for (within, _) in &traced {
            let call = within.context.span().span_context().clone();
            if calls.insert(call.span_id()) && links.len() < MAX_LINKS {
                links.push(Link::with_context(call));
            }
        }
        let (batch_name, wait_name) = match lane {
            Lane::Messages => ("batch of messages", "wait for a batch of messages"),
            Lane::Lookups => ("batch of lookups", "wait for a batch of lookups"),
        };
        let builder = SpanBuilder::from_name(batch_name).with_links(links).with_attributes([
            KeyValue::new("crm.lane", lane.word()),
            KeyValue::new("crm.batch.items", count),
            KeyValue::new("crm.batch.calls", numbers::count(calls.len())),
        ]);
        let tracer = &first.tracer;
        let span = tracer.build_with_context(builder, &Context::new());
        let wait = |(within, asked): &(&Arc<Within>, Instant)| {
            let began = SystemTime::now() - asked.elapsed();
            let link = Link::with_context(span.span_context().clone());
            let builder = SpanBuilder::from_name(wait_name).with_start_time(began).with_links(vec![link]);
            let mut wait = within.start(builder);
            wait.add_event("taken into the batch", Vec::new());
            wait
        };
        let waits = traced.iter().filter(|(within, _)| !within.is_stream).map(wait).collect();
        let trace = Trace::within(tracer, &span, false).unwrap_or_default();
        Self { span: Some(span), trace, _waits: waits }
    }

    /// The trace for the work of the batch.
    pub(crate) fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Records how many items are left to be handled apart.
    pub(crate) fn left(&mut self, count: usize) {
        if let Some(span) = self.span.as_mut().filter(|_| count > 0) {
            span.set_attribute(KeyValue::new("crm.batch.apart", numbers::count(count)));
        }
    }
}
