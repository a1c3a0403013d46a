//! The reads of interest and purchases: a page reads a page of an index, and scores read the events of one customer.

use crm_backend::pb::{
    CampaignEventKind, InterestEvent, InterestKind, ListInterestEventsRequest, ListPurchasesRequest, Money,
    Purchase, PurchaseStatus,
};

use crate::plans::hold;
use crate::support::campaigns::Outcome;
use crate::support::context::at;
use crate::support::engagement::{
    back, bought, events, multiply_campaigns, multiply_interest, multiply_purchases, viewed,
};
use crate::support::sql::{multiply_conversations, multiply_customers, settle};
use crate::support::{Crm, Tenant};

/// Values that few rows of a tenant have.
struct Rare {
    customer: String,
    conversation: String,
    campaign: String,
}

/// Creates a tenant with 10,000 events and purchases, beside another with as many.
async fn large() -> (Crm, Tenant, Rare) {
    let crm = Crm::start().await;
    let sql = crm.sql().await;
    let (tenant, other) = (crm.tenant(), crm.tenant());
    for tenant in [&tenant, &other] {
        for name in ["Bakery", "Florist"] {
            let customer = tenant.customer(name).await.id;
            tenant.show(&customer, &[viewed(name, "Beans", 0)]).await;
            let order_id = name.to_owned();
            let purchase_time = at(0);
            tenant.buy(Purchase { order_id, purchase_time, ..bought(&customer, 10) }).await.expect("it");
            let sent = tenant.campaign(name).await.id;
            tenant.react((&sent, &customer), CampaignEventKind::Clicked, -1).await;
        }
        multiply_interest(&sql, tenant, 5_000).await;
        multiply_purchases(&sql, tenant, 5_000).await;
        multiply_campaigns(&sql, tenant, 2_000).await;
        multiply_customers(&sql, tenant, 1_000).await;
    }
    let talk = tenant.conversation().await;
    multiply_conversations(&sql, &tenant, 1_000).await;
    let rare = Rare {
        customer: talk.customer_id.clone(),
        conversation: talk.id.clone(),
        campaign: tenant.campaign("Rare").await.id,
    };
    let event = InterestEvent {
        kind: InterestKind::Converted.into(),
        conversation_id: rare.conversation.clone(),
        campaign_id: rare.campaign.clone(),
        ..viewed("rare", "Quetzals", -1)
    };
    tenant.show(&rare.customer, &[event]).await;
    let purchase = Purchase {
        order_id: "rare".to_owned(),
        amount: Some(Money { currency_code: "XPF".to_owned(), units: 1, nanos: 0 }),
        conversation_id: rare.conversation.clone(),
        campaign_id: rare.campaign.clone(),
        ..bought(&rare.customer, 0)
    };
    let purchase = tenant.buy(purchase).await.expect("bought");
    tenant.refund(back(&purchase, None)).await.expect("refunded");
    settle(
        &sql,
        &[
            "customers",
            "conversations",
            "campaigns",
            "campaign_events",
            "interest_events",
            "purchases",
            "purchase_refunds",
        ],
    )
    .await;
    (crm, tenant, rare)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_interest_reads_a_page_of_an_index() {
    let (crm, tenant, Rare { customer, conversation, campaign }) = large().await;
    let all = ListInterestEventsRequest::default;
    let converted = vec![InterestKind::Converted.into()];
    let cases = [
        (all(), 50, "interest_events_tenant_id_occurred_at_idx"),
        (
            ListInterestEventsRequest { order_by: "occur_time".to_owned(), ..all() },
            50,
            "interest_events_tenant_id_occurred_at_idx",
        ),
        (
            ListInterestEventsRequest { occur_time_until: at(-4_000), ..all() },
            50,
            "interest_events_tenant_id_occurred_at_idx",
        ),
        (ListInterestEventsRequest { customer_id: customer, ..all() }, 1, "interest_events_customer_idx"),
        (
            ListInterestEventsRequest { conversation_id: conversation, ..all() },
            1,
            "interest_events_conversation_idx",
        ),
        (ListInterestEventsRequest { campaign_id: campaign, ..all() }, 1, "interest_events_campaign_idx"),
        (ListInterestEventsRequest { kinds: converted, ..all() }, 1, "interest_events_kind_idx"),
        (
            ListInterestEventsRequest { subject: "QUETZALS".to_owned(), ..all() },
            1,
            "interest_events_subject_idx",
        ),
    ];
    for (request, count, index) in cases {
        let what = format!("{request:?}");
        let list = async |tenant: &Tenant| {
            let page = tenant.interest_page(request.clone()).await.expect("a page");
            assert_eq!(page.interest_events.len(), count, "{what}");
        };
        hold(&crm, &tenant, &what, list, &[index], 60).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_purchases_reads_a_page_of_an_index_and_what_belongs_to_it() {
    let (crm, tenant, Rare { customer, conversation, campaign }) = large().await;
    let all = ListPurchasesRequest::default;
    let refunded = vec![PurchaseStatus::Refunded.into()];
    let cases = [
        (all(), 50, "purchases_tenant_id_purchased_at_idx"),
        (
            ListPurchasesRequest { purchase_time_until: at(-4_000), ..all() },
            50,
            "purchases_tenant_id_purchased_at_idx",
        ),
        (ListPurchasesRequest { customer_id: customer, ..all() }, 1, "purchases_customer_idx"),
        (ListPurchasesRequest { conversation_id: conversation, ..all() }, 1, "purchases_conversation_idx"),
        (ListPurchasesRequest { campaign_id: campaign, ..all() }, 1, "purchases_campaign_idx"),
        (ListPurchasesRequest { order_id: "rare".to_owned(), ..all() }, 1, "purchases_order_id_key"),
        (ListPurchasesRequest { statuses: refunded, ..all() }, 1, "purchases_status_idx"),
        (ListPurchasesRequest { currency_code: "XPF".to_owned(), ..all() }, 1, "purchases_currency_idx"),
    ];
    for (request, count, index) in cases {
        let what = format!("{request:?}");
        let list = async |tenant: &Tenant| {
            let page = tenant.purchase_page(request.clone()).await.expect("a page");
            assert_eq!(page.purchases.len(), count, "{what}");
        };
        // The first and the last touch of each need one step into an index, past events that are not touches.
        let indexes = [
            index,
            "purchase_refunds_purchase_idx",
            "purchase_refunds_refund_id_key",
            "campaign_events_customer_idx",
        ];
        hold(&crm, &tenant, &what, list, &indexes, 4 * 60).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scores_read_the_events_of_one_customer_and_a_context_no_more() {
    let (crm, tenant, Rare { customer, .. }) = large().await;
    let indexes = ["interest_events_customer_idx", "customers_pkey"];
    let few = async |tenant: &Tenant| {
        assert_eq!(tenant.scores(&customer, at(0)).await.expect("scores").interest_scores.len(), 1);
    };
    hold(&crm, &tenant, "scores of few events", few, &indexes, 2).await;
    let many = tenant.all_interest(ListInterestEventsRequest { page_size: 500, ..Default::default() }).await;
    let bakery = many.iter().find(|event| event.event_id == "Bakery").expect("it").customer_id.clone();
    let all = async |tenant: &Tenant| {
        let scores = tenant.scores(&bakery, at(0)).await.expect("scores").interest_scores;
        assert_eq!(scores[0].event_count, 5_001);
    };
    hold(&crm, &tenant, "scores of many events", all, &indexes, 5_010).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_events_is_recorded_by_keys() {
    let (crm, tenant, Rare { customer, conversation, campaign }) = large().await;
    let record = async |tenant: &Tenant| {
        let shown: Vec<_> = (0..100)
            .map(|_| InterestEvent {
                conversation_id: conversation.clone(),
                campaign_id: campaign.clone(),
                ..viewed(&uuid::Uuid::new_v4().to_string(), "Beans", 0)
            })
            .collect();
        let results = tenant.record_interest(events(&customer, &shown)).await.expect("results");
        assert!(results.iter().all(|result| result.error().is_none()));
    };
    let indexes = [
        "interest_events_event_id_key",
        "customers_pkey",
        "conversations_pkey",
        "campaigns_pkey",
        "audit_events_pkey",
    ];
    // Each event is looked up once, and the foreign keys look up their rows again.
    hold(&crm, &tenant, "RecordInterestEvents", record, &indexes, 2 * 110).await;
}
