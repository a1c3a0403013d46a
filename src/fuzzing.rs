//! What reads bytes of strangers, for the fuzz targets of `fuzz/`: none of it may panic, and what it
//! takes must hold what it promises. Not part of the service.
#![expect(clippy::expect_used, reason = "a broken promise is what is looked for")]

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use prost::{Message, Name};
use prost_types::{FieldMask, Struct};
use uuid::Uuid;

use crate::audit::rules::Asking;
use crate::auth::Caller;
use crate::conversations::messages::{quote, session};
use crate::customers::words::{self, Asked};
use crate::customers::{field, rules as customers};
use crate::db::Deadline;
use crate::faqs::rules as faqs;
use crate::idempotency::fingerprint;
use crate::rpc::etag::Etag;
use crate::rpc::incoming::{self, Incoming};
use crate::rpc::mask::Change;
use crate::rpc::method::Method;
use crate::rpc::validate::{MAX_VIOLATIONS, Validate, validate};
use crate::rpc::{self, Call, Context, PageKey, Paged, layer, structs};
use crate::{error, pb};

#[cfg(test)]
mod tests;

/// A request by its name, and what happens to its bytes.
pub(crate) type Request = (&'static str, fn(&[u8]));

/// Every request of the contract: its name, and what happens to its bytes.
#[cfg(test)]
pub(crate) fn every_request() -> &'static [Request] {
    generated::REQUESTS
}

/// Every request of the contract, as the build found them.
mod generated {
    include!(concat!(env!("OUT_DIR"), "/fuzzing.rs"));
}

/// Characters of a slug at most.
const MAX_SLUG: usize = 63;

/// The first byte chooses a request, the others are what a client sends for it: decoded, held to the
/// rules of the contract, and, where they let it through, taken down as what it is.
pub fn requests(input: &[u8]) {
    let Some((choice, bytes)) = input.split_first() else { return };
    let index = usize::from(*choice) % generated::REQUESTS.len();
    if let Some((_, request)) = generated::REQUESTS.get(index) {
        request(bytes);
    }
}

/// The first byte chooses a parser, the others are the text that a client sends to it.
pub fn parsers(input: &[u8]) {
    let Some((choice, bytes)) = input.split_first() else { return };
    let text = String::from_utf8_lossy(bytes);
    match choice % 9 {
        0 => page_token(&text),
        1 => update_mask(&text),
        2 => slug(&text),
        3 => entity_tag(&text),
        4 => timeout(bytes),
        5 => object(bytes),
        6 => target_field(&text),
        7 => question(&text),
        _ => quotation(&text),
    }
}

/// A stream of `AddMessage`, as its bytes tell it: see [`session::fuzz`].
pub fn session(input: &[u8]) {
    session::fuzz::run(input);
}

/// What happens to the bytes of a request before anything is done.
fn request<M: Incoming + Validate>(bytes: &[u8]) {
    let message: M = match incoming::read(bytes) {
        Ok(message) => message,
        Err(error) => return refused(error),
    };
    match rpc::check(&message) {
        Ok(()) => {
            let encoded = message.encode_to_vec();
            let again = M::decode(encoded.as_slice()).expect("what the service encodes");
            assert_eq!(fingerprint(&again), fingerprint(&message), "a request changes on its way");
        }
        Err(error) => refused(error),
    }
}

/// An error says what is wrong, and arrives at every client.
fn refused(error: error::Error) {
    if let error::Error::Invalid { violations, .. } = &error {
        assert!((1..=MAX_VIOLATIONS).contains(&violations.len()), "{} violations", violations.len());
        for violation in violations {
            assert!(!violation.description.is_empty() && !violation.rule.is_empty());
        }
    }
    assert!(error::trailers(&error.into()) <= error::MAX_TRAILERS, "the error does not arrive");
}

/// A token that nobody signed is none; one that was is no other's.
fn page_token(text: &str) {
    let key = PageKey::new(vec![7; 32]);
    let method = Method::find("/crm.v1.CustomerService/ListCustomers").expect("an RPC");
    let call = |tenant: u128, page_token: &str| Call {
        context: Context {
            freshness: None,
            caller: Caller::caretaker(Uuid::from_u128(tenant)),
            method,
            deadline: Deadline::after(Duration::from_secs(1)),
            id: Uuid::nil(),
            asking: Asking::default(),
            costs: Default::default(),
        },
        message: pb::ListCustomersRequest { page_token: page_token.to_owned(), ..Default::default() },
    };
    let refused = |call: &Call<pb::ListCustomersRequest>| key.open::<_, String>(call).is_err();
    assert!(text.is_empty() || refused(&call(1, text)), "a token out of nothing");
    let cursor = text.to_owned();
    let token = key.next(&call(1, ""), Some(&cursor)).expect("a token");
    let own = call(1, &token);
    assert_eq!(own.message.page_token(), token);
    assert_eq!(key.open(&own).expect("our own").after, Some(cursor));
    assert!(refused(&call(2, &token)), "another tenant's token");

    let (caller, of) = (Caller::caretaker(Uuid::from_u128(1)), Uuid::from_u128(3));
    assert_eq!(key.read_position::<String>(&caller, of, text), None);
    let position = key.write_position(&caller, of, &text);
    assert_eq!(key.read_position::<String>(&caller, of, &position).as_deref(), Some(text));
    assert_eq!(key.read_position::<String>(&caller, Uuid::from_u128(4), &position), None);
}

/// Lines that name what changes; what it becomes is the text itself.
fn update_mask(text: &str) {
    let paths: Vec<String> = text.lines().map(str::to_owned).collect();
    let mask = Some(FieldMask { paths });
    let text = text.to_owned();
    let customer = pb::Customer {
        business_name: text.clone(),
        slug: text.clone(),
        tags: vec![text.clone()],
        ..Default::default()
    };
    change("customer", &customer, mask.as_ref());
    let conversation = pb::Conversation { outcome_notes: text.clone(), ..Default::default() };
    change("conversation", &conversation, mask.as_ref());
    let question =
        pb::PendingQuestion { question: text.clone(), purpose: text.clone(), ..Default::default() };
    change("pending_question", &question, mask.as_ref());
    let faq = pb::CustomerFaq { question: text.clone(), answer: text, ..Default::default() };
    change("customer_faq", &faq, mask.as_ref());
}

fn change<M>(field: &'static str, patch: &M, mask: Option<&FieldMask>)
where
    M: Message + Name + Default + Validate,
{
    let Ok(change) = Change::new(field, patch, mask) else { return };
    if let Ok(after) = change.apply(&M::default()) {
        let again = change.apply(&after).expect("a change that was made");
        assert_eq!(again.encode_to_vec(), after.encode_to_vec(), "the same change twice");
    }
}

/// Any name has a slug that keeps the rules; any text is a query.
fn slug(name: &str) {
    let slug = customers::slug(name);
    let numbered = customers::numbered(&slug, 9_999_999);
    for slug in [slug, numbered] {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        assert!(!slug.is_empty() && slug.len() <= MAX_SLUG && slug.bytes().all(allowed), "{slug:?}");
        let request = pb::GetCustomerBySlugRequest { slug, ..Default::default() };
        assert_eq!(validate(&request), Ok(()));
    }
    let asked = Asked { query: name, tags: &[name.to_owned()], email: name, phone: name };
    let query = words::tsquery(Uuid::from_u128(1), asked);
    assert!(query.is_some_and(|query| query.contains('#')), "a tag is looked for as it is");
}

fn entity_tag(text: &str) {
    if let Ok(Some(etag)) = Etag::expected("etag", text) {
        assert_eq!(etag.to_string(), text);
    }
}

fn timeout(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let headers = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-timeout"), value)]);
    if let Ok(Some(timeout)) = layer::timeout(&headers) {
        assert!(timeout <= Duration::from_secs(99_999_999 * 3_600), "longer than the protocol has");
    }
}

/// A Struct that the rules let through is the same after its way through jsonb.
fn object(bytes: &[u8]) {
    let Ok(object) = Struct::decode(bytes) else { return };
    let customer = pb::Customer {
        business_name: "x".to_owned(),
        custom_attributes: Some(object.clone()),
        ..Default::default()
    };
    if validate(&customer).is_err() || object.fields.is_empty() {
        return;
    }
    let text = structs::to_json(Some(&object)).to_string();
    let json = serde_json::from_str(&text).expect("JSON");
    assert_eq!(structs::from_json(&json), Some(object));
}

fn target_field(text: &str) {
    match field::Field::parse(text) {
        Ok(field) => assert_eq!(field.path(), text),
        Err(description) => assert!(!description.is_empty()),
    }
}

fn question(text: &str) {
    let normal = faqs::normal(text);
    assert_eq!(faqs::normal(&normal), normal, "what is normal stays as it is");
    assert_eq!(faqs::question_key(text), faqs::question_key(&normal));
    assert!(error::without_values(text).len() <= text.len());
}

/// No text can leave its quotation.
fn quotation(text: &str) {
    let quoted = quote::quote(text);
    assert!(quoted.split('\n').skip(1).filter(|line| !line.is_empty()).all(|line| line.starts_with('>')));
}
