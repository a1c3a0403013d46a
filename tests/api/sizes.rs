//! Limits are limits in bytes: of pages, of whole resources, and of the rows read for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crm_backend::config::Limits;
use crm_backend::pb::add_message_request::Command as Ask;
use crm_backend::pb::add_message_response::Result as Answer;
use crm_backend::pb::watch_conversation_request::Start;
use crm_backend::pb::{
    AddMessageRequest, CampaignEvent, CampaignEventKind, ContextSectionKind, Conversation,
    ConversationAnalysis, CreateMessageRequest, Customer, GetAiContextRequest, GetAiContextResponse,
    ListCampaignEventsRequest, ListConversationsRequest, ListCustomersRequest, ListMessagesRequest,
    MarkPendingQuestionAnsweredRequest, Message, MessageAction, MessageRole, Objection, ObjectionKind,
    ObjectionStatus, OmissionReason, PendingQuestion, WatchConversationRequest,
};
use prost::Message as _;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::campaigns::event;
use crate::support::context::{self, omitted};
use crate::support::conversations::message;
use crate::support::relay::Relay;
use crate::support::sql::multiply_messages;
use crate::support::{Crm, Refusal, Settings, Tenant, eventually, soon};

/// The limits of a resource and of a page.
const RESOURCE: usize = 1 << 20;
const PAGE: usize = 2 << 20;

/// Returns an object with one long text, which compresses to almost nothing.
fn blanks(bytes: usize) -> Option<Struct> {
    let kind = Some(Kind::StringValue(" ".repeat(bytes)));
    Some(Struct { fields: [("text".to_owned(), Value { kind })].into() })
}

/// Creates a customer of nearly this many bytes.
async fn large(tenant: &Tenant, bytes: usize) -> Customer {
    let customer = tenant.customer("Zoe").await;
    let custom_attributes = blanks(bytes - 1_000);
    let wanted = Customer { id: customer.id, custom_attributes, ..Customer::default() };
    tenant.update(wanted, &["custom_attributes"]).await.expect("not too large")
}

/// Starts a replica whose bytes from Postgres are counted.
async fn counted(crm: &Crm) -> (Relay, crate::support::service::Replica) {
    let relay = Relay::to(crm.database_address()).await;
    let settings = Settings { connections: 1, relay: Some(relay.port()), ..Settings::default() };
    let replica = crm.replica_with(settings).await;
    (relay, replica)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_reads_no_more_than_a_page_and_every_page_can_be_read() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    for _ in 0..12 {
        large(&tenant, RESOURCE - 100_000).await;
    }
    let (relay, replica) = counted(&crm).await;
    let replicated = tenant.through(&replica);
    let mut request = ListCustomersRequest { page_size: 500, ..Default::default() };
    replicated.list(ListCustomersRequest { page_size: 1, ..request.clone() }).await.expect("a page");
    relay.take_read();
    let mut pages = Vec::new();
    loop {
        let page = replicated.list(request.clone()).await.expect("a page");
        let read = usize::try_from(relay.take_read()).expect("few");
        assert!(read <= PAGE + RESOURCE, "{read} bytes of Postgres for a page");
        assert!(page.encoded_len() <= PAGE + 1_000);
        pages.push(page.customers.len());
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(pages.iter().sum::<usize>(), 12);
    assert!(pages.iter().all(|customers| (1..=2).contains(customers)), "{pages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_campaign_events_has_no_more_bytes_than_others() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let (campaign, customer) = (tenant.campaign("Spring").await, tenant.customer("Zoe").await);
    for part in 0..5 {
        let event = |number: usize| CampaignEvent {
            detail: "\u{1f600}".repeat(1_024),
            url: format!("https://cafe.example/{}", "a".repeat(2_000)),
            ..event(&format!("{part}-{number}"), &customer.id, CampaignEventKind::Clicked)
        };
        let events: Vec<_> = (0..100).map(event).collect();
        tenant.record(&campaign.id, &events).await.expect("recorded");
    }
    let mut request =
        ListCampaignEventsRequest { campaign_id: campaign.id, page_size: 500, ..Default::default() };
    let mut pages = Vec::new();
    loop {
        let page = tenant.event_page(request.clone()).await.expect("a page");
        assert!(page.encoded_len() <= PAGE + 1_000, "{} bytes", page.encoded_len());
        pages.push(page.campaign_events.len());
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert!(pages.len() > 1 && pages.iter().sum::<usize>() == 500, "{pages:?}");
}

/// Returns a message with results of tools that compress to almost nothing.
fn with_results(key: usize, results: usize, bytes: usize) -> Message {
    let action =
        || MessageAction { name: "look_up".to_owned(), result: "a".repeat(bytes), ..Default::default() };
    Message {
        message_key: format!("k{key}"),
        role: MessageRole::Assistant.into(),
        content: "x".to_owned(),
        actions: (0..results).map(|_| action()).collect(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_messages_and_a_watch_read_no_more_than_their_bytes() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let conversation = tenant.conversation().await;
    for key in 0..12 {
        let request = CreateMessageRequest {
            conversation_id: conversation.id.clone(),
            message: Some(with_results(key, 3, 250_000)),
            ..Default::default()
        };
        tenant.conversations().create_message(request).await.expect("added");
    }
    let (relay, replica) = counted(&crm).await;
    let replicated = tenant.through(&replica);
    let mut request = ListMessagesRequest {
        conversation_id: conversation.id.clone(),
        page_size: 500,
        ..Default::default()
    };
    let mut seen = 0;
    loop {
        relay.take_read();
        let page =
            replicated.conversations().list_messages(request.clone()).await.expect("a page").into_inner();
        let read = usize::try_from(relay.take_read()).expect("few");
        assert!(read <= PAGE + RESOURCE, "{read} bytes of Postgres for a page");
        assert!(page.encoded_len() <= PAGE + 1_000);
        seen += page.messages.len();
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(seen, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_reads_no_more_than_its_page() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let conversation = tenant.conversation().await;
    tenant.add(&conversation.id, with_results(0, 3, 20_000)).await.expect("added");
    multiply_messages(&crm.sql().await, &conversation.id, 39).await;
    let (relay, replica) = counted(&crm).await;
    let replicated = tenant.through(&replica);
    let watch = WatchConversationRequest {
        conversation_id: conversation.id,
        start: Some(Start::AfterSequence(0)),
        ..Default::default()
    };
    let mut events =
        replicated.conversations().watch_conversation(watch).await.expect("a watch").into_inner();
    soon(events.message()).await.expect("the watch goes on").expect("an event");
    // A message of a page, the one that showed that there are more, and what the connection read ahead.
    let read = relay.take_read();
    assert!(read <= 500_000, "{read} bytes of Postgres");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_grows_to_its_limit_and_no_further_by_whatever_way() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let customer = large(&tenant, RESOURCE - 40_000).await;
    let mut grown = None;
    for number in 0..4 {
        let question = PendingQuestion {
            customer_id: customer.id.clone(),
            question: "What is it?".to_owned(),
            target_field: format!("custom_attributes.k{number}"),
            ..Default::default()
        };
        let (question, _) = tenant.create_question(question).await.expect("a question");
        let answered = MarkPendingQuestionAnsweredRequest {
            id: question.id,
            answer: "\u{1f600}".repeat(8_192),
            write_to_customer: true,
            ..Default::default()
        };
        if let Err(error) = tenant.questions().mark_pending_question_answered(answered).await {
            grown = Some((number, error));
            break;
        }
    }
    let (number, error) = grown.expect("it is refused before the answers have 128 KiB");
    assert_eq!(number, 1, "one answer fits");
    error.is(Code::InvalidArgument, "RESOURCE_TOO_LARGE");
    assert!(error.message().contains("1048576"), "{error:?}");
    let violations = error.get_error_details().bad_request().expect("a BadRequest").field_violations.clone();
    assert_eq!(violations.len(), 1);
    // By a mask too; a change that makes it smaller is accepted.
    let id = || customer.id.clone();
    let brand_voice = Some(crm_backend::pb::BrandVoice {
        sample_texts: (0..4).map(|n| format!("{n}{}", "a".repeat(8_000))).collect(),
        ..Default::default()
    });
    let wanted = Customer { id: id(), brand_voice, ..Customer::default() };
    let error = tenant.update(wanted, &["brand_voice"]).await.expect_err("too large");
    error.is(Code::InvalidArgument, "RESOURCE_TOO_LARGE");
    assert!(tenant.get(&id()).await.expect("it can be read").encoded_len() <= RESOURCE);
    let smaller = Customer { id: id(), custom_attributes: blanks(10), ..Customer::default() };
    tenant.update(smaller, &["custom_attributes"]).await.expect("smaller");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_grows_to_its_limit_with_its_analysis() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let customer_id = tenant.customer("Zoe").await.id;
    let metadata = blanks(RESOURCE - 90_000);
    let conversation = Conversation { customer_id, metadata, ..Default::default() };
    let conversation = tenant.open(conversation).await.expect("not too large");
    let analysis = |objections: usize| ConversationAnalysis {
        conversation_id: conversation.id.clone(),
        model: "m".to_owned(),
        objections: (0..objections)
            .map(|_| Objection {
                kind: ObjectionKind::Price.into(),
                status: ObjectionStatus::Raised.into(),
                evidence: "\u{1f600}".repeat(4_096),
            })
            .collect(),
        ..Default::default()
    };
    tenant.analyse(analysis(5)).await.expect("not too large");
    let error = tenant.analyse(analysis(10)).await.expect_err("too large");
    error.is(Code::InvalidArgument, "RESOURCE_TOO_LARGE");
    let wanted = Conversation {
        id: conversation.id.clone(),
        outcome_notes: "\u{1f600}".repeat(4_096),
        ..Default::default()
    };
    let error = tenant.revise(wanted, &["outcome_notes"]).await.expect_err("too large");
    error.is(Code::InvalidArgument, "RESOURCE_TOO_LARGE");
    let listed = tenant.all_conversations(ListConversationsRequest::default()).await;
    assert!(listed.iter().all(|conversation| conversation.encoded_len() <= RESOURCE));
}

/// Reads a context through a replica whose bytes from Postgres are counted.
async fn context_and_bytes(
    crm: &Crm,
    tenant: &Tenant,
    request: GetAiContextRequest,
) -> (GetAiContextResponse, usize) {
    let (relay, replica) = counted(crm).await;
    let replicated = tenant.through(&replica);
    // A new connection costs some bytes as well.
    replicated.context(request.clone()).await.expect("a context");
    relay.take_read();
    let context = replicated.context(request).await.expect("a context");
    (context, usize::try_from(relay.take_read()).expect("few"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_reads_what_it_can_tell_of_results_of_tools() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let customer = tenant.customer("Zoe").await;
    let conversation = Conversation { customer_id: customer.id.clone(), ..Default::default() };
    let conversation = tenant.open(conversation).await.expect("a conversation");
    tenant.add(&conversation.id, with_results(0, 3, 250_000)).await.expect("added");
    multiply_messages(&crm.sql().await, &conversation.id, 299).await;
    for (max_tokens, most) in [(0, 200_000), (200_000, 4_000_000)] {
        let request = GetAiContextRequest { max_tokens, ..context::of(&customer.id) };
        let (context, read) = context_and_bytes(&crm, &tenant, request).await;
        assert!(read <= most, "{read} bytes of Postgres for {max_tokens} tokens");
        let recent =
            context.sections.iter().find(|section| section.section() == ContextSectionKind::RecentMessages);
        let recent = recent.expect("results of tools do not keep messages out");
        let text = &recent.items.last().expect("the last message").text;
        assert!(text.contains("aaa…\n") && text.len() < 30_000, "{} bytes", text.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_reads_what_it_can_tell_of_analyses() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let customer = tenant.customer("Zoe").await;
    for _ in 0..8 {
        let conversation = Conversation { customer_id: customer.id.clone(), ..Default::default() };
        let conversation = tenant.open(conversation).await.expect("a conversation");
        let analysis = ConversationAnalysis {
            conversation_id: conversation.id,
            summary: format!("They {}", "talked ".repeat(2_000)),
            questions: (0..100).map(|number| format!("{number}?{}", " ".repeat(2_000))).collect(),
            ..Default::default()
        };
        tenant.analyse(analysis).await.expect("not too large");
    }
    let request = GetAiContextRequest { max_tokens: 20_000, ..context::of(&customer.id) };
    let (context, read) = context_and_bytes(&crm, &tenant, request).await;
    assert!(read <= 400_000, "{read} bytes of Postgres");
    let summary = context.sections.iter().find(|section| section.section() == ContextSectionKind::Summary);
    let text = &summary.expect("a summary").items[0].text;
    assert!(text.contains("They talked") && text.contains('…'), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_of_blanks_is_bounded_in_bytes_and_says_so() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let customer = tenant.customer("Zoe").await;
    let conversation = Conversation { customer_id: customer.id.clone(), ..Default::default() };
    let conversation = tenant.open(conversation).await.expect("a conversation");
    tenant.add(&conversation.id, message("k", &format!("x{}", " ".repeat(262_143)))).await.expect("added");
    multiply_messages(&crm.sql().await, &conversation.id, 29).await;
    let request = GetAiContextRequest { max_tokens: 200_000, ..context::of(&customer.id) };
    let context = tenant.context(request).await.expect("a context");
    assert!(context.encoded_len() <= PAGE + 100_000, "{} bytes", context.encoded_len());
    assert!(context.token_count < 100_000, "it is not the tokens: {}", context.token_count);
    let omission = omitted(&context, ContextSectionKind::RecentMessages, OmissionReason::Size);
    assert!(omission > 20, "{:?}", context.omitted);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_a_tenant_hold_so_many_bytes_and_no_other_tenant_waits_for_them() {
    const HELD: usize = 1 << 20;
    const STREAMS: usize = 16;
    const MESSAGES: usize = 5;
    let limits = |limits: &mut Limits| limits.calls.max_stream_bytes_per_tenant = HELD;
    let crm = Crm::with(Settings { limits, ..Settings::default() }).await;
    let (busy, calm) = (crm.tenant(), crm.tenant());
    let conversation = busy.conversation().await.id;
    let calms = calm.conversation().await.id;
    // No request to it is answered.
    let sql = crm.sql().await;
    sql.run(&format!(
        "BEGIN; SELECT FROM conversations WHERE tenant_id = '{}' AND id = '{conversation}' FOR UPDATE",
        busy.id
    ))
    .await;
    let pulled = Arc::new(AtomicUsize::new(0));
    let mut streams = Vec::new();
    for number in 0..STREAMS {
        let (pulled, conversation_id) = (Arc::clone(&pulled), conversation.clone());
        let requests = (0..MESSAGES).map(move |part| {
            pulled.fetch_add(1, Ordering::SeqCst);
            let action = Ask::Message(message(&format!("{number}-{part}"), &"x".repeat(200_000)));
            AddMessageRequest { conversation_id: conversation_id.clone(), command: Some(action) }
        });
        let requests = tokio_stream::iter(requests);
        streams.push(busy.conversations().add_message(requests).await.expect("a stream").into_inner());
    }
    let mut other = calm.stream().await;
    other.send(&calms, message("1", &"y".repeat(200_000)));
    assert_eq!(other.outcome().await.expect("an ack").sequence, 1);
    // In addition to the read bytes, every stream has what HTTP/2 has accepted, and a message that its client is
    // about to send. The read bytes exceed the limit by a message, and by a frame of each stream.
    let mut before = 0;
    eventually("nothing more is read", async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        std::mem::replace(&mut before, pulled.load(Ordering::SeqCst)) == pulled.load(Ordering::SeqCst)
    })
    .await;
    let most = HELD / 200_000 + 1 + 2 + 2 * STREAMS;
    assert!((STREAMS..=most).contains(&before), "{before} messages of {} are read", STREAMS * MESSAGES);
    sql.run("COMMIT").await;
    for stream in &mut streams {
        for _ in 0..MESSAGES {
            let answer = soon(stream.message()).await.expect("the stream lives").expect("an answer");
            assert!(matches!(answer.result, Some(Answer::Ack(_))), "{answer:?}");
        }
    }
}
