//! Blocked work of one tenant delays no other tenant, wherever it is blocked.

use std::time::Duration;

use crm_backend::pb::{AccessCost, Conversation, ListConversationsRequest};
use crm_backend::rpc::method::Method;
use crm_testkit::Sql;
use futures_util::FutureExt;
use prost_reflect::MethodDescriptor;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::support::conversations::{Stream, message};
use crate::support::postgres::waiting_statements;
use crate::support::raw::{call, path, rpcs};
use crate::support::samples::{self, About};
use crate::support::{Crm, Refusal, Settings, Tenant, eventually, soon};

/// More than the places of any kind that a test blocks: connections, readers, separate topics.
const MANY: usize = 12;

/// Conversations of a tenant that another transaction locks, each with a message in progress.
struct Held {
    sql: Sql,
    stream: Stream,
}

impl Held {
    async fn new(crm: &Crm, tenant: &Tenant, count: usize) -> Self {
        let talks = talks(tenant, count).await;
        let sql = crm.sql().await;
        sql.run(&format!("BEGIN; SELECT FROM conversations WHERE tenant_id = '{}' FOR UPDATE", tenant.id))
            .await;
        let stream = tenant.stream().await;
        for talk in talks {
            stream.send(&talk.id, message("a", "Hello"));
        }
        Self { sql, stream }
    }

    /// Whether no message has an outcome yet.
    fn waits(&mut self) -> bool {
        self.stream.outcome().now_or_never().is_none()
    }

    async fn release(&mut self) {
        self.sql.run("COMMIT").await;
    }
}

async fn talks(tenant: &Tenant, count: usize) -> Vec<Conversation> {
    let mut talks = Vec::new();
    for _ in 0..count {
        talks.push(tenant.conversation().await);
    }
    talks
}

/// Waits until this many statements wait for a lock.
async fn waiting(crm: &Crm, count: i64) {
    let sql = crm.sql().await;
    eventually("statements wait", async || waiting_statements(&sql).await >= count).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_to_what_does_not_exist_waits_for_no_conversation_that_is_held() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let mut held = Held::new(&crm, &tenant, MANY).await;
    waiting(&crm, 1).await;
    let mut stream = tenant.stream().await;
    for number in 0..MANY {
        stream.send(&Uuid::now_v7().to_string(), message(&number.to_string(), "Hello"));
        stream.outcome().await.expect_err("nowhere").is(Code::NotFound, "CONVERSATION_NOT_FOUND");
    }
    assert!(held.waits(), "the others were waiting all the time");
    held.release().await;
    for _ in 0..MANY {
        held.stream.outcome().await.expect("it was only waiting");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_conversations_are_held_keeps_no_other_waiting() {
    let crm = Crm::start().await;
    let (busy, other) = (crm.tenant(), crm.tenant());
    let mut held = Held::new(&crm, &busy, MANY).await;
    waiting(&crm, 3).await;
    // The same happens to one conversation of another tenant, and ends.
    let mut one = Held::new(&crm, &other, 1).await;
    waiting(&crm, 4).await;
    one.release().await;
    one.stream.outcome().await.expect("an ack");
    assert!(held.waits(), "the busy tenant is still stuck");
    held.release().await;
    for _ in 0..MANY {
        held.stream.outcome().await.expect("it was only waiting");
    }
}

/// Makes every read of the tenant's conversations wait, until this lock is released.
async fn stop_reads(crm: &Crm, tenant: &Tenant) -> Vec<Sql> {
    let nodes = crm.nodes().await;
    let sql = nodes.last().expect("a node");
    // Citus accepts no volatile function in the policy of a table.
    sql.run(&format!(
        "CREATE FUNCTION passes(tenant uuid) RETURNS boolean LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER AS $$
         BEGIN
             IF tenant = '{}' THEN PERFORM pg_advisory_xact_lock_shared(1); END IF;
             RETURN true;
         END $$",
        tenant.id
    ))
    .await;
    // Not as a second policy: on its workers, Citus turns a restrictive policy into a permissive one.
    sql.run(
        "ALTER POLICY tenant_isolation ON conversations
         USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid AND passes(tenant_id))",
    )
    .await;
    for node in &nodes {
        node.run("BEGIN; SELECT pg_advisory_xact_lock(1)").await;
    }
    nodes
}

/// Lets the reads continue.
async fn go_on(nodes: &[Sql]) {
    for node in nodes {
        node.run("COMMIT").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_of_a_tenant_that_cannot_read_keep_no_other_watcher_waiting() {
    let crm = Crm::start().await;
    let (busy, other) = (crm.tenant(), crm.tenant());
    let (talk, its) = (busy.conversation().await.id, other.conversation().await.id);
    let nodes = stop_reads(&crm, &busy).await;
    let mut stuck = JoinSet::new();
    for _ in 0..MANY {
        let (busy, talk) = (busy.clone(), talk.clone());
        stuck.spawn(async move { busy.try_watch(&talk, None, false).await.map(|_| ()) });
    }
    waiting(&crm, 2).await;
    let mut watch = other.watch(&its, None).await;
    other.add(&its, message("a", "Hello")).await.expect("added");
    watch.until_messages(1).await;
    assert!(stuck.try_join_next().is_none(), "the busy tenant is still stuck");
    go_on(&nodes).await;
    while let Some(watch) = soon(stuck.join_next()).await {
        watch.expect("no panic").expect("it was only waiting");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_a_tenant_that_are_stuck_leave_connections_to_others() {
    let crm = Crm::with(Settings { wait: Duration::from_secs(60), ..Settings::default() }).await;
    let (busy, other) = (crm.tenant(), crm.tenant());
    busy.conversation().await;
    let nodes = stop_reads(&crm, &busy).await;
    let mut stuck = JoinSet::new();
    for _ in 0..MANY {
        let busy = busy.clone();
        stuck.spawn(async move { busy.conversation_page(ListConversationsRequest::default()).await });
    }
    waiting(&crm, 3).await;
    // Work that needs a connection of its own, and work in batches.
    let talk = other.conversation().await.id;
    other.add(&talk, message("a", "Hello")).await.expect("added");
    let zoe = other.customer("Zoe").await;
    assert_eq!(other.get(&zoe.id).await.expect("found"), zoe);
    assert!(stuck.try_join_next().is_none(), "the busy tenant is still stuck");
    go_on(&nodes).await;
    while let Some(page) = soon(stuck.join_next()).await {
        assert_eq!(page.expect("no panic").expect("a page").conversations.len(), 1);
    }
}

/// Returns the costly RPCs, by the contract.
fn costly() -> Vec<(MethodDescriptor, AccessCost)> {
    let cost = |rpc: &MethodDescriptor| Method::find(path(rpc).as_str()).expect("in the table").cost;
    let all = rpcs().into_iter().map(|rpc| (cost(&rpc), rpc));
    all.filter(|(cost, _)| *cost != AccessCost::Low).map(|(cost, rpc)| (rpc, cost)).collect()
}

/// Makes one call more than a tenant may have, and returns the error of the refused one. The other calls wait all the
/// time, because the tables are locked.
async fn one_too_many(crm: &Crm, rpc: &MethodDescriptor, most: usize) -> Status {
    let (tenant, sql) = (crm.tenant(), crm.sql().await);
    let tables = sql.texts(
        "SELECT string_agg(tablename, ', ') FROM pg_tables WHERE schemaname = 'public' AND tablename !~ '^__'",
    );
    sql.run(&format!("BEGIN; LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", tables.await.join(", "))).await;
    let mut calls = JoinSet::new();
    for _ in 0..=most {
        let (tenant, rpc) = (tenant.clone(), rpc.clone());
        let request = samples::request(&rpc, &About::nothing());
        calls.spawn(async move { call(&tenant, &request, &rpc).await });
    }
    let refused = soon(calls.join_next()).await.expect("a call").expect("no panic");
    let refused = refused.expect_err(rpc.full_name());
    assert!(calls.try_join_next().is_none(), "{}: the others wait", rpc.full_name());
    sql.run("COMMIT").await;
    while let Some(answer) = soon(calls.join_next()).await {
        let answer = answer.expect("no panic");
        let code = answer.map_or_else(|error| error.code(), |_| Code::Ok);
        assert!(matches!(code, Code::Ok | Code::NotFound), "{}: {code:?}", rpc.full_name());
    }
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_that_is_much_work_waits_for_its_turn_and_one_too_many_is_refused_at_once() {
    let limits = |limits: &mut crm_backend::config::Limits| {
        limits.calls.max_costly_calls = Some(1);
        limits.calls.max_waiting_calls_per_tenant = 1;
    };
    let crm = Crm::with(Settings { limits, ..Settings::default() }).await;
    let costly = costly();
    assert!(costly.len() >= 12, "dashboards, rankings, batches: {costly:?}");
    for (rpc, cost) in costly {
        // One call has the place and one waits. For cost MEDIUM there are four times as many, and a tenant has half
        // of the places.
        let most = if cost == AccessCost::High { 2 } else { 2 + 4 };
        let error = one_too_many(&crm, &rpc, most).await;
        error.is(Code::ResourceExhausted, "TENANT_QUOTA_EXCEEDED");
        let details = error.get_error_details();
        let quota = &details.quota_failure().expect("a QuotaFailure").violations[0];
        assert_eq!((quota.quota_id.as_str(), quota.quota_value), ("max_waiting_calls_per_tenant", 1));
        assert!(details.retry_info().is_some_and(|retry| retry.retry_delay.is_some()), "{error:?}");
    }
}
