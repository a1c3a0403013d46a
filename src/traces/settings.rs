//! Reads the settings of traces, or says what is wrong with them.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::Sampler;
use percent_encoding::percent_decode_str;
use url::Url;
use uuid::Uuid;

use crate::settings::TracesConfig;

/// The maximum number of waiting spans: about a gigabyte of them.
const MAX_QUEUE: usize = 1 << 20;

/// The attribute that names the service.
const SERVICE_NAME: &str = "service.name";

/// The settings of traces that are on.
#[derive(Debug)]
pub(super) struct Settings {
    /// Where spans are sent.
    pub(super) endpoint: Url,
    pub(super) headers: HeaderMap,
    /// How long sending a batch may take.
    pub(super) timeout: Duration,
    pub(super) gzip: bool,
    /// The service's attributes.
    pub(super) resource: Resource,
    pub(super) sampler: Sampler,
    /// The number of spans that may wait.
    pub(super) queue: usize,
}

impl Settings {
    /// Reads the settings; `None` if traces are off. Then no other variable is checked: the variables are common to
    /// all programs of a machine, and may be meant for others.
    ///
    /// # Errors
    ///
    /// What to write instead, in a sentence.
    pub(super) fn read(config: &TracesConfig) -> Result<Option<Self>, String> {
        let Some(endpoint) = said(config.otlp_endpoint.as_deref()).filter(|_| !config.no_traces) else {
            return Ok(None);
        };
        let exporters = [("otlp", true), ("none", false)];
        if !word("OTEL_TRACES_EXPORTER", &config.traces_exporter, &exporters)? {
            return Ok(None);
        }
        word("OTEL_EXPORTER_OTLP_PROTOCOL", &config.otlp_protocol, &[("grpc", ())])?;
        let timeout = number("OTEL_EXPORTER_OTLP_TIMEOUT", &config.otlp_timeout, 10_000, 1..=u64::MAX)?;
        Ok(Some(Self {
            endpoint: endpoint_of(endpoint)?,
            headers: headers(config.otlp_headers.as_deref())?,
            timeout: Duration::from_millis(timeout),
            gzip: word(
                "OTEL_EXPORTER_OTLP_COMPRESSION",
                &config.otlp_compression,
                &[("none", false), ("gzip", true)],
            )?,
            resource: resource(config)?,
            sampler: sampler(config)?,
            queue: number("OTEL_BSP_MAX_QUEUE_SIZE", &config.traces_queue, 2_048, 1..=MAX_QUEUE)?,
        }))
    }
}

/// Returns a value unless it is empty: OpenTelemetry treats an empty variable as unset.
fn said(value: Option<&str>) -> Option<&str> {
    value.map(str::trim).filter(|value| !value.is_empty())
}

/// Returns the meaning of one of these words; an empty variable means the first one.
fn word<T: Copy>(variable: &str, value: &str, words: &[(&str, T)]) -> Result<T, String> {
    let value = said(Some(value));
    let found = words.iter().find(|(word, _)| value.is_none_or(|value| value == *word));
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        format!(
            "{variable} is {:?}, which is not understood: write {}.",
            value.unwrap_or_default(),
            words.join(" or ")
        )
    })
}

fn number<N: FromStr + PartialOrd + Display>(
    variable: &str,
    value: &str,
    default: N,
    range: std::ops::RangeInclusive<N>,
) -> Result<N, String> {
    let Some(value) = said(Some(value)) else { return Ok(default) };
    value.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
        let range = format!("{} to {}", range.start(), range.end());
        format!("{variable} is {value:?}: write a whole number from {range}, such as {default}.")
    })
}

fn endpoint_of(value: &str) -> Result<Url, String> {
    let url = Url::parse(value).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    // The value is not repeated, because it may contain a password.
    url.ok_or_else(|| {
        "OTEL_EXPORTER_OTLP_ENDPOINT is not the URL of a collector: write one such as http://127.0.0.1:4317."
            .to_owned()
    })
}

/// Parses the pairs of a list, whose values may contain escapes such as `%20` for a space.
fn pairs<'v>(
    variable: &'v str,
    value: Option<&'v str>,
) -> impl Iterator<Item = Result<(&'v str, String), String>> + 'v {
    let items = said(value).into_iter().flat_map(|value| value.split(',')).map(str::trim);
    items.filter(|item| !item.is_empty()).map(move |item| {
        let pair = item.split_once('=').map(|(key, value)| (key.trim(), percent_decode_str(value.trim()).decode_utf8()));
        match pair {
            Some((key, Ok(value))) if !key.is_empty() => Ok((key, value.into_owned())),
            // The item is not repeated, because it may be a secret.
            _ => Err(format!(
                "{variable} is not a list of pairs: write key=value,key=value, with %2C for a comma and %3D for =."
            )),
        }
    })
}

fn headers(value: Option<&str>) -> Result<HeaderMap, String> {
    const VARIABLE: &str = "OTEL_EXPORTER_OTLP_HEADERS";
    let header = |pair: Result<(&str, String), String>| {
        let (key, value) = pair?;
        let name = HeaderName::from_str(key).ok();
        let mut value = HeaderValue::from_str(&value).ok();
        value.iter_mut().for_each(|value| value.set_sensitive(true));
        name.zip(value).ok_or_else(|| {
            format!("{VARIABLE} has a key or a value that no header may have: write letters, digits and dashes for a key.")
        })
    };
    pairs(VARIABLE, value).map(header).collect()
}

/// Returns the service's attributes. Configured attributes override its own.
fn resource(config: &TracesConfig) -> Result<Resource, String> {
    let own = [
        KeyValue::new(SERVICE_NAME, "crm-backend"),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        // Distinguishes replicas if no attribute is configured.
        KeyValue::new("service.instance.id", Uuid::new_v4().to_string()),
        KeyValue::new("telemetry.sdk.language", "rust"),
        KeyValue::new("telemetry.sdk.name", "opentelemetry"),
    ];
    let set = pairs("OTEL_RESOURCE_ATTRIBUTES", config.resource_attributes.as_deref())
        .map(|pair| pair.map(|(key, value)| KeyValue::new(key.to_owned(), value)))
        .collect::<Result<Vec<_>, _>>()?;
    let name = said(config.service_name.as_deref()).map(|name| KeyValue::new(SERVICE_NAME, name.to_owned()));
    Ok(Resource::builder_empty().with_attributes(own).with_attributes(set).with_attributes(name).build())
}

fn sampler(config: &TracesConfig) -> Result<Sampler, String> {
    #[derive(Clone, Copy)]
    enum Root {
        On,
        Off,
        Ratio,
    }
    let words = [
        ("parentbased_always_on", (true, Root::On)),
        ("parentbased_always_off", (true, Root::Off)),
        ("parentbased_traceidratio", (true, Root::Ratio)),
        ("always_on", (false, Root::On)),
        ("always_off", (false, Root::Off)),
        ("traceidratio", (false, Root::Ratio)),
    ];
    let (asks_parent, root) = word("OTEL_TRACES_SAMPLER", &config.traces_sampler, &words)?;
    let root = match root {
        Root::On => Sampler::AlwaysOn,
        Root::Off => Sampler::AlwaysOff,
        Root::Ratio => Sampler::TraceIdRatioBased(ratio(said(config.traces_sampler_arg.as_deref()))?),
    };
    Ok(if asks_parent { Sampler::ParentBased(Box::new(root)) } else { root })
}

fn ratio(value: Option<&str>) -> Result<f64, String> {
    let Some(value) = value else { return Ok(1.0) };
    value.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio)).ok_or_else(|| {
        format!(
            "OTEL_TRACES_SAMPLER_ARG is {value:?}: write the part of all traces from 0 to 1, such as 0.1."
        )
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        traces: TracesConfig,
    }

    fn read(arguments: &[&str]) -> Result<Option<Settings>, String> {
        Settings::read(&Cli::parse_from(["crm-backend"].iter().chain(arguments)).traces)
    }

    fn on(arguments: &[&str]) -> Result<Settings, String> {
        let arguments = [&["--otlp-endpoint", "http://127.0.0.1:4317"], arguments].concat();
        read(&arguments).map(|settings| settings.expect("traces are on"))
    }

    fn attribute(settings: &Settings, key: &'static str) -> String {
        settings.resource.get(&key.into()).expect("an attribute").to_string()
    }

    #[test]
    fn without_a_collector_nothing_is_looked_at() {
        for arguments in
            [&["--traces-sampler", "odd"][..], &["--otlp-endpoint", ""], &["--otlp-endpoint", " "]]
        {
            assert!(read(arguments).is_ok_and(|settings| settings.is_none()), "{arguments:?}");
        }
        for off in [&["--no-traces"][..], &["--traces-exporter", "none"]] {
            let arguments = [&["--otlp-endpoint", "http://127.0.0.1:4317"], off].concat();
            assert!(read(&arguments).is_ok_and(|settings| settings.is_none()), "{arguments:?}");
        }
    }

    #[test]
    fn an_empty_value_is_the_default() {
        let flags = [
            "--otlp-headers",
            "--otlp-timeout",
            "--otlp-protocol",
            "--otlp-compression",
            "--traces-exporter",
        ];
        let more = [
            "--service-name",
            "--resource-attributes",
            "--traces-sampler",
            "--traces-sampler-arg",
            "--traces-queue",
        ];
        let empty: Vec<_> = flags.iter().chain(&more).flat_map(|flag| [*flag, ""]).collect();
        let (settings, plain) = (on(&empty).expect("fine"), on(&[]).expect("fine"));
        assert_eq!(
            (settings.timeout, settings.queue, settings.gzip),
            (Duration::from_secs(10), 2_048, false)
        );
        assert!(settings.headers.is_empty());
        assert_eq!(format!("{:?}", settings.sampler), format!("{:?}", plain.sampler));
        assert_eq!(attribute(&settings, SERVICE_NAME), "crm-backend");
    }

    #[test]
    fn what_is_set_is_taken() {
        let settings = on(&[
            "--otlp-headers=authorization=Bearer%20a%2Cb,x-team=crm",
            "--otlp-timeout=250",
            "--otlp-compression=gzip",
            "--resource-attributes=service.name=other,deployment.environment.name=test",
            "--traces-sampler=parentbased_traceidratio",
            "--traces-sampler-arg=0.25",
            "--traces-queue=16",
        ])
        .expect("fine");
        assert_eq!(
            settings.headers.get("authorization").map(HeaderValue::as_bytes),
            Some(&b"Bearer a,b"[..])
        );
        assert!(!format!("{settings:?}").contains("Bearer"), "{settings:?}");
        assert_eq!(settings.headers.len(), 2);
        assert_eq!((settings.timeout, settings.queue, settings.gzip), (Duration::from_millis(250), 16, true));
        assert_eq!(attribute(&settings, SERVICE_NAME), "other");
        assert_eq!(attribute(&settings, "deployment.environment.name"), "test");
        assert_eq!(format!("{:?}", settings.sampler), "ParentBased(TraceIdRatioBased(0.25))");
        let named = on(&["--service-name=mine", "--resource-attributes=service.name=other"]).expect("fine");
        assert_eq!(attribute(&named, SERVICE_NAME), "mine");
    }

    #[test]
    fn what_is_not_understood_is_refused_with_the_variable_and_a_way_out() {
        for (arguments, mentions) in [
            (&["--otlp-protocol=http/protobuf"][..], ["OTEL_EXPORTER_OTLP_PROTOCOL", "write grpc"]),
            (&["--otlp-compression=zstd"], ["OTEL_EXPORTER_OTLP_COMPRESSION", "none or gzip"]),
            (&["--traces-exporter=zipkin"], ["OTEL_TRACES_EXPORTER", "otlp or none"]),
            (&["--otlp-timeout=10s"], ["OTEL_EXPORTER_OTLP_TIMEOUT", "such as 10000"]),
            (&["--otlp-timeout=0"], ["OTEL_EXPORTER_OTLP_TIMEOUT", "such as 10000"]),
            (&["--traces-queue=0"], ["OTEL_BSP_MAX_QUEUE_SIZE", "such as 2048"]),
            (&["--traces-sampler=xray"], ["OTEL_TRACES_SAMPLER", "parentbased_always_on"]),
            (
                &["--traces-sampler=traceidratio", "--traces-sampler-arg=2"],
                ["OTEL_TRACES_SAMPLER_ARG", "0.1"],
            ),
            (&["--otlp-headers=secret"], ["OTEL_EXPORTER_OTLP_HEADERS", "key=value"]),
            (&["--otlp-headers=a b=secret"], ["OTEL_EXPORTER_OTLP_HEADERS", "letters"]),
            (&["--resource-attributes=a"], ["OTEL_RESOURCE_ATTRIBUTES", "key=value"]),
        ] {
            let words = on(arguments).expect_err("not understood");
            assert!(mentions.iter().all(|mention| words.contains(mention)), "{arguments:?}: {words}");
            assert!(!words.contains("secret"), "{words}");
        }
        for endpoint in ["127.0.0.1:4317", "grpc://127.0.0.1:4317", "http://", "http://user:secret@[::1"] {
            let words = read(&["--otlp-endpoint", endpoint]).expect_err("not understood");
            assert!(
                words.contains("http://127.0.0.1:4317") && !words.contains("secret"),
                "{endpoint}: {words}"
            );
        }
    }
}
