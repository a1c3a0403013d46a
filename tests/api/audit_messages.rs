//! Messages in the audit log: an event for the first one, which covers the next ones for a while.

use std::time::Duration;

use crm_backend::pb::{AuditEvent, AuditOutcome, CreateMessageRequest, MessageStatus};
use crm_testkit::Sql;
use tonic::Code;
use uuid::Uuid;

use crate::support::conversations::{delta, message, start};
use crate::support::{Crm, Refusal, Settings, Tenant, at_once, eventually, micros};

const ADD: &str = "crm.v1.ConversationService/AddMessage";
const CREATE: &str = "crm.v1.ConversationService/CreateMessage";

/// Returns the number of stored messages that no event covers.
async fn uncovered(sql: &Sql) -> i64 {
    sql.number(
        "SELECT count(*) FROM conversation_messages m WHERE NOT EXISTS (
             SELECT FROM audit_events e WHERE e.tenant_id = m.tenant_id AND e.resource_id = m.conversation_id
               AND e.outcome = 'SUCCEEDED' AND e.created_at <= m.created_at AND m.created_at < e.covers_until)",
    )
    .await
}

fn covers(event: &AuditEvent) -> (i32, i32) {
    let messages = event.messages.as_ref().expect("it is about messages");
    assert!(micros(messages.cover_end_time) > micros(event.create_time));
    (messages.first_sequence, messages.last_sequence)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_message_has_an_event_that_covers_those_that_follow() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let (talk, other) = (tenant.conversation().await.id, tenant.conversation().await.id);
    let mut stream = tenant.stream().await;
    for number in 0..20 {
        stream.send(&talk, message(&number.to_string(), "Hello"));
        stream.outcome().await.expect("an ack");
    }
    let events = tenant.events_of(ADD).await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!((events[0].resource_id.as_str(), covers(&events[0])), (talk.as_str(), (1, 1)));
    assert_eq!((events[0].principal.as_str(), events[0].outcome()), ("anybody", AuditOutcome::Succeeded));
    assert!(Uuid::try_parse(&events[0].call_id).is_ok());
    stream.send(&other, message("a", "Hello"));
    stream.outcome().await.expect("an ack");
    assert_eq!(tenant.events_of(ADD).await.len(), 2, "another conversation has its own");
    // Unary calls of the same principal are covered too.
    tenant.add(&talk, message("unary", "Hello")).await.expect("added");
    assert_eq!(tenant.events_of(CREATE).await, []);
    assert_eq!(uncovered(&crm.sql().await).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_after_that_has_the_next_event() {
    let cover = Duration::from_millis(20);
    let crm = Crm::with(Settings { audit_cover: cover, ..Settings::default() }).await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    for number in 0..3 {
        tenant.add(&talk, message(&number.to_string(), "Hello")).await.expect("added");
        tokio::time::sleep(cover).await;
    }
    let events = tenant.events_of(CREATE).await;
    assert_eq!(events.iter().map(covers).collect::<Vec<_>>(), [(3, 3), (2, 2), (1, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_that_is_acked_is_covered_by_an_event() {
    let settings = Settings { audit_cover: Duration::from_millis(30), ..Settings::default() };
    let crm = Crm::with(settings.clone()).await;
    let replica = crm.replica_with(settings).await;
    let tenants = [crm.tenant(), crm.tenant()];
    let mut talks = Vec::new();
    for tenant in &tenants {
        for _ in 0..3 {
            talks.push((tenant.clone(), tenant.conversation().await.id));
        }
    }
    let writers = talks.iter().enumerate().flat_map(|(number, (tenant, talk))| {
        let there = tenant.through(&replica);
        [tenant.clone(), there].map(|tenant| write(tenant, talk.clone(), number))
    });
    at_once(writers.collect::<Vec<_>>()).await;
    let sql = crm.sql().await;
    assert_eq!(sql.number("SELECT count(*) FROM conversation_messages").await, 6 * 2 * 100);
    assert_eq!(uncovered(&sql).await, 0);
    let events = sql.number("SELECT count(*) FROM audit_events WHERE covers_until IS NOT NULL").await;
    assert!(events >= 6, "each conversation has one: {events}");
}

/// Writes a hundred messages without waiting, and then receives all acks.
async fn write(tenant: Tenant, talk: String, writer: usize) {
    let mut stream = tenant.stream().await;
    for number in 0..100 {
        stream.send(&talk, message(&format!("{writer} {number} {}", Uuid::new_v4()), "Hello"));
    }
    for _ in 0..100 {
        stream.outcome().await.expect("an ack");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_and_its_event_are_stored_together_or_not_at_all() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let sql = crm.sql().await;
    sql.run("ALTER TABLE audit_events ADD CONSTRAINT full_disk CHECK (covers_until IS NULL) NOT VALID").await;
    let mut stream = tenant.stream().await;
    stream.send(&talk, message("a", "Hello"));
    assert_eq!(stream.outcome().await.expect_err("no event, no message").code(), Code::InvalidArgument);
    tenant
        .add(&talk, message("b", "Hello"))
        .await
        .expect_err("no event, no message")
        .is(Code::InvalidArgument, "FIELD_INVALID");
    assert_eq!(tenant.messages(&talk, 0).await, []);
    sql.run("ALTER TABLE audit_events DROP CONSTRAINT full_disk").await;
    stream.send(&talk, message("a", "Hello"));
    stream.outcome().await.expect("what was not committed is not remembered");
    assert_eq!(tenant.events_of(ADD).await.iter().filter(|event| event.messages.is_some()).count(), 1);
    assert_eq!(uncovered(&sql).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resend_that_changes_nothing_leaves_no_event() {
    let settings = Settings { audit_cover: Duration::from_millis(1), ..Settings::default() };
    let crm = Crm::with(settings).await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    for _ in 0..3 {
        tenant.add(&talk, message("a", "Hello")).await.expect("there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(tenant.events_of(CREATE).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_a_request_id_has_an_event_of_its_own() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    for key in ["a", "b"] {
        let request = CreateMessageRequest {
            conversation_id: talk.clone(),
            message: Some(message(key, "Hello")),
            request_id: Uuid::new_v4().to_string(),
        };
        tenant.conversations().create_message(request.clone()).await.expect("added");
        let events = tenant.events_of(CREATE).await;
        assert_eq!(events.iter().filter(|event| event.request_id == request.request_id).count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_refused_for_one_reason_have_one_event() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    tenant.finish(&talk).await;
    let mut stream = tenant.stream().await;
    for number in 0..10 {
        stream.send(&talk, message(&number.to_string(), "Hello"));
        stream.outcome().await.expect_err("ended").is(Code::FailedPrecondition, "CONVERSATION_ENDED");
        stream.tell(&talk, [delta("x", 0, "Hello")]);
        stream.outcome().await.expect_err("never started");
    }
    eventually("both are there", async || tenant.events_of(ADD).await.len() >= 2).await;
    let events = tenant.events_of(ADD).await;
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(events.iter().all(|event| event.outcome() == AuditOutcome::Failed && event.messages.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_gives_up_is_done_by_the_service() {
    let crm = Crm::with(Settings { lease: Duration::from_millis(200), ..Settings::default() }).await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let mut stream = tenant.stream().await;
    stream.tell(&talk, [start("a", "p"), delta("a", 0, "Hel")]);
    eventually("it is given up", async || {
        tenant.messages(&talk, 0).await.iter().any(|message| message.status() == MessageStatus::Incomplete)
    })
    .await;
    let events = tenant.events_of("Caretaker/ExpireMessage").await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!((events[0].principal.as_str(), events[0].call_id.as_str()), ("service", ""));
    assert_eq!((events[0].resource_id.as_str(), covers(&events[0])), (talk.as_str(), (1, 1)));
    stream.close();
}
