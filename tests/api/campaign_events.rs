//! The events of campaigns: each is handled by itself, once.

use std::collections::BTreeSet;

use crm_backend::pb::{
    AssignmentStatus, Campaign, CampaignEvent, CampaignEventKind, CampaignEventResult,
    ListCampaignEventsRequest,
};
use crm_backend::pb::{BounceKind, RecordCampaignEventsRequest, campaign_event_result};
use tonic::Code;
use uuid::Uuid;

use crate::support::campaigns::{Outcome, at, euros, event, event_at, money, planned, refusal};
use crate::support::{Crm, Refusal, Tenant, micros};

/// Returns the ids of a batch's recorded events, and whether each was recorded before.
#[track_caller]
fn recorded(results: &[CampaignEventResult]) -> Vec<(&str, bool)> {
    results
        .iter()
        .map(|result| {
            assert_eq!(result.error(), None, "{result:?}");
            (result.id(), result.deduplicated)
        })
        .collect()
}

/// The event of a result.
#[track_caller]
fn event_of(result: &CampaignEventResult) -> &CampaignEvent {
    match &result.result {
        Some(campaign_event_result::Result::CampaignEvent(event)) => event,
        other => panic!("not recorded: {other:?}"),
    }
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
    let request = Campaign { budget: Some(euros(5)), ..planned("Spring") };
    let campaign = tenant.plan(request).await.expect("created").id;
    let whole = CampaignEvent {
        conversation_id: talk.id.clone(),
        cost: Some(money("EUR", 0, 12_345_000)),
        detail: "Thanks!\nSee you.".to_owned(),
        url: "https://example.com/spring".to_owned(),
        ..event_at("a", &talk.customer_id, CampaignEventKind::Replied, "2026-03-01T08:00:00.123456Z")
    };
    let bare = event("b", &talk.customer_id, CampaignEventKind::Sent);
    let results = tenant.record(&campaign, &[whole.clone(), bare]).await.expect("recorded");
    let ids: Vec<_> = recorded(&results).into_iter().map(|(id, _)| id.to_owned()).collect();
    let answered: Vec<_> = results.iter().map(|result| event_of(result).clone()).collect();
    let events = all_of(&tenant, &campaign).await;
    assert_eq!([&answered[1], &answered[0]], [&events[0], &events[1]], "the answer is what is listed");
    for event in &answered {
        assert_eq!(tenant.read_campaign_event(&event.id).await.expect("there"), *event);
        let error = crm.tenant().read_campaign_event(&event.id).await.expect_err("another tenant's");
        error.is(Code::NotFound, "CAMPAIGN_EVENT_NOT_FOUND");
    }
    let [second, first] = events.as_slice() else { panic!("two: {events:?}") };
    assert_eq!((&first.id, &second.id), (&ids[0], &ids[1]));
    assert_eq!((first.event_id.as_str(), first.campaign_id.as_str()), ("a", campaign.as_str()));
    assert_eq!((first.kind(), &first.customer_id), (CampaignEventKind::Replied, &talk.customer_id));
    assert_eq!((first.occur_time, &first.conversation_id), (whole.occur_time, &talk.id));
    assert_eq!((&first.cost, &first.detail, &first.url), (&whole.cost, &whole.detail, &whole.url));
    assert_eq!((second.conversation_id.as_str(), second.cost.as_ref()), ("", None));
    assert!(micros(second.occur_time) <= micros(second.create_time), "now, when not said");
    assert_eq!(Uuid::try_parse(&first.id).expect("a UUID").get_version_num(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_again_is_recorded_once() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let request = Campaign { budget: Some(euros(5)), ..planned("Spring") };
    let campaign = tenant.plan(request).await.expect("created").id;
    let zoe = talk.customer_id.as_str();
    let batch = [
        event("now", zoe, CampaignEventKind::Sent),
        CampaignEvent {
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
    refusal(&elsewhere[0]).is(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
    let distinct = CampaignEvent { event_id: "elsewhere".to_owned(), ..batch[0].clone() };
    let results = tenant.record(&other, &[distinct]).await.expect("recorded");
    assert!(!results[0].deduplicated);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_with_other_content_is_refused_and_keeps_nothing_else_from_being_recorded() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let other = tenant.customer("Other").await.id;
    let request = Campaign { budget: Some(euros(5)), ..planned("Spring") };
    let campaign = tenant.plan(request).await.expect("created").id;
    let zoe = talk.customer_id.as_str();
    let said = event_at("a", zoe, CampaignEventKind::Opened, "2026-03-01T08:00:00Z");
    let unsaid = event("b", zoe, CampaignEventKind::Opened);
    tenant.record(&campaign, &[said.clone(), unsaid.clone()]).await.expect("recorded");
    let batch = [
        CampaignEvent { kind: CampaignEventKind::Clicked.into(), ..said.clone() },
        CampaignEvent { customer_id: other, ..said.clone() },
        CampaignEvent { occur_time: Some(at("2026-03-01T08:00:00.000001Z")), ..said.clone() },
        CampaignEvent { occur_time: None, ..said.clone() },
        CampaignEvent { conversation_id: talk.id.clone(), ..said.clone() },
        CampaignEvent { cost: Some(euros(0)), ..said.clone() },
        CampaignEvent { occur_time: said.occur_time, ..unsaid },
        // Of two new ones the first is recorded.
        event("c", zoe, CampaignEventKind::Sent),
        event("c", zoe, CampaignEventKind::Delivered),
    ];
    let results = tenant.record(&campaign, &batch).await.expect("an answer");
    for (result, event) in results.iter().zip(&batch) {
        if event.event_id == "c" && event.kind() == CampaignEventKind::Sent {
            assert_eq!((result.event_id(), result.deduplicated), ("c", false));
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
    let request = Campaign { spent: Some(euros(5)), ..planned("Spring") };
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
        (CampaignEvent { conversation_id: other.id, ..sent("c") }, not_found("CONVERSATION_NOT_FOUND")),
        (
            CampaignEvent { conversation_id: Uuid::now_v7().to_string(), ..sent("d") },
            not_found("CONVERSATION_NOT_FOUND"),
        ),
        (CampaignEvent { cost: Some(money("USD", 1, 0)), ..sent("e") }, invalid("cost.currency_code")),
        (sent(""), invalid("event_id")),
        (sent(&"x".repeat(257)), invalid("event_id")),
        (event("f", "zoe", CampaignEventKind::Sent), invalid("customer_id")),
        (event("g", zoe, CampaignEventKind::Unspecified), invalid("kind")),
        (CampaignEvent { kind: 99, ..sent("h") }, invalid("kind")),
        (CampaignEvent { conversation_id: "x".to_owned(), ..sent("i") }, invalid("conversation_id")),
        (CampaignEvent { occur_time: Some(soon), ..sent("j") }, invalid("occur_time")),
        (CampaignEvent { bounce_kind: BounceKind::Hard.into(), ..sent("k") }, invalid("bounce_kind")),
        (CampaignEvent { detail: "x".repeat(1_025), ..sent("l") }, invalid("detail")),
        (CampaignEvent { url: "https://\n".to_owned(), ..sent("m") }, invalid("url")),
        (
            CampaignEvent { campaign_id: Uuid::now_v7().to_string(), ..sent("n") },
            not_found("CAMPAIGN_NOT_FOUND"),
        ),
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
    let costly = CampaignEvent { cost: Some(euros(1)), ..sent("a") };
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
    // Its id belongs to another event now.
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
        (CampaignEventKind::OptedOut, AssignmentStatus::Converted),
        (CampaignEventKind::Replied, AssignmentStatus::Converted),
    ] {
        let before = tenant.assignments(&campaign).await;
        let events = [event(&format!("{kind:?}"), &zoe, kind), event(&format!("ana {kind:?}"), &ana, kind)];
        recorded(&tenant.record(&campaign, &events).await.expect("recorded"));
        assert_eq!(tenant.progress(&campaign, &zoe).await, expected);
        let after = tenant.assignments(&campaign).await;
        // A refusal of contact is shown with the assignment, and does not change its progress.
        let stays = furthest == expected && kind != CampaignEventKind::OptedOut;
        assert_eq!(after == before, stays, "what does not go further changes nothing: {kind:?}");
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
    let costly = CampaignEvent { cost: Some(euros(1)), ..event("b", &zoe, CampaignEventKind::Opened) };
    let lost = CampaignEvent {
        conversation_id: Uuid::now_v7().to_string(),
        ..event("c", &zoe, CampaignEventKind::Replied)
    };
    for result in tenant.record(&campaign, &[reused, costly, lost]).await.expect("an answer") {
        assert!(result.error().is_some(), "{result:?}");
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
    // The same time, so that the id decides.
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

#[tokio::test(flavor = "multi_thread")]
async fn a_call_may_have_events_of_several_campaigns() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let paid = tenant.plan(Campaign { budget: Some(euros(5)), ..planned("Paid") }).await.expect("created").id;
    let free = tenant.campaign("Free").await.id;
    tenant.assign(&paid, &[&zoe]).await.expect("assigned");
    tenant.assign(&free, &[&zoe]).await.expect("assigned");
    let of = |campaign: &str, id: &str, kind| CampaignEvent {
        campaign_id: campaign.to_owned(),
        ..event(id, &zoe, kind)
    };
    let batch = [
        of(&free, "a", CampaignEventKind::Opened),
        CampaignEvent { cost: Some(euros(1)), ..of(&paid, "b", CampaignEventKind::Bounced) },
        CampaignEvent { cost: Some(euros(1)), ..of(&free, "c", CampaignEventKind::Sent) },
        of("", "d", CampaignEventKind::Sent),
        of(&free, "b", CampaignEventKind::Bounced),
    ];
    let batch = batch.map(|event| CampaignEvent {
        bounce_kind: i32::from(event.kind() == CampaignEventKind::Bounced),
        ..event
    });
    let record = async |campaign_id: &str| {
        let request = RecordCampaignEventsRequest {
            campaign_id: campaign_id.to_owned(),
            events: batch.to_vec(),
            ..Default::default()
        };
        tenant.campaigns().record_campaign_events(request).await.map(|answer| answer.into_inner().results)
    };
    let results = record("").await.expect("an answer");
    assert_eq!(recorded(&results[..2]).len(), 2);
    assert_eq!(event_of(&results[1]).bounce_kind(), BounceKind::Hard);
    refusal(&results[2]).is_invalid(&["cost.currency_code"]);
    refusal(&results[3]).is_invalid(&["campaign_id"]);
    refusal(&results[4]).is(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
    let results = record(&paid).await.expect("an answer");
    assert_eq!((event_of(&results[3]).campaign_id.as_str(), results[0].deduplicated), (paid.as_str(), true));
    let error = record(&Uuid::now_v7().to_string()).await.expect_err("no campaign for those that name none");
    error.is(Code::NotFound, "CAMPAIGN_NOT_FOUND");
    assert_eq!((all_of(&tenant, &paid).await.len(), all_of(&tenant, &free).await.len()), (2, 1));
    assert_eq!(tenant.progress(&paid, &zoe).await, AssignmentStatus::Bounced);
    assert_eq!(tenant.progress(&free, &zoe).await, AssignmentStatus::Opened);
    // Events of too many campaigns in one call.
    let events = (0..101).map(|n| of(&Uuid::now_v7().to_string(), &format!("{n}"), CampaignEventKind::Sent));
    let request = RecordCampaignEventsRequest { events: events.collect(), ..Default::default() };
    let error = tenant.campaigns().record_campaign_events(request).await.expect_err("too many");
    error.is_invalid(&["events"]);
}
