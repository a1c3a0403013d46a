//! API keys: what they grant, how they end, and the cost of looking them up.

use std::time::Duration;

use crm_backend::pb::AccessScope;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::support::credentials::{ALL, SOON, bounds, with_keys};
use crate::support::issuer::base64;
use crate::support::{Crm, Refusal, Tenant, at_once, eventually};

/// Returns a key that does not exist.
fn made_up() -> String {
    let random = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
    format!("crm_{}", base64(random))
}

async fn call(tenant: &Tenant) -> Result<(), Status> {
    tenant.list(Default::default()).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_grants_its_tenants_and_its_scopes() {
    let crm = with_keys().await;
    let tenant = crm.tenant();
    let (_, secret) = crm.key(&tenant, [AccessScope::Write], None).await;
    let writer = tenant.with(&secret);
    let zoe = writer.customer("Zoe").await;
    writer.get(&zoe.id).await.expect_err("only to write").is(Code::PermissionDenied, "SCOPE_NOT_GRANTED");
    let elsewhere = crm.tenant().with(&secret);
    let refused = elsewhere.delete(&zoe.id).await.expect_err("of one tenant");
    refused.is(Code::PermissionDenied, "TENANT_NOT_GRANTED");
    let (_, secret) = crm.key(&tenant, [AccessScope::Read], None).await;
    assert_eq!(tenant.with(&secret).get(&zoe.id).await.expect("granted"), zoe);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_nobody_has_is_invalid() {
    let crm = with_keys().await;
    let tenant = crm.tenant();
    let (_, secret) = crm.key(&tenant, ALL, None).await;
    let malformed = [&secret[..secret.len() - 1], &secret.to_uppercase(), &format!("{secret}A"), "crm_"];
    for bad in malformed.map(str::to_owned).into_iter().chain([made_up(), made_up()]) {
        let refused = call(&tenant.with(&bad)).await.expect_err(&bad);
        refused.is(Code::Unauthenticated, "CREDENTIAL_INVALID");
        assert!(!refused.message().contains(&bad), "{refused:?}");
    }
    call(&tenant.with(&secret)).await.expect("granted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_refused_after_its_end_and_after_it_was_revoked() {
    let crm = with_keys().await;
    let tenant = crm.tenant();
    let (_, short) = crm.key(&tenant, ALL, Some(Duration::from_millis(1))).await;
    eventually("the key has ended", || async {
        call(&tenant.with(&short)).await.is_err_and(|error| error.reason() == "CREDENTIAL_EXPIRED")
    })
    .await;
    let (id, secret) = crm.key(&tenant, ALL, Some(Duration::from_secs(3600))).await;
    call(&tenant.with(&secret)).await.expect("granted");
    crm.revoke(id).await;
    eventually("the key is refused", || async {
        call(&tenant.with(&secret)).await.is_err_and(|error| error.reason() == "CREDENTIAL_REVOKED")
    })
    .await;
    let (id, unused) = crm.key(&tenant, ALL, None).await;
    crm.revoke(id).await;
    let refused = call(&tenant.with(&unused)).await.expect_err("it was never seen before");
    refused.is(Code::Unauthenticated, "CREDENTIAL_REVOKED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_deleted_or_changed_by_hand_counts_as_it_is_now() {
    let crm = with_keys().await;
    let tenant = crm.tenant();
    let (id, secret) = crm.key(&tenant, [AccessScope::Read], None).await;
    let with = tenant.with(&secret);
    call(&with).await.expect("granted");
    let sql = crm.sql().await;
    sql.run(&format!("UPDATE api_keys SET scopes = '{{WRITE}}', revision = 2 WHERE id = '{id}'")).await;
    eventually("it is only to write", || async {
        call(&with).await.is_err_and(|error| error.reason() == "SCOPE_NOT_GRANTED")
    })
    .await;
    sql.run(&format!("DELETE FROM api_keys WHERE id = '{id}'")).await;
    eventually("it is nobody's", || async {
        call(&with).await.is_err_and(|error| error.reason() == "CREDENTIAL_INVALID")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_made_while_the_service_runs_is_taken() {
    let crm = with_keys().await;
    for _ in 0..3 {
        let tenant = crm.tenant_with_key().await;
        tenant.customer("Zoe").await;
    }
}

/// Returns how often the database looked keys up, after the service had a moment to report it.
async fn lookups(crm: &Crm) -> i64 {
    let sql = crm.sql().await;
    sql.number(
        "SELECT coalesce(sum(seq_scan + idx_scan), 0) FROM pg_stat_user_tables WHERE relname = 'api_keys'",
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_with_a_key_that_is_known_cost_no_lookup_and_guesses_few() {
    let patient = crm_backend::auth::Bounds { revocation: Duration::from_secs(3600), ..bounds() };
    let config = crate::support::credentials::config(&["--auth", "api-key"]);
    let crm = Crm::with(crate::support::credentials::asking(&config, patient).await).await;
    let tenant = crm.tenant_with_key().await;
    let guessed = tenant.with(&made_up());
    call(&tenant).await.expect("granted");
    call(&guessed).await.expect_err("nobody's");
    // Postgres reports its counts when a session has been idle for a while, or ends.
    let before = lookups(&crm).await;
    for _ in 0..200 {
        call(&tenant).await.expect("granted");
        call(&guessed).await.expect_err("nobody's");
    }
    crm.sql().await.run("SELECT pg_stat_clear_snapshot()").await;
    let many = (0..200).map(|_| {
        let guess = tenant.with(&made_up());
        async move { call(&guess).await.expect_err("nobody's") }
    });
    at_once(many).await;
    let mut crm = crm;
    crm.shut_down().await.expect("a clean end");
    eventually("the counts are told", || async { lookups(&crm).await > before }).await;
    let asked = lookups(&crm).await - before;
    assert!(asked <= 210, "{asked} lookups for 200 new guesses and 400 calls of keys that are known");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_no_reason_to_call_a_key_invalid() {
    let crm = with_keys().await;
    let tenant = crm.tenant_with_key().await;
    let unseen = crm.tenant_with_key().await;
    call(&tenant).await.expect("granted");
    let sql = crm.sql().await;
    sql.run("BEGIN; LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE").await;
    let refused = call(&unseen).await.expect_err("nobody can know");
    refused.is(Code::Unavailable, "DATABASE_UNAVAILABLE");
    eventually("what was known is too old", || async {
        call(&tenant).await.is_err_and(|error| error.code() == Code::Unavailable)
    })
    .await;
    sql.run("ROLLBACK").await;
    for tenant in [tenant, unseen] {
        eventually("it heals by itself", || async { call(&tenant).await.is_ok() }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_looked_up_within_the_deadline_of_its_call() {
    let crm = with_keys().await;
    let tenant = crm.tenant_with_key().await;
    crm.sql().await.run("SELECT 1").await;
    let sql = crm.sql().await;
    sql.run("BEGIN; LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE").await;
    let mut request = tonic::Request::new(Default::default());
    request.set_timeout(Duration::from_millis(100));
    let started = std::time::Instant::now();
    let error = tenant.customers().list_customers(request).await.expect_err("the database says nothing");
    assert!(matches!(error.code(), Code::DeadlineExceeded | Code::Cancelled), "{error:?}");
    assert!(started.elapsed() < Duration::from_millis(1_500), "{:?}", started.elapsed());
    sql.run("ROLLBACK").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_use_of_a_key_is_written_down() {
    let crm = with_keys().await;
    let tenant = crm.tenant();
    let (used, secret) = crm.key(&tenant, ALL, None).await;
    crm.key(&tenant, ALL, None).await;
    call(&tenant.with(&secret)).await.expect("granted");
    let sql = crm.sql().await;
    eventually("it is written down", || async {
        sql.texts("SELECT id FROM api_keys WHERE last_used_at IS NOT NULL").await == [used.to_string()]
    })
    .await;
    let revision = format!("SELECT revision FROM api_keys WHERE id = '{used}'");
    assert_eq!(sql.number(&revision).await, 1, "use is no change");
    tokio::time::sleep(SOON).await;
    call(&tenant.with(&secret)).await.expect("granted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_use_of_more_keys_than_are_remembered_is_written_down() {
    let few = crm_backend::auth::Bounds { remembered_keys: 2, ..bounds() };
    let config = crate::support::credentials::config(&["--auth", "api-key"]);
    let crm = Crm::with(crate::support::credentials::asking(&config, few).await).await;
    let tenant = crm.tenant();
    let mut secrets = Vec::new();
    for _ in 0..12 {
        secrets.push(crm.key(&tenant, ALL, None).await.1);
    }
    for secret in &secrets {
        call(&tenant.with(secret)).await.expect("granted");
    }
    let sql = crm.sql().await;
    eventually("all of it is written down", || async {
        sql.number("SELECT count(*) FROM api_keys WHERE last_used_at IS NULL").await == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_has_hashes_and_the_role_of_requests_sees_not_even_those() {
    let crm = with_keys().await;
    let (_, secret) = crm.key(&crm.tenant(), ALL, None).await;
    let sql = crm.sql().await;
    let rows = sql.rows("SELECT api_keys::text, encode(secret_hash, 'escape') FROM api_keys").await;
    assert_eq!(rows.len(), 1);
    assert!(!format!("{rows:?}").contains(&secret[4..]), "{rows:?}");
    let read = sql.try_rows("BEGIN; SET LOCAL ROLE crm_app; SELECT * FROM api_keys").await;
    assert!(read.is_err_and(|error| error.code().is_some_and(|code| code.code() == "42501")));
}
