//! Special kinds of invalid input, for every RPC that could get it, future ones included.

use crm_backend::identity::TENANT_HEADER;
use crm_backend::pb;
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MethodDescriptor, ReflectMessage, Value};
use tonic::{Code, Status};

use crate::support::conversations::message;
use crate::support::fields::{Path, dotted, fields, is_about, plant};
use crate::support::raw::{CONTRACT, call, call_bytes, rpc, rpcs, stream_error};
use crate::support::samples::{self, About};
use crate::support::{Crm, Refusal, STALE_ETAG, Tenant, soon};

async fn refusal(tenant: &Tenant, request: &DynamicMessage, rpc: &MethodDescriptor) -> Option<Status> {
    call(tenant, request, rpc).await.map_or_else(Some, |answer| stream_error(&answer))
}

/// Returns the error of a request that must be refused.
async fn refused(tenant: &Tenant, request: &DynamicMessage, rpc: &MethodDescriptor) -> Status {
    refusal(tenant, request, rpc).await.unwrap_or_else(|| panic!("{} takes it", rpc.name()))
}

/// Returns every request with a field for which `of` returns values, once for each of these values.
fn planted(about: &About, of: impl Fn(&Path) -> Vec<Value>) -> Vec<(MethodDescriptor, Path, DynamicMessage)> {
    let mut requests = Vec::new();
    for rpc in rpcs() {
        let sample = samples::request(&rpc, about);
        for path in fields(&sample.descriptor()) {
            for value in of(&path) {
                let mut request = sample.clone();
                plant(&mut request, &path, value);
                requests.push((rpc.clone(), path.clone(), request));
            }
        }
    }
    assert!(!requests.is_empty(), "no request has such a field");
    requests
}

/// Whether the rules of a field require a UUID.
fn is_id(field: &FieldDescriptor) -> bool {
    let extension = CONTRACT.get_extension_by_name("buf.validate.field").expect("the rules");
    let options = field.options();
    let rules = options.get_extension(&extension);
    let string = rules.as_message().and_then(|rules| rules.get_field_by_name("string"));
    string.is_some_and(|string| string.as_message().is_some_and(|rules| rules.has_field_by_name("uuid")))
}

fn texts(texts: &[&str]) -> Vec<Value> {
    texts.iter().map(|text| Value::String((*text).to_owned())).collect()
}

fn last(path: &Path) -> &FieldDescriptor {
    path.last().expect("a field")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_has_one_form() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let about = tenant.everything().await;
    let id = &about.customer;
    let (braces, urn, simple) = (format!("{{{id}}}"), format!("urn:uuid:{id}"), id.replace('-', ""));
    let (spaces, letter, wide) = (format!(" {id}"), id.replace(['0', '1'], "g"), id.replace('0', "０"));
    let forms = [&*braces, &urn, &simple, &spaces, &letter, &wide, "1", "*", "' OR true --"];
    let ids = planted(&about, |path| {
        let plain = last(path).kind() == Kind::String && !last(path).is_list();
        if plain && is_id(last(path)) { texts(&forms) } else { Vec::new() }
    });
    let mut wrong = Vec::new();
    for (rpc, path, request) in &ids {
        let error = refusal(&tenant, request, rpc).await;
        let refused = error
            .as_ref()
            .is_some_and(|error| error.code() == Code::InvalidArgument && is_about(error, path));
        if !refused {
            wrong.push(format!("{} {}: {error:?}", rpc.name(), dotted(path)));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), ids.len(), wrong.join("\n"));
    // Capital letters are the same UUID.
    assert_eq!(tenant.get(&id.to_uppercase()).await.expect("the same").id, *id);
}

/// Returns the id in `about` for a field's name: that of the named resource, or of its owner.
fn named<'a>(about: &'a About, path: &Path, rpc: &MethodDescriptor) -> &'a str {
    let names = [last(path).name().to_owned(), rpc.name().to_lowercase()];
    let things = [
        ("customer", &about.customer),
        ("conversation", &about.conversation),
        ("message", &about.message),
        ("question", &about.question),
        ("faq", &about.faq),
        ("observation", &about.observation),
        ("campaign", &about.campaign),
        ("purchase", &about.purchase),
    ];
    let found = names.iter().find_map(|name| things.iter().rev().find(|(thing, _)| name.contains(thing)));
    found.map_or(&about.customer, |(_, id)| id)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_in_capitals_is_the_same_id_everywhere() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let request_id = uuid::Uuid::new_v4().to_string();
    let about = About { request_id: request_id.clone(), ..tenant.everything().await };
    let mut ids: Vec<_> = rpcs()
        .into_iter()
        .flat_map(|rpc| {
            let paths = fields(&rpc.input()).into_iter().filter(|path| is_id_or_ids(last(path)));
            paths.map(|path| (rpc.clone(), path)).collect::<Vec<_>>()
        })
        .collect();
    // Deletes come last, because later calls would find nothing.
    ids.sort_by_key(|(rpc, _)| rpc.name().starts_with("Delete"));
    assert!(ids.len() > 80, "{}", ids.len());
    // The tenant's own id.
    let capitals = tenant.id.to_string().to_uppercase();
    let get = rpc("GetCustomer");
    let request = samples::request(&get, &about);
    let metadata = [(TENANT_HEADER, &*capitals)];
    let answer = call_bytes(tenant.channel(), &get, &metadata, request.encode_to_vec()).await;
    assert!(!answer.expect("the same tenant").is_empty());
    // A conversation that a stream names, and its events.
    let mut stream = tenant.stream().await;
    stream.send(&about.conversation.to_uppercase(), message("in capitals", "Hello"));
    assert_eq!(stream.outcome().await.expect("an ack").conversation_id, about.conversation);
    for (rpc, path) in &ids {
        let mut answers = Vec::new();
        // A request of its own for each, and then the same in capitals as its retry.
        let own = uuid::Uuid::new_v4().to_string();
        if rpc.is_client_streaming() {
            // A resend is marked as one.
            call(&tenant, &samples::request(rpc, &about), rpc).await.expect("added");
        }
        for capitals in [false, true, false] {
            let form = |id: &str| if capitals { id.to_uppercase() } else { id.to_owned() };
            let about = About { request_id: own.clone(), ..about.clone() };
            let mut request = samples::request(rpc, &about);
            let id = if last(path).name() == "request_id" { &own } else { named(&about, path, rpc) };
            plant(&mut request, path, Value::String(form(id)));
            let answer = call(&tenant, &request, rpc).await;
            let answer = answer.map(|answer| (stream_error(&answer).map(|error| said(&error)), answer));
            answers.push(answer.map_err(|error| said(&error)));
        }
        let [first, capitals, again] = answers.try_into().expect("three answers");
        // An answer that differs each time (a score as of now, a resume token) must at least come.
        let same = if first == again { capitals == first } else { capitals.is_ok() && first.is_ok() };
        assert!(same, "{} {}: {first:?} and {capitals:?}", rpc.name(), dotted(path));
    }
}

/// Returns an error without the parts that differ between calls.
fn said(error: &Status) -> (Code, String) {
    (error.code(), error.message().to_owned())
}

/// Whether the rules of a field, or of its items, require a UUID.
fn is_id_or_ids(field: &FieldDescriptor) -> bool {
    let extension = CONTRACT.get_extension_by_name("buf.validate.field").expect("the rules");
    let options = field.options();
    let rules = options.get_extension(&extension);
    is_id(field) || field.is_list() && rules.to_string().contains("uuid:")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etag_that_nobody_made_is_refused_and_a_stale_one_aborts() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let about = tenant.everything().await;
    // New resources have no etag yet.
    let is_etag = |path: &Path| {
        let creates = path[0].parent_message().name().starts_with("Create");
        last(path).name() == "etag" && !creates
    };
    let malformed = [
        "x",
        "r1",
        "AAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAA=",
        "AAAAAAAAAAAAAA+/",
        "\"AAAAAAAAAAAAAAAA\"",
        "*",
        "r１",
    ];
    for (rpc, path, request) in planted(&about, |path| if is_etag(path) { texts(&malformed) } else { vec![] })
    {
        let error = refused(&tenant, &request, &rpc).await;
        assert_eq!(
            (error.code(), error.reason()),
            (Code::InvalidArgument, "ETAG_INVALID".to_owned()),
            "{}",
            rpc.name()
        );
        assert_eq!(error.fields(), [dotted(&path)], "{}", rpc.name());
    }
    let stale = [STALE_ETAG, "________________"];
    for (rpc, _, request) in planted(&about, |path| if is_etag(path) { texts(&stale) } else { vec![] }) {
        if rpc.name() == "ReopenConversation" {
            tenant.finish(&about.conversation).await;
        }
        // It is paid, so there is nothing to do, regardless of the etag.
        if rpc.name() == "SettlePurchase" {
            continue;
        }
        let error = refused(&tenant, &request, &rpc).await;
        // Status changes are refused before etags are compared, and a resource that is not deleted cannot be
        // undeleted.
        let codes = [Code::Aborted, Code::FailedPrecondition, Code::AlreadyExists];
        assert!(codes.contains(&error.code()), "{}: {error:?}", rpc.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_that_nobody_made_is_refused_by_every_list() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let about = tenant.everything().await;
    let (kilobytes, too_long) = ("A".repeat(1_024), "A".repeat(1_025));
    let forged =
        ["A", "50", "eyJvZmZzZXQiOjUwfQ", "../..", "'; --", "=", "é", "AAAAAAAAAAAAAAAAAAAAAAAA", &kilobytes];
    let is_token = |path: &Path| path.len() == 1 && last(path).name() == "page_token";
    for (rpc, path, request) in planted(&about, |path| if is_token(path) { texts(&forged) } else { vec![] }) {
        let error = refused(&tenant, &request, &rpc).await;
        error.is(Code::InvalidArgument, "PAGE_TOKEN_INVALID");
        assert_eq!(error.fields(), [dotted(&path)]);
    }
    for (rpc, path, request) in
        planted(&about, |path| if is_token(path) { texts(&[&too_long]) } else { vec![] })
    {
        refused(&tenant, &request, &rpc).await.is_invalid(&[&dotted(&path)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_any_size_is_a_page() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let about = tenant.everything().await;
    let sizes = [0, 1, 500, 501, 1_000_000, i32::MAX].map(Value::I32).to_vec();
    let is_size = |path: &Path| path.len() == 1 && last(path).name() == "page_size";
    for (rpc, _, request) in planted(&about, |path| if is_size(path) { sizes.clone() } else { vec![] }) {
        assert_eq!(
            refusal(&tenant, &request, &rpc).await.map(|error| error.to_string()),
            None,
            "{}",
            rpc.name()
        );
    }
    let negative = [-1, i32::MIN].map(Value::I32).to_vec();
    for (rpc, path, request) in planted(&about, |path| if is_size(path) { negative.clone() } else { vec![] })
    {
        refused(&tenant, &request, &rpc).await.is_invalid(&[&dotted(&path)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_may_be_any_that_a_calendar_has() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let about = tenant.everything().await;
    let edges = [(-62_135_596_800, 0), (253_402_300_799, 999_999_999), (0, 999_999_999), (-1, 1)];
    let time = |path: &Path| match last(path).kind() {
        Kind::Message(inner) if inner.full_name() == "google.protobuf.Timestamp" => {
            let times =
                edges.map(|(seconds, nanos)| prost_types::Timestamp { seconds, nanos }.encode_to_vec());
            let dynamic = |bytes: &Vec<u8>| DynamicMessage::decode(inner.clone(), bytes.as_slice());
            times.iter().map(|bytes| Value::Message(dynamic(bytes).expect("a time"))).collect()
        }
        _ => Vec::new(),
    };
    for (rpc, path, request) in planted(&about, time) {
        if let Some(error) = refusal(&tenant, &request, &rpc).await {
            // The state may be wrong for this call; the service must say so, and not Postgres.
            let codes = [Code::InvalidArgument, Code::FailedPrecondition, Code::AlreadyExists];
            assert!(codes.contains(&error.code()), "{} {}: {error:?}", rpc.name(), dotted(&path));
            assert_ne!(error.fields(), [""], "{} {}: {error:?}", rpc.name(), dotted(&path));
        }
    }
}

/// As a client with a newer contract sends them.
#[tokio::test(flavor = "multi_thread")]
async fn fields_that_nobody_knows_are_passed_over() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let id = tenant.id.to_string();
    let known = tenant.everything().await;
    for rpc in
        rpcs().into_iter().filter(|rpc| rpc.name().starts_with("Get") || rpc.name().starts_with("List"))
    {
        let mut bytes = samples::request(&rpc, &known).encode_to_vec();
        for number in [1_000, 18_999, 20_000, (1 << 29) - 1] {
            prost::encoding::uint64::encode(number, &u64::MAX, &mut bytes);
            prost::encoding::bytes::encode(number, &vec![0xff_u8; 100], &mut bytes);
        }
        let answer = call_bytes(tenant.channel(), &rpc, &[(TENANT_HEADER, &id)], bytes).await;
        answer.unwrap_or_else(|error| panic!("{}: {error:?}", rpc.name()));
    }
}

/// Returns a field with a message of these bytes.
fn within(field: u32, inner: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::bytes::encode(field, &inner.to_vec(), &mut bytes);
    bytes
}

/// The field numbers on the path from a value of a Struct to a value within it: in a list, or in an object.
const WAYS_IN: [&[u32]; 2] = [&[6, 1], &[5, 1, 2]];

#[tokio::test(flavor = "multi_thread")]
async fn messages_nested_without_end_cost_no_stack() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let id = tenant.id.to_string();
    let create = crate::support::raw::rpc("CreateCustomer");
    let customer = create.input().get_field_by_name("customer").expect("a customer");
    let kind = customer.kind();
    let resource = kind.as_message().expect("a message");
    let number = |name: &str| resource.get_field_by_name(name).expect("a field").number();
    let (name, attributes) = (number("business_name"), number("custom_attributes"));
    let customer = customer.number();
    let call = async |bytes: Vec<u8>| {
        soon(call_bytes(tenant.channel(), &create, &[(TENANT_HEADER, &id)], bytes)).await
    };
    let named = within(name, b"Zoe");
    for depth in [17, 33, 50, 100, 1_000, 20_000] {
        for way in WAYS_IN {
            let steps = way.iter().rev().cycle().take(depth * way.len());
            let value = steps.fold(Vec::new(), |inner, field| within(*field, &inner));
            let object = within(attributes, &within(1, &within(2, &value)));
            let error =
                call(within(customer, &[named.clone(), object].concat())).await.expect_err("too deep");
            assert_eq!(error.code(), Code::InvalidArgument, "{depth} by {way:?}: {error:?}");
        }
        // Unknown fields are not inspected.
        let unknown = (0..depth).fold(Vec::new(), |inner, _| within(15_000, &inner));
        call(within(customer, &[named.clone(), unknown].concat())).await.expect("an unknown field");
    }
    // Groups can be nested as well, although proto3 does not have them.
    let start_group = |field: u32| (field << 3) | 3;
    let mut bytes = Vec::new();
    (0..50_000).for_each(|_| prost::encoding::encode_varint(start_group(15_000).into(), &mut bytes));
    call(bytes).await.expect_err("groups without end").is(Code::InvalidArgument, "REQUEST_MALFORMED");
    tenant.customer("All is well").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_may_be_odd_but_not_large() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let id = tenant.id.to_string();
    let rpc = crate::support::raw::rpc("ListCustomers");
    let call = async |metadata: &[(&'static str, &str)]| {
        let metadata = [&[(TENANT_HEADER, id.as_str())], metadata].concat();
        soon(call_bytes(tenant.channel(), &rpc, &metadata, Vec::new())).await
    };
    let large = "x".repeat(18 * 1024);
    let refused = call(&[("x-large", &large)]).await.expect_err("too large");
    refused.is(Code::ResourceExhausted, "REQUEST_TOO_LARGE");
    let many: Vec<_> = (0..2_000).map(|_| ("x-many", "value")).collect();
    call(&many).await.expect_err("too many").is(Code::ResourceExhausted, "REQUEST_TOO_LARGE");
    let odd = [("x-odd", "' OR 1=1 --"), ("x-odd", "twice"), ("grpc-encoding-x", "?"), ("te", "trailers")];
    call(&odd).await.expect("what nobody asks for is passed over");
    for timeout in ["", "1", "-1S", "999999999H", "1.5S", "x", "0n\u{20}"] {
        let refused = call(&[("grpc-timeout", timeout)]).await.expect_err("no time");
        refused.is(Code::InvalidArgument, "REQUEST_MALFORMED");
    }
    call(&[("grpc-timeout", "99999999H")]).await.expect("a long time is one");
    call(&[("grpc-timeout", "0S")]).await.expect_err("no time at all");
    call(&[]).await.expect("the connection lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_and_lengths_may_be_any_number() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let mut stream = tenant.stream().await;
    let delta = |offset: i32| {
        let text = "Hello".to_owned();
        pb::add_message_request::Command::Delta(pb::MessageDelta {
            message_key: "a".to_owned(),
            offset,
            text,
        })
    };
    let finish = |length: i32| {
        let message_key = "a".to_owned();
        pb::add_message_request::Command::Finish(pb::MessageFinish {
            message_key,
            length,
            ..Default::default()
        })
    };
    stream.tell(&talk, [crate::support::conversations::start("a", "p")]);
    stream.outcome().await.expect("started");
    for offset in [i32::MAX, i32::MAX - 1, 1 << 20, 6, 1] {
        stream.tell(&talk, [delta(offset)]);
        let error = stream.outcome().await.expect_err("a gap");
        error.is(Code::OutOfRange, "OFFSET_OUT_OF_RANGE");
        let expected = tonic_types::StatusExt::get_error_details(&error);
        let expected = expected.error_info().and_then(|info| info.metadata.get("expected_offset").cloned());
        assert_eq!(expected.as_deref(), Some("0"), "{offset}");
    }
    for offset in [-1, i32::MIN] {
        stream.tell(&talk, [delta(offset)]);
        stream.outcome().await.expect_err("before the text").is_invalid(&["delta.offset"]);
    }
    stream.tell(&talk, [delta(0)]);
    assert_eq!(stream.outcome().await.expect("an ack").durable_offset, 5);
    for length in [1, 4, 6, 262_144] {
        stream.tell(&talk, [finish(length)]);
        assert_eq!(stream.outcome().await.expect_err("another length").code(), Code::OutOfRange, "{length}");
    }
    for length in [i32::MAX, 262_145, 0, -1, i32::MIN] {
        stream.tell(&talk, [finish(length)]);
        stream.outcome().await.expect_err("no length").is_invalid(&["finish.length"]);
    }
    stream.tell(&talk, [finish(5)]);
    assert_eq!(stream.outcome().await.expect("an ack").durable_offset, 5);
}
