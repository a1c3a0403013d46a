//! An invalid item of a batch affects only itself: for every RPC with many items, and for every way in which an item
//! can fail, future ones included.

use std::collections::BTreeSet;

use crm_backend::pb::{
    CampaignEvent, CampaignEventKind, ListCampaignEventsRequest, RecordCampaignEventsRequest,
};
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MethodDescriptor, ReflectMessage, Value};
use prost_types::Timestamp;
use tonic::Code;
use uuid::Uuid;

use crate::support::campaigns::{Outcome, euros, event, money, planned, refusal};
use crate::support::fields::{Path, dotted, fields, plant};
use crate::support::raw::{CONTRACT, call, rpcs};
use crate::support::samples::{self, About};
use crate::support::{Crm, Refusal, Tenant};

/// The number of items from which on a request is a batch: other lists have at most some hundred items.
const MANY: u64 = 1_000;

/// Returns the lists of a request whose items are handled separately, and the lists that are long.
fn lists(rpc: &MethodDescriptor) -> (Vec<Path>, Vec<Path>) {
    let mut below = vec![(Vec::new(), rpc.input())];
    let (mut batches, mut long) = (Vec::new(), Vec::new());
    while let Some((path, message)) = below.pop() {
        for field in message.fields() {
            let mut path: Path = path.clone();
            path.push(field.clone());
            if is_per_item(&field) {
                batches.push(path.clone());
            }
            if max_items(&field).is_some_and(|limit| limit >= MANY) {
                long.push(path.clone());
            }
            if let Kind::Message(inner) = field.kind()
                && inner.package_name() == "crm.v1"
            {
                below.push((path, inner));
            }
        }
    }
    (batches, long)
}

fn is_per_item(field: &FieldDescriptor) -> bool {
    let option = CONTRACT.get_extension_by_name("crm.v1.per_item").expect("the option");
    field.options().get_extension(&option).as_bool() == Some(true)
}

fn max_items(field: &FieldDescriptor) -> Option<u64> {
    let rules = CONTRACT.get_extension_by_name("buf.validate.field").expect("the rules");
    let options = field.options();
    let rules = options.get_extension(&rules);
    let list = rules.as_message()?.get_field_by_name("repeated")?.into_owned();
    let list = list.as_message()?;
    list.has_field_by_name("max_items").then(|| list.get_field_by_name("max_items")?.as_u64()).flatten()
}

#[test]
fn what_takes_many_items_says_that_they_stand_for_themselves() {
    let mut batches = BTreeSet::new();
    for rpc in rpcs() {
        let (marked, long) = lists(&rpc);
        assert_eq!(marked, long, "{} takes many items as one", rpc.name());
        batches.extend((!marked.is_empty()).then(|| rpc.name().to_owned()));
    }
    let expected = ["AssignCustomers", "RecordCampaignEvents", "RecordInterestEvents", "UnassignCustomers"];
    assert!(batches.is_superset(&expected.map(str::to_owned).into()), "{batches:?}");
}

/// Returns values that an item's field does not accept, for any stored data: broken rules, times and numbers that
/// cannot be represented, texts that cannot be stored, and unknown ids.
fn bad(field: &FieldDescriptor) -> Vec<Value> {
    let text = |text: &str| Value::String(text.to_owned());
    match field.kind() {
        Kind::String if field.name().ends_with("_id") && field.name() != "event_id" => {
            vec![text("x"), text("\0"), text("é"), text(&Uuid::now_v7().to_string())]
        }
        Kind::String => vec![text("\0"), text("a\0b"), text(&"x".repeat(5_000))],
        Kind::Double => [f64::NAN, f64::INFINITY, 1e300].map(Value::F64).into(),
        Kind::Enum(_) => [99, -1].map(Value::EnumNumber).into(),
        Kind::Int32 => [-1, i32::MIN].map(Value::I32).into(),
        Kind::Int64 => [i64::MIN, i64::MAX].map(Value::I64).into(),
        Kind::Message(inner) if inner.full_name() == "google.protobuf.Timestamp" => {
            // Milliseconds instead of seconds; before and after any calendar; invalid nanos; next year.
            let times = [(1_795_000_000_000, 0), (i64::MIN, 0), (i64::MAX, 0), (0, -1), (0, i32::MAX)];
            let next_year = chrono::Utc::now().timestamp() + 365 * 86_400;
            let times = times.into_iter().chain([(next_year, 0)]);
            let time = |(seconds, nanos)| Timestamp { seconds, nanos }.encode_to_vec();
            let decode = |bytes: Vec<u8>| DynamicMessage::decode(inner.clone(), bytes.as_slice());
            times.map(|parts| Value::Message(decode(time(parts)).expect("a time"))).collect()
        }
        kind => panic!("{kind:?} has no bad values yet"),
    }
}

/// Creates a tenant with the resources that the samples need.
async fn about(tenant: &Tenant) -> About {
    let talk = tenant.conversation().await;
    let planned = crm_backend::pb::Campaign { budget: Some(euros(5)), ..planned("Spring") };
    About {
        customer: talk.customer_id.clone(),
        conversation: talk.id,
        campaign: tenant.plan(planned).await.expect("a campaign").id,
        ..About::nothing()
    }
}

/// Replaces the items of a request's batch.
fn with_items(request: &DynamicMessage, path: &[FieldDescriptor], items: &[Value]) -> DynamicMessage {
    let mut request = request.clone();
    let (list, outer) = path.split_last().expect("a field");
    let mut inner = &mut request;
    for field in outer {
        inner = inner.get_field_mut(field).as_message_mut().expect("a message");
    }
    inner.set_field(list, Value::List(items.to_vec()));
    request
}

/// Returns the items of a request's batch.
fn items(request: &DynamicMessage, path: &[FieldDescriptor]) -> Vec<Value> {
    let (list, outer) = path.split_last().expect("a field");
    let mut inner = request.clone();
    for field in outer {
        inner = inner.get_field(field).as_message().expect("a message").clone();
    }
    inner.get_field(list).as_list().expect("a list").to_vec()
}

/// Returns every invalid item, with the name of what is wrong.
fn bad_items(good: &Value, list: &FieldDescriptor) -> Vec<(String, Value)> {
    let Kind::Message(message) = list.kind() else {
        let texts = ["x", "\0", "", "0199d1c000007000800000000000000f", "{}"].map(str::to_owned);
        return texts.into_iter().map(|text| (text.clone(), Value::String(text))).collect();
    };
    let mut found = Vec::new();
    for path in fields(&message) {
        for (number, value) in bad(path.last().expect("a field")).into_iter().enumerate() {
            let mut item = good.as_message().expect("a message").clone();
            let key = item.descriptor().get_field_by_name("event_id").expect("an id");
            item.set_field(&key, Value::String(format!("{} {number}", dotted(&path))));
            plant(&mut item, &path, value.clone());
            found.push((format!("{} = {value:?}", dotted(&path)), Value::Message(item)));
        }
    }
    found
}

/// Returns whether each item of a batch was refused.
fn refused(answer: &DynamicMessage) -> Vec<bool> {
    let list =
        |name: &str| answer.get_field_by_name(name).map(|list| list.as_list().expect("a list").to_vec());
    match list("results") {
        Some(results) => {
            results.iter().map(|result| result.as_message().expect("it").has_field_by_name("error")).collect()
        }
        None => list("refused").expect("who was refused").iter().map(|_| true).collect(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_item_of_any_batch_is_refused_alone_in_whatever_way_it_is_bad() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let about = about(&tenant).await;
    let mut ways = 0;
    for rpc in rpcs() {
        for path in lists(&rpc).0 {
            let sample = samples::request(&rpc, &about);
            let good = items(&sample, &path).pop().expect("an item");
            let list = path.last().expect("a field");
            let bad = bad_items(&good, list);
            ways += bad.len();
            let batch: Vec<_> = bad.iter().map(|(_, item)| item.clone()).chain([good.clone()]).collect();
            let answer = call(&tenant, &with_items(&sample, &path, &batch), &rpc).await;
            let answer = answer.unwrap_or_else(|error| panic!("{} fails as a whole: {error:?}", rpc.name()));
            let refused = refused(&answer);
            for (place, (what, _)) in bad.iter().enumerate() {
                assert_eq!(refused.get(place), Some(&true), "{} takes {what}: {answer}", rpc.name());
            }
            let fine = refused.get(bad.len());
            assert!(fine.is_none_or(|refused| !refused), "{}: {answer}", rpc.name());
            assert!(Message::encoded_len(&answer) < 1 << 20);
        }
    }
    assert!(ways > 60, "{ways}");
    let of = ListCampaignEventsRequest { campaign_id: about.campaign.clone(), ..Default::default() };
    assert_eq!(tenant.all_events(of).await.len(), 1, "the good one, and no other");
    assert_eq!(tenant.all_interest(Default::default()).await.len(), 1);
    assert_eq!(tenant.assignments(&about.campaign).await, [], "assigned, and then not any more");
}

/// Errors that no rule can detect: another tenant's id, another currency, another content, the same item twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_of_an_item_is_its_own() {
    let crm = Crm::start().await;
    let (tenant, stranger) = (crm.tenant(), crm.tenant());
    let about = about(&tenant).await;
    let foreign = stranger.conversation().await;
    let sent = |id: &str| event(id, &about.customer, CampaignEventKind::Sent);
    tenant.record(&about.campaign, &[sent("taken")]).await.expect("recorded");
    let batch = [
        sent("fine"),
        CampaignEvent { kind: CampaignEventKind::Opened.into(), ..sent("taken") },
        CampaignEvent { customer_id: foreign.customer_id, ..sent("foreign") },
        CampaignEvent { conversation_id: foreign.id, ..sent("conversation") },
        CampaignEvent { cost: Some(money("USD", 1, 0)), ..sent("currency") },
        CampaignEvent { cost: Some(money("EUR", 1, 1)), ..sent("fraction") },
        CampaignEvent { kind: CampaignEventKind::Clicked.into(), ..sent("fine") },
        sent("taken"),
        sent("fine"),
    ];
    let results = tenant.record(&about.campaign, &batch).await.expect("an answer");
    let codes = results.iter().map(|result| result.error().map_or(Code::Ok, |error| error.code.into()));
    use Code::{AlreadyExists, InvalidArgument, NotFound, Ok};
    let expected =
        [Ok, AlreadyExists, NotFound, NotFound, InvalidArgument, InvalidArgument, AlreadyExists, Ok, Ok];
    assert_eq!(codes.collect::<Vec<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_in_milliseconds_is_one_events_error() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let about = about(&tenant).await;
    let wrong = Timestamp { seconds: 1_795_000_000_000, nanos: 0 };
    let sent = |id: &str| event(id, &about.customer, CampaignEventKind::Sent);
    let request = RecordCampaignEventsRequest {
        campaign_id: about.campaign.clone(),
        events: vec![CampaignEvent { occur_time: Some(wrong), ..sent("a") }, sent("b")],
        request_id: Uuid::new_v4().to_string(),
    };
    for _ in 0..2 {
        let answer = tenant.campaigns().record_campaign_events(request.clone()).await.expect("an answer");
        let results = answer.into_inner().results;
        refusal(&results[0]).is_invalid(&["occur_time"]);
        assert_eq!((results[1].error(), results[1].deduplicated), (None, false));
    }
}
