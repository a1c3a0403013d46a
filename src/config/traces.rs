//! Settings of traces. Their variables are those of OpenTelemetry, so that they mean what they mean elsewhere.

use clap::Args;
use clap::builder::FalseyValueParser;

/// Where spans of calls go. Nothing is read of these, and no span is made, unless a collector is named.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Traces")]
pub struct TracesConfig {
    /// Collector that takes spans of calls as OTLP over gRPC, such as `http://127.0.0.1:4317`; no spans are made without
    /// it. With `https` it must prove who it is to the system's certificates.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,

    /// Metadata for the collector, such as `authorization=Bearer%20SECRET,x-team=crm`.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_HEADERS", hide_env_values = true, value_name = "KEY=VALUE,...")]
    pub otlp_headers: Option<String>,

    /// How long the collector may take to accept spans, with all attempts. What it does not accept is lost.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TIMEOUT", default_value = "10000", value_name = "MS")]
    pub otlp_timeout: String,

    /// How spans are sent: `grpc`, and nothing else.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_PROTOCOL", default_value = "grpc", value_name = "PROTOCOL")]
    pub otlp_protocol: String,

    /// `none` or `gzip`.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_COMPRESSION", default_value = "none", value_name = "COMPRESSION")]
    pub otlp_compression: String,

    /// `otlp`, or `none` for no traces.
    #[arg(long, env = "OTEL_TRACES_EXPORTER", default_value = "otlp", value_name = "EXPORTER")]
    pub traces_exporter: String,

    /// No traces, whatever else is set.
    #[arg(long, env = "OTEL_SDK_DISABLED", value_parser = FalseyValueParser::new())]
    pub no_traces: bool,

    /// The service's name in traces; `crm-backend` when neither this nor the attributes say it.
    #[arg(long, env = "OTEL_SERVICE_NAME", value_name = "NAME")]
    pub service_name: Option<String>,

    /// What else all spans say, such as `deployment.environment.name=production,service.instance.id=crm-0`.
    #[arg(long, env = "OTEL_RESOURCE_ATTRIBUTES", value_name = "KEY=VALUE,...")]
    pub resource_attributes: Option<String>,

    /// Which calls have spans: `always_on`, `always_off`, `traceidratio`; or `parentbased_` and one of these, where the
    /// caller decides if it sends a `traceparent`.
    #[arg(
        long,
        env = "OTEL_TRACES_SAMPLER",
        default_value = "parentbased_always_on",
        value_name = "SAMPLER"
    )]
    pub traces_sampler: String,

    /// The part of the traces that `traceidratio` takes, from 0 to 1; all of them when not said.
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", value_name = "RATIO")]
    pub traces_sampler_arg: Option<String>,

    /// Spans that may wait for the collector, a kilobyte each, about; more are lost.
    #[arg(long, env = "OTEL_BSP_MAX_QUEUE_SIZE", default_value = "2048", value_name = "COUNT")]
    pub traces_queue: String,
}
