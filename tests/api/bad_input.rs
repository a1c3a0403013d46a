//! Invalid values, in every field of every request, future ones included.

use std::collections::BTreeMap;

use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value};
use prost_types::value::Kind as Json;
use prost_types::{Duration, ListValue, Struct, Timestamp};
use tonic::{Code, Status};

use crate::support::fields::{dotted, fields, is_about, plant};
use crate::support::raw::{CONTRACT, call, rpcs, stream_error};
use crate::support::rest;
use crate::support::samples::{self, About, whole_list};
use crate::support::web::Web;
use crate::support::{Crm, Refusal};

/// Returns the limit in a rule of a string field.
fn limit(field: &FieldDescriptor, rule: &str) -> Option<usize> {
    let extension = CONTRACT.get_extension_by_name("buf.validate.field").expect("the rules");
    let options = field.options();
    let rules = options.get_extension(&extension);
    let mut rules = rules.as_message()?.clone();
    if field.is_list() {
        rules = rules
            .get_field_by_name("repeated")?
            .as_message()?
            .get_field_by_name("items")?
            .as_message()?
            .clone();
    }
    let rules = rules.get_field_by_name("string")?.as_message()?.clone();
    let limit = rules.has_field_by_name(rule).then(|| rules.get_field_by_name(rule)).flatten()?;
    usize::try_from(limit.as_u64()?).ok()
}

fn object(key: &str, kind: Json) -> Struct {
    Struct { fields: [(key.to_owned(), prost_types::Value { kind: Some(kind) })].into() }
}

fn nested(depth: usize) -> Struct {
    (1..depth).fold(Struct::default(), |inner, _| object("a", Json::StructValue(inner)))
}

fn many(entries: usize) -> Struct {
    let null = || prost_types::Value { kind: Some(Json::NullValue(0)) };
    object("list", Json::ListValue(ListValue { values: (1..entries).map(|_| null()).collect() }))
}

fn bad_structs() -> Vec<Struct> {
    vec![
        object("a", Json::NumberValue(f64::NAN)),
        object("a", Json::NumberValue(f64::INFINITY)),
        object("a\0", Json::BoolValue(true)),
        object("a", Json::StringValue("a\0b".to_owned())),
        Struct { fields: BTreeMap::from([("a".to_owned(), prost_types::Value { kind: None })]) },
        nested(17),
        many(10_001),
    ]
}

/// Returns the invalid values of a field.
fn bad(field: &FieldDescriptor) -> Vec<Value> {
    let encoded = |descriptor: &MessageDescriptor, bytes: Vec<u8>| {
        Value::Message(
            DynamicMessage::decode(descriptor.clone(), bytes.as_slice()).expect("the same message"),
        )
    };
    match field.kind() {
        Kind::String => {
            let mut texts = vec!["\0".to_owned(), "a\0b".to_owned()];
            texts.extend(limit(field, "max_len").map(|limit| "é".repeat(limit + 1)));
            texts.extend(limit(field, "max_bytes").map(|limit| "a".repeat(limit + 1)));
            texts.into_iter().map(Value::String).collect()
        }
        Kind::Enum(_) => vec![Value::EnumNumber(99), Value::EnumNumber(-1), Value::EnumNumber(i32::MAX)],
        Kind::Int32 => vec![Value::I32(-1), Value::I32(i32::MIN)],
        Kind::Int64 => vec![Value::I64(-1), Value::I64(i64::MIN)],
        Kind::Double => vec![Value::F64(f64::NAN), Value::F64(f64::NEG_INFINITY)],
        Kind::Bool => Vec::new(),
        Kind::Message(inner) => match inner.full_name() {
            "google.protobuf.Timestamp" => {
                let times =
                    [(0, 1_000_000_000), (0, -1), (-62_135_596_801, 0), (253_402_300_800, 0), (i64::MIN, 0)];
                let times = times.map(|(seconds, nanos)| Timestamp { seconds, nanos });
                times.iter().map(|time| encoded(&inner, time.encode_to_vec())).collect()
            }
            "google.protobuf.Duration" => {
                let durations = [(0, 1_000_000_000), (1, -1), (-1, 0), (31_536_000, 1), (i64::MAX, 0)];
                let durations = durations.map(|(seconds, nanos)| Duration { seconds, nanos });
                durations.iter().map(|duration| encoded(&inner, duration.encode_to_vec())).collect()
            }
            "google.protobuf.Struct" => {
                bad_structs().iter().map(|object| encoded(&inner, object.encode_to_vec())).collect()
            }
            "google.protobuf.FieldMask" => Vec::new(),
            name => panic!("{name} has no bad values yet"),
        },
        kind => panic!("{kind:?} has no bad values yet"),
    }
}

/// A way to call.
enum Way {
    Grpc,
    Rest(Web),
}

impl Way {
    /// Returns the error of a call; `None` if this way has no words for the request.
    async fn outcome(
        &self,
        tenant: &crate::support::Tenant,
        request: &DynamicMessage,
        rpc: &prost_reflect::MethodDescriptor,
    ) -> Option<Option<Status>> {
        match self {
            Self::Grpc => {
                Some(call(tenant, request, rpc).await.map_or_else(Some, |answer| stream_error(&answer)))
            }
            Self::Rest(web) => rest::refusal(web, request, rpc).await,
        }
    }
}

/// Returns what every list shows, but for the audit log.
async fn state(tenant: &crate::support::Tenant, about: &About) -> Vec<DynamicMessage> {
    let mut pages = Vec::new();
    for rpc in rpcs() {
        if rpc.name().starts_with("List") && rpc.name() != "ListAuditEvents" {
            pages.push(call(tenant, &whole_list(&rpc, about), &rpc).await.expect("a page"));
        }
    }
    pages
}

#[tokio::test(flavor = "multi_thread")]
async fn no_field_of_any_request_takes_a_bad_value() {
    takes_none(|_, _| Way::Grpc, 500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_field_of_any_request_takes_a_bad_value_by_rest() {
    takes_none(|crm, tenant| Way::Rest(Web::new(crm, tenant.id)), 400).await;
}

/// Expects that no field takes a bad value this way, of which there are more than `many`.
async fn takes_none(way: impl Fn(&Crm, &crate::support::Tenant) -> Way, many: usize) {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let way = way(&crm, &tenant);
    let about = tenant.everything().await;
    let before = state(&tenant, &about).await;
    let mut planted = 0;
    let mut wrong = Vec::new();
    for rpc in rpcs() {
        let sample = samples::request(&rpc, &about);
        for path in fields(&sample.descriptor()) {
            for value in bad(path.last().expect("a field")) {
                let mut request = sample.clone();
                plant(&mut request, &path, value.clone());
                let Some(error) = way.outcome(&tenant, &request, &rpc).await else { continue };
                planted += 1;
                let named = error
                    .as_ref()
                    .is_some_and(|error| error.code() == Code::InvalidArgument && is_about(error, &path));
                if !named {
                    let value: String = format!("{value:?}").chars().take(60).collect();
                    let error = error.map(|error| (error.code(), error.message().to_owned(), error.fields()));
                    wrong.push(format!("{} {} = {value}: {error:?}", rpc.name(), dotted(&path)));
                }
            }
        }
    }
    assert!(planted > many, "{planted} values");
    assert!(wrong.is_empty(), "{} of {planted}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(state(&tenant, &about).await, before, "nothing had an effect");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_struct_may_be_as_large_as_it_may_be() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    for object in [nested(16), many(10_000), object("ключ \u{1f600}\"\\", Json::NumberValue(-0.5e300))] {
        let request = crm_backend::pb::Customer {
            custom_attributes: Some(object.clone()),
            ..crate::support::customers::named("Zoe")
        };
        let created = tenant.create(request).await.expect("within the limits");
        assert_eq!(created.custom_attributes, Some(object.clone()));
        assert_eq!(tenant.get(&created.id).await.expect("there").custom_attributes, Some(object));
    }
}
