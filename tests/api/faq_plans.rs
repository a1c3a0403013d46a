//! The reads of FAQs: a search and a page read a bounded number of entries, however many FAQs exist.

use crm_backend::pb::{
    FaqStatus, FaqVerificationStatus, ListCustomerFaqsRequest, ListFaqObservationsRequest,
};

use crate::plans::hold;
use crate::support::faqs::{asked, multiply_faqs, query, question};
use crate::support::sql::{multiply_customers, settle};
use crate::support::{Crm, Tenant};

const TERMS: &str = "customer_faq_terms_term_idx";

/// A customer with 2,000 FAQs about opening hours and one about quetzals, beside another customer and
/// another tenant with as many.
async fn large() -> (Crm, Tenant, String) {
    let crm = Crm::start().await;
    let sql = crm.sql().await;
    let (tenant, other) = (crm.tenant(), crm.tenant());
    let mut ids = Vec::new();
    for (tenant, name) in [(&tenant, "Bakery"), (&tenant, "Florist"), (&other, "Garage")] {
        let customer = tenant.customer(name).await;
        tenant.faq(&customer.id, "Opening hours", "We open at eight.").await;
        tenant.faq(&customer.id, "Closing hours on holidays", "We close at noon.").await;
        multiply_faqs(&sql, &customer.id, 999).await;
        ids.push(customer.id);
    }
    let rare = question(&ids[0], "Quetzal food", "Avocado.");
    let rare = crm_backend::pb::CustomerFaq {
        status: FaqStatus::Approved.into(),
        category: "birds".to_owned(),
        ..rare
    };
    tenant.create_faq(rare).await.expect("created");
    multiply_customers(&sql, &tenant, 1_000).await;
    settle(&sql, &["customers", "customer_faqs", "customer_faq_terms"]).await;
    (crm, tenant, ids.swap_remove(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_reads_the_entries_of_its_words_and_ranks_twenty_faqs() {
    let (crm, tenant, customer) = large().await;
    let indexes = [
        TERMS,
        "customer_faqs_pkey",
        "customers_pkey",
        "customer_faqs_question_key",
        "customer_faq_terms_pkey",
    ];
    // A word is looked up as written and by its stem. Of the best matches, twice as many FAQs are read as requested.
    for (text, count, entries) in [
        ("quetzal", 1, 10),
        ("nothing that anybody has", 0, 4),
        ("hours", 10, 2_000 + 40),
        ("Quetzal food", 1, 10),
        // All FAQs with a word, up to some thousands.
        ("quetzal hours open holidays", 10, 4_096 + 40),
        ("the hours of opening and closing on holidays and at noon or at eight", 10, 4_096 + 40),
    ] {
        let search = async |tenant: &Tenant| {
            let found = tenant.search_faqs(query(&customer, text)).await.expect("found");
            assert_eq!(found.len(), count, "{text}");
        };
        hold(&crm, &tenant, text, search, &indexes, entries).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_faqs_reads_a_page_of_an_index() {
    let (crm, tenant, customer_id) = large().await;
    let all = ListCustomerFaqsRequest::default;
    let cases = [
        (all(), 50, "customer_faqs_tenant_id_created_at_idx"),
        (
            ListCustomerFaqsRequest { order_by: "create_time".to_owned(), ..all() },
            50,
            "customer_faqs_tenant_id_created_at_idx",
        ),
        (ListCustomerFaqsRequest { customer_id, ..all() }, 50, "customer_faqs_tenant_id_customer_id_idx"),
        (
            ListCustomerFaqsRequest { statuses: vec![FaqStatus::Approved.into()], ..all() },
            1,
            "customer_faqs_tenant_id_status_idx",
        ),
        (
            ListCustomerFaqsRequest {
                verification_statuses: vec![FaqVerificationStatus::Disputed.into()],
                ..all()
            },
            0,
            "customer_faqs_tenant_id_verification_idx",
        ),
        (
            ListCustomerFaqsRequest { category: "birds".to_owned(), ..all() },
            1,
            "customer_faqs_tenant_id_category_idx",
        ),
    ];
    for (request, count, index) in cases {
        let what = format!("{request:?}");
        let list = async |tenant: &Tenant| {
            let page = tenant.faq_page(request.clone()).await.expect("a page");
            assert_eq!(page.customer_faqs.len(), count, "{what}");
        };
        hold(&crm, &tenant, &what, list, &[index], 60).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_observations_reads_a_page_of_an_index() {
    let (crm, tenant, customer) = large().await;
    let sql = crm.sql().await;
    let mut id = String::new();
    for text in ["Opening hours", "Closing hours on holidays"] {
        id = tenant.observe(asked(&customer, text, "")).await.expect("observed").0.id;
    }
    sql.run(
        "INSERT INTO faq_observations SELECT copy.* FROM faq_observations o, generate_series(1, 1999) n,
         LATERAL jsonb_populate_record(o, jsonb_build_object(
             'id', gen_random_uuid(), 'created_at', o.created_at + n * interval '1 ms')) copy",
    )
    .await;
    settle(&sql, &["faq_observations"]).await;
    let list = async |tenant: &Tenant| {
        let request = ListFaqObservationsRequest { customer_faq_id: id.clone(), ..Default::default() };
        let page = tenant.observation_page(request).await.expect("a page");
        assert_eq!(page.observations.len(), 50);
    };
    let indexes = ["faq_observations_tenant_id_faq_id_idx", "customer_faqs_pkey"];
    hold(&crm, &tenant, "ListFaqObservations", list, &indexes, 60).await;
}
