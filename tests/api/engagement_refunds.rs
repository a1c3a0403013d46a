//! Refunds, which never exceed the payment.

use crm_backend::pb::{Purchase, PurchaseStatus, RefundPurchaseRequest};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::support::engagement::{back, bought, euros};
use crate::support::{Crm, Refusal, at_once};

/// Returns the refundable rest in a refusal.
fn left(error: &Status) -> String {
    error.is(Code::FailedPrecondition, "REFUND_EXCEEDS_PAYMENT");
    let details = error.get_error_details();
    let failure = details.precondition_failure().expect("a PreconditionFailure");
    failure.violations[0].description.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_is_paid_back_in_parts_until_nothing_is_left() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let purchase = tenant.purchase(&zoe).await;
    let first = RefundPurchaseRequest {
        reason: "One bag was torn.".to_owned(),
        etag: purchase.etag.clone(),
        ..back(&purchase, Some(3))
    };
    let partly = tenant.refund(first).await.expect("refunded");
    assert_eq!(partly.status(), PurchaseStatus::PartiallyRefunded);
    assert_ne!(partly.etag, purchase.etag);
    assert_eq!((partly.amount.clone(), partly.refunded.clone()), (Some(euros(10, 0)), Some(euros(3, 0))));
    assert_eq!(partly.refunds[0].reason, "One bag was torn.");
    assert_eq!(partly.refunds[0].create_time, partly.update_time);
    let error = tenant.refund(back(&purchase, Some(8))).await.expect_err("too much");
    assert_eq!(left(&error), "7.00 EUR is left of what was paid; pay back that much at most");
    let subject = error.get_error_details().precondition_failure().expect("it").violations[0].subject.clone();
    assert_eq!(subject, format!("purchase/{}", purchase.id));
    let whole = tenant.refund(back(&purchase, None)).await.expect("refunded");
    assert_eq!((whole.status(), whole.refunded.clone()), (PurchaseStatus::Refunded, Some(euros(10, 0))));
    let amounts: Vec<_> =
        whole.refunds.iter().map(|refund| refund.amount.clone().expect("one").units).collect();
    assert_eq!(amounts, [3, 7], "in their order");
    for request in [back(&purchase, None), back(&purchase, Some(1))] {
        let error = tenant.refund(request).await.expect_err("nothing is left");
        assert_eq!(left(&error), "nothing is left of what was paid; there is nothing to pay back");
    }
    assert_eq!(tenant.all_purchases(Default::default()).await, [whole]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_amount_of_the_purchase_is_not_paid_back() {
    let crm = Crm::start().await;
    let (tenant, other) = (crm.tenant(), crm.tenant());
    let zoe = tenant.customer("Zoe").await.id;
    let purchase = tenant.purchase(&zoe).await;
    let of = |currency: &str, units: i64, nanos: i32| {
        let amount = crm_backend::pb::Money { currency_code: currency.to_owned(), units, nanos };
        RefundPurchaseRequest { amount: Some(amount), ..back(&purchase, None) }
    };
    for (what, request, field) in [
        ("nothing", of("EUR", 0, 0), "amount"),
        ("less than nothing", of("EUR", -1, 0), "amount.units"),
        ("a billionth", of("EUR", 1, 1), "amount.nanos"),
        ("small letters", of("eur", 1, 0), "amount.currency_code"),
        ("another currency", of("USD", 1, 0), "amount.currency_code"),
        (
            "too long a reason",
            RefundPurchaseRequest { reason: "é".repeat(2_049), ..of("EUR", 1, 0) },
            "reason",
        ),
    ] {
        tenant.refund(request).await.expect_err(what).is_invalid(&[field]);
    }
    let free = tenant.buy(bought(&zoe, 0)).await.expect("for nothing");
    left(&tenant.refund(back(&free, None)).await.expect_err("nothing was paid"));
    left(&tenant.refund(back(&free, Some(1))).await.expect_err("nothing was paid"));
    let unknown = RefundPurchaseRequest { id: Uuid::now_v7().to_string(), ..back(&purchase, None) };
    tenant.refund(unknown).await.expect_err("unknown").is(Code::NotFound, "PURCHASE_NOT_FOUND");
    let foreign = other.refund(back(&purchase, None)).await.expect_err("another tenant's");
    foreign.is(Code::NotFound, "PURCHASE_NOT_FOUND");
    let read = tenant.all_purchases(Default::default()).await;
    assert!(read.iter().all(|purchase| purchase.refunds.is_empty()), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_clients_at_once_never_pay_back_more_than_was_paid() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let purchase = tenant.buy(bought(&zoe, 100)).await.expect("bought");
    let clients = (0..8_i64).map(|client| {
        let tenant = if client % 2 == 0 { tenant.clone() } else { tenant.through(&replica) };
        let purchase = purchase.clone();
        async move {
            let mut paid = 0;
            for round in 0..5 {
                let units = 3 + (client + round) % 5;
                match tenant.refund(back(&purchase, Some(units))).await {
                    Ok(_) => paid += units,
                    Err(error) => drop(left(&error)),
                }
            }
            paid
        }
    });
    let paid: i64 = at_once(clients).await.iter().sum();
    let after = tenant.all_purchases(Default::default()).await.remove(0);
    assert_eq!(after.refunded, Some(euros(paid, 0)));
    let refunds = after.refunds.iter().map(|refund| refund.amount.as_ref().expect("one").units);
    assert_eq!(refunds.sum::<i64>(), paid);
    // They wanted 200 of 100, at most seven at a time: a refused client wanted more than the rest.
    assert!((94..=100).contains(&paid), "{paid}");
    assert_ne!(after.etag, purchase.etag);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_eight_that_refund_what_they_read_one_does() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let purchase = tenant.purchase(&zoe).await;
    let clients = (0..8).map(|_| {
        let tenant = tenant.clone();
        let request = RefundPurchaseRequest { etag: purchase.etag.clone(), ..back(&purchase, Some(1)) };
        async move { tenant.refund(request).await }
    });
    let answers = at_once(clients).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        error.is(Code::Aborted, "ETAG_STALE");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_with_its_request_id_pays_back_once() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let purchase = tenant.purchase(&zoe).await;
    let request =
        RefundPurchaseRequest { request_id: Uuid::new_v4().to_string(), ..back(&purchase, Some(4)) };
    let clients = (0..4).map(|_| {
        let (tenant, request) = (tenant.clone(), request.clone());
        async move { tenant.refund(request).await.expect("refunded") }
    });
    let answers = at_once(clients).await;
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(answers[0].refunded, Some(euros(4, 0)));
    let other = RefundPurchaseRequest { amount: Some(euros(5, 0)), ..request };
    tenant.refund(other).await.expect_err("another").is(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_shows_its_last_100_refunds_and_a_list_all() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let purchase: Purchase =
        tenant.buy(Purchase { order_id: "many".to_owned(), ..bought(&zoe, 1_000) }).await.expect("bought");
    for number in 1..=102 {
        tenant.refund(back(&purchase, Some(number % 7 + 1))).await.expect("refunded");
    }
    let read = tenant.all_purchases(Default::default()).await.remove(0);
    let units: Vec<_> =
        read.refunds.iter().map(|refund| refund.amount.as_ref().expect("one").units).collect();
    assert_eq!(units, (3..=102).map(|number| number % 7 + 1).collect::<Vec<_>>());
    let all: Vec<_> = (1..=102).map(|number| number % 7 + 1).collect();
    for page_size in [0, 1, 7, 500] {
        let listed = tenant.all_refunds(&purchase.id, page_size).await.expect("a list");
        assert!(listed.iter().all(|refund| refund.purchase_id == purchase.id));
        let units: Vec<_> = listed.iter().map(|refund| refund.amount.as_ref().expect("one").units).collect();
        assert_eq!(units, all, "in their order");
        assert_eq!(listed[2..], read.refunds);
    }
    let foreign = crm.tenant().all_refunds(&purchase.id, 0).await.expect_err("another tenant's");
    foreign.is(Code::NotFound, "PURCHASE_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_with_an_id_of_its_own_is_made_once() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let (purchase, another) = (tenant.purchase(&zoe).await, tenant.purchase(&zoe).await);
    let refund = |purchase: &Purchase, units| RefundPurchaseRequest {
        refund_id: "re_1".to_owned(),
        reason: "torn".to_owned(),
        etag: purchase.etag.clone(),
        ..back(purchase, units)
    };
    let clients = (0..4).map(|_| {
        let (tenant, request) = (tenant.clone(), refund(&purchase, Some(4)));
        // The etag is from before the refund.
        async move { tenant.engagement().refund_purchase(request).await.expect("refunded").into_inner() }
    });
    let answers = at_once(clients).await;
    assert_eq!(answers.iter().filter(|answer| !answer.deduplicated).count(), 1);
    assert!(answers.iter().all(|answer| answer.purchase == answers[0].purchase), "{answers:?}");
    let first = answers[0].purchase.clone().expect("it");
    assert_eq!((first.refunded, first.refunds[0].refund_id.as_str()), (Some(euros(4, 0)), "re_1"));
    for other in [refund(&purchase, Some(5)), refund(&purchase, None)] {
        let error = tenant.refund(other).await.expect_err("another amount");
        error.is(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
    }
    let other = RefundPurchaseRequest { reason: "late".to_owned(), ..refund(&purchase, Some(4)) };
    tenant.refund(other).await.expect_err("another reason").is(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
    let rest = tenant.refund(refund(&another, None)).await.expect("another purchase's");
    assert_eq!(tenant.refund(refund(&another, None)).await.expect("the same"), rest);
    assert_eq!(rest.refunded, Some(euros(10, 0)));
}
