//! The purchases and payments of customers.

use crm_backend::pb::conversation_event::Event;
use crm_backend::pb::{
    CampaignEventKind, ConversationOutcome, ListPurchasesRequest, Money, Purchase, PurchaseItem,
    PurchaseStatus,
};
use prost_types::Struct;
use prost_types::value::Kind;
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::campaigns::money;
use crate::support::context::at;
use crate::support::engagement::{back, bought, euros};
use crate::support::{Crm, Refusal, Tenant, at_once, micros};

const UNKNOWN: &str = "01939a3c-7d4e-7000-8000-0123456789ab";

const DAY: i64 = 24 * 60;

fn item(name: &str, quantity: i32, unit_price: Option<Money>) -> PurchaseItem {
    PurchaseItem { sku: String::new(), name: name.to_owned(), quantity, unit_price }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_reads_back_exactly_as_it_was_sent() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let autumn = tenant.campaign("Autumn").await.id;
    let request = Purchase {
        order_id: "A-17".to_owned(),
        amount: Some(money("EUR", 37, 800_001_000)),
        items: vec![
            PurchaseItem {
                sku: "BEANS-1".to_owned(),
                ..item("Beans", 2, Some(money("EUR", 18, 900_000_000)))
            },
            item("Tasting", 0, None),
        ],
        purchase_time: at(5),
        conversation_id: talk.id.clone(),
        campaign_id: autumn.clone(),
        ..bought(&talk.customer_id, 0)
    };
    let purchase = tenant.buy(request.clone()).await.expect("bought");
    let expected = Purchase {
        id: purchase.id.clone(),
        customer_id: talk.customer_id.clone(),
        order_id: "A-17".to_owned(),
        amount: request.amount.clone(),
        refunded: Some(euros(0, 0)),
        status: PurchaseStatus::Paid.into(),
        items: vec![request.items[0].clone(), item("Tasting", 1, None)],
        purchase_time: at(5),
        conversation_id: talk.id,
        campaign_id: autumn,
        create_time: purchase.create_time,
        update_time: purchase.create_time,
        etag: purchase.etag.clone(),
        ..Default::default()
    };
    assert_eq!(purchase, expected);
    assert_eq!(tenant.read_purchase(&purchase.id).await.expect("there"), expected);
    let foreign = crm.tenant().read_purchase(&purchase.id).await.expect_err("another tenant's");
    foreign.is(Code::NotFound, "PURCHASE_NOT_FOUND");
    assert_eq!(tenant.all_purchases(Default::default()).await, [expected]);
    let now = tenant.purchase(&talk.customer_id).await;
    assert_eq!((now.purchase_time, now.order_id.as_str()), (now.create_time, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn money_is_exact_and_nothing_else_is_taken_for_it() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let of = |amount: Money| Purchase { amount: Some(amount), ..bought(&zoe, 0) };
    let item_of = |price: Money| Purchase {
        items: vec![item("Beans", 1, None), item("Cups", 1, Some(price))],
        ..bought(&zoe, 10)
    };
    for amount in [
        money("EUR", 0, 0),
        money("EUR", 0, 1_000),
        money("JPY", 1, 0),
        money("EUR", 1_000_000_000_000, 999_999_000),
        // Values that a double could not hold.
        money("EUR", 9_007_199_254, 740_993_000),
        money("EUR", 123_456_789_012, 345_678_000),
    ] {
        let purchase = tenant.buy(of(amount.clone())).await.expect("an amount");
        assert_eq!(purchase.amount, Some(amount.clone()));
        let priced = Purchase { items: item_of(amount.clone()).items, ..of(amount.clone()) };
        let purchase = tenant.buy(priced).await.expect("a price");
        assert_eq!(purchase.items[1].unit_price, Some(amount), "also within jsonb");
    }
    let taken = tenant.all_purchases(Default::default()).await.len();
    for (what, amount, field) in [
        ("less than nothing", money("EUR", -1, 0), "units"),
        ("nanos less than nothing", money("EUR", 0, -1_000), "nanos"),
        ("a billionth", money("EUR", 1, 1), "nanos"),
        ("no whole millionth", money("EUR", 1, 999_999_999), "nanos"),
        ("a whole unit in nanos", money("EUR", 1, 1_000_000_000), "nanos"),
        ("four letters", money("EURO", 1, 0), "currency_code"),
        ("small letters", money("eur", 1, 0), "currency_code"),
        ("a sign", money("€", 1, 0), "currency_code"),
        ("no currency", money("", 1, 0), "currency_code"),
        ("other letters", money("ÉUR", 1, 0), "currency_code"),
        ("more than there is", money("EUR", 1_000_000_000_001, 0), "units"),
        ("the largest number", money("EUR", i64::MAX, 0), "units"),
    ] {
        let error = tenant.buy(of(amount.clone())).await.expect_err(what);
        error.is(Code::InvalidArgument, "FIELD_INVALID");
        assert!(error.fields().contains(&format!("purchase.amount.{field}")), "{what}: {error:?}");
        let error = tenant.buy(item_of(amount)).await.expect_err(what);
        error.is(Code::InvalidArgument, "FIELD_INVALID");
        assert!(
            error.fields().contains(&format!("purchase.items[1].unit_price.{field}")),
            "{what}: {error:?}"
        );
    }
    let other = tenant.buy(item_of(money("USD", 1, 0))).await.expect_err("another currency");
    other.is_invalid(&["purchase.items[1].unit_price.currency_code"]);
    let none = Purchase { amount: None, ..bought(&zoe, 0) };
    tenant.buy(none).await.expect_err("no amount").is_invalid(&["purchase.amount"]);
    assert_eq!(tenant.all_purchases(Default::default()).await.len(), taken, "nothing had an effect");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_of_a_purchase_are_kept_one_by_one() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let tomorrow = std::time::SystemTime::now() + std::time::Duration::from_secs(86_400 + 600);
    let with = |items: Vec<PurchaseItem>| Purchase { items, ..bought(&zoe, 1) };
    let fine = || item("Beans", 1, None);
    let outcome = ConversationOutcome::Purchased.into();
    let cases = [
        ("customer_id", bought("", 1)),
        ("order_id", Purchase { order_id: "x".repeat(257), ..bought(&zoe, 1) }),
        ("order_id", Purchase { order_id: "a\nb".to_owned(), ..bought(&zoe, 1) }),
        ("payment_id", Purchase { payment_id: "x".repeat(257), ..bought(&zoe, 1) }),
        ("status", Purchase { status: PurchaseStatus::Refunded.into(), ..bought(&zoe, 1) }),
        ("items", with(vec![fine(); 501])),
        ("items[0].name", with(vec![item("", 1, None)])),
        ("items[0].name", with(vec![item(&"é".repeat(257), 1, None)])),
        ("items[0].name", with(vec![item("a\nb", 1, None)])),
        ("items[1].sku", with(vec![fine(), PurchaseItem { sku: "x".repeat(129), ..fine() }])),
        ("items[0].quantity", with(vec![item("Beans", -1, None)])),
        ("items[0].quantity", with(vec![item("Beans", 1_000_001, None)])),
        ("purchase_time", Purchase { purchase_time: Some(tomorrow.into()), ..bought(&zoe, 1) }),
        ("conversation_id", Purchase { conversation_outcome: outcome, ..bought(&zoe, 1) }),
        ("conversation_outcome", Purchase { conversation_outcome: 99, ..bought(&zoe, 1) }),
    ];
    for (field, request) in cases {
        tenant.buy(request).await.expect_err(field).is_invalid(&[&format!("purchase.{field}")]);
    }
    assert_eq!(tenant.all_purchases(Default::default()).await, []);
    let many = tenant.buy(with(vec![fine(); 500])).await.expect("500 items");
    assert_eq!(many.items.len(), 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_purchase_refers_to_is_there_and_its_customers() {
    let crm = Crm::start().await;
    let (tenant, other) = (crm.tenant(), crm.tenant());
    let (talk, stranger) = (tenant.conversation().await, other.conversation().await);
    let foreign = other.campaign("Foreign").await.id;
    let gone = tenant.customer("Gone").await.id;
    tenant.delete(&gone).await.expect("deleted");
    for id in [UNKNOWN, &stranger.customer_id, &gone] {
        let error = tenant.buy(bought(id, 1)).await.expect_err("nobody");
        error.is(Code::NotFound, "CUSTOMER_NOT_FOUND");
    }
    let ana = tenant.customer("Ana").await.id;
    for (customer, id) in [(&ana, &talk.id), (&ana, &stranger.id), (&ana, &UNKNOWN.to_owned())] {
        let request = Purchase { conversation_id: id.clone(), ..bought(customer, 1) };
        tenant.buy(request).await.expect_err("not hers").is(Code::NotFound, "CONVERSATION_NOT_FOUND");
    }
    for id in [UNKNOWN, &foreign] {
        let request = Purchase { campaign_id: id.to_owned(), ..bought(&ana, 1) };
        tenant.buy(request).await.expect_err("no campaign").is(Code::NotFound, "CAMPAIGN_NOT_FOUND");
    }
    assert_eq!(tenant.all_purchases(Default::default()).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_has_one_purchase_whoever_comes_at_once() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let order = Purchase { order_id: "A-1".to_owned(), ..bought(&zoe, 1) };
    let clients = (0..8).map(|client| {
        let tenant = if client % 2 == 0 { tenant.clone() } else { tenant.through(&replica) };
        let order = order.clone();
        async move { tenant.buy_again(order).await.expect("recorded, now or before") }
    });
    let answers = at_once(clients).await;
    assert_eq!(answers.iter().filter(|(_, deduplicated)| !deduplicated).count(), 1);
    assert!(answers.iter().all(|(purchase, _)| *purchase == answers[0].0), "{answers:?}");
    assert_eq!(tenant.all_purchases(Default::default()).await.len(), 1);
    let other = crm.tenant();
    let ben = other.customer("Ben").await.id;
    other.buy(Purchase { customer_id: ben, ..order }).await.expect("another tenant's order");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_with_other_content_is_refused_by_what_differs() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let autumn = tenant.campaign("Autumn").await.id;
    let ana = tenant.customer("Ana").await.id;
    let text = |text: &str| prost_types::Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let fields = [("shop".to_owned(), text("Berlin")), ("large".to_owned(), number(1e300))];
    let order = Purchase {
        order_id: "A-1".to_owned(),
        payment_id: "pi_1".to_owned(),
        items: vec![item("Beans", 2, Some(euros(5, 0)))],
        metadata: Some(Struct { fields: fields.into() }),
        conversation_id: talk.id.clone(),
        conversation_outcome: ConversationOutcome::Purchased.into(),
        ..bought(&talk.customer_id, 10)
    };
    let first = tenant.buy(order.clone()).await.expect("recorded");
    assert_eq!((&first.metadata, first.conversation_outcome), (&order.metadata, 0), "INPUT_ONLY");
    let paid = tenant.refund(back(&first, Some(1))).await.expect("refunded");
    // Its customer is gone, and the answer has the current state: with the refund.
    tenant.delete(&talk.customer_id).await.expect("deleted");
    let (again, deduplicated) = tenant.buy_again(order.clone()).await.expect("the same");
    assert!(deduplicated);
    assert_eq!(again, paid);
    let others = [
        ("customer_id", Purchase { customer_id: ana, ..order.clone() }),
        ("payment_id", Purchase { payment_id: "pi_2".to_owned(), ..order.clone() }),
        ("status", Purchase { status: PurchaseStatus::Pending.into(), ..order.clone() }),
        ("amount", Purchase { amount: Some(euros(11, 0)), ..order.clone() }),
        (
            "amount, items",
            Purchase {
                amount: Some(money("USD", 10, 0)),
                items: vec![item("Beans", 2, Some(money("USD", 5, 0))), item("Cups", 1, None)],
                ..order.clone()
            },
        ),
        ("purchase_time", Purchase { purchase_time: at(0), ..order.clone() }),
        (
            "conversation_id, conversation_outcome",
            Purchase { conversation_id: String::new(), conversation_outcome: 0, ..order.clone() },
        ),
        ("campaign_id", Purchase { campaign_id: autumn, ..order.clone() }),
        ("metadata", Purchase { metadata: None, ..order.clone() }),
    ];
    for (differing, other) in others {
        let error = tenant.buy(other).await.expect_err(differing);
        error.is(Code::AlreadyExists, "ORDER_ID_TAKEN");
        assert!(error.message().contains(&format!("it differs in {differing};")), "{differing}: {error:?}");
        let details = error.get_error_details();
        let named = details.resource_info().expect("a ResourceInfo");
        assert_eq!((named.resource_type.as_str(), &named.resource_name), ("purchase", &first.id));
    }
    assert_eq!(tenant.read_purchase(&first.id).await.expect("there"), paid);
}

fn number(number: f64) -> prost_types::Value {
    prost_types::Value { kind: Some(Kind::NumberValue(number)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_sets_the_outcome_of_its_conversation_or_neither_is_there() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let mut watch = tenant.watch(&talk.id, None).await;
    let request = Purchase {
        order_id: "A-1".to_owned(),
        conversation_id: talk.id.clone(),
        conversation_outcome: ConversationOutcome::Purchased.into(),
        ..bought(&talk.customer_id, 10)
    };
    // The purchase is refused: the conversation does not change.
    let taken = tenant.customer("Ana").await.id;
    tenant.buy(Purchase { order_id: "A-1".to_owned(), ..bought(&taken, 1) }).await.expect("first");
    tenant.buy(request.clone()).await.expect_err("taken").is(Code::AlreadyExists, "ORDER_ID_TAKEN");
    assert_eq!(tenant.read(&talk.id).await.expect("there"), talk);
    let request = Purchase { order_id: "A-2".to_owned(), ..request };
    tenant.buy(request).await.expect("bought");
    match watch.next().await {
        Event::ConversationUpdated(updated) => {
            assert_eq!(updated.conversation.expect("it").outcome(), ConversationOutcome::Purchased);
        }
        other => panic!("not an update: {other:?}"),
    }
    let after = tenant.read(&talk.id).await.expect("there");
    assert_eq!(after.outcome(), ConversationOutcome::Purchased);
    // The outcome cannot be written: the purchase is not stored either.
    let sql = crm.sql().await;
    sql.run("ALTER TABLE conversations ADD CONSTRAINT full_disk CHECK (outcome <> 'QUALIFIED')").await;
    let refused = Purchase {
        conversation_id: talk.id.clone(),
        conversation_outcome: ConversationOutcome::Qualified.into(),
        ..bought(&talk.customer_id, 10)
    };
    tenant.buy(refused).await.expect_err("no outcome, no purchase");
    assert_eq!(sql.number("SELECT count(*) FROM purchases").await, 2);
    assert_eq!(tenant.read(&talk.id).await.expect("there"), after);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_and_the_last_campaign_are_those_of_the_90_days_before() {
    let crm = Crm::start().await;
    use CampaignEventKind::{Bounced, Clicked, Converted, Delivered, Opened, OptedOut, Replied, Sent};
    let tenant = crm.tenant();
    let (zoe, ana) = (tenant.customer("Zoe").await.id, tenant.customer("Ana").await.id);
    let mut campaigns = Vec::new();
    for name in ["Spring", "Summer", "Autumn", "Winter"] {
        campaigns.push(tenant.campaign(name).await.id);
    }
    let [spring, summer, autumn, winter] = campaigns.as_slice() else { panic!("four campaigns") };
    let buy = async |minutes: i64| {
        let request = Purchase { purchase_time: at(minutes), ..bought(&zoe, 1) };
        tenant.buy(request).await.expect("bought")
    };
    let touches = |purchase: &Purchase| {
        (purchase.first_touch_campaign_id.clone(), purchase.last_touch_campaign_id.clone())
    };
    let purchase = buy(0).await;
    assert_eq!(touches(&purchase), (String::new(), String::new()));
    // Reported after the purchase; none of these counts.
    tenant.react((spring, &zoe), Opened, -90 * DAY - 1).await;
    tenant.react((spring, &zoe), Clicked, 1).await;
    tenant.react((spring, &ana), Clicked, -1).await;
    for (minutes, kind) in [(-9, Sent), (-8, Delivered), (-7, Bounced), (-6, OptedOut)] {
        tenant.react((spring, &zoe), kind, minutes).await;
    }
    let read = async || {
        let mut purchases = tenant.all_purchases(Default::default()).await;
        touches(&purchases.remove(0))
    };
    assert_eq!(read().await, (String::new(), String::new()));
    // Exactly at the limits.
    tenant.react((autumn, &zoe), Converted, 0).await;
    assert_eq!(read().await, (autumn.clone(), autumn.clone()));
    tenant.react((summer, &zoe), Opened, -90 * DAY).await;
    tenant.react((winter, &zoe), Replied, -5).await;
    assert_eq!(read().await, (summer.clone(), autumn.clone()));
    let refunded = tenant.refund(back(&purchase, None)).await.expect("refunded");
    assert_eq!(touches(&refunded), (summer.clone(), autumn.clone()));
    assert_eq!(touches(&buy(1).await), (winter.clone(), spring.clone()));
}

/// Creates purchases with different values for all filters of a list.
async fn a_few(tenant: &Tenant, autumn: &str) -> (String, String) {
    let talk = tenant.conversation().await;
    let ana = tenant.customer("Ana").await.id;
    let order = |order_id: &str, customer: &str, minutes| Purchase {
        order_id: order_id.to_owned(),
        purchase_time: at(minutes),
        ..bought(customer, 10)
    };
    let zoe = &talk.customer_id;
    let dollars = Some(money("USD", 3, 0));
    for request in [
        order("p0", zoe, 0),
        Purchase { conversation_id: talk.id.clone(), ..order("p1", zoe, 1) },
        Purchase { campaign_id: autumn.to_owned(), ..order("p2", zoe, 2) },
        order("p3", &ana, 2),
        Purchase { amount: dollars, ..order("p4", zoe, 3) },
    ] {
        let purchase = tenant.buy(request).await.expect("bought");
        match purchase.order_id.as_str() {
            "p0" => drop(tenant.refund(back(&purchase, None)).await.expect("refunded")),
            "p3" => drop(tenant.refund(back(&purchase, Some(4))).await.expect("refunded")),
            _ => {}
        }
    }
    (talk.id, ana)
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_hold_together_and_pages_show_every_purchase_once() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let autumn = tenant.campaign("Autumn").await.id;
    let (talk, ana) = a_few(&tenant, &autumn).await;
    let all = ListPurchasesRequest::default;
    let (paid, partly, refunded) = (
        PurchaseStatus::Paid.into(),
        PurchaseStatus::PartiallyRefunded.into(),
        PurchaseStatus::Refunded.into(),
    );
    let cases = [
        (ListPurchasesRequest { customer_id: ana.clone(), ..all() }, vec!["p3"]),
        (ListPurchasesRequest { conversation_id: talk, ..all() }, vec!["p1"]),
        (ListPurchasesRequest { campaign_id: autumn, ..all() }, vec!["p2"]),
        (ListPurchasesRequest { order_id: "p4".to_owned(), ..all() }, vec!["p4"]),
        (ListPurchasesRequest { statuses: vec![refunded], ..all() }, vec!["p0"]),
        (ListPurchasesRequest { statuses: vec![partly, refunded], ..all() }, vec!["p3", "p0"]),
        (ListPurchasesRequest { currency_code: "USD".to_owned(), ..all() }, vec!["p4"]),
        (ListPurchasesRequest { purchase_time_from: at(3), ..all() }, vec!["p4"]),
        (ListPurchasesRequest { purchase_time_until: at(1), ..all() }, vec!["p0"]),
        (ListPurchasesRequest { customer_id: ana, statuses: vec![paid], ..all() }, vec![]),
    ];
    for (request, expected) in cases {
        let found = tenant.all_purchases(request.clone()).await;
        assert_eq!(found.iter().map(|found| &found.order_id).collect::<Vec<_>>(), expected, "{request:?}");
    }
    let newest = tenant.all_purchases(all()).await;
    assert_eq!(newest.len(), 5);
    let times: Vec<_> = newest.iter().map(|purchase| micros(purchase.purchase_time)).collect();
    assert!(times.is_sorted_by(|one, other| one >= other), "{times:?}");
    assert_eq!(newest.last().expect("the oldest").refunds.len(), 1, "a page has its refunds");
    for page_size in [1, 2, 4, 500] {
        let by = |order_by: &str| ListPurchasesRequest { page_size, order_by: order_by.to_owned(), ..all() };
        assert_eq!(tenant.all_purchases(by("purchase_time desc")).await, newest);
        let mut oldest = tenant.all_purchases(by("purchase_time")).await;
        oldest.reverse();
        assert_eq!(oldest, newest);
    }
    for (field, request) in [
        ("order_by", ListPurchasesRequest { order_by: "amount".to_owned(), ..all() }),
        ("currency_code", ListPurchasesRequest { currency_code: "eur".to_owned(), ..all() }),
        ("statuses[0]", ListPurchasesRequest { statuses: vec![0], ..all() }),
    ] {
        tenant.purchase_page(request).await.expect_err(field).is_invalid(&[field]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_large_purchases_ends_where_its_bytes_do() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let name = "é".repeat(256);
    let large = Purchase { items: vec![item(&name, 1, None); 500], ..bought(&zoe, 1) };
    for _ in 0..10 {
        tenant.buy(large.clone()).await.expect("bought");
    }
    let page = tenant.purchase_page(Default::default()).await.expect("a page");
    assert!(page.purchases.len() < 10 && !page.next_page_token.is_empty(), "{}", page.purchases.len());
    assert_eq!(tenant.all_purchases(Default::default()).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_is_settled_and_voided_step_by_step() {
    use PurchaseStatus::{Failed, Paid, Pending, Refunded, Voided};
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let order = async |order_id: &str, status: PurchaseStatus| {
        let order_id = order_id.to_owned();
        tenant.buy(Purchase { order_id, status: status.into(), ..bought(&zoe, 10) }).await.expect("recorded")
    };
    let refused = |error: tonic::Status, what: &str| {
        error.is(Code::FailedPrecondition, "PURCHASE_STEP_NOT_ALLOWED");
        assert!(error.message().starts_with(what), "{error:?}");
    };
    let pending = order("A-1", Pending).await;
    assert_eq!(pending.status(), Pending);
    refused(
        tenant.refund(back(&pending, None)).await.expect_err("not paid"),
        "a refund is not allowed: the purchase is PENDING",
    );
    let (failed, again) = tenant.settle(&pending, Failed, "pi_1").await.expect("settled");
    assert_eq!((failed.status(), failed.payment_id.as_str(), again), (Failed, "pi_1", false));
    let (same, again) = tenant.settle(&pending, Failed, "pi_1").await.expect("settled before");
    assert_eq!((&same, again), (&failed, true));
    let (paid, _) = tenant.settle(&pending, Paid, "pi_2").await.expect("paid with another payment");
    assert_eq!((paid.status(), paid.payment_id.as_str()), (Paid, "pi_2"));
    for payment_id in ["", "pi_2"] {
        let (same, again) = tenant.settle(&pending, Paid, payment_id).await.expect("paid before");
        assert_eq!((&same, again), (&paid, true));
    }
    refused(tenant.settle(&pending, Paid, "pi_3").await.expect_err("paid twice"), "another payment_id");
    refused(tenant.settle(&pending, Failed, "pi_2").await.expect_err("it is paid"), "the step to FAILED");
    // A resent order must be as it was recorded, regardless of its later state.
    let resent = Purchase { order_id: "A-1".to_owned(), status: Pending.into(), ..bought(&zoe, 10) };
    let (now, again) = tenant.buy_again(resent.clone()).await.expect("the same");
    assert_eq!((&now, again), (&paid, true));
    let other = Purchase { status: Paid.into(), ..resent };
    tenant.buy(other).await.expect_err("recorded as PENDING").is(Code::AlreadyExists, "ORDER_ID_TAKEN");
    let (voided, again) = tenant.void(&paid, "recorded by mistake").await.expect("voided");
    assert_eq!((voided.status(), voided.void_reason.as_str(), again), (Voided, "recorded by mistake", false));
    assert_eq!(
        tenant.void(&paid, "recorded by mistake").await.expect("voided before"),
        (voided.clone(), true)
    );
    refused(tenant.void(&paid, "another").await.expect_err("another reason"), "another reason");
    refused(tenant.settle(&paid, Paid, "").await.expect_err("voided"), "the step to PAID");
    let refunded = tenant.refund(back(&order("A-2", Paid).await, None)).await.expect("refunded");
    refused(tenant.void(&refunded, "").await.expect_err("it has a refund"), "the step to VOIDED");
    let (same, again) = tenant.settle(&refunded, Paid, "").await.expect("paid before");
    assert_eq!((same.status(), again), (Refunded, true));
    let (cancelled, _) = tenant.void(&order("A-3", Pending).await, "").await.expect("cancelled");
    assert_eq!(cancelled.status(), Voided);
    let statuses = vec![Voided.into()];
    let voided = tenant.all_purchases(ListPurchasesRequest { statuses, ..Default::default() }).await;
    assert_eq!(voided.len(), 2, "they stay readable");
    for status in [Pending, Voided, PurchaseStatus::Refunded] {
        let error = tenant.settle(&refunded, status, "").await.expect_err("no end of a payment");
        error.is_invalid(&["status"]);
    }
    let unknown = Purchase { id: UNKNOWN.to_owned(), ..Default::default() };
    tenant.settle(&unknown, Paid, "").await.expect_err("unknown").is(Code::NotFound, "PURCHASE_NOT_FOUND");
    tenant.void(&unknown, "").await.expect_err("unknown").is(Code::NotFound, "PURCHASE_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_settle_and_void_at_once_each_step_is_made_once() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let order = Purchase { status: PurchaseStatus::Pending.into(), ..bought(&zoe, 10) };
    let pending = tenant.buy(order).await.expect("recorded");
    let clients = (0..8).map(|_| {
        let (tenant, pending) = (tenant.clone(), pending.clone());
        async move { tenant.settle(&pending, PurchaseStatus::Paid, "pi_1").await.expect("paid").1 }
    });
    let answers = at_once(clients).await;
    assert_eq!(answers.iter().filter(|again| !**again).count(), 1);
    let after = tenant.read_purchase(&pending.id).await.expect("there");
    assert_ne!(after.etag, pending.etag);
}
