//! Finding customers by words.

use crm_backend::pb::{BusinessContext, CreateCustomerRequest, Customer, ListCustomersRequest};

use crate::support::customers::{named, names};
use crate::support::{Crm, Refusal, Tenant};

fn of(query: &str) -> ListCustomersRequest {
    ListCustomersRequest {
        query: query.to_owned(),
        order_by: "business_name".to_owned(),
        page_size: 1,
        ..Default::default()
    }
}

async fn three(tenant: &Tenant) {
    let requests = [
        CreateCustomerRequest {
            contact_name: "Jürgen Vogel".to_owned(),
            email: "info@cafe-zoe.example".to_owned(),
            tags: vec!["vip".to_owned(), "Berlin Mitte".to_owned()],
            business_context: Some(BusinessContext {
                description: "Specialty coffee\nand 北京烤鸭".to_owned(),
                ..Default::default()
            }),
            ..named("Café Zoë")
        },
        CreateCustomerRequest { contact_name: "Ann O'Brien".to_owned(), ..named("Pub & Co. 100%") },
        CreateCustomerRequest {
            email: "hello@zebra.example".to_owned(),
            tags: vec!["vip".to_owned()],
            ..named("Zebra_Print")
        },
    ];
    for request in requests {
        tenant.create(request).await.expect("a customer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_word_must_start_some_word_of_the_customer() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    three(&tenant).await;
    three(&crm.tenant()).await;
    let (zoe, publican, zebra) = ("Café Zoë", "Pub & Co. 100%", "Zebra_Print");
    let cases: [(&str, &[&str]); 27] = [
        ("", &[zoe, publican, zebra]),
        ("café", &[zoe]),
        ("CAFE", &[zoe]),
        ("caf", &[zoe]),
        ("afe", &[]),
        ("zoë cafe", &[zoe]),
        ("cafe zebra", &[]),
        ("z", &[zoe, zebra]),
        ("jurgen", &[zoe]),
        ("Jürgen", &[zoe]),
        ("coffee spec", &[zoe]),
        ("北京", &[zoe]),
        ("vip", &[zoe, zebra]),
        ("vip print", &[zebra]),
        ("mitte", &[zoe]),
        ("info@cafe-zoe.example", &[zoe]),
        ("zebra.example", &[zebra]),
        ("example", &[zoe, zebra]),
        ("hello", &[zebra]),
        ("o'brien", &[publican]),
        ("brien", &[publican]),
        ("100", &[publican]),
        ("100%", &[publican]),
        ("and", &[zoe]),
        ("the", &[]),
        ("vip vip VIP", &[zoe, zebra]),
        ("nobody", &[]),
    ];
    for (query, expected) in cases {
        assert_eq!(names(&tenant.list_all(of(query)).await), expected, "{query:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signs_are_no_words_and_no_operators() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    three(&tenant).await;
    let signs = [
        "%",
        "_",
        "\\",
        "'",
        "\"",
        "*",
        "' OR 1=1 --",
        " ",
        "& | ! ( ) <-> :*",
        "\\'",
        "😀",
        "$9",
        "\u{200b}",
    ];
    for query in signs {
        assert_eq!(names(&tenant.list_all(of(query)).await), [""; 0], "{query:?}");
    }
    for query in ["cafe & nobody", "cafe | nobody", "!nobody", "caf:* nobody", "cafe <-> nobody"] {
        assert_eq!(names(&tenant.list_all(of(query)).await), [""; 0], "{query:?}");
    }
    assert_eq!(names(&tenant.list_all(of("cafe & zoe")).await), ["Café Zoë"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_has_256_characters_at_most() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    three(&tenant).await;
    for query in ["x ".repeat(128), "'".repeat(256), "鸡".repeat(256), "x".repeat(256)] {
        assert_eq!(tenant.list_all(of(&query)).await, [], "{query:?}");
    }
    for query in ["x".repeat(257), "x ".repeat(5 * 1024)] {
        tenant.list(of(&query)).await.expect_err("too long").is_invalid(&["query"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_customer_is_found_by_its_new_words_only() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Café Zoë").await;
    let change =
        Customer { business_name: "Bistro Ana".to_owned(), tags: vec!["new".to_owned()], ..zoe.clone() };
    tenant.update(change, &["business_name", "tags"]).await.expect("updated");
    assert_eq!(tenant.list_all(of("zoe")).await, []);
    for query in ["ana", "bistro", "new"] {
        assert_eq!(names(&tenant.list_all(of(query)).await), ["Bistro Ana"], "{query}");
    }
    tenant.delete(&zoe.id).await.expect("deleted");
    assert_eq!(tenant.list_all(of("ana")).await, []);
    let shown = ListCustomersRequest { show_deleted: true, ..of("ana") };
    assert_eq!(names(&tenant.list_all(shown).await), ["Bistro Ana"]);
}
