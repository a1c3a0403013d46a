//! A few new messages, which are added in one flight: where a message is not new, or its conversation does not take it,
//! the answer is the same as that of a larger batch.

use std::time::Duration;

use crm_backend::pb::{AuditEvent, AuditOutcome, Message};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::support::conversations::message;
use crate::support::{Crm, Refusal, Settings, Tenant, at_once, begin, eventually};

const CREATE: &str = "crm.v1.ConversationService/CreateMessage";

/// A tenant and a conversation whose first message is stored.
async fn begun(crm: &Crm) -> (Tenant, String) {
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    add(&tenant, &talk, "first", "Hello").await.expect("added");
    (tenant, talk)
}

/// Adds a message. Returns its sequence, and whether it existed already.
async fn add(tenant: &Tenant, talk: &str, key: &str, text: &str) -> Result<(i32, bool), Status> {
    let (Message { sequence, .. }, deduplicated) = tenant.add(talk, message(key, text)).await?;
    Ok((sequence, deduplicated))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_sent_again_is_stored_once() {
    let crm = Crm::start().await;
    let (tenant, talk) = begun(&crm).await;
    assert_eq!(add(&tenant, &talk, "a", "One").await.expect("added"), (2, false));
    assert_eq!(add(&tenant, &talk, "a", "One").await.expect("there"), (2, true));
    let other = add(&tenant, &talk, "a", "Another").await;
    assert_eq!(other.expect_err("another text").code(), Code::AlreadyExists);
    assert_eq!(add(&tenant, &talk, "b", "Two").await.expect("added"), (3, false), "no sequence is lost");
    assert_eq!(tenant.read(&talk).await.expect("there").last_sequence, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_is_over_takes_no_new_message_and_acks_what_it_has() {
    let crm = Crm::start().await;
    let (tenant, talk) = begun(&crm).await;
    add(&tenant, &talk, "a", "One").await.expect("added");
    tenant.finish(&talk).await;
    let refused = add(&tenant, &talk, "b", "Two").await.expect_err("it is over");
    refused.is(Code::FailedPrecondition, "CONVERSATION_ENDED");
    assert_eq!(add(&tenant, &talk, "a", "One").await.expect("there"), (2, true));
    let unknown = add(&tenant, &Uuid::now_v7().to_string(), "a", "One").await;
    assert_eq!(unknown.expect_err("no conversation").code(), Code::NotFound);
    assert_eq!(tenant.read(&talk).await.expect("there").last_sequence, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_for_a_locked_conversation_waits_and_others_do_not() {
    let crm = Crm::start().await;
    let (tenant, talk) = begun(&crm).await;
    let other = tenant.conversation().await.id;
    add(&tenant, &other, "first", "Hello").await.expect("added");
    let sql = crm.sql().await;
    let lock =
        format!("SELECT FROM conversations WHERE tenant_id = '{}' AND id = '{talk}' FOR UPDATE", tenant.id);
    sql.run(&format!("BEGIN; {lock}")).await;
    let waiting = begin({
        let (tenant, talk) = (tenant.clone(), talk.clone());
        async move { add(&tenant, &talk, "a", "One").await }
    });
    let watch = crm.sql().await;
    eventually("the message waits for the lock", async || {
        watch.number("SELECT count(*) FROM pg_locks WHERE NOT granted").await > 0
    })
    .await;
    assert_eq!(add(&tenant, &other, "a", "One").await.expect("added"), (2, false));
    sql.run("COMMIT").await;
    assert_eq!(waiting.end().await.expect("added"), (2, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_has_its_event_of_the_audit_log_if_it_is_added_and_only_then() {
    let cover = Duration::from_millis(20);
    let crm = Crm::with(Settings { audit_cover: cover, ..Settings::default() }).await;
    let (tenant, talk) = begun(&crm).await;
    let other = tenant.conversation().await.id;
    let events = async || {
        let events = tenant.events_of(CREATE).await.into_iter();
        let taken = events.filter(|event| event.outcome() == AuditOutcome::Succeeded);
        let place = |event: AuditEvent| {
            let messages = event.messages.expect("it is about messages");
            (event.resource_id, messages.first_sequence, messages.last_sequence)
        };
        taken.map(place).collect::<Vec<_>>()
    };
    let first = (talk.clone(), 1, 1);
    assert_eq!(events().await, std::slice::from_ref(&first));
    tokio::time::sleep(cover).await;
    assert_eq!(add(&tenant, &talk, "first", "Hello").await.expect("there"), (1, true));
    assert_eq!(events().await, std::slice::from_ref(&first), "nothing was added");
    assert_eq!(add(&tenant, &talk, "second", "Hello").await.expect("added"), (2, false));
    let second = (talk.clone(), 2, 2);
    assert_eq!(events().await, [second.clone(), first.clone()], "the repeat has not covered it");
    tenant.finish(&talk).await;
    tokio::time::sleep(cover).await;
    add(&tenant, &talk, "third", "Hello").await.expect_err("it is over");
    assert_eq!(add(&tenant, &other, "first", "Hello").await.expect("added"), (1, false));
    assert_eq!(events().await, [(other, 1, 1), second, first]);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_several_tenants_are_added_together_and_each_gets_its_own_answer() {
    let crm = Crm::start().await;
    let tenants = [begun(&crm).await, begun(&crm).await, begun(&crm).await];
    let [sql, watch] = [crm.sql().await, crm.sql().await];
    let write = |of: usize, key: String| {
        let (tenant, talk) = tenants[of].clone();
        begin(async move { add(&tenant, &talk, &key, "Hello").await.expect("stored") })
    };
    // Wherever in the batch the tenant is whose message comes again.
    for again in 0..tenants.len() {
        sql.run("BEGIN; LOCK TABLE conversation_messages IN SHARE MODE").await;
        let held = write(0, format!("held {again}"));
        eventually("the message waits for the lock", async || {
            watch.number("SELECT count(*) FROM pg_locks WHERE NOT granted").await > 0
        })
        .await;
        // These wait for it, and then are written together.
        let new: Vec<_> = (0..tenants.len()).map(|of| write(of, format!("new {again}"))).collect();
        let known = write(again, "first".to_owned());
        tokio::time::sleep(Duration::from_millis(100)).await;
        sql.run("COMMIT").await;
        assert!(!held.end().await.1);
        for new in new {
            assert!(!new.end().await.1, "it was not there");
        }
        assert_eq!(known.end().await, (1, true));
    }
    for ((tenant, talk), last) in tenants.iter().zip([7, 4, 4]) {
        let places = tenant.messages(talk, 0).await.into_iter().map(|message| message.sequence);
        assert!(places.eq(1..=last), "no hole");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_that_add_the_same_messages_agree_about_their_places() {
    const KEYS: usize = 24;
    let crm = Crm::start().await;
    let (tenant, talk) = begun(&crm).await;
    let replica = crm.replica().await;
    let elsewhere = tenant.through(&replica);
    add(&elsewhere, &talk, "second", "Hello").await.expect("added");
    let placed = at_once((0..KEYS * 4).map(|number| {
        let (tenant, talk) = (if number % 2 == 0 { &tenant } else { &elsewhere }.clone(), talk.clone());
        async move {
            let key = format!("key {}", number / 4);
            let (sequence, deduplicated) = add(&tenant, &talk, &key, &key).await.expect("stored");
            (number / 4, sequence, deduplicated)
        }
    }))
    .await;
    let stored = tenant.messages(&talk, 0).await;
    let sequences: Vec<i32> = stored.iter().map(|message| message.sequence).collect();
    assert_eq!(sequences, (1..=i32::try_from(KEYS + 2).expect("few")).collect::<Vec<_>>(), "no hole");
    for (key, sequence, _) in &placed {
        let place = usize::try_from(*sequence - 1).expect("a place");
        assert_eq!(stored[place].message_key, format!("key {key}"));
    }
    let new = placed.iter().filter(|(_, _, deduplicated)| !deduplicated).count();
    assert_eq!(new, KEYS, "each is new once");
}
