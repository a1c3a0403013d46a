//! Lists of customers: pages, orders, filters.

use std::collections::BTreeSet;

use crm_backend::pb::{Customer, CustomerStatus, ExternalId, ListCustomersRequest};
use tonic::Code;

use crate::support::customers::{named, names};
use crate::support::sql::multiply_customers;
use crate::support::{Crm, Refusal, Tenant, micros};

const ORDERS: [&str; 6] = [
    "create_time",
    "create_time desc",
    "update_time",
    "update_time desc",
    "business_name",
    "business_name desc",
];

fn by(order_by: &str) -> ListCustomersRequest {
    ListCustomersRequest { order_by: order_by.to_owned(), ..Default::default() }
}

/// Creates customers whose three orders differ, two of them with the same name.
async fn a_few(tenant: &Tenant) -> Vec<Customer> {
    let mut customers = Vec::new();
    for name in ["banana", "Éclair", "apple", "Zoë", "Zoe", "zebra", "Äpfel", "cherry", "Zoe"] {
        customers.push(tenant.customer(name).await);
    }
    for index in [7, 2, 4] {
        let change =
            Customer { id: customers[index].id.clone(), city: "Bonn".to_owned(), ..Default::default() };
        customers[index] = tenant.update(change, &[]).await.expect("updated");
    }
    customers
}

/// Returns the ids in the expected order of the list.
fn expected(customers: &[Customer], order_by: &str) -> Vec<String> {
    let fold = |name: &str| name.to_lowercase().replace(['é', 'ë'], "e").replace('ä', "a");
    let mut sorted = customers.to_vec();
    match order_by.trim_end_matches(" desc") {
        "create_time" => sorted.sort_by_key(|customer| (micros(customer.create_time), customer.id.clone())),
        "update_time" => sorted.sort_by_key(|customer| (micros(customer.update_time), customer.id.clone())),
        _ => sorted.sort_by_key(|customer| (fold(&customer.business_name), customer.id.clone())),
    }
    if order_by.ends_with(" desc") {
        sorted.reverse();
    }
    ids(&sorted)
}

fn ids(customers: &[Customer]) -> Vec<String> {
    customers.iter().map(|customer| customer.id.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_order_shows_every_customer_once_whatever_the_page_size() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let customers = a_few(&tenant).await;
    for order_by in ORDERS {
        for page_size in [1, 2, 4, 8, 9, 10] {
            let found = tenant.list_all(ListCustomersRequest { page_size, ..by(order_by) }).await;
            assert_eq!(ids(&found), expected(&customers, order_by), "{order_by} by {page_size}");
        }
    }
    assert_eq!(ids(&tenant.list_all(by("")).await), expected(&customers, "create_time desc"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_page_has_no_token() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    assert_eq!(tenant.list(by("")).await.expect("a page"), Default::default());
    for name in ["a", "b"] {
        tenant.customer(name).await;
    }
    let page = tenant.list(ListCustomersRequest { page_size: 2, ..by("") }).await.expect("a page");
    assert_eq!((page.customers.len(), page.next_page_token.as_str()), (2, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_that_come_and_go_make_no_page_skip_or_repeat_others() {
    let crm = Crm::start().await;
    for order_by in ORDERS {
        let tenant = crm.tenant();
        let customers = a_few(&tenant).await;
        let stay: BTreeSet<_> = ids(&customers).into_iter().collect();
        let mut gone = BTreeSet::new();
        let mut seen = Vec::new();
        let mut request = ListCustomersRequest { page_size: 2, ..by(order_by) };
        loop {
            let page = tenant.list(request.clone()).await.expect("a page");
            seen.extend(ids(&page.customers));
            // The row after which the next page starts is deleted, and new rows come at both ends.
            let last = page.customers.last().expect("no page is empty").id.clone();
            tenant.delete(&last).await.expect("deleted");
            gone.insert(last);
            for name in ["000", "zzz"] {
                tenant.customer(name).await;
            }
            if page.next_page_token.is_empty() || seen.len() > 60 {
                break;
            }
            if stay.iter().all(|id| seen.contains(id)) {
                break;
            }
            request.page_token = page.next_page_token;
        }
        let distinct: BTreeSet<_> = seen.iter().cloned().collect();
        assert_eq!(distinct.len(), seen.len(), "{order_by} repeats");
        assert!(stay.is_subset(&distinct), "{order_by} skips");
        assert!(!gone.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_has_50_customers_when_not_said_and_500_at_most() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    tenant.customer("Zoe").await;
    multiply_customers(&crm.sql().await, &tenant, 500).await;
    for (page_size, length) in
        [(0, 50), (1, 1), (499, 499), (500, 500), (501, 500), (1_000_000, 500), (i32::MAX, 500)]
    {
        let page = tenant.list(ListCustomersRequest { page_size, ..by("") }).await.expect("a page");
        assert_eq!(page.customers.len(), length, "{page_size}");
        assert!(!page.next_page_token.is_empty());
    }
    for page_size in [-1, i32::MIN] {
        let error = tenant.list(ListCustomersRequest { page_size, ..by("") }).await.expect_err("negative");
        error.is_invalid(&["page_size"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_is_good_for_its_own_list_only() {
    let crm = Crm::start().await;
    let (ana, ben) = (crm.tenant(), crm.tenant());
    for tenant in [&ana, &ben] {
        a_few(tenant).await;
    }
    let first = ListCustomersRequest { page_size: 2, ..by("business_name") };
    let token = ana.list(first.clone()).await.expect("a page").next_page_token;
    let next = ListCustomersRequest { page_token: token.clone(), ..first };
    let replica = crm.replica().await;
    ana.through(&replica).list(next.clone()).await.expect("all replicas share tokens");
    ana.list(ListCustomersRequest { page_size: 5, ..next.clone() }).await.expect("sizes may change");

    let mut flipped = token.clone().into_bytes();
    let middle = flipped.len() / 2;
    flipped[middle] = if flipped[middle] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).expect("ASCII");
    let with = |page_token: &str| ListCustomersRequest { page_token: page_token.to_owned(), ..next.clone() };
    let refused = [
        ("another tenant", &ben, next.clone()),
        ("another filter", &ana, ListCustomersRequest { owner: "zoe".to_owned(), ..next.clone() }),
        ("another order", &ana, ListCustomersRequest { order_by: "create_time".to_owned(), ..next.clone() }),
        ("show_deleted", &ana, ListCustomersRequest { show_deleted: true, ..next.clone() }),
        ("a flipped bit", &ana, with(&flipped)),
        ("half of it", &ana, with(&token[..token.len() / 2])),
        ("more than it", &ana, with(&format!("{token}A"))),
        ("no base64", &ana, with("!!!")),
        ("an offset", &ana, with("50")),
        ("a text", &ana, with("'; DROP TABLE customers; --")),
        ("1 KB", &ana, with(&"A".repeat(1_024))),
    ];
    for (what, tenant, request) in refused {
        let error = tenant.list(request).await.expect_err(what);
        error.is(Code::InvalidArgument, "PAGE_TOKEN_INVALID");
        assert_eq!(error.fields(), ["page_token"], "{what}");
    }
    ana.list(with(&"A".repeat(1_025))).await.expect_err("more").is_invalid(&["page_token"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_order_is_refused() {
    let crm = Crm::start().await;
    for order_by in ["name", "create_time asc", "CREATE_TIME", "create_time,id", "1; DROP TABLE customers"] {
        crm.tenant().list(by(order_by)).await.expect_err(order_by).is_invalid(&["order_by"]);
    }
}

/// Returns an id in the shop.
fn shop(id: &str) -> ExternalId {
    ExternalId { source: "shop".to_owned(), id: id.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_filters_must_hold_together() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let make = async |name: &str,
                      status: CustomerStatus,
                      trade: &str,
                      owner: &str,
                      references: &[&str],
                      tags: &[&str]| {
        let request = Customer {
            status: status.into(),
            industry_category: trade.to_owned(),
            owner: owner.to_owned(),
            external_ids: references.iter().map(|id| shop(id)).collect(),
            tags: tags.iter().map(ToString::to_string).collect(),
            ..named(name)
        };
        tenant.create(request).await.expect("a customer")
    };
    let a = make("a", CustomerStatus::Lead, "food", "ana", &["1", "2"], &["vip", "new"]).await;
    let b = make("b", CustomerStatus::Active, "food", "ben", &["3"], &["vip"]).await;
    let c = make("c", CustomerStatus::Churned, "print", "ana", &[], &[]).await;
    let c = tenant.update(Customer { city: "Bonn".to_owned(), ..c }, &["city"]).await.expect("updated");

    let all = || by("create_time");
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let text = str::to_owned;
    let (lead, active) = (CustomerStatus::Lead.into(), CustomerStatus::Active.into());
    let cases = [
        (all(), "abc"),
        (ListCustomersRequest { statuses: vec![lead], ..all() }, "a"),
        (ListCustomersRequest { statuses: vec![lead, active, active], ..all() }, "ab"),
        (ListCustomersRequest { industry_category: text("food"), ..all() }, "ab"),
        (ListCustomersRequest { industry_category: text("foo"), ..all() }, ""),
        (ListCustomersRequest { industry_category: text("FOOD"), ..all() }, ""),
        (ListCustomersRequest { owner: text("ana"), ..all() }, "ac"),
        (ListCustomersRequest { external_id: Some(shop("1")), ..all() }, "a"),
        (ListCustomersRequest { external_id: Some(shop("2")), ..all() }, "a"),
        (ListCustomersRequest { external_id: Some(shop("3")), owner: text("ana"), ..all() }, ""),
        (ListCustomersRequest { external_id: Some(shop("4")), ..all() }, ""),
        (
            ListCustomersRequest {
                external_id: Some(ExternalId { source: text("s"), id: text("1") }),
                ..all()
            },
            "",
        ),
        (ListCustomersRequest { tags: texts(&["vip"]), ..all() }, "ab"),
        (ListCustomersRequest { tags: texts(&["vip", "new"]), ..all() }, "a"),
        (ListCustomersRequest { tags: texts(&["vi"]), ..all() }, ""),
        (ListCustomersRequest { tags: texts(&["VIP"]), ..all() }, ""),
        (ListCustomersRequest { create_time_from: b.create_time, ..all() }, "bc"),
        (ListCustomersRequest { create_time_until: b.create_time, ..all() }, "a"),
        (ListCustomersRequest { update_time_from: c.update_time, ..all() }, "c"),
        (ListCustomersRequest { update_time_until: c.update_time, ..all() }, "ab"),
        (ListCustomersRequest { owner: text("ana"), industry_category: text("food"), ..all() }, "a"),
        (ListCustomersRequest { owner: text("ben"), tags: texts(&["new"]), ..all() }, ""),
        (ListCustomersRequest { query: text("a"), tags: texts(&["vip"]), owner: text("ana"), ..all() }, "a"),
    ];
    for (request, expected) in cases {
        assert_eq!(names(&tenant.list_all(request.clone()).await).concat(), expected, "{request:?}");
    }
    tenant.delete(&a.id).await.expect("deleted");
    assert_eq!(names(&tenant.list_all(all()).await).concat(), "bc");
    let shown = ListCustomersRequest { show_deleted: true, ..all() };
    assert_eq!(names(&tenant.list_all(shown).await).concat(), "abc");
}
