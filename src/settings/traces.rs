//! Settings of traces. The variables are those of OpenTelemetry, with the same meaning as elsewhere.

use clap::Args;
use clap::builder::FalseyValueParser;

/// Where the spans of calls are sent. Unless a collector is named, the other settings are ignored and no span is
/// made.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Traces")]
pub struct TracesConfig {
    /// Collector that receives the spans of calls as OTLP over gRPC, such as `http://127.0.0.1:4317`; without it no
    /// spans are made. With `https`, the system's certificates must verify it.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,

    /// Metadata for the collector, such as `authorization=Bearer%20SECRET,x-team=crm`.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_HEADERS", hide_env_values = true, value_name = "KEY=VALUE,...")]
    pub otlp_headers: Option<String>,

    /// How long the collector may take to accept spans, all attempts included. Spans that it does not accept are
    /// lost.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TIMEOUT", default_value = "10000", value_name = "MS")]
    pub otlp_timeout: String,

    /// Protocol of the spans: only `grpc`.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_PROTOCOL", default_value = "grpc", value_name = "PROTOCOL")]
    pub otlp_protocol: String,

    /// `none` or `gzip`.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_COMPRESSION", default_value = "none", value_name = "COMPRESSION")]
    pub otlp_compression: String,

    /// `otlp`, or `none` for no traces.
    #[arg(long, env = "OTEL_TRACES_EXPORTER", default_value = "otlp", value_name = "EXPORTER")]
    pub traces_exporter: String,

    /// No traces, even if other settings ask for them.
    #[arg(long, env = "OTEL_SDK_DISABLED", value_parser = FalseyValueParser::new())]
    pub no_traces: bool,

    /// The service's name in traces; `crm-backend` if neither this nor the attributes set it.
    #[arg(long, env = "OTEL_SERVICE_NAME", value_name = "NAME")]
    pub service_name: Option<String>,

    /// Further attributes of all spans, such as `deployment.environment.name=production,service.instance.id=crm-0`.
    #[arg(long, env = "OTEL_RESOURCE_ATTRIBUTES", value_name = "KEY=VALUE,...")]
    pub resource_attributes: Option<String>,

    /// Which calls have spans: `always_on`, `always_off`, `traceidratio`; or `parentbased_` and one of these, where
    /// the caller decides if it sends a `traceparent`.
    #[arg(
        long,
        env = "OTEL_TRACES_SAMPLER",
        default_value = "parentbased_always_on",
        value_name = "SAMPLER"
    )]
    pub traces_sampler: String,

    /// The part of the traces that `traceidratio` takes, from 0 to 1; by default all.
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", value_name = "RATIO")]
    pub traces_sampler_arg: Option<String>,

    /// Spans that may wait for the collector, of about a kilobyte each; more are lost.
    #[arg(long, env = "OTEL_BSP_MAX_QUEUE_SIZE", default_value = "2048", value_name = "COUNT")]
    pub traces_queue: String,
}
