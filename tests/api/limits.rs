//! Limits of calls and streams: refusals come early, with an explanation, and affect only their
//! tenant.

use std::time::Duration;

use crm_backend::pb::Customer;
use crm_testkit::Sql;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::support::customers::named;
use crate::support::http2::{Http2, begun};
use crate::support::postgres::waiting_statements;
use crate::support::watch::BEGINNING;
use crate::support::{Crm, Refusal, Settings, Tenant, at_once, eventually, soon};

/// Calls of a tenant that cannot end, because another transaction locks their customer.
struct Stuck {
    sql: Sql,
    customer: Customer,
    calls: JoinSet<Result<Customer, Status>>,
}

impl Stuck {
    async fn begin(crm: &Crm, tenant: &Tenant, calls: usize) -> Self {
        let customer = tenant.customer("Zoe").await;
        let sql = crm.sql().await;
        sql.run(&format!(
            "BEGIN; SELECT FROM customers WHERE tenant_id = '{}' AND id = '{}' FOR UPDATE",
            tenant.id, customer.id
        ))
        .await;
        let mut stuck = Self { sql, customer, calls: JoinSet::new() };
        for _ in 0..calls {
            stuck.call(tenant);
        }
        stuck.are(crm, calls).await;
        stuck
    }

    fn call(&mut self, tenant: &Tenant) {
        let (tenant, id) = (tenant.clone(), self.customer.id.clone());
        let changed = Customer { id, business_name: "Ana".to_owned(), ..Customer::default() };
        self.calls.spawn(async move { tenant.update(changed, &["business_name"]).await });
    }

    /// Waits until this many of them wait.
    async fn are(&self, crm: &Crm, count: usize) {
        let count = i64::try_from(count).expect("a few");
        let sql = crm.sql().await;
        eventually("calls wait for the customer", async || waiting_statements(&sql).await >= count).await;
    }

    /// Lets them end, and checks that they do.
    async fn end(mut self) {
        self.sql.run("COMMIT").await;
        while let Some(ended) = soon(self.calls.join_next()).await {
            ended.expect("no panic").expect("it was only waiting");
        }
    }
}

/// Checks that a refusal names its limit and when to retry.
#[track_caller]
fn is_refused_by(error: &Status, reason: &str, limit: &str, value: i64) {
    error.is(Code::ResourceExhausted, reason);
    let details = error.get_error_details();
    let violation = &details.quota_failure().expect("a QuotaFailure").violations[0];
    assert_eq!((violation.quota_id.as_str(), violation.quota_value), (limit, value), "{error:?}");
    let retry = details.retry_info().expect("a RetryInfo").retry_delay.expect("a time");
    assert!(!retry.is_zero() && retry <= Duration::from_secs(60), "{retry:?}");
}

/// Waits until the service accepts the call again, as a client does that retries.
async fn is_taken_again<T>(call: impl AsyncFn() -> Result<T, Status>) {
    eventually("there is room again", async || match call().await {
        Ok(_) => true,
        Err(error) => {
            error.is(Code::ResourceExhausted, "TENANT_QUOTA_EXCEEDED");
            false
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_all_its_calls_in_flight_is_refused_and_another_is_not() {
    let limits = |limits: &mut crm_backend::config::Limits| limits.calls.max_calls_per_tenant = 3;
    let crm = Crm::with(Settings { limits, ..Settings::default() }).await;
    let (busy, other) = (crm.tenant(), crm.tenant());
    let stuck = Stuck::begin(&crm, &busy, 3).await;
    for _ in 0..3 {
        let error = busy.get(&stuck.customer.id).await.expect_err("no place is free");
        is_refused_by(&error, "TENANT_QUOTA_EXCEEDED", "max_calls_per_tenant", 3);
        let details = error.get_error_details();
        let subject = &details.quota_failure().expect("a QuotaFailure").violations[0].subject;
        assert_eq!(*subject, format!("tenant/{}", busy.id));
        other.customer("Another tenant is served").await;
    }
    let talk = other.conversation().await;
    other.stream().await.send(&talk.id, crate::support::conversations::message("a", "Hello"));
    let id = stuck.customer.id.clone();
    stuck.end().await;
    is_taken_again(async || busy.get(&id).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_does_not_wait_for_the_message() {
    let limits = |limits: &mut crm_backend::config::Limits| limits.calls.max_calls_per_tenant = 1;
    let crm = Crm::with(Settings { limits, ..Settings::default() }).await;
    let tenant = crm.tenant();
    let stuck = Stuck::begin(&crm, &tenant, 1).await;
    let mut client = Http2::connect(crm.address()).await;
    // Its body never comes.
    let request = begun("CustomerService/GetCustomer", tenant.id, &[], Vec::new());
    let error = client.refusal(request).await;
    is_refused_by(&error, "TENANT_QUOTA_EXCEEDED", "max_calls_per_tenant", 1);
    stuck.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_its_client_gave_up_has_its_place_until_it_ends() {
    let limits = |limits: &mut crm_backend::config::Limits| limits.calls.max_calls_per_tenant = 2;
    let crm = Crm::with(Settings { limits, ..Settings::default() }).await;
    let tenant = crm.tenant();
    let mut stuck = Stuck::begin(&crm, &tenant, 2).await;
    let id = stuck.customer.id.clone();
    stuck.calls.shutdown().await;
    let error = tenant.get(&id).await.expect_err("they still run");
    is_refused_by(&error, "TENANT_QUOTA_EXCEEDED", "max_calls_per_tenant", 2);
    stuck.end().await;
    is_taken_again(async || tenant.get(&id).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_whole_is_full_all_are_refused_but_health() {
    let limits = |limits: &mut crm_backend::config::Limits| limits.calls.max_calls = 4;
    let crm = Crm::with(Settings { limits, ..Settings::default() }).await;
    let (first, second, third) = (crm.tenant(), crm.tenant(), crm.tenant());
    let stuck = Stuck::begin(&crm, &first, 2).await;
    let stuck_too = Stuck::begin(&crm, &second, 2).await;
    for tenant in [&first, &second, &third] {
        let error = tenant.create(named("Ana")).await.expect_err("no place is free");
        is_refused_by(&error, "OVERLOADED", "max_calls", 4);
    }
    // The caller is not even authenticated.
    let error = Http2::connect(crm.address())
        .await
        .refusal(begun("CustomerService/GetCustomer", Uuid::nil(), &[], Vec::new()))
        .await;
    is_refused_by(&error, "OVERLOADED", "max_calls", 4);
    let health = HealthClient::new(crm.channel()).check(HealthCheckRequest::default()).await;
    assert_eq!(health.expect("health is never refused").into_inner().status(), ServingStatus::Serving);
    third.stream().await.close();
    stuck.end().await;
    stuck_too.end().await;
    for tenant in [&first, &second, &third] {
        eventually("there is room again", async || tenant.create(named("Ana")).await.is_ok()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_all_its_streams_open_is_refused_and_another_is_not() {
    let limits = |limits: &mut crm_backend::config::Limits| limits.calls.max_streams_per_tenant = 2;
    let crm = Crm::with(Settings { limits, ..Settings::default() }).await;
    let (busy, other) = (crm.tenant(), crm.tenant());
    let talk = busy.conversation().await.id;
    let (watch, stream) = (busy.watch(&talk, BEGINNING).await, busy.stream().await);
    let open = async || busy.try_watch(&talk, BEGINNING, true).await;
    let error = open().await.err().expect("no place is free");
    is_refused_by(&error, "TENANT_QUOTA_EXCEEDED", "max_streams_per_tenant", 2);
    let talk_of_other = other.conversation().await.id;
    other.watch(&talk_of_other, BEGINNING).await;
    busy.customer("Calls are counted apart").await;
    // One client resets its stream, and one ends it properly.
    drop(watch);
    is_taken_again(&open).await;
    let mut stream = stream;
    stream.close();
    assert_eq!(stream.answer().await.expect("OK"), None);
    is_taken_again(&open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_a_client_that_vanished_gives_its_place_back() {
    let limits = |limits: &mut crm_backend::config::Limits| limits.calls.max_streams_per_tenant = 1;
    let crm = Crm::with(Settings { limits, ..Settings::default() }).await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let mut client = Http2::connect(crm.address()).await;
    let response = client.call(begun("ConversationService/AddMessage", tenant.id, &[], Vec::new())).await;
    assert!(response.headers().get("grpc-status").is_none(), "{response:?}");
    let error = tenant.try_watch(&talk, BEGINNING, true).await.err().expect("no place is free");
    is_refused_by(&error, "TENANT_QUOTA_EXCEEDED", "max_streams_per_tenant", 1);
    client.vanish();
    is_taken_again(async || tenant.try_watch(&talk, BEGINNING, true).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_is_within_the_limit_of_streams_too() {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    let limits = |limits: &mut crm_backend::config::Limits| limits.calls.max_streams = 1;
    let crm = Crm::with(Settings { limits, ..Settings::default() }).await;
    let tenant = crm.tenant();
    let stream = tenant.stream().await;
    let ask = || {
        let mut client = ServerReflectionClient::new(crm.channel());
        async move { client.server_reflection_info(tokio_stream::empty()).await }
    };
    let error = ask().await.expect_err("no place is free");
    is_refused_by(&error, "OVERLOADED", "max_streams", 1);
    drop(stream);
    eventually("there is room again", async || ask().await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_calls_too_often_is_told_so_and_another_is_not() {
    const BURST: usize = 5;
    let limits = |limits: &mut crm_backend::config::Limits| {
        limits.calls.tenant_rate = 1;
        limits.calls.tenant_burst = u32::try_from(BURST).ok();
    };
    let crm = Crm::with(Settings { limits, ..Settings::default() }).await;
    let (busy, other) = (crm.tenant(), crm.tenant());
    // At one per second, it would take a minute until all of them were accepted.
    let calls = at_once((0..60).map(|_| {
        let busy = busy.clone();
        async move { busy.create(named("Zoe")).await }
    }))
    .await;
    let (taken, refused): (Vec<_>, Vec<_>) = calls.into_iter().partition(Result::is_ok);
    assert!(taken.len() >= BURST && !refused.is_empty(), "{} taken", taken.len());
    for error in refused.iter().filter_map(|call| call.as_ref().err()) {
        is_refused_by(error, "TENANT_RATE_EXCEEDED", "tenant_rate", 1);
    }
    other.customer("Another tenant has calls of its own").await;
    eventually("it may call again", async || busy.create(named("Zoe")).await.is_ok()).await;
}
