//! The metrics that Prometheus scrapes at `--metrics-listen`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crm_backend::metrics::{
    BusState, CacheName, CallKind, Cause, Closed, Flight, Lane, Limit, Lookup, LostSignals, ReadPlace,
    Signals, SpanEnd, State, Use, WatchStart, Written,
};
use crm_backend::pb;
use crm_testkit::{Scrape, Scratch, Server, eventually, run, within};
use prost_reflect::DescriptorPool;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

use super::client::{Client, message};
use super::scratch;

/// A serving program, and the address of its metrics.
pub(crate) struct Scraped {
    pub(crate) server: Server,
    address: SocketAddr,
}

impl Scraped {
    /// Starts with a database of its own.
    pub(crate) fn start(scratch: &Scratch) -> Self {
        Self::start_with(scratch, &["--ephemeral"])
    }

    /// Starts with these arguments.
    pub(crate) fn start_with(scratch: &Scratch, arguments: &[&str]) -> Self {
        let arguments = [&["--metrics-listen", "127.0.0.1:0"], arguments].concat();
        let mut server = Server::start_with(scratch, &arguments);
        let address = server.metrics();
        Self { server, address }
    }

    /// A scrape.
    pub(crate) fn scrape(&self) -> Scrape {
        Scrape::of(self.address)
    }
}

/// Makes calls of all kinds.
pub(crate) async fn smoke(address: SocketAddr) {
    let mut client = Client::connect(address).await;
    let customer = client.create_customer("Café Zoë").await;
    for _ in 0..2 {
        client.get_customer(&customer.id).await.expect("a customer");
    }
    let missing = client.get_customer(&uuid::Uuid::new_v4().to_string()).await.expect_err("nobody");
    assert_eq!(missing.code(), Code::NotFound);
    let conversation = client.create_conversation().await;
    let watched =
        pb::WatchConversationRequest { conversation_id: conversation.clone(), ..Default::default() };
    let watch = within(client.conversations.watch_conversation(watched)).await.expect("a watch");
    let (requests, mut acks) = client.add_messages().await.expect("a stream");
    for key in ["one", "two"] {
        requests.send(message(&conversation, key)).await.expect("a stream");
        within(acks.message()).await.expect("an ack").expect("an ack");
    }
    drop(requests);
    assert!(within(acks.message()).await.expect("an end").is_none());
    drop(watch);
}

/// Returns a scrape after [`smoke`], once the service has noticed that the client left.
fn settled(scraped: &Scraped) -> Scrape {
    let left = "grpc_server_handled_total{grpc_type=\"server_stream\",grpc_service=\"crm.v1.ConversationService\",\
                grpc_method=\"WatchConversation\",grpc_code=\"Canceled\"}";
    eventually("the client has left", || {
        let scrape = scraped.scrape();
        scrape.value(left) == Some(1.0) && scrape.value("crm_connections_open") == Some(0.0)
    });
    scraped.scrape()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_scrape_shows_what_clients_did() {
    let scratch = scratch();
    let scraped = Scraped::start(&scratch);
    smoke(scraped.server.address).await;
    let customers = |method: &str, code: &str| {
        format!(
            "grpc_server_handled_total{{grpc_type=\"unary\",grpc_service=\"crm.v1.CustomerService\",\
             grpc_method=\"{method}\",grpc_code=\"{code}\"}}"
        )
    };
    let stream = |kind: &str, method: &str, code: &str| {
        format!(
            "grpc_server_handled_total{{grpc_type=\"{kind}\",grpc_service=\"crm.v1.ConversationService\",\
             grpc_method=\"{method}\",grpc_code=\"{code}\"}}"
        )
    };
    let duration = |method: &str, code: &str, error: &str| {
        format!(
            "rpc_server_call_duration_seconds_count{{rpc_system_name=\"grpc\",rpc_method=\"crm.v1.{method}\",\
             rpc_status_code=\"{code}\",error_type=\"{error}\"}}"
        )
    };
    let scrape = settled(&scraped);
    for (series, value) in [
        (customers("GetCustomer", "OK"), 2.0),
        (customers("GetCustomer", "NotFound"), 1.0),
        (stream("bidi_stream", "AddMessage", "OK"), 1.0),
        (duration("CustomerService/GetCustomer", "OK", ""), 2.0),
        (duration("CustomerService/GetCustomer", "NOT_FOUND", "NOT_FOUND"), 1.0),
        ("crm_message_writes_total{effect=\"added\"}".to_owned(), 2.0),
        ("crm_lane_queue_items{lane=\"messages\"}".to_owned(), 0.0),
        ("crm_lane_batch_seconds_count{lane=\"messages\"}".to_owned(), 2.0),
        ("crm_lane_batch_items_sum{lane=\"lookups\"}".to_owned(), 3.0),
        // A new message takes one flight, also the first one, which comes with an event of the audit log.
        ("crm_database_flight_seconds_count{flight=\"commit\"}".to_owned(), 0.0),
        ("crm_database_flight_seconds_count{flight=\"only\"}".to_owned(), 2.0),
        ("crm_watch_starts_total{start=\"now\"}".to_owned(), 1.0),
        ("crm_watchers".to_owned(), 0.0),
        ("crm_pool_connections_max".to_owned(), 16.0),
        ("crm_calls_in_flight{kind=\"unary\"}".to_owned(), 0.0),
        ("crm_connections_accepted_total".to_owned(), 1.0),
        ("crm_health_state{state=\"ready\"}".to_owned(), 1.0),
    ] {
        assert_eq!(scrape.value(&series), Some(value), "{series}");
    }
    for series in ["process_resident_memory_bytes", "process_open_fds", "tokio_runtime_workers"] {
        assert!(scrape.value(series).is_some_and(|value| value > 0.0), "{series}");
    }
    scraped.server.terminate().succeeded();
}

/// Every value that a label may have.
pub(crate) fn closed_sets() -> BTreeMap<&'static str, BTreeSet<String>> {
    fn add<E: Closed>(sets: &mut BTreeMap<&'static str, BTreeSet<String>>) {
        sets.entry(E::LABEL).or_default().extend(E::ALL.iter().map(|value| value.word().to_owned()));
    }
    let mut sets = BTreeMap::new();
    add::<BusState>(&mut sets);
    add::<CacheName>(&mut sets);
    add::<CallKind>(&mut sets);
    add::<Cause>(&mut sets);
    add::<Flight>(&mut sets);
    add::<Lane>(&mut sets);
    add::<Limit>(&mut sets);
    add::<Lookup>(&mut sets);
    add::<LostSignals>(&mut sets);
    add::<ReadPlace>(&mut sets);
    add::<Signals>(&mut sets);
    add::<SpanEnd>(&mut sets);
    add::<State>(&mut sets);
    add::<Use>(&mut sets);
    add::<WatchStart>(&mut sets);
    add::<Written>(&mut sets);
    let contract = DescriptorPool::decode(pb::FILE_DESCRIPTOR_SET).expect("the contract");
    let services = contract.services().filter(|service| service.package_name() == "crm.v1");
    let contracted = services.flat_map(|service| {
        let methods = service.methods().map(|method| method.name().to_owned()).collect::<Vec<_>>();
        methods.into_iter().map(move |method| (service.full_name().to_owned(), method))
    });
    let foreign = [
        ("grpc.health.v1.Health", "Check"),
        ("grpc.health.v1.Health", "Watch"),
        ("grpc.reflection.v1.ServerReflection", "ServerReflectionInfo"),
        ("grpc.reflection.v1alpha.ServerReflection", "ServerReflectionInfo"),
    ];
    let foreign = foreign.map(|(service, method)| (service.to_owned(), method.to_owned()));
    let mut put = |label, value| sets.entry(label).or_default().insert(value);
    for (service, method) in contracted.chain(foreign) {
        put("rpc_method", format!("{service}/{method}"));
        put("grpc_service", service);
        put("grpc_method", method);
    }
    for label in ["rpc_method", "grpc_service", "grpc_method"] {
        put(label, "_OTHER".to_owned());
        put(label, "mcp".to_owned());
    }
    for code in 0..17 {
        let go = match Code::from_i32(code) {
            Code::Ok => "OK".to_owned(),
            Code::Cancelled => "Canceled".to_owned(),
            code => format!("{code:?}"),
        };
        let mut word = String::new();
        for letter in go.chars() {
            if letter.is_uppercase() && !word.is_empty() && go != "OK" {
                word.push('_');
            }
            word.push(letter.to_ascii_uppercase());
        }
        let word = if word == "CANCELED" { "CANCELLED".to_owned() } else { word };
        put("grpc_code", go);
        put("error_type", if word == "OK" { String::new() } else { word.clone() });
        put("rpc_status_code", word);
    }
    put("rpc_system_name", "grpc".to_owned());
    put("rpc_system_name", "jsonrpc".to_owned());
    for kind in ["unary", "client_stream", "server_stream", "bidi_stream"] {
        put("grpc_type", kind.to_owned());
    }
    put("version", env!("CARGO_PKG_VERSION").to_owned());
    sets
}

/// Calls a path with invented metadata.
async fn call_odd(address: SocketAddr, path: &str) -> Code {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("a URL");
    let channel = endpoint.connect().await.expect("it listens");
    let mut client = tonic::client::Grpc::new(channel);
    within(client.ready()).await.expect("ready");
    let mut request = Request::new(());
    for name in ["x-tenant-id", "user-agent", "x-request-id", "kanarienvogel", "traceparent"] {
        request.metadata_mut().insert(name, "kanarienvogel".parse().expect("a value"));
    }
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let called = client.unary(request, path.parse().expect("a path"), codec);
    within(called).await.expect_err("a refusal").code()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_clients_make_up_is_no_label() {
    let scratch = scratch();
    let scraped = Scraped::start(&scratch);
    let address = scraped.server.address;
    smoke(address).await;
    settled(&scraped);
    let odd = |number: usize| {
        [
            format!("/kanarienvogel.v{number}.Service/Method"),
            format!("/crm.v1.CustomerService/Kanarienvogel{number}"),
            format!("/crm.v1.CustomerService/GetCustomer/kanarienvogel{number}"),
            format!("/grpc.health.v1.Health/Kanarienvogel{number}"),
            format!("/grpc.reflection.v1.Kanarienvogel/{number}"),
            format!("/crm.v1.CustomerService/GetCustomer%22%7D?kanarienvogel={number}"),
        ]
    };
    for path in odd(0) {
        call_odd(address, &path).await;
    }
    call_odd(address, "/crm.v1.CustomerService/GetCustomer").await;
    let before = scraped.scrape().samples().count();
    for number in 1..8 {
        for path in odd(number) {
            call_odd(address, &path).await;
        }
    }
    let scrape = scraped.scrape();
    assert_eq!(scrape.samples().count(), before, "the same series whatever is called");
    assert!(!scrape.text().to_lowercase().contains("kanarienvogel"), "{}", scrape.text());
    let sets = closed_sets();
    for (name, labels) in scrape.samples() {
        for (label, value) in labels.into_iter().filter(|(label, _)| *label != "le") {
            assert!(sets.get(label).is_some_and(|set| set.contains(value)), "{name}: {label}={value:?}");
        }
    }
    let other =
        "grpc_server_started_total{grpc_type=\"unary\",grpc_service=\"_OTHER\",grpc_method=\"_OTHER\"}";
    assert_eq!(scrape.value(other), Some(48.0), "all of them are one");
    scraped.server.terminate().succeeded();
}

#[test]
fn a_port_that_is_taken_is_named_and_no_postgres_is_made() {
    let scratch = scratch();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let data_dir = scratch.data_dir();
    let data_dir = data_dir.to_str().expect("a path of letters");
    let arguments = ["--listen", "127.0.0.1:0", "--metrics-listen", &address, "--data-dir", data_dir];
    run(&scratch, &arguments).refused(&[&address, "--metrics-listen"]);
    assert!(!scratch.data_dir().exists());
}
