//! Lists of conversations: pages, orders, filters.

use std::collections::BTreeSet;

use crm_backend::pb::{
    Conversation, ConversationAnalysis, ConversationEnvironment, ConversationOutcome, ConversationStatus,
    ConversationView, EntryPoint, FollowUp, GetConversationRequest, ListConversationsRequest, Presenter,
    PresenterKind,
};
use prost_types::Timestamp;
use prost_types::value::Kind;
use tonic::Code;

use crate::support::{Crm, Refusal, Tenant, micros};

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_700_000_000 + seconds, nanos: 0 })
}

async fn all(tenant: &Tenant, mut request: ListConversationsRequest) -> Vec<Conversation> {
    let mut conversations = Vec::new();
    loop {
        let page = tenant.conversation_page(request.clone()).await.expect("a page");
        conversations.extend(page.conversations);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return conversations;
        }
    }
}

fn sessions(conversations: &[Conversation]) -> String {
    conversations.iter().map(|talk| talk.session_id.as_str()).collect()
}

/// Creates conversations a to e: their start times differ from their order of creation, and two are
/// equal.
async fn five(tenant: &Tenant) -> Vec<Conversation> {
    let customer_id = tenant.customer("Zoe").await.id;
    let mut made = Vec::new();
    for (session, start) in [("a", 30), ("b", 10), ("c", 20), ("d", 20), ("e", 0)] {
        let request = Conversation {
            customer_id: customer_id.clone(),
            session_id: session.to_owned(),
            start_time: at(start),
            ..Default::default()
        };
        made.push(tenant.open(request).await.expect("opened"));
    }
    for index in [3, 1] {
        let change = Conversation { outcome_notes: "x".to_owned(), ..made[index].clone() };
        made[index] = tenant.revise(change, &["outcome_notes"]).await.expect("updated");
    }
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn every_order_shows_every_conversation_once_whatever_the_page_size() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    five(&tenant).await;
    let orders = [
        ("", "adcbe"),
        ("start_time", "ebcda"),
        ("start_time desc", "adcbe"),
        ("update_time", "acedb"),
        ("update_time desc", "bdeca"),
    ];
    for (order_by, expected) in orders {
        for page_size in [1, 2, 3, 5, 6] {
            let request =
                ListConversationsRequest { order_by: order_by.to_owned(), page_size, ..Default::default() };
            assert_eq!(sessions(&all(&tenant, request).await), expected, "{order_by} by {page_size}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_that_come_and_change_make_no_page_skip_others() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let made = five(&tenant).await;
    let mut seen = Vec::new();
    let mut request = ListConversationsRequest { page_size: 2, ..Default::default() };
    loop {
        let page = tenant.conversation_page(request.clone()).await.expect("a page");
        seen.extend(page.conversations.iter().map(|talk| talk.id.clone()));
        for start_time in [at(-100), at(100)] {
            let customer_id = made[0].customer_id.clone();
            let new = Conversation { customer_id, start_time, ..Default::default() };
            tenant.open(new).await.expect("opened");
        }
        if made.iter().all(|talk| seen.contains(&talk.id)) {
            break;
        }
        assert!(!page.next_page_token.is_empty(), "a page skips: {seen:?}");
        request.page_token = page.next_page_token;
    }
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len(), "a page repeats");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_filters_must_hold_together() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let presenter = |kind: PresenterKind, id: &str| {
        Some(Presenter { kind: kind.into(), id: id.to_owned(), ..Default::default() })
    };
    let (ana, ben) = (tenant.customer("Ana").await.id, tenant.customer("Ben").await.id);
    let open = async |session: &str,
                      customer: &str,
                      start,
                      entry: EntryPoint,
                      environment: ConversationEnvironment,
                      presenter| {
        let request = Conversation {
            customer_id: customer.to_owned(),
            session_id: session.to_owned(),
            start_time: at(start),
            entry_point: entry.into(),
            environment: environment.into(),
            presenter,
            ..Default::default()
        };
        tenant.open(request).await.expect("opened")
    };
    let live = ConversationEnvironment::Live;
    let agent = PresenterKind::AiAgent;
    let a = open("a", &ana, 1, EntryPoint::Email, live, presenter(agent, "ada")).await;
    let b = open(
        "b",
        &ana,
        2,
        EntryPoint::Sms,
        ConversationEnvironment::Test,
        presenter(PresenterKind::Hybrid, "ada"),
    )
    .await;
    let c = open("c", &ben, 3, EntryPoint::Unspecified, live, presenter(agent, "bot")).await;
    let follow_up = |needed, due_time| Some(FollowUp { needed, due_time, notes: String::new() });
    let a = Conversation {
        outcome: ConversationOutcome::Purchased.into(),
        follow_up: follow_up(true, at(10)),
        ..a
    };
    let b =
        Conversation { status: ConversationStatus::Snoozed.into(), follow_up: follow_up(false, at(10)), ..b };
    let c = Conversation { follow_up: follow_up(true, at(20)), ..c };
    for change in [a, b, c] {
        tenant.revise(change, &["outcome", "status", "follow_up"]).await.expect("updated");
    }
    let every = || ListConversationsRequest { order_by: "start_time".to_owned(), ..Default::default() };
    let text = str::to_owned;
    let (opened, snoozed) = (ConversationStatus::Open.into(), ConversationStatus::Snoozed.into());
    let cases = [
        (every(), "abc"),
        (ListConversationsRequest { customer_id: ana.clone(), ..every() }, "ab"),
        (ListConversationsRequest { session_id: text("b"), ..every() }, "b"),
        (ListConversationsRequest { statuses: vec![opened], ..every() }, "ac"),
        (ListConversationsRequest { statuses: vec![snoozed, opened], ..every() }, "abc"),
        (ListConversationsRequest { entry_points: vec![EntryPoint::Sms.into()], ..every() }, "b"),
        (
            ListConversationsRequest {
                entry_points: vec![EntryPoint::Sms.into(), EntryPoint::Email.into()],
                ..every()
            },
            "ab",
        ),
        (ListConversationsRequest { presenter_kinds: vec![agent.into()], ..every() }, "ac"),
        (ListConversationsRequest { presenter_id: text("ada"), ..every() }, "ab"),
        (ListConversationsRequest { outcomes: vec![ConversationOutcome::Purchased.into()], ..every() }, "a"),
        (ListConversationsRequest { follow_up_due_time_until: at(20), ..every() }, "a"),
        (ListConversationsRequest { follow_up_due_time_until: at(21), ..every() }, "ac"),
        (ListConversationsRequest { follow_up_due_time_from: at(11), ..every() }, "c"),
        (ListConversationsRequest { start_time_from: at(2), ..every() }, "bc"),
        (ListConversationsRequest { start_time_until: at(2), ..every() }, "a"),
        (ListConversationsRequest { environments: vec![live.into()], ..every() }, "ac"),
        (ListConversationsRequest { customer_id: ana.clone(), statuses: vec![opened], ..every() }, "a"),
        (ListConversationsRequest { customer_id: ben, presenter_id: text("ada"), ..every() }, ""),
    ];
    for (request, expected) in cases {
        assert_eq!(sessions(&all(&tenant, request.clone()).await), expected, "{request:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_leaves_out_analyses_and_metadata_unless_it_is_asked_for_them() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let customer_id = tenant.customer("Zoe").await.id;
    let metadata = Some(prost_types::Struct {
        fields: [("k".to_owned(), prost_types::Value { kind: Some(Kind::BoolValue(true)) })].into(),
    });
    let talk = Conversation { customer_id, metadata, ..Default::default() };
    let id = tenant.open(talk).await.expect("opened").id;
    let analysis = ConversationAnalysis { conversation_id: id.clone(), ..Default::default() };
    tenant.analyse(analysis).await.expect("recorded");
    let full = tenant.read(&id).await.expect("there");
    assert!(full.latest_analysis.is_some() && full.metadata.is_some());
    let basic = Conversation { latest_analysis: None, metadata: None, ..full.clone() };
    for (view, listed, got) in [
        (ConversationView::Unspecified, &basic, &full),
        (ConversationView::Basic, &basic, &basic),
        (ConversationView::Full, &full, &full),
    ] {
        let list = ListConversationsRequest { view: view.into(), ..Default::default() };
        let page = tenant.conversation_page(list).await.expect("a page").conversations;
        assert_eq!(page, std::slice::from_ref(listed), "{view:?}");
        let get = GetConversationRequest { id: id.clone(), view: view.into() };
        let answer = tenant.conversations().get_conversation(get).await.expect("there").into_inner();
        assert_eq!(answer.conversation.as_ref(), Some(got), "{view:?}");
    }
    let first = ListConversationsRequest { view: 3, ..Default::default() };
    tenant.conversation_page(first).await.expect_err("no such view").is_invalid(&["view"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_is_good_for_its_own_list_only() {
    let crm = Crm::start().await;
    let (ana, ben) = (crm.tenant(), crm.tenant());
    for tenant in [&ana, &ben] {
        let made = five(tenant).await;
        assert!(micros(made[3].update_time) < micros(made[1].update_time));
    }
    let first = ListConversationsRequest { page_size: 2, ..Default::default() };
    let page_token = ana.conversation_page(first.clone()).await.expect("a page").next_page_token;
    let next = ListConversationsRequest { page_token, ..first };
    ana.conversation_page(next.clone()).await.expect("its own list");
    let other_order = ListConversationsRequest { order_by: "start_time".to_owned(), ..next.clone() };
    let other_filter = ListConversationsRequest { presenter_id: "x".to_owned(), ..next.clone() };
    for (what, tenant, request) in
        [("a tenant", &ben, next.clone()), ("an order", &ana, other_order), ("a filter", &ana, other_filter)]
    {
        let error = tenant.conversation_page(request).await.expect_err(what);
        error.is(Code::InvalidArgument, "PAGE_TOKEN_INVALID");
    }
    let of_customers = crm_backend::pb::ListCustomersRequest {
        page_size: next.page_size,
        page_token: next.page_token,
        ..Default::default()
    };
    ana.list(of_customers).await.expect_err("another list").is(Code::InvalidArgument, "PAGE_TOKEN_INVALID");
}
