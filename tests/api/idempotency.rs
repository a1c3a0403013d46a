//! One effect per request_id.

use std::collections::BTreeSet;

use crm_backend::pb::{CreateCustomerRequest, Customer};
use prost::Message;
use prost_reflect::MethodDescriptor;
use tonic::Code;
use uuid::Uuid;

use crate::support::customers::{named, repeatable};
use crate::support::raw::{call, rpcs};
use crate::support::samples::{self, About};
use crate::support::{Crm, Refusal, Tenant, at_once};

pub(crate) fn mutations() -> Vec<MethodDescriptor> {
    rpcs().into_iter().filter(|rpc| rpc.input().get_field_by_name("request_id").is_some()).collect()
}

/// Creates one of everything, in the state that the RPC needs.
pub(crate) async fn ready_for(tenant: &Tenant, rpc: &MethodDescriptor) -> About {
    let mut about = tenant.everything().await;
    match rpc.name() {
        "MarkPendingQuestionVerified" => {
            tenant.answer(&about.question, "Because.").await.expect("answered");
        }
        "UndeleteCustomer" => {
            tenant.delete(&about.customer).await.expect("deleted");
        }
        // Without events, and without refunds.
        "DeleteCampaign" => about.campaign = tenant.campaign("Summer").await.id,
        "SettlePurchase" | "VoidPurchase" => about.purchase = tenant.purchase(&about.customer).await.id,
        _ => {}
    }
    About { request_id: Uuid::new_v4().to_string(), text: Uuid::new_v4().to_string(), ..about }
}

#[test]
fn every_rpc_that_changes_something_takes_a_request_id() {
    let names: BTreeSet<_> = mutations().iter().map(|rpc| rpc.name().to_owned()).collect();
    let others: Vec<_> = rpcs()
        .iter()
        .map(|rpc| rpc.name().to_owned())
        .filter(|name| !names.contains(name) && !name.starts_with("Get") && !name.starts_with("List"))
        .collect();
    // A stream has the message_key, and the other RPCs change nothing.
    let reads = ["WatchConversation", "SearchCustomerFaqs", "NextPendingQuestions"];
    assert_eq!(others, [&["AddMessage"], &reads[..]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_answers_what_the_first_call_answered() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    for rpc in mutations() {
        let about = ready_for(&tenant, &rpc).await;
        let request = samples::request(&rpc, &about);
        let first = call(&tenant, &request, &rpc).await.expect("done");
        for tenant in [&tenant, &tenant.through(&replica)] {
            let again = call(tenant, &request, &rpc).await.expect("done");
            if rpc.name() == "CreateMessage" {
                // Its own field `deduplicated` differs, and the rest is equal.
                let first: crm_backend::pb::CreateMessageResponse = first.transcode_to().expect("it");
                let again: crm_backend::pb::CreateMessageResponse = again.transcode_to().expect("it");
                assert_eq!(again.message, first.message);
                continue;
            }
            assert_eq!(again.encode_to_vec(), first.encode_to_vec(), "{}", rpc.name());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_with_another_request_is_refused() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    for rpc in mutations() {
        let about = ready_for(&tenant, &rpc).await;
        call(&tenant, &samples::request(&rpc, &about), &rpc).await.expect("done");
        let other = About { request_id: about.request_id.clone(), ..ready_for(&tenant, &rpc).await };
        // The unary variant of a stream: the key belongs to a conversation.
        let other = match rpc.name() {
            "CreateMessage" => About { conversation: about.conversation, ..other },
            _ => other,
        };
        let error = call(&tenant, &samples::request(&rpc, &other), &rpc).await.expect_err(rpc.name());
        error.is(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_belongs_to_one_method() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let request_id = Uuid::new_v4().to_string();
    for rpc in mutations() {
        let about = About { request_id: request_id.clone(), ..ready_for(&tenant, &rpc).await };
        call(&tenant, &samples::request(&rpc, &about), &rpc).await.expect("done");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_sixteen_times_at_once_happens_once() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let request = repeatable(named("Zoe"));
    let creates = (0..16).map(|number| {
        let tenant = if number % 2 == 0 { tenant.clone() } else { tenant.through(&replica) };
        let request = request.clone();
        async move { tenant.send_create(request).await.expect("an answer") }
    });
    let answers = at_once(creates).await;
    let there = tenant.list_all(Default::default()).await;
    assert_eq!(there.len(), 1);
    assert!(answers.iter().all(|answer| *answer == there[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_may_be_sent_again() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    tenant.create(Customer { slug: "zoe".to_owned(), ..named("Zoe") }).await.expect("created");
    let request = repeatable(Customer { slug: "zoe".to_owned(), ..named("Other") });
    tenant.send_create(request.clone()).await.expect_err("taken").is(Code::AlreadyExists, "SLUG_TAKEN");
    let corrected = Customer { slug: "other".to_owned(), ..named("Other") };
    let corrected = CreateCustomerRequest { customer: Some(corrected), ..request };
    tenant.send_create(corrected).await.expect("an error has no effect, and keeps no key");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_kept_for_72_hours_and_then_forgotten() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    let request = repeatable(named("Zoe"));
    let first = tenant.send_create(request.clone()).await.expect("created");
    let hours = "SELECT round(extract(epoch FROM expires_at - created_at) / 3600)::int FROM idempotency_keys";
    assert_eq!(sql.number(hours).await, 72);
    tenant.delete(&first.id).await.expect("deleted");
    assert_eq!(tenant.send_create(request.clone()).await.expect("the first answer"), first);
    sql.run("UPDATE idempotency_keys SET expires_at = now() - interval '1 s'").await;
    let second = tenant.send_create(request).await.expect("created anew");
    assert_ne!(second.id, first.id);
    sql.run("UPDATE idempotency_keys SET expires_at = now() - interval '1 s'").await;
    let request = repeatable(named("Zoe"));
    tenant.send_create(request).await.expect("created");
    assert_eq!(sql.number("SELECT count(*) FROM idempotency_keys").await, 1, "expired keys are swept");
}
