//! Interest events: each is recorded once, with a result of its own.

use std::collections::BTreeSet;

use crm_backend::pb::conversation_event::Event;
use crm_backend::pb::interest_event_result::Result as Told;
use crm_backend::pb::{
    Conversation, ConversationOutcome, ConversationUpdated, InterestEvent, InterestKind,
    ListInterestEventsRequest, RecordInterestEventsRequest,
};
use prost_types::Timestamp;
use tonic::Code;
use uuid::Uuid;

use crate::support::campaigns::{Outcome, money, refusal};
use crate::support::context::at;
use crate::support::engagement::{euros, events, viewed};
use crate::support::{Crm, Refusal, Tenant, at_once};

const UNKNOWN: &str = "01939a3c-7d4e-7000-8000-0123456789ab";

#[tokio::test(flavor = "multi_thread")]
async fn an_event_reads_back_as_it_was_sent() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let autumn = tenant.campaign("Autumn tasting").await.id;
    let event = InterestEvent {
        kind: InterestKind::Declined.into(),
        weight: Some(-2.5),
        value: Some(euros(49, 0)),
        source: "web-shop".to_owned(),
        conversation_id: talk.id.clone(),
        campaign_id: autumn.clone(),
        ..viewed("e1", " Single Origin ", 3)
    };
    let unsaid = InterestEvent { occur_time: None, ..viewed("e2", "Cups", 0) };
    let results = tenant.show(&talk.customer_id, &[event, unsaid]).await;
    let read = tenant.all_interest(Default::default()).await;
    let [cups, beans] = read.as_slice() else { panic!("two events: {read:?}") };
    let expected = InterestEvent {
        id: results[0].id().to_owned(),
        event_id: "e1".to_owned(),
        customer_id: talk.customer_id.clone(),
        kind: InterestKind::Declined.into(),
        subject: " Single Origin ".to_owned(),
        weight: Some(-2.5),
        value: Some(euros(49, 0)),
        source: "web-shop".to_owned(),
        occur_time: at(3),
        conversation_id: talk.id,
        campaign_id: autumn,
        conversation_outcome: 0,
        create_time: beans.create_time,
    };
    for (result, event) in results.iter().zip([beans, cups]) {
        assert_eq!(result.result, Some(Told::InterestEvent(event.clone())), "the answer is what is listed");
        assert_eq!(tenant.read_interest_event(&event.id).await.expect("there"), *event);
        let error = crm.tenant().read_interest_event(&event.id).await.expect_err("another tenant's");
        error.is(Code::NotFound, "INTEREST_EVENT_NOT_FOUND");
    }
    assert_eq!(*beans, expected);
    assert_eq!(
        (cups.weight, cups.occur_time),
        (Some(1.0), cups.create_time),
        "it happened when it was recorded"
    );
    assert_eq!((results[1].event_id(), results[1].id()), ("e2", cups.id.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_recorded_once_however_often_it_is_sent() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let unsaid = InterestEvent { occur_time: None, ..viewed("e2", "Cups", 0) };
    let batch = [viewed("e1", "Beans", 0), unsaid.clone(), viewed("e1", "Beans", 0)];
    let first = tenant.show(&zoe, &batch).await;
    let flags = |results: &[crm_backend::pb::InterestEventResult]| {
        results.iter().map(|result| result.deduplicated).collect::<Vec<_>>()
    };
    assert_eq!(flags(&first), [false, false, true]);
    assert_eq!(first[0].id(), first[2].id());
    let again = tenant.show(&zoe, &batch).await;
    assert_eq!(flags(&again), [true; 3]);
    let ids = |results: &[crm_backend::pb::InterestEventResult]| {
        results.iter().map(|result| result.id().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&again), ids(&first));
    let ana = tenant.customer("Ana").await.id;
    let others = [
        viewed("e1", "beans", 0),
        viewed("e1", "Beans", 1),
        InterestEvent { kind: InterestKind::Asked.into(), ..viewed("e1", "Beans", 0) },
        InterestEvent { weight: Some(2.0), ..viewed("e1", "Beans", 0) },
        InterestEvent { source: "shop".to_owned(), ..viewed("e1", "Beans", 0) },
        InterestEvent { value: Some(euros(1, 0)), ..viewed("e1", "Beans", 0) },
        InterestEvent { customer_id: ana, ..viewed("e1", "Beans", 0) },
        InterestEvent { occur_time: None, ..viewed("e1", "Beans", 0) },
        InterestEvent { occur_time: at(0), ..unsaid },
    ];
    for (result, other) in
        tenant.record_interest(events(&zoe, &others)).await.expect("results").iter().zip(&others)
    {
        let error = refusal(result);
        error.is(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
        assert!(["e1", "e2"].contains(&other.event_id.as_str()), "{other:?}");
    }
    let twice = [viewed("e3", "Mugs", 0), viewed("e3", "Mugs", 7)];
    let results = tenant.record_interest(events(&zoe, &twice)).await.expect("results");
    refusal(&results[1]).is(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(tenant.all_interest(Default::default()).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_that_is_refused_keeps_no_other_from_being_recorded() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let stranger = crm.tenant().conversation().await;
    let ana = tenant.customer("Ana").await.id;
    let text = str::to_owned;
    let tomorrow = std::time::SystemTime::now() + std::time::Duration::from_secs(86_400 + 600);
    let good = |event_id: &str| viewed(event_id, "Beans", 0);
    let invalid = |fields: &'static [&str]| (Code::InvalidArgument, "FIELD_INVALID", fields);
    let no_customer = (Code::NotFound, "CUSTOMER_NOT_FOUND", &[][..]);
    let no_conversation = (Code::NotFound, "CONVERSATION_NOT_FOUND", &[][..]);
    let no_campaign = (Code::NotFound, "CAMPAIGN_NOT_FOUND", &[][..]);
    let bad = [
        (InterestEvent { event_id: String::new(), ..good("") }, invalid(&["event_id"])),
        (good(&"x".repeat(257)), invalid(&["event_id"])),
        (InterestEvent { value: Some(money("eur", 1, 0)), ..good("b0") }, invalid(&["value.currency_code"])),
        (InterestEvent { value: Some(money("EUR", 1, 1)), ..good("c0") }, invalid(&["value.nanos"])),
        (InterestEvent { kind: 0, ..good("b1") }, invalid(&["kind"])),
        (InterestEvent { kind: 99, ..good("b2") }, invalid(&["kind"])),
        (InterestEvent { subject: text(" \u{a0}"), ..good("b3") }, invalid(&["subject"])),
        (InterestEvent { subject: text("a\nb"), ..good("b4") }, invalid(&["subject"])),
        (InterestEvent { subject: "é".repeat(257), ..good("b5") }, invalid(&["subject"])),
        (InterestEvent { weight: Some(100.5), ..good("b6") }, invalid(&["weight"])),
        (InterestEvent { source: text("a\tb"), ..good("b7") }, invalid(&["source"])),
        (InterestEvent { customer_id: text("x"), ..good("b8") }, invalid(&["customer_id"])),
        (InterestEvent { occur_time: Some(tomorrow.into()), ..good("b9") }, invalid(&["occur_time"])),
        (
            InterestEvent { conversation_outcome: ConversationOutcome::Qualified.into(), ..good("b10") },
            invalid(&["conversation_id"]),
        ),
        (InterestEvent { customer_id: text(UNKNOWN), ..good("b11") }, no_customer),
        (InterestEvent { customer_id: stranger.customer_id.clone(), ..good("b12") }, no_customer),
        (InterestEvent { conversation_id: text(UNKNOWN), ..good("b13") }, no_conversation),
        (InterestEvent { conversation_id: stranger.id.clone(), ..good("b14") }, no_conversation),
        (
            InterestEvent { customer_id: ana, conversation_id: talk.id.clone(), ..good("b15") },
            no_conversation,
        ),
        (InterestEvent { campaign_id: text(UNKNOWN), ..good("b16") }, no_campaign),
    ];
    let mut batch = Vec::new();
    for (number, (event, _)) in bad.iter().enumerate() {
        batch.push(good(&format!("g{number}")));
        batch.push(event.clone());
    }
    let results = tenant.record_interest(events(&talk.customer_id, &batch)).await.expect("results");
    for ((event, (code, reason, fields)), pair) in bad.iter().zip(results.chunks(2)) {
        assert!(pair[0].error().is_none() && !pair[0].id().is_empty(), "{:?}", pair[0]);
        let error = refusal(&pair[1]);
        assert_eq!((error.code(), error.reason().as_str()), (*code, *reason), "{event:?}");
        assert_eq!(error.fields(), *fields, "{event:?}");
    }
    let recorded = tenant.all_interest(Default::default()).await;
    assert_eq!(recorded.len(), bad.len());
    assert!(recorded.iter().all(|event| event.event_id.starts_with('g')), "{recorded:?}");
    // A refused event may be sent again after a correction.
    let results = tenant.show(&talk.customer_id, &[good("b1"), good("b16")]).await;
    assert!(results.iter().all(|result| !result.deduplicated));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_has_1_to_1000_events_and_each_has_a_customer() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let many =
        |count: usize| (0..count).map(|number| viewed(&number.to_string(), "Beans", 0)).collect::<Vec<_>>();
    let refused = async |request: RecordInterestEventsRequest| {
        tenant.record_interest(request).await.expect_err("refused")
    };
    refused(events(&zoe, &[])).await.is_invalid(&["events"]);
    refused(events(&zoe, &many(1_001))).await.is_invalid(&["events"]);
    refused(events("x", &many(1))).await.is_invalid(&["customer_id"]);
    let impossible = Timestamp { seconds: 0, nanos: -1 };
    let impossible = InterestEvent { occur_time: Some(impossible), ..viewed("x", "Beans", 0) };
    let results = tenant.record_interest(events(&zoe, &[impossible])).await.expect("a result");
    refusal(&results[0]).is_invalid(&["occur_time"]);
    let results = tenant.record_interest(events("", &many(1))).await.expect("a result");
    refusal(&results[0]).is_invalid(&["customer_id"]);
    assert_eq!(tenant.all_interest(Default::default()).await, []);
    assert_eq!(tenant.show(&zoe, &many(1_000)).await.len(), 1_000);
    let read = tenant.all_interest(ListInterestEventsRequest { page_size: 500, ..Default::default() }).await;
    assert_eq!(read.iter().map(|event| &event.event_id).collect::<BTreeSet<_>>().len(), 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_that_is_deleted_may_have_events() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    tenant.delete(&zoe).await.expect("deleted");
    tenant.show(&zoe, &[viewed("late", "Beans", 0)]).await;
    assert_eq!(tenant.all_interest(Default::default()).await.len(), 1);
    tenant.scores(&zoe, None).await.expect_err("deleted").is(Code::NotFound, "CUSTOMER_NOT_FOUND");
}

/// Returns events without the fields that differ between two recordings.
async fn recorded(tenant: &Tenant) -> Vec<InterestEvent> {
    let mut events = tenant.all_interest(Default::default()).await;
    for event in &mut events {
        event.id = String::new();
        event.customer_id = String::new();
        event.create_time = None;
    }
    events.sort_by(|one, other| one.event_id.cmp(&other.event_id));
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_twice_and_shuffled_from_eight_clients_gives_the_same_rows_and_scores() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let (once, twice) = (crm.tenant(), crm.tenant());
    let subjects = ["Beans", "beans ", "CUPS", "cups", "Mugs"];
    let shown: Vec<_> = (0..200_i64)
        .map(|number| {
            let subject = subjects[usize::try_from(number * 7 % 5).expect("small")];
            // Many have the same time.
            let event = viewed(&format!("e{}", number * 131 % 200), subject, number / 4 * 500);
            InterestEvent { weight: Some(0.1 * (number % 23) as f64 - 0.7), ..event }
        })
        .collect();
    let (first, second) = (once.customer("Zoe").await.id, twice.customer("Zoe").await.id);
    for chunk in shown.chunks(50) {
        once.show(&first, chunk).await;
    }
    let clients = (0..8_usize).map(|client| {
        let tenant = if client % 2 == 0 { twice.clone() } else { twice.through(&replica) };
        let mut own: Vec<_> = shown
            .iter()
            .enumerate()
            .filter(|(index, _)| index % 4 == client % 4)
            .map(|(_, e)| e.clone())
            .collect();
        own.rotate_left(client * 5);
        if client >= 4 {
            own.reverse();
        }
        let customer = second.clone();
        async move {
            let mut new = 0;
            for chunk in own.chunks(13) {
                let results = tenant.show(&customer, chunk).await;
                new += results.iter().filter(|result| !result.deduplicated).count();
            }
            new
        }
    });
    assert_eq!(at_once(clients).await.iter().sum::<usize>(), 200, "each is new once");
    assert_eq!(recorded(&twice).await, recorded(&once).await);
    let as_of = at(30_000);
    let scores = once.scores(&first, as_of).await.expect("scores");
    assert_eq!(twice.scores(&second, as_of).await.expect("scores"), scores, "to the last bit");
    assert_eq!(scores.interest_scores.iter().map(|score| score.event_count).sum::<i32>(), 200);
}

/// Returns a conversation's outcome in an event of a watch.
fn outcome_of(event: &Event) -> ConversationOutcome {
    match event {
        Event::ConversationUpdated(ConversationUpdated {
            conversation: Some(Conversation { outcome, .. }),
        }) => ConversationOutcome::try_from(*outcome).expect("an outcome"),
        other => panic!("not an update: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_event_sets_the_outcome_of_its_conversation_and_watchers_hear_of_it() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let mut watch = tenant.watch(&talk.id, None).await;
    let mut far = tenant.through(&replica).watch(&talk.id, None).await;
    let with = |event_id: &str, outcome: ConversationOutcome| InterestEvent {
        conversation_id: talk.id.clone(),
        conversation_outcome: outcome.into(),
        ..viewed(event_id, "Beans", 0)
    };
    let batch = [
        with("e1", ConversationOutcome::Interested),
        with("e2", ConversationOutcome::MeetingBooked),
        viewed("e3", "Cups", 0),
    ];
    tenant.show(&talk.customer_id, &batch).await;
    for watch in [&mut watch, &mut far] {
        assert_eq!(
            outcome_of(&watch.next().await),
            ConversationOutcome::MeetingBooked,
            "the last one counts"
        );
    }
    let after = tenant.read(&talk.id).await.expect("there");
    assert_eq!(after.outcome(), ConversationOutcome::MeetingBooked);
    // A person's value counts more, and a resend does not undo it.
    let better = Conversation { outcome: ConversationOutcome::Disqualified.into(), ..after };
    let better = tenant.revise(better, &["outcome"]).await.expect("revised");
    assert_eq!(outcome_of(&watch.next().await), ConversationOutcome::Disqualified);
    tenant.show(&talk.customer_id, &batch).await;
    let resent = tenant.read(&talk.id).await.expect("there");
    assert_eq!((resent.outcome(), resent.etag), (ConversationOutcome::Disqualified, better.etag));
    let other = [with("e1", ConversationOutcome::Purchased)];
    let results = tenant.record_interest(events(&talk.customer_id, &other)).await.expect("a result");
    refusal(&results[0]).is(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
    // Also for an ended conversation; its end does not change.
    let ended = tenant.finish(&talk.id).await;
    tenant.show(&talk.customer_id, &[with("e4", ConversationOutcome::Purchased)]).await;
    let after = tenant.read(&talk.id).await.expect("there");
    assert_eq!(
        (after.outcome(), after.status(), after.end_time),
        (ConversationOutcome::Purchased, ended.status(), ended.end_time)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_clients_that_set_outcomes_of_the_same_conversations_do_not_block_each_other() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let mut talks = Vec::new();
    for minutes in 0..6 {
        talks.push(tenant.talk(&zoe, minutes, Vec::new()).await);
    }
    let clients = (0..8_usize).map(|client| {
        let (tenant, zoe, mut talks) = (tenant.clone(), zoe.clone(), talks.clone());
        talks.rotate_left(client % 6);
        async move {
            let outcome = if client % 2 == 0 {
                ConversationOutcome::Interested
            } else {
                ConversationOutcome::Qualified
            };
            let shown: Vec<_> = talks
                .into_iter()
                .map(|talk| InterestEvent {
                    conversation_outcome: outcome.into(),
                    event_id: format!("{client}/{talk}"),
                    conversation_id: talk,
                    ..viewed("", "Beans", 0)
                })
                .collect();
            tenant.show(&zoe, &shown).await;
        }
    });
    at_once(clients).await;
    for talk in &talks {
        let talk = tenant.read(talk).await.expect("there");
        assert!(
            [ConversationOutcome::Interested, ConversationOutcome::Qualified].contains(&talk.outcome()),
            "{talk:?}"
        );
    }
    assert_eq!(tenant.all_interest(Default::default()).await.len(), 48);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_of_a_batch_answers_what_the_first_call_answered() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let request = RecordInterestEventsRequest {
        request_id: Uuid::new_v4().to_string(),
        ..events(&zoe, &[viewed("e1", "Beans", 0), viewed("", "Beans", 0)])
    };
    let first = tenant.record_interest(request.clone()).await.expect("results");
    assert_eq!(tenant.record_interest(request).await.expect("the same"), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_hold_together_and_pages_show_every_event_once() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let autumn = tenant.campaign("Autumn").await.id;
    let ana = tenant.customer("Ana").await.id;
    let shown = [
        viewed("e0", "Beans", 0),
        InterestEvent { kind: InterestKind::Asked.into(), ..viewed("e1", " BEANS  and cups", 1) },
        InterestEvent { conversation_id: talk.id.clone(), ..viewed("e2", "beans", 2) },
        InterestEvent { campaign_id: autumn.clone(), ..viewed("e3", "Straße", 2) },
        InterestEvent { customer_id: ana.clone(), ..viewed("e4", "beans", 3) },
        InterestEvent { kind: InterestKind::Converted.into(), ..viewed("e5", "Beans And\u{a0}Cups", 4) },
    ];
    tenant.show(&talk.customer_id, &shown).await;
    let all = ListInterestEventsRequest::default;
    let (asked, converted) = (InterestKind::Asked.into(), InterestKind::Converted.into());
    let about = |subject: &str| ListInterestEventsRequest { subject: subject.to_owned(), ..all() };
    let cases = [
        (ListInterestEventsRequest { customer_id: ana, ..all() }, vec!["e4"]),
        (ListInterestEventsRequest { conversation_id: talk.id.clone(), ..all() }, vec!["e2"]),
        (ListInterestEventsRequest { campaign_id: autumn, ..all() }, vec!["e3"]),
        (ListInterestEventsRequest { kinds: vec![asked], ..all() }, vec!["e1"]),
        (ListInterestEventsRequest { kinds: vec![asked, converted], ..all() }, vec!["e5", "e1"]),
        (about("beans"), vec!["e4", "e2", "e0"]),
        (about("  BEANS "), vec!["e4", "e2", "e0"]),
        (about("beans and cups"), vec!["e5", "e1"]),
        (about("STRASSE"), vec!["e3"]),
        (about("bean"), vec![]),
        (about(" "), vec![]),
        (ListInterestEventsRequest { occur_time_from: at(3), ..all() }, vec!["e5", "e4"]),
        (ListInterestEventsRequest { occur_time_until: at(1), ..all() }, vec!["e0"]),
        (
            ListInterestEventsRequest {
                customer_id: talk.customer_id,
                occur_time_from: at(1),
                ..about("beans")
            },
            vec!["e2"],
        ),
    ];
    let names =
        |events: &[InterestEvent]| events.iter().map(|event| event.event_id.clone()).collect::<Vec<_>>();
    for (request, expected) in cases {
        for page_size in [1, 0] {
            let request = ListInterestEventsRequest { page_size, ..request.clone() };
            assert_eq!(names(&tenant.all_interest(request.clone()).await), expected, "{request:?}");
        }
    }
    let newest = tenant.all_interest(all()).await;
    for page_size in [1, 2, 5, 500] {
        let by =
            |order_by: &str| ListInterestEventsRequest { page_size, order_by: order_by.to_owned(), ..all() };
        assert_eq!(tenant.all_interest(by("occur_time desc")).await, newest);
        let mut oldest = tenant.all_interest(by("occur_time")).await;
        oldest.reverse();
        assert_eq!(oldest, newest);
    }
    let order_by = "subject".to_owned();
    let error =
        tenant.interest_page(ListInterestEventsRequest { order_by, ..all() }).await.expect_err("closed");
    error.is_invalid(&["order_by"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_may_use_the_same_event_ids() {
    let crm = Crm::start().await;
    let mut seen = BTreeSet::new();
    for tenant in [crm.tenant(), crm.tenant()] {
        let zoe = tenant.customer("Zoe").await.id;
        let results = tenant.show(&zoe, &[viewed("e1", "Beans", 0)]).await;
        assert!(!results[0].deduplicated);
        seen.insert(results[0].id().to_owned());
        assert_eq!(tenant.all_interest(Default::default()).await.len(), 1);
    }
    assert_eq!(seen.len(), 2);
}
