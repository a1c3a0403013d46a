//! Spans of calls, as a collector receives them.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use crm_backend::pb;
use crm_backend::pb::add_message_response::Result as Answer;
use crm_testkit::certificates::Ca;
use crm_testkit::{Program, Scratch, Server, command, within};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::Value;
use tonic::{Code, Request};
use uuid::Uuid;

use super::client::{Client, message};
use super::collector::{Collector, Spans, hex, text};
use super::scratch;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const UNSAMPLED: &str = "1af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// Far more than an end takes, and far less than the 20 s that calls may take to finish.
const SOON: Duration = Duration::from_secs(8);

/// Starts a serving program that sends spans to this endpoint.
fn start(scratch: &Scratch, endpoint: &str, variables: &[(&str, &str)]) -> Server {
    let mut command = command(scratch, &["--listen", "127.0.0.1:0", "--ephemeral"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).envs(variables.iter().copied());
    Server::of(Program::spawn(command))
}

/// A request of a call that is part of a trace.
fn traced<T>(message: T, trace: &str, flags: &str) -> Request<T> {
    let mut request = Request::new(message);
    let traceparent = format!("00-{trace}-{PARENT}-{flags}");
    request.metadata_mut().insert("traceparent", traceparent.parse().expect("a value"));
    request
}

fn of(span: &Span, key: &str) -> Option<String> {
    text(&span.attributes, key)
}

fn names<'s>(spans: &[&'s Span]) -> Vec<&'s str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

/// The trace ids of the lines of calls in the log.
fn logged(stderr: &str) -> Vec<Option<String>> {
    let lines = stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let calls = lines.filter(|line| line["target"] == "crm_backend::calls");
    calls.map(|line| line["trace_id"].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_call_is_a_child_of_its_clients_span_and_has_its_flights_as_children() {
    let collector = Collector::start().await;
    let scratch = scratch();
    let variables = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-team=crm%20team"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
        ("OTEL_SERVICE_NAME", "crm-of-a-test"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", ""),
    ];
    let server = start(&scratch, collector.endpoint(), &variables);
    let tenant = Uuid::new_v4();
    let mut client = Client::connect_as(server.address, tenant).await;
    let customer = pb::Customer { business_name: "Café Zoë".to_owned(), ..Default::default() };
    let new = pb::CreateCustomerRequest { customer: Some(customer), ..Default::default() };
    within(client.customers.create_customer(traced(new.clone(), TRACE, "01"))).await.expect("a customer");
    within(client.customers.create_customer(traced(new, UNSAMPLED, "00"))).await.expect("a customer");
    client.list_customers().await;
    let missing = client.get_customer(&Uuid::new_v4().to_string()).await.expect_err("nobody");
    assert_eq!(missing.code(), Code::NotFound);
    drop(client);
    let ended = server.terminate();
    ended.succeeded();

    let spans = collector.spans();
    let call = spans.one("crm.v1.CustomerService/CreateCustomer");
    assert_eq!((hex(&call.trace_id), hex(&call.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!(call.kind, SpanKind::Server as i32);
    assert_eq!(of(call, "rpc.system.name").as_deref(), Some("grpc"));
    assert_eq!(of(call, "rpc.method").as_deref(), Some("crm.v1.CustomerService/CreateCustomer"));
    assert_eq!(of(call, "rpc.response.status_code").as_deref(), Some("OK"));
    assert_eq!(of(call, "error.type"), None);
    assert_eq!(of(call, "crm.tenant_id"), Some(tenant.to_string()));
    let flights: Vec<_> =
        spans.children(call).into_iter().filter(|span| !span.name.starts_with("wait")).collect();
    assert_eq!(names(&flights), ["postgresql transaction", "postgresql commit"]);
    for flight in flights {
        assert_eq!(flight.kind, SpanKind::Client as i32);
        assert_eq!(of(flight, "db.system.name").as_deref(), Some("postgresql"));
        assert!(call.start_time_unix_nano <= flight.start_time_unix_nano, "{flight:?}");
        assert!(flight.end_time_unix_nano <= call.end_time_unix_nano, "{flight:?}");
    }
    assert!(spans.all().iter().all(|span| hex(&span.trace_id) != UNSAMPLED), "{:#?}", spans.all());
    one_that_was_looked_up(&spans);

    let logged = logged(&ended.stderr);
    let list = spans.one("crm.v1.CustomerService/ListCustomers");
    let traces: Vec<_> = logged.iter().map(Option::as_deref).collect();
    assert_eq!(traces.get(..2), Some(&[Some(TRACE), Some(UNSAMPLED)][..]), "{}", ended.stderr);
    assert!(list.parent_span_id.is_empty(), "no client said a span: {list:?}");
    assert_eq!(traces.get(2), Some(&Some(&*hex(&list.trace_id))), "its own trace is in the log");

    assert_eq!(collector.header("x-team").as_deref(), Some("crm team"));
    assert_eq!(collector.resource("service.name").as_deref(), Some("crm-of-a-test"));
    assert_eq!(collector.resource("deployment.environment.name").as_deref(), Some("test"));
}

/// A call that went to Postgres in a batch: the spans of the call and of the batch link to each other.
fn one_that_was_looked_up(spans: &Spans) {
    let call = spans.one("crm.v1.CustomerService/GetCustomer");
    assert_eq!(of(call, "rpc.response.status_code").as_deref(), Some("NOT_FOUND"));
    assert_eq!(of(call, "error.type").as_deref(), Some("NOT_FOUND"));
    assert!(
        call.status.as_ref().is_none_or(|status| status.code == StatusCode::Unset as i32),
        "the service did nothing wrong: {call:?}"
    );
    let batch = spans.one("batch of lookups");
    let linked: Vec<_> = batch.links.iter().map(|link| &link.span_id).collect();
    assert_eq!(linked, [&call.span_id]);
    assert_eq!(of(batch, "crm.batch.items").as_deref(), Some("1"));
    assert_ne!(batch.trace_id, call.trace_id);
    let wait = spans.one("wait for a batch of lookups");
    assert_eq!((&wait.trace_id, &wait.parent_span_id), (&call.trace_id, &call.span_id));
    let linked: Vec<_> = wait.links.iter().map(|link| &link.span_id).collect();
    assert_eq!(linked, [&batch.span_id]);
    assert!(names(&spans.children(batch)).contains(&"postgresql begin"), "{:#?}", spans.all());
}

/// A word that no code contains.
const BIRD: &str = "Kanarienvogel";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn batches_link_to_their_streams_and_no_span_has_what_a_client_says() {
    let collector = Collector::start().await;
    let scratch = scratch();
    let server = start(&scratch, collector.endpoint(), &[]);
    let mut client = Client::connect(server.address).await;
    let customer = pb::Customer {
        business_name: BIRD.to_owned(),
        email: format!("{BIRD}@example.com"),
        ..Default::default()
    };
    let named = pb::CreateCustomerRequest { customer: Some(customer), ..Default::default() };
    within(client.customers.create_customer(named)).await.expect("a customer");
    let search = pb::ListCustomersRequest { query: BIRD.to_owned(), ..Default::default() };
    within(client.customers.list_customers(search)).await.expect("a page");
    let refused = client.get_customer(BIRD).await.expect_err("no UUID");
    assert_eq!(refused.code(), Code::InvalidArgument);
    let conversation = client.create_conversation().await;
    let (requests, mut answers) = client.add_messages().await.expect("a stream");
    for number in 0..3 {
        let key = format!("{BIRD}-{number}");
        requests.send(message(&conversation, &key)).await.expect("an open stream");
        let answer = within(answers.message()).await.expect("no error").expect("an answer").result;
        assert!(matches!(answer, Some(Answer::Ack(_))), "{answer:?}");
    }
    drop(requests);
    assert!(within(answers.message()).await.expect("no error").is_none());
    drop(client);
    server.terminate().succeeded();

    let spans = collector.spans();
    let stream = spans.one("crm.v1.ConversationService/AddMessage");
    assert_eq!(of(stream, "rpc.response.status_code").as_deref(), Some("OK"));
    assert!(spans.children(stream).is_empty(), "a stream has one span: {:#?}", spans.children(stream));
    let batches = spans.named("batch of messages");
    assert_eq!(batches.len(), 3, "one for each message that was waited for");
    for batch in batches {
        let linked: Vec<_> = batch.links.iter().map(|link| (&link.trace_id, &link.span_id)).collect();
        assert_eq!(linked, [(&stream.trace_id, &stream.span_id)]);
        assert_eq!(of(batch, "crm.batch.items").as_deref(), Some("1"));
        let flights = spans.children(batch);
        // Also the first message, which comes with an event of the audit log. Its connection is prepared before.
        assert!(names(&flights).ends_with(&["postgresql only"]), "{flights:?}");
    }
    assert!(!collector.told().to_lowercase().contains(&BIRD.to_lowercase()), "{}", collector.told());
}

/// Checks that calls are answered and the program ends in time, with any server at this endpoint. Returns the log.
async fn is_none_the_worse(endpoint: &str) -> String {
    let scratch = scratch();
    let server = start(&scratch, endpoint, &[("OTEL_BSP_MAX_QUEUE_SIZE", "4")]);
    let mut client = Client::connect(server.address).await;
    // More than may wait.
    for _ in 0..16 {
        client.create_customer("Café Zoë").await;
    }
    drop(client);
    let ended = server.terminate();
    ended.succeeded();
    assert!(ended.took < SOON, "took {:?}: {}", ended.took, ended.stderr);
    ended.stderr
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_collector_that_is_away_or_says_nothing_harms_no_call() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let away = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let endpoints =
        [&silent, &away].map(|listener| format!("http://{}", listener.local_addr().expect("an address")));
    drop(away);
    for endpoint in endpoints {
        let log = is_none_the_worse(&endpoint).await;
        let told = log.lines().filter(|line| line.contains("spans are lost on their way")).count();
        assert_eq!(told, 1, "{endpoint}: {log}");
        assert!(!log.contains("a panic"), "{log}");
    }
}

#[test]
fn what_is_not_understood_is_refused_before_anything_is_made() {
    let scratch = scratch();
    let data_dir = scratch.data_dir();
    let arguments = ["--listen", "127.0.0.1:0", "--data-dir", data_dir.to_str().expect("letters")];
    for (variable, value, word) in [
        ("OTEL_TRACES_SAMPLER", "xray", "parentbased_always_on"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "write grpc"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317", "http://127.0.0.1:4317"),
    ] {
        let mut command = command(&scratch, &arguments);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317").env(variable, value);
        Program::spawn(command).wait().refused(&[variable, word]);
    }
    assert!(!data_dir.exists());
}

/// Makes a call, stops the service, and returns its log.
async fn one_call(endpoint: &str, variables: &[(&str, &str)]) -> String {
    let scratch = scratch();
    let server = start(&scratch, endpoint, variables);
    let mut client = Client::connect_as(server.address, Uuid::new_v4()).await;
    client.list_customers().await;
    drop(client);
    let ended = server.terminate();
    ended.succeeded();
    ended.stderr
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_collector_behind_tls_is_sent_spans_if_the_system_trusts_its_certificate() {
    let ca = Ca::generate();
    let collector = Collector::start_with_tls(&ca.sign("localhost")).await;
    let directory = scratch();
    let trusted = directory.path("ca.pem");
    std::fs::write(&trusted, ca.pem()).expect("a file");
    let trusted = [("SSL_CERT_FILE", trusted.to_str().expect("letters"))];
    one_call(collector.endpoint(), &trusted).await;
    collector.spans().one("crm.v1.CustomerService/ListCustomers");

    // Without its CA no span is sent, and no call fails.
    let unknown = Collector::start_with_tls(&Ca::generate().sign("localhost")).await;
    let log = one_call(unknown.endpoint(), &trusted).await;
    assert!(unknown.spans().all().is_empty());
    assert!(log.contains("spans are lost on their way to the collector"), "{log}");
}
