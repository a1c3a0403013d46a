//! A session has one conversation at a time: it ends, is reopened, or another one begins.

use crm_backend::pb::conversation_event::Event;
use crm_backend::pb::{
    Conversation, ConversationOutcome, ConversationStatus, CreateConversationRequest,
    CreateConversationResponse, EndConversationRequest, ListConversationsRequest, ReopenConversationRequest,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::conversations::message;
use crate::support::watch::BEGINNING;
use crate::support::{Crm, Refusal, Tenant, at_once};

const NUMBER: &str = "+49 30 901820";

fn call_of(customer_id: &str) -> Conversation {
    Conversation { customer_id: customer_id.to_owned(), session_id: NUMBER.to_owned(), ..Default::default() }
}

/// Creates a conversation, or reuses the open one.
fn reuse(conversation: Conversation) -> CreateConversationRequest {
    CreateConversationRequest { conversation: Some(conversation), reuse_open: true, ..Default::default() }
}

fn reopening(id: &str) -> ReopenConversationRequest {
    ReopenConversationRequest { id: id.to_owned(), ..Default::default() }
}

async fn create(tenant: &Tenant, request: CreateConversationRequest) -> Result<(Conversation, bool), Status> {
    let CreateConversationResponse { conversation, reused } =
        tenant.conversations().create_conversation(request).await?.into_inner();
    Ok((conversation.expect("the conversation"), reused))
}

/// Checks that an error names the conversation that has the session.
#[track_caller]
fn is_taken_by(error: &Status, id: &str) {
    error.is(Code::AlreadyExists, "SESSION_ID_TAKEN");
    let named = error.get_error_details().resource_info().map(|info| info.resource_name.clone());
    assert_eq!(named.as_deref(), Some(id));
    assert!(error.message().contains(id), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_one_conversation_after_the_other() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let mut ended = Vec::new();
    for _ in 0..3 {
        let talk = tenant.open(call_of(&zoe)).await.expect("the session is free");
        is_taken_by(&tenant.open(call_of(&zoe)).await.expect_err("taken"), &talk.id);
        tenant.finish(&talk.id).await;
        ended.push(talk.id);
    }
    let list = ListConversationsRequest {
        session_id: NUMBER.to_owned(),
        order_by: "start_time".to_owned(),
        ..Default::default()
    };
    let listed = tenant.conversation_page(list).await.expect("a page").conversations;
    assert_eq!(listed.into_iter().map(|talk| talk.id).collect::<Vec<_>>(), ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_is_the_key_of_a_retry_also_after_the_end() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let request = CreateConversationRequest {
        conversation: Some(call_of(&zoe)),
        request_id: "0199d1c0-0000-7000-8000-000000000001".to_owned(),
        ..Default::default()
    };
    let (talk, _) = create(&tenant, request.clone()).await.expect("a conversation");
    tenant.finish(&talk.id).await;
    assert_eq!(create(&tenant, request).await.expect("the first answer").0, talk);
    let other = tenant.open(call_of(&zoe)).await.expect("another one");
    assert_ne!(other.id, talk.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_is_reused_where_that_is_asked_for() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let (zoe, ben) = (tenant.customer("Zoe").await.id, tenant.customer("Ben").await.id);
    let (talk, reused) = create(&tenant, reuse(call_of(&zoe))).await.expect("a new one");
    assert!(!reused);
    tenant.add(&talk.id, message("a", "Hello")).await.expect("added");
    let wish = Conversation { modality: crm_backend::pb::Modality::Voice.into(), ..call_of(&zoe) };
    let (again, reused) = create(&tenant, reuse(wish)).await.expect("the same");
    assert!(reused);
    assert_eq!((&again.id, again.message_count, again.modality), (&talk.id, 1, talk.modality), "as it is");
    is_taken_by(&create(&tenant, reuse(call_of(&ben))).await.expect_err("another customer's"), &talk.id);
    tenant.finish(&talk.id).await;
    let (next, reused) = create(&tenant, reuse(call_of(&zoe))).await.expect("a new one");
    assert!(!reused && next.id != talk.id);
    let nameless = Conversation { session_id: String::new(), ..call_of(&zoe) };
    let error = create(&tenant, reuse(nameless)).await.expect_err("no session");
    error.is_invalid(&["conversation.session_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_reuse_a_session_at_once_one_opens_it() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let creates = (0..16).map(|_| {
        let (tenant, request) = (tenant.clone(), reuse(call_of(&zoe)));
        async move { create(&tenant, request).await.expect("a conversation") }
    });
    let answers = at_once(creates).await;
    assert_eq!(answers.iter().filter(|(_, reused)| !reused).count(), 1);
    assert!(answers.iter().all(|(talk, _)| talk.id == answers[0].0.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reopened_conversation_goes_on_where_it_was() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    tenant.add(&talk.id, message("a", "Hello")).await.expect("added");
    let ending = EndConversationRequest {
        id: talk.id.clone(),
        status: ConversationStatus::Abandoned.into(),
        outcome: ConversationOutcome::NoResponse.into(),
        outcome_notes: "Gone.".to_owned(),
        ..Default::default()
    };
    let ended = tenant.end(ending).await.expect("ended");
    let refused = tenant.add(&talk.id, message("b", "Are you there?")).await.expect_err("it is over");
    refused.is(Code::FailedPrecondition, "CONVERSATION_ENDED");
    assert!(refused.message().contains("ReopenConversation"), "{refused:?}");

    let stale = ReopenConversationRequest { etag: talk.etag.clone(), ..reopening(&talk.id) };
    tenant.reopen(stale).await.expect_err("stale").is(Code::Aborted, "ETAG_STALE");
    let request = ReopenConversationRequest {
        etag: ended.etag.clone(),
        request_id: "0199d1c0-0000-7000-8000-000000000002".to_owned(),
        ..reopening(&talk.id)
    };
    let open = tenant.reopen(request.clone()).await.expect("reopened");
    let expected = Conversation {
        status: ConversationStatus::Open.into(),
        end_time: None,
        duration: None,
        update_time: open.update_time,
        etag: open.etag.clone(),
        ..ended.clone()
    };
    assert_eq!(open, expected);
    assert_ne!(open.etag, ended.etag);
    assert_eq!(tenant.reopen(reopening(&talk.id)).await.expect("it is open"), open, "again changes nothing");
    let (next, _) = tenant.add(&talk.id, message("b", "Are you there?")).await.expect("added");
    assert_eq!(next.sequence, 2, "the sequence goes on");
    let again = tenant.finish(&talk.id).await;
    assert_eq!(
        (again.status(), again.outcome()),
        (ConversationStatus::Ended, ConversationOutcome::NoResponse)
    );
    assert_eq!(tenant.reopen(request).await.expect("the first answer"), open, "a retry reopens nothing");
    assert_eq!(tenant.read(&talk.id).await.expect("there"), again);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_way_back_is_not_reopened() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let unknown = "01939a3c-7d4e-7000-8000-0123456789ab";
    let error = tenant.reopen(reopening(unknown)).await.expect_err("unknown");
    error.is(Code::NotFound, "CONVERSATION_NOT_FOUND");

    let zoe = tenant.customer("Zoe").await.id;
    let first = tenant.open(call_of(&zoe)).await.expect("a conversation").id;
    tenant.finish(&first).await;
    let second = tenant.open(call_of(&zoe)).await.expect("another one").id;
    is_taken_by(&tenant.reopen(reopening(&first)).await.expect_err("the session is taken"), &second);
    tenant.finish(&second).await;
    // The first of the two gets the session.
    let reopened = at_once([&first, &second].map(|id| {
        let (tenant, request) = (tenant.clone(), reopening(id));
        async move { tenant.reopen(request).await }
    }))
    .await;
    assert_eq!(reopened.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{reopened:?}");
    let refused = reopened.into_iter().find_map(Result::err).expect("the other");
    refused.is(Code::AlreadyExists, "SESSION_ID_TAKEN");

    let talk = tenant.conversation().await;
    tenant.finish(&talk.id).await;
    tenant.delete(&talk.customer_id).await.expect("deleted");
    let error = tenant.reopen(reopening(&talk.id)).await.expect_err("its customer is deleted");
    error.is(Code::NotFound, "CUSTOMER_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_are_told_of_the_end_the_reopening_and_what_follows() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let mut live = tenant.watch(&talk, BEGINNING).await;
    tenant.add(&talk, message("a", "Hello")).await.expect("added");
    tenant.finish(&talk).await;
    let mut token = String::new();
    loop {
        let (at, told) = live.next_with_token().await;
        token = if matches!(told, Event::Checkpoint(_)) { token } else { at };
        if matches!(told, Event::ConversationEnded(_)) {
            break;
        }
    }
    tenant.reopen(reopening(&talk)).await.expect("reopened");
    tenant.add(&talk, message("b", "Again")).await.expect("added");
    // A later watcher gets the same events.
    let start = crm_backend::pb::watch_conversation_request::Start::ResumeToken(token);
    let late = tenant.watch(&talk, Some(start)).await;
    for mut watch in [live, late] {
        let reopened = loop {
            match watch.next().await {
                Event::Checkpoint(_) => {}
                told => break told,
            }
        };
        let Event::ConversationUpdated(told) = &reopened else { panic!("{reopened:?}") };
        let conversation = told.conversation.as_ref().expect("a conversation");
        assert_eq!((conversation.status(), &conversation.end_time), (ConversationStatus::Open, &None));
        let added = watch.next().await;
        let Event::MessageAdded(told) = &added else { panic!("{added:?}") };
        assert_eq!(told.message.as_ref().map(|message| message.sequence), Some(2));
    }
    let mut third = tenant.watch(&talk, BEGINNING).await;
    third.until_messages(2).await;
    tenant.finish(&talk).await;
    while !matches!(third.next().await, Event::ConversationEnded(_)) {}
}
