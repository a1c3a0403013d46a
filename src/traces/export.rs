//! Sends spans to the collector. No call ever waits for it.
//!
//! Ended spans wait in the queue of the SDK's batch processor, whose own thread sends them. The queue is limited here
//! and not in the SDK, because the SDK does not count what it drops.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use opentelemetry::trace::TracerProvider;
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{Compression, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor,
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;

use super::Traces;
use super::sampler::Linked;
use super::settings::Settings;
use crate::metrics::{Metrics, SpanEnd};
use crate::numbers;
use crate::settings::TracesConfig;

/// The maximum number of spans that are sent together.
const AT_ONCE: usize = 512;

/// How often waiting spans are sent if there are fewer.
const EVERY: Duration = Duration::from_secs(5);

/// How long the last spans may take when the service ends. A healthy collector needs milliseconds.
const FLUSH: Duration = Duration::from_secs(3);

/// How often the log reports lost spans.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// The export of spans to a collector, until this is ended.
pub struct Exporting {
    provider: SdkTracerProvider,
    /// Cancelled when no more spans must be sent.
    stop: CancellationToken,
    place: String,
}

/// Starts the export, if a collector is named. Must be called in the runtime.
///
/// # Errors
///
/// What is wrong with the settings, in a sentence that says what to write.
pub fn start(config: &TracesConfig, metrics: &Metrics) -> Result<Option<(Traces, Exporting)>, String> {
    let Some(settings) = Settings::read(config)? else { return Ok(None) };
    let Settings { endpoint, headers, timeout, gzip, resource, sampler, queue } = settings;
    let mut exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint.as_str())
        .with_timeout(timeout)
        .with_metadata(MetadataMap::from_headers(headers));
    if gzip {
        exporter = exporter.with_compression(Compression::Gzip);
    }
    if endpoint.scheme() == "https" {
        // Without this the exporter trusts no certificate at all.
        exporter = exporter.with_tls_config(ClientTlsConfig::new().with_native_roots());
    }
    let exporter = exporter.build().map_err(|error| {
        format!("OTEL_EXPORTER_OTLP_ENDPOINT: spans cannot be sent there: {error}. Write one such as http://127.0.0.1:4317.")
    })?;
    let (stop, fate) = (CancellationToken::new(), Arc::new(Fate::new(metrics.clone())));
    let (runtime, sent) = (Handle::current(), Arc::clone(&fate));
    let sender = Sender { exporter: Arc::new(exporter), runtime, timeout, stop: stop.clone(), fate: sent };
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(queue)
        .with_max_export_batch_size(AT_ONCE.min(queue))
        .with_scheduled_delay(EVERY)
        .build();
    let inner = BatchSpanProcessor::new(sender, batches);
    let provider = SdkTracerProvider::builder()
        .with_span_processor(Queue { inner, room: queue, fate })
        .with_resource(resource)
        .with_sampler(Linked(sampler.into()))
        .build();
    let scope = InstrumentationScope::builder("crm-backend").with_version(env!("CARGO_PKG_VERSION")).build();
    let traces = Traces::of(provider.tracer_with_scope(scope));
    let place = endpoint.origin().ascii_serialization();
    Ok(Some((traces, Exporting { provider, stop, place })))
}

impl Exporting {
    /// Where spans are sent, for the operator.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Sends the waiting spans, up to a time limit.
    pub async fn end(self) {
        let Self { provider, stop, place: _ } = self;
        // After the limit every remaining batch fails at once.
        let last = stop.drop_guard();
        let mut ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH * 2));
        if tokio::time::timeout(FLUSH, &mut ended).await.is_err() {
            drop(last);
            let _ = ended.await;
        }
    }
}

/// Counts the outcomes of spans.
struct Fate {
    metrics: Metrics,
    /// The spans that wait to be sent.
    waiting: AtomicUsize,
    /// The lost spans that are not logged yet.
    lost: AtomicU64,
    began: Instant,
    /// When the log may next report lost spans, in milliseconds since `began`.
    tell_from: AtomicU64,
}

impl Fate {
    fn new(metrics: Metrics) -> Self {
        let (waiting, lost, tell_from) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { metrics, waiting, lost, began: Instant::now(), tell_from }
    }

    /// Counts lost spans, and logs them once in a while.
    fn lose(&self, end: SpanEnd, count: usize, cause: &dyn fmt::Display) {
        self.metrics.spans[end].inc_by(count as u64);
        self.lost.fetch_add(count as u64, Ordering::Relaxed);
        let now = self.began.elapsed();
        let (now, next) = (numbers::milliseconds(now), numbers::milliseconds(now + TELL_EVERY));
        let from = self.tell_from.load(Ordering::Relaxed);
        let may_tell = now >= from
            && self.tell_from.compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if may_tell {
            let spans = self.lost.swap(0, Ordering::Relaxed);
            tracing::warn!(
                spans,
                %cause,
                "spans are lost on their way to the collector, which harms no call; this is said once a minute at most"
            );
        }
    }
}

/// The SDK's queue, with a count of the waiting spans.
struct Queue {
    inner: BatchSpanProcessor,
    room: usize,
    fate: Arc<Fate>,
}

impl Debug for Queue {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.debug_struct("Queue").field("room", &self.room).finish_non_exhaustive()
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.fate.waiting.fetch_add(1, Ordering::Relaxed) < self.room {
            self.inner.on_end(span);
        } else {
            self.fate.waiting.fetch_sub(1, Ordering::Relaxed);
            self.fate.lose(SpanEnd::Dropped, 1, &"too many wait");
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Sends batches of spans.
struct Sender {
    exporter: Arc<opentelemetry_otlp::SpanExporter>,
    runtime: Handle,
    /// How long a batch may take, all attempts included.
    timeout: Duration,
    stop: CancellationToken,
    fate: Arc<Fate>,
}

impl Debug for Sender {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.debug_struct("Sender").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl SpanExporter for Sender {
    /// Sends a batch in the runtime, and not on the SDK's thread that asks for it. Only in the runtime do pauses
    /// between attempts, and waits for a silent collector, end at the time limit.
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        self.fate.waiting.fetch_sub(count, Ordering::Relaxed);
        let (exporter, stop, timeout) = (Arc::clone(&self.exporter), self.stop.clone(), self.timeout);
        let sent = self.runtime.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => Err(OTelSdkError::AlreadyShutdown),
                sent = tokio::time::timeout(timeout, exporter.export(batch)) => {
                    sent.unwrap_or(Err(OTelSdkError::Timeout(timeout)))
                }
            }
        });
        let sent = sent.await.unwrap_or(Err(OTelSdkError::AlreadyShutdown));
        match &sent {
            Ok(()) => {
                self.fate.metrics.spans[SpanEnd::Exported].inc_by(count as u64);
            }
            Err(error) => self.fate.lose(SpanEnd::Failed, count, error),
        }
        sent
    }

    fn set_resource(&mut self, resource: &Resource) {
        // This is called before anything is sent.
        if let Some(exporter) = Arc::get_mut(&mut self.exporter) {
            exporter.set_resource(resource);
        }
    }
}
