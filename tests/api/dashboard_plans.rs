//! The cost of a window depends on its own rows, and not on those outside.

use crm_backend::pb::{
    AiMetadata, GetConversationStatisticsRequest, GetConversionFunnelRequest, GetCustomerStatisticsRequest,
    ListConversationsRequest, Message,
};
use crm_testkit::Sql;
use prost_types::Timestamp;

use crate::plans::hold;
use crate::support::conversations::message;
use crate::support::sql::{multiply_conversations, multiply_customers, settle};
use crate::support::{Crm, Tenant};

/// The rows of each table outside of the window.
const OUTSIDE: u32 = 10_000;

/// Returns the second from which on rows are in the window: a year after the others.
async fn year_later(sql: &Sql) -> i64 {
    sql.number("SELECT extract(epoch FROM date_trunc('second', now()) - interval '1 day')::bigint").await
}

/// Creates a tenant with many rows from a year ago, and few since yesterday.
async fn with_history(crm: &Crm) -> (Tenant, Timestamp) {
    let sql = crm.sql().await;
    let (tenant, other) = (crm.tenant(), crm.tenant());
    for tenant in [&tenant, &other] {
        let talk = tenant.conversation().await;
        tenant.add(&talk.id, message("a", "Hello")).await.expect("added");
        multiply_customers(&sql, tenant, OUTSIDE).await;
        multiply_conversations(&sql, tenant, OUTSIDE).await;
        let id = tenant.id;
        sql.run(&format!(
            "INSERT INTO campaigns (tenant_id, id, name, status) VALUES ('{id}', '{id}', 'x', 'ACTIVE');
             INSERT INTO campaign_events
                 (tenant_id, id, campaign_id, event_id, customer_id, kind, occurred_at, has_occurred_at)
             SELECT '{id}', gen_random_uuid(), '{id}', n, '{customer}', 'SENT', now() + n * interval '1 ms', true
             FROM generate_series(1, {OUTSIDE}) n;
             INSERT INTO interest_events (tenant_id, id, event_id, customer_id, kind, subject, subject_key, weight,
                 occurred_at, has_occurred_at)
             SELECT '{id}', gen_random_uuid(), n, '{customer}', 'VIEWED', 'x', 'x', 1, now() + n * interval '1 ms',
                 true
             FROM generate_series(1, {OUTSIDE}) n;
             INSERT INTO purchases (tenant_id, id, customer_id, currency, amount_micros, purchased_at)
             SELECT '{id}', gen_random_uuid(), '{customer}', 'EUR', 1, now() + n * interval '1 ms'
             FROM generate_series(1, {OUTSIDE}) n",
            customer = talk.customer_id
        ))
        .await;
    }
    // Computed in UTC: the lengths of a zone's days do not matter here, and the result must be the
    // same on every node.
    sql.run(
        "UPDATE customers SET created_at = (created_at AT TIME ZONE 'UTC' - interval '1 year') AT TIME ZONE 'UTC';
         UPDATE conversations SET started_at = (started_at AT TIME ZONE 'UTC' - interval '1 year') AT TIME ZONE 'UTC';
         UPDATE campaign_events SET occurred_at = (occurred_at AT TIME ZONE 'UTC' - interval '1 year') AT TIME ZONE 'UTC';
         UPDATE interest_events SET occurred_at = (occurred_at AT TIME ZONE 'UTC' - interval '1 year') AT TIME ZONE 'UTC';
         UPDATE purchases SET purchased_at = (purchased_at AT TIME ZONE 'UTC' - interval '1 year') AT TIME ZONE 'UTC'",
    )
    .await;
    for number in 0..5 {
        let talk = tenant.conversation().await;
        let ai = AiMetadata { model: "m".to_owned(), prompt_tokens: Some(5), ..Default::default() };
        for key in ["a", "b", "c"] {
            let message = Message { ai: Some(ai.clone()), ..message(&format!("{key}{number}"), "Hello") };
            tenant.add(&talk.id, message).await.expect("added");
        }
    }
    settle(
        &sql,
        &[
            "customers",
            "conversations",
            "conversation_messages",
            "campaign_events",
            "interest_events",
            "purchases",
        ],
    )
    .await;
    let from = Timestamp { seconds: year_later(&sql).await, nanos: 0 };
    (tenant, from)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_reads_what_is_in_it() {
    let crm = Crm::start().await;
    let (tenant, from) = with_history(&crm).await;
    let time_from = Some(from);

    let customers = async |tenant: &Tenant| {
        let request = GetCustomerStatisticsRequest { time_from, ..Default::default() };
        let answer = tenant.customer_statistics(request).await.expect("an answer");
        assert_eq!((answer.created.expect("a number").row_count, answer.active_count), (5, 5));
    };
    let indexes = [
        "customers_tenant_id_created_at_idx",
        "customer_counts_pkey",
        "conversations_tenant_id_started_at_idx",
    ];
    hold(&crm, &tenant, "GetCustomerStatistics", customers, &indexes, 60).await;

    let conversations = async |tenant: &Tenant| {
        let request = GetConversationStatisticsRequest { time_from, ..Default::default() };
        let answer = tenant.conversation_statistics(request).await.expect("an answer");
        assert_eq!((answer.total.expect("a number").row_count, answer.message_count), (5, 15));
    };
    let indexes = [
        "conversations_tenant_id_started_at_idx",
        // Both begin with the conversation.
        "conversation_messages_sequence_key",
        "conversation_messages_message_key_key",
    ];
    hold(&crm, &tenant, "GetConversationStatistics", conversations, &indexes, 60).await;

    let funnel = async |tenant: &Tenant| {
        let request = GetConversionFunnelRequest { time_from, ..Default::default() };
        let answer = tenant.funnel(request).await.expect("an answer");
        assert_eq!(answer.funnels[0].steps[1].customer_count, 5);
    };
    let indexes = [
        "conversations_tenant_id_started_at_idx",
        "campaign_events_tenant_id_occurred_at_idx",
        "interest_events_tenant_id_occurred_at_idx",
        "purchases_tenant_id_purchased_at_idx",
    ];
    hold(&crm, &tenant, "GetConversionFunnel", funnel, &indexes, 60).await;

    let list = async |tenant: &Tenant| {
        let request = ListConversationsRequest {
            topic: "price".to_owned(),
            start_time_from: time_from,
            start_time_until: Some(Timestamp { seconds: from.seconds + 86_400 * 10, nanos: 0 }),
            ..Default::default()
        };
        assert_eq!(tenant.conversation_page(request).await.expect("a page").conversations, []);
    };
    let indexes = ["conversations_tenant_id_started_at_idx"];
    hold(&crm, &tenant, "ListConversations by topic", list, &indexes, 60).await;
}
