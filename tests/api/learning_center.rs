//! Conversions from another system count for campaigns: the examples of docs/engagement.md, exactly as printed there.

use crm_backend::pb::{
    CampaignEventKind, GetCampaignPerformanceResponse, GetConversionFunnelResponse,
    ListCampaignEventsRequest, ListInterestEventsRequest, RecordInterestEventsResponse,
};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use serde_json::Value as Json;

use crate::support::campaigns::{Outcome, event_at};
use crate::support::raw::{call, rpcs};
use crate::support::{Crm, Tenant};

const PAGE: &str = include_str!("../../docs/engagement.md");

/// Returns the page's request for an RPC, with these ids.
fn example(rpc: &str, customer: &str, campaign: &str) -> Json {
    let (_, after) = PAGE.split_once(&format!("/{rpc}`\n\n```json\n")).expect("an example");
    let (text, _) = after.split_once("```").expect("its end");
    let text = text.replace("\"CUSTOMER\"", &format!("\"{customer}\""));
    let text = text.replace("\"CAMPAIGN\"", &format!("\"{campaign}\""));
    serde_json::from_str(&text).expect("JSON")
}

/// Returns a message from JSON, as far as the examples need it.
fn message(descriptor: &MessageDescriptor, json: &Json) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for (name, value) in json.as_object().expect("an object") {
        let field = descriptor.get_field_by_name(name).unwrap_or_else(|| panic!("no field {name}"));
        let value = match value.as_array() {
            Some(items) => Value::List(items.iter().map(|item| self::value(&field, item)).collect()),
            None => self::value(&field, value),
        };
        message.set_field(&field, value);
    }
    message
}

fn value(field: &FieldDescriptor, json: &Json) -> Value {
    match field.kind() {
        Kind::String => Value::String(json.as_str().expect("a text").to_owned()),
        Kind::Int64 => Value::I64(json.as_i64().expect("a number")),
        Kind::Double => Value::F64(json.as_f64().expect("a number")),
        Kind::Enum(words) => {
            let word = json.as_str().expect("a word");
            Value::EnumNumber(words.get_value_by_name(word).expect("a word of the enum").number())
        }
        Kind::Message(inner) if inner.full_name() == "google.protobuf.Timestamp" => {
            let time: prost_types::Timestamp = json.as_str().expect("a time").parse().expect("a time");
            let mut message = DynamicMessage::new(inner);
            message.transcode_from(&time).expect("a time");
            Value::Message(message)
        }
        Kind::Message(inner) => Value::Message(message(&inner, json)),
        kind => panic!("{kind:?} is in no example yet"),
    }
}

/// Makes the call of the page.
async fn run<R: prost::Message + Default>(tenant: &Tenant, rpc: &str, ids: (&str, &str)) -> R {
    let method = rpcs().into_iter().find(|method| method.name() == rpc).expect("an RPC");
    let request = message(&method.input(), &example(rpc, ids.0, ids.1));
    call(tenant, &request, &method).await.expect("an answer").transcode_to().expect("the same message")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_course_that_was_completed_counts_for_the_campaign_and_in_the_funnel_once_for_each_customer() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let campaign = tenant.campaign("Spring courses").await.id;
    let (zoe, ana) = (tenant.customer("Zoe").await.id, tenant.customer("Ana").await.id);
    let sent = |id: &str, who: &str| event_at(id, who, CampaignEventKind::Sent, "2026-03-01T08:00:00Z");
    let before = [sent("1", &zoe), sent("2", &ana)];
    tenant.record(&campaign, &before).await.expect("recorded");
    // Events before the campaign's event do not count as Zoe's entry.
    let other = tenant.campaign("Another").await.id;
    let earlier = event_at("0", &zoe, CampaignEventKind::Delivered, "2026-03-01T07:00:00Z");
    tenant.record(&other, &[earlier]).await.expect("recorded");
    let ids = (zoe.as_str(), campaign.as_str());
    for deduplicated in [false, true] {
        let recorded: RecordInterestEventsResponse = run(&tenant, "RecordInterestEvents", ids).await;
        assert!(recorded.results.iter().all(|result| result.error().is_none()), "{recorded:?}");
        assert!(recorded.results.iter().all(|result| result.deduplicated == deduplicated));
    }
    let mut campaign_events = 0;
    loop {
        let answer: GetCampaignPerformanceResponse = run(&tenant, "GetCampaignPerformance", ids).await;
        let total = answer.total.expect("a total");
        assert_eq!((total.conversion_rate, total.customer_count), (Some(0.5), 2), "one of two, once");
        let conversions = total.conversions.expect("conversions");
        assert_eq!(
            (conversions.customer_count, conversions.campaign_event_count, conversions.interest_event_count),
            (1, campaign_events, 1)
        );
        let rows = conversions.interest_event_rows.expect("rows");
        assert_eq!(rows.campaign_id, campaign);
        assert_eq!(tenant.all_interest(rows).await.len(), 1);
        let days: Vec<_> = answer
            .days
            .iter()
            .filter_map(|day| Some((day.date.as_str(), day.performance.as_ref()?.conversions.as_ref()?)))
            .map(|(date, conversions)| (date, conversions.customer_count))
            .collect();
        assert_eq!(days, [("2026-03-20", 1)]);
        let funnel: GetConversionFunnelResponse = run(&tenant, "GetConversionFunnel", ids).await;
        let reached: Vec<_> = funnel.funnels[0].steps.iter().map(|step| step.customer_count).collect();
        assert_eq!(reached, [2, 1], "as the performance counts");
        if campaign_events == 1 {
            let rows = conversions.campaign_event_rows.expect("rows");
            assert_eq!(tenant.all_events(rows).await.len(), 1);
            break;
        }
        // The campaign reports the same conversion.
        let converted = event_at("3", &zoe, CampaignEventKind::Converted, "2026-03-20T17:00:00Z");
        tenant.record(&campaign, &[converted]).await.expect("recorded");
        campaign_events += 1;
    }
    let of_campaign = ListCampaignEventsRequest { campaign_id: campaign.clone(), ..Default::default() };
    assert_eq!(tenant.all_events(of_campaign).await.len(), 3);
    let all = tenant.all_interest(ListInterestEventsRequest::default()).await;
    assert_eq!(all[0].value.as_ref().map(|value| value.units), Some(290));
    // The same in the statistics of all campaigns.
    let request = crm_backend::pb::GetCampaignStatisticsRequest {
        time_from: Some(crate::support::campaigns::at("2026-03-01T00:00:00Z")),
        time_until: Some(crate::support::campaigns::at("2026-04-01T00:00:00Z")),
        ..Default::default()
    };
    let statistics = tenant.campaign_statistics(request).await.expect("counted");
    let conversions = statistics.total.and_then(|total| total.conversions).expect("conversions");
    assert_eq!((conversions.customer_count, conversions.interest_event_count), (1, 1));
    assert_eq!(conversions.interest_event_rows, None, "no request lists those of all campaigns");
}
