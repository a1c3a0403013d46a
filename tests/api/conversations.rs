//! Conversations, one RPC after the other.

use crm_backend::pb::{
    ContactChannel, Conversation, ConversationEnvironment, ConversationOutcome, ConversationStatus,
    EndConversationRequest, EntryPoint, FollowUp, HandoffReason, ListConversationsRequest, Modality,
    Presenter, PresenterKind,
};
use prost_types::Timestamp;
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::conversations::message;
use crate::support::{Crm, Refusal, STALE_ETAG, Tenant, at_once, micros};

const UNKNOWN: &str = "01939a3c-7d4e-7000-8000-0123456789ab";
const START: Timestamp = Timestamp { seconds: 1_700_000_000, nanos: 123_456_000 };

fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds: START.seconds + seconds, ..START }
}

async fn with(tenant: &Tenant, request: Conversation) -> Result<Conversation, tonic::Status> {
    let customer_id = tenant.customer("Café Zoë").await.id;
    tenant.open(Conversation { customer_id, ..request }).await
}

fn ending(id: &str) -> EndConversationRequest {
    EndConversationRequest { id: id.to_owned(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_is_all_that_a_conversation_needs() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await;
    let request = Conversation { customer_id: zoe.id.clone(), ..Default::default() };
    let talk = tenant.open(request.clone()).await.expect("a conversation");
    assert_eq!(talk.customer_id, zoe.id);
    assert!(uuid::Uuid::parse_str(&talk.session_id).is_ok(), "the server makes a session: {talk:?}");
    assert_eq!(talk.entry_point(), EntryPoint::Unspecified);
    assert_eq!(talk.modality(), Modality::Text);
    assert_eq!(talk.environment(), ConversationEnvironment::Live);
    assert_eq!(talk.status(), ConversationStatus::Open);
    assert_eq!(talk.presenter.as_ref().map(Presenter::kind), Some(PresenterKind::AiAgent));
    assert_eq!((talk.message_count, talk.last_sequence, talk.last_message_time), (0, 0, None));
    assert_eq!((talk.end_time, talk.duration, &talk.latest_analysis), (None, None, &None));
    assert!(micros(talk.start_time) <= micros(talk.create_time));
    assert_eq!(tenant.read(&talk.id).await.expect("it is there"), talk);
    let other = tenant.open(request).await.expect("another one");
    assert_ne!((other.id, other.session_id), (talk.id, talk.session_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_comes_back_as_it_was_sent() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let presenter = Presenter {
        kind: PresenterKind::Hybrid.into(),
        id: "agent-7".to_owned(),
        name: "Ada".to_owned(),
        persona: "Kind.\nShort.".to_owned(),
    };
    let metadata = prost_types::Struct {
        fields: [("a".to_owned(), prost_types::value::Kind::BoolValue(true))]
            .map(|(key, kind)| (key, prost_types::Value { kind: Some(kind) }))
            .into(),
    };
    let request = Conversation {
        session_id: "chat/17".to_owned(),
        entry_point: EntryPoint::Whatsapp.into(),
        contact_channel: ContactChannel::Whatsapp.into(),
        modality: Modality::Voice.into(),
        environment: ConversationEnvironment::Simulation.into(),
        presenter: Some(presenter.clone()),
        start_time: Some(START),
        metadata: Some(metadata.clone()),
        ..Default::default()
    };
    let talk = with(&tenant, request).await.expect("a conversation");
    assert_eq!(talk.session_id, "chat/17");
    assert_eq!((talk.entry_point(), talk.modality()), (EntryPoint::Whatsapp, Modality::Voice));
    assert_eq!(talk.contact_channel(), ContactChannel::Whatsapp);
    assert_eq!(talk.environment(), ConversationEnvironment::Simulation);
    assert_eq!((&talk.presenter, &talk.metadata), (&Some(presenter), &Some(metadata)));
    assert_eq!(talk.start_time, Some(START));
    assert_eq!(tenant.read(&talk.id).await.expect("it is there"), talk);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_conversation_is_not_found() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let change = Conversation { id: UNKNOWN.to_owned(), outcome_notes: "x".to_owned(), ..Default::default() };
    tenant.read(UNKNOWN).await.expect_err("unknown").is(Code::NotFound, "CONVERSATION_NOT_FOUND");
    tenant.revise(change, &[]).await.expect_err("unknown").is(Code::NotFound, "CONVERSATION_NOT_FOUND");
    tenant.end(ending(UNKNOWN)).await.expect_err("unknown").is(Code::NotFound, "CONVERSATION_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_needs_a_customer_that_is_there() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let deleted = tenant.customer("Zoe").await.id;
    tenant.delete(&deleted).await.expect("deleted");
    for customer_id in [UNKNOWN, &deleted] {
        let request = Conversation { customer_id: customer_id.to_owned(), ..Default::default() };
        let error = tenant.open(request).await.expect_err("no such customer");
        error.is(Code::NotFound, "CUSTOMER_NOT_FOUND");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_one_conversation_in_a_tenant() {
    let crm = Crm::start().await;
    let (ana, ben) = (crm.tenant(), crm.tenant());
    let request = Conversation { session_id: "chat".to_owned(), ..Default::default() };
    let talk = with(&ana, request.clone()).await.expect("free");
    with(&ben, request.clone()).await.expect("free for another tenant");
    let error = with(&ana, request).await.expect_err("taken");
    error.is(Code::AlreadyExists, "SESSION_ID_TAKEN");
    let named = error.get_error_details().resource_info().map(|info| info.resource_name.clone());
    assert_eq!(named, Some(talk.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_creates_with_one_session_one_wins() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let customer_id = tenant.customer("Zoe").await.id;
    let creates = (0..16).map(|_| {
        let (tenant, customer_id) = (tenant.clone(), customer_id.clone());
        let request = Conversation { customer_id, session_id: "chat".to_owned(), ..Default::default() };
        async move { tenant.open(request).await }
    });
    let (won, lost): (Vec<_>, Vec<_>) = at_once(creates).await.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    for outcome in lost {
        outcome.expect_err("lost").is(Code::AlreadyExists, "SESSION_ID_TAKEN");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_conversation_says_when_for_how_long_and_what_came_of_it() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let request = Conversation { start_time: Some(START), ..Default::default() };
    let talk = with(&tenant, request).await.expect("a conversation");
    let follow_up = FollowUp { needed: true, due_time: Some(at(86_400)), notes: "Call.\nAgain.".to_owned() };
    let request = EndConversationRequest {
        end_time: Some(at(90)),
        outcome: ConversationOutcome::HandedOff.into(),
        outcome_notes: "Wanted a person.".to_owned(),
        handoff_reason: HandoffReason::CustomerRequest.into(),
        follow_up: Some(follow_up.clone()),
        etag: talk.etag.clone(),
        ..ending(&talk.id)
    };
    let ended = tenant.end(request.clone()).await.expect("ended");
    assert_eq!(ended.status(), ConversationStatus::Ended);
    assert_eq!(ended.end_time, Some(at(90)));
    assert_eq!(ended.duration, Some(prost_types::Duration { seconds: 90, nanos: 0 }));
    assert_eq!(
        (ended.outcome(), ended.outcome_notes.as_str()),
        (ConversationOutcome::HandedOff, "Wanted a person.")
    );
    assert_eq!(ended.handoff_reason(), HandoffReason::CustomerRequest);
    assert_eq!(ended.follow_up, Some(follow_up));
    assert_ne!(ended.etag, talk.etag);
    assert_eq!(tenant.read(&talk.id).await.expect("there"), ended);

    let again = tenant.end(request.clone()).await.expect("ending again, with the old etag, is no error");
    assert_eq!(again, ended);
    let response = tenant.conversations().end_conversation(ending(&talk.id)).await.expect("it says less");
    assert!(response.into_inner().deduplicated);
    let other = EndConversationRequest {
        status: ConversationStatus::Abandoned.into(),
        outcome: ConversationOutcome::Spam.into(),
        outcome_notes: "Wanted a person.".to_owned(),
        ..ending(&talk.id)
    };
    let error = tenant.end(other).await.expect_err("it ended otherwise");
    error.is(Code::FailedPrecondition, "CONVERSATION_ENDED");
    assert!(error.message().contains("in: status, outcome;"), "{error:?}");
    let later = EndConversationRequest {
        end_time: Some(at(91)),
        outcome_notes: "Left.".to_owned(),
        handoff_reason: HandoffReason::ToolFailure.into(),
        follow_up: Some(FollowUp::default()),
        ..request
    };
    let error = tenant.end(later).await.expect_err("it ended otherwise");
    assert!(error.message().contains("in: end_time, outcome_notes, handoff_reason, follow_up;"), "{error:?}");
    assert_eq!(tenant.read(&talk.id).await.expect("there"), ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_conversation_is_imported_in_one_call() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let follow_up = FollowUp { needed: true, due_time: Some(at(86_400)), notes: "Call.".to_owned() };
    let wanted = Conversation {
        session_id: "old".to_owned(),
        start_time: Some(START),
        end_time: Some(at(90)),
        status: ConversationStatus::Abandoned.into(),
        outcome: ConversationOutcome::HandedOff.into(),
        outcome_notes: "Wanted a person.".to_owned(),
        handoff_reason: HandoffReason::CustomerRequest.into(),
        follow_up: Some(follow_up),
        // The server sets these.
        id: UNKNOWN.to_owned(),
        message_count: 7,
        last_sequence: 7,
        etag: "x".to_owned(),
        create_time: Some(START),
        ..Default::default()
    };
    let talk = with(&tenant, wanted.clone()).await.expect("a conversation");
    let expected = Conversation {
        id: talk.id.clone(),
        customer_id: talk.customer_id.clone(),
        modality: Modality::Text.into(),
        environment: ConversationEnvironment::Live.into(),
        presenter: talk.presenter.clone(),
        duration: Some(prost_types::Duration { seconds: 90, nanos: 0 }),
        message_count: 0,
        last_sequence: 0,
        create_time: talk.create_time,
        update_time: talk.update_time,
        etag: talk.etag.clone(),
        ..wanted.clone()
    };
    assert_eq!(talk, expected);
    assert_ne!((talk.id.as_str(), talk.create_time), (UNKNOWN, Some(START)));
    assert_eq!(tenant.read(&talk.id).await.expect("there"), talk);
    tenant
        .add(&talk.id, message("a", "x"))
        .await
        .expect_err("over")
        .is(Code::FailedPrecondition, "CONVERSATION_ENDED");
    with(&tenant, wanted).await.expect("an ended conversation has no session");

    let ended = Conversation { status: ConversationStatus::Ended.into(), ..Default::default() };
    let now = with(&tenant, ended.clone()).await.expect("ended now");
    assert!(now.start_time.is_some() && now.end_time == now.start_time, "{now:?}");
    let past =
        with(&tenant, Conversation { end_time: Some(at(0)), ..ended.clone() }).await.expect("ended then");
    assert_eq!((past.start_time, past.end_time), (Some(START), Some(START)));
    let before = Conversation { start_time: Some(at(1)), end_time: Some(at(0)), ..ended };
    let open = Conversation { end_time: Some(at(0)), ..Default::default() };
    for wrong in [before, open] {
        with(&tenant, wrong).await.expect_err("no such end").is_invalid(&["conversation.end_time"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_there_stays_where_the_end_says_nothing() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let known = Conversation {
        id: talk.id.clone(),
        outcome: ConversationOutcome::Interested.into(),
        outcome_notes: "Likes it.".to_owned(),
        follow_up: Some(FollowUp { needed: true, ..Default::default() }),
        ..Default::default()
    };
    let known = tenant.revise(known, &[]).await.expect("updated");
    let abandoned = ConversationStatus::Abandoned.into();
    let ended =
        tenant.end(EndConversationRequest { status: abandoned, ..ending(&talk.id) }).await.expect("ended");
    let expected = Conversation {
        status: abandoned,
        end_time: ended.end_time,
        duration: ended.duration,
        update_time: ended.update_time,
        etag: ended.etag.clone(),
        ..known
    };
    assert_eq!(ended, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_does_not_end_before_it_began_nor_in_the_future() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let request = Conversation { start_time: Some(START), ..Default::default() };
    let talk = with(&tenant, request).await.expect("a conversation");
    let now = Timestamp::from(std::time::SystemTime::now());
    let future = Timestamp { seconds: now.seconds + 2 * 86_400, nanos: 0 };
    for end_time in [at(-1), future] {
        let request = EndConversationRequest { end_time: Some(end_time), ..ending(&talk.id) };
        tenant.end(request).await.expect_err("no such end").is_invalid(&["end_time"]);
    }
    for start_time in [future, Timestamp { seconds: 0, nanos: 0 }, Timestamp { seconds: -1, nanos: 0 }] {
        let request = Conversation { start_time: Some(start_time), ..Default::default() };
        with(&tenant, request).await.expect_err("no such start").is_invalid(&["conversation.start_time"]);
    }
    assert_eq!(tenant.read(&talk.id).await.expect("there"), talk);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_end_all_but_the_status_can_change() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let ended = tenant.finish(&talk.id).await;
    let notes =
        Conversation { id: talk.id.clone(), outcome_notes: "Bought later.".to_owned(), ..Default::default() };
    let noted = tenant.revise(notes, &[]).await.expect("notes may be added");
    assert_eq!((noted.outcome_notes.as_str(), noted.status), ("Bought later.", ended.status));
    for status in [ConversationStatus::Open, ConversationStatus::Abandoned] {
        let change = Conversation { id: talk.id.clone(), status: status.into(), ..Default::default() };
        let error = tenant.revise(change, &["status"]).await.expect_err("it is over");
        error.is(Code::FailedPrecondition, "CONVERSATION_ENDED");
        assert!(error.get_error_details().precondition_failure().is_some(), "{error:?}");
    }
    tenant.revise(noted.clone(), &[]).await.expect("a whole read-back is no change of status");
    tenant.revise(noted, &["*"]).await.expect("nor is a replacement with the same status");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_end_ends_a_conversation() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    for status in [ConversationStatus::Ended, ConversationStatus::Abandoned] {
        let change = Conversation { id: talk.id.clone(), status: status.into(), ..Default::default() };
        tenant.revise(change, &["status"]).await.expect_err("not here").is_invalid(&["conversation.status"]);
    }
    let request = EndConversationRequest { status: ConversationStatus::Open.into(), ..ending(&talk.id) };
    tenant.end(request).await.expect_err("no end").is_invalid(&["status"]);
    let request = EndConversationRequest { etag: STALE_ETAG.to_owned(), ..ending(&talk.id) };
    tenant.end(request).await.expect_err("stale").is(Code::Aborted, "ETAG_STALE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_changes_neither_etag_nor_update_time() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let (first, _) = tenant.add(&talk.id, message("a", "Hello")).await.expect("added");
    let now = tenant.read(&talk.id).await.expect("there");
    assert_eq!((now.message_count, now.last_sequence), (1, 1));
    assert_eq!(now.last_message_time, first.create_time);
    assert_eq!((&now.etag, now.update_time), (&talk.etag, talk.update_time));
    let change = Conversation { outcome_notes: "x".to_owned(), ..talk.clone() };
    tenant.revise(change, &["outcome_notes"]).await.expect("the etag is fresh");
    tenant.revise(talk, &["outcome_notes"]).await.expect_err("stale").is(Code::Aborted, "ETAG_STALE");
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_of_a_deleted_customer_stay() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    tenant.delete(&talk.customer_id).await.expect("deleted");
    assert_eq!(tenant.read(&talk.id).await.expect("there"), talk);
    tenant.add(&talk.id, message("a", "Hello")).await.expect("and go on");
    let request = ListConversationsRequest { customer_id: talk.customer_id, ..Default::default() };
    assert_eq!(tenant.conversation_page(request).await.expect("a page").conversations.len(), 1);
}
