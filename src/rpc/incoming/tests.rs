use std::collections::HashSet;

use proptest::prelude::*;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{FieldDescriptor, Kind as Of, MessageDescriptor, Value as Option_};

use super::*;
use crate::fuzzing::every_request;
use crate::pb::{self, CONTRACT};

/// The maximum size of a request.
const MEBIBYTE: usize = 1 << 20;

/// The maximum bytes of memory for each byte that was sent.
const FACTOR: u64 = 20;

/// The smallest request size that counts. Lists of the maximum length are decoded, and 10,000 empty texts take more
/// than 20 times the bytes that they have on the wire.
const AT_LEAST: u64 = 128 << 10;

/// The maximum number of allocations for a request of a mebibyte, as a measure of the work for it. A list of 10,000
/// texts, which is allowed, needs as many.
const ALLOCATIONS: u64 = 60_000;

/// The fields on the path to a list.
type Way = Vec<FieldDescriptor>;

/// The paths to all lists, maps and open objects of a request.
fn lists(message: &MessageDescriptor) -> Vec<Way> {
    let mut ways = Vec::new();
    for field in message.fields() {
        let inner = match field.kind() {
            Of::Message(inner) if inner.full_name() != "google.protobuf.Struct" => Some(inner),
            Of::Message(_) => {
                ways.push(vec![field.clone()]);
                None
            }
            _ => None,
        };
        if field.is_list() || field.is_map() {
            ways.push(vec![field.clone()]);
        }
        for way in inner.iter().flat_map(lists) {
            ways.push([vec![field.clone()], way].concat());
        }
    }
    ways
}

/// The maximum number of items of a list, by the rules.
fn limit(field: &FieldDescriptor) -> usize {
    let rules = CONTRACT.get_extension_by_name("buf.validate.field").expect("the rules");
    let options = field.options();
    let rules = options.get_extension(&rules);
    let of =
        |value: &Option_, name: &str| value.as_message()?.get_field_by_name(name).map(|v| v.into_owned());
    let limit = of(&rules, "repeated").and_then(|rules| of(&rules, "max_items")?.as_u64());
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(MAX_STRUCT_ENTRIES)
}

/// A value with its length before it.
fn framed(number: u32, inner: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(inner.len() + 8);
    encode_key(number, WireType::LengthDelimited, &mut bytes);
    encode_varint(u64::try_from(inner.len()).expect("a length"), &mut bytes);
    bytes.extend_from_slice(inner);
    bytes
}

/// As many empty items of a list as fit into this many bytes, and at most `most`.
fn items(field: &FieldDescriptor, bytes: usize, most: usize) -> Vec<u8> {
    match field.kind() {
        Of::Message(inner) if inner.full_name() == "google.protobuf.Struct" => {
            let entry = |key: usize| framed(1, &framed(1, format!("{key:05x}").as_bytes()));
            framed(field.number(), &(0..most.min(bytes / 12)).flat_map(entry).collect::<Vec<_>>())
        }
        Of::Message(_) | Of::String | Of::Bytes => {
            let item = framed(field.number(), &[]);
            item.repeat(most.min(bytes / item.len()))
        }
        _ => framed(field.number(), &vec![1; most.min(bytes)]),
    }
}

/// A request of a mebibyte with as many empty items at the end of the path as possible. With `bounded`, only as many
/// as are allowed there, in as many of the lists around them as fit.
fn filled(way: &[FieldDescriptor], bounded: bool) -> Vec<u8> {
    let Some((last, outer)) = way.split_last() else { return Vec::new() };
    let most = if bounded { limit(last) } else { usize::MAX };
    let mut bytes = items(last, MEBIBYTE - 64, most);
    for field in outer.iter().rev() {
        bytes = framed(field.number(), &bytes);
        if bounded && field.is_list() {
            bytes = bytes.repeat((MEBIBYTE - 64) / bytes.len().max(1));
        }
    }
    bytes.truncate(MEBIBYTE);
    bytes
}

#[test]
fn a_mebibyte_of_empty_items_costs_little_memory_in_every_list_of_every_request() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for (name, run) in every_request() {
        let request = CONTRACT.get_message_by_name(&format!("crm.v1.{name}")).expect("a request");
        for way in lists(&request) {
            let path: Vec<_> = way.iter().map(FieldDescriptor::name).collect();
            for bounded in [false, true] {
                let bytes = filled(&way, bounded);
                let cost = allocation_counter::measure(|| run(&bytes));
                let sent = u64::try_from(bytes.len()).expect("a length").max(AT_LEAST);
                if cost.bytes_max > FACTOR * sent || cost.count_total > ALLOCATIONS {
                    wrong.push(format!(
                        "{name} {}: {} bytes take {} and {} allocations",
                        path.join("."),
                        bytes.len(),
                        cost.bytes_max,
                        cost.count_total
                    ));
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 100, "{seen} lists");
    assert!(wrong.is_empty(), "{} of {seen}:\n{}", wrong.len(), wrong.join("\n"));
}

/// The reason, and the violations as field and description.
fn refused<M: Incoming>(bytes: &[u8]) -> (ErrorReason, Vec<(String, String)>) {
    match read::<M>(bytes) {
        Err(Error::Invalid { reason, violations }) => {
            let told = violations.into_iter().map(|violation| (violation.field, violation.description));
            (reason, told.collect())
        }
        Err(other) => panic!("another error: {other:?}"),
        Ok(_) => panic!("{bytes:?} is taken"),
    }
}

#[test]
fn what_is_far_too_long_is_told_with_its_number() {
    let events = framed(2, &[]).repeat(524_224);
    let (reason, told) = refused::<pb::RecordInterestEventsRequest>(&events);
    assert_eq!(reason, ErrorReason::FieldInvalid);
    let [(field, description)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(field, "events");
    assert!(description.ends_with(", has 524224"), "{description}");
}

#[test]
fn what_is_a_little_too_long_is_for_the_rules_to_tell_with_all_else() {
    let tags = |count: usize| {
        let customer = pb::Customer {
            tags: vec!["x".repeat(30); count],
            email: "nonsense".to_owned(),
            ..Default::default()
        };
        pb::CreateCustomerRequest { customer: Some(customer), ..Default::default() }
    };
    let request = tags(1_000).encode_to_vec();
    assert!(request.len() > UNSEEN);
    let request = read::<pb::CreateCustomerRequest>(&request).expect("a message");
    let Err(Error::Invalid { violations, .. }) = crate::rpc::check(&request) else { panic!("it is wrong") };
    let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["customer.email", "customer.tags"]);
    let (_, told) = refused::<pb::CreateCustomerRequest>(&tags(2_000).encode_to_vec());
    assert_eq!(told.len(), 1);
}

#[test]
fn parts_that_are_sent_twice_are_counted_together() {
    let customer = framed(1, &framed(pb_number("crm.v1.Customer", "tags"), &[]).repeat(90));
    let (_, told) = refused::<pb::UpdateCustomerRequest>(&customer.repeat(200));
    let [(field, description)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(field, "customer.tags");
    assert!(description.ends_with(", has 18000"), "{description}");
}

fn pb_number(message: &str, field: &str) -> u32 {
    let message = CONTRACT.get_message_by_name(message).expect("a message");
    message.get_field_by_name(field).expect("a field").number()
}

#[test]
fn bytes_that_are_no_request_are_told_apart() {
    let name = pb_number("crm.v1.Customer", "business_name");
    let attributes = pb_number("crm.v1.Customer", "custom_attributes");
    let voice = pb_number("crm.v1.Customer", "brand_voice");
    let customer = |bytes: &[u8]| framed(1, bytes);
    let key = |wire_type: u32| u8::try_from((name << 3) | wire_type).expect("one byte");
    let bad_text = [0xc3, 0x28];
    let cases: [(&str, Vec<u8>, &str, &str); 9] = [
        ("cut off", vec![0xff; 4], "", "ends in the middle"),
        (
            "a text that is cut off",
            customer(&[key(2), 100, b'x']),
            "customer.business_name",
            "ends in the middle",
        ),
        ("bad UTF-8", customer(&framed(name, &bad_text)), "customer.business_name", "must be valid UTF-8"),
        (
            "bad UTF-8 in a part",
            customer(&framed(voice, &framed(1, &bad_text))),
            "customer.brand_voice.tone",
            "must be valid UTF-8",
        ),
        (
            "bad UTF-8 in a key",
            customer(&framed(attributes, &framed(1, &framed(1, &bad_text)))),
            "customer.custom_attributes",
            "must be valid UTF-8",
        ),
        ("another type", customer(&[key(5), 0, 0, 0, 0]), "customer.business_name", "has another type"),
        ("field 0", vec![0, 0], "", "has a field number or a wire type"),
        ("the end of no group", vec![(1 << 3) | 4], "", "has a field number or a wire type"),
        ("a long varint", vec![0xff; 11], "", "has a number of more than 64 bits"),
    ];
    for (what, bytes, field, description) in cases {
        let (reason, told) = refused::<pb::CreateCustomerRequest>(&bytes);
        assert_eq!(reason, ErrorReason::RequestMalformed, "{what}");
        assert_eq!(told[0].0, field, "{what}");
        assert!(told[0].1.starts_with(description), "{what}: {told:?}");
    }
    let deep = (0..40).fold(Vec::new(), |inner, _| framed(5, &framed(1, &framed(2, &inner))));
    let (reason, told) =
        refused::<pb::CreateCustomerRequest>(&customer(&framed(attributes, &framed(1, &framed(2, &deep)))));
    assert_eq!(reason, ErrorReason::FieldInvalid);
    assert_eq!(
        told,
        [("customer.custom_attributes".to_owned(), "must be at most 16 levels deep".to_owned())]
    );
}

/// Walks over bytes as [`malformed`] does, and returns whether they are valid.
fn is_in_order<M: Incoming>(bytes: &[u8]) -> bool {
    let mut walk = Walk { looks_inside: true, ..Walk::default() };
    let shape = M::SHAPE.expect("a request");
    walk.message(shape, bytes, &Path::ROOT, 0).is_ok()
}

/// Random numbers of fields, with lengths that often fit, so that many of the bytes are accepted.
fn somewhat_like_a_message() -> impl Strategy<Value = Vec<u8>> {
    let field = (1_u32..40, prop::collection::vec(any::<u8>(), 0..6))
        .prop_map(|(number, bytes)| framed(number, &bytes));
    let nested = (1_u32..40, prop::collection::vec(field.clone(), 0..3))
        .prop_map(|(number, fields)| framed(number, &fields.concat()));
    let varint = (1_u32..40, any::<u8>()).prop_map(|(number, value)| {
        let mut bytes = Vec::new();
        encode_key(number, WireType::Varint, &mut bytes);
        encode_varint(value.into(), &mut bytes);
        bytes
    });
    let raw = prop::collection::vec(any::<u8>(), 0..4);
    prop::collection::vec(prop_oneof![4 => field, 4 => nested, 4 => varint, 1 => raw], 0..5)
        .prop_map(|fields| fields.concat())
}

proptest! {
    /// The walk and the decoder read the same.
    #[test]
    fn the_walk_takes_what_the_decoder_takes(bytes in somewhat_like_a_message()) {
        prop_assert_eq!(is_in_order::<pb::CreateCustomerRequest>(&bytes), pb::CreateCustomerRequest::decode(bytes.as_slice()).is_ok());
        prop_assert_eq!(is_in_order::<pb::AddMessageRequest>(&bytes), pb::AddMessageRequest::decode(bytes.as_slice()).is_ok());
        prop_assert_eq!(is_in_order::<pb::RecordPurchaseRequest>(&bytes), pb::RecordPurchaseRequest::decode(bytes.as_slice()).is_ok());
    }
}

#[test]
fn every_field_of_a_shape_has_a_number_of_its_own_in_order() {
    let mut seen = HashSet::new();
    let mut waiting: Vec<_> = pb::UpdateConversationRequest::SHAPE.into_iter().collect();
    while let Some(shape) = waiting.pop() {
        assert!(shape.fields.is_sorted_by_key(|field| field.number));
        for field in shape.fields {
            if let Kind::Message(inner) = field.kind
                && seen.insert(std::ptr::from_ref(inner))
            {
                waiting.push(inner);
            }
        }
    }
    assert!(seen.len() > 2);
}
