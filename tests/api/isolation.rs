//! Two tenants: neither sees, changes or learns about the other's data.

use std::collections::BTreeSet;

use crm_backend::pb::{
    Conversation, CreateCustomerRequest, ListConsentsRequest, ListConversationsRequest,
    ListPendingQuestionsRequest,
};
use crm_testkit::Sql;
use prost::Message;
use prost_reflect::MethodDescriptor;
use tonic::Code;
use uuid::Uuid;

use crate::support::citus::Citus;
use crate::support::customers::{creation, named, repeatable};
use crate::support::raw::{call, rpcs, stream_error};
use crate::support::samples::{self, About};
use crate::support::{Crm, Refusal};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_another_tenants_answers_like_what_is_unknown_in_every_rpc() {
    let crm = Crm::start().await;
    let (ana, ben) = (crm.tenant(), crm.tenant());
    // With different slugs, so that a query for one cannot find the other.
    let zoe = ana.customer("Unmistakable").await;
    let foreign = About { customer: zoe.id, slug: zoe.slug, ..ana.everything().await };
    let unknown = About::nothing();
    let names = |about: &About| about.names().map(str::to_owned);
    let mut not_found = BTreeSet::new();
    let names_something =
        |rpc: &MethodDescriptor| samples::request(rpc, &foreign) != samples::request(rpc, &unknown);
    let rpcs: Vec<_> = rpcs().into_iter().filter(names_something).collect();
    for rpc in &rpcs {
        let mut answers = Vec::new();
        for about in [&foreign, &unknown] {
            let answer = call(&ben, &samples::request(rpc, about), rpc).await;
            let error = answer.as_ref().map_or_else(|error| Some(error.clone()), stream_error);
            let mut seen = match &error {
                Some(error) => error.seen("", ""),
                None => format!("{:?}", answer.expect("no error").encode_to_vec()),
            };
            for name in names(about) {
                seen = seen.replace(&name, "…");
            }
            answers.push(seen);
            if error.is_some_and(|error| error.code() == Code::NotFound) {
                not_found.insert(rpc.name().to_owned());
            }
        }
        assert_eq!(answers[0], answers[1], "{}", rpc.full_name());
    }
    let others: Vec<_> =
        rpcs.iter().map(|rpc| rpc.name()).filter(|name| !not_found.contains(*name)).collect();
    assert_eq!(
        others,
        [
            "ListConsents",
            "ListInterestEvents",
            "ListPurchases",
            "ListCampaignEvents",
            "ListConversations",
            "ListCustomerFaqs",
            "ListPendingQuestions",
        ],
        "a filter may find nothing; nothing else may"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_show_what_is_the_tenants_own() {
    let crm = Crm::start().await;
    let (ana, ben) = (crm.tenant(), crm.tenant());
    let (of_ana, of_ben) = (ana.everything().await, ben.everything().await);
    for (tenant, own) in [(&ana, &of_ana), (&ben, &of_ben)] {
        let customers = tenant.list_all(Default::default()).await;
        assert_eq!(customers.iter().map(|customer| &customer.id).collect::<Vec<_>>(), [&own.customer]);
        let talks = tenant.conversation_page(Default::default()).await.expect("a page").conversations;
        assert_eq!(talks.iter().map(|talk| &talk.id).collect::<Vec<_>>(), [&own.conversation]);
        let questions = tenant.question_page(Default::default()).await.expect("a page").pending_questions;
        assert_eq!(questions.iter().map(|question| &question.id).collect::<Vec<_>>(), [&own.question]);
        let purchases = tenant.all_purchases(Default::default()).await;
        assert_eq!(purchases.iter().map(|purchase| &purchase.id).collect::<Vec<_>>(), [&own.purchase]);
        let interest = tenant.all_interest(Default::default()).await;
        assert_eq!(interest.iter().map(|event| &event.customer_id).collect::<Vec<_>>(), [&own.customer]);
        let consents = tenant.customers().list_consents(ListConsentsRequest::default()).await;
        let consents = consents.expect("a page").into_inner().consents;
        assert_eq!(consents.iter().map(|consent| &consent.customer_id).collect::<Vec<_>>(), [&own.customer]);
    }
    let customer_id = of_ana.customer.clone();
    let of_foreign = ListPendingQuestionsRequest { customer_id, ..Default::default() };
    assert_eq!(ben.question_page(of_foreign).await.expect("a page").pending_questions, []);
    let of_foreign = ListConversationsRequest { customer_id: of_ana.customer, ..Default::default() };
    assert_eq!(ben.conversation_page(of_foreign).await.expect("a page").conversations, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_with_another_tenants_customer_is_not_opened() {
    let crm = Crm::start().await;
    let (ana, ben) = (crm.tenant(), crm.tenant());
    let foreign = ana.customer("Zoe").await.id;
    let unknown = Uuid::now_v7().to_string();
    let open = async |customer_id: &str| {
        let request = Conversation { customer_id: customer_id.to_owned(), ..Default::default() };
        ben.open(request).await.expect_err("no such customer").seen(customer_id, "…")
    };
    assert_eq!(open(&foreign).await, open(&unknown).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_may_use_the_same_request_ids_and_message_keys() {
    let crm = Crm::start().await;
    let (ana, ben) = (crm.tenant(), crm.tenant());
    let request_id = Uuid::new_v4().to_string();
    let mut ids = BTreeSet::new();
    for (tenant, name) in [(&ana, "Ana's"), (&ben, "Ben's")] {
        let request = CreateCustomerRequest { request_id: request_id.clone(), ..creation(named(name)) };
        let created = tenant.send_create(request).await.expect("no reuse");
        assert_eq!(created.business_name, name);
        ids.insert(created.id);
    }
    assert_eq!(ids.len(), 2);
}

/// Returns the tables and views with tenants.
async fn tables(sql: &Sql) -> Vec<String> {
    sql.texts(
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')
           AND has_table_privilege('crm_app', c.oid, 'SELECT') ORDER BY 1",
    )
    .await
}

/// Returns a connection as the service uses it, in a transaction of this tenant.
async fn as_the_service(crm: &Crm, tenant: &str) -> Sql {
    let sql = crm.sql().await;
    sql.run(&format!("BEGIN; SET LOCAL ROLE crm_app; SET LOCAL app.tenant_id = '{tenant}'")).await;
    sql
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_forgets_the_tenant_sees_one_tenant_all_the_same() {
    let crm = Crm::start().await;
    let (ana, ben) = (crm.tenant(), crm.tenant());
    for tenant in [&ana, &ben] {
        tenant.everything().await;
        tenant.send_create(repeatable(named("Keyed"))).await.expect("created");
    }
    let owner = crm.sql().await;
    let sql = as_the_service(&crm, &ana.id.to_string()).await;
    let mut filled = 0;
    for table in tables(&owner).await {
        let select = format!("SELECT DISTINCT tenant_id FROM {table}");
        let seen = sql.texts(&select).await;
        // A view shows the rows of the transaction's tenant, and its owner has none.
        let there = !seen.is_empty() || owner.texts(&select).await.len() > 1;
        if there {
            assert_eq!(seen, [ana.id.to_string()], "{table}");
            filled += 1;
        }
    }
    assert!(filled >= 6, "every table with rows was looked at");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_tenant_there_are_no_rows() {
    let crm = Crm::start().await;
    crm.tenant().everything().await;
    let owner = crm.sql().await;
    for tenant in ["", "00000000-0000-0000-0000-000000000000"] {
        let sql = as_the_service(&crm, tenant).await;
        for table in tables(&owner).await {
            assert_eq!(
                sql.number(&format!("SELECT count(*) FROM {table}")).await,
                0,
                "{table} for {tenant:?}"
            );
        }
    }
    let sql = crm.sql().await;
    sql.run("BEGIN; SET LOCAL ROLE crm_app").await;
    assert_eq!(sql.number("SELECT count(*) FROM customers").await, 0, "where nobody ever set a tenant");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_another_tenant_cannot_be_written() {
    let crm = Crm::start().await;
    let (ana, ben) = (crm.tenant(), crm.tenant());
    let of_ana = ana.everything().await;
    ben.everything().await;
    let ben_id = ben.id.to_string();
    let attempts = [
        format!("UPDATE customers SET tenant_id = '{}'", ana.id),
        format!(
            "INSERT INTO idempotency_keys (tenant_id, method, request_id, fingerprint, expires_at)
                 VALUES ('{}', 'x', gen_random_uuid(), decode(repeat('00', 32), 'hex'), now())",
            ana.id
        ),
        format!("UPDATE conversations SET customer_id = '{}'", of_ana.customer),
        format!("UPDATE conversation_messages SET conversation_id = '{}'", of_ana.conversation),
        format!("UPDATE pending_questions SET customer_id = '{}'", of_ana.customer),
        format!("UPDATE campaign_customers SET campaign_id = '{}'", of_ana.campaign),
        "UPDATE campaign_events SET kind = 'OPENED'".to_owned(),
        "DELETE FROM campaign_events".to_owned(),
        format!("UPDATE pending_questions SET source_conversation_id = '{}'", of_ana.conversation),
        format!(
            "INSERT INTO audit_events (tenant_id, id, principal, method, resource_type, outcome, code)
                 VALUES ('{}', gen_random_uuid(), 'x', 'x', 'CUSTOMER', 'SUCCEEDED', 0)",
            ana.id
        ),
        format!("UPDATE purchases SET customer_id = '{}'", of_ana.customer),
        "UPDATE interest_events SET weight = 1".to_owned(),
        "UPDATE purchase_refunds SET amount_micros = 1".to_owned(),
        "DELETE FROM purchases".to_owned(),
        "UPDATE audit_events SET principal = 'x'".to_owned(),
        "DELETE FROM audit_events".to_owned(),
        "TRUNCATE audit_events".to_owned(),
        "DELETE FROM customers".to_owned(),
        "TRUNCATE customers".to_owned(),
        "SELECT * FROM service_keys".to_owned(),
        "CREATE TABLE mine ()".to_owned(),
        "ALTER TABLE customers DISABLE ROW LEVEL SECURITY".to_owned(),
        "DROP POLICY tenant_isolation ON customers".to_owned(),
    ];
    for attempt in attempts {
        let sql = as_the_service(&crm, &ben_id).await;
        let error = sql.try_rows(&attempt).await.expect_err(&attempt);
        let code = error.code().expect("an answer of Postgres").code().to_owned();
        // No right, or no such row for the foreign key. Citus never changes the tenant of a row.
        let changes_tenant = Citus::is_there() && attempt.contains("SET tenant_id");
        let codes = if changes_tenant { vec!["0A000"] } else { vec!["42501", "23503"] };
        assert!(codes.contains(&&*code), "{attempt}: {error:?}");
    }
    let sql = as_the_service(&crm, &ben_id).await;
    let update = format!("UPDATE customers SET email = 'x' WHERE id = '{}' RETURNING id", of_ana.customer);
    assert_eq!(sql.texts(&update).await, [""; 0], "what is not seen is not changed");
}
