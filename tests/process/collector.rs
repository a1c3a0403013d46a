//! A collector of spans for tests: it accepts OTLP exports, and keeps them.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use crm_testkit::certificates::Identity;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

/// The collector, which listens until this is dropped.
pub(crate) struct Collector {
    endpoint: String,
    taken: Taken,
    _server: JoinSet<()>,
}

type Taken = Arc<Mutex<Vec<Request<ExportTraceServiceRequest>>>>;

impl Collector {
    /// Listens on a port of its own.
    pub(crate) async fn start() -> Self {
        Self::serve(Server::builder(), "http").await
    }

    /// The same with TLS, as `localhost`.
    pub(crate) async fn start_with_tls(identity: &Identity) -> Self {
        let identity = tonic::transport::Identity::from_pem(&identity.certificate_pem, &identity.key_pem);
        let tls = ServerTlsConfig::new().identity(identity);
        Self::serve(Server::builder().tls_config(tls).expect("a certificate"), "https").await
    }

    async fn serve(mut builder: Server, scheme: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (endpoint, taken) = (format!("{scheme}://localhost:{port}"), Taken::default());
        let service = TraceServiceServer::new(Sink(Arc::clone(&taken)));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let incoming = TcpIncoming::from(listener);
            builder.add_service(service).serve_with_incoming(incoming).await.expect("it serves");
        });
        Self { endpoint, taken, _server: server }
    }

    /// The value of `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Returns everything that was sent, with all metadata.
    pub(crate) fn told(&self) -> String {
        format!("{:?}", self.taken.lock().expect("a lock"))
    }

    /// Returns the value of a header that came with every export.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let taken = self.taken.lock().expect("a lock");
        let mut values = taken.iter().map(|request| {
            request.metadata().get(name).map(|value| value.to_str().expect("letters").to_owned())
        });
        let first = values.next().flatten();
        values.all(|value| value == first).then_some(first).flatten()
    }

    /// Returns an attribute of the sending service.
    pub(crate) fn resource(&self, key: &str) -> Option<String> {
        let taken = self.taken.lock().expect("a lock");
        let resource = taken.first()?.get_ref().resource_spans.first()?.resource.as_ref()?;
        text(&resource.attributes, key)
    }

    /// Returns all spans that were sent.
    pub(crate) fn spans(&self) -> Spans {
        let taken = self.taken.lock().expect("a lock");
        let scopes = taken.iter().flat_map(|request| &request.get_ref().resource_spans);
        Spans(scopes.flat_map(|of| &of.scope_spans).flat_map(|of| of.spans.iter().cloned()).collect())
    }
}

struct Sink(Taken);

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().expect("a lock").push(request);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// The spans that a collector received.
pub(crate) struct Spans(Vec<Span>);

impl Spans {
    pub(crate) fn all(&self) -> &[Span] {
        &self.0
    }

    pub(crate) fn named(&self, name: &str) -> Vec<&Span> {
        self.0.iter().filter(|span| span.name == name).collect()
    }

    /// Returns the only span with this name.
    #[track_caller]
    pub(crate) fn one(&self, name: &str) -> &Span {
        let found = self.named(name);
        assert_eq!(found.len(), 1, "{name}: {:#?}", self.0);
        found.into_iter().next().expect("was just there")
    }

    /// Returns the children of a span, in the order in which they began.
    pub(crate) fn children(&self, parent: &Span) -> Vec<&Span> {
        let is_child =
            |span: &&Span| span.parent_span_id == parent.span_id && span.trace_id == parent.trace_id;
        let mut children: Vec<_> = self.0.iter().filter(is_child).collect();
        children.sort_by_key(|span| span.start_time_unix_nano);
        children
    }
}

/// Returns the value of an attribute, as text.
pub(crate) fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => Some(format!("{other:?}")),
    }
}

/// Formats an id as in a `traceparent`.
pub(crate) fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
