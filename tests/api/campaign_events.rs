//! What happened in campaigns: each event by itself, once.

use std::collections::BTreeSet;

use crm_backend::pb::{
    AssignmentStatus, CampaignEventKind, CreateCampaignRequest, ListCampaignEventsRequest, NewCampaignEvent,
    RecordedEvent,
};
use tonic::Code;
use uuid::Uuid;

use crate::support::campaigns::{at, euros, event, event_at, money, planned, refusal};
use crate::support::{Crm, Refusal, Tenant, micros};

/// How a batch went: the ids of those that were recorded, and which of them were before.
#[track_caller]
fn recorded(results: &[RecordedEvent]) -> Vec<(&str, bool)> {
    results
        .iter()
        .map(|result| {
            assert_eq!(result.error, None, "{result:?}");
            (result.id.as_str(), result.deduplicated)
        })
        .collect()
}

async fn all_of(tenant: &Tenant, campaign_id: &str) -> Vec<crm_backend::pb::CampaignEvent> {
    let campaign_id = campaign_id.to_owned();
    tenant.all_events(ListCampaignEventsRequest { campaign_id, ..Default::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_reads_back_as_it_was_recorded() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let request = CreateCampaignRequest { budget: Some(euros(5)), ..planned("Spring") };
    let campaign = tenant.plan(request).await.expect("created").id;
    let whole = NewCampaignEvent {
        conversation_id: talk.id.clone(),
        cost: Some(money("EUR", 0, 12_345_000)),
        ..event_at("a", &talk.customer_id, CampaignEventKind::Replied, "2026-03-01T08:00:00.123456Z")
    };
    let bare = event("b", &talk.customer_id, CampaignEventKind::Sent);
    let results = tenant.record(&campaign, &[whole.clone(), bare]).await.expect("recorded");
    let ids: Vec<_> = recorded(&results).into_iter().map(|(id, _)| id.to_owned()).collect();
    let events = all_of(&tenant, &campaign).await;
    let [second, first] = events.as_slice() else { panic!("two: {events:?}") };
    assert_eq!((&first.id, &second.id), (&ids[0], &ids[1]));
    assert_eq!((first.event_id.as_str(), first.campaign_id.as_str()), ("a", campaign.as_str()));
    assert_eq!((first.kind(), &first.customer_id), (CampaignEventKind::Replied, &talk.customer_id));
    assert_eq!((first.occur_time, &first.conversation_id), (whole.occur_time, &talk.id));
    assert_eq!(first.cost, whole.cost);
    assert_eq!((second.conversation_id.as_str(), second.cost.as_ref()), ("", None));
    assert!(micros(second.occur_time) <= micros(second.create_time), "now, when not said");
    assert_eq!(Uuid::try_parse(&first.id).expect("a UUID").get_version_num(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_again_is_recorded_once() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let request = CreateCampaignRequest { budget: Some(euros(5)), ..planned("Spring") };
    let campaign = tenant.plan(request).await.expect("created").id;
    let zoe = talk.customer_id.as_str();
    let batch = [
        event("now", zoe, CampaignEventKind::Sent),
        NewCampaignEvent {
            conversation_id: talk.id.clone(),
            cost: Some(euros(1)),
            ..event_at("then", zoe, CampaignEventKind::Opened, "2026-03-01T08:00:00Z")
        },
        event("now", zoe, CampaignEventKind::Sent),
    ];
    let first = tenant.record(&campaign, &batch).await.expect("recorded");
    let ids = recorded(&first);
    assert_eq!(ids, [(ids[0].0, false), (ids[1].0, false), (ids[0].0, true)], "further up in this call");
    for _ in 0..2 {
        let again = tenant.record(&campaign, &batch).await.expect("recorded");
        assert_eq!(recorded(&again), [(ids[0].0, true), (ids[1].0, true), (ids[0].0, true)]);
    }
    assert_eq!(all_of(&tenant, &campaign).await.len(), 2);
    let other = tenant.campaign("Summer").await.id;
    let elsewhere = tenant.record(&other, &batch[..1]).await.expect("recorded");
    assert!(!elsewhere[0].deduplicated, "the id belongs to the campaign");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_with_other_content_is_refused_and_keeps_nothing_else_from_being_recorded() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let other = tenant.customer("Other").await.id;
    let request = CreateCampaignRequest { budget: Some(euros(5)), ..planned("Spring") };
    let campaign = tenant.plan(request).await.expect("created").id;
    let zoe = talk.customer_id.as_str();
    let said = event_at("a", zoe, CampaignEventKind::Opened, "2026-03-01T08:00:00Z");
    let unsaid = event("b", zoe, CampaignEventKind::Opened);
    tenant.record(&campaign, &[said.clone(), unsaid.clone()]).await.expect("recorded");
    let batch = [
        NewCampaignEvent { kind: CampaignEventKind::Clicked.into(), ..said.clone() },
        NewCampaignEvent { customer_id: other, ..said.clone() },
        NewCampaignEvent { occur_time: Some(at("2026-03-01T08:00:00.000001Z")), ..said.clone() },
        NewCampaignEvent { occur_time: None, ..said.clone() },
        NewCampaignEvent { conversation_id: talk.id.clone(), ..said.clone() },
        NewCampaignEvent { cost: Some(euros(0)), ..said.clone() },
        NewCampaignEvent { occur_time: said.occur_time, ..unsaid },
        // Of two new ones it is the first.
        event("c", zoe, CampaignEventKind::Sent),
        event("c", zoe, CampaignEventKind::Delivered),
    ];
    let results = tenant.record(&campaign, &batch).await.expect("an answer");
    for (result, event) in results.iter().zip(&batch) {
        assert_eq!(result.event_id, event.event_id);
        if event.event_id == "c" && event.kind() == CampaignEventKind::Sent {
            assert_eq!((result.error.as_ref(), result.deduplicated), (None, false));
        } else {
            refusal(result).is(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
        }
    }
    assert_eq!(all_of(&tenant, &campaign).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_that_is_refused_does_not_fail_the_others() {
    let crm = Crm::start().await;
    let (tenant, stranger) = (crm.tenant(), crm.tenant());
    let (talk, other) = (tenant.conversation().await, tenant.conversation().await);
    let foreign = stranger.customer("Foreign").await.id;
    let request = CreateCampaignRequest { spent: Some(euros(5)), ..planned("Spring") };
    let campaign = tenant.plan(request).await.expect("created").id;
    let zoe = talk.customer_id.as_str();
    let sent = |event_id: &str| event(event_id, zoe, CampaignEventKind::Sent);
    let soon = chrono::Utc::now() + chrono::TimeDelta::hours(25);
    let soon = prost_types::Timestamp { seconds: soon.timestamp(), nanos: 0 };
    let not_found = |reason| (Code::NotFound, reason, vec![]);
    let invalid = |field: &'static str| (Code::InvalidArgument, "FIELD_INVALID", vec![field]);
    let cases = [
        (event("a", &foreign, CampaignEventKind::Sent), not_found("CUSTOMER_NOT_FOUND")),
        (event("b", &Uuid::now_v7().to_string(), CampaignEventKind::Sent), not_found("CUSTOMER_NOT_FOUND")),
        (NewCampaignEvent { conversation_id: other.id, ..sent("c") }, not_found("CONVERSATION_NOT_FOUND")),
        (
            NewCampaignEvent { conversation_id: Uuid::now_v7().to_string(), ..sent("d") },
            not_found("CONVERSATION_NOT_FOUND"),
        ),
        (NewCampaignEvent { cost: Some(money("USD", 1, 0)), ..sent("e") }, invalid("cost.currency_code")),
        (sent(""), invalid("event_id")),
        (sent(&"x".repeat(129)), invalid("event_id")),
        (event("f", "zoe", CampaignEventKind::Sent), invalid("customer_id")),
        (event("g", zoe, CampaignEventKind::Unspecified), invalid("kind")),
        (NewCampaignEvent { kind: 99, ..sent("h") }, invalid("kind")),
        (NewCampaignEvent { conversation_id: "x".to_owned(), ..sent("i") }, invalid("conversation_id")),
        (NewCampaignEvent { occur_time: Some(soon), ..sent("j") }, invalid("occur_time")),
    ];
    let mut batch: Vec<_> = cases.iter().map(|(event, _)| event.clone()).collect();
    batch.insert(3, sent("fine"));
    batch.push(sent("also fine"));
    let mut results = tenant.record(&campaign, &batch).await.expect("an answer");
    assert_eq!(results.len(), batch.len());
    let fine = [results.pop().expect("the last"), results.remove(3)];
    recorded(&fine);
    for (result, (event, (code, reason, fields))) in results.iter().zip(&cases) {
        let refused = refusal(result);
        refused.is(*code, reason);
        assert_eq!(refused.fields(), *fields, "{event:?}");
    }
    assert_eq!(all_of(&tenant, &campaign).await.len(), 2);
    let without = tenant.campaign("Without a currency").await.id;
    let costly = NewCampaignEvent { cost: Some(euros(1)), ..sent("a") };
    let results = tenant.record(&without, &[costly]).await.expect("an answer");
    refusal(&results[0]).is_invalid(&["cost.currency_code"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_may_follow_one_with_its_id_that_was_refused() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let campaign = tenant.campaign("Spring").await.id;
    let unknown = Uuid::now_v7().to_string();
    let batch = [
        event("a", &unknown, CampaignEventKind::Sent),
        event("a", &zoe, CampaignEventKind::Opened),
        event("a", &zoe, CampaignEventKind::Opened),
    ];
    let results = tenant.record(&campaign, &batch).await.expect("an answer");
    // Its id stands for another event now.
    refusal(&results[0]).is(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
    let fine = recorded(&results[1..]);
    assert_eq!(fine, [(fine[0].0, false), (fine[0].0, true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_of_a_campaign_that_there_is_and_of_a_thousand_events_at_most() {
    let crm = Crm::start().await;
    let (tenant, stranger) = (crm.tenant(), crm.tenant());
    let zoe = tenant.customer("Zoe").await.id;
    let campaign = tenant.campaign("Spring").await.id;
    let batch = |count: usize| -> Vec<_> {
        (0..count).map(|number| event(&format!("{number}"), &zoe, CampaignEventKind::Sent)).collect()
    };
    for count in [0, 1_001] {
        tenant.record(&campaign, &batch(count)).await.expect_err("not so many").is_invalid(&["events"]);
    }
    let results = tenant.record(&campaign, &batch(1_000)).await.expect("recorded");
    assert_eq!(recorded(&results).into_iter().collect::<BTreeSet<_>>().len(), 1_000);
    let foreign = stranger.customer("Foreign").await.id;
    let unknown = Uuid::now_v7().to_string();
    let wrong = event("", &zoe, CampaignEventKind::Sent);
    for (caller, campaign, events) in [
        (&tenant, &unknown, batch(1)),
        (&tenant, &unknown, vec![wrong]),
        (&stranger, &campaign, vec![event("a", &foreign, CampaignEventKind::Sent)]),
    ] {
        let error = caller.record(campaign, &events).await.expect_err("no such campaign");
        error.is(Code::NotFound, "CAMPAIGN_NOT_FOUND");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_late_in_any_order_and_of_anybody() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let (zoe, ana) = (tenant.customer("Zoe").await.id, tenant.customer("Ana").await.id);
    let campaign = tenant.campaign("Spring").await.id;
    tenant.assign(&campaign, &[&zoe]).await.expect("assigned");
    let mut furthest = AssignmentStatus::Assigned;
    for (kind, expected) in [
        (CampaignEventKind::Opened, AssignmentStatus::Opened),
        (CampaignEventKind::Sent, AssignmentStatus::Opened),
        (CampaignEventKind::Converted, AssignmentStatus::Converted),
        (CampaignEventKind::Bounced, AssignmentStatus::Converted),
        (CampaignEventKind::OptedOut, AssignmentStatus::OptedOut),
        (CampaignEventKind::Replied, AssignmentStatus::OptedOut),
    ] {
        let before = tenant.assignments(&campaign).await;
        let events = [event(&format!("{kind:?}"), &zoe, kind), event(&format!("ana {kind:?}"), &ana, kind)];
        recorded(&tenant.record(&campaign, &events).await.expect("recorded"));
        assert_eq!(tenant.progress(&campaign, &zoe).await, expected);
        let after = tenant.assignments(&campaign).await;
        assert_eq!(after == before, furthest == expected, "what does not go further changes nothing");
        furthest = expected;
    }
    assert_eq!(tenant.assignments(&campaign).await.len(), 1, "an event assigns nobody");
    tenant.delete(&ana).await.expect("deleted");
    let results = tenant.record(&campaign, &[event("late", &ana, CampaignEventKind::Opened)]).await;
    recorded(&results.expect("also of one who is deleted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_refused_brings_nobody_further() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let campaign = tenant.campaign("Spring").await.id;
    tenant.assign(&campaign, &[&zoe]).await.expect("assigned");
    tenant.record(&campaign, &[event("a", &zoe, CampaignEventKind::Sent)]).await.expect("recorded");
    let reused = event("a", &zoe, CampaignEventKind::Converted);
    let costly = NewCampaignEvent { cost: Some(euros(1)), ..event("b", &zoe, CampaignEventKind::Opened) };
    let lost = NewCampaignEvent {
        conversation_id: Uuid::now_v7().to_string(),
        ..event("c", &zoe, CampaignEventKind::Replied)
    };
    for result in tenant.record(&campaign, &[reused, costly, lost]).await.expect("an answer") {
        assert!(result.error.is_some(), "{result:?}");
    }
    assert_eq!(tenant.progress(&campaign, &zoe).await, AssignmentStatus::Sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_listed_by_what_they_are_about_and_when_they_happened() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let (zoe, ana) = (tenant.customer("Zoe").await.id, tenant.customer("Ana").await.id);
    let campaigns = [tenant.campaign("a").await.id, tenant.campaign("b").await.id];
    let kinds = [CampaignEventKind::Sent, CampaignEventKind::Opened, CampaignEventKind::Clicked];
    for number in 0..12_usize {
        let customer = if number % 2 == 0 { &zoe } else { &ana };
        let time = format!("2026-03-01T08:{number:02}:00Z");
        let event = event_at(&format!("{number:x}"), customer, kinds[number % 3], &time);
        recorded(&tenant.record(&campaigns[number / 6], &[event]).await.expect("recorded"));
    }
    // The same moment, so that the id decides.
    let twins = ["y", "z"].map(|id| event_at(id, &zoe, CampaignEventKind::Converted, "2026-03-01T08:30:00Z"));
    recorded(&tenant.record(&campaigns[1], &twins).await.expect("recorded"));
    let all = ListCampaignEventsRequest::default;
    let of =
        |campaign: usize| ListCampaignEventsRequest { campaign_id: campaigns[campaign].clone(), ..all() };
    let by = |customer: &String| ListCampaignEventsRequest { customer_id: customer.clone(), ..all() };
    let opened = vec![CampaignEventKind::Opened.into()];
    let either = vec![CampaignEventKind::Opened.into(), CampaignEventKind::Clicked.into()];
    let (from, until) = (Some(at("2026-03-01T08:03:00Z")), Some(at("2026-03-01T08:07:00Z")));
    for (request, expected) in [
        (all(), "zyba9876543210"),
        (ListCampaignEventsRequest { order_by: "occur_time".to_owned(), ..all() }, "0123456789abyz"),
        (of(0), "543210"),
        (of(1), "zyba9876"),
        (by(&ana), "b97531"),
        (ListCampaignEventsRequest { kinds: opened.clone(), ..all() }, "a741"),
        (ListCampaignEventsRequest { kinds: either, ..of(0) }, "5421"),
        (ListCampaignEventsRequest { kinds: opened, ..by(&ana) }, "71"),
        (ListCampaignEventsRequest { customer_id: zoe.clone(), ..of(1) }, "zya86"),
        (ListCampaignEventsRequest { occur_time_from: from, occur_time_until: until, ..all() }, "6543"),
        (ListCampaignEventsRequest { occur_time_from: from, ..of(0) }, "543"),
        (ListCampaignEventsRequest { occur_time_until: until, ..of(1) }, "6"),
        (
            ListCampaignEventsRequest {
                order_by: "occur_time".to_owned(),
                customer_id: ana.clone(),
                ..of(1)
            },
            "79b",
        ),
        (ListCampaignEventsRequest { campaign_id: Uuid::now_v7().to_string(), ..all() }, ""),
    ] {
        for page_size in [1, 3, 0] {
            let request = ListCampaignEventsRequest { page_size, ..request.clone() };
            let found: String =
                tenant.all_events(request.clone()).await.into_iter().map(|event| event.event_id).collect();
            assert_eq!(found, expected, "{request:?}");
        }
    }
}
