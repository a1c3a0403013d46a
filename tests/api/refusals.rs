//! Refusals: cheap, in one round, with instructions, and in trailers that arrive.

use crm_backend::identity::TENANT_HEADER;
use crm_backend::pb;
use http::{HeaderMap, Response};
use prost::Message;
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, MethodDescriptor, ReflectMessage, Value};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::campaigns::event;
use crate::support::conversations::message;
use crate::support::customers::{creation, mask, named};
use crate::support::engagement::{bought, events, viewed};
use crate::support::fields::{Path, dotted, fields, plant};
use crate::support::http2::{Http2, begun, whole};
use crate::support::raw::{call, call_bytes, rpc, rpcs, stream_error};
use crate::support::samples::{self, About};
use crate::support::{Crm, Refusal, Tenant};

/// The promised maximum of trailers, including the headers beside an error.
const MAX_TRAILERS: usize = 6 << 10;

/// Returns the bytes of headers as HTTP/2 counts them.
fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a short message");
    [&[0][..], &length.to_be_bytes(), bytes].concat()
}

/// Returns the head of the answer to a request, which has the error.
async fn head(crm: &Crm, tenant: &Tenant, rpc: &MethodDescriptor, bytes: &[u8]) -> Response<()> {
    let path = format!("{}/{}", rpc.parent_service().name(), rpc.name());
    let request = if rpc.is_client_streaming() { begun } else { whole };
    let request = request(&path, tenant.id, &[], framed(bytes));
    Http2::connect(crm.address()).await.call(request).await.map(|_| ())
}

/// Returns a value that breaks a rule and causes a long error.
fn odd(field: &prost_reflect::FieldDescriptor) -> Option<Value> {
    Some(match field.kind() {
        Kind::String => Value::String("\0\n\u{1f600}".repeat(100)),
        Kind::Enum(_) => Value::EnumNumber(99),
        Kind::Int32 => Value::I32(i32::MIN),
        Kind::Int64 => Value::I64(i64::MIN),
        Kind::Double => Value::F64(f64::NAN),
        Kind::Message(inner) if inner.full_name() == "google.protobuf.FieldMask" => {
            let paths = vec!["customer.businessName.".repeat(20); 200];
            let mask = prost_types::FieldMask { paths }.encode_to_vec();
            Value::Message(DynamicMessage::decode(inner, mask.as_slice()).expect("a mask"))
        }
        Kind::Message(inner) if inner.full_name() == "google.protobuf.Timestamp" => {
            let time = prost_types::Timestamp { seconds: i64::MAX, nanos: -1 }.encode_to_vec();
            Value::Message(DynamicMessage::decode(inner, time.as_slice()).expect("a time"))
        }
        _ => return None,
    })
}

/// Returns a message in which every field is invalid, with several items in lists.
fn all_wrong(descriptor: &MessageDescriptor) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        let value = match field.kind() {
            Kind::Message(inner) if inner.package_name() == "crm.v1" => {
                Some(Value::Message(all_wrong(&inner)))
            }
            _ => odd(&field),
        };
        let Some(value) = value else { continue };
        message.set_field(&field, if field.is_list() { Value::List(vec![value; 60]) } else { value });
    }
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_of_every_rpc_arrives_however_much_is_wrong() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let mut wrong = Vec::new();
    for rpc in rpcs() {
        let bytes = all_wrong(&rpc.input()).encode_to_vec();
        assert!(bytes.len() < 1 << 20, "{} takes {} bytes", rpc.name(), bytes.len());
        if rpc.is_client_streaming() {
            let id = tenant.id.to_string();
            let answer = call_bytes(tenant.channel(), &rpc, &[(TENANT_HEADER, &id)], bytes).await;
            let answer = answer.expect("an error in the stream");
            assert!(answer.len() < MAX_TRAILERS, "{} bytes", answer.len());
            continue;
        }
        let response = head(&crm, &tenant, &rpc, &bytes).await;
        let status = Status::from_header_map(response.headers()).expect("an error");
        if status.code() != Code::InvalidArgument || size(response.headers()) > MAX_TRAILERS {
            wrong.push(format!("{}: {} bytes, {status:?}", rpc.name(), size(response.headers())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_paths_that_begin_with_the_resource_are_told_what_was_meant() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await;
    let update_mask = Some(mask(&["customer.businessName"; 30]));
    let request = pb::UpdateCustomerRequest { customer: Some(zoe), update_mask, request_id: String::new() };
    let response = head(&crm, &tenant, &rpc("UpdateCustomer"), &request.encode_to_vec()).await;
    assert!(size(response.headers()) <= MAX_TRAILERS, "{} bytes", size(response.headers()));
    let status = Status::from_header_map(response.headers()).expect("an error");
    status.is(Code::InvalidArgument, "FIELD_INVALID");
    assert!(status.message().contains("write \"business_name\""), "{}", status.message());
}

/// Returns a mebibyte of empty items in the field of this number, and their count.
fn empty_items(number: u32) -> (Vec<u8>, usize) {
    let mut item = Vec::new();
    prost::encoding::bytes::encode(number, &Vec::<u8>::new(), &mut item);
    let count = ((1 << 20) - 200) / item.len();
    (item.repeat(count), count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mebibyte_of_empty_items_is_refused_by_its_number() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let id = tenant.id.to_string();
    for (name, field) in [
        ("RecordInterestEvents", "events"),
        ("RecordCampaignEvents", "events"),
        ("RecordPurchase", "purchase.items"),
        ("UnassignCustomers", "customer_ids"),
        ("CreateCustomer", "customer.tags"),
    ] {
        let rpc = rpc(name);
        let path: Vec<_> = field.split('.').collect();
        let (last, outer) = path.split_last().expect("a path");
        let (mut message, mut within) = (rpc.input(), Vec::new());
        for name in outer {
            let part = message.get_field_by_name(name).expect("the message");
            within.push(part.number());
            message = part.kind().as_message().expect("a message").clone();
        }
        let number = message.get_field_by_name(last).expect("the field").number();
        let (items, count) = empty_items(number);
        let bytes = within.into_iter().rfold(items, |inner, number| {
            let mut bytes = Vec::new();
            prost::encoding::bytes::encode(number, &inner, &mut bytes);
            bytes
        });
        let answer = call_bytes(tenant.channel(), &rpc, &[(TENANT_HEADER, &id)], bytes).await;
        let error = answer.expect_err(name);
        error.is_invalid(&[field]);
        let count = format!("has {count}");
        assert!(error.message().ends_with(&count), "{name}: {} ({count})", error.message());
    }
    // A stream ends with it, after the answers to earlier requests.
    let talk = tenant.conversation().await.id;
    let mut new = message("a", "Hello").encode_to_vec();
    let actions = rpc("CreateMessage").input().get_field_by_name("message").expect("a message");
    let actions =
        actions.kind().as_message().expect("a message").get_field_by_name("actions").expect("actions");
    new.extend(empty_items(actions.number()).0);
    let add = rpc("AddMessage");
    let number = add.input().get_field_by_name("message").expect("a message").number();
    let mut bytes = pb::AddMessageRequest { conversation_id: talk, command: None }.encode_to_vec();
    prost::encoding::bytes::encode(number, &new, &mut bytes);
    let answer = call_bytes(tenant.channel(), &add, &[(TENANT_HEADER, &id)], bytes).await;
    answer.expect_err("far too many actions").is_invalid(&["message.actions"]);
}

/// Returns a value that is invalid although no rule of the contract says so, by the name of the
/// field.
fn beyond(path: &Path) -> Option<Value> {
    let field = path.last().expect("a field");
    match field.name() {
        "etag" | "page_token" | "time_zone" if field.kind() == Kind::String => {
            Some(Value::String("nonsense".to_owned()))
        }
        "update_mask" => {
            let kind = field.kind();
            let mut value = DynamicMessage::new(kind.as_message().expect("a mask").clone());
            value.transcode_from(&mask(&["nonsense"])).expect("a mask");
            Some(Value::Message(value))
        }
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_beyond_the_rules_is_told_in_the_same_round() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let (mut seen, mut wrong) = (0, Vec::new());
    for rpc in rpcs() {
        let sample = samples::request(&rpc, &About::nothing());
        let input = sample.descriptor();
        let plain = |name: &str| input.get_field_by_name(name);
        let (other, bad) = match (plain("request_id"), plain("page_size"), plain("campaign_id")) {
            (Some(field), _, _) => (field, Value::String("1".to_owned())),
            (_, Some(field), _) => (field, Value::I32(-1)),
            (_, _, Some(field)) => (field, Value::String("1".to_owned())),
            _ => continue,
        };
        for path in fields(&input).into_iter().filter(|path| path.len() <= 2) {
            let Some(value) = beyond(&path) else { continue };
            // New resources have no etag yet.
            if rpc.name().starts_with("Create") && path.last().is_some_and(|field| field.name() == "etag") {
                continue;
            }
            let mut request = sample.clone();
            plant(&mut request, &path, value);
            request.set_field(&other, bad.clone());
            let error = call(&tenant, &request, &rpc).await.expect_err(rpc.name());
            let name = dotted(&path);
            let at = if name == "update_mask" { "update_mask.paths[0]" } else { &name };
            let told = error.fields();
            if !told.iter().any(|field| field == at) || !told.iter().any(|field| field == other.name()) {
                wrong.push(format!("{} {name}: {told:?} {}", rpc.name(), error.message()));
            }
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen} requests");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_between_fields_are_told_with_those_of_single_ones() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let about = |fields: &[(&str, Value)], name: &str| {
        let rpc = rpc(name);
        let mut request =
            samples::request(&rpc, &About { customer: talk.customer_id.clone(), ..About::nothing() });
        for (field, value) in fields {
            let path = path_of(&rpc.input(), field);
            plant(&mut request, &path, value.clone());
        }
        (rpc, request)
    };
    let text = |text: &str| Value::String(text.to_owned());
    let id = || text("0199d1c0-0000-7000-8000-000000000001");
    for (name, planted, expected) in [
        (
            "CreateCampaign",
            vec![("campaign.status", Value::EnumNumber(2)), ("campaign.name", text(""))],
            "campaign.start_time",
        ),
        (
            "CreatePendingQuestion",
            vec![
                ("pending_question.target_field", text("nonsense")),
                ("pending_question.question", text("")),
            ],
            "pending_question.target_field",
        ),
        (
            "CreatePendingQuestion",
            vec![("pending_question.timing", Value::EnumNumber(7)), ("pending_question.question", text(""))],
            "pending_question.schedule_time",
        ),
        (
            "CreateCustomerFaq",
            vec![
                ("customer_faq.source_message_id", id()),
                ("customer_faq.question", text("")),
                ("customer_faq.source_conversation_id", text("")),
            ],
            "customer_faq.source_conversation_id",
        ),
        (
            "RecordFaqObservation",
            vec![
                ("observation.message_id", id()),
                ("request_id", text("1")),
                ("observation.conversation_id", text("")),
            ],
            "observation.conversation_id",
        ),
        (
            "RecordPurchase",
            vec![("purchase.amount.nanos", Value::I32(1)), ("request_id", text("1"))],
            "purchase.amount.nanos",
        ),
        ("ListConversations", vec![("topic", text("x")), ("page_size", Value::I32(-1))], "start_time_from"),
    ] {
        let (rpc, request) = about(&planted, name);
        let error = call(&tenant, &request, &rpc).await.expect_err(name);
        let told = error.fields();
        assert!(told.iter().any(|field| field == expected), "{name}: {told:?} {}", error.message());
        let (plain, _) = &planted[1];
        assert!(told.iter().any(|field| field == plain), "{name}: {told:?} {}", error.message());
    }
}

/// Returns the fields on the path of a dotted name.
fn path_of(descriptor: &MessageDescriptor, name: &str) -> Path {
    let mut message = descriptor.clone();
    let mut path = Path::new();
    for part in name.split('.') {
        let field = message.get_field_by_name(part).unwrap_or_else(|| panic!("{name} has no {part}"));
        if let Kind::Message(inner) = field.kind() {
            message = inner;
        }
        path.push(field);
    }
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_field_is_told_once() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    for rpc in rpcs() {
        let request = DynamicMessage::new(rpc.input());
        let empty = call(&tenant, &request, &rpc).await.map_or_else(Some, |answer| stream_error(&answer));
        let wrong = call(&tenant, &all_wrong(&rpc.input()), &rpc).await;
        let wrong = wrong.map_or_else(Some, |answer| stream_error(&answer));
        for error in [empty, wrong].into_iter().flatten() {
            let mut fields = error.fields();
            fields.sort();
            let count = fields.len();
            fields.dedup();
            assert_eq!(fields.len(), count, "{}: {error:?}", rpc.name());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_message_itself_names_what_is_wrong() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let bad = pb::Customer { email: "nonsense".to_owned(), status: 99, ..Default::default() };
    let error = tenant.create(bad).await.expect_err("two are wrong");
    error.is_invalid(&["customer.email", "customer.status"]);
    let said = error.message();
    for part in ["customer.email must be an e-mail", "; customer.status must be", "CUSTOMER_STATUS_LEAD"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("details") && !said.contains('^'), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_or_of_another_customer_says_so() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let gone = tenant.customer("Gone").await;
    tenant.delete(&gone.id).await.expect("deleted");
    let slug = pb::GetCustomerBySlugRequest { slug: gone.slug.clone(), ..Default::default() };
    let open = pb::Conversation { customer_id: gone.id.clone(), ..Default::default() };
    for error in [
        tenant.get(&gone.id).await.expect_err("deleted"),
        tenant.customers().get_customer_by_slug(slug).await.expect_err("deleted"),
        tenant.open(open).await.expect_err("deleted"),
        tenant.buy(bought(&gone.id, 5)).await.expect_err("deleted"),
        tenant.delete(&gone.id).await.expect_err("deleted"),
    ] {
        error.is(Code::NotFound, "CUSTOMER_NOT_FOUND");
        assert!(error.message().contains("is deleted; bring it back with UndeleteCustomer"), "{error:?}");
        let other = crm.tenant().get(&gone.id).await.expect_err("another tenant's");
        assert!(
            other.message().starts_with("there is no customer"),
            "no tenant learns of another's: {other:?}"
        );
    }

    let (talk, other) = (tenant.conversation().await, tenant.customer("Other").await);
    let faq = tenant.faq(&talk.customer_id, "Open?", "Yes.").await;
    let campaign = tenant.campaign("Spring").await;
    let mut purchase = bought(&other.id, 5);
    purchase.conversation_id = talk.id.clone();
    let mut interest = viewed("a", "coffee", 1);
    interest.conversation_id = talk.id.clone();
    let request = events(&other.id, &[interest]);
    let recorded = tenant.record_interest(request).await.expect("an answer");
    let mut opened = event("a", &other.id, pb::CampaignEventKind::Opened);
    opened.conversation_id = talk.id.clone();
    let answers = tenant.record(&campaign.id, &[opened]).await.expect("an answer");
    for error in [
        tenant.buy(purchase).await.expect_err("another customer's"),
        crate::support::campaigns::refusal(&recorded[0]),
        crate::support::campaigns::refusal(&answers[0]),
    ] {
        error.is(Code::NotFound, "CONVERSATION_NOT_FOUND");
        assert!(error.message().contains(&format!("is not with the customer {}", other.id)), "{error:?}");
    }
    let used = pb::FaqObservation {
        kind: pb::FaqObservationKind::Used.into(),
        customer_faq_id: faq.id.clone(),
        ..Default::default()
    };
    let error = tenant
        .observe(crate::support::faqs::observed(&other.id, used))
        .await
        .expect_err("another customer's");
    error.is(Code::NotFound, "CUSTOMER_FAQ_NOT_FOUND");
    assert!(error.message().contains(&format!("is not of the customer {}", other.id)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_request_are_told_apart() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let id = tenant.id.to_string();
    let create = rpc("CreateCustomer");
    let tag = |wire_type: u8| (2 << 3) | wire_type;
    let customer = |bytes: &[u8]| {
        let length = u8::try_from(bytes.len()).expect("few");
        [&[(1 << 3) | 2, length][..], bytes].concat()
    };
    let name = "customer.business_name";
    for (bytes, field, said) in [
        (customer(&[tag(2), 2, 0xc3, 0x28]), name, "customer.business_name must be valid UTF-8"),
        (customer(&[tag(2), 100, b'x']), name, "ends in the middle of a value"),
        (customer(&[tag(5), 0, 0, 0, 0]), name, "has another type than in this server's contract"),
        (vec![0, 0], "", "protobuf does not have"),
    ] {
        let answer = call_bytes(tenant.channel(), &create, &[(TENANT_HEADER, &id)], bytes).await;
        let error = answer.expect_err(said);
        error.is(Code::InvalidArgument, "REQUEST_MALFORMED");
        assert_eq!(error.fields(), [field]);
        assert!(error.message().contains(said), "{error:?}");
    }
    let path = "CustomerService/CreateCustomer";
    let error = Http2::connect(crm.address()).await.refusal(whole(path, tenant.id, &[], Vec::new())).await;
    error.is(Code::InvalidArgument, "REQUEST_MALFORMED");
    assert!(error.message().contains("the call has no message"), "{error:?}");
    let large = creation(pb::Customer { city: "x".repeat(1 << 20), ..named("Zoe") });
    let error = Http2::connect(crm.address())
        .await
        .refusal(whole(path, tenant.id, &[], framed(&large.encode_to_vec())))
        .await;
    error.is(Code::ResourceExhausted, "REQUEST_TOO_LARGE");
    assert!(error.message().contains("1048576 bytes"), "a limit is told with its number: {error:?}");
    assert!(error.get_error_details().request_info().is_some());
}
